"""How the page writes numbers and lists: pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from wardround.reports.numbers import ABSENT

LEAST_P = 0.001
_SMALL = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def points(share: float | None) -> str:
    """A difference of shares in points with its sign: 0.032 -> "+3.2", -0.014 -> "−1.4", 0 -> "0.0"."""
    if share is None:
        return ABSENT
    written = f"{100 * share:+.1f}"
    return "0.0" if written in ("+0.0", "-0.0") else written.replace("-", "\u2212")


def points_interval(low: float | None, high: float | None) -> str:
    """The interval of a difference in points: "[−9.0, +2.6]"."""
    return ABSENT if low is None or high is None else f"[{points(low)}, {points(high)}]"


def p_value(p: float | None) -> str:
    """A p-value with three decimals: "0.032", "<0.001"."""
    if p is None:
        return ABSENT
    return f"<{LEAST_P}" if p < LEAST_P else f"{p:.3f}"


def in_words(number: int) -> str:
    """A count as prose has it: "no", "one" … "twelve", then figures."""
    return _SMALL[number] if number < len(_SMALL) else f"{number:,}"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def plural(number: int, thing: str) -> str:
    """A count in words with its thing: "one task", "two tasks", "no task"."""
    return f"{in_words(number)} {thing}{'s' if number > 1 else ''}"
