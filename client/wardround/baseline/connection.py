"""A client's connection: requests read, answered in their order, and their answers written."""

from __future__ import annotations

import asyncio
import email.utils
import functools
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from http import HTTPStatus
from typing import cast

from wardround.baseline.http import (
    EVENTS,
    LARGEST_BACKLOG,
    Cut,
    Headers,
    Malformed,
    Respond,
    Streamed,
    Whole,
)
from wardround.baseline.incoming import Incoming

_LOG = logging.getLogger(__name__)


class Turns:
    """Lets connections answer one after the other, one in each turn of the event loop.

    In between the loop reads what has come, so that of many requests at once the last one's stamp is as true as the
    first one's, however long it takes to answer them all.
    """

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._loop = asyncio.get_running_loop()

    def add(self, answer: Callable[[], None]) -> None:
        """Have `answer` called when its turn comes."""
        self._waiting.append(answer)
        if len(self._waiting) == 1:
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        try:
            self._waiting[0]()
        finally:
            self._waiting.popleft()
            if self._waiting:
                self._loop.call_soon(self._next)


class Connection(asyncio.Protocol):
    """One client's connection, kept alive from request to request; requests are answered in their order.

    With `turns` it waits for its turn before it answers; without, it answers as it reads.
    """

    def __init__(
        self,
        respond: Respond,
        malformed: Callable[[Malformed], Whole],
        connections: set[Connection],
        turns: Turns | None = None,
    ) -> None:
        self._respond = respond
        self._malformed = malformed
        self._connections = connections
        self._turns = turns
        self._loop = asyncio.get_running_loop()
        self._incoming = Incoming()
        self._came_ns = 0
        self._answering: asyncio.Task[None] | None = None
        self._may_write: asyncio.Future[None] | None = None
        self._keeps_alive = True
        self._paused = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the line."""
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop whatever is being answered: nobody listens any more."""
        self._transport = None
        self._connections.discard(self)
        if self._answering is not None:
            self._answering.cancel()

    def data_received(self, data: bytes) -> None:
        """Take in some bytes; answer the request that they complete."""
        self._came_ns = time.perf_counter_ns()
        self._incoming.feed(data)
        if self._answering is None:
            if self._turns is None:
                self._answer_next()
            else:
                self._turns.add(self._answer_next)
        elif self._incoming.waiting > LARGEST_BACKLOG and self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """The client reads more slowly than it is written to."""
        self._may_write = self._loop.create_future()

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._may_write is not None and not self._may_write.done():
            self._may_write.set_result(None)
        self._may_write = None

    def stop(self) -> asyncio.Task[None] | None:
        """End the connection if it is idle; else return the answer that is still on its way, which will be its last."""
        self._keeps_alive = False
        if self._answering is None and self._transport is not None:
            self._transport.close()
        return self._answering

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _answer_next(self) -> None:
        """Answer every request that is there, until one has to be waited for."""
        while self._answering is None and self._transport is not None and not self._transport.is_closing():
            try:
                call = self._incoming.take(self._came_ns)
            except Malformed as fault:
                self._keeps_alive = False
                self._write(self._malformed(fault), with_body=True)
                return
            if call is None:
                if self._incoming.wants_to_go_on():
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            self._keeps_alive = self._keeps_alive and self._incoming.keeps_alive
            outcome = self._respond(call)
            if isinstance(outcome, Whole):
                self._write(outcome, with_body=call.method != "HEAD")
            elif isinstance(outcome, Streamed) and isinstance(outcome.pieces, bytes):
                self._put(self._stream_head(outcome.headers) + self._chunk(outcome.pieces))
                self._end_stream(cut=outcome.cut)
            else:
                self._answering = self._loop.create_task(self._answer(outcome))

    async def _answer(self, outcome: Streamed | Callable[[], Awaitable[Whole]]) -> None:
        try:
            if not isinstance(outcome, Streamed):
                self._write(await outcome(), with_body=True)
            elif not isinstance(outcome.pieces, bytes):
                await self._stream(outcome.pieces, self._stream_head(outcome.headers))
        except Exception:
            # A fault of this program: said, and the client sees a broken line. Prompts are in no log.
            _LOG.exception("an answer failed")
            self.abort()
        self._answering = None
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        self._answer_next()

    def _write(self, made: Whole, *, with_body: bool) -> None:
        if self._transport is None:
            return
        length = b"Content-Length: %d\r\n" % len(made.body)
        head = _head(made.status, made.content_type, _now()) + length + self._more_headers(made.headers)
        body = made.body if with_body else b""
        if made.cut:
            self._transport.write(head + body[: len(body) // 2])
            self._transport.close()
            return
        self._transport.write(head + body)
        if not self._keeps_alive:
            self._transport.close()

    async def _stream(self, generator: AsyncGenerator[bytes, None], head: bytes) -> None:
        """Write a stream's pieces as they come, the first of them with its head."""
        cut = False
        try:
            async with aclosing(generator) as pieces:
                async for piece in pieces:
                    self._put(head + self._chunk(piece))
                    head = b""
                    if self._may_write is not None:
                        await self._may_write
        except Cut:
            cut = True
        self._put(head)
        self._end_stream(cut=cut)

    def _stream_head(self, headers: Headers) -> bytes:
        head = _head(200, EVENTS, _now()) + b"Cache-Control: no-cache\r\n"
        if self._in_chunks:
            head += b"Transfer-Encoding: chunked\r\n"
        else:
            # The stream's end is the connection's.
            self._keeps_alive = False
        return head + self._more_headers(headers)

    @property
    def _in_chunks(self) -> bool:
        return self._incoming.version != b"HTTP/1.0"

    def _chunk(self, piece: bytes) -> bytes:
        # An empty one would be the end.
        return b"%x\r\n%b\r\n" % (len(piece), piece) if piece and self._in_chunks else piece

    def _end_stream(self, *, cut: bool) -> None:
        if self._in_chunks and not cut:
            self._put(b"0\r\n\r\n")
        if (cut or not self._keeps_alive) and self._transport is not None:
            self._transport.close()

    def _put(self, data: bytes) -> None:
        if self._transport is not None and data:
            self._transport.write(data)

    def _more_headers(self, headers: Headers) -> bytes:
        more = "".join([f"{name}: {value}\r\n" for name, value in headers]) if headers else ""
        if not self._keeps_alive:
            more += "Connection: close\r\n"
        return more.encode("latin-1", "replace") + b"\r\n"


@functools.lru_cache(maxsize=64)
def _head(status: int, content_type: str, now_s: int) -> bytes:
    """The lines that are the same for all answers of a kind within a second."""
    date = email.utils.formatdate(now_s, usegmt=True)
    phrase = HTTPStatus(status).phrase
    lines = f"HTTP/1.1 {status} {phrase}\r\nServer: wardround\r\nDate: {date}\r\nContent-Type: {content_type}\r\n"
    return lines.encode("ascii")


def _now() -> int:
    return int(time.time())
