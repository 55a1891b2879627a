"""What a study can see, against the formulas' other direction and against figures known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from scipy.stats import t as students

from wardround.statistics import design_effect, detectable_mean, detectable_share


def connor(discordance: float, difference: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """The number of pairs, after Connor 1987."""
    within = norm.ppf(1 - alpha / 2) * math.sqrt(discordance)
    return float(((within + norm.ppf(power) * math.sqrt(discordance - difference**2)) / difference) ** 2)


def test_140_cases_can_see_about_10_points() -> None:
    assert detectable_share(140, 0.18) == pytest.approx(0.10, abs=0.001)


def test_connors_formula_by_hand() -> None:
    # 45 % against 5 % discordant: 22.1 pairs.
    assert connor(0.5, 0.4) == pytest.approx(22.1, abs=0.1)
    assert detectable_share(connor(0.5, 0.4), 0.5) == pytest.approx(0.4)  # type: ignore[arg-type]


@given(st.integers(30, 100_000), st.floats(0.1, 1))
def test_a_detectable_difference_needs_the_samples_that_there_are(n: int, discordance: float) -> None:
    delta = detectable_share(n, discordance)
    assert delta is not None
    if delta < discordance:
        assert connor(discordance, delta) == pytest.approx(n, rel=1e-6)


@pytest.mark.parametrize(("n", "discordance", "points"), [(140, 0.3, 12.9), (400, 0.18, 5.9), (1422, 0.18, 3.1)])
def test_detectable_differences_in_points(n: int, discordance: float, points: float) -> None:
    delta = detectable_share(n, discordance)
    assert delta is not None
    assert 100 * delta == pytest.approx(points, abs=0.05)


def test_without_discordance_all_of_a_difference_is_discordant() -> None:
    delta = detectable_share(140, 0.0)
    assert delta is not None
    assert connor(delta, delta) == pytest.approx(140)
    assert detectable_share(140, delta / 2) == pytest.approx(delta)


def test_too_few_samples_see_no_difference() -> None:
    assert detectable_share(3, 0.2) is None
    assert detectable_share(4, 0.2) == pytest.approx(0.99, abs=0.02)


def test_a_design_effect_divides_the_samples() -> None:
    assert detectable_share(400, 0.2, design_effect=4) == pytest.approx(detectable_share(100, 0.2))
    assert detectable_mean(400, 0.2, design_effect=4, clusters=20) == pytest.approx(
        detectable_mean(100, 0.2, clusters=20)
    )


def test_a_design_effect_below_1_promises_nothing() -> None:
    assert detectable_share(400, 0.2, design_effect=0) == detectable_share(400, 0.2)
    assert detectable_mean(400, 0.2, design_effect=0.5) == detectable_mean(400, 0.2)


def test_few_clusters_see_less() -> None:
    few, many = detectable_share(400, 0.2, clusters=20), detectable_share(400, 0.2)
    assert few is not None
    assert many is not None
    wider = (students.ppf(0.975, 19) + students.ppf(0.8, 19)) / (norm.ppf(0.975) + norm.ppf(0.8))
    assert few / many == pytest.approx(wider, rel=0.01)


def test_a_family_needs_more_and_more_power_does_too() -> None:
    plain = detectable_share(400, 0.2)
    assert plain is not None
    assert detectable_share(400, 0.2, alpha=0.05 / 84) > plain  # type: ignore[operator]
    assert detectable_share(400, 0.2, power=0.9) > plain  # type: ignore[operator]
    assert detectable_mean(400, 0.2, alpha=0.05 / 84) > detectable_mean(400, 0.2) < detectable_mean(400, 0.2, power=0.9)


def test_a_detectable_mean_is_the_quantiles_times_the_standard_error() -> None:
    expected = (students.ppf(0.975, 236) + students.ppf(0.8, 236)) * 0.2 / math.sqrt(237)
    assert detectable_mean(237, 0.2) == pytest.approx(expected)
    assert detectable_mean(1, 0.2 / math.sqrt(237), clusters=237) == pytest.approx(expected)


def test_a_detectable_mean_is_found_in_four_of_five_studies() -> None:
    n, studies = 40, 20_000
    delta = detectable_mean(n, 0.3)
    samples = np.random.default_rng(1).normal(delta, 0.3, (studies, n))
    t = samples.mean(axis=1) / samples.std(axis=1, ddof=1) * math.sqrt(n)
    assert np.mean(np.abs(t) > students.ppf(0.975, n - 1)) == pytest.approx(0.8, abs=0.012)


def test_a_single_case_is_an_error() -> None:
    with pytest.raises(ValueError, match="a single case"):
        detectable_mean(1, 0.2)
    with pytest.raises(ValueError, match="a single case"):
        detectable_share(400, 0.2, clusters=1)


@pytest.mark.parametrize("wrong", [-0.1, 1.1])
def test_a_discordance_is_a_share(wrong: float) -> None:
    with pytest.raises(ValueError, match="is no share"):
        detectable_share(140, wrong)


def test_the_design_effect_of_clusters_all_alike_is_their_size() -> None:
    by_patient = np.random.default_rng(2).normal(0, 1, 40)
    first = np.repeat(by_patient, 5).tolist()
    found = design_effect(first, [0.0] * 200, [place // 5 for place in range(200)])
    assert found == pytest.approx(5, rel=0.03)


def test_the_design_effect_of_independent_samples_is_1() -> None:
    first = np.random.default_rng(3).normal(0, 1, 10_000).tolist()
    assert design_effect(first, [0.0] * 10_000, [place // 5 for place in range(10_000)]) == pytest.approx(1, abs=0.1)
    assert design_effect(first, [0.0] * 10_000, None) == pytest.approx(1)


def test_clusters_that_balance_have_a_design_effect_below_1() -> None:
    assert design_effect([1.0, 0.0] * 6, [0.0, 1.0] * 6, [place // 2 for place in range(12)]) == 0


def test_a_design_effect_of_no_spread_or_no_second_cluster_is_unknown() -> None:
    assert design_effect([1.0, 1.0], [0.0, 0.0], ["a", "b"]) is None
    assert design_effect([1.0, 0.0], [0.0, 0.0], ["a", "a"]) is None
    assert design_effect([None, 1.0], [0.0, 0.0], ["a", "b"]) is None
    assert design_effect([], [], None) is None
