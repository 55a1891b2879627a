"""Addresses beside the completions, and what servers refuse or leave out."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import openai
import pytest

from tests.baseline.test_server import CASE, LEAD, MESSAGES, chat, client_of
from tests.support import Server, running_server
from wardround import __version__

WITH_SYSTEM = [{"role": "system", "content": "Be brief."}, *MESSAGES]


def get(server: Server, path: str) -> Any:
    with urllib.request.urlopen(server.base_url.removesuffix("/v1") + path, timeout=20) as answer:
        return json.load(answer)


def test_the_version_is_told(server: Server) -> None:
    assert get(server, "/version") == {"version": __version__}


@pytest.mark.parametrize("path", ["/health", "/ping"])
def test_a_server_that_is_well_says_so(server: Server, path: str) -> None:
    assert isinstance(get(server, path), dict)


def test_a_models_card_tells_what_stands_behind_it() -> None:
    with running_server("--context", "4096") as server:
        card = get(server, "/v1/models")["data"][0]
        assert card == get(server, f"/v1/models/{card['id']}")
    assert card["root"] == card["id"] == "baseline-random"
    assert (card["owned_by"], card["max_model_len"]) == ("wardround", 4096)


def test_a_models_name_may_be_written_in_other_characters(server: Server) -> None:
    assert get(server, "/v1/models/baseline%2Dlead")["id"] == LEAD


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/chat/completions", 405), ("GET", "/v1", 404)])
def test_a_wrong_address_is_an_error_in_the_api_s_shape(server: Server, method: str, path: str, status: int) -> None:
    url = server.base_url.removesuffix("/v1") + path
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=20)
    with caught.value as error:
        assert error.code == status
        assert json.load(error)["error"]["message"] == f"Invalid URL ({method} {path})"


def test_an_answer_carries_the_client_s_id_or_its_own(server: Server) -> None:
    with client_of(server) as client:
        create = client.chat.completions.with_raw_response.create
        named = create(model=LEAD, messages=MESSAGES, extra_headers={"x-request-id": "mine-7"})
        assert named.headers["x-request-id"] == "mine-7"
        own = create(model=LEAD, messages=MESSAGES)
        assert own.headers["x-request-id"] == own.parse().id
        # One that does not fit into a header is not repeated.
        odd = create(model=LEAD, messages=MESSAGES, extra_headers={"x-request-id": "a b"})
        assert odd.headers["x-request-id"] == odd.parse().id


def test_a_server_may_refuse_the_system_role_as_templates_do() -> None:
    with running_server("--no-system") as server, client_of(server) as client:
        with pytest.raises(openai.BadRequestError, match="Conversation roles must alternate") as caught:
            chat(client, messages=WITH_SYSTEM)
        assert caught.value.response.json()["error"]["code"] == 400
        assert chat(client).choices[0].message.content == CASE
        text = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        assert client.completions.create(model=LEAD, prompt=text).choices[0].text == "Hi"


def test_a_server_may_have_no_template() -> None:
    with running_server("--no-template") as server, client_of(server) as client:
        with pytest.raises(openai.BadRequestError, match="default chat template is no longer allowed"):
            chat(client)
        assert client.completions.create(model=LEAD, prompt=CASE).choices[0].text == CASE


def test_a_server_may_leave_the_usage_out_of_streams() -> None:
    with running_server("--no-usage-in-stream") as server, client_of(server) as client:
        chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
        assert all(chunk.choices and chunk.usage is None for chunk in chunks)
        assert chat(client).usage.total_tokens == 24


def test_the_same_request_is_answered_the_same_when_it_comes_again(server: Server) -> None:
    with client_of(server) as client:
        first, second = chat(client), chat(client)
    assert first.id != second.id
    assert first.choices == second.choices


def test_text_that_is_no_unicode_comes_back_as_it_came(server: Server) -> None:
    body = json.dumps({"model": LEAD, "messages": [{"role": "user", "content": "half a \ud83d pair"}]}).encode()
    url = f"{server.base_url}/chat/completions"
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=20) as answer:
        assert json.load(answer)["choices"][0]["message"]["content"] == "half a \ud83d pair"
