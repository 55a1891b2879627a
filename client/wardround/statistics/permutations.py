"""Paired tests: what a difference would look like if the two were interchangeable.

Under the null hypothesis of these tests nobody could tell the first from the second: within each cluster the two may
as well be swapped, all its answers together. A p-value is the share of such swaps in which the two differ at least as
much as they do, either way. Where a sample is its own cluster and its value 0 or 1, that is McNemar's exact test.
Swapping whole clusters makes no assumption on what a patient's questions, or a question's repeats, have in common
(Canay, Romano and Shaikh 2017, doi 10.3982/ECTA13081, for few clusters of which each may be different).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from wardround.scoring.statistic import Sums
from wardround.statistics.pairs import cluster_differences, paired
from wardround.statistics.resampling import Floats, cluster_codes, cluster_sums
from wardround.task import Statistic

SWAPS = 10_000
_NUMBERS_AT_ONCE = 1 << 18
# One product of matrices for several tests reads the swaps once.
_TESTS_AT_ONCE = 32
# Swaps that give the very same difference may compute it with another rounding.
_ROUNDING = 1e-10


def mcnemar(
    first: Sequence[float | None],
    second: Sequence[float | None],
    clusters: Sequence[Hashable] | None = None,
    *,
    mid_p: bool = False,
) -> float | None:
    """The exact two-sided p-value that two accuracies on the same samples are equal.

    Without clusters it is McNemar's: the binomial test of the discordant samples (McNemar 1947). With clusters the
    unit is the cluster, whose wins less its losses are swapped as a whole; all 2^clusters swaps are counted, by
    convolution, whatever their number. Up to five discordant clusters cannot give p ≤ 0.05. `mid_p` counts the swaps
    that differ exactly as much as observed by half: nearer to 5 % in the mean, no longer sure to stay below
    (Fagerland, Lydersen and Laake 2013, doi 10.1186/1471-2288-13-91).

    Values are 0 or 1; samples of which either is None are left out, every other counts once. None if nothing is
    left. Raises `ValueError` for other values. Found by simulation, for a test at 5 %: with 20 patients of 20
    questions 3–4 % false positives whatever the spread of the models' strengths over the patients, where McNemar's
    test of the questions gives up to 12 %; with 20 patients of 100 questions and very skewed strengths 5.5 %, against
    22 %; with 10 patients 3 %, with 6 1 %.
    """
    values = np.concatenate(paired(first, second))
    if not ((values == 0) | (values == 1) | np.isnan(values)).all():
        raise ValueError("an exact test of accuracies takes values of 0 and 1; for other means see swap_tests")
    differences, sizes = cluster_differences(first, second, clusters)
    if not len(sizes):
        return None
    often = np.bincount(np.abs(differences).astype(np.intp))
    chances = _chances(tuple(often.tolist()))
    observed = abs(round(float(differences.sum())))
    # Σ ± differences is observed where so many answers are won by swaps, and −observed at the other end.
    won = (len(chances) - 1 - observed) // 2
    as_much = float(chances[won]) * (2 if observed else 1)
    p = min(1.0, 2 * float(chances[: won + 1].sum())) if observed else 1.0
    return p - as_much / 2 if mid_p else p


@lru_cache(maxsize=128)
def _chances(often: tuple[int, ...]) -> Floats:
    """The probabilities of 0, 1, 2 … answers won over all swaps, `often[k]` clusters having k to win or to lose."""
    # That is Σ k · Bin(often[k], ½): a convolution for each k.
    chances = np.ones(1)
    for step, times in enumerate(often):
        if step and times:
            spread = np.zeros(step * times + 1)
            spread[::step] = _fair_binomial(times)
            chances = np.convolve(chances, spread)
    return chances


def swap_tests(
    pairs: Sequence[tuple[Statistic, Statistic]],
    weights: Floats,
    clusters: Sequence[Hashable] | None = None,
    *,
    swaps: int = SWAPS,
    seed: int = 0,
) -> list[float | None]:
    """Two-sided p-values that the two of each pair are equal, for means and whatever else is a function of sums.

    Both are computed anew with the answers of some clusters swapped: for all 2^clusters choices if these are no more
    than `swaps`, and otherwise for that many random ones, the observed one added, so that p is at least
    1 / (swaps + 1) (Noreen 1989; Phipson and Smyth 2010, doi 10.2202/1544-6115.1585). The swaps drawn depend on the
    number of clusters, `swaps` and `seed` alone. `weights` as in `resample`. None where the difference is undefined, or
    a statistic is no `Sums`; a swap that leaves it undefined counts against a difference. Raises `ValueError` if
    the two of a pair do not sum the same number of columns.
    """
    codes, number = cluster_codes(clusters, len(weights))
    tests = [_test(first, second, weights, codes, number) for first, second in pairs]
    able = [test for test in tests if test is not None]
    together = [able[start : start + _TESTS_AT_ONCE] for start in range(0, len(able), _TESTS_AT_ONCE)]
    exchanged = [np.concatenate([test.exchanged for test in some]) for some in together]
    exact = number < swaps.bit_length()
    at_once = max(1, _NUMBERS_AT_ONCE // max(number, 1))
    for swapped in _all_swaps(number, at_once) if exact else _random_swaps(number, swaps, at_once, seed):
        for some, rows in zip(together, exchanged, strict=True):
            shifts, end = rows @ swapped, 0
            for test in some:
                start, end = end, end + len(test.exchanged)
                test.count(shifts[start:end].T)
    made, observed = (2**number, 0) if exact else (swaps + 1, 1)
    return [None if test is None else (test.extreme + observed) / made for test in tests]


@dataclass(slots=True)
class _SwapTest:
    """One pair: its sums, what a swap of each cluster moves from the second to the first, and what came of swaps.

    `exchanged`, shape (k, clusters): a row a column, for the product to be quick.
    """

    first: Sums
    second: Sums
    firsts: Floats
    seconds: Floats
    exchanged: Floats
    threshold: float
    extreme: int = 0

    def count(self, shifts: Floats) -> None:
        """Count what is as far apart after swaps that move `shifts`, shape (swaps, k)."""
        apart = np.abs(self.first.of(self.firsts + shifts) - self.second.of(self.seconds - shifts))
        # What is undefined is not smaller, so it counts.
        self.extreme += len(apart) - int((apart < self.threshold).sum())


def _test(
    first: Statistic, second: Statistic, weights: Floats, codes: NDArray[np.intp], number: int
) -> _SwapTest | None:
    if not isinstance(first, Sums) or not isinstance(second, Sums):
        return None
    if first.columns.shape[1] != second.columns.shape[1]:
        raise ValueError("two statistics that sum different things cannot be swapped")
    ones, others = (cluster_sums(one, weights, codes, number) for one in (first, second))
    firsts, seconds = ones.sum(axis=0), others.sum(axis=0)
    one, other = float(first.of(firsts[np.newaxis])[0]), float(second.of(seconds[np.newaxis])[0])
    if math.isnan(one - other):
        return None
    threshold = abs(one - other) - _ROUNDING * max(abs(one), abs(other))
    return _SwapTest(first, second, firsts, seconds, np.ascontiguousarray((others - ones).T), threshold)


def _all_swaps(number: int, at_once: int) -> Iterator[Floats]:
    """Every choice of clusters once, shape (clusters, choices), 1 for a swap."""
    places = np.arange(number)[:, np.newaxis]
    for start in range(0, 2**number, at_once):
        choices = np.arange(start, min(start + at_once, 2**number))
        yield ((choices >> places) & 1).astype(np.float64)


def _random_swaps(number: int, swaps: int, at_once: int, seed: int) -> Iterator[Floats]:
    """Random choices of clusters, each swapped with probability 1/2, the same however many are made at once."""
    generator = np.random.default_rng(seed)
    # The generator hands out four bytes at a time.
    row_bytes = 4 * -(-number // 32)
    for start in range(0, swaps, at_once):
        rows = min(at_once, swaps - start)
        drawn = np.frombuffer(generator.bytes(rows * row_bytes), dtype=np.uint8).reshape(rows, row_bytes)
        yield np.unpackbits(drawn, axis=1, count=number).T.astype(np.float64, order="C")


@lru_cache(maxsize=128)
def _fair_binomial(times: int) -> Floats:
    """The probabilities of 0 … `times` heads."""
    log_factorials = np.array([math.lgamma(k + 1) for k in range(times + 1)])
    chances: Floats = np.exp(log_factorials[-1] - log_factorials - log_factorials[::-1] - times * math.log(2))
    return chances
