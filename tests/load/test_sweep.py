from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.load.test_measures import request
from wardround.errors import WrongUse
from wardround.load.measures import Measured, Slo, Window, measure
from wardround.load.sweep import Sweep, find_knee

MS = 1_000_000
WINDOW = Window(0, 10_000 * MS)


def queue(rate_rps: float, capacity_rps: float, slo: Slo) -> Measured:
    """Ten seconds at a server that takes `capacity_rps` requests a second, one after the other."""
    free_ms = 0.0
    records = []
    for number in range(int(rate_rps * 10)):
        due_ms = number * 1000 / rate_rps
        begin_ms = max(due_ms, free_ms)
        free_ms = begin_ms + 1000 / capacity_rps
        sent, done = int(due_ms * MS), int(free_ms * MS)
        records.append(request(scheduled_ns=sent, sent_ns=sent, first_token_ns=done - MS // 10, done_ns=done))
    return measure(records, WINDOW, slo=slo, intervals=False)


def swept(capacity_rps: float, slo: Slo, **fields: Any) -> Sweep:
    async def attempt(rate: float) -> Measured:
        return queue(rate, capacity_rps, slo)

    return asyncio.run(find_knee(attempt, slo, **fields))


@pytest.mark.parametrize("capacity", [3.0, 17.0, 160.0])
@pytest.mark.parametrize("slo", [Slo(), Slo(ttft_s=1.0)])
def test_the_knee_of_a_single_server_is_found(capacity: float, slo: Slo) -> None:
    found = swept(capacity, slo)
    assert found.carried_rps is not None
    assert found.refused_rps is not None
    assert found.refused_rps - found.carried_rps <= 0.05 * found.refused_rps
    # A window of ten seconds forgives the few percent by which a queue has not yet grown long.
    assert capacity * 0.9 <= found.carried_rps <= capacity * 1.16


def test_every_rate_carried_ends_at_the_bound() -> None:
    found = swept(1000, Slo(e2e_s=1), highest_rps=20)
    assert (found.carried_rps, found.refused_rps) == (20, None)


def test_a_server_that_is_too_slow_at_any_rate_has_no_knee() -> None:
    found = swept(5, Slo(e2e_s=0.1))
    assert found.carried_rps is None
    # No rate was tried at which nothing would have been asked.
    assert all(step.measured.requests >= 2 for step in found.steps)


def test_a_first_rate_above_the_knee_is_gone_below() -> None:
    found = swept(10, Slo(e2e_s=1), first_rps=100)
    assert found.carried_rps is not None
    assert 9 <= found.carried_rps <= 12


@pytest.mark.parametrize(("first", "highest"), [(0, 1), (2, 1), (-1, 1)])
def test_rates_that_make_no_interval_are_refused(first: float, highest: float) -> None:
    with pytest.raises(WrongUse, match="goes upwards"):
        swept(1, Slo(), first_rps=first, highest_rps=highest)
