"""One connection of HTTP/1.1: an `asyncio.Protocol` on httptools that carries one request at a time.

An evaluation sends requests that fit into memory and reads answers that do: of HTTP it needs no more than is here. What
a server says is bounded: its head by `MOST_HEAD_BYTES`, its body by what the asker allows, and a stream that nobody
reads is not read from the kernel either.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Literal, cast

import httptools

WireFault = Literal["connect", "timeout", "broken"]

MOST_HEAD_BYTES = 64 << 10
# So much of a stream is kept before the server is made to wait for its reader.
MOST_UNREAD_BYTES = 1 << 20
# An end without a byte that comes within a round trip and this of a request was on its way before it: so long a server
# may take to close a connection that it has done with.
MEANWHILE_NS = 100_000_000

_now = time.perf_counter_ns


class WireError(Exception):
    """No whole answer came: no connection, no answer in time, or an answer that broke off."""

    def __init__(self, fault: WireFault, detail: str) -> None:
        super().__init__(detail)
        self.fault: WireFault = fault
        self.detail = detail


class ClosedMeanwhile(WireError):
    """A kept connection was closed just as it was used again: too soon for the server to have worked on the request."""


class Headers(dict[str, str]):
    """Headers by their names, in whatever case; of several with one name the first."""

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a header, or `default`."""
        return super().get(name.lower(), default)


class Incoming:
    """What comes back for one request. Times are `time.perf_counter_ns`; `done_ns` is the end of the answer.

    With `streamed`, who waits is woken by every piece, else by the end alone.
    """

    __slots__ = (
        "_connection",
        "_waiter",
        "body_until_close",
        "done",
        "done_ns",
        "error",
        "head_complete",
        "headers",
        "most_bytes",
        "pieces",
        "sent_ns",
        "size",
        "stamps",
        "status",
        "streamed",
        "unread",
    )

    def __init__(self, connection: Connection, *, streamed: bool, most_bytes: int) -> None:
        self._connection = connection
        self.streamed = streamed
        self._waiter: asyncio.Future[None] | None = None
        self.most_bytes = most_bytes
        self.status = 0
        self.headers = Headers()
        self.head_complete = self.body_until_close = self.done = False
        self.error: WireError | None = None
        self.pieces: list[bytes | bytearray] = []
        self.stamps: list[int] = []
        self.size = self.unread = 0
        self.sent_ns = self.done_ns = 0

    def wake(self, *, at_end: bool = False) -> None:
        """Something came; where the whole answer is wanted only its end matters."""
        if (self.streamed or at_end) and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def head(self) -> None:
        """Return when status and headers are there; raises `WireError`."""
        while not (self.head_complete or self.done):
            await self._wait()
        if self.error is not None and not self.head_complete:
            raise self.error

    async def body(self) -> bytes:
        """All that is left of the body; raises `WireError`."""
        kept: list[bytes | bytearray] = []
        while True:
            kept += self._taken()[0]
            if self.done:
                break
            await self._wait()
        if self.error is not None:
            raise self.error
        return bytes(kept[0]) if len(kept) == 1 else b"".join(kept)

    async def body_pieces(self) -> AsyncIterator[tuple[bytes, int]]:
        """The body as it comes, each piece with the time at which it came; raises `WireError` at the end."""
        while True:
            pieces, stamps = self._taken()
            for piece, at_ns in zip(pieces, stamps, strict=True):
                yield bytes(piece), at_ns
            if self.pieces:
                continue
            if self.error is not None:
                raise self.error
            if self.done:
                return
            await self._wait()

    def _taken(self) -> tuple[list[bytes | bytearray], list[int]]:
        taken = self.pieces, self.stamps
        self.pieces, self.stamps, self.unread = [], [], 0
        if not self.done:
            self._connection.read_on()
        return taken

    async def _wait(self) -> None:
        self._waiter = self._connection.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


class Connection(asyncio.Protocol):
    """An open connection, kept for the next request when an answer has ended."""

    __slots__ = (
        "_asked",
        "_barren",
        "_framed",
        "_incoming",
        "_parser",
        "_paused",
        "_read",
        "_stamp",
        "_transport",
        "idle_since_s",
        "loop",
        "round_trip_ns",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.idle_since_s = 0.0
        # What the making of the connection took, TLS included.
        self.round_trip_ns = 0
        self._transport: asyncio.Transport | None = None
        self._incoming: Incoming | None = None
        self._parser: Any = None
        self._framed = self._paused = False
        self._asked = self._read = self._barren = self._stamp = 0

    @property
    def usable(self) -> bool:
        """Whether another request can be sent on it."""
        return self._transport is not None and self._incoming is None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self._transport = cast(asyncio.Transport, transport)

    def send(self, head: bytes, body: bytes, *, streamed: bool, most_bytes: int) -> Incoming:
        """Send a request; only on a connection that is `usable`."""
        assert self._transport is not None
        incoming = self._incoming = Incoming(self, streamed=streamed, most_bytes=most_bytes)
        self._parser = httptools.HttpResponseParser(self)
        self._framed, self._read, self._barren = False, 0, 0
        self._asked += 1
        self._transport.write(head + body)
        incoming.sent_ns = _now()
        return incoming

    def read_on(self) -> None:
        """What came was taken: there is room for more."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Stamp, then let the parser take the bytes apart."""
        self._stamp = _now()
        incoming = self._incoming
        if incoming is None:
            # Nothing was asked: whatever this is, the connection is out of step.
            self.close()
            return
        self._read += len(data)
        before = incoming.size
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.give_up(WireError("broken", "the answer is no HTTP"))
            self.close()
            return
        # Heads, sizes of chunks, trailers: whatever is no body.
        self._barren = 0 if incoming.size > before else self._barren + len(data)
        if self._barren > MOST_HEAD_BYTES and incoming is self._incoming:
            self.give_up(WireError("broken", f"the answer's head has more than {MOST_HEAD_BYTES >> 10} KiB"))
        elif incoming.streamed and incoming.unread > MOST_UNREAD_BYTES and incoming is self._incoming:
            # A whole answer is taken when it has ended, and what it may hold is bounded already.
            self._pause()

    def connection_lost(self, error: Exception | None) -> None:
        """The other side has gone: the end of an answer that has no other end, else a fault."""
        self._transport = None
        incoming = self._incoming
        if incoming is None:
            return
        self._stamp = _now()
        if incoming.body_until_close and error is None:
            self._end(None)
            return
        since_ns = self._stamp - incoming.sent_ns
        soon = self._asked > 1 and not self._read and since_ns < self.round_trip_ns + MEANWHILE_NS
        kind = ClosedMeanwhile if soon else WireError
        self._end(kind("broken", "the server closed the connection before its answer's end"))

    def give_up(self, error: WireError) -> None:
        """End what is under way with `error`, and the connection with it."""
        self._stamp = _now()
        self._end(error)
        self.close()

    def close(self) -> None:
        """Close the connection, and drop what may still come."""
        if self._transport is not None:
            self._transport.abort()

    # What httptools calls while it is fed.

    def on_message_begin(self) -> None:
        """An answer begins; one that nobody asked for ends the connection: the next request must not get it."""
        if self._incoming is None:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        incoming = self._incoming
        # After the head there may be trailers, which nobody reads.
        if incoming is None or incoming.head_complete:
            return
        lowered = name.decode("latin-1").lower()
        if lowered in ("content-length", "transfer-encoding"):
            self._framed = True
        incoming.headers.setdefault(lowered, value.decode("utf-8", "surrogateescape").strip(" \t"))

    def on_headers_complete(self) -> None:
        """The status is known."""
        incoming = self._incoming
        if incoming is None:
            return
        incoming.status = self._parser.get_status_code()
        if 100 <= incoming.status < 200:
            return
        encoding = incoming.headers.get("content-encoding", "identity")
        if encoding.lower() not in ("identity", ""):
            self.give_up(WireError("broken", f"the answer comes encoded as {encoding[:40]!r}, which nobody asked for"))
            return
        incoming.head_complete = True
        incoming.body_until_close = not self._framed
        incoming.wake()

    def on_body(self, body: bytes) -> None:
        """Put a piece aside."""
        incoming = self._incoming
        if incoming is None:
            return
        incoming.size += len(body)
        if incoming.size > incoming.most_bytes:
            self.give_up(WireError("broken", f"the answer has more than {incoming.most_bytes:,} bytes"))
            return
        if incoming.streamed:
            incoming.pieces.append(body)
            incoming.stamps.append(self._stamp)
            incoming.unread += len(body)
            incoming.wake()
        elif incoming.pieces:
            # One buffer: a list of pieces of a byte each would take a hundred times their size.
            incoming.pieces[0] += body
        else:
            incoming.pieces.append(bytearray(body))

    def on_message_complete(self) -> None:
        """The answer is whole, or an interim one (100 Continue) is and the answer follows."""
        incoming = self._incoming
        if incoming is None:
            return
        if not incoming.head_complete:
            incoming.headers.clear()
            self._framed = False
            return
        # What is left of the request would come before the next one.
        unsent = self._transport is not None and self._transport.get_write_buffer_size()
        if unsent or not self._parser.should_keep_alive():
            self.close()
        self._end(None)

    def _pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing() and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _end(self, error: WireError | None) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is None:
            return
        self.read_on()
        self.idle_since_s = self.loop.time()
        incoming.done_ns = self._stamp
        incoming.error = error
        incoming.done = True
        incoming.wake(at_end=True)
