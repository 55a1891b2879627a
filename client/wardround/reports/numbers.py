"""How numbers are written in tables: pure functions."""

from __future__ import annotations

import math

ABSENT = "–"
LEAST_DOLLARS = 0.000001
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def percent(value: float | None) -> str:
    """A share from 0 to 1 in per cent with one decimal: 0.5 -> "50.0"."""
    return ABSENT if value is None else f"{100 * value:.1f}"


def interval(low: float | None, high: float | None) -> str:
    """Two shares as an interval in per cent: "[35.8, 64.2]"."""
    return ABSENT if low is None or high is None else f"[{percent(low)}, {percent(high)}]"


def share(part: int, whole: int) -> str:
    """A count as a share of a whole in per cent; absent where the whole is nothing."""
    return percent(part / whole) if whole else ABSENT


def counted(number: int, thing: str) -> str:
    """A count with its thing: "1 sample", "2 samples"."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def number(value: int | None) -> str:
    """A whole number with thousands apart: "12,345"."""
    return ABSENT if value is None else f"{value:,}"


def seconds(value: float | None) -> str:
    """Seconds with three significant digits at most, to the millisecond: "0.012", "1.23", "12.3", "1,234"."""
    if value is None:
        return ABSENT
    decimals = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{decimals}f}"


def dollars(value: float | None, *, at_least: bool = False) -> str:
    """US dollars to the cent: "$1,234.50"; below a dollar two significant digits: "$0.0042".

    `at_least` marks a sum of which a part is not known: "≥ $12.40".
    """
    if value is None:
        return ABSENT
    if 0 < value < LEAST_DOLLARS:
        return "≥ $0.00" if at_least else f"<${LEAST_DOLLARS:f}"
    rounded = value if value >= 1 else float(f"{value:.1e}")
    # 0.0042 has its first digit in the third decimal, and its second in the fourth.
    decimals = 2 if rounded >= 1 or rounded == 0 else max(2, 1 - math.floor(math.log10(rounded)))
    return f"{'≥ ' if at_least else ''}${value:,.{decimals}f}"


def duration(value_s: float | None) -> str:
    """A stretch of time in its two largest units: "45 s", "12 min 5 s", "3 h 20 min", "2 d 4 h"."""
    if value_s is None:
        return ABSENT
    if 0 < value_s < 1:
        return "<1 s"
    left, parts = round(value_s), []
    for unit, length_s in _UNITS:
        parts.append((left // length_s, unit))
        left %= length_s
    first = next((place for place, (many, _) in enumerate(parts) if many), len(parts) - 1)
    return " ".join(f"{many} {unit}" for many, unit in parts[first : first + 2] if many or unit == parts[first][1])
