"""A pair over its tasks, and the order of a task's models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wardround.reports.comparison import OWN_ARM, Comparison, Kind, Ranking, Standing
from wardround.reports.same_samples import SameSamples, Scored
from wardround.statistics import Finding, Resampled, rank_stability

# Differences that rounding alone makes.
_ROUNDING = 1e-12


def own_arms(cells: Sequence[tuple[str, str, str]]) -> dict[str, str]:
    """Each task's own arm of cells (task, arm, the profile's protocol): with the documents that the protocol shows.

    Without such cells the arm closed-book, and otherwise the task's first.
    """
    arms: dict[str, dict[str, str]] = {}
    for task, arm, protocol in cells:
        arms.setdefault(task, {})[arm] = protocol
    own = {}
    for task, theirs in arms.items():
        wanted = [*theirs.values(), "full", "closed-book", *theirs]
        own[task] = next(arm for arm in wanted if arm in theirs)
    return own


def standings_of(comparisons: Sequence[Comparison], own: Mapping[str, str]) -> tuple[Standing, ...]:
    """Wins, ties and losses of each pair over its tasks, in the order of the pairs."""
    over: dict[tuple[Kind, str, str, str, str], list[Comparison]] = {}
    for one in comparisons:
        if one.level is not None or one.difference is None:
            continue
        first, second = one.first, one.second
        same = one.kind == "models" and first.arm == own.get(one.task)
        arms = (OWN_ARM, OWN_ARM) if same else (first.arm, second.arm)
        over.setdefault((one.kind, first.model, arms[0], second.model, arms[1]), []).append(one)
    return tuple(_standing(*key, ones) for key, ones in over.items())


def _standing(
    kind: Kind, first_model: str, first_arm: str, second_model: str, second_arm: str, ones: Sequence[Comparison]
) -> Standing:
    differences = [one.difference for one in ones if one.difference is not None]
    higher = sum(value > _ROUNDING for value in differences)
    lower = sum(value < -_ROUNDING for value in differences)
    found = [one.finding for one in ones]
    return Standing(
        kind=kind,
        first_model=first_model,
        first_arm=first_arm,
        second_model=second_model,
        second_arm=second_arm,
        tasks=len(ones),
        higher=higher,
        equal=len(differences) - higher - lower,
        lower=lower,
        better=found.count(Finding.BETTER),
        worse=found.count(Finding.WORSE),
        non_inferior=found.count(Finding.NON_INFERIOR) + found.count(Finding.EQUIVALENT),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """The models of a task and arm whose order is to be drawn, with the places of their statistics."""

    ground: SameSamples
    task: str
    arm: str
    metric: str
    models: tuple[str, ...]
    places: tuple[int, ...]
    n: tuple[int, ...]

    def ranking(self, found: Resampled) -> Ranking | None:
        """The order and how sure it is in what its ground gave; None if no resample gives all of them a value."""
        values = found.values[list(self.places)]
        if np.isnan(values).any():
            return None
        # Equal values stay in the study's order.
        order = sorted(range(len(values)), key=lambda place: -values[place])
        ranks = rank_stability(found, [self.places[place] for place in order])
        if ranks is None:
            return None
        return Ranking(
            task=self.task,
            arm=self.arm,
            metric=self.metric,
            models=tuple(self.models[place] for place in order),
            values=tuple(float(values[place]) for place in order),
            n=tuple(self.n[place] for place in order),
            ranks=tuple(tuple(float(share) for share in row) for row in ranks.ranks),
            before=tuple(tuple(float(share) for share in row) for row in ranks.before),
        )


def ranked_of(grounds: Mapping[str, SameSamples], scored: Sequence[Scored]) -> list[Ranked]:
    """The tasks and arms of two models and more, each model over all that it has answered."""
    together: dict[tuple[str, str, str], list[Scored]] = {}
    for one in scored:
        if one.answered.any() and one.has(one.metric.name):
            together.setdefault((one.cell.task, one.cell.arm, one.metric.name), []).append(one)
    ranked = []
    for (task, arm, metric), ones in together.items():
        if len(ones) > 1:
            ground = grounds[task]
            masks = [ground.spread(one, one.answered) for one in ones]
            places = tuple(ground.place(one, metric, mask) for one, mask in zip(ones, masks, strict=True))
            n = tuple(int(ground.weights[mask].sum()) for mask in masks)
            ranked.append(Ranked(ground, task, arm, metric, tuple(one.cell.model for one in ones), places, n))
    return ranked
