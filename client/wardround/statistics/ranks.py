"""How sure an order of models is: their ranks over the resamples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wardround.statistics.resampling import Floats, Resampled


@dataclass(frozen=True, slots=True, eq=False)
class Ranks:
    """The share of resamples in which each of k models takes each rank, and in which it stands before each other.

    `ranks`, shape (k, k): model by rank, the first being the highest value; rows and columns sum to 1.
    `before`, shape (k, k): row before column, 1/2 on the diagonal. Models that tie share the ranks they tie for.
    """

    ranks: Floats
    before: Floats


def rank_stability(drawn: Resampled, places: Sequence[int]) -> Ranks | None:
    """The ranks of the statistics at `places`, higher being better; None if no resample defines them all.

    These are shares of resamples of the same samples, not probabilities that a model is the best: of two equal models
    either comes first in anything from few to nearly all resamples, depending on the samples at hand.
    """
    draws = drawn.draws[:, list(places)]
    draws = draws[~np.isnan(draws).any(axis=1)]
    resamples, models = draws.shape
    if not resamples or not models:
        return None
    before, ranks = np.zeros((models, models)), np.zeros((models, models))
    positions = np.arange(models)
    for model, values in enumerate(draws.T):
        above = (draws > values[:, np.newaxis]).sum(axis=1)
        tied = (draws == values[:, np.newaxis]).sum(axis=1)
        # Tied models get equal parts of the ranks from the first free one on.
        shared = (positions >= above[:, np.newaxis]) & (positions < (above + tied)[:, np.newaxis])
        ranks[model] = (shared / tied[:, np.newaxis]).mean(axis=0)
        ahead = (draws < values[:, np.newaxis]).mean(axis=0)
        before[model] = ahead + (draws == values[:, np.newaxis]).mean(axis=0) / 2
    return Ranks(ranks, before)
