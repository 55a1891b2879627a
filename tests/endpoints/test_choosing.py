from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.endpoints.exchange import FINE, PROMPT, UNHURRIED, ask, completion, piece
from tests.wire.raw_server import event_stream, json_answer
from wardround.endpoints import OpenAICompletions, Params
from wardround.endpoints.choosing import answer_in, answer_schema, first_tokens, likeliest, likelihoods
from wardround.endpoints.replies import Choosing
from wardround.task import Prompt

LABELS = ("ENTAILMENT", "NEUTRAL", "CONTRADICTION")
LETTERS = ("A", "B", "C", "D")


def ln(share: float) -> float:
    return math.log(share)


@pytest.mark.parametrize(
    ("token", "choice"),
    [
        pytest.param("NEUTRAL", "NEUTRAL", id="the choice itself"),
        pytest.param("ENT", "ENTAILMENT", id="its beginning"),
        pytest.param(" neut", "NEUTRAL", id="with a blank and another case"),
        pytest.param("\n\tC", "CONTRADICTION", id="one letter of it"),
    ],
)
def test_a_token_counts_for_the_choice_it_begins(token: str, choice: str) -> None:
    assert likelihoods([(token, ln(0.5))], LABELS) == {choice: ln(0.5)}


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="nothing"),
        pytest.param(" \n", id="blanks"),
        pytest.param("The", id="another word"),
        pytest.param("MENT", id="its end"),
        pytest.param("NEUTRALITY", id="more than it"),
        pytest.param("(", id="a mark"),
    ],
)
def test_a_token_that_begins_no_choice_counts_for_none(token: str) -> None:
    assert likelihoods([(token, ln(0.5))], LABELS) == {}


def test_a_token_that_begins_two_choices_counts_for_none() -> None:
    assert likelihoods([("un", ln(0.5))], ("unlikely", "unclear")) == {}


def test_a_token_that_is_one_choice_and_begins_another_counts_for_the_one_it_is() -> None:
    assert likelihoods([("no", ln(0.5))], ("no", "not stated")) == {"no": ln(0.5)}


def test_choices_that_differ_in_case_alone_cannot_be_told_apart() -> None:
    assert likelihoods([("A", ln(0.5))], ("A", "a")) == {}


def test_the_probabilities_of_several_tokens_of_a_choice_are_added() -> None:
    found = likelihoods([("A", ln(0.2)), (" A", ln(0.3)), ("a", ln(0.1)), ("B", ln(0.4))], LETTERS)
    assert math.exp(found["A"]) == pytest.approx(0.6)
    assert math.exp(found["B"]) == pytest.approx(0.4)


def test_likelihoods_too_small_for_a_probability_are_added_all_the_same() -> None:
    assert likelihoods([("A", -2000.0), (" A", -2000.0)], LETTERS)["A"] == pytest.approx(-2000 + ln(2))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_likelihood_counts_for_nothing(value: float) -> None:
    assert likelihoods([("A", value)], LETTERS) == {}


@UNHURRIED
@given(st.lists(st.tuples(st.sampled_from([*LETTERS, " A", "b", "", "The", "AB"]), st.floats()), max_size=20))
def test_any_tokens_give_likelihoods_of_choices_that_are_at_most_certain(tokens: list[tuple[str, float]]) -> None:
    found = likelihoods(tokens, LETTERS)
    assert set(found) <= set(LETTERS)
    assert all(value <= 0 for value in found.values())


@UNHURRIED
@given(st.dictionaries(st.text(max_size=4), st.floats(min_value=1e-6, max_value=1), max_size=12))
def test_no_token_counts_twice(shares: dict[str, float]) -> None:
    found = likelihoods([(token, ln(share)) for token, share in shares.items()], ("yes", "no", "y"))
    # Each choice is cut at certainty by itself.
    assert sum(math.exp(value) for value in found.values()) <= sum(shares.values()) * (1 + 1e-9)


@UNHURRIED
@given(st.lists(st.tuples(st.sampled_from(LABELS), st.floats(min_value=-50, max_value=0)), min_size=1, max_size=8))
def test_the_order_of_the_tokens_does_not_matter(tokens: list[tuple[str, float]]) -> None:
    forth, back = likelihoods(tokens, LABELS), likelihoods(tokens[::-1], LABELS)
    assert {name: pytest.approx(value) for name, value in forth.items()} == back


def test_the_likeliest_choice_is_the_answer() -> None:
    assert likeliest({"B": -0.5, "A": -1.0}, LETTERS) == "B"


def test_of_equal_choices_the_first_in_the_prompt_is_the_answer() -> None:
    assert likeliest({"C": -1.0, "B": -1.0}, LETTERS) == "B"


def test_without_likelihoods_there_is_no_answer() -> None:
    assert likeliest({}, LETTERS) is None


CHAT_LOGPROBS = {
    "content": [
        {
            "token": "B",
            "logprob": -0.4,
            "top_logprobs": [{"token": "B", "logprob": -0.4}, {"token": " A", "logprob": -1.5}],
        },
        {"token": "!", "logprob": -9.0, "top_logprobs": []},
    ]
}
TEXT_LOGPROBS = {"tokens": ["B"], "token_logprobs": [-0.4], "top_logprobs": [{"B": -0.4, " A": -1.5}]}


@pytest.mark.parametrize("logprobs", [CHAT_LOGPROBS, TEXT_LOGPROBS], ids=["chat", "text"])
def test_the_first_position_is_read_in_both_forms(logprobs: Any) -> None:
    assert first_tokens(logprobs) == [("B", -0.4), (" A", -1.5)]


@pytest.mark.parametrize(
    "logprobs",
    [
        pytest.param(
            {"content": [{"token": "C", "logprob": -3, "top_logprobs": [{"token": "B", "logprob": -1}]}]}, id="chat"
        ),
        pytest.param({"tokens": ["C"], "token_logprobs": [-3], "top_logprobs": [{"B": -1}]}, id="text"),
    ],
)
def test_the_token_that_was_drawn_is_one_of_them_too(logprobs: Any) -> None:
    assert first_tokens(logprobs) == [("B", -1.0), ("C", -3.0)]


@pytest.mark.parametrize("logprobs", [{"content": []}, {"tokens": [], "token_logprobs": [], "top_logprobs": []}])
def test_an_answer_without_a_token_has_no_first_tokens(logprobs: Any) -> None:
    assert first_tokens(logprobs) == []


@pytest.mark.parametrize("logprobs", [None, {}, 7, "x", {"content": None}, {"tokens": ["A"], "top_logprobs": None}])
def test_no_logprobs_are_none(logprobs: Any) -> None:
    assert first_tokens(logprobs) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["content", "token", "tokens", "logprob", "token_logprobs", "top_logprobs"]), inner
        )
    ),
    max_leaves=12,
)


@UNHURRIED
@given(JSON)
def test_any_json_for_logprobs_is_read_into_pairs_or_none(logprobs: Any) -> None:
    for token, value in first_tokens(logprobs) or []:
        assert isinstance(token, str)
        assert math.isfinite(value)


def test_the_schema_names_every_choice_once() -> None:
    assert answer_schema(("A", "B", "A"))["properties"]["answer"]["enum"] == ["A", "B"]


@UNHURRIED
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, unique_by=str.strip))
def test_every_choice_is_read_back_from_its_form(choices: list[str]) -> None:
    for choice in choices:
        assert answer_in(json.dumps({"answer": choice}), choices, "json") == choice
        assert answer_in(f" {choice}\n", choices, "words") == choice


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        '"A"',
        "{",
        '{"answer": "E"}',
        '{"answer": ["A"]}',
        '{"answer": null}',
        '{"choice": "A"}',
        '["A"]',
        "[" * 99_999,
    ],
)
def test_what_keeps_to_no_form_is_no_answer(text: str) -> None:
    assert answer_in(text, LETTERS, "json") is None


@UNHURRIED
@given(st.text(), st.sampled_from(["json", "words"]))
def test_any_text_is_one_of_the_choices_or_none(text: str, form: Any) -> None:
    assert answer_in(text, LETTERS, form) in (*LETTERS, None)


# What the doors make of it.

ASKED = Prompt(PROMPT.messages, choices=LETTERS)


def choosing(how: Choosing, **fields: Any) -> Params:
    return Params(**{"max_tokens": 300, "stop": ("\n",), "choose": how, **fields})


def test_a_chat_is_asked_for_one_token_and_the_twenty_likeliest() -> None:
    sent = ask(FINE, prompt=ASKED, params=choosing("logprobs")).sent
    assert (sent["max_tokens"], sent["logprobs"], sent["top_logprobs"]) == (1, True, 20)
    assert "stop" not in sent


def test_a_text_is_asked_for_one_token_and_the_twenty_likeliest() -> None:
    sent = ask(FINE, prompt=ASKED, params=choosing("logprobs"), door=OpenAICompletions).sent
    assert (sent["max_tokens"], sent["logprobs"]) == (1, 20)


def test_a_server_with_a_lower_bound_is_asked_for_fewer_by_extra_body() -> None:
    params = choosing("logprobs", extra_body={"top_logprobs": 5})
    assert ask(FINE, prompt=ASKED, params=params).sent["top_logprobs"] == 5


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_the_likeliest_choice_is_the_reply_with_the_likelihoods_of_all(streamed: bool) -> None:
    if streamed:
        first = piece({"content": "B"})
        first["choices"][0]["logprobs"] = CHAT_LOGPROBS
        answer = event_stream(piece({"role": "assistant"}), first, piece({}, "length"))
    else:
        content = completion({"content": "B"}, "length")
        content["choices"][0]["logprobs"] = CHAT_LOGPROBS
        answer = json_answer(content)
    reply = ask(answer, prompt=ASKED, params=choosing("logprobs"), stream=streamed).reply
    assert (reply.text, reply.logprobs) == ("B", {"B": -0.4, "A": -1.5})


def test_where_no_likely_token_begins_a_choice_the_reply_is_what_the_model_says() -> None:
    content = completion({"content": "The"}, "length")
    content["choices"][0]["logprobs"] = {"content": [{"token": "The", "logprob": -0.1, "top_logprobs": []}]}
    reply = ask(json_answer(content), prompt=ASKED, params=choosing("logprobs")).reply
    assert (reply.text, reply.logprobs) == ("The", {})


def test_a_server_without_logprobs_is_a_failure_that_says_what_to_do() -> None:
    failure = ask(json_answer(completion({"content": "B"})), prompt=ASKED, params=choosing("logprobs")).failure
    assert (failure.kind, failure.retryable) == ("constraint_ignored", False)
    assert "`choice: parse`" in failure.words


def test_a_model_that_thinks_first_has_no_choice_among_its_first_tokens() -> None:
    content = completion({"content": "<think>"}, "length")
    content["choices"][0]["logprobs"] = {"content": [{"token": "<think>", "logprob": 0, "top_logprobs": []}]}
    reply = ask(json_answer(content), prompt=ASKED, params=choosing("logprobs")).reply
    assert (reply.text, reply.logprobs) == ("<think>", {})


def test_a_chat_is_asked_to_keep_to_the_schema_of_the_choices() -> None:
    sent = ask(FINE, prompt=ASKED, params=choosing("structured")).sent
    assert sent["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": answer_schema(LETTERS)},
    }
    assert "stop" not in sent


def test_a_chat_with_vllm_s_field_is_asked_to_keep_to_the_choices_themselves() -> None:
    params = choosing("structured")
    sent = ask(FINE, prompt=ASKED, params=params, structured="structured_outputs").sent
    assert sent["structured_outputs"] == {"choice": list(LETTERS)}
    assert "response_format" not in sent


def test_a_text_is_asked_to_keep_to_the_choices_themselves() -> None:
    sent = ask(FINE, prompt=ASKED, params=choosing("structured"), door=OpenAICompletions).sent
    assert sent["structured_outputs"] == {"choice": list(LETTERS)}


@pytest.mark.parametrize(("asked", "sent"), [(20, 64), (64, 64), (300, 300)])
def test_a_form_has_room_however_short_the_task_s_answers_are(asked: int, sent: int) -> None:
    params = choosing("structured", max_tokens=asked)
    assert ask(FINE, prompt=ASKED, params=params).sent["max_tokens"] == sent


def test_the_answer_is_read_out_of_its_form() -> None:
    answer = json_answer(completion({"content": '{"answer": "C"}\n'}))
    assert ask(answer, prompt=ASKED, params=choosing("structured")).reply.text == "C"


def test_the_answer_in_vllm_s_form_is_the_text() -> None:
    answer = json_answer(completion({"content": "C"}))
    params = choosing("structured")
    assert ask(answer, prompt=ASKED, params=params, structured="structured_outputs").reply.text == "C"


def test_the_form_of_a_reasoning_model_comes_after_its_reasoning() -> None:
    answer = json_answer(completion({"content": '<think>{"answer": "A"}?</think>{"answer": "C"}'}))
    reply = ask(answer, prompt=ASKED, params=choosing("structured")).reply
    assert (reply.text, reply.reasoning) == ("C", '{"answer": "A"}?')


def test_an_answer_in_no_form_is_a_failure_that_shows_it() -> None:
    failure = ask(json_answer(completion({"content": "It is C."})), prompt=ASKED, params=choosing("structured")).failure
    assert (failure.kind, failure.retryable) == ("constraint_ignored", False)
    assert failure.words.endswith("it answered: It is C.")


def test_a_form_that_was_cut_is_a_failure_that_says_to_raise_the_limit() -> None:
    answer = json_answer(completion({"content": '{"answer": '}, "length"))
    failure = ask(answer, prompt=ASKED, params=choosing("structured")).failure
    assert failure.kind == "constraint_ignored"
    assert failure.words.endswith("raise max_tokens")


def test_a_refusal_in_a_field_of_its_own_is_no_choice() -> None:
    answer = json_answer(completion({"content": None, "refusal": "I cannot help."}))
    failure = ask(answer, prompt=ASKED, params=choosing("structured")).failure
    assert failure.words.endswith("it answered: I cannot help.")
