"""A server that does nothing but stamp: it sends tokens at set times and knows to the nanosecond when it did.

`python -m tests.benchmarks.stamping_server --ttft 0.2 --itl 0.02 --tokens 64` serves one model on a free loopback port
and prints the port as JSON. For each line on standard input it prints the truth since the last one: `requests`, for each
the time from its reading to the first token's writing, in ns, and the gaps between its tokens; and `stalls`, the begin
and the end of each, by `time.perf_counter_ns`, which all processes of a machine share. With no latency the whole answer
is one write. `--whole` answers with one small object. `--stall N,FOR` does nothing at all for FOR seconds once the N-th
request has been read, as a garbage collection or a paging model does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httptools
import numpy as np
import uvloop

SERVER_CORE, CLIENT_CORE = 0, 1
TOKENS = 64
BODY = json.dumps(
    {"model": "m", "messages": [{"role": "user", "content": "word " * 60}], "max_tokens": TOKENS, "stream": True}
).encode()
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


@dataclass(slots=True)
class Truth:
    """What the server knows: see the top of this file. Ten minutes of 300 streams have eight million gaps."""

    read: int = 0
    requests: list[array[int]] = field(default_factory=list)
    stalls: list[tuple[int, int]] = field(default_factory=list)

    def told(self) -> str:
        """It as JSON; then it is forgotten."""
        line = json.dumps({"requests": [one.tolist() for one in self.requests], "stalls": self.stalls})
        self.requests.clear()
        self.stalls.clear()
        return line


class Stamping(asyncio.Protocol):
    """One connection."""

    def __init__(self, settings: Settings, truth: Truth) -> None:
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
        settings, truth = self._settings, self._truth
        truth.read += 1
        if settings.stall and truth.read == int(settings.stall.partition(",")[0]):
            # Nothing at all happens meanwhile: this is the event loop that serves.
            begun_ns = time.perf_counter_ns()
            time.sleep(float(settings.stall.partition(",")[2]))
            truth.stalls.append((begun_ns, time.perf_counter_ns()))
        if not settings.ttft and not settings.itl:
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
        gaps = (later - earlier for earlier, later in itertools.pairwise(self._stamps))
        self._truth.requests.append(array("q", [self._stamps[0] - self._read_ns, *gaps]))


class Answering(asyncio.Protocol):
    """One connection that answers whatever it is asked as fast as it can, so that it is not what is measured.

    The first request tells how long each is, being sent again and again.
    """

    def __init__(self) -> None:
        self._size = 0
        self._rest = 0

    def connection_made(self, transport: Any) -> None:
        self._descriptor = transport.get_extra_info("socket").fileno()

    def data_received(self, data: bytes) -> None:
        if not self._size:
            head, blank, _ = data.partition(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].split()[0]
            self._size = len(head) + len(blank) + int(length)
        whole, self._rest = divmod(self._rest + len(data), self._size)
        os.write(self._descriptor, WHOLE_ANSWER * whole)


class Stamped:
    """A stamping server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.port = int(json.loads(process.stdout.readline())["port"])

    def told(self) -> dict[str, Any]:
        """What it knows since the last call."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        told: dict[str, Any] = json.loads(self.process.stdout.readline())
        return told

    def truth(self) -> dict[str, float]:
        """The percentiles of the requests since the last call, in ms; nothing if there were none."""
        requests = self.told()["requests"]
        if not requests:
            return {}
        return {
            "ttft_p99_ms": float(np.percentile([one[0] / 1e6 for one in requests], 99)),
            "itl_p99_ms": float(np.percentile([gap / 1e6 for one in requests for gap in one[1:]], 99)),
        }


@contextmanager
def stamping(*options: str) -> Iterator[Stamped]:
    """Start one on its core and stop it."""
    command = [sys.executable, "-m", "tests.benchmarks.stamping_server", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        keep_to({SERVER_CORE}, process.pid)
        try:
            yield Stamped(process)
        finally:
            process.terminate()


def keep_to(cores: set[int], pid: int = 0) -> None:
    """Pin a process, where the system can and has these cores."""
    if hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):
            os.sched_setaffinity(pid, cores)


def request(port: int, body: bytes = BODY, **headers: str) -> bytes:
    """The request as bytes."""
    lines = ["POST /v1/chat/completions HTTP/1.1", f"Host: 127.0.0.1:{port}", "Content-Type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


async def serve(settings: Settings) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    truth = Truth()

    def connected() -> asyncio.Protocol:
        return Answering() if settings.whole else Stamping(settings, truth)

    server = await loop.create_server(connected, "127.0.0.1", 0, backlog=4096)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    ended = asyncio.Event()

    def listen() -> None:
        for _ in sys.stdin:
            loop.call_soon_threadsafe(lambda: print(truth.told(), flush=True))
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=listen, daemon=True).start()
    await ended.wait()


def main() -> None:
    """Read the options and serve."""
    options = argparse.ArgumentParser()
    options.add_argument("--ttft", type=float, default=0.0)
    options.add_argument("--itl", type=float, default=0.0)
    options.add_argument("--tokens", type=int, default=64)
    options.add_argument("--whole", action="store_true", help="answer with one object, unstreamed")
    options.add_argument("--stall", default="", help="N,FOR: after the N-th request, for so many seconds")
    uvloop.run(serve(options.parse_args(namespace=Settings())))


if __name__ == "__main__":
    main()
