"""`wardround doctor` on real engines: what it finds is what they do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.engines.asking import row
from tests.engines.serving import Engine
from tests.engines.tiny import CONTEXT
from tests.support import wardround, write_study

pytestmark = pytest.mark.engine


def examined(engine: Engine, folder: Path, *, exit_code: int = 0, **fields: Any) -> dict[str, Any]:
    """What the doctor says of one engine in JSON."""
    study = write_study(folder / "study.yaml", models=[row(engine, **fields)])
    done = wardround("doctor", "--study", study, "--json", cwd=folder)
    assert done.returncode == exit_code, done.stderr
    [said] = json.loads(done.stdout)
    assert isinstance(said, dict)
    return said


def states(said: dict[str, Any]) -> dict[str, str]:
    return {name: finding["state"] for name, finding in said["findings"].items()}


GREEN = (
    *("reachable", "key", "served", "chat", "template", "system", "greedy", "stop", "prefill"),
    *("usage", "logprobs", "structured", "tokens", "seed"),
)


def test_an_engine_that_can_do_all_is_green_everywhere(engine: Engine, tmp_path: Path) -> None:
    said = examined(engine, tmp_path, context=CONTEXT)
    found = states(said)
    assert {name: found[name] for name in GREEN} == dict.fromkeys(GREEN, "yes"), said
    assert found["context"] == "yes"
    assert said["findings"]["context"]["shown"] == f"{CONTEXT:,}"
    assert said["findings"]["TTFT"]["shown"].endswith(" s")


def test_the_table_for_a_reader_names_the_engine_and_a_context_that_is_not_the_engine_s(
    engine: Engine, tmp_path: Path
) -> None:
    study = write_study(tmp_path / "study.yaml", models=[row(engine, context=4 * CONTEXT)])
    done = wardround("doctor", "--study", study, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {"llama-server": "llama.cpp", "vllm": "vllm 0."}[engine.name] in done.stdout
    assert done.stdout.count(" NO") == done.stdout.count(f" NO {CONTEXT:,}") == 1
    assert f"context: the row says {4 * CONTEXT:,} tokens: set `context: {CONTEXT}`" in done.stdout


def test_an_engine_that_is_asked_by_text_is_green_but_for_choices_in_form_that_llama_cpp_ignores(
    engine: Engine, tmp_path: Path
) -> None:
    found = states(examined(engine, tmp_path, protocol="openai-completions", chat_template="plain"))
    red = {name for name, state in found.items() if state == "no"}
    assert red == ({"structured"} if engine.name == "llama-server" else set())


def test_a_name_that_is_not_served_is_red_although_llama_server_would_answer(engine: Engine, tmp_path: Path) -> None:
    said = examined(engine, tmp_path, exit_code=1, served_as="tinny")
    assert states(said)["served"] == "no"
    assert "did you mean 'tiny'?" in said["findings"]["served"]["cure"]


def test_a_missing_template_is_red_with_its_cure(vllm_without_template: Engine, tmp_path: Path) -> None:
    said = examined(vllm_without_template, tmp_path, exit_code=1, key_env=None)
    assert (states(said)["chat"], states(said)["template"]) == ("no", "no")
    assert "set `chat_template:` to one of servers/templates/" in said["findings"]["template"]["cure"]
