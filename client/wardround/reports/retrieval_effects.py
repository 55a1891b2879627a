"""What evidence changed, on the same samples: arm against arm, and for a pair of models the difference of the two.

Arms are compared as `wardround compare` does it; here stand its figures for arms alone, their p-values adjusted over
all that it compares. Of a run of baselines alone it compares the arms of the one that reads what it is shown.

    difference in differences    (A with evidence − A without) − (B with − B without), A the first model of a pair (the
                                 biomedical one) and B its counterpart, over the samples that all four cells have
                                 answered: above 0, A gains more by evidence or loses less. The interval is of paired
                                 resamples of whole clusters;
                                 p is that of a swap test of the two models' gains, adjusted after Holm over all rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wardround.errors import WrongUse
from wardround.journal import Cell, Journal
from wardround.reports.comparing import compare_run
from wardround.reports.comparison import Comparison, Comparisons
from wardround.reports.comparison_tables import points, probability, signed_interval
from wardround.reports.numbers import ABSENT, number, percent
from wardround.reports.same_samples import Mask, SameSamples, Scored, narrowed, read_cell
from wardround.reports.table import aligned
from wardround.scoring import mean_of
from wardround.statistics import RESAMPLES, Difference, difference_in_differences, few_discordant, holm, swap_tests

_ARMS = (
    *("model", "task", "arm", "against", "metric", "n", "value", "other", "difference", "95 % interval"),
    *("p", "p (Holm)", "gained", "lost", "churn %", "verdict"),
)
_PAIRS = (
    *("pair", "task", "arm", "against", "metric", "n", "first gains", "second gains", "difference in differences"),
    *("95 % interval", "p", "p (Holm)"),
)
_WORDS = {"model", "task", "arm", "against", "metric", "verdict", "pair"}
SEED = 0


@dataclass(frozen=True, slots=True)
class Interaction:
    """What an arm's evidence does more to the first model of a pair than to the second, on one task's first metric.

    `n` samples were answered by all four cells; `first` and `second` are the two models' own gains over `against`.
    `p_adjusted` is Holm's over all interactions of the run. Shares from 0 to 1.
    """

    pair: tuple[str, str]
    task: str
    arm: str
    against: str
    metric: str
    n: int
    first: float | None
    second: float | None
    difference: Difference | None
    p: float | None
    p_adjusted: float | None = None


def what_evidence_changed(journal: Journal, profile: str | None = None) -> list[str]:
    """Both tables; empty where a run has no two arms that differ in their evidence alone."""
    if len({cell.arm for cell in journal.cells()}) < 2:
        return []
    try:
        made = compare_run(journal, profile=profile)
    except WrongUse:
        return []
    arms = [one for one in made.comparisons if one.kind == "arms" and one.level is None]
    if not arms:
        return []
    return [*_of_arms(arms, made), *_of_pairs(interactions(journal, made, profile))]


def _asked(manifest: Mapping[str, Any], cells: Sequence[Cell]) -> set[str]:
    """The models that are no baselines."""
    rows = manifest.get("study", {}).get("models", ())
    return {cell.model for cell in cells} - {row["name"] for row in rows if row.get("group") == "baseline"}


def _of_arms(arms: Sequence[Comparison], made: Comparisons) -> list[str]:
    rows = [
        (
            *(one.first.model, one.task, one.first.arm, one.second.arm, one.metric, f"{one.n:,}"),
            *(percent(one.first.value), percent(one.second.value)),
            *(points(one.difference), signed_interval(one.low, one.high)),
            *(probability(one.p), probability(one.p_adjusted)),
            *((f"{one.tally.wins:,}", f"{one.tally.losses:,}") if one.tally else (ABSENT, ABSENT)),
            *(percent(one.tally.discordance if one.tally else None), one.words),
        )
        for one in arms
    ]
    title = (
        f"Arm against arm, the same samples: points, {number(made.resamples)} paired resamples of whole clusters;"
        f" p (Holm) over the {number(made.family)} tests of wardround compare:"
    )
    return [title, "", *aligned(_ARMS, rows, {*_ARMS} - _WORDS)]


def _of_pairs(found: Sequence[Interaction]) -> list[str]:
    if not found:
        return []
    rows = [
        (
            *(f"{one.pair[0]} / {one.pair[1]}", one.task, one.arm, one.against, one.metric, f"{one.n:,}"),
            *(points(one.first), points(one.second)),
            points(one.difference.value if one.difference else None),
            signed_interval(one.difference.low, one.difference.high) if one.difference else ABSENT,
            *(probability(one.p), probability(one.p_adjusted)),
        )
        for one in found
    ]
    title = (
        "Does evidence change the first model of a pair otherwise than the second? Difference in differences, points;"
        f" above 0 the first gains more or loses less; p (Holm) over the {number(len(found))} rows:"
    )
    return ["", title, "", *aligned(_PAIRS, rows, {*_PAIRS} - _WORDS)]


def interactions(journal: Journal, made: Comparisons, profile: str | None = None) -> list[Interaction]:
    """The differences in differences of a run's pairs of models, for all arms that `made` compares of the first.

    Baselines are no counterparts. Raises what `compare_run` raises.
    """
    asked = _asked(journal.manifest(), journal.cells())
    pairs = dict.fromkeys(
        (one.first.model, one.second.model) for one in made.comparisons if one.kind == "models" and one.level is None
    )
    arms = [one for one in made.comparisons if one.kind == "arms" and one.level is None]
    of = {(cell.model, cell.task, cell.arm): cell for cell in journal.cells()}
    read: dict[int, Scored] = {}

    def scored(cell: Cell) -> Scored:
        if cell.id not in read:
            read[cell.id] = read_cell(journal, cell, profile or cell.profile)
        return read[cell.id]

    found = []
    for first, second in pairs:
        if not {first, second} <= asked:
            continue
        for one in arms:
            wanted = [(model, one.task, arm) for model in (first, second) for arm in (one.first.arm, one.second.arm)]
            if one.first.model != first or not all(name in of for name in wanted):
                continue
            four = [scored(of[name]) for name in wanted]
            # A metric of two sources is two metrics.
            metric = four[0].metric.name
            if all(side.metric.name == metric and side.has(metric) for side in four):
                found.append(_interaction((first, second), four))
    adjusted = holm([one.p for one in found])
    return [replace(one, p_adjusted=p) for one, p in zip(found, adjusted, strict=True)]


def _interaction(pair: tuple[str, str], four: Sequence[Scored]) -> Interaction:
    """Of the cells (first with, first without, second with, second without)."""
    ground = SameSamples(four)
    metric = four[0].metric.name
    mask = np.logical_and.reduce([ground.spread(one, one.answered) for one in four])
    places = [ground.place(one, metric, mask) for one in four]
    drawn = narrowed(ground.draw(RESAMPLES, SEED), max(1, ground.cases(mask)))
    values = [float(drawn.values[place]) for place in places]
    gains = [None if np.isnan(values[at] - values[at + 1]) else values[at] - values[at + 1] for at in (0, 2)]
    difference = difference_in_differences(drawn, (places[0], places[1]), (places[2], places[3]))
    both = _gains(ground, four, metric, mask)
    if both is not None and drawn.clusters > 1:
        # Where hardly any case differs percentiles are too narrow, as for two values. A gain lies between −1 and 1.
        few = few_discordant(*both, ground.clusters, bound=2.0)
        difference = replace(few, value=difference.value) if few and difference else difference
    return Interaction(
        pair=pair,
        task=four[0].cell.task,
        arm=four[0].cell.arm,
        against=four[1].cell.arm,
        metric=metric,
        n=int(mask.sum()),
        first=gains[0],
        second=gains[1],
        difference=difference,
        p=_swapped(ground, both),
    )


def _gains(
    ground: SameSamples, four: Sequence[Scored], metric: str, mask: Mask
) -> tuple[list[float | None], list[float | None]] | None:
    """Both models' gains sample by sample, None where one of the four has no value; None if the metric has none."""
    if any(metric not in one.values for one in four):
        return None
    with_first, without_first, with_second, without_second = (ground.values(one, metric, mask) for one in four)
    gains = (with_first - without_first, with_second - without_second)
    there = ~np.isnan(gains[0] + gains[1])
    first, second = (
        [float(value) if known else None for value, known in zip(one, there, strict=True)] for one in gains
    )
    return (first, second) if there.any() else None


def _swapped(ground: SameSamples, gains: tuple[list[float | None], list[float | None]] | None) -> float | None:
    """How likely so large a difference of the two gains is if it did not matter whose gain is whose."""
    if gains is None:
        return None
    first, second = map(mean_of, gains)
    (p,) = swap_tests([(first, second)], ground.weights, ground.clusters, seed=ground.seed(SEED))
    return p
