"""What every door promises, tried against the embedded server as a process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.endpoints.exchange import KEY, PATIENT
from tests.support import Server, running_server
from wardround.catalogue import Model
from wardround.endpoints import (
    Chunk,
    Failure,
    Params,
    Reply,
    check_served,
    open_endpoint,
)
from wardround.endpoints.templates import read_template
from wardround.errors import EndpointError
from wardround.task import Message, Prompt
from wardround.wire import Wire

VARIABLE = "WARDROUND_CONTRACT_KEY"
LLAMA_3 = read_template("llama-3")
OPTIONS = "A: a drug for pain and fever\nB: an antibiotic\nC: a vaccine"
CASE = Message("user", f"Paracetamol is a drug that is given for pain and fever. What is it?\n{OPTIONS}")
IN_FULL = Prompt((Message("system", 'Answer as in "The correct answer is B: an antibiotic".'), CASE))
LETTER = Prompt((Message("system", "Answer with one letter."), CASE), choices=("A", "B", "C"))
ANSWER = "The correct answer is A: a drug for pain and fever"


@dataclass(frozen=True)
class Way:
    """One way to the embedded server: a protocol, and the template its prompts are rendered with here."""

    protocol: str
    template: str | None = None
    row: dict[str, Any] = field(default_factory=dict)

    def base_url(self, server: Server) -> str:
        return server.base_url.removesuffix("/v1") if self.protocol in ("tgi", "azure-openai") else server.base_url

    def model(self, server: Server, **row: Any) -> Model:
        fields = {"name": "baseline-overlap", "protocol": self.protocol, "key_env": VARIABLE, **self.row, **row}
        return Model(**{"base_url": self.base_url(server), **fields})

    def params(self, **fields: Any) -> Params:
        return Params(**{"max_tokens": 40, "template": self.template, **fields})


WAYS = {
    "chat": Way("openai-chat"),
    "chat, rendered here": Way("openai-chat", LLAMA_3.sha256),
    "completions": Way("openai-completions", LLAMA_3.sha256),
    "tgi": Way("tgi", LLAMA_3.sha256),
    "azure": Way("azure-openai", row={"api_version": "2024-10-21"}),
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def ways(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("way", [WAYS[name] for name in names], ids=names)


@pytest.fixture(autouse=True)
def _with_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


@pytest.fixture(scope="module")
def ward() -> Iterator[Server]:
    """Wants a key, has little context, and takes its time between tokens."""
    env = {**os.environ, VARIABLE: KEY}
    with running_server("--api-key-env", VARIABLE, "--context", "200", "--tpot", "0.005", env=env) as running:
        yield running


@pytest.fixture(scope="module")
def odd() -> Iterator[Server]:
    """Draws its answers, has no template, no likelihoods and no ear for forms."""
    options = ("--tgi-model", "baseline-random", "--no-logprobs", "--ignore-constraints", "--no-template")
    with running_server(*options) as running:
        yield running


def put(
    way: Way, server: Server, prompt: Prompt = IN_FULL, *, on_chunk: Any = None, row: Any = None, **params: Any
) -> Reply | Failure:
    """Put one question to a server."""

    async def main() -> Reply | Failure:
        async with Wire() as wire:
            endpoint = open_endpoint(
                way.model(server, **(row or {})),
                wire,
                base_url=way.base_url(server),
                deadlines=PATIENT,
                templates={LLAMA_3.sha256: LLAMA_3.text},
            )
            return await endpoint.ask(prompt, way.params(**params), on_chunk=on_chunk)

    return asyncio.run(main())


def reply_to(*arguments: Any, **options: Any) -> Reply:
    outcome = put(*arguments, **options)
    assert isinstance(outcome, Reply), outcome
    return outcome


def failure_of(*arguments: Any, **options: Any) -> Failure:
    outcome = put(*arguments, **options)
    assert isinstance(outcome, Failure), outcome
    return outcome


@every_way
def test_every_way_leads_to_the_same_answer(way: Way, ward: Server) -> None:
    reply = reply_to(way, ward)
    assert (reply.text, reply.reasoning, reply.finish_reason) == (ANSWER, "", "stop")
    assert reply.endpoint == way.base_url(ward)
    assert reply.first_token_ns is None
    assert reply.scheduled_ns <= reply.sent_ns <= reply.done_ns


@every_way
def test_a_stream_brings_the_same_answer_in_pieces_and_in_order(way: Way, ward: Server) -> None:
    chunks: list[Chunk] = []
    reply = reply_to(way, ward, on_chunk=chunks.append)
    assert reply.text == "".join(chunk.text for chunk in chunks) == ANSWER
    assert len(chunks) > 3
    assert reply.first_token_ns == chunks[0].at_ns
    times = [reply.scheduled_ns, reply.sent_ns, *(chunk.at_ns for chunk in chunks), reply.done_ns]
    assert times == sorted(times)


@every_way
def test_tokens_are_counted_by_the_server_and_alike_whole_and_streamed(way: Way, ward: Server) -> None:
    whole, streamed = reply_to(way, ward), reply_to(way, ward, row={"stream": True})
    assert whole.prompt_tokens is not None
    assert whole.prompt_tokens > 40
    # TGI counts the token that ends an answer.
    assert whole.output_tokens == 12 + (way.protocol == "tgi")
    assert (streamed.prompt_tokens, streamed.output_tokens) == (whole.prompt_tokens, whole.output_tokens)


@every_way
def test_a_prefill_is_gone_on_from(way: Way, ward: Server) -> None:
    prompt = replace(IN_FULL, prefill="The correct answer is ")
    assert reply_to(way, ward, prompt).text.strip() == ANSWER.removeprefix(prompt.prefill)


@every_way
def test_a_prefill_is_dropped_where_the_row_says_so(way: Way, ward: Server) -> None:
    prompt = replace(IN_FULL, prefill="The correct answer is ")
    assert reply_to(way, ward, prompt, row={"prefill": "drop"}).text == ANSWER


@every_way
@pytest.mark.parametrize("stop", [(" for",), ("1", "2", "3", "4", " for")], ids=["sent", "cut off here"])
def test_an_answer_ends_before_its_stop_string(way: Way, ward: Server, stop: tuple[str, ...]) -> None:
    reply = reply_to(way, ward, stop=stop)
    assert (reply.text, reply.finish_reason) == ("The correct answer is A: a drug", "stop")


@every_way
def test_an_answer_is_cut_at_the_limit_of_new_tokens(way: Way, ward: Server) -> None:
    reply = reply_to(way, ward, max_tokens=3)
    assert (reply.text, reply.finish_reason, reply.output_tokens) == ("The correct answer", "length", 3)


@every_way
def test_a_merged_system_prompt_is_understood(way: Way, ward: Server) -> None:
    assert reply_to(way, ward, row={"system": "merge"}).text == ANSWER


@ways("chat, rendered here", "completions", "tgi")
def test_a_seed_decides_a_drawn_answer(way: Way, odd: Server) -> None:
    row = {"served_as": "baseline-random"}
    answers = [reply_to(way, odd, row=row, seed=seed, temperature=1.0).text for seed in range(8)]
    again = [reply_to(way, odd, row=row, seed=seed, temperature=1.0).text for seed in range(8)]
    assert answers == again
    assert len(set(answers)) > 1


@every_way
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_choice_by_likelihood_is_the_answer_and_ranks_the_others(way: Way, ward: Server, streamed: bool) -> None:
    reply = reply_to(way, ward, LETTER, choose="logprobs", row={"stream": streamed})
    assert reply.text == "A"
    assert reply.logprobs is not None
    assert set(reply.logprobs) == {"A", "B", "C"}
    assert max(reply.logprobs, key=reply.logprobs.__getitem__) == "A"
    assert reply.output_tokens == 1


@every_way
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_choice_in_a_form_is_the_answer(way: Way, ward: Server, streamed: bool) -> None:
    reply = reply_to(way, ward, LETTER, choose="structured", max_tokens=1, row={"stream": streamed})
    assert (reply.text, reply.finish_reason) == ("A", "stop")


@ways("chat", "azure")
def test_a_choice_in_vllm_s_form_is_the_answer(way: Way, ward: Server) -> None:
    assert reply_to(way, ward, LETTER, choose="structured", row={"structured": "structured_outputs"}).text == "A"


@ways("chat, rendered here", "completions")
def test_a_server_without_likelihoods_is_told_of(way: Way, odd: Server) -> None:
    failure = failure_of(way, odd, LETTER, choose="logprobs")
    assert (failure.kind, failure.retryable) == ("constraint_ignored", False)


@ways("chat, rendered here", "completions", "tgi")
def test_a_server_without_an_ear_for_forms_is_told_of(way: Way, odd: Server) -> None:
    # Its own answer is no letter: it would be no choice even if it were right.
    prompt = replace(IN_FULL, choices=("A", "B", "C"))
    failure = failure_of(way, odd, prompt, choose="structured", row={"served_as": "baseline-overlap"})
    assert (failure.kind, failure.retryable) == ("constraint_ignored", False)


@ways("chat", "azure")
def test_a_missing_template_is_told_with_its_cure(way: Way, odd: Server) -> None:
    failure = failure_of(way, odd)
    assert (failure.kind, failure.retryable) == ("missing_template", False)
    assert "`chat_template`" in failure.words


def test_a_template_rendered_here_is_the_cure(odd: Server) -> None:
    assert reply_to(WAYS["chat, rendered here"], odd).text == ANSWER


@every_way
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_wrong_key_is_refused_and_not_shown(
    way: Way, ward: Server, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "sk-wrong-0123456789abcdef")
    failure = failure_of(way, ward, row={"stream": streamed})
    assert (failure.kind, failure.retryable, failure.status) == ("unauthorized", False, 401)
    assert "sk-wrong" not in repr(failure)


@ways("chat", "chat, rendered here", "completions", "tgi")
def test_without_a_key_where_one_is_needed_nothing_is_answered(way: Way, ward: Server) -> None:
    assert failure_of(way, ward, row={"key_env": None}).kind == "unauthorized"


@ways("chat", "chat, rendered here", "completions", "azure")
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_model_that_is_not_served_is_told_of(way: Way, ward: Server, streamed: bool) -> None:
    failure = failure_of(way, ward, row={"served_as": "gpt-ward", "stream": streamed})
    assert (failure.kind, failure.retryable, failure.status) == ("unknown_model", False, 404)


@every_way
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_more_tokens_than_the_context_has_are_told_of(way: Way, ward: Server, streamed: bool) -> None:
    failure = failure_of(way, ward, max_tokens=500, row={"stream": streamed})
    assert (failure.kind, failure.retryable) == ("context_overflow", False)


def check(way: Way, server: Server, **row: Any) -> None:
    async def main() -> None:
        async with Wire() as wire:
            await check_served(way.model(server, **row), wire, base_url=way.base_url(server))

    asyncio.run(main())


@every_way
def test_a_served_model_is_found_before_anything_is_asked(way: Way, ward: Server) -> None:
    check(way, ward)


@ways("chat", "completions", "tgi")
def test_a_model_that_is_not_served_is_found_before_anything_is_asked(way: Way, ward: Server) -> None:
    with pytest.raises(EndpointError, match="does not serve 'baseline-overlay'; did you mean 'baseline-overlap'"):
        check(way, ward, served_as="baseline-overlay")
