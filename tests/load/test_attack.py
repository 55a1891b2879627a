from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from tests.support import running_server
from tests.wire.raw_server import (
    LAST_CHUNK,
    STREAM_HEAD,
    Answer,
    Then,
    chunk,
    closed_port,
    event,
    raw_server,
)
from wardround.errors import RunFailed
from wardround.load import crew
from wardround.load.attack import Attack, Orders, Target


def piece(text: str) -> bytes:
    return event({"choices": [{"delta": {"content": text}, "finish_reason": None}]})


END = event({"choices": [{"delta": {}, "finish_reason": "stop"}]}) + event(
    {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
)
DONE = b"data: [DONE]\n\n"
WHOLE = STREAM_HEAD + chunk(piece("a")) + chunk(piece("b")) + chunk(END + DONE) + LAST_CHUNK
THOUGHT = event({"choices": [{"delta": {"reasoning_content": "hm"}, "finish_reason": None}]})


def request(url: str) -> bytes:
    body = b'{"stream": true}'
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {url[7:]}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def attacked(
    answers: Sequence[Answer], *, arrivals_s: Sequence[float] = (0.0,), connections: int = 1, **fields: Any
) -> tuple[list[dict[str, Any]], Any]:
    """The records of requests that are due at `arrivals_s`, and the server that was asked."""
    async with raw_server(*answers) as server:
        target = Target("127.0.0.1", int(server.url.rpartition(":")[2]), "openai-chat")
        return await carried_out(target, request(server.url), arrivals_s, connections, **fields), server


async def carried_out(
    target: Target, payload: bytes, arrivals_s: Sequence[float], connections: int, **fields: Any
) -> list[dict[str, Any]]:
    start_ns = time.perf_counter_ns()
    orders = {
        "target": target,
        "payloads": [payload],
        "workloads": ["w"],
        "start_ns": start_ns,
        "end_ns": start_ns + 10**9,
        "timeout_s": 5.0,
        "connections": connections,
        "arrivals_ns": [(int(at_s * 1e9), number) for number, at_s in enumerate(arrivals_s)],
        **fields,
    }
    out = io.BytesIO()
    await Attack(Orders(**orders), out).run()
    return [orjson.loads(line) for line in out.getvalue().splitlines()]


def records_of(*answers: Answer, **fields: Any) -> list[dict[str, Any]]:
    return asyncio.run(attacked(answers, **fields))[0]


def test_the_first_token_may_be_reasoning_and_the_first_answer_comes_later() -> None:
    (record,) = records_of([STREAM_HEAD + chunk(THOUGHT), 0.05, WHOLE[len(STREAM_HEAD) :]])
    assert record["first_answer_ns"] - record["first_token_ns"] >= 40_000_000


def test_times_are_those_of_the_arrival_and_not_of_the_reading() -> None:
    (record,) = records_of(
        [STREAM_HEAD + chunk(piece("a")), 0.1, chunk(piece("b")), 0.1, chunk(END + DONE), LAST_CHUNK]
    )
    first, second = record["arrivals_us"]
    assert second - first >= 95_000
    assert record["done_ns"] - record["first_token_ns"] >= 190_000_000


def test_a_connection_is_kept_for_the_next_request() -> None:
    records, server = asyncio.run(attacked([[0.05, WHOLE]], arrivals_s=(), users=1))
    assert len(records) > 1
    assert {record["failure"] for record in records} == {""}
    assert server.connections == 1


def test_more_requests_than_connections_open_more() -> None:
    records, server = asyncio.run(attacked([[0.2, WHOLE]], arrivals_s=[0.0] * 5, connections=2))
    assert [record["failure"] for record in records] == [""] * 5
    assert server.connections == 5


def test_an_open_loop_does_not_wait_for_replies() -> None:
    records = records_of([0.5, WHOLE], arrivals_s=[0.0, 0.05, 0.1])
    assert max(record["sent_ns"] for record in records) < min(record["first_byte_ns"] for record in records)


def test_a_kept_connection_that_the_server_has_closed_is_no_failure() -> None:
    records, server = asyncio.run(attacked([[WHOLE], [Then.HANG_UP], [0.05, WHOLE]], arrivals_s=(), users=1))
    assert {record["failure"] for record in records} == {""}
    assert len(server.asked) == len(records) + 1


def test_a_server_that_hangs_up_on_a_fresh_connection_is_a_failure() -> None:
    (record,) = records_of([Then.HANG_UP])
    assert record["failure"] == "broken_stream"


def test_an_answer_that_takes_too_long_is_given_up() -> None:
    (record,) = records_of([STREAM_HEAD + chunk(piece("a")), 60.0], timeout_s=0.3)
    assert record["failure"] == "timeout"
    assert record["arrivals_us"]


def test_a_server_that_is_not_there_fails_every_request_by_name() -> None:
    target = Target("127.0.0.1", closed_port(), "openai-chat")
    records = asyncio.run(carried_out(target, b"GET / HTTP/1.1\r\n\r\n", [0.0, 0.01], 2))
    assert [record["failure"] for record in records] == ["connect", "connect"]


def test_a_stop_gives_up_what_is_under_way_and_keeps_what_came() -> None:
    async def stopped() -> list[dict[str, Any]]:
        async with raw_server([WHOLE], [STREAM_HEAD, 60.0]) as server:
            target = Target("127.0.0.1", int(server.url.rpartition(":")[2]), "openai-chat")
            start_ns = time.perf_counter_ns()
            arrivals = [(0, 0), (100_000_000, 1), (10**12, 2)]
            orders = Orders(target, [request(server.url)], ["w"], start_ns, start_ns + 10**13, 60.0, 1, arrivals)
            out = io.BytesIO()
            attack = Attack(orders, out)
            running = asyncio.create_task(attack.run())
            while attack.tally.fired < 2 or not attack.tally.succeeded:  # noqa: ASYNC110 - what is waited for tells nobody
                await asyncio.sleep(0.01)
            attack.stop()
            await running
            return [orjson.loads(line) for line in out.getvalue().splitlines()]

    assert [record["failure"] for record in asyncio.run(stopped())] == ["", "stopped"]


def test_users_ask_one_after_the_other_until_the_time_is_up() -> None:
    records, server = asyncio.run(attacked([[0.05, WHOLE]], arrivals_s=(), users=3, connections=3))
    assert server.connections == 3
    # A second, three users, 50 ms an answer: sixty at most, and every one that was begun is whole.
    assert 15 <= len(records) <= 60
    assert {record["failure"] for record in records} == {""}


def test_a_user_thinks_between_two_questions() -> None:
    records, _ = asyncio.run(attacked([[WHOLE]], arrivals_s=(), users=1, think_s=0.3))
    ended = [record["done_ns"] for record in records]
    begun = [record["sent_ns"] for record in records]
    # As many as fit: a slow machine fits fewer.
    assert 2 <= len(records) <= 4
    assert all(begin - end >= 290_000_000 for end, begin in zip(ended, begun[1:], strict=False))


def test_a_large_request_goes_out_whole() -> None:
    async def large() -> tuple[list[dict[str, Any]], int]:
        async with raw_server([WHOLE]) as server:
            body = b"x" * 30_000_000
            payload = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            target = Target("127.0.0.1", int(server.url.rpartition(":")[2]), "openai-chat")
            records = await carried_out(target, payload, [0.0], 1)
            return records, len(server.asked[0].body)

    (record,), size = asyncio.run(large())
    assert size == 30_000_000
    assert record["scheduled_ns"] < record["sent_ns"] <= record["first_byte_ns"]


class _StoppedAtOnce(Attack):
    """Told to stop before what it fires has begun to open its connections."""

    def _fire_due(self) -> None:
        asyncio.get_running_loop().call_soon(self.stop)
        super()._fire_due()


def test_what_is_stopped_before_it_begins_to_connect_has_its_record() -> None:
    async def attack() -> list[dict[str, Any]]:
        out = io.BytesIO()
        start_ns = time.perf_counter_ns()
        orders = Orders(
            target=Target("127.0.0.1", closed_port(), "openai-chat"), payloads=[b"x"], workloads=["w"],
            start_ns=start_ns, end_ns=start_ns + 10**9, timeout_s=5, connections=0,
            arrivals_ns=[(0, number) for number in range(5)],
        )  # fmt: skip
        await asyncio.wait_for(_StoppedAtOnce(orders, out).run(), 5)
        return [orjson.loads(line) for line in out.getvalue().splitlines()]

    assert len(asyncio.run(attack())) == 5


def two_users_for_a_minute(port: int) -> Orders:
    return Orders(
        target=Target("127.0.0.1", port, "openai-chat"),
        payloads=[b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"],
        workloads=["w"],
        start_ns=0,
        end_ns=60_000_000_000,
        timeout_s=5.0,
        connections=2,
        users=2,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
def test_a_test_whose_records_cannot_be_written_ends_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "records-0.jsonl").symlink_to("/dev/full")
    with running_server() as server:
        orders = two_users_for_a_minute(urlsplit(server.base_url).port or 0)
        with pytest.raises(RunFailed, match=r"records-0\.jsonl cannot be written: .*No space left"):
            asyncio.run(asyncio.wait_for(crew.attack(orders, tmp_path, cores=()), 30))


def test_a_test_that_is_stopped_before_its_workers_are_there_sends_nothing(tmp_path: Path) -> None:
    async def stopped_at_once(orders: Orders) -> crew.Attacked:
        stop = asyncio.Event()
        stop.set()
        return await asyncio.wait_for(crew.attack(orders, tmp_path, workers=2, cores=(), stop=stop), 30)

    with running_server() as server:
        done = asyncio.run(stopped_at_once(two_users_for_a_minute(urlsplit(server.base_url).port or 0)))
        assert server.stats()["requests"] == 0
    assert done.stopped
    assert done.records == []
