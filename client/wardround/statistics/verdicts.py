"""What a difference allows to be said, in words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from wardround.statistics.pairs import Difference
from wardround.statistics.power import ALPHA

# Of fewer not even all, leaning one way, are rarer than 2.5 %: 1 in 2 to the power of their number.
FEWEST_CASES = 6


class Finding(StrEnum):
    """What is said of the first of a pair; the order is that in which the findings are tried."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"
    NON_INFERIOR = "non-inferior"
    NO_DIFFERENCE_SHOWN = "no difference shown"
    NOT_TESTED = "not tested"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A finding with what it rests on; `margin` and `detectable` are shares of 1.

    `margin` is set where the margin given beforehand is kept, `detectable` where the study shows nothing.
    """

    finding: Finding
    margin: float | None = None
    detectable: float | None = None

    def __str__(self) -> str:
        """The verdict as a report says it: "no difference shown; the study could see 6.3 points"."""
        if self.finding is Finding.NO_DIFFERENCE_SHOWN and self.detectable is not None:
            return f"{self.finding}; the study could see {_points(self.detectable)}"
        if self.margin is None:
            return str(self.finding)
        if self.finding is Finding.WORSE:
            return f"worse, but non-inferior at {_points(self.margin)}"
        return f"{self.finding} at {_points(self.margin)}"


def verdict(
    difference: Difference | None,
    p: float | None,
    *,
    margin: float | None = None,
    detectable: float | None = None,
    alpha: float = ALPHA,
    cases: int | None = None,
    reference: float | None = None,
) -> Verdict:
    """What may be said of the first of a pair, `difference` being first minus second of a metric that should be high.

    "better" and "worse" rest on the adjusted p-value alone, so that they hold over the whole family; an interval
    without 0 does not make a difference. Where a `margin` was given beforehand, "equivalent" and "non-inferior" rest on
    the interval, each with an error of 2.5 % a comparison, not a family; and a model that is worse may be so by less
    than the margin. `detectable` is the difference that the study could see, see `power`.

    No margin is kept over fewer than `FEWEST_CASES` independent `cases`, nor where the second's value (`reference`) is
    itself no larger than the margin: there a model that says nothing would keep it (ICH E10 on assay sensitivity).
    """
    if difference is None:
        return Verdict(Finding.NOT_TESTED)
    kept = margin if margin is not None and non_inferior(difference, margin) else None
    if (cases is not None and cases < FEWEST_CASES) or (reference is not None and reference <= (margin or 0.0)):
        kept = None
    if p is not None and p <= alpha and difference.value != 0:
        if difference.value > 0:
            return Verdict(Finding.BETTER)
        return Verdict(Finding.WORSE, kept)
    if kept is not None:
        both = difference.high is not None and difference.high < kept
        return Verdict(Finding.EQUIVALENT if both else Finding.NON_INFERIOR, kept)
    if p is None:
        return Verdict(Finding.NOT_TESTED)
    return Verdict(Finding.NO_DIFFERENCE_SHOWN, detectable=detectable)


def non_inferior(difference: Difference, margin: float) -> bool:
    """Whether the first is shown to be worse by less than `margin` at most, a share given before the data are seen.

    That is so where the lower end of the 95 % interval, a one-sided bound of 97.5 %, lies above −margin (ICH E9,
    section 3.3.2). An unknown interval shows nothing. Raises `ValueError` unless the margin is positive.
    """
    if margin <= 0:
        raise ValueError(f"a margin of {margin} is none: give a positive share, 0.05 for five points")
    return difference.low is not None and difference.low > -margin


def _points(share: float) -> str:
    """A share in points, with one decimal where there is one: "6.3 points", "5 points", "1 point"."""
    number = f"{100 * share:.1f}".removesuffix(".0")
    return f"{number} point" if number == "1" else f"{number} points"
