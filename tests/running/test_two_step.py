"""Arms of two steps, over real HTTP: what is asked, what a stop leaves, what a first step that fails is, what both take.

The task is a user's own, with a pool of five texts; that of MeDiSumCode, with the real table, is asked once.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.running.rounds import carry_out
from tests.running.test_run import replies_in, rows_of, start_and_wait_for
from tests.support import Server, model_at, running_server, wardround, write_study
from wardround.endpoints import Reply, tokens
from wardround.endpoints.tokens import estimate
from wardround.errors import StudyError
from wardround.journal import Answered, Journal, Outcome
from wardround.journal.records import AWAITS, FIRST
from wardround.journal.usage import took_in_cell
from wardround.reports import results_of, usage_of
from wardround.reports.same_samples import read_cell
from wardround.reports.viewer.reading import answered_at
from wardround.reports.viewer.reading import seen as seen_of
from wardround.running.planning import plan, plan_second_steps, prepare
from wardround.study import load_study
from wardround.task import Prompt

TASK = '''
"""Codes of notes (invented)."""
import json
from wardround import Message, Metric, Prompt, Sample, Task
from wardround.task import Document, TwoStep

POOL = {"A1": "broken arm", "A2": "broken leg", "B1": "cough", "B2": "chronic cough", "C1": "fever"}

def load(path):
    rows = map(json.loads, path.read_text().splitlines())
    return [Sample(row["id"], {}, row["codes"], None, (Document(row["id"], row["text"]),)) for row in rows]

def asked(instruction):
    return lambda sample, shots: Prompt((Message("system", instruction), Message("user", sample.documents[0].text)))

def show(found):
    return "\\n".join(["FOUND"] + [f"{name}: {', '.join(one.heading for one in texts)}" for name, texts in found])

task = Task(
    name="notes", title="Notes", level=None, sensitivity="open", load=load, prompt=asked("Give the codes."),
    score=lambda answer, sample: {"named": float("arm" in answer), "parsed": 1.0},
    metrics=(Metric("named", "proportion"),), shots=0, max_tokens=30, samples="none",
    two_step=TwoStep(
        prompt=asked("List what you find."), named=lambda answer: [part.strip() for part in answer.split(";")],
        max_tokens=SECOND, pool=lambda: [Document(code, text, f"{code} {text}") for code, text in POOL.items()],
        show=show, gold=lambda sample: sample.reference),
)
'''


def notes(folder: Path, *texts: str, max_tokens: int = 20) -> list[dict[str, Any]]:
    """The task over these notes, each of them with the codes A1 and C1."""
    (folder / "notes.py").write_text(TASK.replace("SECOND", str(max_tokens)), encoding="utf-8")
    rows = [{"id": str(number), "text": text, "codes": ["A1", "C1"]} for number, text in enumerate(texts)]
    (folder / "notes.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return [{"task": "./notes.py", "data": "notes.jsonl"}]


def asked_in(run: Path, arm: str = "two-step") -> dict[str, list[tuple[Prompt, Answered]]]:
    """By model: what each sample of an arm asks, and what came of it."""
    with Journal.open(run) as journal:
        found = {}
        for cell in journal.cells():
            if cell.arm == arm:
                rows = list(journal.read("SELECT request FROM asks WHERE cell = ? ORDER BY position", (cell.id,)))
                prompts = [journal.request(request)[0] for (request,) in rows]
                found[cell.model] = list(zip(prompts, journal.answers(cell.id), strict=True))
        return found


def noted(rows: Sequence[tuple[Prompt, Answered]]) -> list[dict[str, Any]]:
    return [dict(answered.evidence or {}) for _, answered in rows]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


def test_what_a_model_names_is_looked_up_and_shown_to_that_model_behind_the_tasks_own_prompt(
    tmp_path: Path, server: Server
) -> None:
    text = "broken arm; coughing; fever"
    tasks = notes(tmp_path, text, "nothing of note")
    models = [model_at(server, name) for name in ("baseline-lead", "baseline-majority")]
    study = write_study(tmp_path / "s.yaml", models=models, tasks=tasks, arms=["full", "two-step"])
    done = wardround("run", study, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = asked_in(tmp_path / "run")
    (first, own), (second, nothing) = found["baseline-lead"]
    block = "FOUND\nbroken arm: A1 broken arm, A2 broken leg\nfever: C1 fever"
    assert first.messages[-1].content == f"{text}\n\n{block}"
    assert own.evidence is not None
    assert own.evidence["passages"] == ["A1", "C1", "A2"]
    assert (own.evidence["hit"], own.evidence["recall"], own.evidence["bounded"]) == (1, 1, "found")
    # What finds nothing shows nothing, and is asked all the same.
    assert second.messages[-1].content == "nothing of note"
    assert nothing.reply is not None
    full = asked_in(tmp_path / "run", "full")["baseline-lead"]
    assert [prompt.messages[0] for prompt, _ in full] == [first.messages[0], second.messages[0]]
    # The majority names nothing; it is not shown what the other one named.
    assert [one["passages"] for one in noted(found["baseline-majority"])] == [[], []]


def test_tokens_and_time_of_both_steps_are_the_arms(tmp_path: Path, server: Server) -> None:
    tasks = notes(tmp_path, "broken arm; fever", "cough")
    models = [model_at(server, "baseline-lead", price={"input": 1.0, "output": 2.0})]
    study = write_study(tmp_path / "s.yaml", models=models, tasks=tasks, arms=["two-step"])
    before = server.stats()["requests"]
    assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 0
    assert server.stats()["requests"] == before + 4
    with Journal.open(tmp_path / "run") as journal:
        (cell,) = journal.cells()
        took = took_in_cell(journal, cell.id)
        sums = [sum(getattr(one, name) or 0 for one in took) for name in ("prompt_tokens", "output_tokens")]
        (every,) = journal.read("SELECT sum(prompt_tokens), sum(output_tokens), count(*) FROM replies")
        assert (*sums, len(took)) == every
        usage = usage_of(journal).cells[cell.id]
        assert (usage.requests, usage.samples) == (4, 2)
        assert usage.cost_usd == pytest.approx((sums[0] + 2 * sums[1]) / 1e6)
        limits = journal.read("SELECT json_extract(params, '$.max_tokens') FROM requests ORDER BY id")
        assert [limit for (limit,) in limits] == [20, 20, 30, 30]


def test_after_kill_9_in_either_step_the_run_goes_on_and_no_first_answer_counts_as_one(tmp_path: Path) -> None:
    tasks = notes(tmp_path, *(f"broken arm; fever {number}" for number in range(20)))
    with running_server("--ttft", "0.05") as server:
        models = [model_at(server, "baseline-lead")]
        study = write_study(tmp_path / "s.yaml", models=models, tasks=tasks, arms=["two-step"], concurrency=2)
        for replies, answered in ((8, 0), (26, 1)):
            process = start_and_wait_for(replies, study, tmp_path / "run")
            process.kill()
            process.communicate()
            (row,) = rows_of(tmp_path / "run")
            assert row["n"] + row["failed"] == 20
            assert row["failed"] > 0
            assert (row["n"] > 0) == bool(answered)
        assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 0
        (row,) = rows_of(tmp_path / "run")
        assert (row["n"], row["failed"], row["requests"]) == (20, 0, 40)
        assert server.stats()["requests"] - 40 <= 2 * 2
        assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 0
        assert server.stats()["requests"] - 40 <= 2 * 2
    assert all(FIRST in one and AWAITS not in one for one in noted(asked_in(tmp_path / "run")["baseline-lead"]))


def test_a_first_step_that_fails_is_a_failure_of_its_sample_by_its_own_name(tmp_path: Path) -> None:
    tasks = notes(tmp_path, "broken arm; fever", "cough " * 400)
    with running_server("--context", "200") as server:
        study = write_study(tmp_path / "s.yaml", models=[model_at(server)], tasks=tasks, arms=["two-step"], attempts=1)
        done = wardround("run", study, "--out", "run", cwd=tmp_path)
    assert done.returncode == 1
    assert "1 sample without a reply (1 context_overflow)" in done.stdout
    (whole, failed) = asked_in(tmp_path / "run")["baseline-majority"]
    assert (whole[1].failure, failed[1].failure) == (None, "context_overflow")
    assert AWAITS in (failed[1].evidence or {})


def test_a_reply_to_a_first_step_answers_no_sample_wherever_it_is_read(tmp_path: Path) -> None:
    tasks = notes(tmp_path, "broken arm; fever", "cough")
    study = load_study(write_study(tmp_path / "s.yaml", models=["baseline-lead"], tasks=tasks, arms=["two-step"]))
    prepared = [one for choice in study.tasks for one in prepare(choice, study.profile)]
    with Journal.create(tmp_path / "run") as journal:
        plan(study, journal, prepared, {}, None)
        assert plan_second_steps(study, journal, prepared, None, {}) == 0
        (first, _, _), (other, _, _) = journal.pending()
        journal.record([Outcome(first, Reply("broken arm", "", "stop", 5, 2, 0, 0, None, 1, "f"), 1)])
        (cell,) = journal.cells()
        assert journal.progress() == {cell.id: (2, 0)}
        assert [(one.reply, one.failure) for one in journal.answers(cell.id)] == [(None, "not_asked")] * 2
        assert [request for request, _, _ in journal.pending()] == [other]
        seen = answered_at(journal, cell.id, 0)
        assert seen is not None
        assert seen.reply is None
        shown = seen_of(journal, cell, 0)
        assert shown is not None
        assert (shown.attempts, shown.answered_at) == (None, None)
        assert list(read_cell(journal, cell, "strict").answered) == [False, False]
        ((counts,),) = [one.results for one in results_of(journal)]
        assert (counts.n, counts.failed) == (0, 2)
        # What it took is the arm's all the same.
        assert [one.prompt_tokens for one in took_in_cell(journal, cell.id)] == [5]
        assert plan_second_steps(study, journal, prepared, None, {}) == 1
        assert plan_second_steps(study, journal, prepared, None, {}) == 0
        second, left = journal.pending()
        assert (left[0], journal.progress()) == (other, {cell.id: (2, 0)})
        assert "FOUND\nbroken arm: A1 broken arm" in journal.request(second[0])[0].messages[-1].content


def test_what_was_found_stays_within_the_budget_and_half_of_the_room(tmp_path: Path, server: Server) -> None:
    tasks = notes(tmp_path, "broken arm; coughing badly; fever; cough")
    arms = [{"name": "tight", "evidence": "two-step", "budget": 8}, {"name": "two-step", "k": 1}]
    models = [model_at(server, "wide", served_as="baseline-lead"), model_at(server, "baseline-lead", context=90)]
    study = write_study(tmp_path / "s.yaml", models=models, tasks=tasks, arms=arms)
    assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 0
    (tight,) = noted(asked_in(tmp_path / "run", "tight")["wide"])
    assert (tight["bounded"], tight["k"], tight["of"]) == ("budget", 1, 5)
    assert tight["tokens"] <= 8
    one_each = asked_in(tmp_path / "run")
    assert [one["passages"] for one in noted(one_each["wide"])] == [["A1", "C1", "B1"]]
    ((_, narrow),) = one_each["baseline-lead"]
    assert narrow.evidence is not None
    assert narrow.evidence["bounded"] == "context"
    assert any(line.startswith("14 of 2000 tokens of evidence fit") for line in narrow.cut)


def test_medisumcode_shows_candidates_of_the_real_table_and_their_recall(tmp_path: Path) -> None:
    tasks = [{"task": "medisumcode", "limit": 3}]
    study = write_study(tmp_path / "s.yaml", models=["baseline-overlap"], tasks=tasks, arms=["full", "two-step"])
    done = wardround("run", study, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = asked_in(tmp_path / "run")["baseline-overlap"]
    (trauma,) = (row for row in rows if row[1].sample.id == "19000002-DS-1")
    evidence = dict(trauma[1].evidence or {})
    assert evidence["named"][1] == "left 7th and 8th rib fractures"
    content = trauma[0].messages[-1].content
    assert "\n\nCANDIDATE CODES (" in content
    assert "left 7th and 8th rib fractures\n- S22." in content
    assert {"S2242XA", "Z3A31"} <= set(evidence["passages"])
    assert evidence["recall"] == pytest.approx(2 / 7)
    assert len(evidence["retrievals"]) == len(evidence["named"]) == 3


def test_what_fails_in_a_run_is_asked_once_in_it_whatever_steps_follow(tmp_path: Path) -> None:
    tasks = notes(tmp_path, "broken arm; fever", "cough " * 400)
    with running_server("--context", "200") as server:
        models = [model_at(server, "baseline-lead")]
        study = write_study(tmp_path / "s.yaml", models=models, tasks=tasks, arms=["full", "two-step"], attempts=1)
        done = wardround("run", study, "--out", "run", cwd=tmp_path)
    assert "the second steps follow" in done.stderr
    with Journal.open(tmp_path / "run") as journal:
        assert list(journal.read("SELECT count(*), count(DISTINCT request) FROM failures")) == [(2, 2)]


def test_second_steps_are_asked_of_the_server_that_is_left(tmp_path: Path, server: Server) -> None:
    tasks = notes(tmp_path, *(f"broken arm; fever {number}" for number in range(30)))
    with running_server("--ttft", "0.3") as slow:
        models = [model_at(server, "baseline-lead"), model_at(slow, "gone", served_as="baseline-lead")]
        fields: dict[str, Any] = {"models": models, "tasks": tasks, "arms": ["two-step"], "concurrency": 2}
        study = write_study(tmp_path / "s.yaml", **fields, attempts=1)
        process = start_and_wait_for(3, study, tmp_path / "run")
        slow.process.kill()
        _, err = process.communicate(timeout=60)
    assert "stopped answering" in err
    assert all(FIRST in one for one in noted(asked_in(tmp_path / "run")["baseline-lead"]))


def test_where_a_server_that_counts_is_gone_the_second_steps_of_the_others_are_asked(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is tried again for half a minute.
    monkeypatch.setattr(tokens, "ATTEMPTS", 1)
    tasks = notes(tmp_path, *(f"broken arm; fever {number}" for number in range(6)))
    with running_server("--ttft", "0.3") as slow:
        models = [model_at(slow, "gone", served_as="baseline-lead"), model_at(server, "baseline-lead")]
        fields: dict[str, Any] = {"models": models, "tasks": tasks, "arms": ["two-step"], "concurrency": 1}

        def kill_it() -> None:
            # All first steps of the one, and some of the other's.
            deadline = time.monotonic() + 60
            while replies_in(tmp_path / "run") < 8 and time.monotonic() < deadline:
                time.sleep(0.01)
            slow.process.kill()

        threading.Thread(target=kill_it, daemon=True).start()
        summary, _ = carry_out(tmp_path, **fields, attempts=1)
    said = [one for one in summary.complaints if "second steps" in one]
    assert len(said) == 1
    assert said[0].startswith("model 'gone': second steps are left unasked: no tokens could be counted at")
    assert not summary.complete
    found = asked_in(tmp_path / "run")
    assert all(FIRST in one for one in noted(found["baseline-lead"]))
    assert all(answered.reply is not None for _, answered in found["baseline-lead"])
    awaited = [answered for _, answered in found["gone"] if AWAITS in (answered.evidence or {})]
    assert len(awaited) == 6


def test_no_cell_is_said_to_be_done_while_its_first_steps_are_answered(tmp_path: Path, server: Server) -> None:
    tasks = notes(tmp_path, "broken arm; fever", "cough")
    study = write_study(tmp_path / "s.yaml", models=[model_at(server, "baseline-lead")], tasks=tasks, arms=["two-step"])
    done = wardround("run", study, "--out", "run", cwd=tmp_path)
    before, _, after = done.stderr.partition("the second steps follow")
    assert "done:" not in before
    assert "done:" in after


def test_an_arm_of_two_steps_with_other_worked_examples_is_refused(tmp_path: Path) -> None:
    arms = [{"name": "two", "evidence": "two-step", "shots_by": "none"}]
    with pytest.raises(StudyError, match="shots_by: a two-step arm has the task's own worked examples"):
        load_study(write_study(tmp_path / "s.yaml", arms=arms))


@pytest.mark.parametrize("budget", [4, 9, 16])
def test_the_empty_line_before_what_was_found_is_within_the_budget(tmp_path: Path, budget: int) -> None:
    text = "broken arm; coughing badly; fever; cough"
    arms = [{"name": "two", "evidence": "two-step", "budget": budget}]
    models = [{"name": "m", "base_url": "http://127.0.0.1:9/v1", "context": 2000}]
    study = load_study(write_study(tmp_path / "s.yaml", models=models, tasks=notes(tmp_path, text), arms=arms))
    prepared = [one for choice in study.tasks for one in prepare(choice, study.profile)]
    with Journal.create(tmp_path / "run") as journal:
        plan(study, journal, prepared, {}, None)
        ((first, _, _),) = journal.pending()
        journal.record([Outcome(first, Reply(text, "", "stop", 5, 2, 0, 0, None, 1, "f"), 1)])
        plan_second_steps(study, journal, prepared, None, {})
        ((second, _, _),) = journal.pending()
        block = journal.request(second)[0].messages[-1].content.removeprefix(text)
        (answered,) = journal.answers(journal.cells()[0].id)
    assert dict(answered.evidence or {})["tokens"] == (estimate(block) if block else 0) <= budget
