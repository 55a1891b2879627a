"""HTTP/1.1 as the embedded server speaks it: what comes in, what goes out, and the limits of both.

The server has a protocol of its own and no framework: the moment at which a request's last byte came is stamped where
it is read, and a small answer is parsed, made and written in one go. Both matter to load tests, which take this server
for truth. It serves loopback, so it trusts its clients to be slow or wrong, but not to be hostile.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass

LARGEST_HEAD = 64 * 1024
LARGEST_BODY = 64 * 1024 * 1024
TOO_LARGE = "The request body is too large."
# What may be waiting behind a request that is being answered before no more is read.
LARGEST_BACKLOG = 256 * 1024
JSON = "application/json"
EVENTS = "text/event-stream"
Headers = Sequence[tuple[str, str]]


@dataclass(slots=True)
class Call:
    """A request: header names are in lower case; `received_ns` is when its last byte came (`time.perf_counter_ns`)."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    received_ns: int


@dataclass(slots=True)
class Whole:
    """An answer sent in one piece. `cut`: its length is announced, and half of it is sent before the line goes dead."""

    status: int
    body: bytes
    headers: Headers = ()
    content_type: str = JSON
    cut: bool = False


@dataclass(slots=True)
class Streamed:
    """A stream of events: pieces to be written as they come, or all of them at once. Raising `Cut` ends it abruptly."""

    pieces: AsyncGenerator[bytes, None] | bytes
    headers: Headers = ()
    cut: bool = False


class Cut(Exception):
    """The stream ends here, without an end."""


class Malformed(Exception):
    """What came is no request that can be answered; the connection ends."""

    def __init__(self, status: int, words: str, path: str = "") -> None:
        super().__init__(words)
        self.status = status
        self.words = words
        self.path = path


# An answer, or what has to be awaited for it.
Outcome = Whole | Streamed | Callable[[], Awaitable[Whole]]
# Raises nothing.
Respond = Callable[[Call], Outcome]
