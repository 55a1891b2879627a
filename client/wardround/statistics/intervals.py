"""Intervals of one value: of a proportion by formula, of anything by resampling."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from wardround.statistics.quantiles import NORMAL, t_quantile
from wardround.statistics.resampling import RESAMPLES, Floats, resample
from wardround.task import Statistic

_Z_95 = NORMAL.inv_cdf(0.975)


def wilson(successes: float, n: float) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson 1927), without continuity correction; n must be positive."""
    share = successes / n
    z2 = _Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z_95 / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low = 0.0 if successes == 0 else float(centre - half)
    high = 1.0 if successes == n else float(centre + half)
    return low, high


def value_of(statistic: Statistic, weights: NDArray[np.float64]) -> float | None:
    """The statistic of the samples themselves, each counted `weights` times; None where it is undefined."""
    value = float(statistic(weights[np.newaxis, :])[0])
    return None if np.isnan(value) else value


def bootstrap(
    statistics: Sequence[Statistic],
    weights: NDArray[np.float64],
    clusters: Sequence[Hashable] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    expanded: bool = False,
) -> list[tuple[float, float] | None]:
    """95 % percentile intervals of several statistics over the same samples, from the same resamples.

    Whole clusters are drawn with replacement; without `clusters` each sample is its own. `weights`, shape
    (samples,), says how often a drawn sample counts. None where a statistic is undefined in every resample.
    `expanded` widens the interval as `percentiles` does for few clusters.
    """
    drawn = resample(statistics, weights, clusters, resamples=resamples, seed=seed)
    return [percentiles(draws, drawn.clusters if expanded else None) for draws in drawn.draws.T]


def percentiles(draws: Floats, clusters: int | None = None) -> tuple[float, float] | None:
    """The 95 % percentile interval of a statistic's draws, shape (resamples,); None where all are undefined.

    With `clusters`, the number of independent cases, the interval is the *expanded* one: the percentiles taken are
    those at which a normal bootstrap distribution, too narrow by √((n − 1) / n) and without regard to the variance
    being estimated, gives Student's interval: Φ(−√(n / (n − 1)) t) instead of 2.5 %. At n = 20 these are 1.6 % and
    98.4 %, at 400 practically 2.5 % and 97.5 %. Source: Hesterberg 2015, doi 10.1080/00031305.2015.1089789. How often
    such intervals hold the truth stands in `pairs`.
    """
    defined = draws[~np.isnan(draws)]
    if not len(defined):
        return None
    tail = 0.025
    if clusters is not None and clusters > 1:
        tail = NORMAL.cdf(-math.sqrt(clusters / (clusters - 1)) * t_quantile(0.975, clusters - 1))
    low, high = np.percentile(defined, [100 * tail, 100 * (1 - tail)])
    return float(low), float(high)
