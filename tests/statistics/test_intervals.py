"""Intervals of single values against scipy and against the study's own figures; quantiles, resamples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest
from scipy.stats import t as students

from wardround.scoring import macro_f1, mean_of
from wardround.statistics import bootstrap, percentiles, resample, value_of, wilson
from wardround.statistics.quantiles import t_quantile


def ones(n: int) -> NDArray[np.float64]:
    return np.ones(n, dtype=np.float64)


def width(interval: tuple[float, float] | None) -> float:
    assert interval is not None
    return interval[1] - interval[0]


def scipy_wilson(successes: int, n: int) -> tuple[float, float]:
    interval = binomtest(successes, n).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10, 48, 140, 237, 400, 1419, 100_000])
def test_wilson_equals_scipy(n: int) -> None:
    for successes in sorted({0, 1, n // 3, n // 2, 2 * n // 3, n - 1, n}):
        assert wilson(successes, n) == pytest.approx(scipy_wilson(successes, n), abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_scipy_for_any_count(case: tuple[int, int]) -> None:
    assert wilson(*case) == pytest.approx(scipy_wilson(*case), abs=1e-12)


@pytest.mark.parametrize(("n", "points"), [(140, 7.9), (237, 6.1), (400, 4.7), (1419, 2.5)])
def test_half_widths_at_65_per_cent_are_those_of_the_study(n: int, points: float) -> None:
    low, high = wilson(0.65 * n, n)
    assert 100 * (high - low) / 2 == pytest.approx(points, abs=0.1)


def test_wilson_reaches_0_and_1_exactly() -> None:
    assert wilson(0, 30)[0] == 0.0
    assert wilson(30, 30)[1] == 1.0
    assert 0 < wilson(0, 30)[1] < 0.2


def test_wilson_takes_a_share_of_weighted_samples() -> None:
    low, high = wilson(0.5, 1)
    assert low == pytest.approx(1 - high)
    assert 0 < low < 0.5 < high < 1


def test_the_value_is_the_statistic_of_the_samples() -> None:
    assert value_of(mean_of([1.0, 0.0, 0.0, 1.0]), ones(4)) == 0.5


def test_a_weight_of_2_counts_the_first_sample_twice() -> None:
    weights = np.array([2.0, 1.0, 1.0])
    assert value_of(mean_of([1.0, 0.0, 0.0]), weights) == value_of(mean_of([1.0, 1.0, 0.0, 0.0]), ones(4)) == 0.5


def test_an_undefined_value_is_none() -> None:
    assert value_of(mean_of([None, None]), ones(2)) is None


def test_a_bootstrap_is_the_same_for_the_same_seed() -> None:
    values = mean_of([0.1, 0.4, 0.2, 0.9, 0.7])
    assert bootstrap([values], ones(5), seed=7) == bootstrap([values], ones(5), seed=7)


def test_a_bootstrap_differs_for_another_seed() -> None:
    values = mean_of(list(np.linspace(0, 1, 40) ** 2))
    assert bootstrap([values], ones(40), resamples=500, seed=1) != bootstrap([values], ones(40), resamples=500, seed=2)


def test_all_statistics_are_drawn_from_the_same_resamples() -> None:
    values = [0.1, 0.4, 0.2, 0.9, 0.7, 0.3]
    alone = bootstrap([mean_of(values)], ones(6))
    shifted = mean_of([value + 1 for value in values])
    together = bootstrap([shifted, mean_of(values)], ones(6))
    assert together[1] == alone[0]
    assert together[0] == pytest.approx(tuple(bound + 1 for bound in alone[0] or ()))


def test_samples_without_clusters_are_their_own_clusters() -> None:
    values = mean_of([0.1, 0.4, 0.2, 0.9])
    assert bootstrap([values], ones(4)) == bootstrap([values], ones(4), ["a", "b", "c", "d"])


def test_a_bootstrap_of_a_proportion_comes_near_the_exact_interval() -> None:
    drawn = bootstrap([mean_of([1.0] * 130 + [0.0] * 70)], ones(200))
    assert drawn[0] == pytest.approx((0.65 - 1.96 * 0.0337, 0.65 + 1.96 * 0.0337), abs=0.01)


def test_a_constant_has_an_interval_without_width() -> None:
    assert bootstrap([mean_of([0.25] * 9)], ones(9)) == [(0.25, 0.25)]


def test_a_single_sample_has_an_interval_without_width() -> None:
    assert bootstrap([mean_of([0.5])], ones(1)) == [(0.5, 0.5)]


def test_what_is_undefined_in_every_resample_has_no_interval() -> None:
    assert bootstrap([mean_of([None, None]), mean_of([1.0, 1.0])], ones(2)) == [None, (1.0, 1.0)]


def test_resamples_in_which_a_statistic_is_undefined_are_left_out() -> None:
    interval = bootstrap([mean_of([None, None, None, 0.5])], ones(4))[0]
    assert interval == (0.5, 0.5)


def test_no_statistic_gives_no_interval() -> None:
    assert bootstrap([], ones(3)) == []


def test_clusters_that_answer_alike_widen_the_interval() -> None:
    generator = np.random.default_rng(5)
    patients = [patient for patient in range(20) for _ in range(20)]
    by_patient = generator.normal(0.5, 0.2, size=20)
    values = mean_of([float(by_patient[patient] + generator.normal(0, 0.05)) for patient in patients])
    naive = width(bootstrap([values], ones(400), resamples=2000)[0])
    clustered = width(bootstrap([values], ones(400), patients, resamples=2000)[0])
    # 20 questions of a patient that are answered alike are worth little more than one: a factor near √20.
    assert 3.0 < clustered / naive < 5.5


def test_clusters_that_have_nothing_in_common_hardly_change_the_interval() -> None:
    generator = np.random.default_rng(6)
    patients = [patient for patient in range(100) for _ in range(4)]
    values = mean_of([float(value) for value in generator.normal(0.5, 0.2, size=400)])
    naive = width(bootstrap([values], ones(400), resamples=2000)[0])
    clustered = width(bootstrap([values], ones(400), patients, resamples=2000)[0])
    assert clustered == pytest.approx(naive, rel=0.25)


def test_a_cluster_is_drawn_whole_wherever_its_samples_stand() -> None:
    # Each cluster holds one 0 and one 1, so every draw of clusters has the mean 1/2.
    interval = bootstrap([mean_of([0.0, 1.0, 1.0, 0.0])], ones(4), ["a", "b", "a", "b"])[0]
    assert interval == (0.5, 0.5)


def test_weights_enter_every_resample() -> None:
    values = mean_of([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    plain = bootstrap([values], ones(6))[0]
    weighted = bootstrap([values], np.array([2.0, 1, 1, 1, 1, 1]))[0]
    assert plain is not None
    assert weighted is not None
    # Drawn k times of 6, the first sample makes 2k / (6 + k) instead of k / 6.
    k = round(plain[1] * 6)
    assert weighted[1] == pytest.approx(2 * k / (6 + k))


def test_many_samples_are_drawn_in_portions_without_gaps() -> None:
    n = 30_000
    halves = mean_of([float(place % 2) for place in range(n)])
    interval = bootstrap([halves], ones(n), resamples=700)[0]
    assert interval == pytest.approx((0.5 - 1.96 * 0.5 / math.sqrt(n), 0.5 + 1.96 * 0.5 / math.sqrt(n)), abs=0.001)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_an_interval_lies_between_the_smallest_and_the_greatest_value(values: list[float]) -> None:
    interval = bootstrap([mean_of(values)], ones(len(values)), resamples=200)[0]
    assert interval is not None
    assert min(values) - 1e-12 <= interval[0] <= interval[1] <= max(values) + 1e-12


def test_wald_half_widths_at_65_per_cent_are_those_of_the_study() -> None:
    for n, points in ((140, 7.9), (237, 6.1), (400, 4.7), (1419, 2.5)):
        drawn = bootstrap([mean_of([1.0] * round(0.65 * n) + [0.0] * (n - round(0.65 * n)))], np.ones(n))
        assert 100 * width(drawn[0]) / 2 == pytest.approx(points, abs=0.25)


@pytest.mark.parametrize("freedom", [1, 2, 3, 5, 19, 139, 1421, 100_000])
def test_quantiles_of_t_equal_scipy(freedom: int) -> None:
    for probability in (0.001, 0.025, 0.2, 0.5, 0.8, 0.975, 0.999):
        assert t_quantile(probability, freedom) == pytest.approx(
            students.ppf(probability, freedom), rel=1e-7, abs=1e-12
        )


@pytest.mark.parametrize(("probability", "freedom"), [(0.0, 3), (1.0, 3), (0.5, 0)])
def test_a_quantile_that_does_not_exist_is_an_error(probability: float, freedom: int) -> None:
    with pytest.raises(ValueError, match="no quantile of t"):
        t_quantile(probability, freedom)


def test_expanded_percentiles_of_a_normal_bootstrap_distribution_are_students_interval() -> None:
    # The bootstrap's deviation of a mean is s √((n − 1) / n) / √n.
    n, error = 20, 0.7
    draws = np.random.default_rng(3).normal(0, error * math.sqrt((n - 1) / n), 2_000_000)
    low, high = percentiles(draws, n) or (0.0, 0.0)
    assert high == pytest.approx(students.ppf(0.975, n - 1) * error, rel=0.01)
    assert low == pytest.approx(-high, rel=0.02)


def test_expanded_percentiles_hardly_differ_from_plain_ones_for_many_clusters() -> None:
    draws = np.random.default_rng(3).normal(0, 1, 20_000)
    assert width(percentiles(draws, 1_000)) == pytest.approx(width(percentiles(draws)), rel=0.01)


def test_expanded_percentiles_of_two_clusters_are_the_extremes() -> None:
    draws = np.random.default_rng(3).normal(0, 1, 1_000)
    assert percentiles(draws, 2) == pytest.approx((draws.min(), draws.max()))


def test_an_expanded_bootstrap_is_wider() -> None:
    values = mean_of(list(np.linspace(0, 1, 10)))
    assert width(bootstrap([values], ones(10), expanded=True)[0]) > 1.1 * width(bootstrap([values], ones(10))[0])


def test_percentiles_leave_out_what_is_undefined() -> None:
    assert percentiles(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)
    assert percentiles(np.array([np.nan])) is None


def test_resamples_are_those_of_counts_of_all_samples() -> None:
    # Clusters added up beforehand come to what a function of all samples' counts comes to.
    chance = np.random.default_rng(9)
    values = mean_of([None if value < 0.2 else float(value) for value in chance.random(60)])
    f1 = macro_f1(chance.choice(list("ENC"), 60).tolist(), chance.choice(list("ENC"), 60).tolist(), "ENC")
    weights = chance.integers(1, 3, 60).astype(np.float64)
    clusters = chance.integers(0, 9, 60).tolist()
    drawn = resample(
        [values, lambda counts: values(counts), f1, lambda counts: f1(counts)], weights, clusters, resamples=500
    )
    assert drawn.clusters == len(set(clusters))
    assert drawn.draws.shape == (500, 4)
    assert drawn.draws[:, [0, 2]] == pytest.approx(drawn.draws[:, [1, 3]], nan_ok=True)
    assert drawn.values[[0, 2]] == pytest.approx(drawn.values[[1, 3]])


def test_resamples_of_samples_are_multinomial() -> None:
    # With the samples' own places as values, mean and variance of a resampled mean are known.
    n, resamples = 50, 20_000
    draws = resample([mean_of([float(place) for place in range(n)])], ones(n), resamples=resamples, seed=2).draws[:, 0]
    variance = (n * n - 1) / 12 / n
    assert draws.mean() == pytest.approx((n - 1) / 2, abs=4 * math.sqrt(variance / resamples))
    assert draws.var() == pytest.approx(variance, rel=0.05)


def test_resamples_do_not_depend_on_what_else_is_asked() -> None:
    values = mean_of(list(np.linspace(0, 1, 700) ** 3))
    alone = resample([values], ones(700), resamples=900).draws[:, 0]
    among = resample([mean_of([0.5] * 700), lambda counts: counts[:, 0], values], ones(700), resamples=900).draws[:, 2]
    assert among == pytest.approx(alone, abs=1e-14)


def test_resamples_of_clusters_do_not_depend_on_what_else_is_asked() -> None:
    values, patients = mean_of(list(np.linspace(0, 1, 6_000) ** 3)), [place % 20 for place in range(6_000)]
    alone = resample([values], ones(6_000), patients, resamples=900).draws[:, 0]
    among = resample([lambda counts: counts[:, 0], values], ones(6_000), patients, resamples=900).draws[:, 1]
    assert among == pytest.approx(alone, abs=1e-14)


def test_clusters_must_be_as_many_as_samples() -> None:
    with pytest.raises(ValueError, match="2 clusters for 3 samples"):
        resample([mean_of([1.0, 0.0, 1.0])], ones(3), ["a", "b"])
