"""A server that does nothing but stamp: it sends tokens at set times and knows to the nanosecond when it did.

`python -m tests.benchmarks.stamping_server --ttft 0.2 --itl 0.02 --tokens 64` serves one model on a free loopback port,
prints the port, and for each line on standard input prints the truth of the requests since the last one as JSON: for
each, the time from the reading of the request to the first token's writing, in ns, and the gaps between tokens. With no
latency the whole answer is one write. `--stall AT,FOR` stops serving anything for a while, as a garbage collection or a
paging model does.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import threading
import time
from typing import Any

import httptools
import uvloop

PIECE = (
    b'data: {"id":"cmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
    b'{"content":" tok"},"logprobs":null,"finish_reason":null}]}\n\n'
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
WHOLE = (
    b'{"id":"cmpl-1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":"yes"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":1,"total_tokens":11}}'
)
WHOLE_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(WHOLE) + WHOLE


def chunk(content: bytes) -> bytes:
    """A piece of a chunked body."""
    return b"%x\r\n" % len(content) + content + b"\r\n"


class Settings(argparse.Namespace):
    """What the server is to do."""

    ttft: float
    itl: float
    tokens: int
    whole: bool
    stall: str


class Stamping(asyncio.Protocol):
    """One connection."""

    def __init__(self, settings: Settings, truth: list[list[int]]) -> None:
        self._settings = settings
        self._truth = truth
        self._loop = asyncio.get_running_loop()
        usage = b'{"prompt_tokens":10,"completion_tokens":%d}' % settings.tokens
        ending = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
        ending += b'data: {"choices":[],"usage":' + usage + b"}\n\ndata: [DONE]\n\n"
        self._piece, self._end = chunk(PIECE), chunk(ending) + b"0\r\n\r\n"
        self._read_ns = 0
        self._stamps: list[int] = []
        self._start_s = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._read_ns = time.perf_counter_ns()
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        settings = self._settings
        if settings.whole:
            self._transport.write(WHOLE_ANSWER)
        elif not settings.ttft and not settings.itl:
            self._transport.write(HEAD + self._piece * settings.tokens + self._end)
        else:
            self._start_s = self._loop.time()
            self._stamps = []
            self._transport.write(HEAD)
            self._loop.call_at(self._start_s + settings.ttft, self._token)

    def _token(self) -> None:
        self._transport.write(self._piece)
        self._stamps.append(time.perf_counter_ns())
        if len(self._stamps) < self._settings.tokens:
            due_s = self._start_s + self._settings.ttft + len(self._stamps) * self._settings.itl
            self._loop.call_at(due_s, self._token)
            return
        self._transport.write(self._end)
        self._truth.append([self._stamps[0] - self._read_ns, *map(int, _gaps(self._stamps))])


def _gaps(stamps: list[int]) -> list[int]:
    return [later - earlier for earlier, later in itertools.pairwise(stamps)]


async def serve(settings: Settings) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    truth: list[list[int]] = []
    server = await loop.create_server(lambda: Stamping(settings, truth), "127.0.0.1", 0, backlog=4096)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    ended = asyncio.Event()

    def tell() -> None:
        print(json.dumps(truth), flush=True)
        truth.clear()

    def listen() -> None:
        for _ in sys.stdin:
            loop.call_soon_threadsafe(tell)
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=listen, daemon=True).start()
    if settings.stall:
        at_s, for_s = map(float, settings.stall.split(","))
        # Nothing at all happens meanwhile: this is the event loop that serves.
        loop.call_later(at_s, time.sleep, for_s)
    await ended.wait()


def main() -> None:
    """Read the options and serve."""
    options = argparse.ArgumentParser()
    options.add_argument("--ttft", type=float, default=0.0)
    options.add_argument("--itl", type=float, default=0.0)
    options.add_argument("--tokens", type=int, default=64)
    options.add_argument("--whole", action="store_true", help="answer with one object, unstreamed")
    options.add_argument("--stall", default="", help="AT,FOR in seconds")
    uvloop.run(serve(options.parse_args(namespace=Settings())))


if __name__ == "__main__":
    main()
