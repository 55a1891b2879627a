"""Load tests of the embedded server, which knows what it takes and when it did what."""

from __future__ import annotations

import asyncio
import json
import statistics
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support import Server, running_server
from wardround.load.attack import Orders, Target
from wardround.load.crew import attack
from wardround.load.measures import Measured, Slo, Window, measure
from wardround.load.records import Record
from wardround.load.shapes import constant, poisson
from wardround.load.sweep import Sweep, find_knee

PROMPT_TOKENS, OUTPUT_TOKENS = 40, 16
PROMPT = " ".join(f"word{number}" for number in range(PROMPT_TOKENS))


def payload(server: Server, request_id: str) -> bytes:
    body = json.dumps(
        {
            "model": "baseline-lead",
            "messages": [{"role": "user", "content": PROMPT}],
            "max_tokens": OUTPUT_TOKENS,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {urlsplit(server.base_url).netloc}\r\n"
        f"Content-Type: application/json\r\nX-Request-Id: {request_id}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def attacked(
    server: Server, arrivals_s: list[float], seconds: float, folder: Path
) -> tuple[list[Record], Window]:
    """The records of requests that are due at `arrivals_s`, the k-th one called k; and the window of the arrivals.

    They are sent from a process of their own, as in any load test: in the one that has run ten thousand tests already, a
    collection of garbage takes longer than the waits that are looked for.
    """
    numbers = tuple(range(len(arrivals_s)))
    orders = Orders(
        target=Target("127.0.0.1", urlsplit(server.base_url).port or 0, "openai-chat"),
        payloads=[payload(server, str(number)) for number in numbers],
        workloads=["w"] * len(numbers),
        order=numbers,
        start_ns=0,
        end_ns=int(seconds * 1e9),
        timeout_s=20.0,
        connections=32,
        arrivals_ns=[(int(at_s * 1e9), number) for number, at_s in enumerate(arrivals_s)],
    )
    done = await attack(orders, folder, cores=())
    return done.records, Window(done.start_ns, done.start_ns + int(seconds * 1e9))


def capacity_rps(slots: int, first_s: float, tpot_s: float, slope_s: float) -> float:
    """How many requests/s the latency model serves with all slots taken, by its own description.

    A slot is held for the time to the first token and then for each further one, which takes the longer the more others
    decode: as many as there are slots, by the share of its time that a request decodes.
    """
    decode_s = (OUTPUT_TOKENS - 1) * tpot_s
    for _ in range(100):
        decoding = slots * decode_s / (first_s + decode_s)
        decode_s = (OUTPUT_TOKENS - 1) * (tpot_s + slope_s * (decoding - 1))
    return slots / (first_s + decode_s)


def test_a_sweep_finds_the_knee_that_the_servers_latency_model_implies(tmp_path: Path) -> None:
    slots, ttft_s, prefill_s, tpot_s, slope_s = 8, 0.03, 0.001, 0.008, 0.0008
    first_s = ttft_s + PROMPT_TOKENS * prefill_s
    implied_rps = capacity_rps(slots, first_s, tpot_s, slope_s)
    slo = Slo(ttft_s=first_s + 0.09)
    options = {
        "--slots": slots, "--ttft": ttft_s, "--prefill-per-token": prefill_s, "--tpot": tpot_s, "--decode-slope": slope_s
    }  # fmt: skip

    async def swept(server: Server) -> Sweep:
        async def attempt(rate_rps: float) -> Measured:
            seconds = 2.0
            records, window = await attacked(server, list(constant(rate_rps, seconds)), seconds, tmp_path)
            return measure(records, window, slo=slo, intervals=False)

        return await find_knee(attempt, slo, first_rps=implied_rps / 1.7)

    with running_server(*(str(one) for option in options.items() for one in option)) as server:
        found = asyncio.run(swept(server))
    assert found.carried_rps is not None
    assert found.refused_rps is not None
    assert (found.carried_rps + found.refused_rps) / 2 == pytest.approx(implied_rps, rel=0.1)


def test_each_request_took_as_long_as_the_server_says(tmp_path: Path) -> None:
    def truths(server: Server) -> dict[str, dict[str, Any]]:
        with urllib.request.urlopen(server.base_url.removesuffix("/v1") + "/ground-truth", timeout=10) as answer:
            return {one["request_id"]: one for one in json.load(answer)["requests"]}

    with running_server("--ttft", "0.1", "--tpot", "0.005") as server:
        records, _ = asyncio.run(attacked(server, list(poisson(60, 1.0, seed=7)), 1.0, tmp_path))
        told = truths(server)
    errors_s = []
    for record in records:
        truth = told[str(record.number)]
        assert (record.failure, record.output_tokens, len(record.arrivals_us)) == ("", OUTPUT_TOKENS, OUTPUT_TOKENS)
        assert (truth["prompt_tokens"], truth["completion_tokens"]) == (PROMPT_TOKENS, OUTPUT_TOKENS)
        # Nothing is seen before it is there: the server stamps a token and hands it on.
        assert record.sent_ns <= record.first_token_ns
        assert record.scheduled_ns <= truth["received_ns"]
        errors_s.append(
            (record.first_token_ns - record.sent_ns - (truth["first_token_ns"] - truth["received_ns"])) / 1e9
        )
    assert len(records) == len(told)
    # How near is for the benchmark to say; here only that it is the same thing that both speak of.
    assert abs(statistics.median(errors_s)) < 0.05
