from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tasks.test_meqsum import TASK, real_file
from wardround.retrieval import Lexical
from wardround.retrieval.lexical import K1, STOP_WORDS, B, best_places, words_of

NOTES = ["Potassium 5.8, K 5 in the evening.", "HbA1c 7.2 % in May.", "Vitamin D was low.", "Afebrile, no cough."]


def places(query: str, texts: list[str] | None = None, k: int = 10) -> list[int]:
    return [place for place, _ in Lexical(NOTES if texts is None else texts).search(query, k)]


@pytest.mark.parametrize(
    ("query", "first"), [("K 5", 0), ("7.2 %", 1), ("7.2%", 1), ("vitamin D", 2), ("vitamins", 2), ("POTASSIUM", 0)]
)
def test_what_clinicians_write_in_one_character_is_found(query: str, first: int) -> None:
    assert places(query)[0] == first


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("HER2-neu", ["her2-neu", "her2", "neu"]),
        ("RR 120/80", ["rr", "120/80", "120", "80"]),
        ("7.2%", ["7.2%", "7.2", "7", "2"]),
        ("the infections of a patient", ["infection", "patient"]),
        ("biopsies", ["biopsy"]),
        ("pus, virus, abscess", ["pus", "virus", "abscess"]),
        ("Ménière", ["meniere"]),
        ("no fever without chills", ["no", "fever", "without", "chill"]),
        ("", []),
    ],
)
def test_words_are_folded_and_compounds_are_found_by_their_parts(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_a_query_of_stop_words_alone_finds_nothing() -> None:
    assert places("what is the of a") == []


@pytest.mark.parametrize("texts", [[], [""], ["the", "of"]])
def test_a_corpus_without_a_word_has_nothing_to_find(texts: list[str]) -> None:
    assert places("fever", texts) == []


def test_more_is_wanted_than_there_is() -> None:
    assert places("potassium vitamin cough", k=1000) == [2, 3, 0]


def test_a_text_that_shares_no_word_is_no_hit() -> None:
    assert places("potassium") == [0]


def test_equal_scores_keep_the_texts_order() -> None:
    assert places("fever", ["fever", "chills", "fever", "fever"], k=2) == [0, 2]


def test_fewer_than_one_cannot_be_wanted() -> None:
    with pytest.raises(ValueError, match="k is 0"):
        Lexical(NOTES).search("fever", 0)


def test_scores_are_those_of_the_formula() -> None:
    texts = ["fever fever chills", "cough", "fever cough nausea pain"]
    found = dict(Lexical(texts).search("fever", 3))
    mean_length = 8 / 3
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    for place, times, length in ((0, 2, 3), (2, 1, 4)):
        expected = idf * times / (times + K1 * (1 - B + B * length / mean_length))
        assert found[place] == pytest.approx(expected, rel=1e-5)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(1, 40))
def test_the_best_places_are_those_of_a_full_sort(scores: list[int], k: int) -> None:
    k = min(k, len(scores))
    expected = sorted(range(len(scores)), key=lambda place: (-scores[place], place))[:k]
    assert best_places(np.array(scores, np.float32), k).tolist() == expected


def test_stop_words_leave_what_carries_a_finding() -> None:
    assert not STOP_WORDS & {"no", "not", "without", "d", "k"}


def test_the_real_meqsum_finds_a_summarys_question() -> None:
    samples = TASK.load(real_file())
    index = Lexical([sample.inputs["message"] for sample in samples])
    found = [[place for place, _ in index.search(sample.reference, 10)] for sample in samples]
    assert sum(hits[:1] == [place] for place, hits in enumerate(found)) >= 690
    assert sum(place in hits for place, hits in enumerate(found)) >= 890
