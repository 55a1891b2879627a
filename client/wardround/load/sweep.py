"""Looking for the knee: the highest rate that a server carries before its users wait.

The rate is doubled from a first, low one until it is no longer carried, then the interval between the last rate that
was and the first that was not is halved until it is narrow.

A rate is carried if at least 95 % of the requests offered within the window met the service level objectives. Without
objectives: if at least 95 % got an answer, requests end as fast as they come (95 % again), and the 90th percentile of
the user's TTFT is at most three times that at the first rate. Both readings are of open-loop arrivals, so a queue that
grows shows in the wait of those who are in it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from wardround.errors import WrongUse
from wardround.load.measures import Measured, Slo

CARRIED_SHARE = 0.95
# Three times the wait of an idle server is a wait that is noticed, and far beyond the noise of an idle one.
TTFT_TIMES_IDLE = 3.0
NARROW = 0.05
MOST_STEPS = 40
LEAST_REQUESTS = 2


@dataclass(frozen=True, slots=True)
class Step:
    """One rate that was tried, in requests/s: what was measured, and whether it was carried."""

    rate_rps: float
    measured: Measured
    carried: bool


@dataclass(frozen=True, slots=True)
class Sweep:
    """All steps in the order of their trial. The knee lies between `carried_rps` and `refused_rps`.

    `carried_rps` is None if not even the first rate was carried, `refused_rps` if every rate up to the bound was.
    """

    steps: tuple[Step, ...]
    carried_rps: float | None
    refused_rps: float | None


async def find_knee(
    attempt: Callable[[float], Awaitable[Measured]],
    slo: Slo,
    *,
    first_rps: float = 1.0,
    highest_rps: float = 1000.0,
    narrow: float = NARROW,
    on_step: Callable[[Step], None] = lambda _step: None,
) -> Sweep:
    """Try rates until the knee lies within `narrow` (a share of the rate) or `highest_rps` is carried.

    `attempt(rate)` loads the server at that rate in an open loop and measures. Raises `WrongUse` for rates that make no
    interval.
    """
    if not 0 < first_rps <= highest_rps:
        raise WrongUse(f"a sweep goes upwards from a rate above 0, not from {first_rps:g} to {highest_rps:g}")
    steps: list[Step] = []
    idle: Measured | None = None
    carried: float | None = None
    refused: float | None = None
    rate = first_rps
    while len(steps) < MOST_STEPS:
        measured = await attempt(rate)
        idle = idle or measured
        step = Step(rate, measured, is_carried(rate, measured, idle, slo))
        steps.append(step)
        on_step(step)
        if step.carried:
            carried = rate
        else:
            refused = rate
        if refused is None:
            if rate >= highest_rps:
                break
            rate = min(rate * 2, highest_rps)
        elif carried is None:
            # Not even idle is fast enough, or the first rate was too high: look for one that is carried below it.
            # A rate that brings no request within a window says nothing.
            if rate < first_rps / 64 or rate / 4 * measured.window_s < LEAST_REQUESTS:
                break
            rate /= 4
        elif refused - carried <= narrow * refused:
            break
        else:
            rate = (carried + refused) / 2
    return Sweep(tuple(steps), carried, refused)


def is_carried(rate_rps: float, measured: Measured, idle: Measured, slo: Slo) -> bool:
    """Whether a rate was carried; see the top of this file."""
    if not measured.requests:
        return False
    if slo.given:
        # Of what was offered, and not of the rate that was meant: random arrivals bring a few more or less.
        met = (measured.goodput_per_s or 0.0) * measured.window_s
        return met >= CARRIED_SHARE * measured.requests
    if measured.succeeded < CARRIED_SHARE * measured.requests:
        return False
    if measured.requests_per_s * measured.window_s < CARRIED_SHARE * measured.requests:
        return False
    if measured.ttft_user is None or idle.ttft_user is None:
        return True
    return measured.ttft_user.percentiles_s[90] <= TTFT_TIMES_IDLE * idle.ttft_user.percentiles_s[90]
