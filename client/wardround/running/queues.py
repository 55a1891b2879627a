"""What is left to ask: one queue a server, and in it a lane for each cell of the study.

Requests are taken in the order in which the journal has them: the study's, with clusters together. A lane whose
endpoint keeps a request waiting, for a limit of its own or a rest that its server asked for, is passed over, so that it
holds up one slot of the server and not all.

Two things change that order. A prompt whose beginning the server is reading for the first time, for another request, is
passed over for one of the next whose beginning is not: one request fills the prefix cache, and those that share the
beginning find it there. And when what is left would take little more than the longest request, the lanes whose requests
took longest go first: a long request that is begun last would keep a server with many places busy with one.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from wardround.endpoints.limits import Gated
from wardround.endpoints.replicas import Replicas
from wardround.endpoints.replies import Failure, Params, Reply
from wardround.journal import Journal
from wardround.running.connecting import Opened
from wardround.running.spending import Reserved, Spending
from wardround.task import Prompt

# A server that is gone fails every request after all its attempts; that is noticed once, not a thousand times.
GONE_AFTER = 16
# So many requests of a lane are looked through for one that goes well with a free replica, or with the prefix cache.
LOOKED_THROUGH = 64
READ_AT_ONCE = 32
# What is left counts as the end when all places together need no more than so many times the longest request for it.
LONGEST_LEFT = 2.0
# Beginnings are told apart by pieces of so many characters, and so many pieces are remembered.
PIECE_CHARACTERS = 2048
PIECES_KNOWN = 16_384


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
    lane: Lane | None = None
    pieces: Sequence[int] = ()


class Beginnings:
    """The beginnings of prompts that one model has read, and those that it is reading for the first time."""

    def __init__(self) -> None:
        self._read: dict[int, None] = {}
        self._under_way: Counter[int] = Counter()

    def being_read(self, pieces: Sequence[int]) -> bool:
        """Whether a request under way shares more of a prompt than has been read before."""
        for piece in pieces:
            if piece not in self._read:
                return piece in self._under_way
        return False

    def begin(self, pieces: Sequence[int]) -> None:
        """A request with these pieces is sent."""
        self._under_way.update(pieces)

    def end(self, pieces: Sequence[int], *, read: bool) -> None:
        """It has ended; `read`: in a reply."""
        for piece in pieces:
            self._under_way[piece] -= 1
            if self._under_way[piece] <= 0:
                del self._under_way[piece]
            if read:
                self._read.pop(piece, None)
                self._read[piece] = None
        while len(self._read) > PIECES_KNOWN:
            del self._read[next(iter(self._read))]


def pieces_of(prompt: Prompt) -> tuple[int, ...]:
    """A prompt's whole pieces from its beginning, each as the hash of itself and all before it."""
    if sum(len(message.content) for message in prompt.messages) < PIECE_CHARACTERS:
        return ()
    text = "\n".join(f"{message.role}\n{message.content}" for message in prompt.messages)
    pieces: list[int] = []
    last = 0
    for start in range(0, len(text) - PIECE_CHARACTERS + 1, PIECE_CHARACTERS):
        last = hash((last, text[start : start + PIECE_CHARACTERS]))
        pieces.append(last)
    return tuple(pieces)


class Lane:
    """What is left to ask one model of one cell, in order."""

    def __init__(self, model: str, endpoint: Gated, journal: Journal, beginnings: Beginnings) -> None:
        self.model = model
        self.endpoint = endpoint
        self._journal = journal
        self._beginnings = beginnings
        self._answered = 0
        self._took_s = 0.0
        self._left: deque[tuple[int, int, list[int]]] = deque()
        self._read: list[Request] = []

    def add(self, rank: int, request: int, cells: list[int]) -> None:
        """Add a request; `rank` is its place in the study."""
        self._left.append((rank, request, cells))

    def __len__(self) -> int:
        return len(self._read) + len(self._left)

    @property
    def usual_s(self) -> float | None:
        """How long its requests took so far, at the mean; None if there was no reply yet."""
        return self._took_s / self._answered if self._answered else None

    def first(self) -> Request:
        """The first of the next requests that suits the endpoint now and shares no beginning that is just being read.

        Where there is none, the first that suits, else the first: no place is kept empty for it.
        """
        suiting: Request | None = None
        for place in range(min(len(self), LOOKED_THROUGH)):
            if place == len(self._read):
                self._read_more()
            request = self._read[place]
            if not self.endpoint.suits(request.prompt):
                continue
            if not self._beginnings.being_read(request.pieces):
                return request
            suiting = suiting or request
        return suiting or self._read[0]

    def take(self, request: Request) -> None:
        """Remove what `first` gave: it is sent."""
        self._read.remove(request)
        self._beginnings.begin(request.pieces)

    def note(self, request: Request, outcome: Reply | Failure) -> None:
        """Take note of how long a request took."""
        self._beginnings.end(request.pieces, read=isinstance(outcome, Reply))
        if isinstance(outcome, Reply):
            self._answered += 1
            self._took_s += (outcome.done_ns - outcome.sent_ns) / 1e9

    def _read_more(self) -> None:
        some = [self._left.popleft() for _ in range(min(READ_AT_ONCE, len(self._left)))]
        asked = self._journal.requests([request for _, request, _ in some])
        for rank, request, cells in some:
            prompt, params = asked[request]
            self._read.append(
                Request(
                    id=request,
                    cells=cells,
                    rank=rank,
                    model=self.model,
                    endpoint=self.endpoint,
                    prompt=prompt,
                    params=params,
                    lane=self,
                    # Replicas see to it themselves that those that begin alike meet in one cache.
                    pieces=() if isinstance(self.endpoint, Replicas) else pieces_of(prompt),
                )
            )


class ServerQueue:
    """What is left to ask at one server (or the replicas of one model), of which `concurrency` at a time."""

    def __init__(self, server: str, spending: Spending) -> None:
        self.server = server
        self.concurrency = 1
        self._connections_failed = 0
        self._spending = spending
        # In the study's order: the requests of a cell follow one another.
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._beginnings: dict[str, Beginnings] = {}
        self._longest_first: list[Lane] | None = None
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def lane(self, model: str, cell: int, opened: Opened, journal: Journal) -> Lane:
        """The lane of a cell, made if needed; to be made in the study's order."""
        if (model, cell) not in self._lanes:
            beginnings = self._beginnings.setdefault(model, Beginnings())
            self._lanes[model, cell] = Lane(model, opened.endpoint, journal, beginnings)
            self.concurrency = max(self.concurrency, opened.concurrency)
            opened.endpoint.call_when_free(self.wake)
        return self._lanes[model, cell]

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
        if request.lane is not None:
            request.lane.note(request, outcome)

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
        if self.concurrency > 1 and len(self._lanes) > 1 and self._taken % self.concurrency == 0:
            self._look_at_the_end()
        for lane in self._longest_first or self._lanes.values():
            if not lane:
                continue
            if lane.endpoint.busy:
                later = True
                continue
            request = lane.first()
            request.reserved = self._spending.reserve(lane.model, request.prompt, request.params)
            if request.reserved is not None:
                lane.take(request)
                self._taken += 1
                return request, True
            later |= self._spending.awaited
        return None, later

    def _look_at_the_end(self) -> None:
        """Have the longest requests go first from here on, if what is left is little more than they alone take."""
        self._lanes = {key: lane for key, lane in self._lanes.items() if lane}
        known = [took_s for lane in self._lanes.values() if (took_s := lane.usual_s) is not None]
        if not known:
            return
        # What is not known yet may be as long as anything that is.
        expected = [(max(known) if lane.usual_s is None else lane.usual_s, lane) for lane in self._lanes.values()]
        left_s = sum(took_s * len(lane) for took_s, lane in expected)
        if left_s <= LONGEST_LEFT * self.concurrency * max(took_s for took_s, _ in expected):
            expected.sort(key=lambda one: -one[0])
            self._longest_first = [lane for _, lane in expected]
