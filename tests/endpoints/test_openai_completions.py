from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.endpoints.exchange import PROMPT, UNHURRIED, USAGE, Exchange, ask, either_way
from tests.wire.raw_server import LAST_CHUNK, STREAM_HEAD, event, event_stream, json_answer
from wardround.endpoints import OpenAICompletions, Params, Reply
from wardround.task import Prompt


def completion(text: Any, finish_reason: str | None = "stop", **fields: Any) -> dict[str, Any]:
    """A whole text completion."""
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}
    return {"object": "text_completion", "model": "m", "choices": [choice], "usage": USAGE, **fields}


def piece(text: Any, finish_reason: str | None = None) -> dict[str, Any]:
    """One event of a streamed one."""
    return completion(text, finish_reason, usage=None)


LAST = {"object": "text_completion", "model": "m", "choices": [], "usage": USAGE}


def ask_text(*steps: Any, **options: Any) -> Exchange:
    return ask(*steps, door=OpenAICompletions, **options)


def ask_either(streamed: bool, *texts: Any, finish_reason: str = "stop", **options: Any) -> Exchange:
    if streamed:
        contents = [*map(piece, texts), piece("", finish_reason), LAST]
        return ask_text(event_stream(*contents), stream=True, **options)
    return ask_text(json_answer(completion("".join(texts), finish_reason)), **options)


def test_the_question_goes_to_completions_as_one_text() -> None:
    [asked] = ask_text(json_answer(completion("Yes."))).asked
    assert (asked.method, asked.target) == ("POST", "/v1/completions")
    assert asked.json() == {
        "model": "m",
        "prompt": "Answer briefly.\n\nIs aspirin an NSAID?\n\n",
        "max_tokens": 20,
        "temperature": 0.0,
    }


def test_all_options_are_sent_as_for_a_chat() -> None:
    params = Params(
        max_tokens=5, temperature=0.5, top_p=0.9, seed=0, stop=("\n",), extra_body={"min_p": 0.1, "max_tokens": 6}
    )
    sent = ask_text(json_answer(completion("a")), params=params).sent
    assert {name: sent[name] for name in sent if name not in ("model", "prompt")} == {
        "max_tokens": 6,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 0,
        "stop": ["\n"],
        "min_p": 0.1,
    }


@either_way
def test_text_finish_reason_and_usage_are_read(streamed: bool) -> None:
    reply = ask_either(streamed, "Yes", ", it is.").reply
    assert (reply.text, reply.finish_reason) == ("Yes, it is.", "stop")
    assert (reply.prompt_tokens, reply.output_tokens) == (11, 2)
    assert (reply.first_token_ns is not None) == streamed


@either_way
def test_reasoning_written_into_the_text_is_kept_apart(streamed: bool) -> None:
    reply = ask_either(streamed, "<think>Hm.", "</think>Yes.").reply
    assert (reply.text, reply.reasoning) == ("Yes.", "Hm.")


@either_way
def test_a_text_cut_inside_its_reasoning_is_a_failure(streamed: bool) -> None:
    assert ask_either(streamed, "<think>Hm.", finish_reason="length").failure.kind == "cut_in_reasoning"


@either_way
def test_an_error_status_is_the_failure_it_means(streamed: bool) -> None:
    refusal = json_answer({"error": {"message": "maximum context length is 8", "code": 400}}, 400)
    assert ask_text(refusal, stream=streamed).failure.kind == "context_overflow"


@pytest.mark.parametrize("text", [7, {"a": "b"}, True])
@either_way
def test_what_is_no_text_is_a_bad_reply(streamed: bool, text: Any) -> None:
    answer = event_stream(piece(text), LAST) if streamed else json_answer(completion(text))
    assert ask_text(answer, stream=streamed).failure.kind == "bad_reply"


def test_a_chat_completion_is_no_text_completion() -> None:
    content = {"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}]}
    assert ask_text(json_answer(content)).failure.kind == "bad_reply"


def test_a_stream_that_ends_without_finish_reason_is_broken() -> None:
    stream = STREAM_HEAD + event(piece("Yes")) + event(b"[DONE]") + LAST_CHUNK
    assert ask_text(stream, stream=True).failure.kind == "broken_stream"


def test_llama_cpp_s_chat_form_of_likelihoods_is_read_for_text_too() -> None:
    content = completion("B", "length")
    content["choices"][0]["logprobs"] = {"content": [{"token": "B", "logprob": -0.5, "top_logprobs": []}]}
    asked = Prompt(PROMPT.messages, choices=("A", "B"))
    reply = ask_text(json_answer(content), prompt=asked, params=Params(max_tokens=9, choose="logprobs")).reply
    assert (reply.text, reply.logprobs) == ("B", {"B": -0.5})


VALUES: st.SearchStrategy[Any] = st.sampled_from([None, "", "Yes.", "\ud800", 7, True, [], ["a"], {}])
CHOICES = st.fixed_dictionaries({}, optional={"text": VALUES, "finish_reason": VALUES, "logprobs": VALUES})
CONTENTS = st.fixed_dictionaries({}, optional={"choices": st.lists(CHOICES | VALUES, max_size=2), "usage": VALUES})


@settings(UNHURRIED, max_examples=40)
@given(st.lists(CONTENTS | VALUES, min_size=1, max_size=4), st.booleans())
def test_any_json_for_an_answer_is_a_reply_or_a_failure(contents: list[Any], streamed: bool) -> None:
    answer = event_stream(*contents) if streamed else json_answer(contents[0])
    outcome = ask_text(answer, stream=streamed).outcome
    said = outcome.text if isinstance(outcome, Reply) else outcome.words
    assert re.search("[\ud800-\udfff]", said) is None
