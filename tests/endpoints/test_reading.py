"""What is done to every answer, whatever protocol it came by: the beginning that llama.cpp repeats."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.endpoints.exchange import ask, completion, piece
from tests.wire.raw_server import event_stream, json_answer
from wardround.catalogue import Model
from wardround.endpoints import Params, Reply
from wardround.endpoints.reading import Times, read_message, reply_of
from wardround.task import Message, Prompt

TIMINGS = {"cache_n": 0, "prompt_n": 30, "prompt_ms": 10.3, "predicted_n": 5, "predicted_ms": 1.2}
BEGUN = Prompt((Message("user", "Is aspirin an NSAID?"),), prefill="The answer is")


def of_llama_cpp(text: str) -> dict[str, Any]:
    return completion({"content": text}, timings=TIMINGS)


def reply_to_begun(content: dict[str, Any], **row: Any) -> str:
    return ask(json_answer(content), prompt=BEGUN, **row).reply.text


def test_the_beginning_that_llama_cpp_repeats_is_no_part_of_the_answer() -> None:
    assert reply_to_begun(of_llama_cpp("The answer is yes.")) == " yes."


def test_what_the_model_says_again_is_its_answer() -> None:
    assert reply_to_begun(of_llama_cpp("The answer isThe answer is yes.")) == "The answer is yes."


@pytest.mark.parametrize("text", [" yes.", "the answer is yes.", "", "The answer"])
def test_an_answer_without_the_very_beginning_is_left_as_it_is(text: str) -> None:
    assert reply_to_begun(of_llama_cpp(text)) == text


@pytest.mark.parametrize("timings", [None, {}, {"total_ms": 3}, [1], "fast"])
def test_another_server_s_answer_is_left_as_it_is(timings: Any) -> None:
    content = completion({"content": "The answer is yes."}, timings=timings)
    assert reply_to_begun(content) == "The answer is yes."


def test_a_beginning_that_was_not_sent_is_the_model_s_own() -> None:
    assert reply_to_begun(of_llama_cpp("The answer is yes."), prefill="drop") == "The answer is yes."


def test_a_streamed_answer_is_left_as_it_is_since_llama_cpp_repeats_nothing_there() -> None:
    last = piece({}, "stop", timings=TIMINGS)
    steps = event_stream(piece({"content": "The answer is"}), piece({"content": " yes."}), last)
    assert ask(steps, prompt=BEGUN, stream=True).reply.text == "The answer is yes."


def test_a_text_that_begins_with_its_own_end_is_left_as_it_is() -> None:
    content = {
        "choices": [{"text": "The answer is yes.", "finish_reason": "stop"}],
        "timings": TIMINGS,
    }
    exchange = ask(json_answer(content), prompt=BEGUN, params=Params(max_tokens=20, template="plain"))
    assert exchange.asked[0].target == "/v1/completions"
    assert exchange.reply.text == "The answer is yes."


# No surrogates: those are replaced, since no journal can hold them.
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]))


@given(prefill=WORDS, said=WORDS)
def test_whatever_was_begun_only_what_was_said_is_left(prefill: str, said: str) -> None:
    reply = reply_of(
        read_message(of_llama_cpp(prefill + said)),
        Times(0),
        prompt=Prompt(BEGUN.messages, prefill=prefill),
        params=Params(max_tokens=20),
        model=Model(name="m", reasoning="none"),
        form="json",
        endpoint="",
    )
    assert isinstance(reply, Reply)
    assert reply.text == said
