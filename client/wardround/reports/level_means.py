"""The papers' level means of a pair: a mean over tasks and metrics, resampled and swapped as one statistic.

Only of cells scored by one of the papers' own profiles, of each task's own arm, and where all metrics are there for
both models: see `aggregates`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wardround.reports.aggregates import LEVEL_TASKS, TASK_METRICS
from wardround.reports.published import OUR_NAMES
from wardround.reports.same_samples import Floats, Mask, SameSamples, Scored, first_column, swappable
from wardround.scoring import Sums
from wardround.statistics import Resampled


@dataclass(frozen=True, slots=True, eq=False)
class Paired:
    """Two cells of a task on common ground: `mask` tells which samples both have answered."""

    ground: SameSamples
    first: Scored
    second: Scored
    mask: Mask


@dataclass(frozen=True, slots=True, eq=False)
class LevelPair:
    """What a level's mean of two models is made of: its cells, and each metric with its share of the mean.

    `parts` are (place in `pairs`, places of the two registered statistics, share).
    """

    level: int
    pairs: tuple[Paired, ...]
    parts: tuple[tuple[int, tuple[int, int], float], ...]


def level_pair(level: int, pairs: Sequence[Paired]) -> LevelPair | None:
    """The level's mean over `pairs`, one of each task; None where the papers' mean does not apply."""
    used: dict[str, list[int]] = {}
    for number, one in enumerate(pairs):
        used.setdefault(one.first.task.name, []).append(number)
    if not all(one.first.profile.startswith("clue-") for one in pairs):
        return None
    parts: list[tuple[int, tuple[int, int], float]] = []
    for name in LEVEL_TASKS[level]:
        metrics = TASK_METRICS[name]
        for metric in metrics:
            task, ours = OUR_NAMES[name, metric]
            # Two uses of one task (two files, say) have no one value.
            if len(used.get(task, ())) != 1:
                return None
            (number,) = used[task]
            both = _sourced(pairs[number], ours)
            if both is None:
                return None
            parts.append((number, both, 1 / len(LEVEL_TASKS[level]) / len(metrics)))
    kept = sorted({number for number, *_ in parts})
    places = {number: place for place, number in enumerate(kept)}
    return LevelPair(
        level,
        tuple(pairs[number] for number in kept),
        tuple((places[number], both, share) for number, both, share in parts),
    )


def _sourced(one: Paired, metric: str) -> tuple[int, int] | None:
    """The places of both models' values, under the exact name or the only source that both have."""
    names = [metric] if metric in one.first.values and metric in one.second.values else []
    names = names if _defined(one, names) else []
    if not names:
        named = set(one.first.values) & set(one.second.values)
        names = sorted(name for name in named if name.startswith(f"{metric}["))
    if len(names) != 1 or not _defined(one, names):
        return None
    (name,) = names
    return one.ground.place(one.first, name, one.mask), one.ground.place(one.second, name, one.mask)


def _defined(one: Paired, names: Sequence[str]) -> bool:
    return all(
        not np.isnan(one.ground.values(side, name, one.mask)).all()
        for name in names
        for side in (one.first, one.second)
    )


def level_draws(level: LevelPair, drawn: Mapping[int, Resampled]) -> Resampled:
    """The level's means of the first and of the second, from the tasks' draws (by the `id` of their ground)."""
    tasks = [drawn[id(one.ground)] for one in level.pairs]
    draws = np.zeros((len(tasks[0].draws), 2))
    values = np.zeros(2)
    for number, both, share in level.parts:
        draws += share * tasks[number].draws[:, list(both)]
        values += share * tasks[number].values[list(both)]
    return Resampled(values, draws, fewest_cases(level))


def fewest_cases(level: LevelPair) -> int:
    """The independent cases of the level's smallest task: a mean is known no better than the worst known of its parts.

    Twenty patients do not become as many as the questions of the tasks beside them.
    """
    return min(one.ground.cases(one.mask) for one in level.pairs)


def level_sums(level: LevelPair) -> tuple[Sums, Sums]:
    """Both means as sums over the samples of all tasks together, for tests by swapping; see `level_cases`."""
    sizes = [len(one.ground.ids) for one in level.pairs]
    starts = np.cumsum([0, *sizes])
    own: list[tuple[slice, slice, tuple[Sums, Sums], float]] = []
    width = 0
    for number, both, share in level.parts:
        one = level.pairs[number]
        parts = swappable(one.ground.at(both[0]), one.ground.at(both[1]), one.ground.weights)
        assert parts is not None
        columns = slice(width, width + parts[0].columns.shape[1])
        own.append((slice(starts[number], starts[number + 1]), columns, parts, share))
        width = columns.stop
    first, second = (_stacked(own, side, (sum(sizes), width)) for side in (0, 1))
    return first, second


def _stacked(own: Sequence[tuple[slice, slice, tuple[Sums, Sums], float]], side: int, shape: tuple[int, int]) -> Sums:
    columns = np.zeros(shape)
    for rows, place, parts, _ in own:
        columns[rows, place] = parts[side].columns
    if all(parts[side].of is first_column for _, _, parts, _ in own):
        # A sum of sums is one sum: a single column is much quicker to swap.
        shares = np.array([share for *_, share in own])
        return Sums((columns @ shares)[:, np.newaxis], first_column)

    def mean(totals: Floats) -> Floats:
        found: Floats = np.zeros(len(totals))
        for _, place, parts, share in own:
            found += share * parts[side].of(totals[:, place])
        return found

    return Sums(columns, mean)


def level_cases(level: LevelPair) -> tuple[Floats, Sequence[Hashable] | None]:
    """The weights and clusters of the samples of all tasks together, as they stand in `level_sums`.

    A case that several tasks share (a patient of LongHealth) is one cluster: it is swapped in all of them at once.
    """
    return np.concatenate([one.ground.weights for one in level.pairs]), _cases_of_all(level)


def _cases_of_all(level: LevelPair) -> list[tuple[str, str]]:
    cases = []
    for one in level.pairs:
        cases += [(one.ground.family, case) for case in one.ground.clusters or one.ground.ids]
    return cases
