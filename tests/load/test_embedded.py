"""Load tests of the embedded server, which knows what it takes and when it did what."""

from __future__ import annotations

import asyncio
import io
import json
import statistics
import time
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
import uvloop

from tests.support import Server, running_server
from wardround.load.attack import Attack, Orders, Target
from wardround.load.measures import Measured, Slo, Window, measure
from wardround.load.records import Record
from wardround.load.shapes import constant, poisson
from wardround.load.sweep import Sweep, find_knee

PROMPT_TOKENS, OUTPUT_TOKENS = 40, 16
# A rate at which the client itself was later than this is tried again.
BUSY_S, TRIES = 0.02, 3
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


async def attacked(server: Server, arrivals_s: list[float], seconds: float) -> tuple[list[Record], Window]:
    """The records of requests that are due at `arrivals_s`, the k-th one called k; and the window of the arrivals."""
    start_ns = time.perf_counter_ns() + 50_000_000
    numbers = tuple(range(len(arrivals_s)))
    orders = Orders(
        target=Target("127.0.0.1", urlsplit(server.base_url).port or 0, "openai-chat"),
        payloads=[payload(server, str(number)) for number in numbers],
        workloads=["w"] * len(numbers),
        order=numbers,
        start_ns=start_ns,
        end_ns=start_ns + int(seconds * 1e9),
        timeout_s=20.0,
        connections=32,
        arrivals_ns=[(int(at_s * 1e9), number) for number, at_s in enumerate(arrivals_s)],
    )
    out = io.BytesIO()
    await Attack(orders, out).run()
    records = [Record(**orjson.loads(line)) for line in out.getvalue().splitlines()]
    return records, Window(start_ns, start_ns + int(seconds * 1e9))


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


def lateness_s(measured: Measured) -> float:
    """How late the client was at the latest: on a machine that is busy with other things, so is the server."""
    assert measured.lag is not None
    return measured.lag.max_s


def test_a_sweep_finds_the_knee_that_the_servers_latency_model_implies() -> None:
    slots, ttft_s, prefill_s, tpot_s, slope_s = 8, 0.03, 0.001, 0.008, 0.0008
    first_s = ttft_s + PROMPT_TOKENS * prefill_s
    implied_rps = capacity_rps(slots, first_s, tpot_s, slope_s)
    slo = Slo(ttft_s=first_s + 0.09)
    options = {
        "--slots": slots, "--ttft": ttft_s, "--prefill-per-token": prefill_s, "--tpot": tpot_s, "--decode-slope": slope_s
    }  # fmt: skip

    late: list[float] = []

    async def swept(server: Server) -> Sweep:
        async def attempt(rate_rps: float) -> Measured:
            seconds, tried = 2.0, []
            for _ in range(TRIES):
                records, window = await attacked(server, list(constant(rate_rps, seconds)), seconds)
                tried.append(measure(records, window, slo=slo, intervals=False))
                if lateness_s(tried[-1]) < BUSY_S:
                    break
            else:
                late.append(rate_rps)
            return min(tried, key=lateness_s)

        return await find_knee(attempt, slo, first_rps=implied_rps / 1.7)

    with (
        running_server(*(str(one) for option in options.items() for one in option)) as server,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        # What else the machine does slows the server, too, and its knee is then where the machine's is: try again.
        knees_rps: list[float] = []
        while len(knees_rps) < TRIES and pytest.approx(implied_rps, rel=0.1) not in knees_rps:
            found = runner.run(swept(server))
            knees_rps.append(((found.carried_rps or 0.0) + (found.refused_rps or 0.0)) / 2)
    if pytest.approx(implied_rps, rel=0.1) not in knees_rps and late:
        pytest.skip(
            f"the machine is too busy: this process was late by more than {BUSY_S} s in {len(late)} steps, thrice"
        )
    assert pytest.approx(implied_rps, rel=0.1) in knees_rps


def test_each_request_took_as_long_as_the_server_says() -> None:
    def truths(server: Server) -> dict[str, dict[str, Any]]:
        with urllib.request.urlopen(server.base_url.removesuffix("/v1") + "/ground-truth", timeout=10) as answer:
            return {one["request_id"]: one for one in json.load(answer)["requests"]}

    with (
        running_server("--ttft", "0.1", "--tpot", "0.005") as server,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        records, _ = runner.run(attacked(server, list(poisson(60, 1.0, seed=7)), 1.0))
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
