from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from tests.support import Server, running_server, wardround
from wardround.baseline import BASELINES

CASE = "She fell, and her left hip hurts. Which one?"
MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": CASE}]
LEAD = "baseline-lead"
KEY_ENV = "WARDROUND_TEST_KEY"


def client_of(server: Server, api_key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=server.base_url, api_key=api_key, max_retries=0, timeout=30.0)


def async_client_of(server: Server) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0, timeout=30.0)


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with client_of(server) as opened:
        yield opened


def chat(client: openai.OpenAI, model: str = LEAD, **options: Any) -> Any:
    return client.chat.completions.create(model=model, messages=options.pop("messages", MESSAGES), **options)


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_the_baselines_are_the_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == list(BASELINES)


def test_a_model_can_be_looked_at(client: openai.OpenAI) -> None:
    model = client.models.retrieve(LEAD)
    assert (model.id, model.object, model.owned_by) == (LEAD, "model", "wardround")


def test_a_model_that_is_none_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")


def test_a_chat_is_answered_by_the_baseline(client: openai.OpenAI) -> None:
    completion = chat(client)
    assert completion.choices[0].message.content == CASE
    assert completion.choices[0].message.role == "assistant"
    assert (completion.object, completion.model) == ("chat.completion", LEAD)


def test_a_complete_answer_ends_with_stop(client: openai.OpenAI) -> None:
    assert chat(client).choices[0].finish_reason == "stop"


def test_words_and_marks_are_counted_as_tokens(client: openai.OpenAI) -> None:
    usage = chat(client, messages=[{"role": "system", "content": "One, two."}, *MESSAGES]).usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (4 + 12, 12, 28)


def test_the_server_says_what_it_is(client: openai.OpenAI) -> None:
    assert chat(client).system_fingerprint == "wardround-baselines-1"


def test_content_may_come_as_text_parts(client: openai.OpenAI) -> None:
    parts = [{"type": "text", "text": "She fell."}, {"type": "text", "text": " Which one?"}]
    completion = chat(client, messages=[{"role": "user", "content": parts}])
    assert completion.choices[0].message.content == "She fell. Which one?"


def test_the_seed_of_the_request_is_the_seed_of_the_draw(client: openai.OpenAI) -> None:
    def draw(seed: int) -> str:
        messages = [{"role": "user", "content": "Say YES, NOT or MAYBE."}]
        return str(chat(client, "baseline-random", messages=messages, seed=seed).choices[0].message.content)

    first = [draw(seed) for seed in range(12)]
    assert len(set(first)) == 3
    assert [draw(seed) for seed in range(12)] == first


def test_a_streamed_chat_has_the_same_text(client: openai.OpenAI) -> None:
    assert text_of(list(chat(client, stream=True))) == CASE


def test_a_streamed_chat_comes_token_by_token_after_the_role(client: openai.OpenAI) -> None:
    chunks = list(chat(client, stream=True))
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert (deltas[0].role, deltas[0].content) == ("assistant", "")
    assert [delta.content for delta in deltas[1:5]] == ["She", " fell", ",", " and"]
    assert len(chunks) == 1 + 12 + 1


def test_only_the_last_chunk_of_a_stream_says_why_it_ends(client: openai.OpenAI) -> None:
    reasons = [chunk.choices[0].finish_reason for chunk in chat(client, stream=True)]
    assert reasons == [None] * 13 + ["stop"]


def test_a_stream_with_usage_ends_with_a_chunk_that_holds_nothing_else(client: openai.OpenAI) -> None:
    *chunks, last = chat(client, stream=True, stream_options={"include_usage": True})
    assert (last.choices, last.usage.prompt_tokens, last.usage.completion_tokens) == ([], 12, 12)
    assert [chunk.usage for chunk in chunks] == [None] * 14


def test_a_stream_without_include_usage_has_no_usage(client: openai.OpenAI) -> None:
    chunks = list(chat(client, stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


def test_a_text_completion_is_answered_by_the_baseline(client: openai.OpenAI) -> None:
    completion = client.completions.create(model=LEAD, prompt=CASE)
    assert (completion.object, completion.choices[0].text) == ("text_completion", CASE)
    assert (completion.choices[0].finish_reason, completion.usage and completion.usage.total_tokens) == ("stop", 24)


def test_a_streamed_text_completion_has_the_same_text(client: openai.OpenAI) -> None:
    chunks = list(client.completions.create(model=LEAD, prompt=CASE, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == CASE
    assert (chunks[0].object, chunks[-1].choices[0].finish_reason) == ("text_completion", "stop")


def test_a_streamed_text_completion_can_end_with_usage(client: openai.OpenAI) -> None:
    options: Any = {"include_usage": True}
    *_, last = client.completions.create(model=LEAD, prompt=CASE, stream=True, stream_options=options)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 12


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        pytest.param("left", "She fell, and her ", id="one"),
        pytest.param([" hurts", ","], "She fell", id="the first to come of several"),
        pytest.param(["no such thing"], CASE, id="one that does not come"),
        pytest.param("", CASE, id="an empty one"),
        pytest.param("She", "", id="at the very beginning"),
    ],
)
def test_an_answer_ends_before_a_stop_string(client: openai.OpenAI, stop: str | list[str], text: str) -> None:
    choice = chat(client, stop=stop).choices[0]
    assert (choice.message.content, choice.finish_reason) == (text, "stop")


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_answer_over_the_token_limit_is_cut_and_ends_with_length(client: openai.OpenAI, name: str) -> None:
    limit: dict[str, Any] = {name: 3}
    completion = chat(client, **limit)
    choice = completion.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("She fell,", "length")
    assert completion.usage.completion_tokens == 3


def test_an_answer_of_just_the_token_limit_ends_with_stop(client: openai.OpenAI) -> None:
    assert chat(client, max_tokens=12).choices[0].finish_reason == "stop"


def test_a_stream_over_the_token_limit_ends_with_length(client: openai.OpenAI) -> None:
    chunks = list(chat(client, max_tokens=3, stream=True))
    assert (text_of(chunks), chunks[-1].choices[0].finish_reason) == ("She fell,", "length")


def test_the_async_client_is_answered_too(server: Server) -> None:
    async def main() -> str | None:
        async with async_client_of(server) as client:
            completion = await client.chat.completions.create(model=LEAD, messages=MESSAGES)
            return completion.choices[0].message.content

    assert asyncio.run(main()) == CASE


def test_the_async_client_can_stream_too(server: Server) -> None:
    async def main() -> str:
        async with async_client_of(server) as client:
            stream = await client.chat.completions.create(model=LEAD, messages=MESSAGES, stream=True)
            return text_of([chunk async for chunk in stream])

    assert asyncio.run(main()) == CASE


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        chat(client, "gpt-4")
    assert caught.value.code == "model_not_found"
    assert "The model `gpt-4` does not exist." in str(caught.value)


def test_an_unknown_address_is_not_found_in_the_api_s_shape(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="Invalid URL \\(POST /v1/moderations\\)"):
        client.moderations.create(input="x")


def test_a_prompt_over_the_context_is_refused_with_the_code_for_it() -> None:
    with running_server("--context", "20") as server, client_of(server) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            chat(client, max_tokens=9)
        assert caught.value.code == "context_length_exceeded"
        assert "maximum context length is 20 tokens" in str(caught.value)
        assert chat(client, max_tokens=8).choices[0].finish_reason == "length"


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"messages": []}, id="no messages"),
        pytest.param({"messages": "hello"}, id="messages that are none"),
        pytest.param({"messages": ["hello"]}, id="a message that is none"),
        pytest.param({"messages": [{"role": "nurse", "content": "x"}]}, id="an unknown role"),
        pytest.param({"messages": [{"role": "user", "content": 7}]}, id="content that is no text"),
        pytest.param({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, id="an image"),
        pytest.param({"model": ""}, id="no model"),
        pytest.param({"n": 2}, id="two answers"),
        pytest.param({"max_tokens": 0}, id="no tokens"),
        pytest.param({"max_tokens": 1.5}, id="half a token"),
        pytest.param({"max_tokens": True}, id="a truth for tokens"),
        pytest.param({"seed": "x"}, id="a seed that is no number"),
        pytest.param({"stop": 7}, id="a stop that is no text"),
        pytest.param({"stop": list("abcde")}, id="five stops"),
        pytest.param({"extra_body": {"stream_options": "x"}}, id="stream options that are none"),
    ],
)
def test_a_wrong_body_is_a_bad_request(client: openai.OpenAI, options: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError):
        chat(client, **options)


def test_a_list_of_prompts_is_a_bad_request(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="'prompt' must be a string"):
        client.completions.create(model=LEAD, prompt=["a", "b"])


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b"null", b'"x"'])
def test_a_body_that_is_no_json_object_is_a_bad_request(client: openai.OpenAI, body: bytes) -> None:
    with pytest.raises(openai.BadRequestError):
        client.post(
            "/chat/completions",
            cast_to=object,
            content=body,
            options={"headers": {"Content-Type": "application/json"}},
        )


@pytest.fixture(scope="module")
def locked_server() -> Iterator[Server]:
    with running_server("--api-key-env", KEY_ENV, env={**os.environ, KEY_ENV: "right"}) as running:
        yield running


def test_the_right_key_is_let_in(locked_server: Server) -> None:
    with client_of(locked_server, "right") as client:
        assert chat(client).choices[0].message.content == CASE


@pytest.mark.parametrize("key", ["wrong", "righ", "rightt", "RIGHT", "none"])
def test_a_wrong_key_is_refused(locked_server: Server, key: str) -> None:
    with client_of(locked_server, key) as client, pytest.raises(openai.AuthenticationError) as caught:
        chat(client)
    assert caught.value.code == "invalid_api_key"
    assert key not in str(caught.value.body)


def test_a_wrong_key_does_not_see_the_models(locked_server: Server) -> None:
    with client_of(locked_server, "wrong") as client, pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_without_a_key_option_any_key_will_do(server: Server) -> None:
    with client_of(server, "whatever") as client:
        assert chat(client).choices[0].message.content == CASE


def test_a_key_variable_that_is_not_set_is_wrong_use(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != KEY_ENV}
    ended = wardround("serve", "--port", "0", "--api-key-env", KEY_ENV, cwd=tmp_path, env=env)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert KEY_ENV in ended.stderr


def test_a_rate_limit_says_when_to_come_back() -> None:
    with running_server("--fail-429", "1", "--retry-after", "2.5") as server, client_of(server) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            chat(client)
        assert caught.value.response.headers["retry-after"] == "2.5"
        assert caught.value.code == "rate_limit_exceeded"


def test_an_error_of_the_server_is_one_for_the_client() -> None:
    with running_server("--fail-500", "1") as server, client_of(server) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            chat(client)
        assert caught.value.status_code == 500


@pytest.fixture(scope="module")
def cutting_server() -> Iterator[Server]:
    with running_server("--cut", "1") as running:
        yield running


def test_a_whole_answer_that_is_cut_is_a_broken_connection(cutting_server: Server) -> None:
    with client_of(cutting_server) as client, pytest.raises(openai.APIConnectionError):
        chat(client)


def test_a_stream_that_is_cut_is_a_broken_connection_after_half_of_its_tokens(cutting_server: Server) -> None:
    chunks: list[ChatCompletionChunk] = []

    def read(client: openai.OpenAI) -> None:
        for chunk in chat(client, stream=True):
            chunks.append(chunk)

    with client_of(cutting_server) as client, pytest.raises(openai.APIConnectionError):
        read(client)
    assert text_of(chunks) == "She fell, and her left"
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks)


def test_a_slow_answer_is_late_but_whole() -> None:
    with running_server("--slow", "1", "--slow-by", "0.3") as server, client_of(server) as client:
        start_s = time.monotonic()
        assert chat(client).choices[0].message.content == CASE
        assert time.monotonic() - start_s >= 0.29


def statuses_of(server: Server, requests: int) -> list[int]:
    """The statuses of as many requests, one after the other."""

    def status(client: openai.OpenAI) -> int:
        try:
            chat(client)
        except openai.APIStatusError as error:
            return error.status_code
        return 200

    with client_of(server) as client:
        return [status(client) for _ in range(requests)]


def test_faults_are_the_same_for_the_same_seed_and_others_for_another() -> None:
    drawn = []
    for seed in ("1", "1", "2"):
        with running_server("--fail-429", "0.3", "--fail-500", "0.3", "--seed", seed) as server:
            drawn.append(statuses_of(server, 30))
    assert drawn[0] == drawn[1] != drawn[2]
    assert set(drawn[0]) == {200, 429, 500}


def test_requests_beyond_the_slots_queue() -> None:
    async def main(server: Server) -> float:
        async with async_client_of(server) as client:
            start_s = time.monotonic()
            ask = client.chat.completions.create
            await asyncio.gather(*(ask(model=LEAD, messages=MESSAGES) for _ in range(4)))
            return time.monotonic() - start_s

    with running_server("--slots", "1", "--ttft", "0.1") as server:
        assert asyncio.run(main(server)) >= 0.39


@pytest.fixture(scope="module")
def paced_server() -> Iterator[Server]:
    with running_server("--ttft", "0.2", "--tpot", "0.02") as running:
        yield running


def test_the_first_token_of_a_stream_takes_ttft_and_each_further_one_tpot(paced_server: Server) -> None:
    with client_of(paced_server) as client:
        start_s = time.monotonic()
        came_s = [time.monotonic() - start_s for chunk in chat(client, stream=True) if chunk.choices[0].delta.content]
    assert len(came_s) == 12
    assert all(at_s >= 0.199 + number * 0.02 for number, at_s in enumerate(came_s))


def test_a_whole_answer_takes_as_long_as_its_stream(paced_server: Server) -> None:
    with client_of(paced_server) as client:
        start_s = time.monotonic()
        chat(client)
        assert time.monotonic() - start_s >= 0.199 + 11 * 0.02


def test_the_stats_count_requests_and_answers_by_status() -> None:
    with running_server() as server, client_of(server) as client:
        chat(client)
        list(chat(client, stream=True))
        client.completions.create(model=LEAD, prompt=CASE)
        with pytest.raises(openai.NotFoundError):
            chat(client, "gpt-4")
        with pytest.raises(openai.BadRequestError):
            chat(client, n=2)
        stats = server.stats()
        assert (stats["requests"], stats["statuses"]) == (5, {"200": 3, "404": 1, "400": 1})


def test_looking_at_the_models_is_not_counted() -> None:
    with running_server() as server, client_of(server) as client:
        client.models.list()
        assert server.stats() == {"requests": 0, "statuses": {}, "peak_in_flight": 0}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_an_address_that_others_can_reach_is_refused_in_one_line(tmp_path: Path, host: str) -> None:
    ended = wardround("serve", "--host", host, "--port", "0", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("wardround: the embedded server only binds to loopback")
    assert ended.stderr.count("\n") == 1


def test_the_server_ends_when_its_standard_input_does() -> None:
    command = [sys.executable, "-m", "wardround", "serve", "--port", "0", "--announce", "--until-stdin-closes"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            announced = json.loads(process.stdout.readline())
            assert process.poll() is None
            process.stdin.close()
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
    assert announced["base_url"].startswith("http://127.0.0.1:")


def test_the_server_ends_well_when_it_is_asked_to() -> None:
    with running_server() as server:
        server.process.terminate()
        assert server.process.wait(timeout=20) == 0
