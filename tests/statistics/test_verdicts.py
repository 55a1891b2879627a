"""What is said of a difference."""

from __future__ import annotations

import pytest

from wardround.statistics import Difference, Finding, non_inferior, verdict

BETTER = Difference(0.08, 0.02, 0.14, 0.03)
WORSE = Difference(-0.04, -0.06, -0.02, 0.01)
FAR_WORSE = Difference(-0.14, -0.2, -0.08, 0.03)
CLOSE = Difference(0.0, -0.03, 0.03, 0.015)
HIGH = Difference(0.04, -0.02, 0.1, 0.03)
WIDE = Difference(0.01, -0.09, 0.11, 0.05)
UNKNOWN = Difference(0.0, None, None, None)


@pytest.mark.parametrize(
    ("difference", "p", "margin", "detectable", "words"),
    [
        (BETTER, 0.01, None, None, "better"),
        (BETTER, 0.01, 0.05, 0.1, "better"),
        (FAR_WORSE, 0.01, None, None, "worse"),
        (FAR_WORSE, 0.01, 0.05, None, "worse"),
        (WORSE, 0.01, 0.1, None, "worse, but non-inferior at 10 points"),
        (CLOSE, 1.0, 0.05, 0.042, "equivalent at 5 points"),
        (HIGH, 0.3, 0.05, 0.08, "non-inferior at 5 points"),
        (HIGH, 0.3, 0.025, 0.08, "non-inferior at 2.5 points"),
        (WIDE, 0.8, 0.05, 0.063, "no difference shown; the study could see 6.3 points"),
        (WIDE, 0.8, None, 0.01, "no difference shown; the study could see 1 point"),
        (WIDE, 0.8, None, None, "no difference shown"),
        (UNKNOWN, 1.0, 0.05, 0.063, "no difference shown; the study could see 6.3 points"),
        (WIDE, None, None, 0.063, "not tested"),
        (HIGH, None, 0.05, 0.063, "non-inferior at 5 points"),
        (None, None, 0.05, 0.063, "not tested"),
    ],
)
def test_a_verdict_in_words(
    difference: Difference | None, p: float | None, margin: float | None, detectable: float | None, words: str
) -> None:
    assert str(verdict(difference, p, margin=margin, detectable=detectable)) == words


def test_an_interval_without_0_makes_no_difference_after_holm() -> None:
    assert verdict(BETTER, 0.08).finding is Finding.NO_DIFFERENCE_SHOWN


def test_a_p_of_exactly_alpha_is_a_difference() -> None:
    assert verdict(BETTER, 0.05).finding is Finding.BETTER
    assert verdict(BETTER, 0.02, alpha=0.01).finding is Finding.NO_DIFFERENCE_SHOWN


def test_non_inferiority_rests_on_the_lower_bound_alone() -> None:
    assert non_inferior(HIGH, 0.021)
    assert not non_inferior(HIGH, 0.02)
    assert not non_inferior(FAR_WORSE, 0.1)


def test_an_unknown_interval_shows_no_non_inferiority() -> None:
    assert not non_inferior(UNKNOWN, 0.05)


@pytest.mark.parametrize("margin", [0.0, -0.05])
def test_a_margin_is_positive(margin: float) -> None:
    with pytest.raises(ValueError, match="give a positive share"):
        non_inferior(BETTER, margin)


def test_a_finding_is_a_word() -> None:
    assert str(Finding.NON_INFERIOR) == "non-inferior"
    assert verdict(WIDE, 0.5, detectable=0.1).detectable == 0.1
