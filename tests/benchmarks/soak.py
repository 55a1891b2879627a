"""Whether a long load test's worker keeps its size: `python -m tests.benchmarks.load --soak MINUTES`.

300 streams of 200 ms / 20 ms / 64 tokens. The worker's resident memory and open descriptors are read from outside every
second; its records go to a file, so whatever grows after the first minute has leaked.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
from pathlib import Path

from tests.benchmarks.figures import Figure
from tests.benchmarks.stamping_server import CLIENT_CORE, request, stamping
from wardround.load.attack import Orders, Target
from wardround.load.crew import attack

USERS = 300
SETTLED_S = 60.0
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Watch:
    """Reads the size of the worker, a child of this process, once a second while a test runs."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, float, int]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        begun_s = time.monotonic()
        while not self._ended.wait(1.0):
            for process in _workers():
                try:
                    pages = int((process / "statm").read_text().split()[1])
                    descriptors = len(list((process / "fd").iterdir()))
                except OSError:
                    continue  # It has just ended.
                self.samples.append((time.monotonic() - begun_s, pages * PAGE_BYTES / 2**20, descriptors))


def _workers() -> list[Path]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"wardround.load.worker" in (process / "cmdline").read_bytes():
                found.append(process)
        except (OSError, ValueError):
            continue
    return found


def soak(minutes: float) -> list[Figure]:
    """Growth of memory and descriptors between the first minute (a tenth, if that is less) and the end."""
    seconds = minutes * 60
    settled_s = min(SETTLED_S, seconds / 10)
    with (
        stamping("--ttft", "0.2", "--itl", "0.02", "--tokens", "64") as server,
        tempfile.TemporaryDirectory() as folder,
        Watch() as watch,
    ):
        orders = Orders(
            target=Target("127.0.0.1", server.port, "openai-chat"),
            payloads=[request(server.port)],
            workloads=["soak"],
            start_ns=0,
            end_ns=int(seconds * 1e9),
            timeout_s=60.0,
            connections=USERS,
            users=USERS,
        )
        attacked = asyncio.run(attack(orders, Path(folder), cores=(CLIENT_CORE,)))
    # Connections are open by then, and the last seconds are of streams that end.
    steady = [one for one in watch.samples if settled_s <= one[0] <= seconds]
    (_, first_mb, first_open), (_, last_mb, last_open) = steady[0], steady[-1]
    failed = sum(bool(one.failure) for one in attacked.records)
    what = f"{USERS} streams for {minutes:g} min, {len(attacked.records):,} requests"
    return [
        Figure(f"memory growth after {settled_s:g} s, {what}", 100 * (last_mb / first_mb - 1), "%", goal=5),
        Figure("memory at its end", last_mb, "MB", "after the first minute", first_mb),
        Figure("descriptors more at the end", last_open - first_open, "", "open", float(first_open), goal=0),
        Figure("failed requests", failed, "", goal=0),
    ]
