"""What the client counts on, asked of real engines; and what each of them does otherwise."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.engines.asking import PROMPT, ask_all, failed, question, rendered, replied, row, streamed
from tests.engines.conftest import KEY, KEY_ENV
from tests.engines.serving import Engine
from tests.engines.tiny import CONTEXT
from tests.support import ROOT
from wardround.catalogue import Model
from wardround.endpoints import Failure, Params, Reply, check_served
from wardround.endpoints.opening import auth_headers
from wardround.endpoints.tokens import token_counter
from wardround.errors import EndpointError
from wardround.task import Prompt
from wardround.wire import Wire

pytestmark = pytest.mark.engine

QUESTIONS = (
    "What is 2+2?",
    "Hello",
    "Answer A, B, C, D or E.",
    "Premise: The patient has no fever. Hypothesis: The patient is febrile. entailment, neutral or contradiction?",
    "The patient was admitted with fever and cough. Which diagnosis is the most likely?",
    'Answer with {"answer": "A"}.',
    "Fièvre et toux: 39,5 °C — pneumonie?",
    "Name three causes of anaemia.",
)


def test_an_answer_comes_with_its_counts(engine: Engine, count: Callable[[str], int]) -> None:
    reply = replied(engine)
    assert reply.text
    assert (reply.finish_reason, reply.reasoning) == ("stop", "")
    assert reply.prompt_tokens == count(rendered(PROMPT))
    # The token that ends the turn is counted and not shown; the text's own may have been said in smaller pieces.
    assert reply.output_tokens is not None
    assert count(reply.text) < reply.output_tokens <= 64
    assert reply.first_token_ns is None
    assert reply.scheduled_ns <= reply.sent_ns < reply.done_ns
    assert reply.fingerprint.startswith("tiny")


def test_a_streamed_answer_is_the_whole_one_in_pieces(engine: Engine) -> None:
    whole = replied(engine)
    reply, chunks = streamed(engine)
    for name in ("text", "finish_reason", "prompt_tokens", "output_tokens"):
        assert getattr(reply, name) == getattr(whole, name), name
    assert "".join(chunk.text for chunk in chunks) == reply.text
    # vLLM joins pieces that wait while its frontend is busy: on a loaded machine a short answer may come as one.
    assert any(len(streamed(engine)[1]) > 3 for _ in range(10))


def test_the_times_of_a_streamed_answer_are_in_order(engine: Engine) -> None:
    reply, chunks = streamed(engine)
    assert reply.first_token_ns == chunks[0].at_ns
    times = [reply.scheduled_ns, reply.sent_ns, *(chunk.at_ns for chunk in chunks), reply.done_ns]
    assert times == sorted(times)


def test_an_answer_ends_at_its_limit(engine: Engine) -> None:
    reply = replied(engine, params=Params(max_tokens=4))
    assert (reply.finish_reason, reply.output_tokens) == ("length", 4)
    assert replied(engine).text.startswith(reply.text)


def test_an_answer_ends_before_a_stop_string(engine: Engine) -> None:
    whole = replied(engine)
    stop = whole.text[len(whole.text) // 2 :][:3]
    for params in (Params(max_tokens=64, stop=("never said", stop)), Params(max_tokens=64, stop=(stop,))):
        for reply in (replied(engine, params=params), streamed(engine, params=params)[0]):
            assert (reply.text, reply.finish_reason) == (whole.text[: whole.text.index(stop)], "stop")
            # The engine stops there; the client does not only cut what was said.
            assert reply.output_tokens is not None
            assert whole.output_tokens is not None
            assert reply.output_tokens < whole.output_tokens


def test_greedy_answers_are_the_same_again_and_side_by_side(engine: Engine) -> None:
    first = answers(engine, params=Params(max_tokens=32))
    assert answers(engine, params=Params(max_tokens=32)) == first
    assert len({text for text, *_ in first}) == len(QUESTIONS)
    assert replied(engine, question(QUESTIONS[0]), Params(max_tokens=32)).text == first[0][0]


def test_the_same_weights_say_the_same_in_both_engines(llama_server: Engine, vllm: Engine) -> None:
    assert answers(llama_server, system="Answer briefly.") == answers(vllm, system="Answer briefly.")


def answers(engine: Engine, params: Params | None = None, system: str = "") -> list[tuple[Any, ...]]:
    """What is said to all the questions, asked at once: text, why it ended, and the counts of tokens."""
    outcomes = ask_all(engine, [question(text, system=system) for text in QUESTIONS], params)
    replies = [outcome for outcome in outcomes if isinstance(outcome, Reply)]
    assert len(replies) == len(QUESTIONS), outcomes
    return [(reply.text, reply.finish_reason, reply.prompt_tokens, reply.output_tokens) for reply in replies]


def test_a_prompt_beyond_the_context_is_an_overflow_and_final(engine: Engine) -> None:
    failure = failed(engine, question("fever and cough " * CONTEXT))
    assert (failure.kind, failure.status, failure.retryable) == ("context_overflow", 400, False)


def test_llama_server_takes_a_limit_beyond_the_context(llama_server: Engine) -> None:
    assert replied(llama_server, params=Params(max_tokens=3 * CONTEXT)).finish_reason == "stop"


def test_vllm_refuses_a_limit_beyond_the_context(vllm: Engine) -> None:
    failure = failed(vllm, params=Params(max_tokens=3 * CONTEXT))
    assert (failure.kind, failure.status, failure.retryable) == ("context_overflow", 400, False)


def test_vllm_takes_a_limit_beyond_the_room_that_the_prompt_leaves(vllm: Engine) -> None:
    assert replied(vllm, params=Params(max_tokens=CONTEXT - 1)).finish_reason == "stop"


def test_vllm_refuses_a_model_that_it_does_not_serve(vllm: Engine) -> None:
    failure = failed(vllm, served_as="other")
    assert (failure.kind, failure.status, failure.retryable) == ("unknown_model", 404, False)


def test_llama_server_answers_for_any_model_and_signs_with_its_own_name(llama_server: Engine) -> None:
    reply = replied(llama_server, served_as="other")
    assert reply.text == replied(llama_server).text
    assert reply.fingerprint.split()[0] == "tiny"


def test_a_model_that_is_not_served_is_found_before_it_is_asked(engine: Engine) -> None:
    with pytest.raises(EndpointError, match="does not serve 'tinny'; did you mean 'tiny'"):
        check(engine, served_as="tinny")


def test_a_model_that_is_served_is_found(engine: Engine) -> None:
    check(engine)


def check(engine: Engine, **fields: Any) -> None:
    async def main() -> None:
        async with Wire() as wire:
            await check_served(Model(**row(engine, **fields)), wire, base_url=engine.base_url)

    asyncio.run(main())


@pytest.mark.parametrize("key", ["sk-wrong-9876543210", None], ids=["wrong", "none"])
def test_a_refused_key_is_unauthorized_and_not_repeated(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    if key is not None:
        monkeypatch.setenv(KEY_ENV, key)
    failure = failed(engine, key_env=KEY_ENV if key else None)
    assert (failure.kind, failure.status, failure.retryable) == ("unauthorized", 401, False)
    assert KEY not in failure.words
    assert key is None or key not in failure.words


def test_vllm_without_a_template_says_so(vllm_without_template: Engine) -> None:
    failure = failed(vllm_without_template)
    assert (failure.kind, failure.status, failure.retryable) == ("missing_template", 400, False)
    assert "chat_template" in failure.words


def test_llama_server_without_a_template_makes_one_up(
    llama_server_without_template: Engine, count: Callable[[str], int]
) -> None:
    reply = replied(llama_server_without_template)
    assert reply.prompt_tokens != count(rendered(PROMPT))
    shown = "<|im_start|>user\nIs aspirin an NSAID?<|im_end|>\n<|im_start|>assistant\n"
    assert reply.prompt_tokens == count(shown) + 1


BEGUN = "The answer is"


def test_vllm_continues_a_begun_answer(vllm: Engine, count: Callable[[str], int]) -> None:
    reply = replied(vllm, Prompt(PROMPT.messages, prefill=BEGUN), Params(max_tokens=8))
    assert reply.prompt_tokens == count(rendered(PROMPT) + BEGUN)
    assert not reply.text.startswith(BEGUN)


def test_llama_server_repeats_a_begun_answer_and_continues_it(llama_server: Engine, vllm: Engine) -> None:
    prompt = Prompt(PROMPT.messages, prefill=BEGUN)
    assert replied(llama_server, prompt).text == BEGUN + replied(vllm, prompt).text


LONG = Params(max_tokens=60, extra_body={"ignore_eos": True})


def test_vllm_with_a_full_queue_is_overloaded_and_worth_another_try(vllm: Engine) -> None:
    outcomes = ask_all(vllm, [question(f"Question {number}") for number in range(40)], LONG)
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    assert {(failure.kind, failure.status, failure.retryable) for failure in failures} == {("overload", 503, True)}
    assert {failure.retry_after_s for failure in failures} == {None}
    # They come before the first has left the queue: no more than those that may wait are sure of an answer.
    assert len(outcomes) - len(failures) >= 8


def test_llama_server_lets_any_number_wait(llama_server: Engine) -> None:
    outcomes = ask_all(llama_server, [question(f"Question {number}") for number in range(40)], LONG)
    assert [type(outcome) for outcome in outcomes] == [Reply] * 40


# The counter's connection is open as long as the counter lives.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_tokens_are_counted_by_the_engine(engine: Engine, count: Callable[[str], int]) -> None:
    model = Model(**row(engine))
    counter = token_counter(model, auth_headers(model))
    assert (counter.name, counter.exact) == ("server tiny", True)
    for text in (*QUESTIONS, "fever", " 37.5 °C\n\nThe patient denies chest pain. 🩺"):
        assert counter.count(text) == count(text)
    del counter
    gc.collect()


def test_a_repeated_prompt_is_found_in_the_prefix_cache(engine: Engine) -> None:
    prompt = question("The patient was admitted with fever and cough. " * 30)
    first, second = replied(engine, prompt), replied(engine, prompt)
    assert first.prompt_tokens is not None
    assert second.cached_tokens is not None
    # vLLM keeps whole blocks of 128 tokens on a CPU.
    assert first.prompt_tokens - 128 <= second.cached_tokens <= first.prompt_tokens
    assert first.text == second.text


@pytest.mark.parametrize(("name", "file"), [("llama_server", "llamacpp"), ("vllm", "vllm")])
def test_the_metrics_that_the_catalogue_names_are_there(request: pytest.FixtureRequest, name: str, file: str) -> None:
    engine: Engine = request.getfixturevalue(name)
    replied(engine)
    content = yaml.safe_load((ROOT / "servers" / "engines" / f"{file}.yaml").read_text("utf-8"))
    metrics = dict(content["metrics"])
    shown = engine.get(metrics.pop("path"), key=KEY)
    assert [named for named in metrics.values() if named not in shown] == []
