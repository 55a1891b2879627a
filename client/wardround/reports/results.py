"""From scores in the journal to results: value, 95 % interval and counts of every metric of every cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from wardround.errors import JournalError
from wardround.journal import Answered, Cell, Journal
from wardround.running.marking import marked
from wardround.scoring import mean_of
from wardround.statistics import bootstrap, value_of, wilson
from wardround.task import Metric, Rules, Sample, Statistic, load_task


@dataclass(frozen=True, slots=True)
class Result:
    """One metric of one cell, as shares from 0 to 1.

    `n` answered samples enter `value` (None if it is undefined), `parsed` of them could be read for this
    metric, `failed` samples of the cell have no reply and enter nothing.
    """

    model: str
    task: str
    arm: str
    profile: str
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    parsed: int
    failed: int


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of a cell's samples.

    `failed` counts kinds of failure ("not_asked" among them), `cut` the prompts that had to do without evidence.
    """

    asked: int
    answered: int
    truncated: int
    empty: int
    unparsed: int
    failed: Counter[str]
    cut: int = 0


@dataclass(frozen=True, slots=True)
class CellResults:
    """A cell with its counts and its metrics' results; `task` is the task's own name, whatever its label."""

    cell: Cell
    counts: Counts
    results: tuple[Result, ...]
    task: str = ""


@dataclass(slots=True)
class _Open:
    """A metric whose value is known and whose interval is still to be drawn."""

    metric: Metric
    statistic: Statistic
    value: float | None
    n: int
    parsed: int
    interval: tuple[float, float] | None = None


@dataclass(slots=True)
class _Seen:
    """What is kept of a cell's answers: all of them with their samples would be most of a report's memory.

    `named` holds each answer's cluster and sample, `answers` and `samples` only what a batch metric is to see.
    """

    rows: list[dict[str, float | None]] = field(default_factory=list)
    named: list[tuple[str | None, str]] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    truncated: int = 0
    empty: int = 0
    cut: int = 0
    first_position: int | None = None


@dataclass(slots=True)
class _Scored:
    cell: Cell
    profile: str
    task: str
    counts: Counts
    weights: NDArray[np.float64]
    clusters: tuple[str, ...] | None
    open: list[_Open] = field(default_factory=list)


def results_of(journal: Journal, profile: str | None = None) -> list[CellResults]:
    """The results of a run under `profile` (each cell's own if None), in the study's order.

    Raises `JournalError` if the run was not scored under it.
    """
    check_scored(journal, profile)
    scored = [_scored(journal, cell, profile or cell.profile) for cell in journal.cells()]
    _draw_intervals(scored)
    return [
        CellResults(one.cell, one.counts, tuple(_result(one, each) for each in one.open), one.task) for one in scored
    ]


def check_scored(journal: Journal, profile: str | None) -> None:
    """Raise `JournalError` if the run was not scored under `profile`; None stands for each cell's own."""
    if profile is not None and profile not in journal.scored_profiles():
        raise JournalError(
            f"{journal.folder} is not scored under {profile!r}; first: wardround score {journal.folder}"
            f" --profile {profile}"
        )


def _scored(journal: Journal, cell: Cell, profile: str) -> _Scored:
    task = load_task(cell.task_file, cell.settings)
    rules = task.rules(profile)
    seen = _seen(journal, cell, profile, rules)
    weights = np.ones(len(seen.rows))
    if rules.first_counted_twice and seen.first_position == 0:
        weights[0] = 2.0
    one = _Scored(cell, profile, task.name, _counts(seen, rules), weights, _clusters(seen))
    metrics = with_sources(rules.metrics, seen.rows)
    statistics = _statistics(seen, rules, metrics)
    for metric in metrics:
        one.open.append(_open(metric, statistics[metric.name], seen.rows, weights))
    return one


def _seen(journal: Journal, cell: Cell, profile: str, rules: Rules) -> _Seen:
    scores = journal.scores(cell.id, profile)
    seen = _Seen()
    for answer in journal.answers(cell.id):
        seen.cut += bool(answer.cut)
        if answer.reply is None:
            seen.failed[answer.failure or "not_asked"] += 1
            continue
        if not seen.rows:
            seen.first_position = answer.position
        seen.rows.append(_complete(scores.get(answer.position, {}), cell, rules, answer))
        seen.named.append((answer.sample.cluster, answer.sample.id))
        seen.truncated += answer.reply.finish_reason == "length"
        seen.empty += not answer.reply.text.strip()
        if rules.batch:
            seen.answers.append(answer.reply.text)
            seen.samples.append(answer.sample)
    return seen


def _complete(scores: dict[str, float | None], cell: Cell, rules: Rules, answer: Answered) -> dict[str, float | None]:
    """An answer that came after the last scoring (a run that was killed, or went on) is scored here and now."""
    return scores if rules.metrics[0].parsed in scores else marked(cell.task, rules, answer) | scores


def with_sources(metrics: Sequence[Metric], rows: Sequence[dict[str, float | None]]) -> list[Metric]:
    """Put what services gave in the place of the metrics they give: "bertscore_f1[model]" for "bertscore_f1".

    What a service gave that no metric of the task announces (a judge's verdicts) comes last.
    """
    sourced = sorted({name for row in rows for name in row if "[" in name})
    found: list[Metric] = []
    for metric in metrics:
        given = [name for name in sourced if metric.by_service and name.startswith(f"{metric.name}[")]
        found += [replace(metric, name=name) for name in given] or [metric]
    known = {metric.name for metric in found}
    return found + [Metric(name) for name in sourced if name not in known]


def _open(
    metric: Metric, statistic: Statistic, rows: Sequence[dict[str, float | None]], weights: NDArray[np.float64]
) -> _Open:
    counted = [
        (row, weight)
        for row, weight in zip(rows, weights, strict=True)
        if metric.kind == "batch" or row.get(metric.name) is not None
    ]
    parsed = sum(weight for row, weight in counted if row.get(metric.parsed))
    defined = sum(weight for _, weight in counted)
    value = value_of(statistic, weights) if rows else None
    return _Open(metric, statistic, value, int(defined), int(parsed))


def _statistics(seen: _Seen, rules: Rules, metrics: Sequence[Metric]) -> dict[str, Statistic]:
    statistics: dict[str, Statistic] = {
        metric.name: mean_of([row.get(metric.name) for row in seen.rows])
        for metric in metrics
        if metric.kind != "batch"
    }
    if rules.batch:
        statistics |= rules.batch(seen.answers, seen.samples)
    return statistics


def _counts(seen: _Seen, rules: Rules) -> Counts:
    return Counts(
        asked=len(seen.rows) + seen.failed.total() - seen.failed["not_asked"],
        answered=len(seen.rows),
        truncated=seen.truncated,
        empty=seen.empty,
        unparsed=sum(not row.get(rules.metrics[0].parsed) for row in seen.rows),
        failed=seen.failed,
        cut=seen.cut,
    )


def _clusters(seen: _Seen) -> tuple[str, ...] | None:
    """The samples' clusters; None if none is named, and a sample without one is its own."""
    if all(cluster is None for cluster, _ in seen.named):
        return None
    return tuple(cluster or f"sample {sample}" for cluster, sample in seen.named)


def _draw_intervals(scored: Sequence[_Scored]) -> None:
    """Cells over the same samples share their resamples: faster, and models are drawn alike."""
    alike: dict[tuple[object, ...], list[_Open]] = {}
    for one in scored:
        for each in one.open:
            if each.value is None:
                continue
            if each.metric.kind == "proportion" and one.clusters is None:
                each.interval = wilson(each.value * each.n, each.n)
            elif each.metric.kind == "proportion" and each.value in (0.0, 1.0) and one.clusters:
                # All right or all wrong, resampling sees no spread; clusters are the cases that are independent.
                independent = len(set(one.clusters))
                each.interval = wilson(each.value * independent, independent)
            else:
                alike.setdefault((one.weights.tobytes(), one.clusters), []).append(each)
    for (weights, clusters), group in alike.items():
        intervals = bootstrap(
            [each.statistic for each in group],
            np.frombuffer(weights, dtype=np.float64),  # type: ignore[call-overload]
            clusters,  # type: ignore[arg-type]
            expanded=True,
        )
        for each, drawn in zip(group, intervals, strict=True):
            # Where every resample gives the same, nothing is known of the spread; a width of 0 would say the contrary.
            each.interval = None if drawn and drawn[0] == drawn[1] else drawn


def _result(one: _Scored, each: _Open) -> Result:
    low, high = each.interval or (None, None)
    return Result(
        model=one.cell.model,
        task=one.cell.task,
        arm=one.cell.arm,
        profile=one.profile,
        metric=each.metric.name,
        value=each.value,
        ci_low=low,
        ci_high=high,
        n=each.n,
        parsed=each.parsed,
        failed=one.counts.failed.total(),
    )
