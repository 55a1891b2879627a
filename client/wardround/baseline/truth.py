"""What the server itself knows of each request's times, for tests of what clients report."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


def _no_times() -> array[int]:
    return array("q")


@dataclass(slots=True)
class Truth:
    """The times of one request, all `time.perf_counter_ns` (CLOCK_MONOTONIC, which all processes of a machine share).

    `received_ns`: its last byte was read. `first_token_ns`: its first token was ready, and if it is streamed, handed to
    the kernel; `token_ns` the same for each token of a stream. `done_ns`: so was all of the answer. A time is 0 until
    it has come, and stays 0 where the answer ended before. `client_id` is the x-request-id that the client sent.
    """

    id: str
    client_id: str
    received_ns: int
    prompt_tokens: int
    first_token_ns: int = 0
    done_ns: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    streamed: bool = False
    token_ns: array[int] = field(default_factory=_no_times)

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "id": self.id,
            "request_id": self.client_id or None,
            "streamed": self.streamed,
            "received_ns": self.received_ns,
            "first_token_ns": self.first_token_ns or None,
            "token_ns": self.token_ns.tolist(),
            "done_ns": self.done_ns or None,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "completion_tokens": self.output_tokens,
        }


class Truths:
    """The last requests' times, at most `most` of them."""

    def __init__(self, most: int) -> None:
        self._kept: deque[Truth] = deque(maxlen=most)

    def keep(self, truth: Truth) -> None:
        """Remember one, and forget the oldest if there are too many."""
        self._kept.append(truth)

    def find(self, wanted: Iterable[str]) -> list[Truth]:
        """Those with one of the `wanted` ids, their own or the client's; without any, all. Oldest first."""
        ids = set(wanted)
        return [truth for truth in self._kept if not ids or truth.id in ids or truth.client_id in ids]
