"""One HTTP client for every request wardround sends.

It keeps connections open, follows no redirect, reads no proxy from the environment and stores no cookie:
a prompt goes to the address that was asked for or nowhere. All clock readings are
`time.perf_counter_ns`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from wardround.wire.address import Addresses, Target, head_of, target_of
from wardround.wire.connection import ClosedMeanwhile, Connection, Incoming, WireError, WireFault
from wardround.wire.sse import Event, EventParser

__all__ = ["HttpAnswer", "HttpStream", "Wire", "WireError", "WireFault"]

# Servers close idle connections after about as long; one that is taken up at that moment is lost.
IDLE_S = 30.0
# No answer of a model is as long; a server that does not stop must not fill the memory.
MOST_BODY_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A whole answer; names of headers in any case.

    `sent_ns`: the request was handed to the connection; `done_ns`: the answer's last byte came.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    sent_ns: int
    done_ns: int


class HttpStream:
    """An answer whose head has come and whose body is still coming."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self.status = incoming.status
        self.headers: Mapping[str, str] = incoming.headers
        self.sent_ns = incoming.sent_ns

    @property
    def is_event_stream(self) -> bool:
        """Whether the server answers with events at all."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream"

    async def body(self) -> bytes:
        """The rest as one piece."""
        return await self._incoming.body()

    async def drain(self, at_most_s: float) -> None:
        """Read on to the end of the body and drop it; a server that does not end it is left after `at_most_s`."""
        with contextlib.suppress(TimeoutError, WireError):
            async with asyncio.timeout(at_most_s):
                async for _ in self._incoming.body_pieces():
                    pass

    async def events(self) -> AsyncIterator[tuple[Event, int]]:
        """The events, each with the time at which its last byte came."""
        parser = EventParser()
        async for piece, at_ns in self._incoming.body_pieces():
            for event in parser.feed(piece):
                yield event, at_ns
        for event in parser.close():
            yield event, time.perf_counter_ns()


class Wire:
    """A pool of connections. Use it as an async context manager.

    `connect_s` bounds the making of a connection, in seconds. `pinned` names hosts and the only addresses they may be
    reached at; with it, no other name is resolved.
    """

    def __init__(self, *, connect_s: float = 10.0, pinned: Mapping[str, Sequence[str]] | None = None) -> None:
        self._connect_s = connect_s
        self._addresses = Addresses(pinned or {})
        self._loop: asyncio.AbstractEventLoop | None = None
        # The number of requests in flight is the scheduler's business, not the pool's.
        self._idle: dict[tuple[bool, str, int], list[Connection]] = {}
        self._open: set[Connection] = set()
        self._targets: dict[str, Target] = {}
        self._heads: dict[tuple[str, str, tuple[tuple[str, str], ...]], bytes] = {}
        self._tls: ssl.SSLContext | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop = None
        self._idle.clear()
        for connection in self._open:
            connection.close()
        self._open.clear()
        # What was just closed is freed in the loop's next turn.
        await asyncio.sleep(0)

    async def get(self, url: str, *, headers: Mapping[str, str], whole_s: float) -> HttpAnswer:
        """GET a small answer; raises `WireError`."""
        return await self._whole("GET", url, b"", headers, whole_s)

    async def post(self, url: str, body: bytes, *, headers: Mapping[str, str], whole_s: float) -> HttpAnswer:
        """POST `body` and read the whole answer within `whole_s` seconds; raises `WireError`."""
        return await self._whole("POST", url, body, headers, whole_s)

    async def put(self, url: str, body: bytes, *, headers: Mapping[str, str], whole_s: float) -> HttpAnswer:
        """PUT `body` and read the whole answer within `whole_s` seconds; raises `WireError`."""
        return await self._whole("PUT", url, body, headers, whole_s)

    @asynccontextmanager
    async def stream(
        self, url: str, body: bytes, *, headers: Mapping[str, str], whole_s: float
    ) -> AsyncIterator[HttpStream]:
        """POST `body` and hand out the answer as it comes; all within `whole_s` seconds.

        Raises `WireError`, also from the reading of the stream inside the `async with`.
        """
        try:
            begun = await self._begin(url, body, headers, whole_s)
        except ClosedMeanwhile:
            begun = await self._begin(url, body, headers, whole_s, anew=True)
        target, connection, incoming, expires = begun
        try:
            yield HttpStream(incoming)
        finally:
            expires.cancel()
            self._keep(target, connection)

    async def _begin(
        self, url: str, body: bytes, headers: Mapping[str, str], whole_s: float, *, anew: bool = False
    ) -> tuple[Target, Connection, Incoming, asyncio.TimerHandle]:
        """Send a request whose answer is streamed, and wait for the answer's head."""
        target, connection, ends_s = await self._connection(url, whole_s, anew=anew)
        expires = self._give_up_at(ends_s, connection, whole_s)
        try:
            head = self._head("POST", url, target, headers, body)
            incoming = connection.send(head, body, streamed=True, most_bytes=MOST_BODY_BYTES)
            await incoming.head()
        except BaseException:
            expires.cancel()
            self._keep(target, connection)
            raise
        return target, connection, incoming, expires

    async def _whole(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], whole_s: float
    ) -> HttpAnswer:
        try:
            return await self._exchanged(method, url, body, headers, whole_s)
        except ClosedMeanwhile:
            # Nothing of it was read: it is asked once more, on a connection that is new.
            return await self._exchanged(method, url, body, headers, whole_s, anew=True)

    async def _exchanged(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], whole_s: float, *, anew: bool = False
    ) -> HttpAnswer:
        target, connection, ends_s = await self._connection(url, whole_s, anew=anew)
        try:
            head = self._head(method, url, target, headers, body)
            incoming = connection.send(head, body, streamed=False, most_bytes=MOST_BODY_BYTES)
            expires = self._give_up_at(ends_s, connection, whole_s)
            try:
                content = await incoming.body()
            finally:
                expires.cancel()
        finally:
            self._keep(target, connection)
        return HttpAnswer(incoming.status, incoming.headers, content, incoming.sent_ns, incoming.done_ns)

    def _give_up_at(self, ends_s: float, connection: Connection, whole_s: float) -> asyncio.TimerHandle:
        return connection.loop.call_at(ends_s, lambda: connection.give_up(_too_late(whole_s)))

    def _head(self, method: str, url: str, target: Target, headers: Mapping[str, str], body: bytes) -> bytes:
        key = (method, url, tuple(headers.items()))
        head = self._heads.get(key)
        if head is None:
            head = self._heads[key] = head_of(method, target, headers)
        return head + (b"Content-Length: %d\r\n\r\n" % len(body) if method != "GET" else b"\r\n")

    async def _connection(self, url: str, whole_s: float, *, anew: bool = False) -> tuple[Target, Connection, float]:
        """Where the URL leads, a connection to there, and the loop's time at which the request's time is over.

        `anew`: not one that was kept.
        """
        loop = self._loop
        if loop is None:
            raise RuntimeError("Wire is used outside its `async with`")
        target = self._targets.get(url)
        if target is None:
            target = self._targets[url] = target_of(url)
        now_s = loop.time()
        idle = None if anew else self._idle.get((target.secure, target.host, target.port))
        while idle:
            connection = idle.pop()
            if connection.usable and now_s - connection.idle_since_s < IDLE_S:
                return target, connection, now_s + whole_s
            connection.close()
            self._open.discard(connection)
        try:
            async with asyncio.timeout_at(now_s + whole_s):
                return target, await self._connected(target), now_s + whole_s
        except TimeoutError:
            raise _too_late(whole_s) from None

    def _keep(self, target: Target, connection: Connection) -> None:
        """Keep a connection whose answer has ended for the next request; any other is closed."""
        if connection.usable and self._loop is not None:
            self._idle.setdefault((target.secure, target.host, target.port), []).append(connection)
        else:
            connection.close()
            self._open.discard(connection)

    async def _connected(self, target: Target) -> Connection:
        """A new connection to the first of the host's addresses that takes one; raises `WireError`."""
        where = f"{target.host}:{target.port}"
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + self._connect_s
        failed: OSError | None = None
        try:
            async with asyncio.timeout_at(ends_s):
                addresses = await self._addresses.of(target.host, target.port)
            for place, address in enumerate(addresses):
                # One that swallows everything leaves the others their share of the time.
                share_s = (ends_s - loop.time()) / (len(addresses) - place)
                try:
                    async with asyncio.timeout(share_s):
                        connection = await self._to(address, target, loop)
                except OSError as error:  # a TimeoutError is one
                    failed = error
                    continue
                self._open.add(connection)
                self._addresses.prefer(target.host, target.port, address)
                return connection
        except OSError as error:
            failed = error
        self._addresses.forget(target.host, target.port)
        if isinstance(failed, TimeoutError) and not str(failed):
            raise WireError("connect", f"no connection to {where} in time") from None
        raise WireError("connect", f"cannot connect to {where}: {failed or 'it has no address'}") from failed

    async def _to(self, address: str, target: Target, loop: asyncio.AbstractEventLoop) -> Connection:
        begun_ns = time.perf_counter_ns()
        _, connection = await loop.create_connection(
            lambda: Connection(loop),
            address,
            target.port,
            ssl=self._context() if target.secure else None,
            # A name may end with a dot; certificates' names do not.
            server_hostname=target.host.rstrip(".") if target.secure else None,
        )
        connection.round_trip_ns = time.perf_counter_ns() - begun_ns
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


def _too_late(whole_s: float) -> WireError:
    return WireError("timeout", f"no whole answer within {whole_s:g} s")
