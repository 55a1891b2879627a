"""What is left to ask: one queue a server, and in it a lane for each of its models.

Requests are taken in the study's order, over all lanes. A lane whose endpoint keeps a request waiting, for a limit of
its own or a rest that its server asked for, is passed over, so that it holds up one slot of the server and not all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from wardround.endpoints.limits import Gated
from wardround.endpoints.replies import Failure, Params, Reply
from wardround.journal import Journal
from wardround.running.connecting import Opened
from wardround.running.spending import Reserved, Spending
from wardround.task import Prompt

# A server that is gone fails every request after all its attempts; that is noticed once, not a thousand times.
GONE_AFTER = 16
# So many requests of a model with replicas are looked through for one that goes well with a free replica.
LOOKED_THROUGH = 64


@dataclass(slots=True, eq=False)
class Request:
    """One request of the journal, read and ready to be asked; `cells` stand there once for each sample it asks."""

    id: int
    cells: list[int]
    rank: int
    model: str
    endpoint: Gated
    prompt: Prompt
    params: Params
    reserved: Reserved | None = None


class Lane:
    """What is left to ask one model, in order."""

    def __init__(self, model: str, endpoint: Gated, journal: Journal) -> None:
        self.model = model
        self.endpoint = endpoint
        self._journal = journal
        self._left: deque[tuple[int, int, list[int]]] = deque()
        self._read: list[Request] = []

    def add(self, rank: int, request: int, cells: list[int]) -> None:
        """Add a request; `rank` is its place in the study."""
        self._left.append((rank, request, cells))

    def __len__(self) -> int:
        return len(self._read) + len(self._left)

    @property
    def rank(self) -> int:
        """The first request's place in the study."""
        return self._read[0].rank if self._read else self._left[0][0]

    def first(self) -> Request:
        """The first of the next requests that suits the endpoint now; where none does, the first."""
        for place in range(min(len(self), LOOKED_THROUGH)):
            if place == len(self._read):
                rank, request, cells = self._left.popleft()
                prompt, params = self._journal.request(request)
                self._read.append(Request(request, cells, rank, self.model, self.endpoint, prompt, params))
            if self.endpoint.suits(self._read[place].prompt):
                return self._read[place]
        return self._read[0]

    def take(self, request: Request) -> None:
        """Remove what `first` gave."""
        self._read.remove(request)


class ServerQueue:
    """What is left to ask at one server (or the replicas of one model), of which `concurrency` at a time."""

    def __init__(self, server: str, spending: Spending) -> None:
        self.server = server
        self.concurrency = 1
        self._connections_failed = 0
        self._spending = spending
        self._lanes: dict[str, Lane] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()

    def lane(self, model: str, opened: Opened, journal: Journal) -> Lane:
        """The model's lane, made if needed."""
        if model not in self._lanes:
            self._lanes[model] = Lane(model, opened.endpoint, journal)
            self.concurrency = max(self.concurrency, opened.concurrency)
            opened.endpoint.call_when_free(self.wake)
        return self._lanes[model]

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    @property
    def gone(self) -> bool:
        """Whether so many requests in a row could not even connect that the rest is not tried."""
        return self._connections_failed >= GONE_AFTER

    def note(self, request: Request, outcome: Reply | Failure) -> None:
        """Take note of how a request ended: whether there is anything left to connect to."""
        unreachable = isinstance(outcome, Failure) and outcome.kind == "connect" and request.endpoint.cut_off
        self._connections_failed = self._connections_failed + 1 if unreachable else 0

    async def next(self) -> Request | None:
        """The next request that can be asked, its cost reserved; None when there is none, and will be none.

        Waits while every lane is held up, by its endpoint or by reservations that may prove too high.
        """
        while True:
            request, later = self._next()
            if request is not None or not later:
                # Who waits besides may find another one, or that there is none.
                self.wake()
                return request
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting

    def wake(self) -> None:
        """Have one of those who wait look again."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return

    def _next(self) -> tuple[Request | None, bool]:
        """The next request; if there is none, whether there may be one later."""
        if self.gone:
            return None, False
        later = False
        lanes = [lane for lane in self._lanes.values() if lane]
        if len(lanes) > 1:
            lanes.sort(key=lambda lane: lane.rank)
        for lane in lanes:
            if lane.endpoint.busy:
                later = True
                continue
            request = lane.first()
            request.reserved = self._spending.reserve(lane.model, request.prompt, request.params)
            if request.reserved is not None:
                lane.take(request)
                return request, True
            later |= self._spending.awaited
        return None, later
