"""The cells of one task on common ground: every cell's scores over the union of the task's samples.

So one matrix of resamples serves all pairs of a task: a pair's statistics sum over the samples that both have answered
and pass over the others. What is read of the journal are ids and scores; answers only where they were not scored yet,
or where a metric must see them all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.journal import Cell, Journal
from wardround.journal.records import ANSWERS
from wardround.reports.results import with_sources
from wardround.running.marking import marked
from wardround.scoring import Sums, ratio
from wardround.statistics import Resampled, resample
from wardround.task import Metric, Rules, Statistic, Task, load_task

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A cell as it was read: its samples in their order, which were answered, and the scores.

    `values`, by metric, are NaN where a sample has no value; a metric that must see all answers stands in `batches`,
    over the answered samples alone. `parsed` tells of the first metric which answers could be read; `cut` counts
    shortened prompts.
    """

    cell: Cell
    task: Task
    rules: Rules
    profile: str
    ids: list[str]
    clusters: list[str | None]
    answered: Mask
    parsed: Mask
    cut: int
    metrics: tuple[Metric, ...]
    values: Mapping[str, Floats]
    batches: Mapping[str, Statistic]

    @property
    def metric(self) -> Metric:
        """The task's first."""
        return self.metrics[0]

    def has(self, metric: str) -> bool:
        """Whether it was read and is more than announced."""
        return metric in self.values or metric in self.batches


def read_cell(journal: Journal, cell: Cell, profile: str, *, every_metric: bool = False) -> Scored:
    """Read a cell's scores under `profile`: of the first metric, or of all.

    Raises `TaskError` if the task is gone, or fails on an answer that is not scored yet.
    """
    task = load_task(cell.task_file, cell.settings)
    rules = task.rules(profile)
    asked = list(
        journal.read(
            "SELECT asks.position, samples.sample, samples.cluster, replies.request IS NOT NULL, asks.cut IS NOT NULL"
            " FROM asks JOIN samples ON samples.id = asks.sample"
            f" LEFT JOIN replies ON replies.request = asks.request AND {ANSWERS}"
            " WHERE asks.cell = ? ORDER BY asks.position",
            (cell.id,),
        )
    )
    answered = np.array([row[3] for row in asked], dtype=np.bool_)
    rows = _scores(journal, cell, profile, rules, [row[0] for row in asked], answered, every_metric=every_metric)
    metrics = tuple(with_sources(rules.metrics, rows))
    single = [metric.name for metric in (metrics if every_metric else metrics[:1]) if metric.kind != "batch"]
    return Scored(
        cell=cell,
        task=task,
        rules=rules,
        profile=profile,
        ids=[row[1] for row in asked],
        clusters=[row[2] for row in asked],
        answered=answered,
        parsed=np.array([bool(row.get(metrics[0].parsed)) for row in rows], dtype=np.bool_) & answered,
        cut=sum(row[4] for row in asked),
        metrics=metrics,
        # None becomes NaN.
        values={name: np.array([row.get(name) for row in rows], dtype=np.float64) for name in single},
        batches=_batches(journal, cell, rules) if metrics[0].kind == "batch" else {},
    )


def _scores(
    journal: Journal,
    cell: Cell,
    profile: str,
    rules: Rules,
    positions: Sequence[int],
    answered: Mask,
    *,
    every_metric: bool,
) -> list[dict[str, float | None]]:
    """A row of scores a sample, empty without a reply; an answer that is not scored yet is scored here and now."""
    first = rules.metrics[0]
    places = {position: place for place, position in enumerate(positions)}
    rows: list[dict[str, float | None]] = [{} for _ in positions]
    query = "SELECT position, metric, value FROM scores WHERE cell = ? AND profile = ?"
    wanted: list[Any] = [cell.id, profile]
    # What a service gives is named after its source, which only the scores tell.
    if not every_metric and not first.by_service:
        query += " AND metric IN (?, ?)"
        wanted += [first.name, first.parsed]
    for position, metric, value in journal.read(query, wanted):
        if position in places:
            rows[places[position]][metric] = value
    if any(first.parsed not in row for row, replied in zip(rows, answered, strict=True) if replied):
        for answer in journal.answers(cell.id):
            row = rows[places[answer.position]]
            if answer.reply is not None and first.parsed not in row:
                rows[places[answer.position]] = marked(cell.task, rules, answer) | row
    return rows


def _batches(journal: Journal, cell: Cell, rules: Rules) -> Mapping[str, Statistic]:
    if rules.batch is None:
        return {}
    replied = [(one.reply.text, one.sample) for one in journal.answers(cell.id) if one.reply is not None]
    return rules.batch([text for text, _ in replied], [sample for _, sample in replied])


class SameSamples:
    """The cells of one task over the union of their samples, and the statistics that are to be resampled.

    `place` registers a statistic and says where it will stand in what `draw` gives. `family` names what has its cases
    in common with other tasks (LongHealth's three have their patients).
    """

    def __init__(self, cells: Sequence[Scored]) -> None:
        first = cells[0]
        self.family = first.task.family or first.cell.task
        self.ids = list(dict.fromkeys(sample for one in cells for sample in one.ids))
        self._index = {sample: place for place, sample in enumerate(self.ids)}
        self._places_of = {
            one.cell.id: np.array([self._index[sample] for sample in one.ids], dtype=np.intp) for one in cells
        }
        self.clusters = self._clusters_of(cells)
        self.weights = np.ones(len(self.ids))
        if first.rules.first_counted_twice and first.ids:
            self.weights[self._index[first.ids[0]]] = 2.0
        self._place_of: dict[tuple[int, str, bytes], int] = {}
        self._statistics: list[Statistic] = []

    @staticmethod
    def _clusters_of(cells: Sequence[Scored]) -> list[str] | None:
        """Who shares a cluster; None if none is named, and a sample without one is its own."""
        named: dict[str, str | None] = {}
        for one in cells:
            for sample, cluster in zip(one.ids, one.clusters, strict=True):
                named[sample] = named.get(sample) or cluster
        if not any(named.values()):
            return None
        return [cluster or f"sample {sample}" for sample, cluster in named.items()]

    def planned(self, one: Scored) -> Mask:
        """Which samples a cell was to answer, over the union."""
        mask = np.zeros(len(self.ids), dtype=np.bool_)
        mask[self._places_of[one.cell.id]] = True
        return mask

    def spread(self, one: Scored, flags: Mask) -> Mask:
        """Flags of a cell's samples, False where it has none of the union's."""
        mask = np.zeros(len(self.ids), dtype=np.bool_)
        mask[self._places_of[one.cell.id]] = flags
        return mask

    def values(self, one: Scored, metric: str, mask: Mask) -> Floats:
        """A metric's values over the union, NaN outside of `mask` and where a sample has none."""
        values = np.full(len(self.ids), np.nan)
        values[self._places_of[one.cell.id]] = one.values[metric]
        return np.where(mask, values, np.nan)

    def statistic(self, one: Scored, metric: str, mask: Mask) -> Statistic:
        """A metric of a cell over the samples in `mask`, all of which it has answered."""
        if metric in one.values:
            values = self.values(one, metric, mask)
            defined = ~np.isnan(values)
            return Sums(np.stack([np.where(defined, values, 0.0), defined.astype(np.float64)], axis=1), ratio)
        return self._of_all_answers(one, one.batches[metric], mask)

    def _of_all_answers(self, one: Scored, own: Statistic, mask: Mask) -> Statistic:
        places = self._places_of[one.cell.id][one.answered]
        if isinstance(own, Sums):
            columns = np.zeros((len(self.ids), own.columns.shape[1]))
            columns[places] = own.columns
            return Sums(columns * mask[:, np.newaxis], own.of)
        kept = mask[places]
        return lambda counts: own(counts[:, places] * kept)

    def place(self, one: Scored, metric: str, mask: Mask) -> int:
        """Register a statistic, once however often it is asked for, and return its place."""
        key = (one.cell.id, metric, mask.tobytes())
        if key not in self._place_of:
            self._place_of[key] = len(self._statistics)
            self._statistics.append(self.statistic(one, metric, mask))
        return self._place_of[key]

    def at(self, place: int) -> Statistic:
        """What was registered there."""
        return self._statistics[place]

    def cases(self, mask: Mask) -> int:
        """How many independent cases the samples in `mask` are."""
        if self.clusters is None:
            return int(mask.sum())
        return len({cluster for cluster, inside in zip(self.clusters, mask, strict=True) if inside})

    def seed(self, seed: int) -> int:
        """A seed of its own for each set of cases.

        Tasks with the same patients draw the same ones together; what has nothing in common is drawn apart.
        """
        cases = dict.fromkeys(self.clusters or self.ids)
        digest = hashlib.sha256("\n".join([str(seed), self.family, *cases]).encode()).digest()
        return int.from_bytes(digest[:8], "big")

    def draw(self, resamples: int, seed: int) -> Resampled:
        """Resample all that was registered, from one matrix of draws."""
        return resample(self._statistics, self.weights, self.clusters, resamples=resamples, seed=self.seed(seed))


def narrowed(drawn: Resampled, cases: int) -> Resampled:
    """The same draws for samples that are so few of the `cases` only: intervals are the wider for it."""
    return replace(drawn, clusters=cases)


def swappable(first: Statistic, second: Statistic, weights: Floats) -> tuple[Sums, Sums] | None:
    """Two statistics in the form that is the quickest to swap; None if they cannot be.

    Two means over the same samples have the same denominator after any swap: each is then the sum of one column.
    """
    if not isinstance(first, Sums) or not isinstance(second, Sums):
        return None
    if first.of is ratio and second.of is ratio and np.array_equal(first.columns[:, 1], second.columns[:, 1]):
        samples = float(weights @ first.columns[:, 1])
        if samples:
            return Sums(first.columns[:, :1] / samples, first_column), Sums(
                second.columns[:, :1] / samples, first_column
            )
    return first, second


def first_column(totals: Floats) -> Floats:
    """The first column's total."""
    found: Floats = totals[..., 0]
    return found
