"""The metrics of a load test, one place each: formula, unit, and when it is absent. All pure.

Times come in as ns of one clock and go out in seconds.

- TTFT = first_token − sent; absent where no token came.
- TTFT, user's = first_token − scheduled: a request that was sent late is charged with the wait; absent in a closed
  loop, where nothing was scheduled beforehand.
- ITL = the gaps between successive chunks that carry text, pooled over requests; absent under two chunks.
- TPOT = (last_token − first_token) / (output tokens − 1), output tokens as the server counts them; absent under two
  tokens or without a count.
- E2E = done − sent, and user's E2E = done − scheduled; absent where the request failed.
- output tokens/s = output tokens of the requests that ended within the window / length of the window.
- goodput = requests/s of the window that met every objective of the SLO.
- client lag = sent − scheduled. A test whose p99 lag exceeds 5 % of the median TTFT was limited by its client.
- client share = CPU seconds of the client per 1,000 output tokens.

Percentiles are exact: all values are kept, linear interpolation between closest ranks (NumPy's default, Hyndman and
Fan's type 7). Failed requests enter no latency; they are counted by kind.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WrongUse
from wardround.load.records import Record

PERCENTILES = (50, 90, 95, 99)
# A client that is later than this share of the median TTFT at its 99th percentile measures itself.
LIMITED_BY_CLIENT = 0.05
RESAMPLES = 2_000
_NS = 1e9

Seconds = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Slo:
    """Service level objectives in seconds, None where there is none; a request is good if it meets them all."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None

    @property
    def given(self) -> bool:
        """Whether there is any objective."""
        return any(one is not None for one in (self.ttft_s, self.tpot_s, self.e2e_s))


@dataclass(frozen=True, slots=True)
class Window:
    """The steady part of a test, in ns: requests scheduled within it are measured."""

    from_ns: int
    to_ns: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.to_ns - self.from_ns) / _NS


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution in seconds: number of values, mean, exact percentiles, maximum; and 95 % bootstrap intervals."""

    n: int
    mean_s: float
    percentiles_s: dict[int, float]
    max_s: float
    intervals_s: dict[int, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a load test measured within its window; spreads are None where the metric is absent."""

    window_s: float
    requests: int
    succeeded: int
    failures: dict[str, int]
    ttft: Spread | None
    ttft_user: Spread | None
    ttft_answer: Spread | None
    itl: Spread | None
    tpot: Spread | None
    e2e: Spread | None
    e2e_user: Spread | None
    lag: Spread | None
    requests_per_s: float
    output_tokens_per_s: float | None
    prompt_tokens_per_s: float | None
    goodput_per_s: float | None
    output_tokens: int
    prompt_tokens: int
    cached_tokens: int | None
    uncounted: int
    limited_by_client: bool
    client_s_per_1000_tokens: float | None = None


def parse_slo(text: str) -> Slo:
    """`ttft=500ms,tpot=50ms,e2e=8s` as objectives; raises `WrongUse` with what would be right."""
    found: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        match = re.fullmatch(r"(ttft|tpot|e2e)\s*=\s*(\d+(?:\.\d+)?)\s*(ms|s)", part)
        if match is None or match[1] in found:
            raise WrongUse(f"--slo {text!r}: {part!r} is no objective; write for example ttft=500ms,tpot=50ms,e2e=8s")
        found[match[1]] = float(match[2]) / (1000 if match[3] == "ms" else 1)
    if not found:
        raise WrongUse("--slo is empty; write for example ttft=500ms,tpot=50ms,e2e=8s")
    return Slo(found.get("ttft"), found.get("tpot"), found.get("e2e"))


def ttft_s(record: Record) -> float | None:
    """Time to first token, from the sending."""
    return (record.first_token_ns - record.sent_ns) / _NS if record.first_token_ns else None


def tpot_s(record: Record) -> float | None:
    """Time per output token after the first."""
    tokens = record.output_tokens
    if tokens is None or tokens < 2 or not record.first_token_ns:
        return None
    return (record.last_token_ns - record.first_token_ns) / _NS / (tokens - 1)


def meets(record: Record, slo: Slo) -> bool:
    """Whether a request met every objective, reckoned from when it was scheduled; a failed one never does.

    TPOT counts as met where it is absent: an answer of one token has none to be late with.
    """
    if record.failure:
        return False
    ttft = (record.first_token_ns - record.scheduled_ns) / _NS if record.first_token_ns else None
    tpot = tpot_s(record)
    e2e = (record.done_ns - record.scheduled_ns) / _NS
    return (
        (slo.ttft_s is None or (ttft is not None and ttft <= slo.ttft_s))
        and (slo.tpot_s is None or tpot is None or tpot <= slo.tpot_s)
        and (slo.e2e_s is None or e2e <= slo.e2e_s)
    )


def spread(values_s: Sequence[float] | Seconds, *, intervals: bool = False, seed: int = 0) -> Spread | None:
    """The distribution of `values_s`; None of none.

    `intervals`: 95 % percentile bootstrap intervals of the percentiles (Efron and Tibshirani 1993, chapter 13), the
    values taken as independent.
    """
    values = np.asarray(values_s, dtype=np.float64)
    if not len(values):
        return None
    exact = dict(zip(PERCENTILES, map(float, np.percentile(values, PERCENTILES)), strict=True))
    found = Spread(len(values), float(values.mean()), exact, float(values.max()))
    if not intervals or len(values) < 2:
        return found
    drawn = quantiles_resampled(values, PERCENTILES, seed=seed)
    bounds = np.percentile(drawn, [2.5, 97.5], axis=0)
    found.intervals_s.update(
        {one: (float(low), float(high)) for one, low, high in zip(PERCENTILES, *bounds, strict=True)}
    )
    return found


def quantiles_resampled(
    values: Seconds, percentiles: Sequence[float], *, resamples: int = RESAMPLES, seed: int = 0
) -> NDArray[np.float64]:
    """Percentiles of `resamples` bootstrap samples of `values`, shape (resamples, percentiles).

    The k-th smallest of n drawn with replacement has the rank of the k-th smallest of n uniform numbers, which is
    Beta(k, n − k + 1): so only the ranks needed are drawn and no resample is made (Efron 1982, section 10.2). Between
    two ranks the nearer one is taken.
    """
    generator = np.random.default_rng(seed)
    ordered = np.sort(values)
    n = len(ordered)
    columns = []
    for percentile in percentiles:
        rank = round((n - 1) * percentile / 100) + 1
        share = generator.beta(rank, n - rank + 1, size=resamples)
        columns.append(ordered[np.minimum((share * n).astype(np.int64), n - 1)])
    return np.stack(columns, axis=1)


def measure(
    records: Sequence[Record],
    window: Window,
    *,
    slo: Slo | None = None,
    closed: bool = False,
    client_cpu_s: float | None = None,
    intervals: bool = True,
) -> Measured:
    """The metrics of the requests that were scheduled within `window`.

    `closed`: a closed loop, where users wait for replies and nothing is scheduled beforehand. `client_cpu_s`: what the
    client's processes used over the whole test, set against the output tokens of all `records`.
    """
    inside = [one for one in records if window.from_ns <= one.scheduled_ns < window.to_ns]
    good = [one for one in inside if not one.failure]
    started = [one for one in good if one.first_token_ns]
    ended = [one for one in records if not one.failure and window.from_ns <= one.done_ns < window.to_ns]
    ttft = spread([(one.first_token_ns - one.sent_ns) / _NS for one in started], intervals=intervals)
    lag = spread([(one.sent_ns - one.scheduled_ns) / _NS for one in inside if one.sent_ns])
    user = None if closed else spread([(o.first_token_ns - o.scheduled_ns) / _NS for o in started], intervals=intervals)
    e2e_user = None if closed else spread([(one.done_ns - one.scheduled_ns) / _NS for one in good], intervals=intervals)
    answers = [(one.first_answer_ns - one.sent_ns) / _NS for one in started if one.first_answer_ns]
    tokens = sum(one.output_tokens or 0 for one in ended)
    counted = any(one.output_tokens is not None for one in ended)
    all_tokens = sum(one.output_tokens or 0 for one in records)
    cached = [one.cached_tokens for one in good if one.cached_tokens is not None]
    return Measured(
        window_s=window.seconds,
        requests=len(inside),
        succeeded=len(good),
        failures=dict(sorted(Counter(one.failure for one in inside if one.failure).items())),
        ttft=ttft,
        ttft_user=user,
        ttft_answer=spread(answers, intervals=intervals),
        itl=spread(_gaps_s(good)),
        tpot=spread([value for one in good if (value := tpot_s(one)) is not None], intervals=intervals),
        e2e=spread([(one.done_ns - one.sent_ns) / _NS for one in good], intervals=intervals),
        e2e_user=e2e_user,
        lag=None if closed else lag,
        requests_per_s=len(ended) / window.seconds,
        output_tokens_per_s=tokens / window.seconds if counted else None,
        prompt_tokens_per_s=sum(one.prompt_tokens or 0 for one in ended) / window.seconds if counted else None,
        goodput_per_s=sum(meets(one, slo) for one in inside) / window.seconds if slo and slo.given else None,
        output_tokens=tokens,
        prompt_tokens=sum(one.prompt_tokens or 0 for one in ended),
        cached_tokens=sum(cached) if cached else None,
        uncounted=sum(one.output_tokens is None for one in good),
        limited_by_client=not closed and limited_by_client(ttft, lag),
        client_s_per_1000_tokens=(
            client_cpu_s / all_tokens * 1000 if client_cpu_s is not None and all_tokens else None
        ),
    )


def limited_by_client(ttft: Spread | None, lag: Spread | None) -> bool:
    """Whether the client was so late that it measured itself."""
    return ttft is not None and lag is not None and lag.percentiles_s[99] > LIMITED_BY_CLIENT * ttft.percentiles_s[50]


def _gaps_s(records: Sequence[Record]) -> Seconds:
    gaps = [np.diff(np.asarray(one.arrivals_us, dtype=np.float64)) for one in records if len(one.arrivals_us) > 1]
    return np.concatenate(gaps) / 1e6 if gaps else np.empty(0)
