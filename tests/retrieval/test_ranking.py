"""Vectors, fusion, and how good a ranking was."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.retrieval import Passage, quality_of, reciprocal_ranks, third_of
from wardround.retrieval.vectors import Vectors, unit_rows

MATRIX = unit_rows(np.array([[1, 0], [1, 1], [0, 1], [0, 0]], np.float32))


def query(*numbers: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array(numbers, np.float32)


def test_the_nearest_come_first_whatever_the_querys_length() -> None:
    found = Vectors(MATRIX).search(query(0, 7), 3)
    assert [place for place, _ in found] == [2, 1, 0]
    assert [score for _, score in found] == pytest.approx([1, math.sqrt(0.5), 0])


def test_a_file_is_mapped_and_searched_alike(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", MATRIX)
    assert Vectors.of_file(tmp_path / "m.npy").search(query(1, 0), 9) == Vectors(MATRIX).search(query(1, 0), 9)


def test_a_query_without_direction_is_like_nothing() -> None:
    assert Vectors(MATRIX).search(query(0, 0), 3) == []


def test_an_empty_matrix_has_nothing_to_find() -> None:
    assert Vectors(np.empty((0, 0), np.float32)).search(query(1, 0), 3) == []


@pytest.mark.parametrize(
    ("vector", "k", "words"),
    [(query(1), 1, "dimensions"), (query(1, 0), 0, "k is 0"), (query(math.nan, 0), 1, "finite")],
)
def test_queries_that_make_no_sense_are_refused(
    vector: np.ndarray[tuple[int], np.dtype[np.float32]], k: int, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Vectors(MATRIX).search(vector, k)


def test_fusion_adds_reciprocal_ranks() -> None:
    found = reciprocal_ranks([["a", "b"], ["b", "c"]])
    assert [item for item, _ in found] == ["b", "a", "c"]
    assert dict(found)["b"] == pytest.approx(1 / 62 + 1 / 61)


@given(st.lists(st.integers(0, 9), max_size=12))
def test_a_ranking_fused_with_itself_stays(ranking: list[int]) -> None:
    assert [item for item, _ in reciprocal_ranks([ranking, ranking])] == list(dict.fromkeys(ranking))


POOL = [Passage("a", place, 10 * place, 10 * place + 12, "t") for place in range(4)] + [Passage("b", 0, 0, 20, "t")]
GOLD = {"a": [(12, 18)], "b": [(0, 5)]}


def test_quality_by_hand() -> None:
    found = quality_of([POOL[3], POOL[1], POOL[0]], GOLD, POOL, 3)
    assert found is not None
    assert (found.hit, found.recall, found.reciprocal_rank) == (1, 0.5, 0.5)
    assert found.span_recall == pytest.approx(6 / 11)
    # Two passages hold an answer: the best order has them first and second.
    assert found.ndcg == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))


def test_the_best_order_has_all_of_everything() -> None:
    found = quality_of([POOL[1], POOL[4]], GOLD, POOL, 2)
    assert found is not None
    assert (found.hit, found.recall, found.span_recall, found.ndcg, found.reciprocal_rank) == (1, 1, 1, 1, 1)


def test_nothing_found_is_nought_and_no_gold_is_nothing() -> None:
    found = quality_of([], GOLD, POOL, 10)
    assert found is not None
    assert (found.hit, found.recall, found.span_recall, found.ndcg, found.reciprocal_rank) == (0, 0, 0, 0, 0)
    assert quality_of(POOL, {}, POOL, 3) is None
    assert quality_of(POOL, {"a": [(5, 5)]}, POOL, 3) is None


def test_only_the_first_k_count() -> None:
    found = quality_of([POOL[3], POOL[1]], GOLD, POOL, 1)
    assert found is not None
    assert found.hit == 0


@pytest.mark.parametrize(("place", "third"), [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_the_third_in_which_the_answer_stands(place: int, third: int) -> None:
    shown = [POOL[3]] * 6
    shown[place] = POOL[1]
    assert third_of(shown, GOLD) == third


def test_no_third_without_the_answer() -> None:
    assert third_of([POOL[3]], GOLD) is None
