"""The embedded server's embeddings and reranking over real HTTP: the key, and what is refused."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import Server, running_server

KEY_ENV = "WARDROUND_TEST_KEY"
ROUTES = {
    "/v1/embeddings": {"input": ["fever"], "model": "hashed-bag-of-words-512"},
    "/v1/rerank": {"query": "fever", "documents": ["fever", "hip"], "model": "hashed-bag-of-words-512"},
    "/rerank": {"query": "fever", "texts": ["fever", "hip"], "model": "hashed-bag-of-words-512"},
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server("--api-key-env", KEY_ENV, env={**os.environ, KEY_ENV: "right"}) as running:
        yield running


def post(server: Server, route: str, body: Any, key: str | None = "right") -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json"} | ({} if key is None else {"Authorization": f"Bearer {key}"})
    url = server.base_url.removesuffix("/v1") + route
    try:
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read()


@pytest.mark.parametrize("route", ROUTES)
def test_the_right_key_is_answered(server: Server, route: str) -> None:
    status, body = post(server, route, ROUTES[route])
    assert status == 200
    assert json.loads(body)


@pytest.mark.parametrize("key", [None, "", "wrong", "rightt", "righ"])
@pytest.mark.parametrize("route", [*ROUTES, "/%72erank", "/v1/%65mbeddings"])
def test_without_the_right_key_nothing_is_embedded_or_scored(server: Server, route: str, key: str | None) -> None:
    status, body = post(server, route, ROUTES.get(route, ROUTES["/rerank"]), key)
    assert status == 401
    assert b"score" not in body
    assert b'"embedding"' not in body


def test_a_refusal_has_the_words_of_the_api_that_was_asked(server: Server) -> None:
    assert json.loads(post(server, "/v1/embeddings", ROUTES["/v1/embeddings"], "wrong")[1])["error"]["code"] == (
        "invalid_api_key"
    )
    assert post(server, "/rerank", ROUTES["/rerank"], "wrong") == (401, b"")


@pytest.mark.parametrize(
    ("route", "body", "words"),
    [
        ("/v1/embeddings", {"input": []}, "'input' must be a non-empty array of strings."),
        ("/v1/embeddings", {"input": "a", "encoding_format": "base64"}, "'encoding_format' must be 'float'."),
        ("/v1/embeddings", {"input": ["a"] * 2049}, "'input' may hold 2048 texts."),
        ("/rerank", {"query": "", "texts": ["a"]}, "'query' must be a non-empty string."),
        ("/rerank", {"query": "q", "texts": [1]}, "'texts' must be a non-empty array of strings."),
        ("/v1/rerank", {"query": "q", "documents": []}, "'documents' must be a non-empty array of strings."),
        ("/v1/rerank", ["q"], "The body must be a JSON object."),
    ],
)
def test_what_cannot_be_embedded_or_scored_is_refused(server: Server, route: str, body: Any, words: str) -> None:
    status, answer = post(server, route, body)
    assert (status, json.loads(answer)["error"]["message"]) == (400, words)
