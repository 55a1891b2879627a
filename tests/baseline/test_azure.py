from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.support import Server, running_server

CASE = "She fell, and her left hip hurts. Which one?"
MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": CASE}]
KEY_ENV = "WARDROUND_TEST_KEY"


def azure(server: Server, **options: Any) -> openai.AzureOpenAI:
    """Azure's own client."""
    root = server.base_url.removesuffix("/v1")
    keys = {} if "azure_ad_token" in options else {"api_key": "right"}
    return openai.AzureOpenAI(
        **{"azure_endpoint": root, "api_version": "2024-10-21", "max_retries": 0, "timeout": 30.0, **keys, **options}
    )


def ask(client: openai.AzureOpenAI, model: str = "baseline-lead", **options: Any) -> Any:
    with client:
        return client.chat.completions.create(model=model, messages=MESSAGES, **options)


@pytest.fixture(scope="module")
def locked_server() -> Iterator[Server]:
    with running_server("--api-key-env", KEY_ENV, env={**os.environ, KEY_ENV: "right"}) as running:
        yield running


@pytest.mark.parametrize("keys", [{"api_key": "right"}, {"azure_ad_token": "right"}])
def test_azure_s_own_client_is_answered_with_either_key(locked_server: Server, keys: dict[str, str]) -> None:
    completion = ask(azure(locked_server, **keys))
    assert (completion.choices[0].message.content, completion.model) == (CASE, "baseline-lead")


def test_an_answer_holds_the_filters_findings(server: Server) -> None:
    completion = ask(azure(server)).to_dict()
    assert completion["prompt_filter_results"][0]["content_filter_results"]["violence"]["severity"] == "safe"
    assert completion["choices"][0]["content_filter_results"]["hate"]["filtered"] is False


def test_a_stream_begins_with_a_chunk_without_a_choice(server: Server) -> None:
    with azure(server) as client:
        stream = client.chat.completions.create(model="baseline-lead", messages=MESSAGES, stream=True)
        first, *chunks = list(stream)
    assert first.choices == []
    assert "prompt_filter_results" in first.to_dict()
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == CASE


@pytest.mark.parametrize("keys", [{"api_key": "wrong"}, {"azure_ad_token": "wrong"}])
def test_a_wrong_key_is_refused_as_azure_refuses_it(locked_server: Server, keys: dict[str, str]) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        ask(azure(locked_server, **keys))
    assert caught.value.response.json()["error"].keys() == {"code", "message"}
    assert caught.value.code == "401"
    assert "wrong API endpoint" in str(caught.value)


def test_an_unknown_deployment_is_not_found_as_azure_says_it(server: Server) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        ask(azure(server), "gpt-4")
    assert caught.value.code == "DeploymentNotFound"


def test_without_a_version_there_is_nothing(server: Server) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        ask(azure(server, api_version=""))
    assert caught.value.response.json() == {"error": {"code": "404", "message": "Resource not found"}}


def test_a_filtered_prompt_is_a_bad_request_that_says_so() -> None:
    with running_server("--filter", "1") as server:
        with pytest.raises(openai.BadRequestError) as caught:
            ask(azure(server))
        error = caught.value.response.json()["error"]
        assert (error["code"], error["param"], error["status"]) == ("content_filter", "prompt", 400)
        found = error["innererror"]["content_filter_result"]
        assert error["innererror"]["code"] == "ResponsibleAIPolicyViolation"
        assert [kind for kind, result in found.items() if result["filtered"]] == ["self_harm"]
        with (
            openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client,
            pytest.raises(openai.BadRequestError) as caught,
        ):
            client.chat.completions.create(model="baseline-lead", messages=MESSAGES)
        assert caught.value.code == "content_filter"


def test_a_rate_limit_says_in_azure_s_words_when_to_come_back() -> None:
    with running_server("--rpm", "1") as server:
        ask(azure(server))
        with pytest.raises(openai.RateLimitError) as caught:
            ask(azure(server))
    error = caught.value.response.json()["error"]
    assert error["code"] == "429"
    assert "under Azure OpenAI API version 2024-10-21 have exceeded call rate limit" in error["message"]
    assert 0 < float(caught.value.response.headers["retry-after"]) <= 60


def test_other_faults_have_openai_s_shape(server: Server) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(azure(server), n=2)
    assert caught.value.response.json()["error"]["type"] == "invalid_request_error"
