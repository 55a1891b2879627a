from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.wire.raw_server import (
    LAST_CHUNK,
    NEVER_S,
    STREAM_HEAD,
    Answer,
    Then,
    chunk,
    closed_port,
    event,
    event_stream,
    http_answer,
    http_head,
    json_answer,
    raw_server,
)
from wardround.wire import Event, HttpAnswer, HttpStream, Wire, WireError, connection

FINE = [json_answer({"fine": True})]


async def post(wire: Wire, url: str, body: bytes = b"{}", whole_s: float = 20.0, **headers: str) -> HttpAnswer:
    return await wire.post(url, body, headers=headers, whole_s=whole_s)


def fault_of_post(answer: Answer, whole_s: float = 20.0) -> WireError:
    """The error that a POST ends with when the server gives `answer`."""

    async def main() -> WireError:
        async with raw_server(answer) as server, Wire() as wire:
            with pytest.raises(WireError) as caught:
                await post(wire, server.url, whole_s=whole_s)
        return caught.value

    return asyncio.run(main())


@asynccontextmanager
async def streaming(answer: Answer, whole_s: float = 20.0) -> AsyncIterator[HttpStream]:
    """A stream from a server that gives `answer`."""
    async with (
        raw_server(answer) as server,
        Wire() as wire,
        wire.stream(server.url, b"{}", headers={}, whole_s=whole_s) as stream,
    ):
        yield stream


def fault_of_stream(answer: Answer, whole_s: float = 20.0) -> tuple[WireError, list[bytes]]:
    """The error that the reading of a stream ends with, and the data of the events that came before it."""
    read: list[bytes] = []

    async def main() -> None:
        async with streaming(answer, whole_s) as stream:
            async for one, _ in stream.events():
                read.append(one.data)

    with pytest.raises(WireError) as caught:
        asyncio.run(main())
    return caught.value, read


def test_a_post_sends_body_and_headers_and_returns_the_whole_answer() -> None:
    async def main() -> None:
        async with raw_server([http_answer(b"hello", 418, X_Pot="tea")]) as server, Wire() as wire:
            answer = await post(wire, f"{server.url}/v1/x?y=1", b'{"a": 1}', Authorization="Bearer k")
        assert (answer.status, answer.body, answer.headers["x-pot"]) == (418, b"hello", "tea")
        [asked] = server.asked
        assert (asked.method, asked.target, asked.body) == ("POST", "/v1/x?y=1", b'{"a": 1}')
        assert asked.headers["authorization"] == "Bearer k"

    asyncio.run(main())


def test_a_get_sends_no_body() -> None:
    async def main() -> None:
        async with raw_server(FINE) as server, Wire() as wire:
            answer = await wire.get(f"{server.url}/v1/models", headers={}, whole_s=20.0)
        assert answer.body == b'{"fine": true}'
        assert [(asked.method, asked.target, asked.body) for asked in server.asked] == [("GET", "/v1/models", b"")]

    asyncio.run(main())


def test_a_chunked_answer_is_put_together() -> None:
    async def main() -> None:
        body = http_head(Transfer_Encoding="chunked") + chunk(b"ab") + chunk(b"c") + LAST_CHUNK
        async with raw_server([body]) as server, Wire() as wire:
            assert (await post(wire, server.url)).body == b"abc"

    asyncio.run(main())


def test_a_hundred_posts_in_a_row_use_one_connection() -> None:
    async def main() -> None:
        async with raw_server(FINE) as server, Wire() as wire:
            for _ in range(100):
                await post(wire, server.url)
        assert (len(server.asked), server.connections) == (100, 1)

    asyncio.run(main())


def test_requests_at_the_same_time_are_not_held_back_by_the_pool() -> None:
    async def main() -> None:
        async with raw_server([0.2, *FINE]) as server, Wire() as wire:
            await asyncio.gather(*(post(wire, server.url) for _ in range(150)))
        assert server.connections == 150

    asyncio.run(main())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_returned_and_not_followed(status: int) -> None:
    async def main() -> None:
        async with raw_server(FINE) as elsewhere, Wire() as wire:
            moved = [http_answer(b"", status, Location=f"{elsewhere.url}/there")]
            async with raw_server(moved) as server:
                answer = await post(wire, server.url)
        assert (answer.status, len(server.asked), elsewhere.connections) == (status, 1, 0)

    asyncio.run(main())


def test_a_cookie_is_not_sent_back() -> None:
    async def main() -> None:
        async with raw_server([json_answer({}, Set_Cookie="session=1; Path=/")]) as server, Wire() as wire:
            # By name: cookies of bare addresses are dropped anyway.
            for _ in range(2):
                await post(wire, server.url.replace("127.0.0.1", "localhost"))
        assert [asked.headers.get("cookie") for asked in server.asked] == [None, None]

    asyncio.run(main())


def use_as_proxy(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, url)
        monkeypatch.setenv(name.lower(), url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_a_proxy_in_the_environment_is_ignored_for_http(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with raw_server(FINE) as proxy, raw_server(FINE) as server:
            use_as_proxy(monkeypatch, proxy.url)
            async with Wire() as wire:
                await post(wire, server.url)
        assert (len(server.asked), proxy.connections) == (1, 0)

    asyncio.run(main())


def test_a_proxy_in_the_environment_is_ignored_for_https(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with raw_server(FINE) as proxy:
            use_as_proxy(monkeypatch, proxy.url)
            async with Wire() as wire:
                with pytest.raises(WireError):
                    await post(wire, f"https://127.0.0.1:{closed_port()}")
        assert proxy.connections == 0

    asyncio.run(main())


def test_a_refused_connection_is_the_fault_connect() -> None:
    async def main() -> str:
        async with Wire() as wire:
            with pytest.raises(WireError) as caught:
                await post(wire, f"http://127.0.0.1:{closed_port()}/v1")
        return caught.value.fault

    assert asyncio.run(main()) == "connect"


def test_a_refused_connection_names_the_host_in_its_detail() -> None:
    async def main() -> None:
        port = closed_port()
        async with Wire() as wire:
            with pytest.raises(WireError, match=f"127.0.0.1:{port}"):
                await post(wire, f"http://127.0.0.1:{port}/v1")

    asyncio.run(main())


def test_an_address_that_is_none_is_the_fault_connect() -> None:
    async def main() -> str:
        async with Wire() as wire:
            with pytest.raises(WireError) as caught:
                await post(wire, "http://")
        return caught.value.fault

    assert asyncio.run(main()) == "connect"


def test_https_to_a_server_without_tls_is_a_wire_error() -> None:
    async def main() -> None:
        # The server takes the TLS greeting for a request, finds no end to it and is hung up on in time.
        async with raw_server(FINE) as server, Wire() as wire:
            with pytest.raises(WireError):
                await post(wire, server.url.replace("http:", "https:"), whole_s=0.3)

    asyncio.run(main())


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param([NEVER_S], id="before the head"),
        pytest.param([http_head(Content_Length=5) + b"he", NEVER_S], id="inside the body"),
    ],
)
def test_a_slow_answer_is_the_fault_timeout(answer: Answer) -> None:
    error = fault_of_post(answer, whole_s=0.2)
    assert (error.fault, error.detail) == ("timeout", "no whole answer within 0.2 s")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param([Then.HANG_UP], id="before the head"),
        pytest.param([b"HTTP/1.1 200 O", Then.HANG_UP], id="inside the head"),
        pytest.param([http_head(Content_Length=100) + b"half", Then.HANG_UP], id="short of its Content-Length"),
        pytest.param([http_head(Transfer_Encoding="chunked") + b"64\r\nhalf", Then.HANG_UP], id="in mid chunk"),
        pytest.param([http_head(Transfer_Encoding="chunked") + chunk(b"a"), Then.HANG_UP], id="between chunks"),
        pytest.param([http_head(Transfer_Encoding="chunked") + b"nonsense\r\n"], id="no chunk at all"),
        pytest.param([b"SSH-2.0-OpenSSH_9.6\r\n", Then.HANG_UP], id="another protocol"),
        pytest.param([http_answer(b"not gzip", Content_Encoding="gzip")], id="a false Content-Encoding"),
    ],
)
def test_an_answer_that_breaks_off_is_the_fault_broken(answer: Answer) -> None:
    assert fault_of_post(answer).fault == "broken"


def asked_again(*answers: Answer, streamed: bool) -> tuple[list[bytes | str], int, int]:
    """What three requests in a row end with, the number that the server read, and that of its connections."""
    ended: list[bytes | str] = []

    async def one(wire: Wire, url: str) -> bytes:
        if not streamed:
            return (await post(wire, url)).body
        async with wire.stream(url, b"{}", headers={}, whole_s=20.0) as stream:
            return await stream.body()

    async def main() -> tuple[int, int]:
        async with raw_server(*answers) as server, Wire() as wire:
            for _ in range(3):
                try:
                    ended.append(await one(wire, server.url))
                except WireError as error:
                    ended.append(error.fault)
            return len(server.asked), server.connections

    return ended, *asyncio.run(main())


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_request_on_a_kept_connection_that_closes_is_sent_once_more_on_a_new_one(streamed: bool) -> None:
    # As llama.cpp's server does after a stream: it announces that it keeps the connection, and closes it.
    answers: list[Answer] = [[http_answer(b"a")], [Then.HANG_UP], [http_answer(b"b")]]
    assert asked_again(*answers, streamed=streamed) == ([b"a", b"b", b"b"], 4, 2)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_server_that_hangs_up_again_is_a_fault(streamed: bool) -> None:
    answers: list[Answer] = [[http_answer(b"a")], [Then.HANG_UP], [Then.HANG_UP], [http_answer(b"b")]]
    assert asked_again(*answers, streamed=streamed) == ([b"a", "broken", b"b"], 4, 3)


def test_a_request_that_a_server_had_time_to_read_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MEANWHILE_NS", 10_000_000)
    answers: list[Answer] = [[http_answer(b"a")], [0.1, Then.HANG_UP], [http_answer(b"b")]]
    assert asked_again(*answers, streamed=False) == ([b"a", "broken", b"b"], 3, 2)


def test_a_request_that_was_answered_in_part_is_not_sent_again() -> None:
    answers: list[Answer] = [[http_answer(b"a")], [b"HTTP/1.1 200 O", Then.HANG_UP], [http_answer(b"b")]]
    assert asked_again(*answers, streamed=False) == ([b"a", "broken", b"b"], 3, 2)


def test_a_connection_that_the_server_closed_meanwhile_does_not_spoil_the_wire() -> None:
    async def main() -> None:
        async with raw_server([*FINE, Then.HANG_UP]) as server, Wire() as wire:
            await post(wire, server.url)
            await asyncio.sleep(0.05)
            await post(wire, server.url)
        assert server.connections == 2

    asyncio.run(main())


def test_a_stream_hands_out_status_and_headers_before_the_body() -> None:
    async def main() -> None:
        async with streaming([STREAM_HEAD, NEVER_S]) as stream:
            assert stream.status == 200
            assert stream.headers["transfer-encoding"] == "chunked"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("text/event-stream", True),
        ("text/event-stream; charset=utf-8", True),
        ("Text/Event-Stream", True),
        ("application/json", False),
        ("text/html", False),
    ],
)
def test_a_stream_knows_by_the_content_type_whether_it_is_one_of_events(content_type: str, expected: bool) -> None:
    async def main() -> bool:
        async with streaming([http_answer(b"", content_type=content_type)]) as stream:
            return stream.is_event_stream

    assert asyncio.run(main()) is expected


def test_the_body_of_a_stream_can_be_had_as_one_piece() -> None:
    async def main() -> bytes:
        async with streaming([http_head(500, Content_Length=6) + b"hal", 0.02, b"ves"]) as stream:
            return await stream.body()

    assert asyncio.run(main()) == b"halves"


def test_events_come_as_the_server_sends_them() -> None:
    async def main() -> None:
        async with streaming([STREAM_HEAD + event(b"a"), 0.2, event(b"b") + LAST_CHUNK]) as stream:
            came = [(one, at_ns) async for one, at_ns in stream.events()]
        assert [one for one, _ in came] == [Event("message", b"a"), Event("message", b"b")]
        assert came[1][1] - came[0][1] >= 0.15e9

    asyncio.run(main())


def test_an_event_without_its_blank_line_is_given_out_at_the_end() -> None:
    async def main() -> list[Event]:
        async with streaming([STREAM_HEAD + chunk(b"data: a\n\nda") + chunk(b"ta: b") + LAST_CHUNK]) as stream:
            return [one async for one, _ in stream.events()]

    assert asyncio.run(main()) == [Event("message", b"a"), Event("message", b"b")]


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(b"64\r\ndata: hal", id="in mid chunk"),
        pytest.param(b"", id="between chunks"),
    ],
)
def test_a_stream_that_breaks_off_is_the_fault_broken(tail: bytes) -> None:
    error, read = fault_of_stream([STREAM_HEAD + event(b"a"), 0.05, tail, Then.HANG_UP])
    assert (error.fault, read) == ("broken", [b"a"])


def test_a_stream_that_never_ends_is_the_fault_timeout() -> None:
    error, read = fault_of_stream([STREAM_HEAD + event(b"a"), NEVER_S], whole_s=1.0)
    assert (error.fault, read) == ("timeout", [b"a"])


def test_a_stream_whose_head_never_comes_is_the_fault_timeout() -> None:
    error, read = fault_of_stream([NEVER_S], whole_s=0.2)
    assert (error.fault, read) == ("timeout", [])


def test_a_refused_connection_is_the_fault_connect_for_streams_too() -> None:
    async def main() -> str:
        url = f"http://127.0.0.1:{closed_port()}"
        async with Wire() as wire:
            with pytest.raises(WireError) as caught:
                await wire.stream(url, b"{}", headers={}, whole_s=20.0).__aenter__()
        return caught.value.fault

    assert asyncio.run(main()) == "connect"


def test_an_error_of_the_reader_passes_through_as_it_is() -> None:
    async def main() -> None:
        async with streaming([STREAM_HEAD, NEVER_S]):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())


async def read_to_done_twice(answer: Answer, drain_s: float | None) -> int:
    """Read two streams up to [DONE]; the number of connections that this took."""
    async with raw_server(answer) as server, Wire() as wire:
        for _ in range(2):
            async with wire.stream(server.url, b"{}", headers={}, whole_s=20.0) as stream:
                async for one, _ in stream.events():
                    if one.data == b"[DONE]":
                        if drain_s is not None:
                            await stream.drain(drain_s)
                        break
        return server.connections


LATE_END: Answer = [STREAM_HEAD + event(b"a") + event(b"[DONE]"), 0.1, LAST_CHUNK]


def test_a_drained_stream_leaves_its_connection_to_the_next() -> None:
    assert asyncio.run(read_to_done_twice(LATE_END, drain_s=5.0)) == 1


def test_a_stream_that_is_left_early_gives_its_connection_up() -> None:
    assert asyncio.run(read_to_done_twice(LATE_END, drain_s=None)) == 2


def test_draining_gives_up_on_a_server_that_does_not_end() -> None:
    endless: Answer = [STREAM_HEAD + event(b"[DONE]"), NEVER_S]
    assert asyncio.run(read_to_done_twice(endless, drain_s=0.1)) == 2


def test_an_answer_is_done_after_it_was_sent_and_both_lie_within_the_call() -> None:
    async def main() -> None:
        async with raw_server([0.1, *FINE]) as server, Wire() as wire:
            before_ns = time.perf_counter_ns()
            answer = await post(wire, server.url)
            after_ns = time.perf_counter_ns()
        assert before_ns <= answer.sent_ns <= answer.done_ns <= after_ns
        assert answer.done_ns - answer.sent_ns >= 0.09e9

    asyncio.run(main())


def slow_lookup(seconds: float) -> Callable[..., Any]:
    """`socket.getaddrinfo`, as slow as a busy name server."""
    lookup = socket.getaddrinfo

    def slowed(*arguments: Any, **options: Any) -> Any:
        time.sleep(seconds)
        return lookup(*arguments, **options)

    return slowed


def test_the_time_of_sending_is_stamped_when_the_connection_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with raw_server(FINE) as server, Wire() as wire:
            monkeypatch.setattr(socket, "getaddrinfo", slow_lookup(0.2))
            before_ns = time.perf_counter_ns()
            answer = await post(wire, server.url.replace("127.0.0.1", "localhost"))
        assert answer.sent_ns - before_ns >= 0.19e9

    asyncio.run(main())


def test_events_are_read_after_the_request_was_sent() -> None:
    async def main() -> None:
        async with raw_server([0.1, event_stream({"n": 1})]) as server, Wire() as wire:
            before_ns = time.perf_counter_ns()
            async with wire.stream(server.url, b"{}", headers={}, whole_s=20.0) as stream:
                times_ns = [at_ns async for _, at_ns in stream.events()]
            after_ns = time.perf_counter_ns()
        assert before_ns <= stream.sent_ns < times_ns[0] <= times_ns[-1] <= after_ns
        assert times_ns[0] - stream.sent_ns >= 0.09e9

    asyncio.run(main())


def test_a_wire_outside_its_async_with_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        asyncio.run(post(Wire(), "http://127.0.0.1:1"))
