from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from tests.endpoints.exchange import (
    FINE,
    KEY,
    PATIENT,
    PROMPT,
    ROLE,
    USAGE_ONLY,
    Exchange,
    ask,
    completion,
    either_way,
    piece,
)
from tests.wire.raw_server import (
    LAST_CHUNK,
    NEVER_S,
    STREAM_HEAD,
    Then,
    closed_port,
    event,
    event_stream,
    http_answer,
    json_answer,
    raw_server,
)
from wardround.catalogue import Model
from wardround.endpoints import Failure, Params, Reply
from wardround.endpoints.azure_openai import AzureOpenAI
from wardround.endpoints.keys import Keys
from wardround.errors import EndpointError
from wardround.study import Deadlines
from wardround.task import Message, Prompt
from wardround.wire import Wire

ROW: dict[str, Any] = {"protocol": "azure-openai", "api_version": "2024-10-21", "served_as": "gpt-ward"}
API_KEY = Keys({"api-key": KEY}, (KEY,))


class WithApiKey(AzureOpenAI):
    """A door with Azure's own kind of key, whatever the test asks with."""

    def __init__(self, *arguments: Any, keys: Keys | None = None, **options: Any) -> None:
        super().__init__(*arguments, keys=API_KEY, **options)


def ask_azure(*steps: Any, **options: Any) -> Exchange:
    return ask(*steps, door=WithApiKey, **{**ROW, **options})


def ask_at(base_url: str, wire: Wire, keys: Keys = API_KEY, deadlines: Deadlines = PATIENT) -> Any:
    model = Model(**{"name": "m", "base_url": base_url, **ROW})
    return AzureOpenAI(model, wire, base_url=base_url, keys=keys, deadlines=deadlines).ask(PROMPT, Params(max_tokens=5))


def streamed_answer(*deltas: Mapping[str, Any]) -> bytes:
    """With the findings of Azure's filters before and behind, in events without a choice."""
    findings = {"choices": [], "model": "", "prompt_filter_results": [{"prompt_index": 0}]}
    return event_stream(findings, ROLE, *map(piece, deltas), piece({}, "stop"), USAGE_ONLY)


def test_the_question_goes_to_the_deployment_with_the_version() -> None:
    [asked] = ask_azure(FINE).asked
    assert asked.method == "POST"
    assert asked.target == "/v1/openai/deployments/gpt-ward/chat/completions?api-version=2024-10-21"
    assert asked.json() == {
        "model": "gpt-ward",
        "messages": [
            {"role": "system", "content": "Answer briefly."},
            {"role": "user", "content": "Is aspirin an NSAID?"},
        ],
        "max_tokens": 20,
        "temperature": 0.0,
    }


def test_a_deployment_s_name_is_written_as_an_address_wants_it() -> None:
    [asked] = ask_azure(FINE, served_as="ward 3/gpt").asked
    assert asked.target.startswith("/v1/openai/deployments/ward%203%2Fgpt/")


def test_what_is_not_azure_s_own_is_sent_too() -> None:
    params = Params(max_tokens=5, seed=1, stop=("\n",), extra_body={"reasoning_effort": "low", "max_tokens": None})
    prompt = Prompt(PROMPT.messages, prefill="Yes")
    sent = ask_azure(FINE, params=params, prompt=prompt).sent
    assert (sent["seed"], sent["stop"], sent["reasoning_effort"]) == (1, ["\n"], "low")
    assert sent["continue_final_message"] is True
    assert "max_tokens" not in sent


def test_a_template_sends_text_to_the_deployment() -> None:
    params = Params(max_tokens=5, template="plain")
    [asked] = ask_azure(FINE, params=params).asked
    assert asked.target == "/v1/openai/deployments/gpt-ward/completions?api-version=2024-10-21"
    assert asked.json()["prompt"] == "Answer briefly.\n\nIs aspirin an NSAID?\n\n"


@pytest.mark.parametrize(
    ("keys", "name", "value"),
    [
        pytest.param(API_KEY, "api-key", KEY, id="a key of its own"),
        pytest.param(
            Keys({"Authorization": "Bearer eyJ.a.b"}), "authorization", "Bearer eyJ.a.b", id="a directory's token"
        ),
        pytest.param(Keys({"API-Key": KEY, "X-Ward": "3"}, (KEY,)), "x-ward", "3", id="a header of the row"),
    ],
)
def test_the_key_and_the_row_s_headers_are_sent(keys: Keys, name: str, value: str) -> None:
    async def main() -> Mapping[str, str]:
        async with raw_server([FINE]) as server, Wire() as wire:
            await ask_at(server.url, wire, keys)
            return server.asked[0].headers

    assert asyncio.run(main())[name] == value


def test_nothing_of_the_machine_or_the_environment_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "OPENAI_ORG_ID",
        "OPENAI_PROJECT_ID",
        "AZURE_OPENAI_AD_TOKEN",
        "AZURE_OPENAI_API_KEY",
        "OPENAI_API_KEY",
    ):
        monkeypatch.setenv(name, "of-the-environment")
    [asked] = ask_azure(FINE).asked
    assert {name for name in asked.headers if name.startswith(("x-stainless", "openai-"))} == set()
    assert "of-the-environment" not in str(asked.headers)


def test_without_a_key_there_is_no_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "of-the-environment")
    with pytest.raises(EndpointError, match="'m' needs a key for azure-openai: give `key_env` or `key_file`"):
        ask_at("http://127.0.0.1:1", Wire(), Keys())


def test_the_package_writes_no_prompt_to_its_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        ask_azure(FINE)
    assert "openai" in {record.name.partition(".")[0] for record in caplog.records}
    assert "aspirin" not in caplog.text
    assert KEY not in caplog.text


@either_way
def test_text_finish_reason_and_usage_are_read(streamed: bool) -> None:
    answer = (
        streamed_answer({"content": "Yes"}, {"content": "."})
        if streamed
        else json_answer(completion({"content": "Yes."}))
    )
    reply = ask_azure(answer, stream=streamed).reply
    assert (reply.text, reply.finish_reason) == ("Yes.", "stop")
    assert (reply.prompt_tokens, reply.output_tokens) == (11, 2)
    assert reply.scheduled_ns <= reply.sent_ns <= (reply.first_token_ns or reply.done_ns) <= reply.done_ns


def test_a_stream_is_asked_for_with_its_usage() -> None:
    sent = ask_azure(streamed_answer({"content": "a"}), stream=True).sent
    assert (sent["stream"], sent["stream_options"]) == (True, {"include_usage": True})


def test_the_pieces_are_handed_on_as_they_come() -> None:
    exchange = ask_azure(streamed_answer({"content": "Yes"}, {"content": "."}), listen=True)
    assert [one.text for one in exchange.chunks] == ["Yes", "."]
    assert exchange.reply.first_token_ns == exchange.chunks[0].at_ns


def test_streams_in_a_row_use_one_connection() -> None:
    async def main() -> int:
        async with raw_server([streamed_answer({"content": "a"})]) as server, Wire() as wire:
            model = Model(**{"name": "m", "base_url": server.url, "stream": True, **ROW})
            endpoint = AzureOpenAI(model, wire, base_url=server.url, keys=API_KEY, deadlines=PATIENT)
            for _ in range(3):
                assert isinstance(await endpoint.ask(PROMPT, Params(max_tokens=5)), Reply)
            return server.connections

    assert asyncio.run(main()) == 1


def test_requests_at_the_same_time_get_each_their_own_answer() -> None:
    async def main() -> list[str]:
        answers = [[json_answer(completion({"content": str(number)}))] for number in range(8)]
        async with raw_server(*answers) as server, Wire() as wire:
            model = Model(**{"name": "m", "base_url": server.url, **ROW})
            endpoint = AzureOpenAI(model, wire, base_url=server.url, keys=API_KEY, deadlines=PATIENT)
            replies = await asyncio.gather(*(endpoint.ask(PROMPT, Params(max_tokens=5)) for _ in answers))
            return sorted(reply.text for reply in replies if isinstance(reply, Reply))

    assert asyncio.run(main()) == [str(number) for number in range(8)]


FILTERED = {
    "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
    "type": None,
    "param": "prompt",
    "code": "content_filter",
    "status": 400,
    "innererror": {"code": "ResponsibleAIPolicyViolation"},
}


@pytest.mark.parametrize(
    ("status", "error", "kind", "retryable"),
    [
        pytest.param(
            401, {"code": "401", "message": "Access denied due to invalid key."}, "unauthorized", False, id="bad key"
        ),
        pytest.param(
            404, {"code": "DeploymentNotFound", "message": "No such."}, "unknown_model", False, id="unknown model"
        ),
        pytest.param(
            400, {"code": "context_length_exceeded", "message": "Too long."}, "context_overflow", False, id="overflow"
        ),
        pytest.param(400, FILTERED, "content_filter", False, id="content filter"),
        pytest.param(429, {"code": "429", "message": "Exceeded token rate limit."}, "rate_limit", True, id="limit"),
        pytest.param(503, {"code": "503", "message": "Busy."}, "overload", True, id="overload"),
        pytest.param(500, {"code": "500", "message": "Oh."}, "server_error", True, id="an error of the server"),
    ],
)
@either_way
def test_its_errors_are_the_failures_they_mean(
    streamed: bool, status: int, error: Any, kind: str, retryable: bool
) -> None:
    exchange = ask_azure(json_answer({"error": error}, status), stream=streamed)
    assert (exchange.failure.kind, exchange.failure.retryable, exchange.failure.status) == (kind, retryable, status)
    assert exchange.failure.words == error["message"]
    # Asking again is the scheduler's business.
    assert len(exchange.asked) == 1


@either_way
def test_the_headers_of_a_refusal_are_told_and_its_wait_is_read(streamed: bool) -> None:
    refusal = json_answer({"error": {"code": "429", "message": "Slow."}}, 429, retry_after_ms="1500")
    exchange = ask_azure(refusal, stream=streamed)
    assert exchange.failure.retry_after_s == 1.5
    assert exchange.headers[0]["Retry-After-Ms"] == "1500"


@either_way
def test_a_key_that_the_server_repeats_is_not_in_the_failure(streamed: bool) -> None:
    failure = ask_azure(json_answer({"error": {"code": "401", "message": f"No {KEY}."}}, 401), stream=streamed).failure
    assert failure.words == "No [key]."


@either_way
def test_a_redirect_is_a_failure_and_the_prompt_goes_nowhere_else(streamed: bool) -> None:
    exchange = ask_azure(http_answer(b"", 307, Location="/v1/elsewhere"), stream=streamed)
    assert (exchange.failure.kind, exchange.failure.status, len(exchange.asked)) == ("bad_request", 307, 1)


@either_way
def test_a_page_with_status_200_is_a_bad_reply(streamed: bool) -> None:
    page = http_answer(b"<html>Please log in</html>", content_type="text/html")
    assert ask_azure(page, stream=streamed).failure.kind == "bad_reply"


def test_proxies_of_the_environment_are_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert ask_azure(FINE).reply.text == "Yes."


def test_a_pinned_host_is_connected_to_at_its_checked_address_only() -> None:
    async def main() -> tuple[Reply | Failure, str]:
        async with raw_server([FINE]) as server, Wire(pinned={"ward.example": ["127.0.0.1"]}) as wire:
            base_url = server.url.replace("127.0.0.1", "ward.example")
            return await ask_at(base_url, wire), server.asked[0].headers["host"]

    reply, host = asyncio.run(main())
    assert isinstance(reply, Reply)
    assert host.startswith("ward.example:")


def test_a_host_that_was_not_checked_gets_nothing() -> None:
    async def main() -> tuple[Reply | Failure, int]:
        async with raw_server([FINE]) as server, Wire(pinned={"ward.example": ["127.0.0.1"]}) as wire:
            outcome = await ask_at(server.url.replace("127.0.0.1", "localhost"), wire)
            return outcome, len(server.asked)

    outcome, asked = asyncio.run(main())
    assert isinstance(outcome, Failure)
    assert (outcome.kind, asked) == ("connect", 0)


@either_way
def test_a_server_that_is_not_there_is_the_failure_connect(streamed: bool) -> None:
    async def main() -> Reply | Failure:
        async with Wire() as wire:
            base_url = f"http://127.0.0.1:{closed_port()}"
            model = Model(**{"name": "m", "base_url": base_url, "stream": streamed, **ROW})
            endpoint = AzureOpenAI(model, wire, base_url=base_url, keys=API_KEY, deadlines=PATIENT)
            return await endpoint.ask(PROMPT, Params(max_tokens=5))

    outcome = asyncio.run(main())
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.retryable) == ("connect", True)


@either_way
def test_a_connection_that_breaks_off_is_broken(streamed: bool) -> None:
    steps = (STREAM_HEAD + event(piece({"content": "a"})), Then.HANG_UP) if streamed else (Then.HANG_UP,)
    failure = ask_azure(*steps, stream=streamed).failure
    assert (failure.kind, failure.retryable) == ("broken_stream", True)


@either_way
def test_an_answer_that_is_not_whole_in_time_is_a_timeout(streamed: bool) -> None:
    steps = (STREAM_HEAD + event(piece({"content": "a"})), NEVER_S) if streamed else (NEVER_S,)
    failure = ask_azure(*steps, stream=streamed, deadlines=Deadlines(first_token_s=20.0, whole_s=0.3)).failure
    assert failure == Failure("timeout", "no whole answer within 0.3 s", retryable=True)


def test_a_first_token_that_does_not_come_in_time_is_a_timeout() -> None:
    deadlines = Deadlines(first_token_s=0.2, whole_s=20.0)
    failure = ask_azure(STREAM_HEAD + event(ROLE), NEVER_S, stream=True, deadlines=deadlines).failure
    assert failure == Failure("timeout", "no first token within 0.2 s", retryable=True)


def test_a_lone_surrogate_in_the_prompt_is_sent_as_what_it_means() -> None:
    prompt = Prompt((Message("user", "a\ud800b"),))
    assert ask_azure(FINE, prompt=prompt).sent["messages"][0]["content"] == "a\ufffdb"


def test_an_empty_stream_is_broken() -> None:
    assert ask_azure(STREAM_HEAD + LAST_CHUNK, stream=True).failure.kind == "broken_stream"
