"""How true the load generator's figures are, and what they cost: `python -m tests.benchmarks.load [--json FILE]`.

A server that stamps every token itself has one core, the client another. Its truth of a first token begins when the
request came to this machine's network stack, by the kernel's stamp: what a request waits in a socket is the server's, and
a client that reported it as less would be wrong. Raw aiohttp and a protocol that does nothing but stamp take the same
measurements in the same run, turn about; `--peers` installs guidellm and aiperf in environments of their own (below `.peers/`) and has them
too. Each figure is the median of `--rounds`. `--soak MINUTES` is a test by itself: 300 streams, memory and descriptors.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import numpy as np

from tests.benchmarks import load_peers
from tests.benchmarks.figures import Figure, report
from tests.benchmarks.soak import soak
from tests.benchmarks.stamping_server import BODY, CLIENT_CORE, SERVER_CORE, TOKENS, keep_to, request, stamping
from tests.support import running_server
from wardround.load.attack import Orders, Target
from wardround.load.crew import Attacked, attack
from wardround.load.measures import Measured, Slo, Window, measure
from wardround.load.shapes import constant, poisson
from wardround.load.sweep import Sweep, find_knee


def shoot(
    port: int,
    seconds: float,
    *,
    users: int = 0,
    arrivals_s: list[float] | None = None,
    payloads: list[bytes] | None = None,
    cores: tuple[int, ...] = (CLIENT_CORE,),
) -> Attacked:
    """Our own client, its workers on `cores`: `users` in a closed loop, or requests when they are due."""
    payloads = payloads or [request(port)]
    orders = Orders(
        target=Target("127.0.0.1", port, "openai-chat"),
        payloads=payloads,
        workloads=["benchmark"] * len(payloads),
        order=tuple(range(len(payloads))),
        start_ns=0,
        end_ns=int(seconds * 1e9),
        timeout_s=60.0,
        connections=users or 256,
        arrivals_ns=[(int(at_s * 1e9), number) for number, at_s in enumerate(arrivals_s or ())],
        users=users,
    )
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(attack(orders, Path(folder), workers=len(cores), cores=cores))


def measured(attacked: Attacked, seconds: float, *, closed: bool = True, slo: Slo | None = None) -> Measured:
    """Its metrics over the whole time."""
    window = Window(attacked.start_ns, attacked.start_ns + int(seconds * 1e9))
    return measure(attacked.records, window, slo=slo, closed=closed, client_cpu_s=attacked.cpu_s, intervals=False)


def ours(port: int, users: int, seconds: float = 5.0) -> dict[str, float]:
    """What our client reports of `users` streams."""
    found = measured(shoot(port, seconds, users=users), seconds)
    assert found.ttft is not None
    assert found.itl is not None
    assert found.client_s_per_1000_tokens is not None
    return {
        "ttft_p99_ms": 1000 * found.ttft.percentiles_s[99],
        "itl_p99_ms": 1000 * found.itl.percentiles_s[99],
        "cpu_s_per_1000_tokens": found.client_s_per_1000_tokens,
    }


# What is reported beside the truth: name, field, unit, goal by number of streams.
ACCURACY: list[tuple[str, str, str, dict[int, float]]] = [
    ("TTFT p99, error", "ttft_p99_ms", "ms", {256: 3.0, 512: 15.0}),
    ("ITL p99, error", "itl_p99_ms", "ms", {256: 3.0}),
    ("client CPU per 1,000 tokens", "cpu_s_per_1000_tokens", "s", {256: 0.02, 512: 0.02}),
]


def accuracy(users: int, rounds: int, peers: list[load_peers.Peer]) -> list[Figure]:
    """200 ms / 20 ms / 64 tokens at `users` streams: how far what each client reports is from the server's truth."""
    clients: dict[str, Callable[[int], dict[str, float]]] = {
        "wardround": lambda port: ours(port, users),
        "limit: a protocol that stamps alone": lambda port: load_peers.by_protocol(
            port, request(port), users, rounds=3
        ),
        f"aiohttp {aiohttp.__version__}": lambda port: load_peers.by_aiohttp(port, BODY, users, rounds=3),
    }
    clients |= {str(peer): partial(peer.measured, users=users) for peer in peers}
    seen: dict[str, list[dict[str, float]]] = {client: [] for client in clients}
    for round_ in range(rounds):
        for client, take in clients.items():
            # Programs of others take a minute each.
            if client not in [str(peer) for peer in peers] or round_ == 0:
                with stamping("--ttft", "0.2", "--itl", "0.02", "--tokens", str(TOKENS)) as server:
                    reported = take(server.port)
                    seen[client].append(_errors(reported, server.truth()))
    figures = []
    for name, key, unit, goals in ACCURACY:
        medians = {client: _median(one[key] for one in found if key in one) for client, found in seen.items()}
        mine = medians.pop("wardround")
        assert mine is not None
        for client, other in medians.items():
            if other is not None:
                figures.append(Figure(f"{name} at {users} streams", mine, unit, client, other, goals.get(users)))
    return figures


def _errors(reported: dict[str, float], truth: dict[str, float]) -> dict[str, float]:
    return {key: abs(value - truth[key]) if key in truth else value for key, value in reported.items()}


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.median(found) if found else None


def throughput(rounds: int) -> list[Figure]:
    """Chunks consumed as fast as they come and small answers a second on one core; and two workers beside one."""
    chunks: dict[str, list[float]] = {}
    small: dict[str, list[float]] = {}
    for _ in range(rounds):
        with stamping("--tokens", "2000") as server:
            chunks.setdefault("ours", []).append(_tokens_per_s(shoot(server.port, 3.0, users=4), 3.0))
            chunks.setdefault("aiohttp", []).append(load_peers.chunks_by_aiohttp(server.port, BODY, 4, 3.0))
            begun_s = server.cpu_s()
            chunks.setdefault("two", []).append(_tokens_per_s(shoot(server.port, 3.0, users=8, cores=(1, 0)), 3.0))
            chunks.setdefault("served", []).append((server.cpu_s() - begun_s) / 3.0)
        with stamping("--whole") as server:
            small.setdefault("ours", []).append(measured(shoot(server.port, 3.0, users=64), 3.0).requests_per_s)
            small.setdefault("aiohttp", []).append(load_peers.small_by_aiohttp(server.port, BODY, 64, 3.0))
            for parsing in (False, True):
                limit = load_peers.small_by_protocol(server.port, request(server.port), 64, 3.0, parsing=parsing)
                small.setdefault(f"parsing {parsing}", []).append(limit)
    chunk = {name: statistics.median(found) for name, found in chunks.items()}
    one = {name: statistics.median(found) for name, found in small.items()}
    served = chunk["served"]
    name, unit = "small answers of a server that never sleeps, one core", "/s"
    return [
        _at_least("chunks consumed, one core", chunk["ours"], "/s", "aiohttp, counting only", chunk["aiohttp"], 400_000),
        _at_least("two workers on two cores, one of them the server's, to one", chunk["two"] / chunk["ours"], "×",
                  f"limit: 2 cores less the server's {100 * served:.0f} %", 2 - served, 1.7),
        _at_least(name, one["ours"], unit, "aiohttp, reading only", one["aiohttp"], 60_000),
        Figure(name, one["ours"], unit, "limit: a protocol on uvloop that parses nothing", one["parsing False"]),
        Figure(name, one["ours"], unit, "limit: the same with httptools, keeping nothing", one["parsing True"]),
    ]  # fmt: skip


def _at_least(name: str, value: float, unit: str, beside: str, other: float | None, goal: float) -> Figure:
    return Figure(name, value, unit, beside, other, goal, ">=")


def _tokens_per_s(attacked: Attacked, seconds: float) -> float:
    return measured(attacked, seconds).output_tokens_per_s or 0.0


def lag(seconds: float = 30.0) -> list[Figure]:
    """Scheduled against sent at 500 requests/s, evenly and by chance."""
    figures = []
    for name, arrivals in (("constant", constant(500, seconds)), ("poisson", poisson(500, seconds / 3, seed=1))):
        with stamping("--ttft", "0.02", "--itl", "0.001", "--tokens", "4") as server:
            found = measured(shoot(server.port, seconds, arrivals_s=list(arrivals)), seconds, closed=False)
        assert found.lag is not None
        figures.append(
            Figure(f"client lag p99, {name} 500 requests/s", 1000 * found.lag.percentiles_s[99], "ms", goal=2)
        )
    return figures


def stall() -> Figure:
    """A server that does nothing for 2 s: the share of those due meanwhile who are seen to have waited for the rest."""
    seconds, rate, stalled_s = 6.0, 100.0, 2.0
    with stamping("--ttft", "0.02", "--itl", "0.001", "--tokens", "4", "--stall", f"150,{stalled_s}") as server:
        attacked = shoot(server.port, seconds, arrivals_s=list(constant(rate, seconds)))
        ((begun_ns, ended_ns),) = server.told()["stalls"]
    due = sum(begun_ns <= attacked.start_ns + int(at_s * 1e9) < ended_ns for at_s in constant(rate, seconds))
    seen = sum(begun_ns <= one.scheduled_ns < ended_ns <= one.first_token_ns for one in attacked.records)
    return _at_least(
        "due in a stall of 2 s, seen to have waited", 100 * seen / due, "%", "the server's word", 100.0, 100
    )


# The embedded server's latency model: eight at a time, 40 tokens of prompt, 16 of answer.
SLOTS, PROMPT_TOKENS, OUTPUT_TOKENS = 8, 40, 16
TTFT_S, PREFILL_S, TPOT_S, SLOPE_S = 0.02, 0.0005, 0.005, 0.0005


def embedded(seconds: float = 4.0) -> list[Figure]:
    """The knee of the embedded server beside what its latency model implies, and TTFT beside its word of it."""
    options = {
        "--slots": SLOTS, "--ttft": TTFT_S, "--prefill-per-token": PREFILL_S, "--tpot": TPOT_S, "--decode-slope": SLOPE_S
    }  # fmt: skip
    slo = Slo(ttft_s=TTFT_S + PROMPT_TOKENS * PREFILL_S + 0.06)
    implied = implied_rps()
    with running_server(*(str(one) for option in options.items() for one in option)) as server:
        keep_to({SERVER_CORE}, server.process.pid)
        port = urlsplit(server.base_url).port or 0

        async def attempt(rate_rps: float) -> Measured:
            attacked = await asyncio.to_thread(_embedded_shot, port, list(constant(rate_rps, seconds)), seconds)
            return measured(attacked, seconds, closed=False, slo=slo)

        found: Sweep = asyncio.run(find_knee(attempt, slo, first_rps=implied / 3.3, narrow=0.03))
    assert found.carried_rps is not None
    assert found.refused_rps is not None
    knee = (found.carried_rps + found.refused_rps) / 2
    with running_server("--ttft", "0.1", "--tpot", "0.005") as server:
        keep_to({SERVER_CORE}, server.process.pid)
        port = urlsplit(server.base_url).port or 0
        attacked = _embedded_shot(port, list(poisson(100, 5, seed=1)), 5.0)
        with urllib.request.urlopen(server.base_url.removesuffix("/v1") + "/ground-truth", timeout=10) as answer:
            told = {one["request_id"]: one for one in json.load(answer)["requests"]}
    errors_ms = []
    for record in attacked.records:
        truth = told[str(record.number)]
        true_ns = truth["first_token_ns"] - truth["received_ns"]
        errors_ms.append(abs(record.first_token_ns - record.sent_ns - true_ns) / 1e6)
    return [
        Figure("knee of the embedded server, error", 100 * abs(knee / implied - 1), "%", goal=10),
        Figure("TTFT of each request, error p99, embedded server", float(np.percentile(errors_ms, 99)), "ms", goal=3),
    ]


def implied_rps() -> float:
    """Requests/s with all slots taken: a slot's time is to the first token, then for each further one.

    Which takes the longer the more others decode: the slots, by the share of its time that a request decodes.
    """
    first_s, further = TTFT_S + PROMPT_TOKENS * PREFILL_S, OUTPUT_TOKENS - 1
    decode_s = further * TPOT_S
    for _ in range(100):
        decode_s = further * (TPOT_S + SLOPE_S * (SLOTS * decode_s / (first_s + decode_s) - 1))
    return SLOTS / (first_s + decode_s)


def _embedded_shot(port: int, arrivals_s: list[float], seconds: float) -> Attacked:
    prompt = " ".join(f"word{number}" for number in range(PROMPT_TOKENS))
    content = {
        "model": "baseline-lead",
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": OUTPUT_TOKENS,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    body = json.dumps(content).encode()
    payloads = [request(port, body, X_Request_Id=str(number)) for number in range(len(arrivals_s))]
    return shoot(port, seconds, arrivals_s=arrivals_s, payloads=payloads)


def main() -> int:
    """Run what is asked for, print, write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", type=Path)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument(
        "--peers", type=Path, nargs="?", const=Path(".peers"), help="guidellm, aiperf: where to install"
    )
    options.add_argument("--soak", type=float, metavar="MINUTES")
    chosen = options.parse_args()
    keep_to({CLIENT_CORE})
    if chosen.soak:
        return report(soak(chosen.soak), chosen.json)
    peers = load_peers.installed(chosen.peers) if chosen.peers else []
    figures = [one for users in (256, 512) for one in accuracy(users, chosen.rounds, peers)]
    figures += [*throughput(chosen.rounds), *lag(), stall(), *embedded()]
    return report(figures, chosen.json)


if __name__ == "__main__":
    sys.exit(main())
