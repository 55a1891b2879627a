"""The workers of a load test as processes, one a core, and what they did put together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from wardround.errors import RunFailed
from wardround.load.attack import Orders
from wardround.load.records import Record, read_records

# From the giving of orders to the first arrival: imports, connections and a garbage collection lie in between.
HEAD_START_S = 1.5
STOP_S = 10.0
# glibc gives memory back to the system when a little of it is free at the end of the heap, and takes it again a moment
# later; in a virtual machine that takes a worker as long as its work. 64 MiB of it may stay. With either threshold set,
# glibc no longer learns the third one: above it every block is the system's.
MEMORY_KEPT = {
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
    "MALLOC_TOP_PAD_": str(4 << 20),
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
}


@dataclass(frozen=True, slots=True)
class Live:
    """How a test is getting on, summed over its workers; `ttfts_ns` are some of the latest."""

    fired: int
    succeeded: int
    failed: int
    in_flight: int
    tokens: int
    opened_late: int
    ttfts_ns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Attacked:
    """What a crew brought back: all records in the order of their scheduling, and the workers' processor time."""

    records: list[Record]
    start_ns: int
    cpu_s: float
    opened_late: int
    stopped: bool


def shares(orders: Orders, workers: int) -> list[Orders]:
    """The orders of each of `workers`: every n-th arrival, user and connection."""
    found = []
    for place in range(workers):
        found.append(
            replace(
                orders,
                arrivals_ns=orders.arrivals_ns[place::workers],
                users=len(range(place, orders.users, workers)),
                connections=len(range(place, orders.connections, workers)),
                first=place,
                stride=workers,
            )
        )
    return [one for one in found if one.arrivals_ns or one.users] or found[:1]


async def attack(
    orders: Orders,
    folder: Path,
    *,
    workers: int = 1,
    cores: Sequence[int] | None = None,
    on_live: Callable[[Live], None] = lambda _live: None,
    stop: asyncio.Event | None = None,
) -> Attacked:
    """Carry `orders` out from `workers` processes; their times count from a start that is set here.

    Each worker keeps to one of `cores` (the last ones there are, if None) and writes its records to
    `folder`/records-N.jsonl while the test runs. `stop` ends the test early; what there is by then is brought back.
    Raises `RunFailed` if a worker dies.
    """
    span_ns = orders.end_ns - orders.start_ns
    start_ns = time.perf_counter_ns() + int(HEAD_START_S * 1e9)
    placed = replace(orders, start_ns=start_ns, end_ns=start_ns + span_ns)
    each = shares(placed, workers)
    cores = _last_cores(len(each)) if cores is None else cores
    files = [folder / f"records-{number}.jsonl" for number in range(len(each))]
    said: list[dict[str, Any]] = [{} for _ in each]

    def heard(number: int, line: dict[str, Any]) -> None:
        said[number] = line
        on_live(_sum(said))

    running = [
        _Worker(one, files[number], cores[number] if number < len(cores) else None, partial(heard, number))
        for number, one in enumerate(each)
    ]
    stopping = asyncio.create_task(_stop_all(stop, running)) if stop is not None else None
    try:
        await asyncio.gather(*(one.run() for one in running))
    finally:
        if stopping is not None:
            stopping.cancel()
    records = sorted((one for path in files for one in read_records(path)), key=lambda one: one.scheduled_ns)
    total = _sum(said)
    return Attacked(
        records=records,
        start_ns=start_ns,
        cpu_s=sum(line.get("cpu_s", 0.0) for line in said),
        opened_late=total.opened_late,
        stopped=stop is not None and stop.is_set(),
    )


async def _stop_all(stop: asyncio.Event, running: Sequence[_Worker]) -> None:
    await stop.wait()
    for one in running:
        one.stop()


class _Worker:
    """One process."""

    def __init__(self, orders: Orders, out: Path, core: int | None, heard: Callable[[dict[str, Any]], None]) -> None:
        self._orders = orders
        self._out = out
        self._core = core
        self._heard = heard
        self._process: asyncio.subprocess.Process | None = None
        self._ordered = self._stopped = False

    async def run(self) -> None:
        """Start it, give it its orders, hear it out."""
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            # -P: a file in the working directory that is named like a module must not be run instead of it.
            *("-P", "-m", "wardround.load.worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            env={**MEMORY_KEPT, **os.environ},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        ended, unwritten = False, ""
        try:
            with contextlib.suppress(ConnectionError):
                for piece in self._orders_as_bytes():
                    process.stdin.write(piece)
                    await process.stdin.drain()
            self._ordered = True
            if self._stopped:
                process.stdin.close()
            while line := await process.stdout.readline():
                report = orjson.loads(line)
                ended = ended or bool(report.get("ended"))
                unwritten = unwritten or str(report.get("unwritten", ""))
                self._heard(report)
        finally:
            process.stdin.close()
            await self._end(process)
        if unwritten:
            raise RunFailed(f"{self._out} cannot be written: {unwritten}; the records up to then are kept")
        if not ended:
            raise RunFailed(f"a worker of the load test died (exit code {process.returncode}); its records are kept")

    def stop(self) -> None:
        """Ask it to stop; one that is still given its orders is told at their end."""
        self._stopped = True
        if self._ordered and self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def _orders_as_bytes(self) -> Sequence[bytes]:
        orders = self._orders
        fields = asdict(replace(orders, payloads=()))
        del fields["payloads"]
        head = {
            "orders": fields,
            "sizes": [len(payload) for payload in orders.payloads],
            "out": str(self._out),
            "core": self._core,
        }
        return [orjson.dumps(head) + b"\n", *orders.payloads]


def _last_cores(number: int) -> list[int]:
    """As many cores as there are for `number` workers, from the last one on: the first is everybody else's."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    available = sorted(os.sched_getaffinity(0), reverse=True)
    return available[:number] if number <= len(available) else []


def _sum(said: Sequence[dict[str, Any]]) -> Live:
    names = ("fired", "succeeded", "failed", "in_flight", "tokens", "opened_late")
    totals = {name: sum(int(line.get(name, 0)) for line in said) for name in names}
    return Live(**totals, ttfts_ns=tuple(one for line in said for one in line.get("ttfts_ns", ())))
