"""The load generator's connection: an `asyncio.Protocol` on httptools that stamps and keeps, and parses nothing.

What every peer gets wrong under load is the moment at which it looks at its clock: after its event loop, its HTTP
library and its JSON parser were done with whatever else came. Here the clock is read first thing in `data_received`;
the bytes are put aside with that stamp and are read when the answer is whole (`reading`).

The clock is `time.perf_counter_ns` (CLOCK_MONOTONIC on Linux), as everywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import httptools

Fault = Literal["", "connect", "timeout", "broken", "stopped"]

_now = time.perf_counter_ns


@dataclass(slots=True, eq=False)
class Exchange:
    """One request and what came back for it: stamps in ns, 0 where the moment never came, and stamped pieces.

    `scheduled_ns`: when the load shape wanted it sent. `sent_ns`: its last byte was handed to the kernel.
    `first_byte_ns`: the first bytes of the answer came. `stamps[i]` is when `pieces[i]` of the body came. `done_ns`:
    the end of the answer, or of the hope for one. `fault` is "" for a whole answer, whatever its status. `resent`: the
    connection that it was first sent on turned out to have been closed.
    """

    number: int
    payload: bytes
    scheduled_ns: int
    sent_ns: int = 0
    first_byte_ns: int = 0
    done_ns: int = 0
    status: int = 0
    fault: Fault = ""
    stamps: list[int] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    resent: bool = False


class Connection(asyncio.Protocol):
    """A connection that carries one exchange at a time and is kept for the next.

    `on_done(connection, exchange)` is called when an exchange has ended, for good or ill; `connection.usable` then says
    whether the connection can take another.
    """

    __slots__ = (
        "_body_until_close",
        "_descriptor",
        "_exchange",
        "_feed",
        "_head",
        "_on_done",
        "_parser",
        "_stamp",
        "_transport",
        "served",
        "usable",
    )

    def __init__(self, on_done: Callable[[Connection, Exchange], None]) -> None:
        self._on_done = on_done
        self._transport: asyncio.Transport | None = None
        self._descriptor = -1
        self._exchange: Exchange | None = None
        # One for all answers of the connection: to make one costs as much as to read a small answer.
        self._parser: Any = httptools.HttpResponseParser(self)
        self._feed: Callable[[bytes], None] = self._parser.feed_data
        self._stamp = 0
        self._head = b""
        self._body_until_close = False
        self.served = 0
        # Whether a request can be sent on it.
        self.usable = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self._transport = cast(asyncio.Transport, transport)
        # `resume_writing` then says when a request that the kernel did not take at once has gone out.
        self._transport.set_write_buffer_limits(high=0)
        if transport.get_extra_info("sslcontext") is None:
            self._descriptor = transport.get_extra_info("socket").fileno()
        self.usable = True

    def ask(self, exchange: Exchange) -> None:
        """Send the exchange's payload; only on a connection that is `usable`."""
        self.usable = False
        self._exchange = exchange
        self._head = b""
        payload = exchange.payload
        if self._descriptor >= 0:
            # uvloop's transport writes at the end of the loop's turn: with 256 requests due at once, the stamp would be
            # milliseconds before the bytes. The kernel nearly always takes a request whole.
            try:
                written = os.write(self._descriptor, payload)
            except BlockingIOError:
                written = 0
            except OSError:
                # A connection that the server has closed; `connection_lost` is on its way and says so.
                exchange.sent_ns = _now()
                return
            if written == len(payload):
                exchange.sent_ns = _now()
                return
            payload = payload[written:]
        assert self._transport is not None
        self._transport.write(payload)
        if self._transport.get_write_buffer_size() == 0:
            exchange.sent_ns = _now()

    def resume_writing(self) -> None:
        """The rest of the request has been handed to the kernel."""
        if self._exchange is not None and not self._exchange.sent_ns:
            self._exchange.sent_ns = _now()

    def data_received(self, data: bytes) -> None:
        """Stamp, then let the parser take the bytes apart."""
        self._stamp = stamp = _now()
        exchange = self._exchange
        if exchange is None:
            # Nothing was asked: whatever this is, the connection is out of step.
            self.close()
            return
        if not exchange.first_byte_ns:
            exchange.first_byte_ns = stamp
        if not exchange.status:
            self._head = self._head + data if self._head else data
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._end("broken")
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        """The other side has gone: the end of an answer that has no other end, else a fault."""
        self._transport = None
        self.usable = False
        if self._exchange is not None:
            self._stamp = _now()
            self._end("" if self._body_until_close and error is None else "broken")

    def give_up(self, fault: Fault) -> None:
        """End the exchange under way with `fault`, and the connection with it."""
        if self._exchange is not None:
            self._stamp = _now()
            self._end(fault)
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    # What httptools calls while it is fed.

    def on_headers_complete(self) -> None:
        """The status is known, and whether there will be another answer after this one."""
        exchange = self._exchange
        if exchange is None:
            # More than was asked for came.
            self.close()
            return
        exchange.status = self._parser.get_status_code()
        self._body_until_close = not self._parser.should_keep_alive() and not _framed(self._head)

    def on_body(self, body: bytes) -> None:
        """Put a piece aside."""
        exchange = self._exchange
        if exchange is not None:
            exchange.stamps.append(self._stamp)
            exchange.pieces.append(body)

    def on_message_complete(self) -> None:
        """The answer is whole, or was an interim one."""
        exchange = self._exchange
        if exchange is None:
            return
        if 100 <= exchange.status < 200:
            exchange.status = 0
            return
        self._end("", keep=self._parser.should_keep_alive())

    def _end(self, fault: Fault, *, keep: bool = False) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        self._exchange = None
        self.served += 1
        exchange.done_ns = self._stamp
        exchange.fault = fault
        if keep:
            self.usable = True
        else:
            self.close()
        self._on_done(self, exchange)


class _Names:
    """The names of the last head that was read."""

    def __init__(self) -> None:
        self.begun: set[bytes] = set()
        self.whole: set[bytes] = set()

    def on_header(self, name: bytes, _value: bytes) -> None:
        self.begun.add(name.lower())

    def on_headers_complete(self) -> None:
        self.whole, self.begun = self.begun, set()


def _framed(head: bytes) -> bool:
    """Whether the last head in these bytes gives its body a length or an end of its own.

    The parser does not tell, and only needs to be asked for an answer that is its connection's last: the callback for
    each header would take as long as all the rest of a small answer's reading.
    """
    names = _Names()
    with contextlib.suppress(httptools.HttpParserError):
        httptools.HttpResponseParser(names).feed_data(head)
    return bool(names.whole & {b"content-length", b"transfer-encoding"})
