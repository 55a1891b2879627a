"""A loopback server that speaks `openai-chat`, answers as a test tells it, and keeps count of what it was asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from wardround.catalogue import Limits, Model
from wardround.endpoints import OpenAIChat, Params
from wardround.endpoints.limits import Gate, Limited
from wardround.study import Deadlines
from wardround.task import Message, Prompt
from wardround.wire import Wire

PARAMS = Params(max_tokens=8)


@dataclass(frozen=True)
class Say:
    """How one request is answered: after `delay_s` seconds, with these counts of tokens."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    prompt_tokens: int = 10
    output_tokens: int = 2
    hang_up: bool = False
    words: str = "no"


@dataclass
class ChatServer:
    """What a running server has seen: when each request came (monotonic seconds), what it asked, how many at once."""

    base_url: str
    say: Callable[[int], Say]
    came_s: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def complete(self, request: web.Request) -> web.StreamResponse:
        self.came_s.append(time.monotonic())
        self.came.set()
        say = self.say(len(self.came_s))
        self.texts.append((await request.json())["messages"][-1]["content"])
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(say.delay_s)
        finally:
            self.at_once -= 1
        if say.hang_up:
            assert request.transport is not None
            request.transport.close()
        if say.status != 200:
            return web.json_response({"error": {"message": say.words}}, status=say.status, headers=say.headers)
        body = {
            "model": "m",
            "choices": [{"message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": say.prompt_tokens, "completion_tokens": say.output_tokens},
        }
        return web.json_response(body, headers=say.headers)


def always(**how: object) -> Callable[[int], Say]:
    """Every request is answered alike."""
    say = Say(**how)  # type: ignore[arg-type]
    return lambda _number: say


def after(*first: Say, then: Say | None = None) -> Callable[[int], Say]:
    """The first requests are answered so, all further ones like `then`."""
    return lambda number: first[number - 1] if number <= len(first) else then or Say()


@asynccontextmanager
async def chat_server(say: Callable[[int], Say] | None = None, port: int = 0) -> AsyncIterator[ChatServer]:
    """Serve on a loopback port until the block ends."""
    server = ChatServer("", say or always())
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.complete)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    server.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield server
    finally:
        await runner.cleanup()


def limited(base_url: str, wire: Wire, limits: Limits | None = None, deadlines: Deadlines | None = None) -> Limited:
    """The endpoint of a model at `base_url`, with a gate before it."""
    gate = Gate(limits or Limits())
    model = Model(name="m", base_url=base_url)
    door = OpenAIChat(model, wire, base_url=base_url, deadlines=deadlines or Deadlines(), on_headers=gate.hear)
    return Limited(door, gate)


def prompt(text: str = "Fever?") -> Prompt:
    """One turn of the user."""
    return Prompt((Message("user", text),))
