"""The options of `wardround load test`: as they were given, and what they say of the shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from wardround.errors import WrongUse
from wardround.load.shape import Shape

_Kind = Literal["constant", "poisson", "gamma", "ramp", "closed", "trace"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of `wardround load test`, as they were given."""

    models: Sequence[str]
    base_url: str | None
    served_as: str | None
    key_env: str | None
    study: Path | None
    tasks: Sequence[str]
    prompts: Path | None
    synthetic: str | None
    replay: Path | None
    shape: str | None
    rate: float | None
    to_rate: float | None
    burstiness: float
    users: int
    think: float
    pace: float
    duration: float
    warmup: float | None
    cut: float
    slo: str | None
    sweep: bool
    workers: int
    max_tokens: int
    timeout: float
    seed: int
    metrics: Sequence[str]
    sensitivity: str | None
    attested: bool
    at_once: bool
    out: Path | None


def shape_of(wanted: Wanted, times_s: Sequence[float]) -> Shape:
    """The load shape; `times_s` are those of a trace or a replay. Raises `WrongUse` where options contradict."""
    kind = wanted.shape or ("closed" if wanted.users else "trace" if times_s and wanted.rate is None else "constant")
    if kind not in get_args(_Kind):
        raise WrongUse(f"--shape {kind!r} is none of {', '.join(get_args(_Kind))}")
    if wanted.sweep and kind not in ("constant", "poisson", "gamma"):
        raise WrongUse("a sweep goes through rates: --shape constant, poisson or gamma")
    if kind == "trace" and not times_s:
        raise WrongUse("--shape trace needs times: --prompts with `at_s`, or --replay")
    if kind == "closed" and not wanted.users:
        raise WrongUse("--shape closed needs --users")
    if kind == "ramp" and wanted.to_rate is None:
        raise WrongUse("--shape ramp needs --to-rate")
    return Shape(
        kind=cast(_Kind, kind),
        duration_s=wanted.duration if kind != "trace" else max(times_s) - min(times_s),
        rate_rps=1.0 if wanted.rate is None else wanted.rate,
        to_rps=wanted.to_rate or 0.0 if kind == "ramp" else 0.0,
        burstiness=wanted.burstiness,
        users=wanted.users,
        think_s=wanted.think,
        times_s=tuple(times_s) if kind == "trace" else (),
        pace=wanted.pace,
    )
