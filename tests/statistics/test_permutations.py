"""Paired tests against scipy, against all swaps written out, and by their properties."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, permutation_test

from wardround.scoring import macro_f1, mean_of
from wardround.statistics import mcnemar, swap_tests

ones = np.ones
BINARY = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0]), st.integers(0, 6)), min_size=1, max_size=40
)


def discordant(wins: int, losses: int, ties: int = 1) -> tuple[list[float], list[float]]:
    return [1.0] * wins + [0.0] * losses + [1.0] * ties, [0.0] * wins + [1.0] * losses + [1.0] * ties


def by_all_swaps(first: list[float], second: list[float], clusters: list[int]) -> float:
    """The share of choices of clusters that leave the sums at least as far apart."""
    sums = [sum(a - b for a, b, c in zip(first, second, clusters, strict=True) if c == name) for name in set(clusters)]
    signed = [abs(sum(s * d for s, d in zip(signs, sums, strict=True))) for signs in product((1, -1), repeat=len(sums))]
    return sum(one >= abs(sum(sums)) - 1e-9 for one in signed) / len(signed)


@pytest.mark.parametrize(("wins", "losses"), [(0, 1), (1, 1), (5, 0), (6, 0), (7, 2), (20, 20), (31, 60), (400, 520)])
def test_mcnemar_equals_the_binomial_test_of_scipy(wins: int, losses: int) -> None:
    assert mcnemar(*discordant(wins, losses)) == pytest.approx(binomtest(wins, wins + losses).pvalue, rel=1e-10)


def test_mcnemar_of_answers_all_alike_is_1() -> None:
    assert mcnemar([1.0, 0.0], [1.0, 0.0]) == 1.0
    assert mcnemar([1.0, 0.0], [1.0, 0.0], ["a", "a"]) == 1.0


def test_mcnemar_of_a_very_small_p_keeps_its_digits() -> None:
    assert mcnemar(*discordant(300, 0)) == pytest.approx(2 * 0.5**300, rel=1e-9)


@pytest.mark.parametrize(("wins", "losses", "mid_p"), [(1, 8, 0.0215), (8, 1, 0.0215), (3, 3, 0.84375)])
def test_mid_p_counts_the_observed_by_half(wins: int, losses: int, mid_p: float) -> None:
    # 1 against 8: 2 · (1/2 · 9 + 1) / 2^9; 3 against 3: 1 − 20 / 2^6 / 2.
    assert mcnemar(*discordant(wins, losses), mid_p=True) == pytest.approx(mid_p, abs=5e-5)


@settings(max_examples=100, deadline=None)
@given(BINARY)
def test_clusters_are_swapped_whole(cases: list[tuple[float, float, int]]) -> None:
    first, second, clusters = (list(column) for column in zip(*cases, strict=True))
    assert mcnemar(first, second, clusters) == pytest.approx(by_all_swaps(first, second, clusters), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(BINARY)
def test_a_cluster_of_its_own_for_each_sample_is_none(cases: list[tuple[float, float, int]]) -> None:
    first, second, _ = (list(column) for column in zip(*cases, strict=True))
    assert mcnemar(first, second, range(len(first))) == mcnemar(first, second)


@given(BINARY)
def test_mcnemar_is_the_same_the_other_way_round(cases: list[tuple[float, float, int]]) -> None:
    first, second, clusters = (list(column) for column in zip(*cases, strict=True))
    p = mcnemar(first, second, clusters)
    assert p == mcnemar(second, first, clusters)
    assert p is not None
    assert 0 < p <= 1


def test_repeats_of_a_question_are_no_further_evidence() -> None:
    first, second = discordant(7, 1, 4)
    repeated = [[value for value in values for _ in range(5)] for values in (first, second)]
    questions = [place for place in range(12) for _ in range(5)]
    assert mcnemar(repeated[0], repeated[1], questions) == pytest.approx(mcnemar(first, second))


def test_five_discordant_clusters_cannot_differ_at_5_per_cent() -> None:
    first, second = [1.0] * 50, [0.0] * 50
    assert mcnemar(first, second, [place // 10 for place in range(50)]) == pytest.approx(2 / 2**5)


def test_samples_that_lack_an_answer_are_left_out() -> None:
    first, second = discordant(7, 1)
    assert mcnemar([None, *first, 1.0], [1.0, *second, None]) == mcnemar(first, second)
    assert mcnemar([None, *first, 1.0], [1.0, *second, None], range(11)) == mcnemar(first, second)


def test_without_a_pair_there_is_no_p() -> None:
    assert mcnemar([None, 1.0], [1.0, None]) is None
    assert mcnemar([], []) is None


def test_mcnemar_of_other_values_is_an_error() -> None:
    with pytest.raises(ValueError, match="values of 0 and 1"):
        mcnemar([0.5, 1.0], [1.0, 0.0])


def test_all_swaps_of_few_clusters_are_made() -> None:
    first, second = [0.9, 0.8, 0.7, 0.4, 0.6], [0.5, 0.9, 0.2, 0.1, 0.5]
    expected = by_all_swaps(first, second, [0, 1, 2, 3, 4])
    assert swap_tests([(mean_of(first), mean_of(second))], ones(5)) == [pytest.approx(expected)]


def test_all_swaps_equal_the_permutation_test_of_scipy() -> None:
    chance = np.random.default_rng(1)
    first, second = chance.random(11), chance.random(11) + 0.2
    expected = permutation_test(
        (first, second), lambda a, b: np.mean(a) - np.mean(b), permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert swap_tests([(mean_of(first.tolist()), mean_of(second.tolist()))], ones(11)) == [pytest.approx(expected)]


def test_random_swaps_come_near_all_swaps() -> None:
    chance = np.random.default_rng(2)
    pair = (mean_of(chance.random(12).tolist()), mean_of((chance.random(12) + 0.25).tolist()))
    exact, drawn = swap_tests([pair], ones(12))[0], swap_tests([pair], ones(12), swaps=4_000)[0]
    assert exact is not None
    assert drawn == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 4_000) ** 0.5)


def test_swap_tests_of_right_and_wrong_come_near_mcnemar() -> None:
    first, second = discordant(24, 11, 40)
    found = swap_tests([(mean_of(first), mean_of(second))], ones(75))[0]
    assert found == pytest.approx(mcnemar(first, second), abs=0.01)


def test_clusters_are_swapped_whole_in_means() -> None:
    chance = np.random.default_rng(3)
    first, second, clusters = chance.random(30).tolist(), (chance.random(30) + 0.2).tolist(), [p % 7 for p in range(30)]
    found = swap_tests([(mean_of(first), mean_of(second))], ones(30), clusters)
    assert found == [pytest.approx(by_all_swaps(first, second, clusters))]


def test_macro_f1_is_tested_by_computing_it_anew() -> None:
    gold, labels = ["E", "N", "C", "E", "N", "C", "E", "N"], ["E", "N", "C"]
    said = (["E", "N", "C", "E", "N", "N", "E", "C"], ["E", "E", "C", "N", "C", "C", "N", None])
    found = swap_tests([(macro_f1(said[0], gold, labels), macro_f1(said[1], gold, labels))], ones(8))[0]
    apart = []
    for swaps in product((0, 1), repeat=8):
        pair = [
            macro_f1([said[side ^ swap][place] for place, swap in enumerate(swaps)], gold, labels) for side in (0, 1)
        ]
        apart.append(abs(float(pair[0](ones((1, 8)))[0] - pair[1](ones((1, 8)))[0])))
    assert found == pytest.approx(np.mean(np.array(apart) >= apart[0] - 1e-12))


def test_swaps_leave_each_model_what_it_has_where_the_other_lacks_a_value() -> None:
    first, second = [0.9, None, 0.7, 0.8], [0.1, 0.2, None, 0.3]
    apart = []
    for swaps in product((0, 1), repeat=4):
        pair = [[(first, second)[side ^ swap][place] for place, swap in enumerate(swaps)] for side in (0, 1)]
        means = [np.mean([value for value in values if value is not None]) for values in pair]
        apart.append(abs(means[0] - means[1]))
    expected = np.mean(np.array(apart) >= apart[0] - 1e-12)
    assert swap_tests([(mean_of(first), mean_of(second))], ones(4)) == [pytest.approx(expected)]


def test_a_swap_that_leaves_nothing_defined_counts_against_a_difference() -> None:
    # Of four swaps two give all values to one of them.
    assert swap_tests([(mean_of([0.9, None]), mean_of([None, 0.1]))], ones(2)) == [1.0]


def test_a_difference_of_nothing_has_p_1() -> None:
    same = mean_of([0.3, 0.6, 0.1])
    assert swap_tests([(same, same)], ones(3)) == [1.0]


def test_no_random_swap_gives_a_p_of_0() -> None:
    first, second = [1.0] * 40, [0.0] * 40
    assert swap_tests([(mean_of(first), mean_of(second))], ones(40), swaps=999) == [1 / 1000]


def test_p_values_do_not_depend_on_what_else_is_tested() -> None:
    chance = np.random.default_rng(4)
    pairs = [(mean_of(chance.random(50).tolist()), mean_of(chance.random(50).tolist())) for _ in range(7)]
    together = swap_tests(pairs, ones(50), swaps=1_000)
    assert together == [swap_tests([pair], ones(50), swaps=1_000)[0] for pair in pairs]
    assert together != swap_tests(pairs, ones(50), swaps=1_000, seed=1)


def test_what_is_undefined_or_no_sum_is_not_tested() -> None:
    some = mean_of([1.0, 0.0])
    assert swap_tests([(some, mean_of([None, None])), (some, lambda counts: counts[:, 0])], ones(2)) == [None, None]


def test_statistics_that_sum_different_things_cannot_be_swapped() -> None:
    with pytest.raises(ValueError, match="cannot be swapped"):
        swap_tests([(mean_of([1.0]), macro_f1(["E"], ["E"], ["E", "N"]))], ones(1))


def test_weights_enter_the_test() -> None:
    first, second = [1.0, 0.0, 0.0], [0.0, 1.0, 1.0]
    pair = (mean_of(first), mean_of(second))
    # Two losses and one win of weight 2 are as good as each other.
    assert swap_tests([pair], np.array([2.0, 1, 1])) == [1.0]
    assert swap_tests([pair], np.array([1.0, 2, 2])) == [0.5]


def test_nothing_to_test() -> None:
    assert swap_tests([], ones(3)) == []
    assert swap_tests([(mean_of([]), mean_of([]))], ones(0)) == [None]
