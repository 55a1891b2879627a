"""What a study of a given size can see, and how much clusters take away from it.

Effects are absolute: they may go either way. α is two-sided. With Holm over a family of m tests a difference is sure
to be seen only at α = 0.05 / m; the default is that of a single test.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from wardround.statistics.pairs import cluster_differences
from wardround.statistics.quantiles import NORMAL, t_quantile

ALPHA = 0.05
POWER = 0.8


def detectable_share(
    n: int,
    discordance: float,
    *,
    design_effect: float = 1.0,
    clusters: int | None = None,
    alpha: float = ALPHA,
    power: float = POWER,
) -> float | None:
    """The smallest difference of two accuracies (a share) that n paired samples show with the given power.

    `discordance` is the share of samples that exactly one of the two gets right. Solves
    n δ² = (z_(α/2) √ψ + z_β √(ψ − δ²))² for δ (Miettinen 1968; Connor 1987, Biometrics 43:207); a difference
    greater than the discordance needs as much of it. `design_effect` divides n if it is above 1, and with `clusters`
    Student's quantiles of clusters − 1 degrees of freedom take the place of the normal ones. None if not even a
    difference of 1 is seen.

    At a discordance of 0.18, 140 samples see 10.0 points. The exact test does a little less than the formula says: by
    simulation it finds such differences in 74–79 % of studies, its mid-p form in 79 % and more. Raises `ValueError`
    for a discordance that is no share.
    """
    if not 0 <= discordance <= 1:
        raise ValueError(f"a discordance of {discordance} is no share")
    tail, reach = _quantiles(alpha, power, clusters)

    def seen(delta: float) -> bool:
        share = max(discordance, delta)
        return math.sqrt(n / max(1.0, design_effect)) * delta >= tail * math.sqrt(share) + reach * math.sqrt(
            share - delta**2
        )

    if not seen(1.0):
        return None
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if seen(middle) else (middle, high)
    return high


def detectable_mean(
    n: int,
    deviation: float,
    *,
    design_effect: float = 1.0,
    clusters: int | None = None,
    alpha: float = ALPHA,
    power: float = POWER,
) -> float:
    """The smallest difference of two means that n paired samples show with the given power, in the metric's unit.

    (t_(α/2) + t_β) · s / √n, s the standard deviation of the differences, Student's quantiles with n − 1 or
    clusters − 1 degrees of freedom; `design_effect` as in `detectable_share`. For any statistic, put the standard error
    of a bootstrapped difference for `deviation`, 1 for n and name the clusters. Raises `ValueError` for fewer than two
    cases.
    """
    tail, reach = _quantiles(alpha, power, n if clusters is None else clusters)
    return (tail + reach) * deviation * math.sqrt(max(1.0, design_effect) / n)


def design_effect(
    first: Sequence[float | None], second: Sequence[float | None], clusters: Sequence[Hashable] | None
) -> float | None:
    """How many times the variance of a mean paired difference is that of as many independent samples (Kish 1965).

    The variance between clusters over the one between samples, about 1 where samples of a cluster have nothing in
    common and the clusters' size where they are all alike; below 1 where they balance each other. None where it is
    unknown: fewer than two clusters, or differences that are all the same.
    """
    alone, _ = cluster_differences(first, second)
    sums, sizes = cluster_differences(first, second, clusters)
    n, number = len(alone), len(sums)
    if number < 2 or np.ptp(alone) == 0:
        return None
    mean = float(alone.mean())
    between = float(((sums - mean * sizes) ** 2).sum()) * number / (number - 1) / n**2
    return between / (float(alone.var(ddof=1)) / n)


def _quantiles(alpha: float, power: float, cases: int | None) -> tuple[float, float]:
    if cases is None:
        return NORMAL.inv_cdf(1 - alpha / 2), NORMAL.inv_cdf(power)
    if cases < 2:
        raise ValueError("a single case shows no difference, however great")
    return t_quantile(1 - alpha / 2, cases - 1), t_quantile(power, cases - 1)
