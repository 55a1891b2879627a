"""Waiting until models answer: servers that are still loading are asked again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from wardround.catalogue import Model
from wardround.endpoints import Failure
from wardround.endpoints.keys import keys_of
from wardround.endpoints.opening import without_secrets
from wardround.running.doctor.checks import Asking, answers
from wardround.running.doctor.examining import DEADLINES, addresses_of, asking_at
from wardround.running.doctor.findings import said
from wardround.study import Deadlines
from wardround.wire import Wire

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0
# What a server that is still loading would not say, and what no patience mends.
_HOPELESS = ("unauthorized",)


async def wait_for(
    models: Sequence[Model], wait_s: float, *, say: Callable[[str], None], deadlines: Deadlines = DEADLINES
) -> list[str]:
    """Wait until every address of every model answers a question, `wait_s` seconds at most.

    `say` is told of each that does. Returns one line for each that did not, with what it said last; a refused key ends
    the wait for a model at once. Raises `EndpointError` for an absent key, `CatalogueError` for a row that cannot be
    used.
    """
    begun_s = time.monotonic()

    async def wait_at(asking: Asking, base_url: str) -> str:
        keys = keys_of(asking.model)
        shown = f"{asking.model.name} at {without_secrets(base_url)}"
        pause_s, words = FIRST_PAUSE_S, "no answer"
        try:
            async with asyncio.timeout(wait_s):
                while True:
                    outcome = await asking.ask_as_studies_do(attempts=1)
                    if answers(outcome):
                        say(f"{shown} answers ({time.monotonic() - begun_s:.1f} s)")
                        return ""
                    assert isinstance(outcome, Failure)
                    words = keys.taken_out_of(said(outcome))
                    if outcome.kind in _HOPELESS:
                        return f"{shown} refuses: {words}"
                    await asyncio.sleep(pause_s)
                    pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
        except TimeoutError:
            return f"{shown} does not answer after {wait_s:g} s: {words}"

    async with addresses_of(models) as addresses, Wire(connect_s=deadlines.connect_s) as wire:
        ready = [(asking_at(model, wire, base_url, deadlines), base_url) for model, base_url in addresses]
        ended = await asyncio.gather(*(wait_at(asking, base_url) for asking, base_url in ready))
    return [line for line in ended if line]
