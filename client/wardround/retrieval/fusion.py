"""Several rankings made one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

T = TypeVar("T", bound=Hashable)

RRF_K = 60


def reciprocal_ranks(rankings: Sequence[Sequence[T]], *, k: int = RRF_K) -> list[tuple[T, float]]:
    """Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009): the sum of 1/(k + rank), ranks from 1.

    Best first; equal sums in the order of the first ranking that has them. An item that a ranking lacks gets nothing
    from it.
    """
    sums: dict[T, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(dict.fromkeys(ranking), start=1):
            sums[item] = sums.get(item, 0.0) + 1.0 / (k + rank)
    first_seen = {item: place for place, item in enumerate(sums)}
    return sorted(sums.items(), key=lambda one: (-one[1], first_seen[one[0]]))
