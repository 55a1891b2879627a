"""How a choice is come by at real engines: by the likelihood of its first token, or kept to by the engine."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.engines.asking import PROMPT, ask_all, failed, question, replied
from tests.engines.serving import Engine
from wardround.endpoints import Params, Reply
from wardround.task import Prompt

pytestmark = pytest.mark.engine

LIKELIEST = Params(max_tokens=16, choose="logprobs")
KEPT = Params(max_tokens=16, choose="structured")
# Nothing that it would say by itself.
WORDS = ("pneumonia", "hypertension")


def asked_to_choose(engine: Engine, *others: str, prompt: Prompt = PROMPT) -> Prompt:
    """A prompt whose choices are the token that the model says first, and `others`."""
    return replace(prompt, choices=(replied(engine, prompt, Params(max_tokens=1)).text, *others))


def test_the_likeliest_choice_is_the_one_that_would_be_said(engine: Engine, protocol: str) -> None:
    prompt = asked_to_choose(engine, "never said")
    reply = replied(engine, prompt, LIKELIEST, protocol=protocol)
    assert reply.text == prompt.choices[0]
    assert reply.logprobs is not None
    assert list(reply.logprobs) == [prompt.choices[0]]
    assert -5 < reply.logprobs[prompt.choices[0]] < 0
    assert reply.output_tokens == 1


def test_a_begun_answer_is_chosen_for_where_it_begins(engine: Engine, protocol: str) -> None:
    begun = replace(PROMPT, prefill="The answer is")
    prompt = asked_to_choose(engine, prompt=begun)
    reply = replied(engine, prompt, LIKELIEST, protocol=protocol)
    assert reply.text == prompt.choices[0]
    assert reply.text != asked_to_choose(engine).choices[0]


def test_where_no_choice_is_likely_the_answer_is_what_would_be_said(engine: Engine, protocol: str) -> None:
    said = replied(engine, PROMPT, Params(max_tokens=1), protocol=protocol).text
    reply = replied(engine, replace(PROMPT, choices=("never said",)), LIKELIEST, protocol=protocol)
    assert (reply.text, reply.logprobs) == (said, {})


def test_both_engines_find_the_same_likelihoods(llama_server: Engine, vllm: Engine, protocol: str) -> None:
    # Single letters and figures are tokens of the tiny model's: of twenty likely ones, some are always among them.
    choices = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
    prompts = [
        replace(question(text), choices=choices) for text in ("A or B?", "Is aspirin an NSAID?", "Which figure?")
    ]
    found = []
    for engine in (llama_server, vllm):
        replies = ask_all(engine, prompts, LIKELIEST, protocol=protocol)
        found.append([reply.logprobs or {} for reply in replies if isinstance(reply, Reply)])
    here, there = found
    assert len(here) == len(there) == len(prompts)
    for one, other in zip(here, there, strict=True):
        # The twentieth and the twenty-first may change places.
        common = one.keys() & other.keys()
        assert len(common) >= 2
        assert len(one.keys() ^ other.keys()) <= 2
        for choice in common:
            assert math.isclose(one[choice], other[choice], abs_tol=1e-3), choice


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_chat_is_kept_to_its_choices(engine: Engine, stream: bool) -> None:
    reply = replied(engine, replace(PROMPT, choices=WORDS), KEPT, stream=stream)
    assert reply.text in WORDS
    assert replied(engine).text not in WORDS


def test_vllm_keeps_a_chat_to_its_choices_by_its_own_field_too(vllm: Engine) -> None:
    prompt = replace(PROMPT, choices=WORDS)
    assert replied(vllm, prompt, KEPT, structured="structured_outputs").text in WORDS


def test_a_form_that_llama_server_does_not_know_is_a_failure_and_no_answer(llama_server: Engine) -> None:
    failure = failed(llama_server, replace(PROMPT, choices=WORDS), KEPT, structured="structured_outputs")
    assert (failure.kind, failure.retryable) == ("constraint_ignored", False)
    assert "set `structured` in the model's row" in failure.words
