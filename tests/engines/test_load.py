"""A short load test of each engine by the command line, and the engine's own account of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.engines.conftest import KEY_ENV, Figures
from tests.engines.serving import Engine
from tests.support import wardround

pytestmark = pytest.mark.engine

SECONDS = 4
RATE_RPS = 4


def test_an_engine_is_loaded_and_both_sides_tell_of_it(engine: Engine, tmp_path: Path, figures: Figures) -> None:
    server = [engine.base_url, "--served-as", engine.served_as, "--key-env", KEY_ENV]
    shape = ["--rate", str(RATE_RPS), "--duration", str(SECONDS), "--warmup", "0", "--task", "mednli"]
    done = wardround("load", *server, *shape, "--json", "out.json", "--slo", "e2e=30s", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [result] = json.loads((tmp_path / "out.json").read_bytes())
    measured, told = result["measured"], result["server"]
    assert (measured["requests"], measured["failures"]) == (SECONDS * RATE_RPS, {})
    assert measured["goodput_per_s"] == pytest.approx(RATE_RPS)
    # The engine counts the prompts' tokens by its own tokenizer, and every answer has some.
    assert measured["prompt_tokens"] > 100 * measured["requests"]
    assert measured["output_tokens"] >= measured["requests"]
    ttft, e2e = measured["ttft"]["percentiles_s"], measured["e2e"]["percentiles_s"]
    assert 0 < ttft["50"] <= e2e["50"]
    assert told["running_max"] is not None
    assert told["waiting_max"] is not None
    if engine.name == "vllm":
        assert told["ttft_p50_s"] > 0
        # The worked examples stand at the beginning of every prompt.
        assert told["prefix_hit_share"] > 0.1
    figures.setdefault(engine.name, []).append(
        f"load of {RATE_RPS}/s: TTFT p50 {1000 * ttft['50']:.1f} ms, p99 {1000 * ttft['99']:.1f} ms,"
        f" E2E p50 {1000 * e2e['50']:.1f} ms"
    )


def test_users_who_wait_for_their_answers_are_carried_as_fast_as_the_engine_can(
    engine: Engine, tmp_path: Path, figures: Figures
) -> None:
    server = [engine.base_url, "--served-as", engine.served_as, "--key-env", KEY_ENV]
    shape = ["--users", "4", "--duration", "5", "--warmup", "0.5", "--synthetic", "64,48", "--max-tokens", "48"]
    done = wardround("load", *server, *shape, "--json", "out.json", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [result] = json.loads((tmp_path / "out.json").read_bytes())
    measured = result["measured"]
    assert measured["failures"] == {}
    assert measured["requests"] > 4
    assert 1 <= result["server"]["running_max"] <= 4
    tokens_per_s = measured["output_tokens"] / measured["window_s"]
    assert tokens_per_s > 0
    figures.setdefault(engine.name, []).append(f"{tokens_per_s:,.0f} tokens/s for 4 users")
