"""How an embedded server behaves, and what it has seen."""

from __future__ import annotations

import random
import time
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from wardround.baseline.latency import Engine, Latency
from wardround.baseline.limits import Meter, RateLimits
from wardround.baseline.truth import Truth, Truths

FINGERPRINT = "wardround-baselines-1"
# Upper bounds in seconds of the histograms at /metrics.
BUCKETS_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0)


@dataclass(frozen=True, slots=True)
class Faults:
    """Shares (0 to 1) of requests that fail: 429 with Retry-After, 500, an answer cut off, an answer delayed, and a
    prompt refused by a content filter.
    """

    share_429: float = 0.0
    share_500: float = 0.0
    share_cut: float = 0.0
    share_slow: float = 0.0
    retry_after_s: float = 1.0
    slow_s: float = 5.0
    seed: int = 0
    share_filtered: float = 0.0

    def draw(self, drawn: float) -> str | None:
        """The fault that a number drawn from [0, 1) means: "429", "500", "cut", "slow", "filter" or None."""
        shares = (
            ("429", self.share_429),
            ("500", self.share_500),
            ("cut", self.share_cut),
            ("slow", self.share_slow),
            ("filter", self.share_filtered),
        )
        bound = 0.0
        for fault, share in shares:
            bound += share
            if drawn < bound:
                return fault
        return None

    @property
    def any(self) -> bool:
        """Whether anything fails at all."""
        return bool(self.share_429 or self.share_500 or self.share_cut or self.share_slow or self.share_filtered)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What the server does not do, as some engines do not.

    It refuses a `system` turn, or any chat for want of a `template`; it leaves the usage out of streams, gives no
    log-probabilities, or does not keep to the form that it is asked for (`constraints`).
    """

    system: bool = True
    template: bool = True
    usage_in_stream: bool = True
    logprobs: bool = True
    constraints: bool = True


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How a server behaves.

    `api_key`: required as a bearer token if given. `context`: tokens, prompt + new. `tgi_model` is the baseline behind
    TGI's own routes, which know one model only. `truths`: of how many requests the times are kept.
    """

    latency: Latency = field(default_factory=Latency)
    faults: Faults = field(default_factory=Faults)
    api_key: str | None = None
    context: int = 131_072
    limits: RateLimits = field(default_factory=RateLimits)
    behaviour: Behaviour = field(default_factory=Behaviour)
    tgi_model: str = "baseline-overlap"
    truths: int = 10_000


class Histogram:
    """How often a time fell into which bucket."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds


class State:
    """A running server's own."""

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.engine = Engine(options.latency)
        self.meter = Meter(options.limits) if options.limits.requests or options.limits.tokens else None
        self.chance = random.Random(options.faults.seed)
        self.truths = Truths(options.truths) if options.truths else None
        self.started_at = int(time.time())
        self.requests = 0
        self.statuses: Counter[str] = Counter()
        self.in_flight = 0
        self.peak_in_flight = 0
        self.prompt_tokens = 0
        self.output_tokens = 0
        self.finished: Counter[str] = Counter()
        self.first_tokens = Histogram()
        self.whole_answers = Histogram()

    def enter(self) -> None:
        """A request is being answered."""
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)

    def leave(self) -> None:
        """It no longer is."""
        self.in_flight -= 1

    def done(self, truth: Truth, reason: str) -> None:
        """An answer was given to its end, for this `reason`."""
        self.prompt_tokens += truth.prompt_tokens
        self.output_tokens += truth.output_tokens
        self.finished[reason] += 1
        if truth.first_token_ns:
            self.first_tokens.add((truth.first_token_ns - truth.received_ns) / 1e9)
        self.whole_answers.add((truth.done_ns - truth.received_ns) / 1e9)
