"""Ranks over resamples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from wardround.scoring import mean_of
from wardround.statistics import Ranks, Resampled, rank_stability, resample


def drawn(*rows: tuple[float, ...]) -> Resampled:
    draws = np.array(rows, dtype=np.float64)
    return Resampled(draws.mean(axis=0), draws, 10)


def found(resampled: Resampled, places: list[int]) -> Ranks:
    ranks = rank_stability(resampled, places)
    assert ranks is not None
    return ranks


def test_ranks_are_counted_over_resamples() -> None:
    ranks = found(drawn((3, 2, 1), (3, 1, 2), (2, 3, 1), (9, 8, 7)), [0, 1, 2])
    assert ranks.ranks.tolist() == [[0.75, 0.25, 0], [0.25, 0.5, 0.25], [0, 0.25, 0.75]]
    assert ranks.before.tolist() == [[0.5, 0.75, 1], [0.25, 0.5, 0.75], [0, 0.25, 0.5]]


def test_models_that_tie_share_their_ranks() -> None:
    ranks = found(drawn((1, 1, 0), (2, 2, 2)), [0, 1, 2])
    assert ranks.ranks[0] == pytest.approx([(1 / 2 + 1 / 3) / 2, (1 / 2 + 1 / 3) / 2, 1 / 6])
    assert ranks.ranks[2] == pytest.approx([1 / 6, 1 / 6, (1 + 1 / 3) / 2])
    assert ranks.before[0].tolist() == [0.5, 0.5, 0.75]


def test_ranks_are_those_of_the_places_asked_for() -> None:
    ranks = found(drawn((1, 5, 2), (1, 5, 0)), [2, 1])
    assert ranks.ranks.tolist() == [[0, 1], [1, 0]]


def test_resamples_that_leave_a_model_without_value_are_left_out() -> None:
    assert found(drawn((1, 2), (np.nan, 2)), [0, 1]).ranks.tolist() == [[0, 1], [1, 0]]


def test_without_a_resample_or_a_model_there_is_no_rank() -> None:
    assert rank_stability(drawn((np.nan, 1)), [0, 1]) is None
    assert rank_stability(drawn((1, 2)), []) is None


def test_a_model_alone_is_first() -> None:
    assert found(drawn((0.3,), (0.2,)), [0]).ranks.tolist() == [[1]]


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 4), min_size=1, max_size=15))
def test_ranks_and_orders_add_up(rows: list[tuple[int, ...]]) -> None:
    ranks = found(drawn(*rows), [0, 1, 2, 3])
    assert ranks.ranks.sum(axis=0) == pytest.approx(np.ones(4))
    assert ranks.ranks.sum(axis=1) == pytest.approx(np.ones(4))
    assert ranks.before + ranks.before.T == pytest.approx(np.ones((4, 4)))
    # The mean rank is that of scipy, and one more than the models before.
    mean_ranks = ranks.ranks @ np.arange(1, 5)
    assert mean_ranks == pytest.approx(rankdata(-np.array(rows), axis=1).mean(axis=0))
    assert mean_ranks == pytest.approx(1 + (ranks.before.sum(axis=0) - 0.5))


def test_a_model_far_better_is_first_in_every_resample() -> None:
    chance = np.random.default_rng(1)
    cells = [mean_of((chance.random(100) < share).astype(float).tolist()) for share in (0.5, 0.9, 0.52)]
    ranks = found(resample(cells, np.ones(100), resamples=1_000), [0, 1, 2])
    assert ranks.ranks[1, 0] > 0.999
    assert 0.05 < ranks.before[0, 2] < 0.95
