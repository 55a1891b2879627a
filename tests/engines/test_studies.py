"""Whole studies over real engines: run, journaled with the engine's own counts, killed in the middle and completed."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.engines.asking import rendered, row
from tests.engines.serving import Engine
from tests.support import wardround, write_study
from wardround.task import Message, Prompt

pytestmark = pytest.mark.engine

SAMPLES = 6


def rows(run: Path, query: str) -> list[tuple[Any, ...]]:
    """Read a run's journal."""
    with closing(sqlite3.connect(f"file:{run / 'journal.sqlite'}?mode=ro", uri=True)) as database:
        return database.execute(query).fetchall()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_study_is_journaled_with_the_engines_own_counts(
    engine: Engine, count: Callable[[str], int], tmp_path: Path, stream: bool
) -> None:
    study = write_study(
        tmp_path / "study.yaml",
        models=[row(engine, stream=stream)],
        tasks=[{"task": "mednli", "limit": SAMPLES, "max_tokens": 16}],
        concurrency=4,
    )
    done = wardround("run", study, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{SAMPLES} samples asked: {SAMPLES} answered, 0 failed" in done.stdout
    replies = rows(
        tmp_path / "run",
        "SELECT body, prompt_tokens, output_tokens, fingerprint FROM replies JOIN requests ON request = id"
        " JOIN prompts ON prompt = hash",
    )
    assert len(replies) == SAMPLES
    for body, prompt_tokens, output_tokens, fingerprint in replies:
        turns = tuple(Message(turn["role"], turn["content"]) for turn in json.loads(body)["messages"])
        assert prompt_tokens == count(rendered(Prompt(turns)))
        assert 1 <= output_tokens <= 16
        assert fingerprint.startswith("tiny")


@contextmanager
def started_run(study: Path, run: Path) -> Iterator[subprocess.Popen[str]]:
    """A run under way, which has journaled four replies."""
    command = [sys.executable, "-m", "wardround", "run", str(study), "--out", str(run)]
    with subprocess.Popen(
        command, cwd=study.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            deadline = time.monotonic() + 100
            while not (run / "journal.sqlite").exists() or replies_in(run) < 4:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield process
        finally:
            process.kill()


def replies_in(run: Path) -> int:
    try:
        [(number,)] = rows(run, "SELECT count(*) FROM replies")
    except sqlite3.OperationalError:  # the journal has no tables yet
        return 0
    return int(number)


def test_a_study_whose_engine_dies_ends_with_named_failures_and_is_completed_after_a_restart(
    vllm: Engine, tmp_path: Path
) -> None:
    study = write_study(
        tmp_path / "study.yaml",
        models=[row(vllm, extra_body={"ignore_eos": True})],
        tasks=[{"task": "mednli", "limit": 24, "max_tokens": 100}],
        concurrency=4,
        attempts=2,
    )
    run = tmp_path / "run"
    with started_run(study, run) as process:
        vllm.kill()
        out, err = process.communicate(timeout=100)
    assert process.returncode == 1, err
    assert "Traceback" not in err
    answered = replies_in(run)
    assert 4 <= answered < 24
    kinds = {kind for (kind,) in rows(run, "SELECT kind FROM failures WHERE final")}
    assert "connect" in kinds
    assert kinds <= {"connect", "broken_stream"}
    assert "connect" in out

    vllm.launch()
    vllm.wait()
    done = wardround("run", study, "--out", run, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{answered} answered before" in done.stderr
    assert replies_in(run) == 24
    assert "24 samples asked: 24 answered, 0 failed" in done.stdout
