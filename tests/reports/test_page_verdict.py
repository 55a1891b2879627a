"""The verdict in sentences: what is said of which findings, and what is not claimed."""

from __future__ import annotations

import pytest

from wardround.reports.comparison import Comparison, Side
from wardround.reports.page.verdict import headline
from wardround.statistics import Finding, Verdict

FIRSTS = "biomedical model"


def compared(
    finding: Finding, *, detectable: float | None = None, first: str = "bio", task: str = "mednli"
) -> Comparison:
    """A comparison of which only what the verdict reads matters."""
    kept = 0.05 if finding in (Finding.EQUIVALENT, Finding.NON_INFERIOR) else None
    sides = [Side(model, "closed-book", 0.5, 100, 100, 0, 0) for model in (first, "plain")]
    return Comparison(
        kind="models", task=task, task_name=task, level=None, metric="accuracy", profile="strict",
        first=sides[0], second=sides[1], n=100, clusters=100, clustered=False, unpaired=0, failed=0,
        difference=0.0, low=-0.1, high=0.1, standard_error=0.05, test="McNemar, exact", p=0.5, p_adjusted=1.0,
        detectable=detectable, detectable_alone=detectable, tally=None, verdict=Verdict(finding, kept, detectable),
        words=str(finding),
    )  # fmt: skip


BETTER, WORSE = compared(Finding.BETTER), compared(Finding.WORSE)
NONE = compared(Finding.NO_DIFFERENCE_SHOWN, detectable=0.063)


@pytest.mark.parametrize(
    ("comparisons", "beginning"),
    [
        ([NONE], "No difference is shown in 1 comparison (1 pair"),
        ([BETTER, NONE], "Where a difference is shown, the biomedical model is better: in 1 of 2 comparisons"),
        ([WORSE, NONE], "The biomedical model is better nowhere and worse in 1 of 2 comparisons"),
        ([BETTER, WORSE], "It depends on the pair and the task: of 2 comparisons"),
    ],
)
def test_the_first_sentence_is_the_answer(comparisons: list[Comparison], beginning: str) -> None:
    assert headline(comparisons, FIRSTS).startswith(beginning)


def test_no_difference_is_never_called_equal_and_says_what_could_have_been_seen() -> None:
    other = compared(Finding.NO_DIFFERENCE_SHOWN, detectable=0.124)
    said = headline([NONE, other], FIRSTS)
    assert "no proof that there is none: the study could see differences of 6 to 12 points there." in said
    assert "equal" not in said


def test_a_study_that_can_see_nothing_says_so() -> None:
    blind = compared(Finding.NO_DIFFERENCE_SHOWN)
    assert "in one of these it has too few cases to see any." in headline([blind, BETTER], FIRSTS)
    both = headline([blind, NONE], FIRSTS)
    assert "differences of 6 points, and in one of these it has too few cases to see any." in both


def test_keeping_the_margin_is_told_apart_from_being_better() -> None:
    said = headline([BETTER, compared(Finding.NON_INFERIOR), compared(Finding.EQUIVALENT)], FIRSTS)
    assert "is better: in 1 of 3" in said
    assert "In 2 more it is shown not to be worse by 5 points or more." in said


def test_what_could_not_be_tested_is_counted() -> None:
    assert " One could not be tested." in headline([BETTER, compared(Finding.NOT_TESTED)], FIRSTS)


def test_where_nothing_is_undecided_nothing_is_excused() -> None:
    assert "no proof" not in headline([BETTER, WORSE], FIRSTS)


def test_pairs_are_counted_once_whatever_their_tasks() -> None:
    pairs = [compared(Finding.BETTER, task=task, first=first) for task in ("a", "b") for first in ("x", "y")]
    assert "4 comparisons (2 pairs of models on their tasks)" in headline(pairs, FIRSTS)
