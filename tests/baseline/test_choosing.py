"""Probabilities and forms over the wire."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.baseline.test_server import chat, client_of
from tests.support import Server, running_server

OVERLAP = "baseline-overlap"
OPTIONS = "She takes warfarin. Which drug thins the blood?\nA: Aspirin\nB: The drug warfarin\nC: Insulin"
IN_FULL = "Begin with 'The correct answer is', the letter, a colon and the text."
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "answer",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"answer": {"type": "string", "enum": ["A", "B", "C"]}},
            "required": ["answer"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    with client_of(server) as opened:
        yield opened


def ask(client: openai.OpenAI, *turns: str, **options: Any) -> Any:
    """The choice that comes back; further turns are the assistant's."""
    messages = [{"role": "user", "content": OPTIONS}, *({"role": "assistant", "content": turn} for turn in turns)]
    return chat(client, OVERLAP, messages=options.pop("messages", messages), **options).choices[0]


def test_a_chat_tells_how_likely_each_token_was(client: openai.OpenAI) -> None:
    choice = ask(client, logprobs=True, top_logprobs=2)
    (token,) = choice.logprobs.content
    assert (token.token, token.bytes) == ("B", [66])
    assert math.exp(token.logprob) == pytest.approx(0.6, abs=1e-3)
    assert [one.token for one in token.top_logprobs] == ["B", "A"]


def test_a_chat_tells_no_more_than_it_is_asked_for(client: openai.OpenAI) -> None:
    assert ask(client).logprobs is None
    assert ask(client, logprobs=True).logprobs.content[0].top_logprobs == []


def test_a_stream_tells_how_likely_each_token_was(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": f"{IN_FULL}\n{OPTIONS}"}]
    asked = {"messages": messages, "logprobs": True, "top_logprobs": 5}
    whole = ask(client, **asked).logprobs.content
    chunks = list(chat(client, OVERLAP, stream=True, **asked))
    told = [chunk.choices[0].logprobs.content for chunk in chunks[1:-1]]
    assert all(len(tokens) == 1 for tokens in told)
    assert [tokens[0] for tokens in told] == whole
    assert (chunks[0].choices[0].logprobs, chunks[-1].choices[0].logprobs) == (None, None)


def test_a_begun_answer_goes_on_with_the_likeliest_choice(client: openai.OpenAI) -> None:
    messages = [
        {"role": "user", "content": f"{IN_FULL}\n{OPTIONS}"},
        {"role": "assistant", "content": "The correct answer is"},
    ]
    continued = {"continue_final_message": True, "add_generation_prompt": False}
    choice = ask(client, messages=messages, max_tokens=1, logprobs=True, top_logprobs=20, extra_body=continued)
    assert choice.message.content == " B"
    assert {one.token for one in choice.logprobs.content[0].top_logprobs} == {" A", " B", " C"}


def test_a_model_that_is_to_say_nothing_else_names_the_letter_alone(client: openai.OpenAI) -> None:
    wish = f"{IN_FULL}\n{OPTIONS}\n\nNow answer with one of these and nothing else: A, B, C"
    assert ask(client, messages=[{"role": "user", "content": wish}]).message.content == "B"


def test_a_text_completion_tells_how_likely_each_token_was(client: openai.OpenAI) -> None:
    completion = client.completions.create(model=OVERLAP, prompt=OPTIONS, logprobs=3)
    told = completion.choices[0].logprobs
    assert told is not None
    assert told.tokens == ["B"]
    assert told.text_offset == [len(OPTIONS)]
    assert told.top_logprobs is not None
    assert list(told.top_logprobs[0]) == ["B", "A", "C"]
    assert told.token_logprobs == [told.top_logprobs[0]["B"]]


def test_a_streamed_text_completion_tells_where_each_token_stands(client: openai.OpenAI) -> None:
    prompt = f"{IN_FULL}\n{OPTIONS}"
    chunks = list(client.completions.create(model=OVERLAP, prompt=prompt, logprobs=1, stream=True))
    told = [chunk.choices[0].logprobs for chunk in chunks[:-1]]
    texts = [chunk.choices[0].text for chunk in chunks[:-1]]
    offsets = [offset for one in told if one and one.text_offset for offset in one.text_offset]
    assert offsets == [len(prompt) + sum(map(len, texts[:place])) for place in range(len(texts))]


@pytest.mark.parametrize(
    "options",
    [
        {"logprobs": True, "top_logprobs": 21},
        {"logprobs": True, "top_logprobs": -1},
        {"top_logprobs": 3},
        {"logprobs": 3},
        {"logprobs": False, "top_logprobs": 1},
    ],
)
def test_probabilities_asked_for_in_a_wrong_way_are_refused(client: openai.OpenAI, options: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError):
        ask(client, **options)


def test_a_schema_is_kept_to(client: openai.OpenAI) -> None:
    assert json.loads(ask(client, response_format=SCHEMA).message.content) == {"answer": "B"}


def test_a_stream_keeps_to_a_schema_too(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": OPTIONS}]
    chunks = list(chat(client, OVERLAP, messages=messages, response_format=SCHEMA, stream=True))
    assert json.loads("".join(chunk.choices[0].delta.content or "" for chunk in chunks)) == {"answer": "B"}


def test_any_object_holds_the_answer(client: openai.OpenAI) -> None:
    choice = ask(client, response_format={"type": "json_object"})
    assert json.loads(choice.message.content) == {"answer": "B"}


def test_vllm_s_choice_is_kept_to(client: openai.OpenAI) -> None:
    asked = {"structured_outputs": {"choice": ["aspirin", "the drug warfarin"]}}
    assert ask(client, extra_body=asked).message.content == "the drug warfarin"
    completion = client.completions.create(model=OVERLAP, prompt=OPTIONS, extra_body=asked)
    assert completion.choices[0].text == "the drug warfarin"


def test_a_choice_has_the_choices_for_its_likeliest_tokens(client: openai.OpenAI) -> None:
    asked = {"structured_outputs": {"choice": ["YES", "NOT"]}}
    choice = ask(client, extra_body=asked, logprobs=True, top_logprobs=20)
    assert {one.token for one in choice.logprobs.content[0].top_logprobs} == {"YES", "NOT"}


def test_what_vllm_no_longer_knows_is_ignored(client: openai.OpenAI) -> None:
    assert ask(client, extra_body={"guided_choice": ["YES", "NOT"]}).message.content == "B"


def test_a_schema_that_cannot_be_kept_to_is_refused_in_openai_s_shape(client: openai.OpenAI) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array"}}}
    with pytest.raises(openai.BadRequestError, match="Unsupported schema") as caught:
        ask(client, response_format=schema)
    assert (caught.value.type, caught.value.param) == ("invalid_request_error", "response_format")


def test_two_forms_at_once_are_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="exclude each other"):
        ask(client, response_format=SCHEMA, extra_body={"structured_outputs": {"choice": ["A"]}})


def test_a_server_may_ignore_forms_and_tell_no_probabilities() -> None:
    with running_server("--ignore-constraints", "--no-logprobs") as server, client_of(server) as client:
        choice = ask(client, response_format=SCHEMA, logprobs=True, top_logprobs=5)
        assert (choice.message.content, choice.logprobs) == ("B", None)
        # Not even what it could not keep to does it refuse.
        assert ask(client, response_format={"type": "grammar"}).message.content == "B"
        completion = client.completions.create(model=OVERLAP, prompt=OPTIONS, logprobs=3)
        assert completion.choices[0].logprobs is None
