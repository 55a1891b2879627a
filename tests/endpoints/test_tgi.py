from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.endpoints.exchange import KEY, PROMPT, UNHURRIED, Exchange, ask, either_way
from tests.wire.raw_server import LAST_CHUNK, NEVER_S, STREAM_HEAD, Then, chunk, http_answer, json_answer
from wardround.endpoints import Params, Reply
from wardround.endpoints.choosing import answer_schema
from wardround.endpoints.templates import read_template
from wardround.endpoints.tgi import TextGeneration
from wardround.study import Deadlines
from wardround.task import Prompt

LETTERS = ("A", "B", "C")
ASKED = Prompt(PROMPT.messages, choices=LETTERS)


def token(text: str, logprob: float = -0.5, special: bool = False) -> dict[str, Any]:
    return {"id": sum(text.encode()), "text": text, "logprob": logprob, "special": special}


def whole(text: str, finish_reason: str = "eos_token", **details: Any) -> dict[str, Any]:
    """The answer of /generate, as version 3 writes it."""
    tokens = [token(text), token("</s>", special=True)]
    found = {"finish_reason": finish_reason, "generated_tokens": 2, "seed": None, "prefill": [], "tokens": tokens}
    return {"generated_text": text, "details": {**found, **details}}


def answering(text: str, finish_reason: str = "eos_token", **details: Any) -> bytes:
    return json_answer(whole(text, finish_reason, **details), x_prompt_tokens="11")


def piece(text: str, *, special: bool = False, **fields: Any) -> dict[str, Any]:
    """One event of /generate_stream."""
    return {"index": 1, "token": token(text, special=special), "generated_text": None, "details": None, **fields}


def last(text: str, generated: str, finish_reason: str = "eos_token", special: bool = True) -> dict[str, Any]:
    details = {"finish_reason": finish_reason, "generated_tokens": 3, "seed": None, "input_length": 11}
    return piece(text, special=special, generated_text=generated, details=details)


def events(*contents: Any) -> bytes:
    """A whole stream: TGI leaves out the blank after `data:`, and says no [DONE]."""
    data = (one if isinstance(one, bytes) else json.dumps(one).encode() for one in contents)
    return STREAM_HEAD + b"".join(chunk(b"data:" + one + b"\n\n") for one in data) + LAST_CHUNK


def ask_tgi(*steps: Any, **options: Any) -> Exchange:
    return ask(*steps, door=TextGeneration, protocol="tgi", **options)


FINE = answering("Yes.")
FINE_STREAM = events(piece("Yes"), piece("."), last("</s>", "Yes."))


def test_the_question_goes_to_generate_as_one_text() -> None:
    [asked] = ask_tgi(FINE).asked
    assert (asked.method, asked.target) == ("POST", "/v1/generate")
    assert asked.json() == {
        "inputs": "Answer briefly.\n\nIs aspirin an NSAID?\n\n",
        "stream": False,
        "parameters": {
            "do_sample": False,
            "max_new_tokens": 20,
            "stop": [],
            "details": True,
            "return_full_text": False,
            "decoder_input_details": False,
            "watermark": False,
        },
    }


def test_a_stream_goes_to_an_address_of_its_own() -> None:
    exchange = ask_tgi(FINE_STREAM, stream=True)
    assert exchange.asked[0].target == "/v1/generate_stream"
    assert exchange.sent["stream"] is True


def test_a_template_and_a_prefill_make_the_text() -> None:
    template = read_template("mistral")
    params = Params(max_tokens=5, template=template.sha256)
    prompt = Prompt(PROMPT.messages, prefill="The answer is")
    sent = ask_tgi(FINE, prompt=prompt, params=params, templates={template.sha256: template.text}).sent
    assert sent["inputs"] == "[INST] Answer briefly.\n\nIs aspirin an NSAID? [/INST] The answer is"


@pytest.mark.parametrize("top_p", [None, 0.9, 1.0])
def test_greedy_means_that_nothing_about_sampling_is_sent(top_p: float | None) -> None:
    sent = ask_tgi(FINE, params=Params(max_tokens=5, top_p=top_p)).sent["parameters"]
    assert sent["do_sample"] is False
    assert not {"temperature", "top_p", "top_k", "typical_p"} & sent.keys()


@pytest.mark.parametrize(("top_p", "expected"), [(None, {}), (0.9, {"top_p": 0.9}), (1.0, {})])
def test_sampling_is_asked_for_by_its_temperature(top_p: float | None, expected: dict[str, float]) -> None:
    sent = ask_tgi(FINE, params=Params(max_tokens=5, temperature=0.5, top_p=top_p, seed=7)).sent["parameters"]
    assert (sent["do_sample"], sent["temperature"], sent["seed"]) == (True, 0.5, 7)
    assert {name: sent[name] for name in sent.keys() & {"top_p"}} == expected


def test_no_more_than_four_stop_strings_are_sent() -> None:
    sent = ask_tgi(FINE, params=Params(max_tokens=5, stop=("1", "2", "3", "4", "5"))).sent
    assert sent["parameters"]["stop"] == ["1", "2", "3", "4"]


def test_extra_fields_are_parameters() -> None:
    extra = {"repetition_penalty": 1.1, "watermark": None}
    sent = ask_tgi(FINE, params=Params(max_tokens=5, extra_body=extra)).sent["parameters"]
    assert sent["repetition_penalty"] == 1.1
    assert "watermark" not in sent


def test_what_tgi_would_refuse_is_a_failure_and_is_not_sent() -> None:
    exchange = ask_tgi(FINE, params=Params(max_tokens=5, seed=-1))
    assert (exchange.failure.kind, exchange.failure.words) == ("bad_request", "`seed` must be positive")
    assert exchange.asked == []


@either_way
def test_text_finish_reason_and_counts_are_read(streamed: bool) -> None:
    reply = ask_tgi(FINE_STREAM if streamed else FINE, stream=streamed).reply
    assert (reply.text, reply.finish_reason) == ("Yes.", "stop")
    assert (reply.prompt_tokens, reply.output_tokens) == (11, 3 if streamed else 2)
    assert (reply.first_token_ns is not None) == streamed


def test_the_pieces_are_handed_on_as_they_come() -> None:
    exchange = ask_tgi(FINE_STREAM, listen=True)
    assert [one.text for one in exchange.chunks] == ["Yes", "."]
    assert exchange.reply.first_token_ns == exchange.chunks[0].at_ns


@pytest.mark.parametrize(("said", "meant"), [("length", "length"), ("eos_token", "stop"), ("stop_sequence", "stop")])
@either_way
def test_its_finish_reasons_are_those_of_all_others(streamed: bool, said: str, meant: str) -> None:
    answer = events(last("Yes", "Yes", said, special=False)) if streamed else answering("Yes", said)
    assert ask_tgi(answer, stream=streamed).reply.finish_reason == meant


@either_way
def test_the_stop_string_that_it_leaves_at_the_end_is_cut(streamed: bool) -> None:
    params = Params(max_tokens=5, stop=("###",))
    if streamed:
        answer = events(piece("Yes."), last("###", "Yes.###", "stop_sequence", special=False))
    else:
        answer = answering("Yes.###", "stop_sequence")
    reply = ask_tgi(answer, params=params, stream=streamed).reply
    assert (reply.text, reply.finish_reason) == ("Yes.", "stop")


def test_a_server_that_does_not_count_is_not_counted_for() -> None:
    assert ask_tgi(json_answer(whole("Yes."))).reply.prompt_tokens is None


def test_reasoning_is_kept_apart() -> None:
    reply = ask_tgi(answering("<think>Hm.</think>Yes.")).reply
    assert (reply.text, reply.reasoning) == ("Yes.", "Hm.")


@either_way
def test_the_likeliest_choice_is_read_off_its_top_tokens(streamed: bool) -> None:
    params = Params(max_tokens=20, stop=("\n",), choose="logprobs")
    ranked = [token("A", -0.2), token(" B", -2.0), token("a", -3.0)]
    if streamed:
        answer = events({**last("A", "A", "length", special=False), "top_tokens": ranked})
    else:
        answer = answering("A", "length", tokens=[token("A", -0.2)], top_tokens=[ranked])
    exchange = ask_tgi(answer, prompt=ASKED, params=params, stream=streamed)
    parameters = exchange.sent["parameters"]
    assert (parameters["max_new_tokens"], parameters["top_n_tokens"], parameters["stop"]) == (1, 5, [])
    assert exchange.reply.text == "A"
    assert exchange.reply.logprobs == {"A": pytest.approx(-0.1409, abs=1e-4), "B": -2.0}


@either_way
def test_a_server_without_top_tokens_ignores_the_choice(streamed: bool) -> None:
    answer = FINE_STREAM if streamed else FINE
    params = Params(max_tokens=20, choose="logprobs")
    assert ask_tgi(answer, prompt=ASKED, params=params, stream=streamed).failure.kind == "constraint_ignored"


def test_a_form_is_asked_for_as_a_grammar() -> None:
    params = Params(max_tokens=20, stop=("\n",), choose="structured")
    exchange = ask_tgi(answering('{"answer": "C"}'), prompt=ASKED, params=params)
    parameters = exchange.sent["parameters"]
    assert parameters["grammar"] == {"type": "json", "value": answer_schema(LETTERS)}
    assert (parameters["max_new_tokens"], parameters["stop"]) == (64, [])
    assert exchange.reply.text == "C"


OVERFLOW = {
    "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8. Given: 7 `inputs` tokens and 5",
    "error_type": "validation",
}


@pytest.mark.parametrize(
    ("status", "content", "kind", "retryable"),
    [
        pytest.param(422, OVERFLOW, "context_overflow", False, id="overflow"),
        pytest.param(
            429, {"error": "Model is overloaded", "error_type": "overloaded"}, "overload", True, id="overload"
        ),
        pytest.param(422, {"error": "no", "error_type": "validation"}, "bad_request", False, id="a wrong parameter"),
        pytest.param(424, {"error": "no", "error_type": "generation"}, "server_error", True, id="generation failed"),
    ],
)
@either_way
def test_its_errors_are_the_failures_they_mean(
    streamed: bool, status: int, content: Any, kind: str, retryable: bool
) -> None:
    # Streamed, they come inside a success.
    answer = events(content) if streamed else json_answer(content, status)
    failure = ask_tgi(answer, stream=streamed).failure
    assert (failure.kind, failure.retryable) == (kind, retryable)


@either_way
def test_a_refused_key_has_no_words(streamed: bool) -> None:
    failure = ask_tgi(http_answer(b"", 401), key=KEY, stream=streamed).failure
    assert (failure.kind, failure.words) == ("unauthorized", "HTTP 401")


@either_way
def test_a_redirect_is_a_failure_and_the_prompt_goes_nowhere_else(streamed: bool) -> None:
    exchange = ask_tgi(http_answer(b"", 307, Location="/elsewhere"), stream=streamed)
    assert (exchange.failure.kind, len(exchange.asked)) == ("bad_request", 1)


@either_way
def test_a_page_with_status_200_is_a_bad_reply(streamed: bool) -> None:
    page = http_answer(b"<html>Please log in</html>", content_type="text/html")
    assert ask_tgi(page, stream=streamed).failure.kind == "bad_reply"


def test_a_stream_that_breaks_off_is_broken() -> None:
    failure = ask_tgi(
        STREAM_HEAD + chunk(b"data:" + json.dumps(piece("a")).encode() + b"\n\n"), Then.HANG_UP, stream=True
    )
    assert failure.failure.kind == "broken_stream"


def test_a_stream_that_ends_without_details_is_broken() -> None:
    assert ask_tgi(events(piece("a")), stream=True).failure.kind == "broken_stream"


def test_a_first_token_that_does_not_come_in_time_is_a_timeout() -> None:
    deadlines = Deadlines(first_token_s=0.2, whole_s=20.0)
    failure = ask_tgi(STREAM_HEAD, NEVER_S, stream=True, deadlines=deadlines).failure
    assert failure.words == "no first token within 0.2 s"


VALUES: st.SearchStrategy[Any] = st.sampled_from([None, "", "Yes.", "\ud800", 7, True, [], ["a"], {}])
PIECES = st.fixed_dictionaries(
    {},
    optional={"token": st.just(token("a")) | VALUES, "details": VALUES, "generated_text": VALUES, "top_tokens": VALUES},
)


@settings(UNHURRIED, max_examples=40)
@given(st.lists(PIECES | VALUES, min_size=1, max_size=4), st.booleans())
def test_any_json_for_an_answer_is_a_reply_or_a_failure(contents: list[Any], streamed: bool) -> None:
    answer = events(*contents) if streamed else json_answer(contents[0])
    outcome = ask_tgi(answer, stream=streamed).outcome
    said = outcome.text if isinstance(outcome, Reply) else outcome.words
    assert re.search("[\ud800-\udfff]", said) is None
