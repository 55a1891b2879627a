"""One worker's part of a load test: fire what is due, take what comes, write each record down as it is whole.

The event loop's turn is kept short: answers that have ended are put aside and read a few a turn, and users whose turn
has come ask when all that was there has been stamped; so two hundred streams that end together do not make each other's
stamps late. The garbage collector is off meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from wardround.catalogue import Protocol
from wardround.load.reading import READERS, read
from wardround.load.records import to_line
from wardround.load.streams import Connection, Exchange

SWEEP_S = 0.25
WRITE_AT_BYTES = 1 << 16
OPENED_AT_ONCE = 64
# The live line wants a feeling, not a figure.
TTFTS_AT_MOST = 200
# Answers are read for so long a turn of the loop: what comes meanwhile is stamped later by no more. For longer where
# many wait, since they only grow colder: what was put aside thousands of answers ago takes twice as long to read.
READ_NS, READ_MANY_NS = 50_000, 300_000
MANY = 64
# Of so many answers that wait to be read, one at least is: so as many are read as end, however fast they do.
WAIT_PER_READ = 64

_now = time.perf_counter_ns


@dataclass(frozen=True, slots=True)
class Target:
    """Where the requests go: an address that was checked, the host's name for TLS, and what the server speaks."""

    address: str
    port: int
    protocol: Protocol
    tls_name: str | None = None


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker is to do.

    Open loop: `arrivals_ns` are its shares of the shape, in ns after `start_ns`, each with the number of its request.
    Closed loop: `users` ask one after the other with `think_s` between, from `start_ns` to `end_ns`, counting requests
    from `first` on in steps of `stride`. Request k sends `payloads[order[k]]`, a whole HTTP request, `order` being gone
    through again and again; `workloads` says what each payload is of.
    """

    target: Target
    payloads: Sequence[bytes]
    workloads: Sequence[str]
    start_ns: int
    end_ns: int
    timeout_s: float
    connections: int
    arrivals_ns: Sequence[tuple[int, int]] = ()
    order: Sequence[int] = (0,)
    users: int = 0
    think_s: float = 0.0
    first: int = 0
    stride: int = 1


@dataclass(slots=True)
class Tally:
    """What has become of the requests so far; `ttfts_ns`: the first ones since it was last looked at."""

    fired: int = 0
    succeeded: int = 0
    failed: int = 0
    tokens: int = 0
    opened_late: int = 0
    ttfts_ns: list[int] = field(default_factory=list)


class Attack:
    """Carries `orders` out; `out` gets a line a record. Use once: `await Attack(…).run()`."""

    def __init__(self, orders: Orders, out: BinaryIO) -> None:
        self._orders = orders
        # Lines of records are copied into one buffer: to keep thousands of them for a moment has the system take their
        # memory back and give it again, which costs more than the lines do.
        self._out = io.BufferedWriter(cast(io.RawIOBase, out), WRITE_AT_BYTES)
        self._payloads = orders.payloads
        self._order = orders.order
        self._read_event = READERS[orders.target.protocol]
        self._loop = asyncio.get_running_loop()
        self._tls = ssl.create_default_context() if orders.target.tls_name else None
        self._idle: deque[Connection] = deque()
        self._busy: dict[Connection, Exchange] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._ended: deque[Exchange] = deque()
        self._next = 0
        self._numbers = orders.first
        self._users_due = 0
        self._stopped = False
        self._all_done = asyncio.Event()
        self._reading = False
        self._unwritten: OSError | None = None
        self.tally = Tally()

    @property
    def in_flight(self) -> int:
        """Requests sent or about to be, without an end yet."""
        return len(self._busy) + len(self._opening)

    async def run(self) -> None:
        """Open the connections, wait for the start, fire, and return when every request has ended.

        Raises `OSError` where `out` takes no more, the test being ended then.
        """
        await self._open_beforehand()
        gc.collect()
        gc.freeze()
        gc.disable()
        sweeping = asyncio.create_task(self._sweep())
        try:
            await asyncio.sleep(max(0.0, (self._orders.start_ns - _now()) / 1e9))
            if self._orders.users:
                self._users_due = self._orders.users
                self._ask_for_users()
            else:
                self._fire_due()
            await self._all_done.wait()
        finally:
            sweeping.cancel()
            gc.enable()
            gc.unfreeze()
            self.stop()
            self._flush()
            # The file is its opener's to close. What it has not taken by now it never will.
            with contextlib.suppress(OSError):
                self._out.detach()
            for connection in self._idle:
                connection.close()
        if self._unwritten is not None:
            raise self._unwritten

    def stop(self) -> None:
        """Fire nothing more and give up what is under way."""
        self._stopped = True
        for opening in list(self._opening):
            opening.cancel()
        for connection in list(self._busy):
            connection.give_up("stopped")
        while self._ended:
            self._put_down(self._ended.popleft())
        self._see_whether_done()

    # Firing.

    def _fire_due(self) -> None:
        arrivals, start_ns = self._orders.arrivals_ns, self._orders.start_ns
        now = _now()
        while self._next < len(arrivals) and not self._stopped:
            at_ns, number = arrivals[self._next]
            if start_ns + at_ns > now:
                self._later((start_ns + at_ns - now) / 1e9, self._fire_due)
                return
            self._next += 1
            self._fire(Exchange(number, self._payload(number), start_ns + at_ns))
            now = _now()
        self._see_whether_done()

    def _user_is_due(self) -> None:
        """One more user asks, in the loop's next turn."""
        self._users_due += 1
        if self._users_due == 1:
            self._loop.call_soon(self._ask_for_users)

    def _ask_for_users(self) -> None:
        """The users whose turn it is ask, until the end; what was begun is waited for."""
        due, self._users_due = self._users_due, 0
        orders = self._orders
        for _ in range(due):
            now = _now()
            if self._stopped or now >= orders.end_ns:
                self._see_whether_done()
                return
            number = self._numbers
            self._numbers = number + orders.stride
            self._fire(Exchange(number, self._payload(number), now))

    def _payload(self, number: int) -> bytes:
        return self._payloads[self._order[number % len(self._order)]]

    def _fire(self, exchange: Exchange) -> None:
        self.tally.fired += 1
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.usable:
                self._busy[connection] = exchange
                connection.ask(exchange)
                return
        self._fire_anew(exchange)

    def _fire_anew(self, exchange: Exchange) -> None:
        self.tally.opened_late += 1
        opening = self._loop.create_task(self._open_and_send(exchange))
        self._opening.add(opening)

        def ended(task: asyncio.Task[None]) -> None:
            self._opening.discard(task)
            # One that was cancelled before its first step has not come to its own `except`.
            if task.cancelled():
                exchange.done_ns, exchange.fault = _now(), "stopped"
                self._put_aside(exchange)

        opening.add_done_callback(ended)

    async def _open_and_send(self, exchange: Exchange) -> None:
        try:
            connection = await self._open()
        except (OSError, TimeoutError):
            exchange.done_ns = _now()
            exchange.fault = "connect"
            self._put_aside(exchange)
        except asyncio.CancelledError:
            exchange.done_ns = _now()
            exchange.fault = "stopped"
            self._put_aside(exchange)
        else:
            self._busy[connection] = exchange
            connection.ask(exchange)

    async def _open(self) -> Connection:
        target = self._orders.target
        async with asyncio.timeout(self._orders.timeout_s):
            _, connection = await self._loop.create_connection(
                lambda: Connection(self._on_done),
                target.address,
                target.port,
                ssl=self._tls,
                server_hostname=target.tls_name if self._tls else None,
            )
        return connection

    async def _open_beforehand(self) -> None:
        """As many connections as were ordered; fewer if the server takes no more, which the first requests then say."""
        for start in range(0, self._orders.connections, OPENED_AT_ONCE):
            number = min(OPENED_AT_ONCE, self._orders.connections - start)
            opened = await asyncio.gather(*(self._open() for _ in range(number)), return_exceptions=True)
            self._idle.extend(one for one in opened if isinstance(one, Connection))
            if not all(isinstance(one, Connection) for one in opened):
                return

    # Ending.

    def _on_done(self, connection: Connection, exchange: Exchange) -> None:
        self._busy.pop(connection, None)
        if connection.usable:
            self._idle.append(connection)
        if exchange.fault and self._closed_under_it(connection, exchange):
            # The server closed a kept connection just as it was used again: no fault of either side, asked once more.
            exchange.resent = True
            exchange.fault, exchange.sent_ns, exchange.done_ns = "", 0, 0
            # Not on another that was kept: that one may be closing, too.
            self._fire_anew(exchange)
            return
        self._put_aside(exchange)

    def _closed_under_it(self, connection: Connection, exchange: Exchange) -> bool:
        return (
            exchange.fault == "broken"
            and not exchange.first_byte_ns
            and connection.served > 1
            and not exchange.resent
            and not self._stopped
        )

    def _put_aside(self, exchange: Exchange) -> None:
        self._ended.append(exchange)
        if self._orders.users:
            if self._orders.think_s:
                self._later(self._orders.think_s, self._user_is_due)
            else:
                self._user_is_due()
        if not self._reading:
            self._reading = True
            self._loop.call_soon(self._read_some)

    def _read_some(self) -> None:
        """A few answers a turn of the loop, so that bytes that came meanwhile are stamped in between."""
        ended = self._ended
        until_ns = _now() + (READ_MANY_NS if len(ended) > MANY else READ_NS)
        at_least = len(ended) // WAIT_PER_READ
        while ended and (at_least > 0 or _now() < until_ns):
            self._put_down(ended.popleft())
            at_least -= 1
        if ended:
            self._loop.call_soon(self._read_some)
            return
        self._reading = False
        self._see_whether_done()

    def _put_down(self, exchange: Exchange) -> None:
        order, tally = self._order, self.tally
        record = read(exchange, self._orders.workloads[order[exchange.number % len(order)]], self._read_event)
        try:
            self._out.write(to_line(record))
        except OSError as error:
            self._end_unwritten(error)
        if record.failure:
            tally.failed += 1
            return
        tally.succeeded += 1
        tally.tokens += record.output_tokens or 0
        if record.first_token_ns and len(tally.ttfts_ns) < TTFTS_AT_MOST:
            tally.ttfts_ns.append(record.first_token_ns - record.sent_ns)

    def _flush(self) -> None:
        try:
            self._out.flush()
        except OSError as error:
            self._end_unwritten(error)

    def _end_unwritten(self, error: OSError) -> None:
        """A test whose records cannot be kept is worth nothing: it ends."""
        self._unwritten = self._unwritten or error
        self._stopped = True
        self._all_done.set()

    def _see_whether_done(self) -> None:
        open_loop_done = self._next >= len(self._orders.arrivals_ns)
        time_is_up = _now() >= self._orders.end_ns
        fired_all = self._stopped or (time_is_up if self._orders.users else open_loop_done)
        if fired_all and not self._busy and not self._opening_undone() and not self._ended:
            self._all_done.set()

    def _opening_undone(self) -> bool:
        return any(not opening.done() for opening in self._opening)

    def _later(self, wait_s: float, what: Callable[[], None]) -> None:
        """Call `what` then; after a stop it finds nothing to do, so nobody needs to cancel it."""
        if wait_s <= 0:
            self._loop.call_soon(what)
        else:
            self._loop.call_later(wait_s, what)

    async def _sweep(self) -> None:
        """Give up what takes too long, and write down what waits."""
        limit_ns = int(self._orders.timeout_s * 1e9)
        while True:
            await asyncio.sleep(SWEEP_S)
            now = _now()
            for connection, exchange in list(self._busy.items()):
                if now - (exchange.sent_ns or exchange.scheduled_ns) > limit_ns:
                    connection.give_up("timeout")
            self._flush()
            self._see_whether_done()
