"""How long the embedded server takes: places that queue when full, a prompt to read, then one token after another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from wardround.baseline.prefix_cache import PrefixCache, blocks_of


@dataclass(frozen=True, slots=True)
class Latency:
    """Where an answer's time goes; all times in seconds.

    `slots` requests are served at a time, in the order in which they came; None = as many as come. One that has a slot
    has its first token after `ttft_s` and `prefill_s` for each token of its prompt that is not in the prefix cache of
    `prefix_cache_tokens`. Each further token takes `tpot_s`, and `decode_slope_s` more for each other request that is
    at its tokens too.
    """

    ttft_s: float = 0.0
    tpot_s: float = 0.0
    slots: int | None = None
    prefill_s: float = 0.0
    decode_slope_s: float = 0.0
    prefix_cache_tokens: int = 0

    @property
    def instant(self) -> bool:
        """Whether nothing takes any time."""
        return not (self.ttft_s or self.tpot_s or self.prefill_s or self.decode_slope_s)


class Engine:
    """The places of a server, the requests at their tokens, and the prefix cache."""

    def __init__(self, latency: Latency) -> None:
        self.latency = latency
        self.cache = PrefixCache(latency.prefix_cache_tokens)
        self.waiting = 0
        self.running = 0
        self.decoding = 0
        self.held_tokens = 0
        self._slots = asyncio.Semaphore(latency.slots) if latency.slots else None

    async def take_slot(self) -> bool:
        """Wait for a place; returns whether there was one at once."""
        if self._slots is None:
            return True
        at_once = not self._slots.locked()
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1
        return at_once

    def leave_slot(self) -> None:
        """Let the next one in."""
        if self._slots is not None:
            self._slots.release()

    @property
    def memory_used(self) -> float:
        """How full the memory for prompts and answers is, from 0 to 1; 0 where it has no bounds."""
        capacity = self.latency.prefix_cache_tokens
        return min(1.0, max(self.held_tokens, self.cache.used_tokens) / capacity) if capacity else 0.0


class Passage:
    """One request's way through the engine, used as `async with`; `received_ns` is when it came.

    Tokens are due by reckoning from when it got its place, so that late wake-ups do not add up.
    """

    def __init__(self, engine: Engine, prompt: Sequence[tuple[str, str]], prompt_tokens: int, received_ns: int) -> None:
        self._engine = engine
        self._blocks = blocks_of(prompt) if engine.cache else ()
        self._prompt_tokens = prompt_tokens
        self._due_s = received_ns / 1e9
        self._decodes = False
        self.cached_tokens = 0

    async def __aenter__(self) -> Passage:
        if not await self._engine.take_slot():
            self._due_s = time.perf_counter()
        self._engine.running += 1
        self._engine.held_tokens += self._prompt_tokens
        return self

    async def __aexit__(self, *_: object) -> None:
        self._engine.running -= 1
        self._engine.decoding -= self._decodes
        self._engine.held_tokens -= self._prompt_tokens
        self._engine.leave_slot()

    async def read_prompt(self) -> None:
        """Return when the first token is due."""
        latency = self._engine.latency
        self.look_up()
        self._due_s += latency.ttft_s + latency.prefill_s * (self._prompt_tokens - self.cached_tokens)
        await self._until_due()
        # What two requests have in common is computed by both if they come together, as by real engines.
        self.keep()
        self._decodes = True
        self._engine.decoding += 1

    def look_up(self) -> None:
        """Find out how much of the prompt need not be read."""
        if self._engine.cache:
            self.cached_tokens = self._engine.cache.look_up(self._blocks, self._prompt_tokens)

    def keep(self) -> None:
        """Keep the prompt for those that begin alike."""
        if self._engine.cache:
            self._engine.cache.keep(self._blocks)

    async def next_token(self) -> None:
        """Return when one more token is due."""
        latency = self._engine.latency
        self._due_s += latency.tpot_s + latency.decode_slope_s * (self._engine.decoding - 1)
        await self._until_due()

    async def next_tokens(self, count: int) -> None:
        """Return when so many more tokens are due."""
        if self._engine.latency.decode_slope_s:
            for _ in range(count):
                await self.next_token()
        else:
            self._due_s += count * self._engine.latency.tpot_s
            await self._until_due()

    async def _until_due(self) -> None:
        wait_s = self._due_s - time.perf_counter()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
