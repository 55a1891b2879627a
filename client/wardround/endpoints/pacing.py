"""What limits allow, reckoned on the caller's clock: a minute's tokens, a good concurrency, and what servers ask for.

Nothing in here waits or looks at a clock but for the calendar's, to which servers' dates refer.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from wardround.endpoints.dialects import retry_after_s
from wardround.endpoints.retries import LONGEST_RETRY_AFTER_S
from wardround.wire.connection import Headers

MINUTE_S = 60.0
# Who is woken so much late may go so much sooner the next time.
LATE_S = 0.1

FIRST_CONCURRENCY = 4
# A window's latency may be so many times the best one before it counts as a queue at the server.
LATENCY_TOLERANCE = 2.0
# So few of a size say nothing about its usual latency.
FEWEST_OF_A_SIZE = 3

# What remains of a minute's allowance, and when it is whole again.
_REMAINING = [(f"x-ratelimit-remaining-{what}", f"x-ratelimit-reset-{what}") for what in ("requests", "tokens")]
_TELLING = frozenset({"retry-after", "retry-after-ms", *(remaining for remaining, _ in _REMAINING)})
_UNITS_S = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_PART = re.compile(f"({_NUMBER})(ms|us|µs|ns|d|h|m|s)")
_DURATION = re.compile(f"(?:{_NUMBER}(?:ms|us|µs|ns|d|h|m|s))+")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.]{5,18}(?:[Zz]|[+-][0-9:]{4,6})?")
# A plain number that is no plausible wait is a moment: seconds, or milliseconds, since 1970.
_FIRST_EPOCH_S = 1e9
_FIRST_EPOCH_MS = 1e12


def reset_in_s(value: str, now: dt.datetime) -> float | None:
    """Seconds until the moment an x-ratelimit-reset header names, at least 0; None if it is none.

    Servers write "1s", "6m0s", "20ms", seconds as a plain number, seconds or milliseconds since 1970, or a date as in
    RFC 3339. `now` carries its time zone; a date without one is in UTC.
    """
    value = value.strip()
    if _DURATION.fullmatch(value):
        return sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(value))
    if re.fullmatch(_NUMBER, value):
        seconds = float(value)
        if seconds >= _FIRST_EPOCH_MS:
            seconds /= 1000
        return max(0.0, seconds - now.timestamp()) if seconds >= _FIRST_EPOCH_S else seconds
    if not _DATE.fullmatch(value):
        return None
    try:
        moment = dt.datetime.fromisoformat(value)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
        return max(0.0, (moment - now).total_seconds())
    except (ValueError, OverflowError):
        return None


def rest_asked_for_s(headers: Mapping[str, str], *, spread: bool = False) -> float:
    """Seconds for which an answer's headers ask to be sent nothing more; 0 if they do not.

    A longer rest than `LONGEST_RETRY_AFTER_S` (a daily quota is used up) is not taken: who asks again gets the
    server's refusal, and the run goes on to say so. `spread`: requests are spread over the minute already. Then none
    may remain of them without there being one too many, and the reset, when all are free again, is too far.
    """
    # Most answers say nothing of it, and that is seen at one glance.
    if isinstance(headers, Headers) and _TELLING.isdisjoint(headers):
        return 0.0
    asked = [retry_after_s(headers)]
    for remaining, reset in _REMAINING[1:] if spread else _REMAINING:
        if headers.get(remaining, "").strip() == "0":
            asked.append(reset_in_s(headers.get(reset, ""), dt.datetime.now(dt.UTC)))
    return max((one for one in asked if one is not None and one <= LONGEST_RETRY_AFTER_S), default=0.0)


@dataclass(slots=True)
class Taken:
    """What a request has taken.

    When (on the caller's clock, in s), how many tokens, how many of them it was expected to use, and whether they
    still count.
    """

    at_s: float
    tokens: int
    expected: float
    counts: bool = True


class TokenMinute:
    """At most `per_minute` tokens in any minute, spread over it by what requests are expected to use.

    What is taken is an estimate, mostly of new tokens that will never be written; the server's count replaces it. So
    the spreading goes by the share of their estimates that earlier requests used: it holds nobody back longer than the
    true use does. A request that is larger than a whole minute's tokens goes when nothing else was taken for a minute.

    Times are seconds on any one clock, given by the caller.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._taken: deque[Taken] = deque()
        self._sum = 0
        self._due_s = -math.inf
        self._estimated = self._used = 0.0

    def wait_s(self, now_s: float, tokens: int) -> float:
        """Seconds until so many tokens may be taken, 0 if they may be now."""
        while self._taken and self._taken[0].at_s <= now_s - MINUTE_S:
            old = self._taken.popleft()
            old.counts = False
            self._sum -= old.tokens
        excess = self._sum + min(tokens, self._per_minute) - self._per_minute
        free_s = now_s
        for one in self._taken:
            if excess <= 0:
                break
            excess -= one.tokens
            free_s = one.at_s + MINUTE_S
        return max(0.0, self._due_s - now_s, free_s - now_s)

    def take(self, now_s: float, tokens: int) -> Taken:
        """Take tokens; to be called when `wait_s` is 0."""
        taken = Taken(now_s, tokens, tokens * (self._used / self._estimated if self._estimated else 1.0))
        self._taken.append(taken)
        self._sum += tokens
        self._due_s = max(self._due_s, now_s - LATE_S) + taken.expected * MINUTE_S / self._per_minute
        return taken

    def correct(self, taken: Taken, tokens: int) -> None:
        """Put what the server counted in the place of the estimate."""
        self._due_s += (tokens - taken.expected) * MINUTE_S / self._per_minute
        # The latest twenty or so decide: a study's next task may use more of its estimates.
        self._estimated = 0.95 * self._estimated + taken.tokens
        self._used = 0.95 * self._used + min(tokens, taken.tokens)
        if taken.counts:
            self._sum += tokens - taken.tokens
            taken.tokens = tokens


class AdaptiveConcurrency:
    """How many requests in flight a server carries well, found by trying; at least 1, at most `most`.

    Additive increase, multiplicative decrease (Chiu and Jain, 1989): it starts at 4. After each window, as many replies
    as there may be requests in flight, one is added if the window was full and its latency holds: its median is at most
    twice the best. A 429, a 503 or a timeout halves it, once for all requests that were under way together. Measuring
    against the best latency seen is TCP Vegas's way (Brakmo and Peterson, 1994), the tolerance that of the Gradient2
    limit in Netflix's concurrency-limits.

    Long answers take long on an idle server, too. So a latency is compared with those of alike requests, whose tokens
    of prompt and of answer have the same powers of two; the best of a size is the lowest median of a window.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.allowed = min(FIRST_CONCURRENCY, most)
        self.epoch = 0
        self._best_s: dict[tuple[int, int], float] = {}
        self._forget_window()

    def note_reply(self, latency_s: float, prompt_tokens: int, output_tokens: int, *, full: bool) -> None:
        """A reply came; `full` if no further request had been allowed beside it."""
        self._window.append(((prompt_tokens.bit_length(), output_tokens.bit_length()), latency_s))
        self._was_full |= full
        if len(self._window) < self.allowed:
            return
        if self._was_full and self._holds():
            self.allowed = min(self._most, self.allowed + 1)
        self._forget_window()

    def note_too_much(self, epoch: int) -> None:
        """A request that was let through in `epoch` was too much for the server."""
        if epoch == self.epoch:
            self.allowed = max(1, self.allowed // 2)
            self.epoch += 1
            self._forget_window()

    def _forget_window(self) -> None:
        self._window: list[tuple[tuple[int, int], float]] = []
        self._was_full = False

    def _holds(self) -> bool:
        from statistics import median

        for size in {size for size, _ in self._window}:
            alike = [latency for one, latency in self._window if one == size]
            if len(alike) >= min(FEWEST_OF_A_SIZE, self.allowed):
                self._best_s[size] = min(median(alike), self._best_s.get(size, math.inf))
        ratios = [latency / self._best_s[size] for size, latency in self._window if self._best_s.get(size)]
        return not ratios or median(ratios) <= LATENCY_TOLERANCE
