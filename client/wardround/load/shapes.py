"""Load shapes: when requests are due, in seconds from the start, as pure functions of their arguments and a seed.

Each yields a rising sequence that ends before `duration_s`. An open loop never waits for a reply, so nothing about
replies enters here; the closed loop has no arrivals but users, and needs none of this. Short definitions:

- constant: one every 1/rate seconds.
- poisson: gaps exponentially distributed with mean 1/rate, so that arrivals are independent of each other.
- gamma: gaps gamma-distributed with mean 1/rate and shape `burstiness`: 1 is Poisson, less comes in bursts, more is
  evener (vLLM's and BurstGPT's parameter of that name).
- ramp: the rate goes in a straight line from `from_rps` to `to_rps`; the k-th arrival is where the integral of the rate
  reaches k.
- trace: times that were written down, moved to begin at 0, their gaps divided by `pace`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

# Drawn at a time: enough that NumPy is worth its call, little enough to be no matter.
_DRAWN_AT_ONCE = 4096


def constant(rate_rps: float, duration_s: float) -> Iterator[float]:
    """`rate_rps` requests a second, evenly; the first at 0. Raises `ValueError` for a rate that is not positive."""
    _positive(rate_rps)
    # Multiplied and not summed up: a million additions would drift.
    times = (number / rate_rps for number in itertools.count())
    return itertools.takewhile(lambda at_s: at_s < duration_s, times)


def poisson(rate_rps: float, duration_s: float, seed: int) -> Iterator[float]:
    """Independent arrivals at a mean of `rate_rps` a second; the first after a gap of its own."""
    return gamma(rate_rps, duration_s, seed, burstiness=1.0)


def gamma(rate_rps: float, duration_s: float, seed: int, *, burstiness: float) -> Iterator[float]:
    """Gamma-distributed gaps of mean 1/`rate_rps` and coefficient of variation 1/sqrt(`burstiness`).

    Raises `ValueError` unless rate and burstiness are positive.
    """
    _positive(rate_rps)
    if not burstiness > 0 or not math.isfinite(burstiness):
        raise ValueError(f"burstiness must be above 0, not {burstiness}")
    return itertools.takewhile(lambda at_s: at_s < duration_s, _gamma_times(rate_rps, seed, burstiness))


def _gamma_times(rate_rps: float, seed: int, burstiness: float) -> Iterator[float]:
    generator = np.random.default_rng(seed)
    reached_s = 0.0
    while True:
        gaps = generator.gamma(burstiness, 1.0 / (rate_rps * burstiness), _DRAWN_AT_ONCE)
        times = reached_s + np.cumsum(gaps)
        yield from times.tolist()
        reached_s = float(times[-1])


def ramp(from_rps: float, to_rps: float, duration_s: float) -> Iterator[float]:
    """A rate that goes in a straight line from `from_rps` to `to_rps` within `duration_s`.

    The k-th arrival (k = 0, 1, …) is the t that solves from·t + (to − from)·t²/(2·duration) = k. Raises `ValueError`
    for a negative rate, or if both are 0.
    """
    if min(from_rps, to_rps) < 0 or not max(from_rps, to_rps) > 0 or not math.isfinite(from_rps + to_rps):
        raise ValueError(f"a ramp goes from a rate to a rate, one of them above 0; not from {from_rps} to {to_rps}")
    slope = (to_rps - from_rps) / duration_s
    total = math.floor((from_rps + to_rps) * duration_s / 2 - 1e-9)
    for number in range(total + 1):
        # The form of the quadratic's root that stays exact when the slope is 0 or small.
        root = math.sqrt(max(0.0, from_rps * from_rps + 2 * slope * number))
        denominator = from_rps + root
        at_s = 2 * number / denominator if denominator else 0.0
        if at_s < duration_s:
            yield at_s


def trace(times_s: Sequence[float], *, pace: float = 1.0) -> Iterator[float]:
    """Arrivals as they were written down, `pace` times as fast; sorted, the first at 0.

    Raises `ValueError` for a pace that is not positive or a time that is no number.
    """
    _positive(pace, "pace")
    ordered = sorted(times_s)
    if not all(math.isfinite(at_s) for at_s in ordered):
        raise ValueError("a trace holds a time that is no finite number")
    return ((at_s - ordered[0]) / pace for at_s in ordered)


def _positive(value: float, what: str = "rate") -> None:
    if not value > 0 or not math.isfinite(value):
        raise ValueError(f"{what} must be above 0, not {value}")
