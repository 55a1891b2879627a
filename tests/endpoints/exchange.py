"""One question to a door, put to a server that says exactly the bytes a test gives it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.wire.raw_server import Asked, Then, event_stream, json_answer, raw_server
from wardround.catalogue import Model
from wardround.endpoints import Chunk, Failure, OpenAIChat, Params, Reply
from wardround.endpoints.door import Door
from wardround.endpoints.keys import Keys
from wardround.study import Deadlines
from wardround.task import Message, Prompt
from wardround.wire import Wire

PROMPT = Prompt((Message("system", "Answer briefly."), Message("user", "Is aspirin an NSAID?")))
PATIENT = Deadlines(first_token_s=20.0, whole_s=20.0)
USAGE = {"prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 13}
# A busy machine is no fault of the code.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
KEY = "sk-secret-0123456789abcdef"


def bearer(key: str | None) -> Keys:
    """A key as most servers want it."""
    return Keys({"Authorization": f"Bearer {key}"}, (key,)) if key else Keys()


@dataclass
class Exchange:
    """What came of one question: the outcome, what the server was asked, the pieces and headers on the way."""

    outcome: Reply | Failure
    asked: list[Asked]
    chunks: list[Chunk]
    headers: list[Mapping[str, str]]

    @property
    def reply(self) -> Reply:
        assert isinstance(self.outcome, Reply), self.outcome
        return self.outcome

    @property
    def failure(self) -> Failure:
        assert isinstance(self.outcome, Failure), self.outcome
        return self.outcome

    @property
    def sent(self) -> dict[str, Any]:
        [asked] = self.asked
        return asked.json()


def ask(
    *steps: bytes | float | Then,
    prompt: Prompt = PROMPT,
    params: Params = Params(max_tokens=20),  # noqa: B008 - frozen
    deadlines: Deadlines = PATIENT,
    key: str | None = None,
    listen: bool = False,
    door: type[Door] = OpenAIChat,
    templates: Mapping[str, str] | None = None,
    **row: Any,
) -> Exchange:
    """Ask a server that answers with `steps`; `row` are fields of the model's row in the catalogue."""

    async def main() -> Exchange:
        async with raw_server(steps) as server, Wire() as wire:
            model = Model(**{"name": "m", "base_url": server.base_url, **row})
            headers: list[Mapping[str, str]] = []
            endpoint = door(
                model,
                wire,
                base_url=server.base_url,
                keys=bearer(key),
                deadlines=deadlines,
                templates=templates,
                on_headers=headers.append,
            )
            chunks: list[Chunk] = []
            outcome = await endpoint.ask(prompt, params, on_chunk=chunks.append if listen else None)
            return Exchange(outcome, server.asked, chunks, headers)

    return asyncio.run(main())


def completion(message: Mapping[str, Any], finish_reason: str | None = "stop", **fields: Any) -> dict[str, Any]:
    """A whole completion."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}
    return {"object": "chat.completion", "model": "m", "choices": [choice], "usage": USAGE, **fields}


def piece(delta: Mapping[str, Any], finish_reason: str | None = None, **fields: Any) -> dict[str, Any]:
    """One event of a streamed completion."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"object": "chat.completion.chunk", "model": "m", "choices": [choice], **fields}


ROLE = piece({"role": "assistant", "content": ""})
USAGE_ONLY = {"object": "chat.completion.chunk", "model": "m", "choices": [], "usage": USAGE}
FINE = json_answer(completion({"content": "Yes."}))


def ask_streamed(*deltas: Mapping[str, Any], finish_reason: str = "stop", **options: Any) -> Exchange:
    """Ask a server that streams `deltas` and ends well."""
    contents = [ROLE, *map(piece, deltas), piece({}, finish_reason), USAGE_ONLY]
    return ask(event_stream(*contents), stream=True, **options)


def ask_either(streamed: bool, message: Mapping[str, Any], finish_reason: str = "stop") -> Exchange:
    """The same message whole or as one piece of a stream."""
    if streamed:
        return ask_streamed(message, finish_reason=finish_reason)
    return ask(json_answer(completion(message, finish_reason)))


either_way = pytest.mark.parametrize("streamed", [pytest.param(False, id="whole"), pytest.param(True, id="streamed")])
