from __future__ import annotations

import contextlib
import sqlite3
import stat
from pathlib import Path

import pytest

from wardround.endpoints import Failure, Params, Reply
from wardround.errors import JournalError
from wardround.journal import JOURNAL_FILE, Asked, Journal, Outcome, Row
from wardround.journal.entering import rows_at_once
from wardround.task import Message, Prompt, Sample

PARAMS = Params(max_tokens=5, stop=("\n",), extra_body={"top_k": 1})


def sample(name: str, text: str = "fever", cluster: str | None = None) -> Sample:
    return Sample(name, {"text": text}, "gold", cluster)


def prompt(text: str, prefill: str = "") -> Prompt:
    return Prompt((Message("system", "be short"), Message("user", text)), prefill)


def asked(model: str = "m", task: str = "t", url: str = "u", params: Params = PARAMS) -> Asked:
    return Asked(model, task, "closed-book", "strict", "mednli", params, {"base_url": url, "model": model})


def reply(text: str = "yes") -> Reply:
    return Reply(text, "because", "stop", 10, 2, 100, 110, None, 200, "m fp_1")


def plan(journal: Journal, *cells: Asked, rows: list[tuple[Sample, Prompt]] | None = None) -> None:
    rows = rows or [(sample("a"), prompt("a?")), (sample("b"), prompt("b?"))]
    with journal.transaction():
        journal.begin_plan()
        for cell in cells or (asked(),):
            journal.place_cells([cell])
            journal.plan_cells([cell], [Row(*row) for row in rows])


def test_a_new_journal_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "run") as journal:
        plan(journal)
        assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
        for path in (tmp_path / "run").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_what_was_planned_is_pending_in_order(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "run") as journal:
        plan(journal, asked("m"), asked("n"))
        assert [model for _, model, _ in journal.pending()] == ["m", "m", "n", "n"]
        first, _, _ = journal.pending()[0]
        assert journal.request(first) == (prompt("a?"), PARAMS)


def test_samples_of_one_cluster_follow_one_another(tmp_path: Path) -> None:
    rows = [(Sample(name, {"q": name}, "YES", name[0]), prompt(name)) for name in ("a1", "b1", "a2", "c1", "b2")] + [
        (Sample(name, {"q": name}, "YES"), prompt(name)) for name in ("alone", "apart")
    ]
    with Journal.create(tmp_path / "run") as journal:
        plan(journal, asked(), rows=rows)
        told = [journal.request(request)[0].messages[-1].content for request, _, _ in journal.pending()]
    assert told == ["a1", "a2", "b1", "b2", "c1", "alone", "apart"]


def test_several_requests_are_read_at_once(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "run") as journal:
        plan(journal)
        numbers = [request for request, _, _ in journal.pending()]
        assert journal.requests(numbers) == {one: journal.request(one) for one in numbers}


def test_prefill_and_all_parameters_come_back(tmp_path: Path) -> None:
    full = Params(7, 0.5, 3, ("a", "b"), {"x": {"y": [1, None]}})
    with Journal.create(tmp_path / "run") as journal:
        plan(journal, asked(params=full), rows=[(sample("a"), prompt("a?", "Answer: "))])
        assert journal.request(journal.pending()[0][0]) == (prompt("a?", "Answer: "), full)


def test_a_recorded_reply_is_no_longer_pending_and_comes_back_whole(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "run") as journal:
        plan(journal)
        request = journal.pending()[0][0]
        journal.record([Outcome(request, reply(), 2, ((1, Failure("rate_limit", "slow down", 429, True)),))])
        assert len(journal.pending()) == 1
        first, second = journal.answers(journal.cells()[0].id)
        assert first.reply == reply()
        assert (second.reply, second.failure) == (None, "not_asked")


def test_a_failed_request_stays_pending_and_is_named(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "run") as journal:
        plan(journal)
        request = journal.pending()[0][0]
        journal.record([Outcome(request, Failure("overload", "full", 503, True), 6)])
        assert len(journal.pending()) == 2
        assert next(journal.answers(journal.cells()[0].id)).failure == "overload"


def test_a_failure_that_was_answered_later_is_no_failure(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "run") as journal:
        plan(journal)
        request = journal.pending()[0][0]
        journal.record([Outcome(request, Failure("overload", "full", 503, True), 6)])
        journal.record([Outcome(request, reply(), 1)])
        assert next(journal.answers(journal.cells()[0].id)).failure is None


def test_identical_requests_of_two_cells_are_one(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "run") as journal:
        plan(journal, asked(task="t"), asked(task="u"))
        pending = journal.pending()
        assert len(pending) == 2
        assert all(len(cells) == 2 for _, _, cells in pending)


def test_of_more_samples_than_are_entered_at_once_each_asks_its_own_prompt_of_each_model(tmp_path: Path) -> None:
    numbers = range(2 * rows_at_once(2) + 3)
    # Every third prompt stands twice, far apart or side by side.
    shown = [f"{number - 1 if number % 3 == 2 else number % 50}?" for number in numbers]
    rows = [Row(sample(str(number)), prompt(text)) for number, text in zip(numbers, shown, strict=True)]
    cells = [asked("m"), asked("n")]
    with Journal.create(tmp_path / "run") as journal:
        with journal.transaction():
            journal.begin_plan()
            journal.place_cells(cells)
            journal.plan_cells(cells, rows)
        query = """
            SELECT cells.model, requests.model, asks.position, samples.sample, requests.id
            FROM asks JOIN cells ON cells.id = asks.cell JOIN samples ON samples.id = asks.sample
            JOIN requests ON requests.id = asks.request ORDER BY cells.model, asks.position"""
        found = list(journal.read(query))
        assert [row[:4] for row in found] == [(name, name, number, str(number)) for name in "mn" for number in numbers]
        assert [journal.request(row[4])[0] for row in found] == 2 * [prompt(text) for text in shown]
        assert len(journal.pending()) == 2 * len(set(shown))


@pytest.mark.parametrize(
    "other",
    [
        asked("m", url="elsewhere"),
        asked("other"),
        asked("m", params=Params(max_tokens=6)),
        asked("m", params=Params(max_tokens=5, temperature=0.7)),
    ],
    ids=["another server", "another model", "another limit", "another temperature"],
)
def test_a_reply_is_never_used_for_another_endpoint_or_other_parameters(tmp_path: Path, other: Asked) -> None:
    with Journal.create(tmp_path / "run") as journal:
        plan(journal, asked("m"))
        for request, _, _ in journal.pending():
            journal.record([Outcome(request, reply(), 1)])
        plan(journal, other)
        assert len(journal.pending()) == 2


def test_a_question_changed_under_the_same_id_is_asked_again(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "run") as journal:
        plan(journal, rows=[(sample("a"), prompt("old?"))])
        journal.record([Outcome(journal.pending()[0][0], reply(), 1)])
        plan(journal, rows=[(sample("a"), prompt("new?"))])
        assert len(journal.pending()) == 1


def test_planning_the_same_again_keeps_replies_and_scores(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "run") as journal:
        plan(journal)
        cell = journal.cells()[0].id
        journal.put_scores(cell, "strict", [(0, {"accuracy": 1.0, "undefined": None})])
        plan(journal)
        assert journal.cells()[0].id == cell
        assert journal.scores(cell, "strict") == {0: {"accuracy": 1.0, "undefined": None}}


def test_what_is_noted_of_a_sample_may_change_and_its_scores_stay(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "run") as journal:
        plan(journal)
        cell = journal.cells()[0].id
        journal.put_scores(cell, "strict", [(0, {"accuracy": 1.0})])
        with journal.transaction():
            journal.begin_plan()
            journal.place_cells([asked()])
            rows = [Row(sample(name), prompt(f"{name}?"), (), {"k": 1}) for name in ("a", "b")]
            journal.plan_cells([asked()], rows)
        assert [one.evidence for one in journal.answers(cell)] == [{"k": 1}] * 2
        assert journal.scores(cell, "strict") == {0: {"accuracy": 1.0}}


def test_a_changed_cell_loses_its_scores(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "run") as journal:
        plan(journal)
        cell = journal.cells()[0].id
        journal.put_scores(cell, "strict", [(0, {"accuracy": 1.0})])
        plan(journal, rows=[(sample("b"), prompt("b?"))])
        assert journal.scores(cell, "strict") == {}


def test_a_cell_taken_out_of_the_study_keeps_its_replies_for_later(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "run") as journal:
        plan(journal, asked("m"))
        for request, _, _ in journal.pending():
            journal.record([Outcome(request, reply(), 1)])
        plan(journal, asked("n"))
        assert [cell.model for cell in journal.cells()] == ["n"]
        plan(journal, asked("m"))
        assert journal.pending() == []


def test_a_failing_plan_leaves_the_old_one(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "run") as journal:
        plan(journal)
        with contextlib.suppress(ValueError), journal.transaction():
            journal.begin_plan()
            raise ValueError("broken")
        assert len(journal.cells()) == 1


def test_lone_surrogates_are_kept_as_replacement_characters(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "run") as journal:
        plan(journal, rows=[(sample("a", "bad \ud800"), prompt("bad \ud800"))])
        asked_prompt, _ = journal.request(journal.pending()[0][0])
        assert asked_prompt.messages[1].content == "bad \ufffd"


def test_two_runs_do_not_write_to_one_folder(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "run"), pytest.raises(JournalError, match="another run is writing"):
        Journal.create(tmp_path / "run")
    Journal.create(tmp_path / "run").close()


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(JournalError, match="holds files but no run"):
        Journal.create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def test_opening_what_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="holds no run"):
        Journal.open(tmp_path)
    (tmp_path / JOURNAL_FILE).write_text("not a database, but long enough to look at" * 10)
    with pytest.raises(JournalError, match="cannot be opened as a journal"):
        Journal.open(tmp_path)


def test_a_journal_of_another_schema_is_refused(tmp_path: Path) -> None:
    Journal.create(tmp_path / "run").close()
    database = sqlite3.connect(tmp_path / "run" / JOURNAL_FILE)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(JournalError, match="schema 99"):
        Journal.open(tmp_path / "run")


def test_the_manifest_comes_back(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "run") as journal:
        journal.put_manifest({"study": {"study": "é", "n": 1}, "seed": None})
        assert journal.manifest() == {"study": {"study": "é", "n": 1}, "seed": None}


def test_a_run_killed_at_its_very_beginning_can_begin_again(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    Journal.create(tmp_path).close()
    assert (tmp_path / JOURNAL_FILE).exists()


def test_a_run_that_cannot_open_its_journal_lets_others_try(tmp_path: Path) -> None:
    (tmp_path / JOURNAL_FILE).write_text("not a database, but long enough to look at" * 10)
    for _ in range(2):
        with pytest.raises(JournalError, match="cannot be opened as a journal"):
            Journal.create(tmp_path)
