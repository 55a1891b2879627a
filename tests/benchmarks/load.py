"""How true the load generator's figures are, and what they cost: `python -m tests.benchmarks.load [--json FILE]`.

A server that stamps every token itself runs on one core, the client on another, both pinned; raw aiohttp takes the same
measurements in the same run, right after. Figures of a noisy machine: compare within a run, not between days.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from wardround.load.attack import Orders, Target
from wardround.load.crew import Attacked, attack
from wardround.load.measures import Measured, Window, measure
from wardround.load.shapes import constant

SERVER_CORE, CLIENT_CORE = 0, 1
BODY = json.dumps(
    {"model": "m", "messages": [{"role": "user", "content": "word " * 60}], "max_tokens": 64, "stream": True}
).encode()


class Stamped:
    """A stamping server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        self.port = int(json.loads(process.stdout.readline())["port"])

    def truth(self) -> list[list[int]]:
        """TTFT and gaps (ns) of each request since the last call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        told: list[list[int]] = json.loads(self._process.stdout.readline())
        return told


@contextmanager
def stamping(*options: str) -> Iterator[Stamped]:
    """Start one and stop it."""
    command = [sys.executable, "-m", "tests.benchmarks.stamping_server", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(process.pid, {SERVER_CORE})
        try:
            yield Stamped(process)
        finally:
            process.terminate()


def request(port: int) -> bytes:
    """The request as bytes."""
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(BODY)}\r\n\r\n"
    return head.encode() + BODY


def shoot(
    port: int, seconds: float, *, users: int = 0, rate: float = 0.0, cores: tuple[int, ...] = (CLIENT_CORE,)
) -> Attacked:
    """Our own client: `users` in a closed loop, or `rate` in an open one."""
    arrivals = [(int(at_s * 1e9), number) for number, at_s in enumerate(constant(rate, seconds))] if rate else []
    orders = Orders(
        target=Target("127.0.0.1", port, "openai-chat"),
        payloads=[request(port)],
        workloads=["benchmark"],
        start_ns=0,
        end_ns=int(seconds * 1e9),
        timeout_s=60.0,
        connections=users or 256,
        arrivals_ns=arrivals,
        users=users,
    )
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(attack(orders, Path(folder), workers=len(cores), cores=cores))


def measured(attacked: Attacked, seconds: float, *, closed: bool) -> Measured:
    """Its metrics over the whole time."""
    window = Window(attacked.start_ns, attacked.start_ns + int(seconds * 1e9))
    return measure(attacked.records, window, closed=closed, client_cpu_s=attacked.cpu_s, intervals=False)


async def by_aiohttp(port: int, users: int, rounds: int) -> dict[str, float]:
    """The peer: a careful aiohttp client that stamps each chunk as it is handed out."""
    ttfts: list[float] = []
    gaps: list[float] = []
    url = f"http://127.0.0.1:{port}/v1/chat/completions"

    async def user(session: aiohttp.ClientSession) -> None:
        for _ in range(rounds):
            begun = time.perf_counter_ns()
            stamps = []
            async with session.post(url, data=BODY) as answer:
                async for piece in answer.content.iter_any():
                    now = time.perf_counter_ns()
                    for line in piece.split(b"\n\n"):
                        if b'"content"' in line and json.loads(line.removeprefix(b"data: "))["choices"][0]["delta"]:
                            stamps.append(now)
            ttfts.append((stamps[0] - begun) / 1e9)
            gaps.extend(float(one) / 1e9 for one in np.diff(stamps))

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        begun_s = time.process_time()
        await asyncio.gather(*(user(session) for _ in range(users)))
        cpu_s = time.process_time() - begun_s
    tokens = users * rounds * 64
    return {
        "ttft_p50_ms": 1000 * float(np.percentile(ttfts, 50)),
        "ttft_p99_ms": 1000 * float(np.percentile(ttfts, 99)),
        "itl_p99_ms": 1000 * float(np.percentile(gaps, 99)),
        "cpu_s_per_1000_tokens": cpu_s / tokens * 1000,
    }


def accuracy(users: int) -> list[dict[str, Any]]:
    """200 ms / 20 ms / 64 tokens at `users` streams: the server's truth, ours, aiohttp's."""
    with stamping("--ttft", "0.2", "--itl", "0.02", "--tokens", "64") as server:
        attacked = shoot(server.port, 6.0, users=users)
        truth = server.truth()
        found = measured(attacked, 6.0, closed=True)
        assert found.ttft is not None
        assert found.itl is not None
        peer = asyncio.run(by_aiohttp(server.port, users, rounds=4))
        peer_truth = server.truth()
    ours = {
        "ttft_p50_ms": 1000 * found.ttft.percentiles_s[50],
        "ttft_p99_ms": 1000 * found.ttft.percentiles_s[99],
        "itl_p99_ms": 1000 * found.itl.percentiles_s[99],
        "cpu_s_per_1000_tokens": found.client_s_per_1000_tokens,
    }
    return [
        {"client": "truth (ours)", "users": users, **_truth(truth)},
        {"client": "wardround", "users": users, **ours},
        {"client": "truth (aiohttp)", "users": users, **_truth(peer_truth)},
        {"client": "aiohttp", "users": users, **peer},
    ]


def _truth(truth: list[list[int]]) -> dict[str, float]:
    ttfts = [one[0] / 1e6 for one in truth]
    gaps = [gap / 1e6 for one in truth for gap in one[1:]]
    return {
        "ttft_p50_ms": float(np.percentile(ttfts, 50)),
        "ttft_p99_ms": float(np.percentile(ttfts, 99)),
        "itl_p99_ms": float(np.percentile(gaps, 99)),
    }


def throughput() -> list[dict[str, Any]]:
    """Chunks consumed as fast as they come, and small answers a second, on one core; then two workers."""
    rows = []
    with stamping("--tokens", "2000") as server:
        found = measured(shoot(server.port, 4.0, users=4), 4.0, closed=True)
        rows.append({"what": "chunks/s, one core", "value": found.output_tokens_per_s})
    with stamping("--whole") as server:
        found = measured(shoot(server.port, 4.0, users=64), 4.0, closed=True)
        rows.append({"what": "small answers/s, one core", "value": found.requests_per_s})
    # The server takes a core of its own: on two cores two workers can only be shown where the server mostly waits.
    with stamping("--ttft", "0.05", "--itl", "0.002", "--tokens", "64") as server:
        for cores in ((1,), (0, 1)):
            attacked = shoot(server.port, 4.0, users=256, cores=cores)
            found = measured(attacked, 4.0, closed=True)
            rows.append({"what": f"tokens/s, {len(cores)} worker(s)", "value": found.output_tokens_per_s})
    return rows


def lag() -> list[dict[str, Any]]:
    """Scheduled against sent at 500 requests/s for 30 s."""
    with stamping("--ttft", "0.02", "--itl", "0.001", "--tokens", "4") as server:
        found = measured(shoot(server.port, 30.0, rate=500.0), 30.0, closed=False)
    assert found.lag is not None
    return [
        {"what": f"client lag {name} at 500 requests/s (ms)", "value": 1000 * value}
        for name, value in (
            ("p50", found.lag.percentiles_s[50]),
            ("p99", found.lag.percentiles_s[99]),
            ("max", found.lag.max_s),
        )
    ]


def main() -> None:
    """Run all, print, write."""
    options = argparse.ArgumentParser()
    options.add_argument("--json", type=Path)
    chosen = options.parse_args()
    rows = [row for users in (64, 256, 512) for row in accuracy(users)] + throughput() + lag()
    for row in rows:
        print(
            "  ".join(f"{name}={value:.4g}" if isinstance(value, float) else f"{value}" for name, value in row.items())
        )
    if chosen.json:
        machine = {"system": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()}
        chosen.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
