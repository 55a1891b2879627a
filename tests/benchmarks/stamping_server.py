"""A server that does nothing but stamp: it sends tokens at set times and knows to the nanosecond when it did.

`python -m tests.benchmarks.stamping_server --ttft 0.2 --itl 0.02 --tokens 64` serves one model on a free loopback port
and prints the port as JSON. For each line on standard input it prints the truth since the last one: `requests`, for each
the time from its coming to the first token's writing, in ns, and the gaps between its tokens; `unstamped`, how many of
these the kernel gave no stamp of coming; and `stalls`, the begin and the end of each, by `time.perf_counter_ns`, which all
processes of a machine share. With no latency the whole answer is sent at once, out of the page cache. `--whole` answers
with one small object, and never sleeps. `--stall N,FOR` does nothing at all for FOR seconds once the N-th
request has been read, as a garbage collection or a paging model does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import gc
import itertools
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httptools
import numpy as np
import uvloop

SERVER_CORE, CLIENT_CORE = 0, 1
# Linux has it for TCP, too; Python has no name for it.
SO_TIMESTAMPNS = 35
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
    unstamped: int = 0
    requests: list[array[int]] = field(default_factory=list)
    stalls: list[tuple[int, int]] = field(default_factory=list)

    def told(self) -> str:
        """It as JSON; then it is forgotten."""
        requests = [one.tolist() for one in self.requests]
        line = json.dumps({"requests": requests, "unstamped": self.unstamped, "stalls": self.stalls})
        self.unstamped = 0
        self.requests.clear()
        self.stalls.clear()
        return line


@functools.cache
def in_memory(content: bytes) -> int:
    """The descriptor of a file in memory that holds `content`."""
    descriptor = os.memfd_create("answer")
    os.write(descriptor, content)
    return descriptor


class Stamping:
    """One connection, served so that its stamps are the truth under a burst as well.

    A request's time begins when its last byte came to this machine's network stack, by the kernel's own stamp
    (SO_TIMESTAMPNS): what waits in a socket while others are served waits for this server. What has come is read from all
    connections before any of it is worked on. And a token is with the kernel when it is stamped: transports write at the
    end of the loop's turn, so of 256 tokens due at once the first would be stamped milliseconds before it is sent.
    """

    def __init__(self, settings: Settings, truth: Truth, connection: socket.socket) -> None:
        self._settings = settings
        self._truth = truth
        self._loop = asyncio.get_running_loop()
        usage = b'{"prompt_tokens":10,"completion_tokens":%d}' % settings.tokens
        ending = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
        ending += b'data: {"choices":[],"usage":' + usage + b"}\n\ndata: [DONE]\n\n"
        self._piece, self._end = chunk(PIECE), chunk(ending) + b"0\r\n\r\n"
        self._came_ns = 0
        self._stamps: list[int] = []
        self._start_s = 0.0
        self._unsent = b""
        self._flooding: int | None = None
        self._sent = 0
        self._connection = connection
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):  # elsewhere than on Linux a request comes when it is read
            connection.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._parser = httptools.HttpRequestParser(self)
        self._loop.add_reader(connection.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            data, ancillary, _, _ = self._connection.recvmsg(1 << 16, 64)
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        if not data:
            self._loop.remove_reader(self._connection.fileno())
            self._loop.remove_writer(self._connection.fileno())
            self._connection.close()
            return
        self._came_ns = self._came(ancillary)
        self._loop.call_soon(self._parser.feed_data, data)

    def _came(self, ancillary: Sequence[tuple[int, int, bytes]]) -> int:
        """When the bytes just read came to the machine, by `time.perf_counter_ns`."""
        for level, kind, stamp in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                # By the wall's clock; how long ago that is, both clocks say alike.
                seconds, ns = struct.unpack("qq", stamp[:16])
                ago_ns = time.time_ns() - (int(seconds) * 1_000_000_000 + int(ns))
                return time.perf_counter_ns() - max(0, ago_ns)
        self._truth.unstamped += 1
        return time.perf_counter_ns()

    def _send(self, content: bytes) -> None:
        """Hand bytes to the kernel now; what it has no room for follows when it has."""
        if self._unsent:
            self._unsent += content
            return
        try:
            sent = os.write(self._connection.fileno(), content)
        except BlockingIOError:
            sent = 0
        except OSError:
            return
        if sent < len(content):
            self._unsent = content[sent:]
            self._loop.add_writer(self._connection.fileno(), self._writable)

    def _writable(self) -> None:
        left, self._unsent = self._unsent, b""
        self._loop.remove_writer(self._connection.fileno())
        self._send(left)

    def _flood(self) -> None:
        """The whole answer at once, from the page cache: it shall cost the reader's machine as little as can be."""
        if self._flooding is None:
            self._flooding = in_memory(HEAD + self._piece * self._settings.tokens + self._end)
            self._sent = 0
        size = os.fstat(self._flooding).st_size
        try:
            self._sent += os.sendfile(self._connection.fileno(), self._flooding, self._sent, size - self._sent)
        except BlockingIOError:
            pass
        except OSError:
            return
        if self._sent < size:
            self._loop.add_writer(self._connection.fileno(), self._flood)
        else:
            self._loop.remove_writer(self._connection.fileno())
            self._sent = 0

    def on_message_complete(self) -> None:
        settings, truth = self._settings, self._truth
        truth.read += 1
        if settings.stall and truth.read == int(settings.stall.partition(",")[0]):
            # Nothing at all happens meanwhile: this is the event loop that serves.
            begun_ns = time.perf_counter_ns()
            time.sleep(float(settings.stall.partition(",")[2]))
            truth.stalls.append((begun_ns, time.perf_counter_ns()))
        if not settings.ttft and not settings.itl:
            self._flood()
        else:
            # A token is due by when the request came; the loop's own clock stands still during its turn.
            self._start_s = self._loop.time() - (time.perf_counter_ns() - self._came_ns) / 1e9
            self._stamps = []
            self._send(HEAD)
            self._loop.call_at(self._start_s + settings.ttft, self._token)

    def _token(self) -> None:
        self._send(self._piece)
        self._stamps.append(time.perf_counter_ns())
        if len(self._stamps) < self._settings.tokens:
            due_s = self._start_s + self._settings.ttft + len(self._stamps) * self._settings.itl
            self._loop.call_at(due_s, self._token)
            return
        self._send(self._end)
        gaps = (later - earlier for earlier, later in itertools.pairwise(self._stamps))
        self._truth.requests.append(array("q", [self._stamps[0] - self._came_ns, *gaps]))


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

    def cpu_s(self) -> float:
        """Its processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def truth(self) -> dict[str, float]:
        """The percentiles of the requests since the last call, in ms; nothing if there were none."""
        told = self.told()
        requests = told["requests"]
        if not requests:
            return {}
        if told["unstamped"] > len(requests) // 100:
            print(
                f"{told['unstamped']} requests have no stamp of the kernel's; truth begins at their reading",
                file=sys.stderr,
            )
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

    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    if settings.whole:
        await loop.create_server(Answering, sock=listening)

        def stay_awake() -> None:
            # To wake another core takes a client longer than all the rest of a small request; what is asked here is what
            # the client takes, whoever it be.
            loop.call_soon(stay_awake)

        stay_awake()
    else:
        listening.setblocking(False)
        loop.add_reader(listening.fileno(), lambda: Stamping(settings, truth, listening.accept()[0]))
    print(json.dumps({"port": listening.getsockname()[1]}), flush=True)
    ended = asyncio.Event()

    def listen() -> None:
        for _ in sys.stdin:
            loop.call_soon_threadsafe(lambda: print(truth.told(), flush=True))
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=listen, daemon=True).start()
    # A collection of garbage would be a stall of its own.
    gc.freeze()
    gc.disable()
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
