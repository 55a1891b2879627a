"""Replicas: several servers of one model, asked as one endpoint.

A request goes to the replica that has seen most of its prompt's beginning, since that part lies in its prefix cache;
among equals to the one with the fewest requests in flight. What was seen is known by pieces of 512 characters, each
hashed with all that stands before it, the way engines know the blocks of their caches: a beginning that every prompt
has (instruction, worked examples) is soon known to all replicas and decides nothing. A replica that is full, or has so
many more requests than the least busy one that waiting there would cost more than its cache saves, is passed over.

A replica that cannot be connected to, does not serve the model (any more) or breaks three times in a row is left for a
second; then one request tries it, and each time that fails doubles the rest, up to a minute. Where all are left, the
one whose rest ends first is asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from wardround.endpoints.limits import Gate, Limited
from wardround.endpoints.replies import Chunk, Failure, FailureKind, Params, Reply
from wardround.task import Prompt

PIECE_CHARACTERS = 512
# Eight million characters: the beginnings that a large cache may still hold.
PIECES_KNOWN = 16_384
BREAKS_UNTIL_LEFT = 3
FIRST_REST_S = 1.0
LONGEST_REST_S = 60.0
# Requests that failed and are to be asked again elsewhere; the oldest may never be.
FAILED_REMEMBERED = 4096

# Said by a server, these are no prompt's fault, and no other prompt would fare better there.
_MISFIT: frozenset[FailureKind] = frozenset({"unauthorized", "unknown_model", "missing_template"})
_BROKEN: frozenset[FailureKind] = frozenset({"timeout", "overload", "server_error", "broken_stream", "bad_reply"})


@dataclass(slots=True, eq=False)
class _Replica:
    """One server as it is seen from here. Times in seconds of the monotonic clock."""

    url: str
    endpoint: Limited
    outstanding: int = 0
    asked: int = 0
    breaks: int = 0
    rest_s: float = 0.0
    left_at_s: float = 0.0
    tried: bool = False
    known: dict[int, None] = field(default_factory=dict)

    @property
    def gate(self) -> Gate:
        return self.endpoint.gate

    @property
    def left(self) -> bool:
        return self.rest_s > 0

    @property
    def back_at_s(self) -> float:
        return self.left_at_s + self.rest_s

    def leave(self, now_s: float) -> None:
        self.rest_s = min(LONGEST_REST_S, self.rest_s * 2) if self.left else FIRST_REST_S
        self.left_at_s = now_s
        # Who comes back was restarted, and its cache is empty.
        self.known.clear()

    def well(self) -> None:
        self.breaks, self.rest_s = 0, 0.0

    def knows(self, pieces: Sequence[int]) -> int:
        """How many of the first pieces it has seen."""
        return next((number for number, piece in enumerate(pieces) if piece not in self.known), len(pieces))

    def remember(self, pieces: Sequence[int]) -> None:
        for piece in pieces:
            self.known.pop(piece, None)
            self.known[piece] = None
        while len(self.known) > PIECES_KNOWN:
            del self.known[next(iter(self.known))]


class Replicas:
    """Several servers of one model as one endpoint.

    `endpoints`: base URL -> its endpoint. `concurrency` is what one replica is meant to have in flight: half as many
    more than the least busy one are too many. `left`: base URLs that could not be reached just now.
    """

    def __init__(self, endpoints: Mapping[str, Limited], *, concurrency: int, left: Collection[str] = ()) -> None:
        self._replicas = [_Replica(url, endpoint) for url, endpoint in endpoints.items()]
        self._too_many_more = max(1, concurrency // 2)
        # A request's attempts are alike in `scheduled_ns`; of the latest that failed, where they did.
        self._failed_at: dict[int, _Replica] = {}
        for one in self._replicas:
            if one.url in left:
                one.leave(time.monotonic())

    @property
    def busy(self) -> bool:
        """Whether someone waits already at every replica that is worth asking."""
        return all(one.gate.busy for one in self._worth_asking(None))

    @property
    def cut_off(self) -> bool:
        """Whether all replicas are left."""
        return all(one.left for one in self._replicas)

    def call_when_free(self, callback: Callable[[], None]) -> None:
        """Have `callback` called each time that nobody waits any more at one of the replicas."""
        for one in self._replicas:
            one.gate.on_free = callback

    def suits(self, prompt: Prompt) -> bool:
        """Whether the replica that knows most of `prompt` could be sent it now."""
        pieces = _pieces(prompt)
        all_open = self._worth_asking(None)
        most = max(one.knows(pieces) for one in all_open)
        return any(one.knows(pieces) == most for one in self._not_too_busy(all_open) if one.gate.has_room)

    async def ask(
        self,
        prompt: Prompt,
        params: Params,
        *,
        scheduled_ns: int | None = None,
        on_chunk: Callable[[Chunk], None] | None = None,
    ) -> Reply | Failure:
        """Ask one replica once. A request that failed, known by its `scheduled_ns`, goes to another the next time."""
        scheduled_ns = time.perf_counter_ns() if scheduled_ns is None else scheduled_ns
        pieces = _pieces(prompt)
        one = self._chosen(pieces, self._failed_at.pop(scheduled_ns, None))
        one.remember(pieces)
        one.outstanding += 1
        one.asked += 1
        began_s = time.monotonic()
        # A replica that was left is tried by one request alone.
        trial = one.left
        one.tried |= trial
        try:
            outcome = await one.endpoint.ask(prompt, params, scheduled_ns=scheduled_ns, on_chunk=on_chunk)
        finally:
            one.outstanding -= 1
            one.tried &= not trial
        return self._noted(one, outcome, began_s, scheduled_ns)

    def _chosen(self, pieces: Sequence[int], failed_at: _Replica | None) -> _Replica:
        fit = self._not_too_busy(self._worth_asking(failed_at))
        return max(fit, key=lambda one: (one.knows(pieces), -one.outstanding, -one.asked))

    def _worth_asking(self, failed_at: _Replica | None) -> list[_Replica]:
        """Those that are not left, or may be tried again, another than `failed_at` if there is one; never none."""
        now_s = time.monotonic()
        well = [one for one in self._replicas if not one.left or (now_s >= one.back_at_s and not one.tried)]
        if not well:
            well = [min(self._replicas, key=lambda one: one.back_at_s)]
        return [one for one in well if one is not failed_at] or well

    def _not_too_busy(self, replicas: Sequence[_Replica]) -> Sequence[_Replica]:
        free = [one for one in replicas if one.gate.has_room and not one.gate.busy] or replicas
        least = min(one.outstanding for one in free)
        return [one for one in free if one.outstanding - least < self._too_many_more]

    def _noted(self, one: _Replica, outcome: Reply | Failure, began_s: float, scheduled_ns: int) -> Reply | Failure:
        """Learn from an outcome how the replica is."""
        kind = None if isinstance(outcome, Reply) else outcome.kind
        gone = isinstance(outcome, Failure) and (kind == "connect" or (kind in _MISFIT and outcome.status is not None))
        broken = kind in _BROKEN
        one.breaks += broken
        if gone or (broken and (one.left or one.breaks >= BREAKS_UNTIL_LEFT)):
            # Requests that were under way together fail together, and that is one failure.
            if not one.left or began_s >= one.back_at_s:
                one.leave(time.monotonic())
        elif not broken and began_s >= one.left_at_s:
            one.well()
        if not isinstance(outcome, Failure):
            return outcome
        if gone and not self.cut_off:
            outcome = replace(outcome, retryable=True)
        if outcome.retryable:
            self._failed_at[scheduled_ns] = one
            if len(self._failed_at) > FAILED_REMEMBERED:
                del self._failed_at[next(iter(self._failed_at))]
        return outcome


@lru_cache(maxsize=256)
def _pieces(prompt: Prompt) -> Sequence[int]:
    """A prompt's whole pieces from its beginning, each as the hash of itself and all before it."""
    text = "\n".join(f"{message.role}\n{message.content}" for message in prompt.messages)
    pieces: list[int] = []
    last = 0
    for start in range(0, len(text) - PIECE_CHARACTERS + 1, PIECE_CHARACTERS):
        last = hash((last, text[start : start + PIECE_CHARACTERS]))
        pieces.append(last)
    return pieces
