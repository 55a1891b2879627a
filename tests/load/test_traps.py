from __future__ import annotations

import asyncio
import io
import itertools
import socket
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.load.conftest import Certificate
from tests.load.trap_server import asking, trap_server
from tests.load.traps import FAILURES, STREAMS, TRAPS, Trap
from wardround.load.attack import Attack, Orders, Target
from wardround.load.reading import chat_event, read
from wardround.load.records import Record, to_line
from wardround.load.streams import Connection, Exchange

NAMES = list(TRAPS)
Records = dict[str, dict[str, Any]]


async def walked_into_all(port: int, tls_name: str | None) -> list[dict[str, Any]]:
    """The records of every trap, asked for one after the other over one connection that is kept where it can be."""
    start_ns = time.perf_counter_ns()
    target = Target("127.0.0.1", port, "openai-chat", tls_name)
    payloads = [asking(name, port) for name in NAMES]
    arrivals = [(0, number) for number in range(len(NAMES))]
    orders = Orders(
        target, payloads, NAMES, start_ns, start_ns + 10**9, 20.0, 4, arrivals, order=tuple(range(len(NAMES)))
    )
    out = io.BytesIO()
    await Attack(orders, out).run()
    return [orjson.loads(line) for line in out.getvalue().splitlines()]


@pytest.fixture(scope="module", params=["plain", "TLS"])
def records(request: pytest.FixtureRequest) -> Iterator[Records]:
    """By trap; on the event loop that the workers run on."""
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        files = []
        if request.param == "TLS":
            certificate: Certificate = request.getfixturevalue("certificate")
            patch.setenv("SSL_CERT_FILE", str(certificate.path))
            files = [certificate.path, certificate.key]
        with trap_server(*files) as port:
            yield {one["workload"]: one for one in runner.run(walked_into_all(port, "localhost" if files else None))}


def seen(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "failure": record["failure"],
        "finish_reason": record["finish_reason"],
        "arrivals": len(record["arrivals_us"]),
        "output_tokens": record["output_tokens"],
    }


def expected(trap: Trap) -> dict[str, Any]:
    return {
        "failure": trap.failure,
        "finish_reason": trap.finish_reason,
        "arrivals": trap.arrivals,
        "output_tokens": trap.output_tokens,
    }


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_read_whichever_way_it_is_written(records: Records, name: str) -> None:
    record = records[name]
    assert seen(record) == expected(STREAMS[name])
    assert record["scheduled_ns"] <= record["sent_ns"] <= record["first_byte_ns"] <= record["first_token_ns"]
    assert record["first_token_ns"] <= record["first_answer_ns"] <= record["done_ns"]


@pytest.mark.parametrize("name", FAILURES)
def test_what_is_no_answer_is_a_failure_with_its_name_and_the_servers_words(records: Records, name: str) -> None:
    record, trap = records[name], FAILURES[name]
    assert (record["failure"], len(record["arrivals_us"])) == (trap.failure, trap.arrivals)
    assert trap.words in record["words"]


async def over_a_socket(pieces: list[bytes], hangs_up: bool) -> Record:
    """What is made of an answer that comes in exactly these segments."""
    ended: list[Exchange] = []
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, connection = await loop.create_connection(
        lambda: Connection(lambda _, one: ended.append(one)), sock=near
    )
    connection.ask(Exchange(0, b"request", time.perf_counter_ns()))
    with far:
        # A socket that is closed with something unread in it says that the line broke.
        assert await loop.sock_recv(far, 100) == b"request"
        for piece in pieces:
            if not ended:
                await loop.sock_sendall(far, piece)
                # It lies in the socket already: one turn of the loop finds it, the next one reads it.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
    if not hangs_up:
        assert ended
    while not ended:  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0)
    transport.close()
    await asyncio.sleep(0)
    return read(ended[0], "w", chat_event)


@settings(deadline=None)
@given(st.sampled_from(NAMES), st.data())
def test_however_the_bytes_of_an_answer_are_cut_the_same_is_read(name: str, data: st.DataObject) -> None:
    trap = TRAPS[name]
    sent = trap.sent
    cuts = data.draw(st.lists(st.integers(0, len(sent)), max_size=20))
    places = sorted({0, len(sent), *cuts})
    pieces = [sent[begin:end] for begin, end in itertools.pairwise(places)]
    record = asyncio.run(over_a_socket(pieces, trap.hangs_up))
    found = orjson.loads(to_line(record))
    if trap.failure:
        assert (record.failure, len(record.arrivals_us)) == (trap.failure, trap.arrivals)
        assert trap.words in record.words
    else:
        assert seen(found) == expected(trap)
    assert list(record.arrivals_us) == sorted(record.arrivals_us)


@pytest.mark.parametrize("name", [name for name, trap in TRAPS.items() if trap.sent])
def test_byte_by_byte_the_same_is_read(name: str) -> None:
    trap = TRAPS[name]
    record = asyncio.run(over_a_socket([bytes([one]) for one in trap.sent], trap.hangs_up))
    assert (record.failure, len(record.arrivals_us)) == (trap.failure, trap.arrivals)
    if trap.reasoning_first:
        assert record.first_token_ns < record.first_answer_ns
