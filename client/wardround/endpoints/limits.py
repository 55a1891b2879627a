"""Limits: how many requests, at once and a minute, and how many tokens a minute go to one endpoint.

A `Gate` stands before one endpoint (a row of the catalogue at one base URL) and lets requests through one after
another; `Limited` is an endpoint with a gate before it. Four things keep a request waiting:

- the requests in flight, of which there are at most `concurrency`, or as many as `AdaptiveConcurrency` finds good;
- the tokens of the last minute, of which a request takes its estimate until the server has counted them;
- the requests of the last minute, spread over it: servers enforce a minute's limit over seconds, too;
- a rest that the server asked for: Retry-After, or an x-ratelimit header that says that nothing remains.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from asyncio_throttle.throttler import Throttler

from wardround.catalogue import Limits
from wardround.endpoints.pacing import MINUTE_S, AdaptiveConcurrency, Taken, TokenMinute, rest_asked_for_s
from wardround.endpoints.replies import Chunk, Endpoint, Failure, FailureKind, Params, Reply
from wardround.endpoints.retries import LONGEST_RETRY_AFTER_S
from wardround.endpoints.tokens import estimate
from wardround.task import Prompt

# Requests that are due within a tenth of a second may go together: thousands a second could not be told apart.
SLICES_A_MINUTE = 600
# The throttle looks at the clock again and again; fifty times in its period costs it about a hundredth of the rate.
POLLS_A_PERIOD = 50
LONGEST_POLL_S = 0.05
# The catalogue's own bound, for rows that adapt and name none.
MOST_CONCURRENCY = 4096
_TOO_MUCH: frozenset[FailureKind] = frozenset({"rate_limit", "overload", "timeout"})


@dataclass(frozen=True, slots=True)
class Passage:
    """A request on its way: what it took at the gate."""

    tokens: Taken | None
    epoch: int


class Gate:
    """What one endpoint may be sent, and when. For one event loop.

    Requests pass in the order in which they came, and only the first of them looks at the clock.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._turn = asyncio.Lock()
        self._eased = asyncio.Event()
        self._rest_until_s = 0.0
        self._in_flight = 0
        self._adaptive = AdaptiveConcurrency(limits.concurrency or MOST_CONCURRENCY) if limits.adaptive else None
        self._tokens = TokenMinute(limits.tokens_per_minute) if limits.tokens_per_minute else None
        self._pace = _pace(limits.requests_per_minute) if limits.requests_per_minute else None
        self._unlimited = limits == Limits()
        # Told that nobody waits any more; for who keeps requests elsewhere until the gate is free.
        self.on_free: Callable[[], None] = _nobody

    @property
    def open(self) -> bool:
        """Whether nothing at all is limited now."""
        return self._unlimited and (not self._rest_until_s or time.monotonic() >= self._rest_until_s)

    @property
    def busy(self) -> bool:
        """Whether someone waits here already."""
        return self._turn.locked()

    @property
    def concurrency(self) -> float:
        """How many requests may be in flight now."""
        if self._adaptive:
            return self._adaptive.allowed
        return self._limits.concurrency or math.inf

    @property
    def has_room(self) -> bool:
        """Whether fewer requests are in flight than may be, and the server has not asked for a rest."""
        return not self._full and time.monotonic() >= self._rest_until_s

    @property
    def counts_tokens(self) -> bool:
        """Whether `enter` needs to know a request's tokens."""
        return self._tokens is not None

    def hear(self, headers: Mapping[str, str]) -> None:
        """Heed what an answer's headers say of limits; all requests rest, not only the one that was answered."""
        rest_s = rest_asked_for_s(headers, spread=self._pace is not None)
        if rest_s:
            self._rest(rest_s)

    async def enter(self, tokens: int = 0) -> Passage:
        """Return when a request of so many tokens (prompt and new ones) may be sent; then `leave` must follow.

        Cancelled while it waits, it has taken nothing.
        """
        try:
            async with self._turn:
                await self._passable(tokens)
                if self._pace:
                    await self._pace.acquire()  # type: ignore[no-untyped-call]
                    # Meanwhile the server may have asked for a rest.
                    await self._passable(tokens)
                taken = self._tokens.take(time.monotonic(), tokens) if self._tokens else None
                self._in_flight += 1
        finally:
            self.on_free()
        return Passage(taken, self._adaptive.epoch if self._adaptive else 0)

    def leave(self, passage: Passage, outcome: Reply | Failure | None) -> None:
        """The request has ended so; None if it was cancelled."""
        full = self._full
        self._in_flight -= 1
        self._eased.set()
        if isinstance(outcome, Reply):
            self._note_reply(passage, outcome, full=full)
        elif outcome is not None:
            self._note_failure(passage, outcome)

    @property
    def _full(self) -> bool:
        return self._in_flight >= self.concurrency

    def _note_reply(self, passage: Passage, reply: Reply, *, full: bool) -> None:
        prompt, output = reply.prompt_tokens, reply.output_tokens
        if self._tokens and passage.tokens and prompt is not None and output is not None:
            self._tokens.correct(passage.tokens, prompt + output)
        if self._adaptive and passage.epoch == self._adaptive.epoch:
            self._adaptive.note_reply((reply.done_ns - reply.sent_ns) / 1e9, prompt or 0, output or 0, full=full)

    def _note_failure(self, passage: Passage, failure: Failure) -> None:
        if failure.retry_after_s and failure.retry_after_s <= LONGEST_RETRY_AFTER_S:
            self._rest(failure.retry_after_s)
        if self._adaptive and failure.kind in _TOO_MUCH:
            self._adaptive.note_too_much(passage.epoch)

    def _rest(self, seconds: float) -> None:
        self._rest_until_s = max(self._rest_until_s, time.monotonic() + seconds)

    async def _passable(self, tokens: int) -> None:
        while (wait_s := self._wait_s(tokens)) > 0:
            self._eased.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if wait_s == math.inf else wait_s):
                    await self._eased.wait()

    def _wait_s(self, tokens: int) -> float:
        """Seconds for which nothing can be sent, as far as is known; infinite until a request in flight ends."""
        if self._full:
            return math.inf
        now_s = time.monotonic()
        return max(self._rest_until_s - now_s, self._tokens.wait_s(now_s, tokens) if self._tokens else 0.0)


def _nobody() -> None:
    """Nobody wants to be told."""


def _pace(requests_per_minute: int) -> Throttler:
    """Requests spread over the minute: as many as are due in about a tenth of a second, and at least one, at a time."""
    together = max(1, requests_per_minute // SLICES_A_MINUTE)
    period_s = MINUTE_S / (requests_per_minute // together)
    return Throttler(together, period=period_s, retry_interval=min(LONGEST_POLL_S, period_s / POLLS_A_PERIOD))


def tokens_at_most(prompt: Prompt, params: Params) -> int:
    """What a request takes of a limit of tokens before the server has counted: its prompt's estimate and `max_tokens`.

    Providers reckon alike when they decide whether to let a request in.
    """
    return sum(estimate(message.content) for message in prompt.messages) + estimate(prompt.prefill) + params.max_tokens


class Gated(Endpoint, Protocol):
    """An endpoint that may keep requests waiting before they are sent, and tells who has others to send instead."""

    @property
    def busy(self) -> bool:
        """Whether someone waits here already."""

    @property
    def cut_off(self) -> bool:
        """Whether a failure to connect means that there is nothing left to connect to."""

    def call_when_free(self, callback: Callable[[], None]) -> None:
        """Have `callback` called each time that nobody waits here any more."""

    def suits(self, prompt: Prompt) -> bool:
        """Whether now is as good a time for a request with this prompt as any."""


class Limited:
    """An endpoint with a gate before it. Where nothing is limited a request goes straight to the endpoint."""

    def __init__(self, endpoint: Endpoint, gate: Gate) -> None:
        self._endpoint = endpoint
        self.gate = gate

    @property
    def busy(self) -> bool:
        """Whether someone waits at the gate."""
        return self.gate.busy

    @property
    def cut_off(self) -> bool:
        """There is one server alone."""
        return True

    def call_when_free(self, callback: Callable[[], None]) -> None:
        """Have `callback` called each time that nobody waits at the gate any more."""
        self.gate.on_free = callback

    def suits(self, prompt: Prompt) -> bool:
        """All prompts are alike to one server."""
        return True

    def ask(
        self,
        prompt: Prompt,
        params: Params,
        *,
        scheduled_ns: int | None = None,
        on_chunk: Callable[[Chunk], None] | None = None,
    ) -> Coroutine[Any, Any, Reply | Failure]:
        """Ask once, when the gate lets it through."""
        if self.gate.open:
            return self._endpoint.ask(prompt, params, scheduled_ns=scheduled_ns, on_chunk=on_chunk)
        return self._ask_in_turn(prompt, params, scheduled_ns, on_chunk)

    async def _ask_in_turn(
        self,
        prompt: Prompt,
        params: Params,
        scheduled_ns: int | None,
        on_chunk: Callable[[Chunk], None] | None,
    ) -> Reply | Failure:
        # The turn has come when it is asked, not when it is let through: the wait is part of what a user would see.
        scheduled_ns = time.perf_counter_ns() if scheduled_ns is None else scheduled_ns
        passage = await self.gate.enter(tokens_at_most(prompt, params) if self.gate.counts_tokens else 0)
        outcome: Reply | Failure | None = None
        try:
            outcome = await self._endpoint.ask(prompt, params, scheduled_ns=scheduled_ns, on_chunk=on_chunk)
        finally:
            self.gate.leave(passage, outcome)
        return outcome
