"""What is measured of a pair: values, difference, interval and p, each task's pairs from one matrix of draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from wardround.reports.comparison import Kind, Ranking
from wardround.reports.level_means import LevelPair, Paired, level_cases, level_draws, level_sums
from wardround.reports.same_samples import narrowed, swappable
from wardround.reports.standings import Ranked
from wardround.statistics import Difference, Resampled, Tally, contrast, few_discordant, mcnemar, swap_tests, tally
from wardround.task import Statistic

MCNEMAR = "McNemar, exact"
MCNEMAR_OF_CLUSTERS = "McNemar, exact, clusters swapped"
SWAP = "swap test"
# The least p of so many swaps stays below what Holm asks of the smallest of as many tests.
SWAPS_A_TEST = 40
Values = list[float | None]


@dataclass(slots=True)
class Measured:
    """A comparison in the making: what it is of, where its statistics stand, and what was found so far.

    `sides` are both values a sample, None where the metric has none; `proportion` says that all of them are 0 or 1.
    """

    kind: Kind
    paired: Paired
    places: tuple[int, int] | None
    level: LevelPair | None = None
    difference: Difference | None = None
    values: tuple[float | None, float | None] = (None, None)
    test: str | None = None
    p: float | None = None
    sides: tuple[Values, Values] | None = None
    proportion: bool = False
    tally: Tally | None = None

    @property
    def parts(self) -> tuple[Paired, ...]:
        """The tasks it goes over: one, or a level's."""
        return self.level.pairs if self.level else (self.paired,)


def measure(opened: Sequence[Measured], ranked: Sequence[Ranked], resamples: int, seed: int) -> tuple[Ranking, ...]:
    """Measure all comparisons and order the models, a task's draws after the other's: they are large.

    Those that a level's mean needs are kept until all are made.
    """
    grounds = {id(one.ground): one.ground for one in ranked}
    grounds |= {id(one.paired.ground): one.paired.ground for one in opened if one.places}
    needed = {id(part.ground) for one in opened if one.level for part in one.parts}
    rankings, kept = [], {}
    for key, ground in grounds.items():
        drawn = ground.draw(resamples, seed)
        for one in opened:
            if one.places and id(one.paired.ground) == key:
                _take(one, narrowed(drawn, ground.cases(one.paired.mask)), one.places)
        rankings += [one.ranking(drawn) for one in ranked if id(one.ground) == key]
        if key in needed:
            kept[key] = drawn
    for one in opened:
        if one.level:
            _take(one, level_draws(one.level, kept), (0, 1))
    return tuple(one for one in rankings if one is not None)


def _take(one: Measured, draws: Resampled, places: tuple[int, int]) -> None:
    """Values, difference and interval."""
    one.values = (_number(draws.values[places[0]]), _number(draws.values[places[1]]))
    if draws.clusters < 2:
        first, second = one.values
        one.difference = None if first is None or second is None else Difference(first - second, None, None, None)
    else:
        one.difference = contrast(draws, places, (1.0, -1.0))
    one.sides = None if one.level else _sample_values(one.paired)
    if one.sides is None or one.difference is None:
        return
    one.proportion = one.paired.first.metric.kind == "proportion" and set().union(*one.sides) <= {0.0, 1.0, None}
    one.tally = tally(*one.sides)
    few = few_discordant(*one.sides, one.paired.ground.clusters) if draws.clusters > 1 else None
    if few is not None:
        one.difference = replace(few, value=one.difference.value)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _sample_values(paired: Paired) -> tuple[Values, Values] | None:
    """Both sides' values a sample, None where one has none; None where the metric knows no single samples."""
    name = paired.first.metric.name
    if name not in paired.first.values or name not in paired.second.values:
        return None
    first, second = (
        [_number(value) for value in paired.ground.values(side, name, paired.mask).tolist()]
        for side in (paired.first, paired.second)
    )
    return first, second


def test(opened: Sequence[Measured], swaps: int, seed: int) -> None:
    """The p-values: exact for proportions, by swapping for all else, together for the same samples."""
    alike: dict[tuple[int, ...], list[Measured]] = {}
    for one in opened:
        if one.difference is None:
            continue
        if one.proportion and one.sides is not None:
            clusters = one.paired.ground.clusters
            one.p = mcnemar(*one.sides, clusters)
            one.test = MCNEMAR_OF_CLUSTERS if clusters else MCNEMAR
        else:
            # A level's parts are more than one ground.
            alike.setdefault(tuple(id(part.ground) for part in one.parts), []).append(one)
    for ones in alike.values():
        ground, level = ones[0].paired.ground, ones[0].level
        weights, cases = level_cases(level) if level else (ground.weights, ground.clusters)
        both = [_swappable(one) for one in ones]
        found = swap_tests(both, weights, cases, swaps=swaps, seed=ground.seed(seed))
        for one, p in zip(ones, found, strict=True):
            one.p, one.test = p, None if p is None else SWAP


def _swappable(one: Measured) -> tuple[Statistic, Statistic]:
    if one.level is not None:
        return level_sums(one.level)
    assert one.places is not None, "what has a difference was registered"
    ground = one.paired.ground
    first, second = (ground.at(place) for place in one.places)
    return swappable(first, second, ground.weights) or (first, second)
