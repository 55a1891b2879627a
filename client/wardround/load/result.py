"""A load test's result: what was asked of which server, what was measured, and what it cost; one file of JSON.

The raw records lie beside it, so that anything can be measured again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from wardround.catalogue import Price
from wardround.errors import RunFailed
from wardround.load.measures import Measured, Slo, Window
from wardround.load.records import Record, read_records

RESULT_FILE = "result.json"
FORMAT = 1
_NS = 1e9
_OPTIONS = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS


@dataclass(frozen=True, slots=True)
class Second:
    """One second of a test, counted from its start: what was due, what ended, how long the first tokens took (s)."""

    second: int
    scheduled: int
    succeeded: int
    failed: int
    output_tokens: int
    in_flight: int
    ttft_p50_s: float | None
    ttft_p99_s: float | None


@dataclass(frozen=True, slots=True)
class Cost:
    """US dollars: per hour at the measured throughput, per million output tokens, per 1,000 requests."""

    usd_per_hour: float
    usd_per_million_output_tokens: float | None
    usd_per_1000_requests: float | None


@dataclass(frozen=True, slots=True)
class LoadResult:
    """A load test of one model. `about` holds what it was: model, address without secrets, shape, workload, seed, …"""

    about: dict[str, Any]
    slo: Slo
    window: dict[str, Any]
    measured: dict[str, Any]
    server: dict[str, Any] | None
    cost: dict[str, Any] | None
    seconds: list[dict[str, Any]]
    steps: list[dict[str, Any]] = field(default_factory=list)
    knee: dict[str, Any] | None = None


def to_file(result: LoadResult, folder: Path) -> Path:
    """Write a result into `folder` and return the file's path."""
    path = folder / RESULT_FILE
    path.write_bytes(orjson.dumps({"format": FORMAT, **asdict(result)}, option=_OPTIONS) + b"\n")
    path.chmod(0o600)
    return path


def as_json(results: Sequence[LoadResult]) -> bytes:
    """Results as a list in JSON, for programs."""
    return orjson.dumps([asdict(result) for result in results], option=_OPTIONS) + b"\n"


def from_file(path: Path) -> LoadResult:
    """A result that was written; `path` is the file or its folder. Raises `RunFailed` for anything else."""
    path = path / RESULT_FILE if path.is_dir() else path
    try:
        content = orjson.loads(path.read_bytes())
        if content.pop("format") != FORMAT:
            raise ValueError("another version's")
        content["slo"] = Slo(**content["slo"])
        return LoadResult(**content)
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise RunFailed(f"{path} holds no load test's result: {error}") from error


def records_beside(path: Path) -> list[Record]:
    """The raw records of a result, in the order of their scheduling."""
    folder = path if path.is_dir() else path.parent
    found = [one for file in sorted(folder.glob("records-*.jsonl")) for one in read_records(file)]
    return sorted(found, key=lambda one: one.scheduled_ns)


def cost_of(price: Price | None, measured: Measured) -> Cost | None:
    """What the measured throughput costs; None without a price.

    Tokens of failed requests are not in it: no server says how many it made of them.
    """
    if price is None or not measured.requests_per_s:
        return None
    seconds = measured.window_s
    prompt_per_hour = measured.prompt_tokens / seconds * 3600
    output_per_hour = measured.output_tokens / seconds * 3600
    usd = price.hour + (prompt_per_hour * price.input + output_per_hour * price.output) / 1e6
    return Cost(
        usd_per_hour=usd,
        usd_per_million_output_tokens=usd / output_per_hour * 1e6 if output_per_hour else None,
        usd_per_1000_requests=usd / (measured.requests_per_s * 3600) * 1000,
    )


def by_second(records: Sequence[Record], start_ns: int) -> list[Second]:
    """The course of a test, second by second."""
    if not records:
        return []
    length = max(int((max(one.done_ns, one.scheduled_ns) - start_ns) / _NS) for one in records) + 1
    scheduled, succeeded, failed, tokens, change = (np.zeros(length + 1, dtype=np.int64) for _ in range(5))
    waits: dict[int, list[float]] = {}
    for one in records:
        begun = max(0, int((one.scheduled_ns - start_ns) / _NS))
        ended = max(begun, int((one.done_ns - start_ns) / _NS))
        scheduled[begun] += 1
        (failed if one.failure else succeeded)[ended] += 1
        tokens[ended] += 0 if one.failure else one.output_tokens or 0
        change[begun] += 1
        change[min(ended + 1, length)] -= 1
        if one.first_token_ns and not one.failure:
            waits.setdefault(begun, []).append((one.first_token_ns - one.scheduled_ns) / _NS)
    flying = np.cumsum(change)
    return [
        Second(
            second=second,
            scheduled=int(scheduled[second]),
            succeeded=int(succeeded[second]),
            failed=int(failed[second]),
            output_tokens=int(tokens[second]),
            in_flight=int(flying[second]),
            ttft_p50_s=float(np.percentile(waits[second], 50)) if second in waits else None,
            ttft_p99_s=float(np.percentile(waits[second], 99)) if second in waits else None,
        )
        for second in range(length)
    ]


def window_of(window: Window, start_ns: int, warmup_s: float, cut_s: float) -> dict[str, Any]:
    """The steady window as it stands in a result: seconds from the start, and what was cut off at both ends."""
    return {
        "from_s": (window.from_ns - start_ns) / _NS,
        "to_s": (window.to_ns - start_ns) / _NS,
        "warmup_cut_s": warmup_s,
        "rampdown_cut_s": cut_s,
    }
