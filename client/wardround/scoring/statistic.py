"""Statistics of whole cells, in the form in which they can be resampled.

A statistic takes counts of shape (resamples, samples), how often each sample was drawn, and returns one value a
resample. So one matrix of counts serves every metric of a cell, and the value itself is the statistic of a row of
ones. A resample in which a statistic is undefined gives NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Counts = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """A statistic that knows the samples by sums over them alone: a mean, a ratio, an F1 over all answers.

    `columns`, shape (samples, k), holds what is summed; `of` makes totals of shape (resamples, k) into values of
    shape (resamples,). Whoever resamples can then add up each cluster's rows once, and can swap two models'
    answers within a cluster; a statistic of another form must be given counts of all samples, and cannot be swapped.
    """

    columns: NDArray[np.float64]
    of: Callable[[NDArray[np.float64]], NDArray[np.float64]]

    def __call__(self, counts: Counts) -> NDArray[np.float64]:
        """Values, shape (resamples,), of counts, shape (resamples, samples)."""
        return self.of(counts @ self.columns)


def mean_of(values: Sequence[float | None]) -> Sums:
    """The mean over the samples whose value is not None."""
    import numpy as np

    numbers = [0.0 if value is None else value for value in values]
    defined = [value is not None for value in values]
    return Sums(np.array([numbers, defined], dtype=np.float64).T, ratio)


def macro_f1(said: Sequence[str | None], gold: Sequence[str], labels: Sequence[str]) -> Sums:
    """The mean of the labels' F1; an unparsed answer (None) counts as a miss of its gold label.

    A label that is neither said nor gold in a resample is left out of the mean.
    """
    import numpy as np

    kinds = len(labels)
    said_is = np.array([[answer == label for label in labels] for answer in said], dtype=np.float64)
    gold_is = np.array([[answer == label for label in labels] for answer in gold], dtype=np.float64)

    def f1(totals: NDArray[np.float64]) -> NDArray[np.float64]:
        # F1 = 2 TP / (said + gold), undefined where a label does not occur at all.
        per_label = _divide(2 * totals[..., :kinds], totals[..., kinds:])
        defined = ~np.isnan(per_label)
        return _divide(np.where(defined, per_label, 0.0).sum(axis=-1), defined.sum(axis=-1))

    shape = (len(said), kinds)
    columns = [(said_is * gold_is).reshape(shape), (said_is + gold_is).reshape(shape)]
    return Sums(np.concatenate(columns, axis=1), f1)


def ratio(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """The first column's total over the second's, NaN where the second is 0."""
    return _divide(totals[..., 0], totals[..., 1])


def _divide(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    out: NDArray[np.float64] = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out
