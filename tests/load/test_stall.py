from __future__ import annotations

import asyncio
import io
import time
from dataclasses import dataclass

import orjson
import pytest

from tests.benchmarks.stamping_server import request, stamping
from wardround.load.attack import Attack, Orders, Target
from wardround.load.measures import Measured, Window, measure
from wardround.load.records import Record
from wardround.load.shapes import constant

RATE_RPS, SECONDS, STALLED_S = 50.0, 2.0, 1.0
SERVER = ["--ttft", "0.02", "--itl", "0.001", "--tokens", "4"]


@dataclass(frozen=True)
class Stalled:
    """A load test at a server that did nothing for a while: from when to when, by its own word."""

    records: list[Record]
    start_ns: int
    begun_ns: int
    ended_ns: int

    @property
    def due_meanwhile(self) -> list[Record]:
        return [one for one in self.records if self.begun_ns <= one.scheduled_ns < self.ended_ns]

    @property
    def measured(self) -> Measured:
        """The metrics of the stall's time alone."""
        return measure(self.records, Window(self.begun_ns, self.ended_ns), intervals=False)


async def attacked(port: int) -> tuple[list[Record], int]:
    start_ns = time.perf_counter_ns() + 50_000_000
    orders = Orders(
        target=Target("127.0.0.1", port, "openai-chat"),
        payloads=[request(port)],
        workloads=["w"],
        start_ns=start_ns,
        end_ns=start_ns + int(SECONDS * 1e9),
        timeout_s=20.0,
        # Far fewer than will be needed: who waited for one of them to be free would not see the stall.
        connections=2,
        arrivals_ns=[(int(at_s * 1e9), number) for number, at_s in enumerate(constant(RATE_RPS, SECONDS))],
    )
    out = io.BytesIO()
    await Attack(orders, out).run()
    return [Record(**orjson.loads(line)) for line in out.getvalue().splitlines()], start_ns


@pytest.fixture(scope="module")
def stalled() -> Stalled:
    """The server stalls at its twentieth request."""
    with stamping(*SERVER, "--stall", f"20,{STALLED_S}") as server:
        records, start_ns = asyncio.run(attacked(server.port))
        ((begun_ns, ended_ns),) = server.told()["stalls"]
    return Stalled(records, start_ns, begun_ns, ended_ns)


def test_every_request_is_scheduled_when_the_shape_wants_it_stall_or_not(stalled: Stalled) -> None:
    due = sorted(one.scheduled_ns - stalled.start_ns for one in stalled.records)
    assert due == [int(at_s * 1e9) for at_s in constant(RATE_RPS, SECONDS)]
    assert {one.failure for one in stalled.records} == {""}


def test_whoever_was_due_during_a_stall_has_waited_for_the_rest_of_it(stalled: Stalled) -> None:
    meanwhile = stalled.due_meanwhile
    # One every 20 ms, for as long as it really was.
    assert abs(len(meanwhile) - (stalled.ended_ns - stalled.begun_ns) / 1e9 * RATE_RPS) <= 1
    for one in meanwhile:
        assert one.first_token_ns - one.scheduled_ns >= stalled.ended_ns - one.scheduled_ns


def test_the_users_ttft_has_the_stall_in_it_from_end_to_end(stalled: Stalled) -> None:
    found = stalled.measured.ttft_user
    assert found is not None
    # Waits go in a straight line from the whole stall down to nothing: the median user waited half of it.
    assert found.percentiles_s[50] >= 0.5 * STALLED_S * 0.95
    assert found.percentiles_s[90] >= 0.9 * STALLED_S * 0.95
    assert found.max_s >= STALLED_S - 1 / RATE_RPS


def test_requests_went_out_while_the_server_did_nothing(stalled: Stalled) -> None:
    sent_meanwhile = [one for one in stalled.due_meanwhile if one.sent_ns < stalled.ended_ns]
    # Those that were due in its last moments may have missed it.
    assert len(sent_meanwhile) >= 0.8 * len(stalled.due_meanwhile)
