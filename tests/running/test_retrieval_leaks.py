"""What must not leak: where answers stand, samples into their own worked examples, texts to services outside.

And what must not break: pools of nothing, of one short letter, of fewer texts than are wanted, questions without words.
"""

from __future__ import annotations

import ast
import json
import random
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.running.test_guarded_runs import listener
from tests.running.test_retrieval_arms import SEARCHED, of_arms, patients, planned
from tests.running.test_two_step import asked_in, noted, notes
from tests.support import ROOT, Server, model_at, running_server, wardround, write_study
from wardround.journal import Journal
from wardround.retrieval import Lexical
from wardround.running.searching import Searcher, pool_of
from wardround.task import load_task

ORACLES = {"clue-oracle", "oracle"}
ARMS = [
    "closed-book",
    "full",
    *({"name": name, "budget": 500} for name in ("truncated", *SEARCHED, "random-passages", "clue-oracle", "oracle")),
]


SHOTS = ["random-shots", "bm25-shots", "dense-shots"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


def functions_with(found: Any, names: Sequence[str] = ("client/wardround", "tasks")) -> set[str]:
    """ "file.function" of every function of the package and the tasks in which a node is `found`."""
    where = set()
    for name in names:
        for path in sorted((ROOT / name).rglob("*.py")):
            for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and any(map(found, ast.walk(function))):
                    where.add(f"{path.stem}.{function.name}")
    return where


def called(name: str) -> Any:
    def found(node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == name

    return found


def test_the_field_that_tells_where_answers_stand_is_read_by_loading_scoring_and_the_journals_remarks_alone() -> None:
    named = functions_with(lambda node: isinstance(node, ast.Constant) and node.value == "answer_location")
    assert named == {"longhealth._question", "longhealth._sample", "longhealth.gold", "longhealth._fitted"}


def test_the_hook_that_tells_it_is_called_where_it_is_measured_and_for_the_oracles_passages_alone() -> None:
    assert functions_with(called("gold")) == {"evidence._gold", "measuring._measured", "two_step._quality"}
    measuring = {"evidence._quality", "evidence._standing", "evidence._searched"}
    assert functions_with(called("_gold")) == {"evidence.gold_passages", *measuring}
    assert functions_with(called("gold_passages")) == {"retrieving._with_passages"}
    assert functions_with(called("oracle_fit")) <= {"budget.fitted"}


def test_a_file_with_other_places_of_answers_asks_the_same_in_all_arms_but_the_oracles(tmp_path: Path) -> None:
    content = json.loads(load_task("longhealth:longhealth_t1").samples.read_text(encoding="utf-8"))
    draw = random.Random(0)
    for row in content.values():
        for question in row["questions"] if isinstance(row, dict) else ():
            names = draw.sample(sorted(row["texts"]), 2)
            question["answer_location"] = {name: {"start": [0.1], "end": [0.4]} for name in names}
    (tmp_path / "moved.json").write_text(json.dumps(content), encoding="utf-8")
    prompts = {}
    # Small enough that even the full documents must be cut.
    models = [{"name": "baseline-lead", "base_url": "embedded", "context": 2500}]
    for data in ({}, {"data": str(tmp_path / "moved.json")}):
        tasks = [{"task": "longhealth:longhealth_t1", "limit": 14, **data}]
        found = planned(tmp_path, tasks=tasks, arms=ARMS, models=models)
        prompts[bool(data)] = {arm: [one.prompt for one in asked] for (_, _, arm), asked in found.items()}
    assert {arm for arm in prompts[True] if prompts[True][arm] != prompts[False][arm]} == ORACLES


def test_other_right_codes_ask_the_same_in_two_steps(tmp_path: Path, server: Server) -> None:
    prompts = []
    for number, codes in enumerate((["A1", "C1"], ["B2"])):
        folder = tmp_path / str(number)
        folder.mkdir()
        tasks = notes(folder, "broken arm; fever", "cough")
        rows = [json.loads(line) | {"codes": codes} for line in (folder / "notes.jsonl").read_text().splitlines()]
        (folder / "notes.jsonl").write_text("\n".join(map(json.dumps, rows)))
        study = write_study(
            folder / "s.yaml", models=[model_at(server, "baseline-lead")], tasks=tasks, arms=["two-step"]
        )
        assert wardround("run", study, "--out", "run", cwd=folder).returncode == 0
        with Journal.open(folder / "run") as journal:
            prompts.append(sorted(body for (body,) in journal.read("SELECT body FROM prompts")))
        recalls = [one["recall"] for one in noted(asked_in(folder / "run")["baseline-lead"])]
        assert recalls == ([1.0, 0.0] if number == 0 else [0.0, 1.0])
    assert prompts[0] == prompts[1]


@pytest.mark.parametrize("task", ["mednli", "meqsum", "problem_summary"])
def test_no_sample_is_its_own_worked_example_though_the_training_file_holds_it_twice(tmp_path: Path, task: str) -> None:
    loaded = load_task(task)
    assert loaded.training_samples is not None
    file, training = loaded.samples, tmp_path / f"training{loaded.samples.suffix}"
    lines = file.read_text(encoding="utf-8").splitlines()
    further = loaded.training_samples.read_text(encoding="utf-8").splitlines()
    if file.suffix == ".jsonl":
        ids = [key for key in json.loads(lines[0]) if key.casefold() in ("pairid", "id", "file id", "fileid")]
        copies = [
            json.dumps({**json.loads(line), **dict.fromkeys(ids, f"copy {place} {number}")})
            for place in range(2)
            for number, line in enumerate(lines)
        ]
        # The fixed examples are the first, and are refused where they are evaluated.
        training.write_text("\n".join([*further, *copies]), encoding="utf-8")
    else:
        training = as_copies(loaded.samples, loaded.training_samples, training)
    shown = {sample.id: loaded.prompt(sample, ()) for sample in loaded.load(training)}
    tasks = [{"task": task, "training": str(training), "data": str(file), "shots": 1, "limit": 6}]
    found = of_arms(tmp_path, task, SHOTS, tasks=tasks)
    assert list(found) == SHOTS
    for asked in found.values():
        for one in asked:
            own = loaded.prompt(one.answered.sample, ())
            assert own in shown.values()
            assert [shown[shot] != own for shot in one.noted["shots"]] == [True]


def as_copies(evaluated: Path, further: Path, to: Path) -> Path:
    """A table with the training file's rows, and then each of the evaluated file's twice under other ids."""
    import pandas as pd

    joined = pd.concat([pd.read_csv(path) for path in (further, evaluated, evaluated)], ignore_index=True)
    (name,) = {"File", "File ID"} & {*joined.columns}
    joined[name] = [f"copy {number}" for number in range(len(joined))]
    joined.to_csv(to, index=False)
    return to


@pytest.mark.parametrize("service", ["embeddings", "rerank"])
def test_a_listener_outside_hears_nothing_of_what_would_be_embedded_or_reranked(tmp_path: Path, service: str) -> None:
    arm = {"name": "x", "evidence": "dense"} if service == "embeddings" else {"name": "x", "evidence": "bm25"}
    shipped = load_task("longhealth:longhealth_t1").samples
    (tmp_path / "d.json").write_bytes(shipped.read_bytes())
    with listener() as (port, heard):
        study = write_study(
            tmp_path / "s.yaml",
            tasks=[{"task": "longhealth:longhealth_t1", "limit": 2, "sensitivity": "phi", "data": "d.json"}],
            arms=[arm | ({"rerank": True} if service == "rerank" else {})],
            retrieval={service: {"base_url": f"http://0.0.0.0:{port}/v1", "model": "m"}},
        )
        for command in ("retrieve", "run"):
            done = wardround(command, study, "--out", command, cwd=tmp_path)
            assert done.returncode == 1
            assert "0.0.0.0" in done.stderr
        # The address does reach the listener: it was silent because nothing was sent.
        with socket.create_connection(("0.0.0.0", port), timeout=5) as connection:
            connection.sendall(b"here")
        deadline = time.monotonic() + 5
        while not heard and time.monotonic() < deadline:
            time.sleep(0.01)
    assert heard == [b"here"]


def test_a_letter_without_a_word_is_not_found_and_no_crash(tmp_path: Path) -> None:
    data = str(patients(tmp_path / "d.json", "… — …"))
    tasks = [{"task": "longhealth:longhealth_t1", "data": data, "limit": 1}]
    found = of_arms(tmp_path, "longhealth_t1", ["bm25", "random-passages", "oracle"], tasks=tasks)
    assert {arm: one.noted["k"] for arm, (one,) in found.items()} == {"bm25": 0, "random-passages": 1, "oracle": 1}


def test_an_empty_pool_is_searched_and_gives_nothing(tmp_path: Path) -> None:
    assert Lexical([]).search("fever", 3) == []
    with Journal.create(tmp_path / "run") as journal, journal.transaction():
        for by in SEARCHED:
            assert Searcher(journal, None).search(by, pool_of({}), "fever")[1].hits == ()


@pytest.mark.parametrize(("question", "found"), [("Which dose?", 1), ("What is that of these?", 0)])
def test_by_every_search_one_short_letter_is_found_by_a_word_and_not_by_stop_words(
    tmp_path: Path, server: Server, question: str, found: int
) -> None:
    data = str(patients(tmp_path / "d.json", "The dose was 5 mg.", question=question))
    study = write_study(
        tmp_path / "s.yaml",
        tasks=[{"task": "longhealth:longhealth_t1", "data": data, "limit": 1}],
        arms=[{"name": name, "evidence": name, "k": 500} for name in SEARCHED],
        models=[model_at(server, "baseline-lead")],
        retrieval={"embeddings": {"base_url": server.base_url, "model": "hashed-bag-of-words-512"}},
    )
    done = wardround("run", study, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = {arm: noted(asked_in(tmp_path / "run", arm)["baseline-lead"])[0] for arm in SEARCHED}
    # Hashed words, too, are none where all are stop words: such a vector has no direction.
    assert {arm: (one["k"], one["hit"]) for arm, one in shown.items()} == dict.fromkeys(SEARCHED, (found, found))
