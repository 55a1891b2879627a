from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.load.shapes import constant, gamma, poisson, ramp, trace

rates = st.floats(0.5, 500)
seeds = st.integers(0, 2**32 - 1)


@given(rates, st.floats(0.1, 5), seeds, st.floats(0.2, 20))
def test_arrivals_rise_and_end_before_the_duration(rate: float, duration_s: float, seed: int, burst: float) -> None:
    for times in (
        list(constant(rate, duration_s)),
        list(poisson(rate, duration_s, seed)),
        list(gamma(rate, duration_s, seed, burstiness=burst)),
        list(ramp(0, rate, duration_s)),
        list(ramp(rate, 0, duration_s)),
    ):
        assert all(earlier <= later for earlier, later in itertools.pairwise(times))
        assert all(0 <= at_s < duration_s for at_s in times)


@given(rates, seeds)
def test_the_same_seed_gives_the_same_arrivals_and_another_others(rate: float, seed: int) -> None:
    first = list(itertools.islice(poisson(rate, 1e9, seed), 50))
    assert first == list(itertools.islice(poisson(rate, 1e9, seed), 50))
    assert first != list(itertools.islice(poisson(rate, 1e9, seed + 1), 50))


def test_constant_arrivals_do_not_drift() -> None:
    assert list(constant(4, 1)) == [0, 0.25, 0.5, 0.75]
    assert next(itertools.islice(constant(3, 1e9), 3_000_000, None)) == 1_000_000


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gaps_have_the_mean_of_the_rate_and_the_spread_of_the_burstiness(burstiness: float) -> None:
    times = np.fromiter(itertools.islice(gamma(50, 1e9, 7, burstiness=burstiness), 200_000), float)
    gaps = np.diff(times)
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.02)
    assert gaps.std() / gaps.mean() == pytest.approx(1 / math.sqrt(burstiness), rel=0.02)


def test_poisson_is_gamma_with_a_burstiness_of_one() -> None:
    assert list(poisson(20, 3, 5)) == list(gamma(20, 3, 5, burstiness=1.0))


@given(st.floats(0, 100), st.floats(1, 100), st.floats(1, 20))
def test_a_ramp_brings_as_many_as_its_mean_rate(start: float, end: float, duration_s: float) -> None:
    assert len(list(ramp(start, end, duration_s))) == pytest.approx((start + end) * duration_s / 2, abs=1.0001)


def test_a_ramp_is_denser_where_its_rate_is_higher() -> None:
    times = list(ramp(0, 100, 10))
    first, second = sum(at_s < 5 for at_s in times), sum(at_s >= 5 for at_s in times)
    assert first == pytest.approx(125, abs=1)
    assert second == pytest.approx(375, abs=1)


def test_a_level_ramp_is_constant() -> None:
    assert list(ramp(10, 10, 2)) == pytest.approx(list(constant(10, 2)))


def test_a_trace_begins_at_zero_and_keeps_its_gaps_at_its_pace() -> None:
    assert list(trace([12.0, 10.0, 11.0], pace=2.0)) == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        constant(rate, 1)
    with pytest.raises(ValueError, match="must be above 0"):
        poisson(rate, 1, 0)
    with pytest.raises(ValueError, match="must be above 0"):
        trace([1.0], pace=rate)


def test_a_ramp_from_nothing_to_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="a ramp goes from a rate to a rate"):
        list(ramp(0, 0, 1))
