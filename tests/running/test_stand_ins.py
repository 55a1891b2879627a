"""What a dry run and a load test say of prompts that a run would send otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.running.test_two_step import notes
from tests.support import model_at, running_server, wardround, write_study
from wardround.running.planning import prepare
from wardround.running.stand_ins import stand_ins
from wardround.study import load_study

ELSEWHERE = "http://0.0.0.0:9/v1"
SERVICES = {"embeddings": {"base_url": ELSEWHERE, "model": "m"}, "rerank": {"base_url": ELSEWHERE, "model": "m"}}
TASK = {"task": "longhealth:longhealth_t1", "limit": 1}


def said(tmp_path: Path, *, searched: bool = False, **fields: Any) -> list[str]:
    study = load_study(write_study(tmp_path / "s.yaml", **fields))
    return stand_ins(
        study, [one for choice in study.tasks for one in prepare(choice, study.profile)], searched=searched
    )


def test_each_stand_in_is_said_with_its_arms(tmp_path: Path) -> None:
    arms = ["dense", "hybrid", {"name": "again", "evidence": "bm25", "rerank": True}]
    assert said(tmp_path, tasks=[TASK], arms=arms, retrieval=SERVICES) == [
        "arms dense, hybrid: with what bm25 finds in the place of what the embedding service would",
        "arm again: in the order of the first search, not of the reranking service",
    ]
    assert said(tmp_path, tasks=[TASK], arms=arms, retrieval=SERVICES, searched=True) == []
    (line,) = said(tmp_path, tasks=["medisumcode"], arms=[{"name": "two-step", "budget": 900}])
    assert line.startswith("arm two-step: the first questions alone; as many second ones follow")
    assert "up to 900 tokens" in line


def test_where_nothing_stands_in_nothing_is_said(tmp_path: Path) -> None:
    assert said(tmp_path, tasks=["mednli", TASK], arms=["closed-book", "full", "bm25", "oracle"]) == []
    assert said(tmp_path) == []


def test_a_dry_run_says_it_and_speaks_to_no_service(tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "s.yaml",
        models=[{"name": "m", "base_url": ELSEWHERE}],
        tasks=[TASK],
        arms=["dense"],
        retrieval={"embeddings": SERVICES["embeddings"]},
    )
    done = wardround("run", study, "--out", "run", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "estimated for arm dense: with what bm25 finds in the place of" in done.stdout


def test_a_load_test_says_it_in_its_workload(tmp_path: Path) -> None:
    with running_server() as server:
        tasks = notes(tmp_path, "broken arm; fever", "cough")
        study = write_study(
            tmp_path / "s.yaml", models=[model_at(server, "baseline-lead")], tasks=tasks, arms=["two-step"]
        )
        options = ["--study", str(study), "--users", "1", "--duration", "0.5", "--warmup", "0"]
        done = wardround("load", "baseline-lead", *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert "notes; arm two-step: the first questions alone" in done.stdout
