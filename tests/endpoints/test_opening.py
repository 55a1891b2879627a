from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support import Server
from tests.wire.raw_server import Asked, Then, closed_port, http_answer, json_answer, raw_server
from wardround.catalogue import Model
from wardround.endpoints import check_served, identity, open_endpoint
from wardround.endpoints.opening import without_secrets
from wardround.errors import EndpointError
from wardround.study import Deadlines
from wardround.wire import Wire

KEY = "sk-secret-0123456789abcdef"
KEY_ENV = "WARDROUND_TEST_KEY"


def model(**row: Any) -> Model:
    base_url = row.pop("base_url", "http://127.0.0.1:1/v1")
    checked = Model(**{"name": "medgemma-4b", "base_url": "http://127.0.0.1:1/v1", **row})
    # The catalogue refuses an address with secrets in it; what opens endpoints must not leak one all the same.
    return checked.model_copy(update={"base_url": base_url})


def check(base_url: str, **row: Any) -> None:
    """Check a server that is already there."""

    async def main() -> None:
        async with Wire() as wire:
            await check_served(model(base_url=base_url, **row), wire, base_url=base_url)

    asyncio.run(main())


def check_raw(*steps: bytes | float | Then, **row: Any) -> list[Asked]:
    """Check a server that answers with `steps`; what it was asked."""

    async def main() -> list[Asked]:
        async with raw_server(steps) as server, Wire() as wire:
            await check_served(model(base_url=server.base_url, **row), wire, base_url=server.base_url)
            return server.asked

    return asyncio.run(main())


def complaint_about(*steps: bytes | float | Then, **row: Any) -> str:
    with pytest.raises(EndpointError) as caught:
        check_raw(*steps, **row)
    return str(caught.value)


def serving(*names: str) -> bytes:
    """The answer of a server that has models of these names."""
    return json_answer({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})


def test_a_server_that_serves_the_model_is_accepted() -> None:
    [asked] = check_raw(serving("other", "medgemma-4b"))
    assert (asked.method, asked.target) == ("GET", "/v1/models")


def test_the_embedded_server_is_accepted_for_its_baselines(server: Server) -> None:
    check(server.base_url, name="baseline-majority")


def test_the_name_that_counts_is_the_one_the_server_knows() -> None:
    check_raw(serving("google/medgemma-4b-it"), served_as="google/medgemma-4b-it")


def test_a_model_is_known_under_each_of_its_names() -> None:
    # llama.cpp lists the first in the alphabet as the id.
    card = {"id": "llama-3-8b-instruct", "aliases": ["llama-3-8b-instruct", "meta-llama/Llama-3-8B"]}
    check_raw(json_answer({"object": "list", "data": [card]}), served_as="meta-llama/Llama-3-8B")
    check_raw(serving("tiny:latest"), name="tiny")
    words = complaint_about(json_answer({"data": [{**card, "aliases": "meta-llama"}]}), served_as="m")
    assert "does not serve 'm'" in words


def test_an_unreachable_server_is_named_with_its_address_and_a_cure() -> None:
    base_url = f"http://127.0.0.1:{closed_port()}/v1"
    with pytest.raises(EndpointError) as caught:
        check(base_url)
    words = str(caught.value)
    assert words.startswith(f"no server for model 'medgemma-4b' at {base_url}: ")
    assert words.endswith("; start it, or mend `base_url`")
    assert "\n" not in words


def test_a_server_that_hangs_up_is_no_server() -> None:
    assert complaint_about(Then.HANG_UP).startswith("no server for model 'medgemma-4b' at ")


def test_an_unknown_name_is_answered_with_the_nearest_that_is_served() -> None:
    words = complaint_about(serving("llama-3", "medgemma-4b-it"))
    assert "does not serve 'medgemma-4b'; did you mean 'medgemma-4b-it'? (set `served_as`)" in words


def test_without_a_near_name_the_served_ones_are_listed() -> None:
    assert "; it serves: llama-3, qwen-3 (set `served_as`)" in complaint_about(serving("llama-3", "qwen-3"))


def test_of_many_served_names_eight_are_listed() -> None:
    names = [f"llama-{number}" for number in range(20)]
    assert f"it serves: {', '.join(names[:8])} (set" in complaint_about(serving(*names))


def test_a_server_with_an_empty_list_is_taken_at_its_word() -> None:
    # transformers serve lists nothing of what it serves from a folder.
    check_raw(serving())


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_that_lists_no_models_is_taken_at_its_word(status: int) -> None:
    check_raw(json_answer({"detail": "Not Found"}, status))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"OK",
        b"null",
        b"[]",
        b'{"data": null}',
        b'{"data": [{"name": "x"}]}',
        b'{"data": ["x"]}',
        b'{"models": ["x"]}',
    ],
)
def test_a_list_of_models_that_cannot_be_read_is_no_reason_to_refuse(body: bytes) -> None:
    check_raw(http_answer(body))


def test_an_error_of_the_server_is_told_in_its_words() -> None:
    words = complaint_about(json_answer({"error": {"message": "Loading model"}}, 503))
    assert words.endswith("/v1 answers HTTP 503 for model 'medgemma-4b': Loading model")


def test_a_redirect_is_not_followed_but_told() -> None:
    assert "answers HTTP 302" in complaint_about(http_answer(b"", 302, Location="/login"))


def test_the_key_is_read_from_the_environment_and_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, f" {KEY}\n")
    [asked] = check_raw(serving("medgemma-4b"), key_env=KEY_ENV)
    assert asked.headers["authorization"] == f"Bearer {KEY}"


def test_without_key_env_no_key_is_sent() -> None:
    [asked] = check_raw(serving("medgemma-4b"))
    assert "authorization" not in asked.headers


@pytest.mark.parametrize("value", [None, "", "  \n"])
def test_a_missing_key_is_said_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv(KEY_ENV, raising=False)
    if value is not None:
        monkeypatch.setenv(KEY_ENV, value)
    with pytest.raises(EndpointError, match=f"'medgemma-4b' needs a key: .* {KEY_ENV}$"):
        check(f"http://127.0.0.1:{closed_port()}/v1", key_env=KEY_ENV)


def test_a_missing_key_is_said_when_the_endpoint_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_ENV, raising=False)
    with pytest.raises(EndpointError, match=KEY_ENV):
        open_endpoint(model(key_env=KEY_ENV), Wire(), base_url="http://127.0.0.1:1/v1", deadlines=Deadlines())


@pytest.mark.parametrize(
    ("row", "door"),
    [
        ({}, "OpenAIChat"),
        ({"protocol": "openai-completions"}, "OpenAICompletions"),
        ({"protocol": "tgi"}, "TextGeneration"),
        ({"protocol": "azure-openai", "api_version": "2024-10-21"}, "AzureOpenAI"),
    ],
)
def test_every_protocol_has_its_door(monkeypatch: pytest.MonkeyPatch, row: dict[str, Any], door: str) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)
    url = "http://127.0.0.1:1/v1"
    opened = open_endpoint(model(key_env=KEY_ENV, **row), Wire(), base_url=url, deadlines=Deadlines())
    assert type(opened).__name__ == door


@pytest.mark.parametrize(
    ("protocol", "package", "extra"),
    [("tgi", "text_generation", "tgi"), ("azure-openai", "openai", "azure")],
)
def test_a_package_that_is_not_there_is_named_with_its_extra(protocol: str, package: str, extra: str) -> None:
    program = f"""
import sys
sys.modules[{package!r}] = None
from wardround.catalogue import Model
from wardround.endpoints import open_endpoint
from wardround.study import Deadlines
from wardround.wire import Wire
row = Model(name="m", base_url="http://127.0.0.1:1", protocol={protocol!r}, api_version="2024-10-21")
open_endpoint(row, Wire(), base_url="http://127.0.0.1:1", deadlines=Deadlines())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert f"EndpointError: this protocol needs: pip install 'wardround[{extra}]'" in ended.stderr.splitlines()[-1]


def test_no_package_of_a_single_protocol_is_loaded_for_the_others() -> None:
    program = """
import sys
from wardround.catalogue import Model
from wardround.endpoints import open_endpoint
from wardround.study import Deadlines
from wardround.wire import Wire
open_endpoint(Model(name="m", base_url="http://x"), Wire(), base_url="http://x", deadlines=Deadlines())
print({"openai", "text_generation", "httpx", "httpx2", "jinja2"} & set(sys.modules))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"


def test_a_refused_key_that_the_server_repeats_is_not_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)
    words = complaint_about(json_answer({"error": {"message": f"{KEY} is wrong"}}, 401), key_env=KEY_ENV)
    assert words.endswith("/v1 answers HTTP 401 for model 'medgemma-4b': [key] is wrong")


def serving_tgi(name: Any) -> bytes:
    """The answer of a TGI server's /info."""
    return json_answer({"model_id": name, "version": "3.3.5"})


def test_a_tgi_server_is_asked_for_its_one_model() -> None:
    [asked] = check_raw(serving_tgi("org/m-7b"), protocol="tgi", served_as="org/m-7b")
    assert (asked.method, asked.target) == ("GET", "/info")


def test_a_tgi_server_with_another_model_is_told_of() -> None:
    words = complaint_about(serving_tgi("org/m-13b"), protocol="tgi", served_as="org/m-7b")
    assert words.endswith(" does not serve 'org/m-7b'; did you mean 'org/m-13b'? (set `served_as`)")


@pytest.mark.parametrize("answer", [serving_tgi(None), json_answer([]), http_answer(b"TGI"), json_answer({}, 404)])
def test_a_tgi_server_that_does_not_say_what_it_serves_is_taken_at_its_word(answer: bytes) -> None:
    check_raw(answer, protocol="tgi")


def test_azure_is_taken_at_its_word_and_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)
    azure = {"protocol": "azure-openai", "api_version": "2024-10-21", "key_env": KEY_ENV}
    assert check_raw(http_answer(b"", 500), **azure) == []


def test_the_row_s_headers_go_with_the_first_question_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)
    row = {"headers": {"X-Title": "Ward 3"}, "headers_env": {"X-Gateway": KEY_ENV}}
    [asked] = check_raw(serving("medgemma-4b"), **row)
    assert (asked.headers["x-title"], asked.headers["x-gateway"]) == ("Ward 3", KEY)


SECRET_PARTS = pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://{user}@127.0.0.1:{port}/v1", id="user-info"),
        pytest.param("http://127.0.0.1:{port}/v1?api-key={secret}", id="query"),
        pytest.param("http://127.0.0.1:{port}/v1#{secret}", id="fragment"),
        pytest.param("http://{user}@127.0.0.1:{port}/v1?api-key={secret}#{secret}", id="all three"),
    ],
)


def with_secrets(url: str, port: int) -> str:
    return url.format(user="nurse:hunter2", secret="hunter2", port=port)


@SECRET_PARTS
def test_secrets_in_the_address_are_not_in_the_message_about_an_unreachable_server(url: str) -> None:
    port = closed_port()
    with pytest.raises(EndpointError) as caught:
        check(with_secrets(url, port))
    assert f"at http://127.0.0.1:{port}/v1: " in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "nurse" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [pytest.param(serving("llama-3"), id="unknown name"), pytest.param(http_answer(b"", 500), id="an error")],
)
def test_secrets_in_the_address_are_not_in_the_message_about_an_answer(answer: bytes) -> None:
    async def main() -> None:
        async with raw_server([answer]) as server, Wire() as wire:
            base_url = server.base_url.replace("http://", "http://nurse:hunter2@")
            await check_served(model(base_url=base_url), wire, base_url=base_url)

    with pytest.raises(EndpointError) as caught:
        asyncio.run(main())
    assert "hunter2" not in str(caught.value)
    assert str(caught.value).startswith("http://127.0.0.1:")


@SECRET_PARTS
def test_secrets_in_the_address_are_not_in_the_identity(url: str) -> None:
    found = identity(model(base_url=with_secrets(url, 8000)))
    assert found["base_url"] == "http://127.0.0.1:8000/v1"
    assert "hunter2" not in json.dumps(found)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://api.example.org/v1", "https://api.example.org/v1"),
        ("https://a:b@api.example.org/v1", "https://api.example.org/v1"),
        ("https://a:b@c@api.example.org/v1", "https://api.example.org/v1"),
        ("http://key@[::1]:8000/v1?x=y", "http://[::1]:8000/v1"),
    ],
)
def test_only_scheme_host_and_path_of_an_address_are_shown(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


PLAINEST = {"protocol": "openai-chat", "base_url": "http://127.0.0.1:1/v1", "model": "m", "prefill": "continue"}


def test_the_identity_of_an_endpoint_is_its_protocol_address_and_served_name() -> None:
    assert identity(model(served_as="m")) == PLAINEST


@pytest.mark.parametrize(
    ("row", "trait"),
    [
        ({"system": "merge"}, {"system": "merge"}),
        ({"reasoning": "final-response"}, {"reasoning": "final-response"}),
        ({"structured": "structured_outputs"}, {"structured": "structured_outputs"}),
        ({"headers": {"X-B": "2", "X-A": "1"}}, {"headers": '{"X-A": "1", "X-B": "2"}'}),
        (
            {"protocol": "azure-openai", "api_version": "2024-10-21"},
            {"protocol": "azure-openai", "api_version": "2024-10-21"},
        ),
    ],
)
def test_what_changes_the_request_or_the_answer_is_part_of_the_identity(
    row: dict[str, Any], trait: dict[str, str]
) -> None:
    assert identity(model(served_as="m", **row)) == PLAINEST | trait


def test_the_embedded_server_is_the_same_whatever_its_port() -> None:
    assert identity(model(base_url="embedded"))["base_url"] == "embedded"


def test_the_name_in_the_tables_and_the_key_are_no_part_of_the_identity() -> None:
    one = model(name="a", served_as="m")
    other = model(name="b", served_as="m", key_env=KEY_ENV, title="B", headers_env={"X-Gateway": KEY_ENV}, stream=True)
    assert identity(one) == identity(other)


def test_endpoints_with_other_names_or_addresses_are_others() -> None:
    identities = [
        model(),
        model(served_as="m"),
        model(base_url="http://127.0.0.1:2/v1"),
        model(base_url="embedded"),
    ]
    assert len({json.dumps(identity(row)) for row in identities}) == 4
