from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.endpoints.exchange import UNHURRIED, ask, completion
from tests.wire.raw_server import json_answer
from wardround.endpoints.reasoning import Style, split_answer

HUATUO = "## Thinking\n\nAspirin inhibits COX.\n\n## Final Response\n\nYes, it is."
STYLES: list[Style] = ["auto", "final-response", "none"]


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        pytest.param(HUATUO, "## Thinking\n\nAspirin inhibits COX.", "Yes, it is.", id="as HuatuoGPT-o1 writes it"),
        pytest.param("## Final Response: B", "", "B", id="on one line"),
        pytest.param("a\n### final response\nB", "a", "B", id="another level and case"),
        pytest.param(
            "One. ## Final Response\nin the middle of a line",
            "",
            "One. ## Final Response\nin the middle of a line",
            id="no heading",
        ),
        pytest.param("## Final Response\nA\n## Final Response\nB", "## Final Response\nA", "B", id="two of them"),
        pytest.param("Yes.", "", "Yes.", id="none at all"),
        pytest.param("## Final Responses\nB", "", "## Final Responses\nB", id="another heading"),
    ],
)
def test_the_answer_stands_below_the_last_heading(text: str, reasoning: str, answer: str) -> None:
    assert split_answer(text, "final-response")[:2] == (reasoning, answer)


@pytest.mark.parametrize(("text", "closed"), [(HUATUO, True), ("## Thinking\n\nAspirin", False)])
def test_only_the_heading_says_that_the_answer_has_begun(text: str, closed: bool) -> None:
    assert split_answer(text, "final-response")[2] is closed


def test_nothing_is_taken_off_where_the_row_says_so() -> None:
    text = "<think>Hm.</think>Yes."
    assert split_answer(text, "none") == ("", text, True)


@UNHURRIED
@given(st.text(), st.sampled_from(STYLES))
def test_reasoning_and_answer_are_parts_of_what_was_written(text: str, style: Style) -> None:
    reasoning, answer, _ = split_answer(text, style)
    assert text.find(reasoning) <= text.rfind(answer)
    assert len(reasoning) + len(answer) <= len(text)


@UNHURRIED
@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_written_below_the_heading_is_the_answer(thought: str, answer: str) -> None:
    found = split_answer(f"{thought}\n## Final Response\n\n{answer}", "final-response")
    if "Final Response" not in answer:
        assert found == (thought.strip(), answer.strip(), True)


def test_an_answer_below_the_heading_is_kept_apart_from_the_thinking() -> None:
    reply = ask(json_answer(completion({"content": HUATUO})), reasoning="final-response").reply
    assert (reply.text, reply.reasoning) == ("Yes, it is.", "## Thinking\n\nAspirin inhibits COX.")


@pytest.mark.parametrize("text", ["## Thinking\n\nAspirin", "## Thinking\n\nHm.\n\n## Final Response\n"])
def test_an_answer_cut_before_anything_stands_below_the_heading_is_a_failure(text: str) -> None:
    failure = ask(json_answer(completion({"content": text}, "length")), reasoning="final-response").failure
    assert (failure.kind, failure.retryable) == ("cut_in_reasoning", False)


def test_a_whole_answer_without_the_heading_is_all_answer() -> None:
    assert ask(json_answer(completion({"content": "Yes."})), reasoning="final-response").reply.text == "Yes."


def test_a_row_without_reasoning_keeps_tags_in_the_answer() -> None:
    reply = ask(json_answer(completion({"content": "<think>x</think>y"})), reasoning="none").reply
    assert (reply.text, reply.reasoning) == ("<think>x</think>y", "")
