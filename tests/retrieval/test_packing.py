"""Documents packed into a budget of tokens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wardround.retrieval.packing import cut_lines, packed, shortened
from wardround.task import Document

DOCUMENTS = [Document("a", "one two three"), Document("b", "four five. Six seven."), Document("c", "eight")]


def words(text: str) -> int:
    return len(text.split())


def test_documents_are_packed_in_the_order_given_and_the_first_that_does_not_fit_ends_it() -> None:
    assert list(packed(DOCUMENTS, ["c", "a", "b"], 10, 1, words)) == ["c", "a", "b"]
    kept = packed(DOCUMENTS, ["b", "c"], 4, 1, words)
    assert {name: one.text for name, one in kept.items()} == {"b": "four five."}


def test_what_the_order_does_not_name_comes_last_and_unknown_names_are_none() -> None:
    assert list(packed(DOCUMENTS, ["c", "elsewhere"], 100, 1, words)) == ["c", "a", "b"]


def test_what_was_cut_is_said_and_where_the_answer_stands() -> None:
    kept = packed(DOCUMENTS, ["b"], 4, 1, words)
    assert cut_lines(DOCUMENTS, kept, {"a", "b"}, words) == [
        "a (holds the answer): left out, 3 tokens",
        "b (holds the answer): shortened from 4 to 2 tokens",
        "c: left out, 1 tokens",
    ]


@given(st.lists(st.text(max_size=60), max_size=5), st.integers(-3, 60), st.integers(0, 3))
def test_what_is_kept_fits_with_its_headings_and_begins_as_the_document_does(
    texts: list[str], room: int, heading: int
) -> None:
    documents = [Document(str(number), text) for number, text in enumerate(texts)]
    kept = packed(documents, [], room, heading, words)
    assert sum(words(one.text) + heading for one in kept.values()) <= max(room, 0)
    assert all(document.text.startswith(kept[document.id].text) for document in documents if document.id in kept)
    assert all(words(shortened(text, room, words)) <= max(room, 0) for text in texts)
