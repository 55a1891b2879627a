"""Arm against arm, and what evidence does more to one model of a pair than to the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.running.test_two_step import notes
from tests.support import wardround, write_study
from wardround.journal import Journal
from wardround.reports.comparing import compare_run
from wardround.reports.retrieval_effects import interactions, what_evidence_changed

ARMS = ["closed-book", {"name": "bm25", "budget": 700}, {"name": "random-passages", "budget": 700}]


def row(name: str, served: str) -> dict[str, str]:
    return {"name": name, "base_url": "embedded", "served_as": served}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader of what it is shown, called biomedical, and one that always says F, called its counterpart."""
    folder = tmp_path_factory.mktemp("effects")
    models = [row("bio", "baseline-overlap"), row("general", "baseline-always-f")]
    tasks = [{"task": "longhealth:longhealth_t2", "limit": 40}]
    study = write_study(folder / "s.yaml", models=models, pairs=[["bio", "general"]], tasks=tasks, arms=ARMS)
    done = wardround("run", study, "--out", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def accuracy(journal: Journal, model: str, arm: str) -> float:
    (cell,) = (cell for cell in journal.cells() if (cell.model, cell.arm) == (model, arm))
    values = [scores["accuracy"] or 0.0 for scores in journal.scores(cell.id, "strict").values()]
    return sum(values) / len(values)


def test_the_difference_in_differences_is_that_of_the_two_models_gains(run: Path) -> None:
    with Journal.open(run) as journal:
        found = {(one.arm, one.against): one for one in interactions(journal, compare_run(journal))}
        assert set(found) == {
            ("bm25", "closed-book"),
            ("random-passages", "closed-book"),
            ("bm25", "random-passages"),
        }
        for (arm, against), one in found.items():
            gain = accuracy(journal, "bio", arm) - accuracy(journal, "bio", against)
            assert one.first == pytest.approx(gain)
            assert one.second == 0
            assert one.n == 40
            assert one.difference is not None
            assert one.difference.value == pytest.approx(gain)
            assert one.difference.low is not None
            assert one.difference.high is not None
            assert one.difference.low <= gain <= one.difference.high
            assert one.p is not None
            assert one.p_adjusted is not None
            assert one.p <= one.p_adjusted <= 1


def test_the_report_shows_arms_with_gained_and_lost_and_the_pair_below_them(run: Path) -> None:
    shown = wardround("report", run, cwd=run.parent).stdout
    arms, pairs = shown.split("Arm against arm, ", 1)[1].split("Does evidence change the first model of a pair", 1)
    lines = [line.split() for line in arms.splitlines() if line.startswith(("bio ", "general "))]
    assert {(line[0], line[2], line[3]) for line in lines} == {
        (model, arm, against)
        for model in ("bio", "general")
        for arm, against in (
            ("bm25", "closed-book"),
            ("random-passages", "closed-book"),
            ("bm25", "random-passages"),
        )
    }
    assert sum(line.startswith("bio / general  longhealth_t2") for line in pairs.splitlines()) == 3


def test_a_counterpart_as_good_as_the_first_gains_as_much(tmp_path: Path) -> None:
    models = [row("bio", "baseline-overlap"), row("twin", "baseline-overlap")]
    tasks = [{"task": "longhealth:longhealth_t1", "limit": 20}]
    study = write_study(tmp_path / "s.yaml", models=models, pairs=[["bio", "twin"]], tasks=tasks, arms=ARMS[:2])
    assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 0
    with Journal.open(tmp_path / "run") as journal:
        (one,) = interactions(journal, compare_run(journal))
    assert one.first == one.second
    assert one.difference is not None
    assert (one.difference.value, one.p) == (0, 1)


def test_of_baselines_alone_the_arms_of_the_one_that_reads_are_compared_and_no_pair_is(tmp_path: Path) -> None:
    tasks = [{"task": "longhealth:longhealth_t1", "limit": 2}]
    models = ["baseline-overlap", "baseline-lead", "baseline-random"]
    study = write_study(tmp_path / "s.yaml", models=models, tasks=tasks, arms=ARMS[:2])
    assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 0
    with Journal.open(tmp_path / "run") as journal:
        lines = what_evidence_changed(journal)
    assert [line.split()[0] for line in lines if line.startswith("baseline")] == ["baseline-overlap"]
    assert not any("counterpart" in line for line in lines)


def test_two_steps_stand_against_one(tmp_path: Path) -> None:
    tasks = notes(tmp_path, "broken arm; fever", "cough", "broken leg")
    study = write_study(
        tmp_path / "s.yaml", models=[row("mine", "baseline-lead")], tasks=tasks, arms=["full", "two-step"]
    )
    assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 0
    with Journal.open(tmp_path / "run") as journal:
        (line,) = (line for line in what_evidence_changed(journal) if line.startswith("mine"))
    assert line.split()[:6] == ["mine", "notes", "two-step", "full", "named", "3"]


def test_a_run_of_one_arm_has_nothing_to_tell(tmp_path: Path) -> None:
    study = write_study(tmp_path / "s.yaml", models=[row("mine", "baseline-lead")])
    assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 0
    with Journal.open(tmp_path / "run") as journal:
        assert what_evidence_changed(journal) == []
