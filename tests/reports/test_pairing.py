"""Which pairs are compared: those named, else the study's, the catalogue's counterparts, and arms against their floor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.reports.made_runs import add_answers, task_file, tell_study
from wardround.errors import WrongUse
from wardround.journal import Journal
from wardround.reports.comparing import compare_run
from wardround.reports.pairing import split_pair

SAME = [1.0, 0.0, 1.0]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal.create(tmp_path / "run") as made:
        yield made


def compared(journal: Journal, **options: Any) -> list[str]:
    """The run's comparisons in a word each."""
    return [
        f"{one.first.model}/{one.first.arm}:{one.second.model}/{one.second.arm} {one.task}"
        for one in compare_run(journal, resamples=100, **options).comparisons
    ]


def row(name: str, group: str = "other", counterparts: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"name": name, "group": group, "counterparts": list(counterparts)}


def test_the_studys_pairs_come_first_then_all_counterparts_that_were_asked(journal: Journal, tmp_path: Path) -> None:
    add_answers(journal, task_file(tmp_path), dict.fromkeys(("bio", "general", "base", "other"), SAME))
    tell_study(journal, [row("bio", "biomedical", ("general", "base", "gone"))], pairs=[["other", "base"]])
    assert compared(journal) == [
        "other/closed-book:base/closed-book made",
        "bio/closed-book:general/closed-book made",
        "bio/closed-book:base/closed-book made",
    ]


def test_a_pair_is_compared_once_though_study_and_catalogue_name_it(journal: Journal, tmp_path: Path) -> None:
    add_answers(journal, task_file(tmp_path), {"bio": SAME, "general": SAME})
    tell_study(journal, [row("bio", "biomedical", ("general",))], pairs=[["bio", "general"]])
    assert len(compared(journal)) == 1
    assert len(compared(journal, pairs=["bio:general", "bio:general"])) == 1


def test_pairs_that_are_named_are_the_only_ones(journal: Journal, tmp_path: Path) -> None:
    for arm in ("closed-book", "full"):
        add_answers(journal, task_file(tmp_path), {"a": SAME, "b": SAME, "c": SAME}, arm=arm)
    tell_study(journal, pairs=[["a", "b"]])
    assert compared(journal, pairs=["c:a"]) == ["c/closed-book:a/closed-book made", "c/full:a/full made"]


def test_arms_that_are_named_are_compared_within_every_model(journal: Journal, tmp_path: Path) -> None:
    for arm in ("one", "two"):
        add_answers(journal, task_file(tmp_path), {"a": SAME, "b": SAME}, arm=arm)
    assert compared(journal, arms=["two:one"]) == ["a/two:a/one made", "b/two:b/one made"]


def test_arms_with_evidence_stand_against_the_floor_and_what_is_searched_against_chance(
    journal: Journal, tmp_path: Path
) -> None:
    arms: list[dict[str, Any]] = [
        {"name": "floor", "evidence": "none"},
        {"name": "bm25-1k", "evidence": "bm25", "budget": 1000},
        {"name": "bm25-2k", "evidence": "bm25", "budget": 2000},
        {"name": "random-1k", "evidence": "random-passages", "budget": 1000},
        {"name": "by-likelihood", "evidence": "full", "choice": "logprobs"},
    ]
    for arm in arms:
        add_answers(journal, task_file(tmp_path), {"a": SAME}, arm=arm["name"])
    tell_study(journal, [row("a")], arms=arms)
    # By likelihood and by the written answer are two ways of reading: what differs would not be the evidence alone.
    assert compared(journal) == [
        "a/bm25-1k:a/floor made",
        "a/bm25-1k:a/random-1k made",
        "a/bm25-2k:a/floor made",
        "a/random-1k:a/floor made",
    ]


def test_baselines_arms_are_not_compared_beside_a_models(journal: Journal, tmp_path: Path) -> None:
    for arm in ("closed-book", "full"):
        add_answers(journal, task_file(tmp_path), {"a": SAME, "baseline-overlap": SAME}, arm=arm)
    tell_study(journal, [row("a"), row("baseline-overlap", "baseline")])
    assert compared(journal) == ["a/full:a/closed-book made"]


def test_without_pairs_every_model_stands_against_chance_in_the_tasks_own_arm(journal: Journal, tmp_path: Path) -> None:
    for arm in ("bm25", "full"):
        add_answers(journal, task_file(tmp_path), {"baseline-random": SAME, "baseline-lead": SAME}, arm=arm)
    rows = [row(name, "baseline") for name in ("baseline-random", "baseline-lead")]
    tell_study(journal, rows)
    assert compared(journal) == ["baseline-lead/full:baseline-random/full made"]
    (remark, *_) = compare_run(journal, resamples=100).remarks
    assert "names no pairs" in remark


def test_a_task_that_is_named_is_the_only_one(journal: Journal, tmp_path: Path) -> None:
    for name in ("one", "two"):
        add_answers(journal, task_file(tmp_path, name), {"a": SAME, "b": SAME})
    made = compare_run(journal, pairs=["a:b"], tasks=["two"])
    assert [one.task for one in made.comparisons] == ["two"]
    assert made.family == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pairs": ["a:missing"]}, r"--pair 'a:missing': the run has no model 'missing'; it has: a, b, mistral:7b"),
        ({"pairs": ["a:mistral:8b"]}, r"the run has no model 'mistral:8b'; did you mean 'mistral:7b'\?"),
        ({"pairs": ["a"]}, r"--pair 'a': give two models with a colon between"),
        ({"pairs": ["a:a"]}, r"a model is not compared with itself"),
        ({"pairs": ["a:b"]}, r"--pair 'a:b': the two have no task in one arm in common"),
        ({"arms": ["closed-book:bm25"]}, r"has no arm 'bm25'; it has: closed-book, full"),
        ({"arms": ["closed-book:full"]}, r"--arm 'closed-book:full': the two have no model and task in common"),
        ({"tasks": ["mad"]}, r"--task: the run has no task 'mad'; did you mean 'made'\?"),
        ({}, r"the run names no pairs and has no arms to compare; give --pair A:B with two of: a, b, mistral:7b"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    journal: Journal, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    add_answers(journal, task_file(tmp_path), {"a": SAME})
    add_answers(journal, task_file(tmp_path), {"b": SAME, "mistral:7b": SAME}, arm="full")
    with pytest.raises(WrongUse, match=words) as raised:
        compare_run(journal, **options)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "pair"),
    [("a:b", ("a", "b")), ("m:7b:b", ("m:7b", "b")), ("b:m:7b", ("b", "m:7b")), ("m:7b:m:8b", ("m:7b", "m:8b"))],
)
def test_names_may_hold_colons(text: str, pair: tuple[str, str]) -> None:
    assert split_pair(text, ["a", "b", "m:7b", "m:8b"], "--pair", "model") == pair


def test_a_hostile_name_does_not_reach_the_terminal(journal: Journal, tmp_path: Path) -> None:
    add_answers(journal, task_file(tmp_path), {"a\x1b[31m\n": SAME, "b": SAME})
    with pytest.raises(WrongUse) as raised:
        compare_run(journal, pairs=["b:c\x1b[0m"])
    assert str(raised.value).isprintable()
