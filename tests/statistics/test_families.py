"""Holm's adjustment against the closed test that it abbreviates."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.statistics import holm

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=7)


def closed_bonferroni(p_values: list[float]) -> list[float]:
    """A hypothesis falls with all intersections it is in, each of which is tested after Bonferroni."""
    places = range(len(p_values))
    return [
        max(
            min(1.0, len(others) * min(p_values[other] for other in others))
            for size in range(1, len(p_values) + 1)
            for others in combinations(places, size)
            if place in others
        )
        for place in places
    ]


@settings(deadline=None)
@given(P_VALUES)
def test_holm_is_the_closed_test_with_bonferroni(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(closed_bonferroni(p_values))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(P_VALUES)
def test_holm_keeps_the_order_and_makes_no_p_smaller(p_values: list[float]) -> None:
    adjusted = [p for p in holm(p_values) if p is not None]
    assert all(p <= after <= 1 for p, after in zip(p_values, adjusted, strict=True))
    by_p = [after for _, after in sorted(zip(p_values, adjusted, strict=True))]
    assert by_p == sorted(by_p)


def test_what_could_not_be_tested_stays_and_does_not_count() -> None:
    assert holm([None, 0.02, None, 0.03]) == [None, 0.04, None, 0.04]


def test_a_single_p_is_left_as_it_is() -> None:
    assert holm([0.03]) == [0.03]


def test_an_empty_family() -> None:
    assert holm([]) == []
    assert holm([None]) == [None]


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_is_an_error(wrong: float) -> None:
    with pytest.raises(ValueError, match="is no p-value"):
        holm([0.5, wrong])
