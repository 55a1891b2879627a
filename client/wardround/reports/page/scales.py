"""From values to places on an axis, and the ticks between: pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_STEPS = (1, 2, 5, 10)


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis from `low` at pixel `start` to `high` at pixel `end`; by ratios if `logarithmic`."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value; values beyond the axis stand at its ends."""
        share = self._share(min(max(value, self.low), self.high))
        return self.start + share * (self.end - self.start)

    def _share(self, value: float) -> float:
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    @property
    def ticks(self) -> list[float]:
        """Round values along the axis: four to eleven of them, or the 1, 2 and 5 of each power of ten."""
        return log_ticks(self.low, self.high) if self.logarithmic else round_ticks(self.low, self.high)


def around(values: Sequence[float], start: float, end: float, *, room: float = 0.06) -> Scale:
    """A linear scale that holds all values with some room at both ends, on round ticks; below 0 only if a value is."""
    low, high = min(values), max(values)
    spare = (high - low) * room or max(abs(high) * room, 1e-9)
    step = _step(high - low + 2 * spare)
    first = math.floor((low - spare) / step) * step
    return Scale(first if low < 0 else max(first, 0.0), math.ceil((high + spare) / step) * step, start, end)


def ratios_around(values: Sequence[float], start: float, end: float) -> Scale:
    """A logarithmic scale that holds all values, which must be above 0, and at least a factor of four."""
    low, high = min(values) / 1.3, max(values) * 1.3
    wanted = max(4 / (high / low), 1) ** 0.5
    return Scale(low / wanted, high * wanted, start, end, logarithmic=True)


def round_ticks(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 × 10^k from `low` to `high`."""
    step = _step(high - low)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each power of ten between; over more than four powers the powers alone."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1,) if len(powers) > 5 else (1, 2, 5)
    return [value for power in powers for digit in digits if low <= (value := digit * 10.0**power) <= high]


def _step(span: float) -> float:
    """The round step that cuts a span into at most ten parts."""
    power = 10.0 ** math.floor(math.log10(span / 10))
    return next((digit * power for digit in _STEPS if digit * power >= span / 10 - 1e-12), 10 * power)


def tick_label(value: float) -> str:
    """A tick as it is written: "0.02", "5", "1,000", with a true minus."""
    return f"{value:,.6g}".replace("-", "\u2212")
