from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.retrieval import Passage, passages_of
from wardround.task import Document

TEXTS = st.lists(
    st.sampled_from(
        ["Fever. ", "BP 120/80. ", "K 5,", "\n", "\n\n", "Seen 01.02.2021. ", "a " * 9, "x", " ", "Ménière ", "(F) "]
    ),
    max_size=60,
).map("".join)


def cut(text: str, length: int = 10, overlap: float = 0.25) -> list[Passage]:
    return passages_of(Document("d", text), length=length, overlap=overlap)


def words(text: str) -> int:
    return len(re.findall(r"\w+|[^\w\s]", text))


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.integers(1, 30), st.sampled_from([0.0, 0.25, 0.5, 0.9]))
def test_every_word_is_in_a_passage_and_no_passage_in_another(text: str, length: int, overlap: float) -> None:
    found = cut(text, length, overlap)
    covered = {place for one in found for place in range(one.start, one.end)}
    assert all(place in covered for place, letter in enumerate(text) if not letter.isspace())
    for before, after in itertools.pairwise(found):
        assert before.start < after.start
        assert before.end < after.end
    assert all(0 < words(one.text) <= length for one in found)
    assert all(one.text == text[one.start : one.end].strip() for one in found)
    assert [one.place for one in found] == list(range(len(found)))


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.integers(4, 30))
def test_neighbours_share_no_more_than_the_overlap(text: str, length: int) -> None:
    found = cut(text, length, 0.25)
    for before, after in itertools.pairwise(found):
        if after.start < before.end:
            assert words(text[after.start : before.end]) <= 0.25 * length


def test_a_passage_ends_at_the_end_of_a_sentence() -> None:
    found = cut("One two three four. Five six seven eight. Nine ten.", length=10, overlap=0.0)
    assert [one.text for one in found] == ["One two three four. Five six seven eight.", "Nine ten."]


def test_a_short_letter_is_one_passage() -> None:
    assert [one.text for one in cut("No fever.\n")] == ["No fever."]


@pytest.mark.parametrize("text", ["", " \n\t\n"])
def test_a_text_without_a_word_has_no_passage(text: str) -> None:
    assert cut(text) == []


def test_a_passage_names_the_last_date_before_it() -> None:
    text = "Seen on 03/01/2021 here.\nLabs of 9 February 2021 follow.\nAll was fine then.\n"
    assert [one.dated for one in cut(text, length=9, overlap=0.0)] == ["", "03/01/2021", "9 February 2021"]


def test_an_id_is_document_and_place() -> None:
    assert [one.id for one in cut("One two three.\nFour five six.\n", length=4, overlap=0.0)] == ["d#0", "d#1"]


@pytest.mark.parametrize(("length", "overlap"), [(0, 0.2), (5, -0.1), (5, 0.95)])
def test_lengths_that_make_no_sense_are_refused(length: int, overlap: float) -> None:
    with pytest.raises(ValueError, match="a passage has a length"):
        cut("x", length, overlap)
