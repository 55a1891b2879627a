from __future__ import annotations

import itertools
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.baseline.test_reading import UNHURRIED
from tests.support import Server, running_server
from wardround.baseline.http import LARGEST_HEAD, Call, Malformed
from wardround.baseline.incoming import Incoming

BODY = json.dumps({"model": "baseline-lead", "messages": [{"role": "user", "content": "She fell."}]}).encode()
STREAMED = json.dumps({**json.loads(BODY), "stream": True}).encode()


def request(body: bytes = BODY, *headers: str, start: str = "POST /v1/chat/completions HTTP/1.1") -> bytes:
    lines = [start, "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(body: bytes, size: int) -> bytes:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = [body[place : place + size] for place in range(0, len(body), size)]
    return head + b"".join(b"%X;some=extension\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


class Line:
    """A connection on which bytes are sent as they are."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._rest = b""

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers with names in lower case, body."""
        head = self._until(b"\r\n\r\n").decode()
        first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            while size := int(self._until(b"\r\n"), 16):
                body += self._exactly(size)
                assert self._exactly(2) == b"\r\n"
            assert self._exactly(2) == b"\r\n"
        else:
            body = self._exactly(int(headers.get("content-length", "0")))
        return int(first.split(" ")[1]), headers, body

    def wait_for_bytes(self) -> None:
        """Return when something has come, and leave it there."""
        self._socket.recv(1, socket.MSG_PEEK)

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        pieces = [self._rest]
        while pieces[-1] or len(pieces) == 1:
            pieces.append(self._socket.recv(65536))
        return b"".join(pieces)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._rest:
            self._more()
        found, self._rest = (
            self._rest[: self._rest.index(mark) + len(mark)],
            self._rest[self._rest.index(mark) + len(mark) :],
        )
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._rest) < size:
            self._more()
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def _more(self) -> None:
        piece = self._socket.recv(65536)
        assert piece, "the connection ended"
        self._rest += piece


@contextmanager
def line_to(server: Server) -> Iterator[Line]:
    parts = urlsplit(server.base_url)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as connected:
        yield Line(connected)


def said(body: bytes) -> str:
    return str(json.loads(body)["choices"][0]["message"]["content"])


def test_a_connection_is_kept_for_the_next_request(server: Server) -> None:
    with line_to(server) as line:
        for _ in range(3):
            line.send(request())
            status, headers, body = line.answer()
            assert (status, said(body), "connection" in headers) == (200, "She fell.", False)


def test_requests_sent_without_waiting_are_answered_in_their_order(server: Server) -> None:
    with line_to(server) as line:
        line.send(request() + request(STREAMED) + request(start="GET /v1/nothing HTTP/1.1") + request())
        assert said(line.answer()[2]) == "She fell."
        assert line.answer()[2].endswith(b"data: [DONE]\n\n")
        assert line.answer()[0] == 404
        assert said(line.answer()[2]) == "She fell."


def test_requests_sent_without_waiting_are_answered_in_their_order_where_answers_take_time() -> None:
    with running_server("--ttft", "0.01") as server, line_to(server) as line:
        line.send((request() + request(STREAMED)) * 3)
        for _ in range(3):
            assert said(line.answer()[2]) == "She fell."
            assert line.answer()[2].endswith(b"data: [DONE]\n\n")


def test_a_client_that_will_not_go_on_gets_its_answer_and_the_end(server: Server) -> None:
    with line_to(server) as line:
        line.send(request(BODY, "Connection: close"))
        status, headers, _ = line.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert line.rest() == b""


def test_a_body_may_come_in_chunks(server: Server) -> None:
    with line_to(server) as line:
        line.send(chunked(BODY, 7) + request())
        assert said(line.answer()[2]) == "She fell."
        assert said(line.answer()[2]) == "She fell."


def test_a_client_that_asks_first_is_told_to_go_on(server: Server) -> None:
    whole = request(BODY, "Expect: 100-continue")
    with line_to(server) as line:
        line.send(whole[: -len(BODY)])
        assert line.answer()[0] == 100
        line.send(BODY)
        assert said(line.answer()[2]) == "She fell."


def test_a_client_of_old_gets_a_stream_without_chunks_and_then_the_end(server: Server) -> None:
    with line_to(server) as line:
        line.send(request(STREAMED, start="POST /v1/chat/completions HTTP/1.0"))
        head, _, body = line.rest().partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert body.startswith(b"data: {")
    assert body.endswith(b"data: [DONE]\n\n")


def test_a_head_is_asked_for_without_its_body(server: Server) -> None:
    with line_to(server) as line:
        line.send(b"HEAD /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head, _, body = line.rest().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert body == b""


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"hello\r\n\r\n", 400, id="no request"),
        pytest.param(b"GET / HTTP/2.0\r\n\r\n", 505, id="another HTTP"),
        pytest.param(b"GET / HTTP/1.1\r\nHost\r\n\r\n", 400, id="a header without a value"),
        pytest.param(request(BODY).replace(b"Content-Length: ", b"Content-Length: -"), 400, id="a length below zero"),
        pytest.param(request(b"", "Content-Length: 99999999999"), 413, id="a body too large"),
        pytest.param(chunked(BODY, 7).replace(b"\r\n7;", b"\r\n-7;"), 400, id="a chunk below zero"),
        pytest.param(chunked(BODY, 7).replace(b"\r\n7;", b"\r\nx;"), 400, id="a chunk without a size"),
        pytest.param(chunked(BODY, 7).replace(b"\r\n7;", b"\r\nFFFFFFFFF;"), 413, id="a chunk too large"),
        pytest.param(b"GET / HTTP/1.1\r\nA: " + b"x" * (LARGEST_HEAD + 1), 431, id="headers without an end"),
    ],
)
def test_what_is_no_request_is_refused_in_the_api_s_shape_and_ends_the_connection(
    server: Server, sent: bytes, status: int
) -> None:
    with line_to(server) as line:
        line.send(sent)
        answered, headers, body = line.answer()
        assert (answered, headers["connection"]) == (status, "close")
        assert json.loads(body)["error"]["message"]


def test_a_body_too_large_for_tgi_is_refused_in_its_shape(server: Server) -> None:
    with line_to(server) as line:
        line.send(request(b"", "Content-Length: 99999999999", start="POST /generate HTTP/1.1"))
        status, _, body = line.answer()
    assert (status, json.loads(body)["error_type"]) == (413, "validation")


def test_a_client_that_leaves_in_the_middle_frees_its_slot() -> None:
    with running_server("--slots", "1", "--ttft", "0.05", "--tpot", "30") as server:
        with line_to(server) as line:
            line.send(request(STREAMED))
            line.send(b"")
            while b'"content":"She"' not in line._until(b"\n\n"):
                pass
        with line_to(server) as line:
            one_token = json.dumps({**json.loads(BODY), "max_tokens": 1}).encode()
            line.send(request(one_token))
            assert said(line.answer()[2]) == "She"


def test_a_client_that_reads_slowly_gets_all_of_it_in_the_end() -> None:
    words = " ".join(f"word{number}" for number in range(20_000))
    body = {"model": "baseline-lead", "stream": True, "max_tokens": 20_000}
    turns = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": words},
        {"role": "user", "content": words},
    ]
    with running_server("--ttft", "0.01") as server, line_to(server) as line:
        line.send(request(json.dumps({**body, "messages": turns}).encode(), "Connection: close"))
        # Until something is read, what is written piles up: more than the buffers of both sides hold.
        line.wait_for_bytes()
        time.sleep(0.5)
        answer = line.rest().removesuffix(b"\r\n0\r\n\r\n")
    assert answer.count(b'"content":" word') == 19_999
    assert answer.endswith(b"data: [DONE]\n\n")


def all_calls(incoming: Incoming) -> list[tuple[str, str, str, bytes]]:
    calls: list[Call] = []
    while (call := incoming.take(0)) is not None:
        calls.append(call)
    return [(call.method, call.path, call.query, call.body) for call in calls]


@UNHURRIED
@given(
    bodies=st.lists(st.binary(max_size=40), min_size=1, max_size=4),
    in_chunks=st.booleans(),
    cuts=st.lists(st.integers(0, 400)),
)
def test_requests_are_the_same_in_whatever_pieces_they_come(
    bodies: list[bytes], in_chunks: bool, cuts: list[int]
) -> None:
    sent = b"".join(chunked(body, 5) if in_chunks else request(body) for body in bodies)
    incoming, found = Incoming(), []
    places = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    for start, stop in itertools.pairwise(places):
        incoming.feed(sent[start:stop])
        found += all_calls(incoming)
    assert found == [("POST", "/v1/chat/completions", "", body) for body in bodies]
    assert incoming.waiting == 0


@UNHURRIED
@given(
    st.lists(
        st.sampled_from([b"POST ", b" HTTP/1.1", b"\r\n", b"Content-Length: ", b":", b"5"]) | st.binary(max_size=9)
    )
)
def test_whatever_comes_is_a_request_or_malformed(pieces: list[bytes]) -> None:
    assert fault_of(pieces) in (None, 400, 413, 431, 505)


def fault_of(pieces: list[bytes]) -> int | None:
    incoming = Incoming()
    try:
        for piece in pieces:
            incoming.feed(piece)
            all_calls(incoming)
    except Malformed as fault:
        return fault.status
    return None
