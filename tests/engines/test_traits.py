"""What each engine does where engines differ: the traits in servers/engines/*.yaml, shown on the engines themselves."""

from __future__ import annotations

import http.client
import json
import urllib.error
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace

import pytest

from tests.engines.asking import PROMPT, ask_all, failed, question, rendered, replied
from tests.engines.conftest import KEY
from tests.engines.serving import Engine
from tests.engines.test_choices import KEPT, WORDS
from tests.engines.test_contract import BEGUN
from tests.engines.tiny import CONTEXT
from wardround.endpoints import Failure, Params, Reply

pytestmark = pytest.mark.engine


def test_vllm_refuses_a_model_that_it_does_not_serve(vllm: Engine, protocol: str) -> None:
    failure = failed(vllm, served_as="other", protocol=protocol)
    assert (failure.kind, failure.status, failure.retryable) == ("unknown_model", 404, False)


def test_llama_server_answers_for_any_model_and_signs_with_its_own_name(llama_server: Engine, protocol: str) -> None:
    reply = replied(llama_server, served_as="other", protocol=protocol)
    assert reply.text == replied(llama_server).text
    assert reply.fingerprint.split()[0] == "tiny"


def test_vllm_refuses_a_limit_beyond_the_context(vllm: Engine, protocol: str) -> None:
    failure = failed(vllm, params=Params(max_tokens=3 * CONTEXT), protocol=protocol)
    assert (failure.kind, failure.status, failure.retryable) == ("context_overflow", 400, False)
    # Not so one that is beyond what the prompt leaves of it.
    assert replied(vllm, params=Params(max_tokens=CONTEXT - 1)).finish_reason == "stop"


def test_llama_server_takes_a_limit_beyond_the_context(llama_server: Engine, protocol: str) -> None:
    assert replied(llama_server, params=Params(max_tokens=3 * CONTEXT), protocol=protocol).finish_reason == "stop"


def test_vllm_without_a_template_says_so(vllm_without_template: Engine) -> None:
    failure = failed(vllm_without_template)
    assert (failure.kind, failure.status, failure.retryable) == ("missing_template", 400, False)
    assert "chat_template" in failure.words
    # A prompt that is rendered here needs none there.
    assert replied(vllm_without_template, protocol="openai-completions").finish_reason == "stop"


def test_llama_server_without_a_template_makes_one_up(
    llama_server_without_template: Engine, count: Callable[[str], int]
) -> None:
    reply = replied(llama_server_without_template)
    assert reply.prompt_tokens != count(rendered(PROMPT))
    shown = "<|im_start|>user\nIs aspirin an NSAID?<|im_end|>\n<|im_start|>assistant\n"
    assert reply.prompt_tokens == count(shown) + 1


def said_to_begun(engine: Engine, *, stream: bool) -> str:
    """What an engine itself says to an answer that was begun, before the client reads it."""
    turns = [*({"role": turn.role, "content": turn.content} for turn in BEGUN.messages)]
    content = {
        "model": "tiny",
        "messages": [*turns, {"role": "assistant", "content": BEGUN.prefill}],
        "continue_final_message": True,
        "add_generation_prompt": False,
        "temperature": 0,
        "max_tokens": 8,
    }
    if not stream:
        said: str = engine.post("/v1/chat/completions", content, key=KEY)["choices"][0]["message"]["content"]
        return said
    body = engine.post_text("/v1/chat/completions", {**content, "stream": True}, key=KEY)
    events = [line.removeprefix("data: ") for line in body.splitlines() if line.startswith("data: {")]
    return "".join(json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events)


def test_a_begun_answer_is_continued_by_vllm_and_not_repeated(vllm: Engine) -> None:
    continued = replied(vllm, BEGUN, Params(max_tokens=8)).text
    assert said_to_begun(vllm, stream=False) == said_to_begun(vllm, stream=True) == continued


def test_llama_server_repeats_the_beginning_of_a_whole_answer_alone(llama_server: Engine) -> None:
    continued = replied(llama_server, BEGUN, Params(max_tokens=8)).text
    assert said_to_begun(llama_server, stream=False) == BEGUN.prefill + continued
    assert said_to_begun(llama_server, stream=True) == continued


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


def test_vllm_keeps_a_text_to_its_choices(vllm: Engine) -> None:
    prompt = replace(PROMPT, choices=WORDS)
    assert replied(vllm, prompt, KEPT, protocol="openai-completions").text in WORDS


def test_llama_server_does_not_keep_a_text_to_its_choices(llama_server: Engine) -> None:
    failure = failed(llama_server, replace(PROMPT, choices=WORDS), KEPT, protocol="openai-completions")
    assert (failure.kind, failure.retryable) == ("constraint_ignored", False)


def found_again(engine: Engine, text: str) -> tuple[int, int]:
    """The tokens of a prompt, and how many of them were in the cache when it came a second time."""
    first, second = replied(engine, question(text)), replied(engine, question(text))
    assert first.text == second.text
    assert first.prompt_tokens is not None
    assert second.cached_tokens is not None
    return first.prompt_tokens, second.cached_tokens


def test_vllm_finds_whole_blocks_of_a_prompt_again(vllm: Engine) -> None:
    tokens, cached = found_again(vllm, "The patient was admitted with fever and cough. " * 30)
    assert cached == tokens // 128 * 128 > 0
    tokens, cached = found_again(vllm, "A prompt of less than one block.")
    assert (tokens < 128, cached) == (True, 0)


def test_llama_server_finds_a_prompt_again_to_the_token(llama_server: Engine) -> None:
    for text in ("The patient was admitted with fever and cough. " * 30, "A prompt of less than one block."):
        tokens, cached = found_again(llama_server, text)
        # The last token is always read: what follows it is wanted.
        assert cached == tokens - 1


def test_llama_server_divides_its_context_among_its_slots(llama_server: Engine) -> None:
    properties = json.loads(llama_server.get("/props", key=KEY))
    assert f"--ctx-size {4 * CONTEXT}" in " ".join(llama_server.command)
    assert (properties["total_slots"], properties["default_generation_settings"]["n_ctx"]) == (4, CONTEXT)


def test_llama_server_closes_a_connection_after_a_stream_that_it_said_it_keeps(llama_server: Engine) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", llama_server.port, timeout=60)) as connection:
        content = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
        connection.request("POST", "/v1/chat/completions", json.dumps({**content, "stream": True}), headers)
        answer = connection.getresponse()
        assert answer.getheader("Keep-Alive") == "timeout=5, max=100"
        assert b"[DONE]" in answer.read()
        assert connection.sock is not None
        assert connection.sock.recv(1) == b""


def test_where_an_error_s_words_stand(engine: Engine) -> None:
    content = {"model": "tiny", "messages": [{"role": "user", "content": "fever " * 2 * CONTEXT}]}
    error = refusal(engine, content, KEY)["error"]
    assert isinstance(error["message"], str)
    assert error["code"] == 400
    without_key = refusal(engine, content, None)["error"]
    assert isinstance(without_key, str if engine.name == "vllm" else dict)


def refusal(engine: Engine, content: Mapping[str, object], key: str | None) -> dict[str, dict[str, object]]:
    with pytest.raises(urllib.error.HTTPError) as caught:
        engine.post("/v1/chat/completions", content, key=key)
    with caught.value as error:
        said: dict[str, dict[str, object]] = json.loads(error.read())
    return said


def test_vllm_on_a_cpu_dies_of_a_seed_with_prompts_that_are_read_in_pieces(vllm_without_template: Engine) -> None:
    """The last test of this server: it ends here."""
    text, params = "fever and cough " * 450, Params(max_tokens=3, temperature=1.0)

    def asked(word: str, params: Params) -> list[Reply | Failure]:
        # Another beginning each, or they would be found in the prefix cache and not read at all.
        prompts = [question(f"{number} {word} {text}") for number in range(8)]
        return ask_all(vllm_without_template, prompts, params, protocol="openai-completions")

    assert [type(outcome) for outcome in asked("without", params)] == [Reply] * 8
    failures = [outcome for outcome in asked("with", replace(params, seed=7)) if isinstance(outcome, Failure)]
    assert len(failures) > 0
    assert {failure.kind for failure in failures} <= {"server_error", "connect", "broken_stream"}
    assert all(failure.retryable for failure in failures)
    vllm_without_template.wait_for_its_end()
