"""Requests and tokens a minute, as hosted APIs limit them: over a window that slides."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from wardround.baseline.http import Headers
from wardround.baseline.refusals import Refused


@dataclass(frozen=True, slots=True)
class RateLimits:
    """How many `requests` and `tokens` are let in within any `window_s` seconds; None = as many as come.

    A request's tokens are those of its prompt and those that it may generate at most, if it says so itself.
    """

    requests: int | None = None
    tokens: int | None = None
    window_s: float = 60.0


class _Window:
    """What was let in lately, and what it weighed."""

    def __init__(self, limit: int, window_s: float) -> None:
        self.limit = limit
        self._window_s = window_s
        self._let_in: deque[tuple[float, int]] = deque()
        self.used = 0

    def slide(self, now_s: float) -> None:
        while self._let_in and self._let_in[0][0] <= now_s - self._window_s:
            self.used -= self._let_in.popleft()[1]

    def let_in(self, now_s: float, weight: int) -> None:
        self._let_in.append((now_s, weight))
        self.used += weight

    def room_in_s(self, now_s: float, weight: int) -> float:
        """Seconds until there is room for `weight` (at most the limit), 0 if there is now."""
        to_go = self.used + weight - self.limit
        if to_go <= 0:
            return 0.0
        for at_s, weighed in self._let_in:
            to_go -= weighed
            if to_go <= 0:
                return at_s + self._window_s - now_s
        return self._window_s

    def empty_in_s(self, now_s: float) -> float:
        """Seconds until nothing counts any more."""
        return self._let_in[-1][0] + self._window_s - now_s if self._let_in else 0.0


class Meter:
    """Lets requests in as long as the limits hold, and tells in headers how much of them is left."""

    def __init__(self, limits: RateLimits) -> None:
        self._windows = {
            name: _Window(limit, limits.window_s)
            for name, limit in (("requests", limits.requests), ("tokens", limits.tokens))
            if limit is not None
        }

    def let_in(self, model: str, tokens: int, now_s: float) -> None:
        """Count a request of so many tokens; raises `Refused` if it is one too many, and then does not count it."""
        weights = {"requests": 1, "tokens": tokens}
        for name, window in self._windows.items():
            window.slide(now_s)
            if weights[name] > window.limit:
                raise Refused(
                    f"Request too large for {model} on {_measured(name)}: Limit {window.limit}, Requested"
                    f" {weights[name]}. The input or output tokens must be reduced in order to run successfully.",
                    status=429,
                    code="rate_limit_exceeded",
                    kind=name,
                )
        waits_s = {name: window.room_in_s(now_s, weights[name]) for name, window in self._windows.items()}
        name = max(waits_s, key=waits_s.__getitem__)
        if waits_s[name] > 0:
            window, wait_s = self._windows[name], waits_s[name]
            raise Refused(
                f"Rate limit reached for {model} on {_measured(name)}: Limit {window.limit}, Used {window.used},"
                f" Requested {weights[name]}. Please try again in {duration(wait_s)}.",
                status=429,
                code="rate_limit_exceeded",
                kind=name,
                retry_after_s=wait_s,
            )
        for name, window in self._windows.items():
            window.let_in(now_s, weights[name])

    def headers(self, now_s: float) -> Headers:
        """What is left of the limits, as OpenAI says it."""
        told = []
        for name, window in self._windows.items():
            window.slide(now_s)
            told += [
                (f"x-ratelimit-limit-{name}", str(window.limit)),
                (f"x-ratelimit-remaining-{name}", str(max(0, window.limit - window.used))),
                (f"x-ratelimit-reset-{name}", duration(window.empty_in_s(now_s))),
            ]
        return told


def _measured(name: str) -> str:
    return "requests per min (RPM)" if name == "requests" else "tokens per min (TPM)"


def duration(seconds: float) -> str:
    """A time as Go writes it, and so OpenAI: "0s", "120ms", "1.5s", "6m0s"."""
    milliseconds = round(seconds * 1000)
    if milliseconds == 0:
        return "0s"
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, left = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    told = f"{left / 1000:g}s"
    if hours:
        return f"{hours}h{minutes}m{told}"
    return f"{minutes}m{told}" if minutes else told
