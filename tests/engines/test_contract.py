"""What the client counts on, asked of real engines: the same of each, in each protocol that they have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml

from tests.engines.asking import PROMPT, ask_all, failed, opened, question, rendered, replied, row, streamed
from tests.engines.conftest import KEY, KEY_ENV, Figures
from tests.engines.serving import Engine
from tests.engines.tiny import CONTEXT
from tests.support import ROOT
from wardround.catalogue import Model
from wardround.endpoints import Failure, Params, Reply, check_served
from wardround.endpoints.opening import auth_headers
from wardround.endpoints.tokens import token_counter
from wardround.errors import EndpointError
from wardround.load.scrape import scraping
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


def test_an_answer_comes_with_its_counts(engine: Engine, protocol: str, count: Callable[[str], int]) -> None:
    reply = replied(engine, protocol=protocol)
    assert reply.text
    assert (reply.finish_reason, reply.reasoning) == ("stop", "")
    assert reply.prompt_tokens == count(rendered(PROMPT))
    # The token that ends the turn is counted and not shown; the text's own may have been said in smaller pieces.
    assert reply.output_tokens is not None
    assert count(reply.text) < reply.output_tokens <= 64
    assert reply.first_token_ns is None
    assert reply.scheduled_ns <= reply.sent_ns < reply.done_ns
    assert reply.fingerprint.startswith("tiny")


def test_a_streamed_answer_is_the_whole_one_in_pieces_with_its_counts(engine: Engine, protocol: str) -> None:
    whole = replied(engine, protocol=protocol)
    reply, chunks = streamed(engine, protocol=protocol)
    for name in ("text", "finish_reason", "prompt_tokens", "output_tokens"):
        assert getattr(reply, name) == getattr(whole, name), name
    assert "".join(chunk.text for chunk in chunks) == reply.text
    assert len(chunks) > 3


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_questions_in_a_row_are_all_answered_at_the_first_try(engine: Engine, stream: bool) -> None:
    params = Params(max_tokens=2)

    async def main() -> list[Reply | Failure]:
        async with Wire() as wire:
            endpoint, asked = opened(engine, wire, params, stream=stream)
            return [await endpoint.ask(PROMPT, asked) for _ in range(30)]

    # Servers close connections that they said they would keep.
    assert [outcome for outcome in asyncio.run(main()) if not isinstance(outcome, Reply)] == []


def test_the_times_of_a_streamed_answer_are_in_order(engine: Engine, protocol: str) -> None:
    reply, chunks = streamed(engine, protocol=protocol)
    assert reply.first_token_ns == chunks[0].at_ns
    times = [reply.scheduled_ns, reply.sent_ns, *(chunk.at_ns for chunk in chunks), reply.done_ns]
    assert times == sorted(times)


def test_an_answer_ends_at_its_limit(engine: Engine, protocol: str) -> None:
    reply = replied(engine, params=Params(max_tokens=4), protocol=protocol)
    assert (reply.finish_reason, reply.output_tokens) == ("length", 4)
    assert replied(engine, protocol=protocol).text.startswith(reply.text)


def test_an_answer_ends_before_a_stop_string(engine: Engine, protocol: str) -> None:
    whole = replied(engine, protocol=protocol)
    stop = whole.text[len(whole.text) // 2 :][:3]
    for params in (Params(max_tokens=64, stop=("never said", stop)), Params(max_tokens=64, stop=(stop,))):
        replies = replied(engine, params=params, protocol=protocol), streamed(engine, params=params, protocol=protocol)
        for reply in (replies[0], replies[1][0]):
            assert (reply.text, reply.finish_reason) == (whole.text[: whole.text.index(stop)], "stop")
            # The engine stops there; the client does not only cut what was said.
            assert reply.output_tokens is not None
            assert whole.output_tokens is not None
            assert reply.output_tokens < whole.output_tokens


def test_a_seed_draws_the_same_answer_again(engine: Engine, protocol: str) -> None:
    drawn = [
        replied(engine, params=Params(max_tokens=20, temperature=1.0, seed=seed), protocol=protocol).text
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_prompt_rendered_here_is_the_one_rendered_there(engine: Engine) -> None:
    for prompt in (PROMPT, question("Name three causes of anaemia.", system="Answer briefly.")):
        there, here = (replied(engine, prompt, protocol=name) for name in ("openai-chat", "openai-completions"))
        for name in ("text", "finish_reason", "prompt_tokens", "output_tokens"):
            assert getattr(here, name) == getattr(there, name), name


BEGUN = Prompt(PROMPT.messages, prefill="The answer is")


def test_a_begun_answer_is_continued(engine: Engine, protocol: str, count: Callable[[str], int]) -> None:
    params = Params(max_tokens=8)
    reply = replied(engine, BEGUN, params, protocol=protocol)
    assert reply.prompt_tokens == count(rendered(PROMPT) + BEGUN.prefill)
    # What it goes on with is what it goes on with in a text, however it is asked.
    assert reply.text == replied(engine, BEGUN, params, protocol="openai-completions").text
    assert reply.text == streamed(engine, BEGUN, params, protocol=protocol)[0].text
    assert not reply.text.startswith(BEGUN.prefill)


def test_greedy_answers_are_the_same_again_and_side_by_side(engine: Engine) -> None:
    first = answers(engine, params=Params(max_tokens=32))
    assert answers(engine, params=Params(max_tokens=32)) == first
    assert len({text for text, *_ in first}) == len(QUESTIONS)
    assert replied(engine, question(QUESTIONS[0]), Params(max_tokens=32)).text == first[0][0]


def test_the_same_weights_say_the_same_in_both_engines(llama_server: Engine, vllm: Engine, figures: Figures) -> None:
    agreeing = 0
    for system, protocol in (("", "openai-chat"), ("Answer briefly.", "openai-chat"), ("", "openai-completions")):
        here, there = (answers(one, system=system, protocol=protocol) for one in (llama_server, vllm))
        agreeing += sum(one == other for one, other in zip(here, there, strict=True))
    figures.setdefault("vllm and llama-server", []).append(f"{agreeing} of {3 * len(QUESTIONS)} greedy answers agree")
    assert agreeing == 3 * len(QUESTIONS)


def answers(engine: Engine, params: Params | None = None, system: str = "", **fields: Any) -> list[tuple[Any, ...]]:
    """What is said to all the questions, asked at once: text, why it ended, and the counts of tokens."""
    outcomes = ask_all(engine, [question(text, system=system) for text in QUESTIONS], params, **fields)
    replies = [outcome for outcome in outcomes if isinstance(outcome, Reply)]
    assert len(replies) == len(QUESTIONS), outcomes
    return [(reply.text, reply.finish_reason, reply.prompt_tokens, reply.output_tokens) for reply in replies]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_prompt_beyond_the_context_is_an_overflow_and_final(engine: Engine, protocol: str, stream: bool) -> None:
    failure = failed(engine, question("fever and cough " * CONTEXT), protocol=protocol, stream=stream)
    assert (failure.kind, failure.status, failure.retryable) == ("context_overflow", 400, False)


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
    engine: Engine, protocol: str, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    if key is not None:
        monkeypatch.setenv(KEY_ENV, key)
    failure = failed(engine, key_env=KEY_ENV if key else None, protocol=protocol)
    assert (failure.kind, failure.status, failure.retryable) == ("unauthorized", 401, False)
    assert KEY not in failure.words
    assert key is None or key not in failure.words


def test_tokens_are_counted_by_the_engine(engine: Engine, count: Callable[[str], int]) -> None:
    model = Model(**row(engine))
    counter = token_counter(model, auth_headers(model))
    assert (counter.name, counter.exact) == ("server tiny", True)
    for text in (*QUESTIONS, "fever", " 37.5 °C\n\nThe patient denies chest pain. 🩺"):
        assert counter.count(text) == count(text)


@pytest.mark.parametrize(("name", "file"), [("llama_server", "llamacpp"), ("vllm", "vllm")])
def test_the_metrics_that_the_catalogue_names_are_there(request: pytest.FixtureRequest, name: str, file: str) -> None:
    engine: Engine = request.getfixturevalue(name)
    replied(engine)
    content = yaml.safe_load((ROOT / "servers" / "engines" / f"{file}.yaml").read_text("utf-8"))
    metrics = dict(content["metrics"])
    shown = engine.get(metrics.pop("path"), key=KEY)
    assert [named for named in metrics.values() if named not in shown] == []


def test_what_runs_and_what_waits_is_scraped_meanwhile(engine: Engine) -> None:
    long = Params(max_tokens=200, extra_body={"ignore_eos": True})

    async def main() -> list[Mapping[str, float]]:
        async with Wire() as wire:
            endpoint, asked = opened(engine, wire, long)
            headers = auth_headers(Model(**row(engine)))
            async with scraping(wire, [f"{engine.root}/metrics"], headers, every_s=0.02) as scraped:
                for _ in range(20):
                    prompts = [question(f"Question {number}") for number in range(8)]
                    outcomes = await asyncio.gather(*(endpoint.ask(prompt, asked) for prompt in prompts))
                    assert [type(outcome) for outcome in outcomes] == [Reply] * 8
                    # Usually at once; a busy machine may look away meanwhile.
                    if any(one.figures["waiting"] for one in scraped):
                        break
        return [one.figures for one in scraped]

    scraped = asyncio.run(main())
    assert 1 <= max(one["running"] for one in scraped) <= 4
    assert 1 <= max(one["waiting"] for one in scraped) <= 8
    assert (scraped[-1]["running"], scraped[-1]["waiting"]) == (0, 0)
