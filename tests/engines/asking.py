"""Asking an engine through the project's own client."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.engines.conftest import KEY_ENV
from tests.engines.serving import Engine
from tests.engines.tiny import BEGIN, END_OF_TURN, HEADER, HEADER_END, TEMPLATE
from wardround.catalogue import Model
from wardround.endpoints import Chunk, Failure, Params, Reply, open_endpoint
from wardround.endpoints.replies import Endpoint
from wardround.study import Deadlines
from wardround.task import Message, Prompt
from wardround.wire import Wire

PATIENT = Deadlines(first_token_s=60.0, whole_s=120.0)
# The model's own template, for prompts that are rendered here and sent as text.
TEMPLATES = {hashlib.sha256(TEMPLATE.encode()).hexdigest(): TEMPLATE}


def question(text: str, *, system: str = "") -> Prompt:
    """A prompt of one turn, after a system prompt if there is one."""
    before = (Message("system", system),) if system else ()
    return Prompt((*before, Message("user", text)))


# What the tiny model says to this ends by itself after 13 tokens.
PROMPT = question("Is aspirin an NSAID?")


def row(engine: Engine, **fields: Any) -> dict[str, Any]:
    """The row of a study that asks `engine` with its key."""
    return {
        "name": "tiny",
        "base_url": engine.base_url,
        "served_as": engine.served_as,
        "key_env": KEY_ENV,
        **fields,
    }


def opened(engine: Engine, wire: Wire, params: Params | None, **fields: Any) -> tuple[Endpoint, Params]:
    """An endpoint for the row with `fields`, and how it is asked: texts are rendered with the model's own template."""
    model = Model(**row(engine, **fields))
    asked = params or Params(max_tokens=64)
    if model.protocol == "openai-completions" and asked.template is None:
        asked = replace(asked, template=next(iter(TEMPLATES)))
    return open_endpoint(model, wire, base_url=engine.base_url, deadlines=PATIENT, templates=TEMPLATES), asked


def ask_all(
    engine: Engine, prompts: Sequence[Prompt], params: Params | None = None, **fields: Any
) -> list[Reply | Failure]:
    """What comes of all prompts, asked at once; `fields` are of the model's row."""

    async def main() -> list[Reply | Failure]:
        async with Wire() as wire:
            endpoint, asked = opened(engine, wire, params, **fields)
            return await asyncio.gather(*(endpoint.ask(prompt, asked) for prompt in prompts))

    return asyncio.run(main())


def replied(engine: Engine, prompt: Prompt = PROMPT, params: Params | None = None, **fields: Any) -> Reply:
    """The reply to one prompt; an assertion fails if there is none."""
    [outcome] = ask_all(engine, [prompt], params, **fields)
    assert isinstance(outcome, Reply), outcome
    return outcome


def failed(engine: Engine, prompt: Prompt = PROMPT, params: Params | None = None, **fields: Any) -> Failure:
    """The failure that comes of one prompt; an assertion fails if a reply does."""
    [outcome] = ask_all(engine, [prompt], params, **fields)
    assert isinstance(outcome, Failure), outcome
    return outcome


def streamed(
    engine: Engine, prompt: Prompt = PROMPT, params: Params | None = None, **fields: Any
) -> tuple[Reply, list[Chunk]]:
    """A streamed reply and its pieces."""

    async def main() -> tuple[Reply | Failure, list[Chunk]]:
        chunks: list[Chunk] = []
        async with Wire() as wire:
            endpoint, asked = opened(engine, wire, params, **fields)
            return await endpoint.ask(prompt, asked, on_chunk=chunks.append), chunks

    outcome, chunks = asyncio.run(main())
    assert isinstance(outcome, Reply), outcome
    return outcome, chunks


def rendered(prompt: Prompt) -> str:
    """The text that the tiny model's chat template makes of a prompt."""
    turns = [f"{HEADER}{turn.role}{HEADER_END}\n\n{turn.content.strip()}{END_OF_TURN}" for turn in prompt.messages]
    return f"{BEGIN}{''.join(turns)}{HEADER}assistant{HEADER_END}\n\n"
