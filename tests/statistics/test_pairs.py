"""Differences of pairs: against a plain bootstrap written out, against formulas, and by their properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as students

from wardround.scoring import mean_of
from wardround.statistics import (
    FEW_DISCORDANT,
    Tally,
    bootstrap,
    difference_in_differences,
    few_discordant,
    paired_bootstrap,
    resample,
    tally,
)

ones = np.ones
VALUES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=25)


def values(seed: int, n: int) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).random(n)]


def test_a_difference_is_that_of_the_samples() -> None:
    drawn = paired_bootstrap([(mean_of([1.0, 1.0, 0.0, 1.0]), mean_of([1.0, 0.0, 0.0, 0.0]))], ones(4))[0]
    assert drawn is not None
    assert drawn.value == pytest.approx(0.5)


def test_a_difference_of_means_is_the_mean_of_differences() -> None:
    first, second = values(1, 150), values(2, 150)
    drawn = paired_bootstrap([(mean_of(first), mean_of(second))], ones(150))[0]
    apart = [one - other for one, other in zip(first, second, strict=True)]
    assert drawn is not None
    assert (drawn.low, drawn.high) == pytest.approx(bootstrap([mean_of(apart)], ones(150), expanded=True)[0])


def test_an_interval_is_that_of_a_bootstrap_written_out() -> None:
    first, second, clusters = values(1, 24), values(2, 24), [place // 3 for place in range(24)]
    drawn = paired_bootstrap([(mean_of(first), mean_of(second))], ones(24), clusters, seed=4)[0]
    chance, draws = np.random.default_rng(77), []
    for _ in range(10_000):
        rows = [3 * cluster + place for cluster in chance.integers(0, 8, 8) for place in range(3)]
        draws.append(np.mean([first[row] for row in rows]) - np.mean([second[row] for row in rows]))
    assert drawn is not None
    # Student's 5 % with 7 degrees of freedom are these percentiles of a normal distribution that is √(7/8) too narrow.
    assert (drawn.low, drawn.high) == pytest.approx(np.percentile(draws, [0.574, 99.426]), abs=0.02)
    assert drawn.standard_error == pytest.approx(np.std(draws) * math.sqrt(8 / 7), rel=0.03)


def test_the_standard_error_of_a_mean_difference_is_the_textbooks() -> None:
    first, second = values(1, 400), values(2, 400)
    drawn = paired_bootstrap([(mean_of(first), mean_of(second))], ones(400))[0]
    assert drawn is not None
    assert drawn.standard_error == pytest.approx(np.std(np.subtract(first, second), ddof=1) / 20, rel=0.03)


def test_pairs_are_drawn_in_the_same_resamples() -> None:
    one, other = mean_of(values(1, 40)), mean_of(values(2, 40))
    together = paired_bootstrap([(one, other), (other, one), (one, one)], ones(40))
    alone = paired_bootstrap([(other, one)], ones(40))
    assert together[1] == alone[0]
    forth, back, same = together
    assert forth is not None
    assert back is not None
    assert same is not None
    assert (forth.value, forth.low, forth.high) == pytest.approx((-back.value, -(back.high or 0), -(back.low or 0)))
    assert (same.value, same.low, same.high) == (0.0, None, None)


def test_pairing_makes_intervals_of_like_answers_narrow() -> None:
    first = values(1, 200)
    second = [value + 0.01 * noise for value, noise in zip(first, values(2, 200), strict=True)]
    paired = paired_bootstrap([(mean_of(first), mean_of(second))], ones(200))[0]
    single = bootstrap([mean_of(first)], ones(200))[0]
    assert paired is not None
    assert paired.low is not None
    assert paired.high is not None
    assert single is not None
    assert paired.high - paired.low < 0.05 * (single[1] - single[0])


def test_where_all_resamples_are_the_same_nothing_is_known_of_the_spread() -> None:
    shifted = paired_bootstrap([(mean_of([0.3, 0.5, 0.9]), mean_of([0.1, 0.3, 0.7]))], ones(3))[0]
    assert shifted is not None
    assert shifted.value == pytest.approx(0.2)
    assert (shifted.low, shifted.high, shifted.standard_error) == (None, None, None)


def test_a_single_cluster_says_nothing_of_the_spread() -> None:
    drawn = paired_bootstrap([(mean_of([1.0, 0.0]), mean_of([0.0, 0.0]))], ones(2), ["a", "a"])[0]
    assert drawn is not None
    assert (drawn.value, drawn.low) == (0.5, None)


def test_an_undefined_difference_is_none() -> None:
    nothing, something = mean_of([None, None]), mean_of([1.0, 0.0])
    assert paired_bootstrap([(nothing, something), (something, nothing), (nothing, nothing)], ones(2)) == [None] * 3


def test_without_samples_there_is_no_difference() -> None:
    assert paired_bootstrap([(mean_of([]), mean_of([]))], ones(0)) == [None]
    assert few_discordant([], []) is None


def test_resamples_in_which_one_is_undefined_are_left_out() -> None:
    drawn = paired_bootstrap([(mean_of([1.0, None, None]), mean_of([0.0, 1.0, 0.0]))], ones(3))[0]
    assert drawn is not None
    # All resamples without the first sample leave the first model without a value.
    assert drawn.value == pytest.approx(2 / 3)
    assert drawn.high == 1.0


def test_a_statistic_that_is_no_sum_is_compared_too() -> None:
    median_like = paired_bootstrap([(lambda counts: counts[:, 0], lambda counts: counts[:, 1])], ones(5))[0]
    assert median_like is not None
    assert median_like.value == 0.0
    assert median_like.low is not None
    assert median_like.low < -1


def test_weights_enter_the_difference() -> None:
    drawn = paired_bootstrap([(mean_of([1.0, 0.0, 0.0]), mean_of([0.0, 0.0, 0.0]))], np.array([2.0, 1, 1]))[0]
    assert drawn is not None
    assert drawn.value == 0.5


@settings(max_examples=50, deadline=None)
@given(VALUES)
def test_an_interval_lies_within_the_samples_differences(pairs: list[tuple[float, float]]) -> None:
    first, second = zip(*pairs, strict=True)
    drawn = paired_bootstrap([(mean_of(first), mean_of(second))], ones(len(pairs)), resamples=200)[0]
    assert drawn is not None
    if drawn.low is not None and drawn.high is not None:
        apart = np.subtract(first, second)
        assert apart.min() - 1e-9 <= drawn.low <= drawn.high <= apart.max() + 1e-9


def test_a_difference_in_differences_is_that_of_the_differences() -> None:
    cells = [values(seed, 60) for seed in range(4)]
    drawn = resample([mean_of(cell) for cell in cells], ones(60), resamples=2_000)
    found = difference_in_differences(drawn, (0, 1), (2, 3))
    each = [one - two - (three - four) for one, two, three, four in zip(*cells, strict=True)]
    direct = bootstrap([mean_of(each)], ones(60), resamples=2_000, expanded=True)[0]
    assert found is not None
    assert found.value == pytest.approx(np.mean(each))
    assert (found.low, found.high) == pytest.approx(direct)


def test_a_change_that_does_the_same_to_both_has_no_difference_in_differences() -> None:
    before, other = values(1, 30), values(2, 30)
    cells = [[value + 0.1 for value in before], before, [value + 0.1 for value in other], other]
    found = difference_in_differences(resample([mean_of(cell) for cell in cells], ones(30)), (0, 1), (2, 3))
    assert found is not None
    assert found.value == pytest.approx(0)
    assert found.low is None


def test_a_model_with_itself_has_no_difference_in_differences() -> None:
    drawn = resample([mean_of(values(1, 9)), mean_of(values(2, 9))], ones(9))
    found = difference_in_differences(drawn, (0, 1), (0, 1))
    assert found is not None
    assert found.value == 0.0


def bonett_price(wins: int, losses: int, n: int) -> tuple[float, float]:
    """As in the paper, with Student's quantile."""
    p12, p21 = (wins + 1) / (n + 2), (losses + 1) / (n + 2)
    half = float(students.ppf(0.975, n + 1)) * math.sqrt((p12 + p21 - (p12 - p21) ** 2) / (n + 2))
    return p12 - p21 - half, p12 - p21 + half


@pytest.mark.parametrize(("wins", "losses", "n"), [(0, 0, 140), (1, 0, 140), (5, 4, 60), (0, 9, 1422), (2, 1, 10)])
def test_the_interval_of_few_discordant_samples_is_bonett_and_prices(wins: int, losses: int, n: int) -> None:
    first = [1.0] * wins + [0.0] * losses + [1.0] * (n - wins - losses)
    second = [0.0] * wins + [1.0] * losses + [1.0] * (n - wins - losses)
    found = few_discordant(first, second)
    assert found is not None
    assert (found.low, found.high) == pytest.approx(bonett_price(wins, losses, n), abs=1e-9)
    assert found.value == pytest.approx((wins - losses) / n)


def test_where_more_samples_are_discordant_the_bootstrap_is_left_to_speak() -> None:
    first, second = [1.0] * 30, [0.0] * FEW_DISCORDANT + [1.0] * (30 - FEW_DISCORDANT)
    assert few_discordant(first, second) is None
    assert few_discordant(first, [1.0, *second[1:]]) is not None


def test_no_discordant_sample_does_not_make_a_difference_of_0_sure() -> None:
    found = few_discordant([1.0] * 140, [1.0] * 140)
    assert found is not None
    assert found.low == pytest.approx(-0.0197, abs=1e-4)
    assert found.high == pytest.approx(0.0197, abs=1e-4)


def test_few_discordant_clusters_count_as_clusters() -> None:
    # One patient with four questions won is one case, not four.
    first = [1.0] * 80
    second = [0.0] * 4 + [1.0] * 76
    clusters = [place // 8 for place in range(80)]
    whole, questions = few_discordant(first, second, clusters), few_discordant(first, second)
    assert whole is not None
    assert questions is not None
    assert whole.value == questions.value == 0.05
    assert whole.low is not None
    assert questions.low is not None
    assert whole.low < -0.05 < questions.low < 0


def test_clusters_alike_in_size_and_difference_are_samples_of_that_difference() -> None:
    first, second = [1.0] * 60, [0.0, 1.0, 1.0] * 3 + [1.0] * 51
    found = few_discordant(first, second, [place // 3 for place in range(60)])
    low, high = bonett_price(3, 0, 20)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low / 3, high / 3))


def test_few_discordant_samples_that_lack_a_value_are_left_out() -> None:
    found = few_discordant([1.0, None, 1.0, 0.0], [1.0, 0.0, None, 1.0], ["a", "b", "c", "a"])
    assert found == few_discordant([1.0, 0.0], [1.0, 1.0], ["a", "a"])
    assert few_discordant([None], [1.0]) is None


def test_an_interval_of_shares_stays_between_minus_1_and_1() -> None:
    found = few_discordant([1.0] * 3, [0.0] * 3)
    assert found is not None
    assert found.high == 1.0


def test_wins_ties_and_losses() -> None:
    assert tally([1.0, 0.0, 1.0, 0.5, None, 1.0], [0.0, 1.0, 1.0, 0.5, 1.0, None]) == Tally(1, 2, 1, 2)


def test_what_rounding_tells_apart_is_a_tie() -> None:
    assert tally([0.1 + 0.2], [0.3]) == Tally(0, 1, 0, 0)


def test_the_discordance_is_the_share_of_pairs_that_are_no_ties() -> None:
    assert tally([1.0, 0.0, 1.0, 0.5, None], [0.0, 1.0, 1.0, 0.5, 1.0]).discordance == 0.5
    assert tally([None], [None]).discordance is None


@given(VALUES)
def test_the_wins_of_one_are_the_losses_of_the_other(pairs: list[tuple[float, float]]) -> None:
    first, second = zip(*pairs, strict=True)
    forth, back = tally(first, second), tally(second, first)
    assert (forth.wins, forth.ties, forth.losses) == (back.losses, back.ties, back.wins)
    assert forth.wins + forth.ties + forth.losses == len(pairs)


def test_values_that_are_not_as_many_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="2 values cannot be paired with 1"):
        tally([1.0, 0.0], [1.0])


def test_clusters_are_drawn_whole_in_pairs() -> None:
    # Each cluster's mean difference is 0, so that of every resample is.
    first, second = [1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0]
    drawn = paired_bootstrap([(mean_of(first), mean_of(second))], ones(4), ["a", "a", "b", "b"])[0]
    assert drawn is not None
    assert (drawn.value, drawn.low) == (0.0, None)
