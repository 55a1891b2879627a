"""Embedding and reranking services: the embedded one as a process, and answers byte for byte where one must go wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import Server, running_server
from tests.wire.raw_server import NEVER_S, Answer, RawServer, raw_server
from wardround.endpoints import retries
from wardround.errors import EndpointError
from wardround.journal import Journal
from wardround.retrieval.services import Reranker, TextEmbeddings, Vector
from wardround.running.searching import Services
from wardround.study import Service
from wardround.wire import Wire

KEY = "sk-secret-0123456789abcdef"
HASHED = "hashed-bag-of-words-512"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_backoff", lambda _state: 0.0)


def embed(base_url: str, texts: list[str], prefix: str = "", **fields: Any) -> list[Vector]:
    async def ask() -> list[Vector]:
        async with Wire() as wire:
            service = Service(**{"base_url": base_url, "model": HASHED, **fields})
            return await TextEmbeddings(service, base_url, wire, attempts=2).embed(texts, prefix)

    return asyncio.run(ask())


def rerank(base_url: str, query: str, texts: list[str], **fields: Any) -> list[float]:
    async def ask() -> list[float]:
        async with Wire() as wire:
            service = Service(**{"base_url": base_url, "model": HASHED, **fields})
            return await Reranker(service, base_url, wire, attempts=2).scores(query, texts)

    return asyncio.run(ask())


def http(status: int, content: Any) -> Answer:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return [head.encode() + body]


def asking(content: Any, status: int = 200, **fields: Any) -> tuple[list[Vector], RawServer]:
    """What comes of two texts where the service answers so."""

    async def ask() -> tuple[list[Vector], RawServer]:
        async with raw_server(http(status, content)) as raw, Wire() as wire:
            service = Service(**{"base_url": raw.base_url, "model": "m", **fields})
            return await TextEmbeddings(service, raw.base_url, wire, attempts=2).embed(["a", "b"], "q: "), raw

    return asyncio.run(ask())


def test_like_texts_have_like_vectors(server: Server) -> None:
    fever, febrile, other = embed(server.base_url, ["Fever and chills.", "chills, fever", "Fracture of the hip"])
    assert fever.shape == (512,)
    assert float(fever @ febrile) > 0.9 > 0.3 > float(fever @ other)
    assert np.linalg.norm(fever) == pytest.approx(1, abs=1e-6)


def test_vectors_come_back_in_the_texts_order_over_many_batches(server: Server) -> None:
    texts = [f"number {number % 40}" for number in range(100)]
    found = embed(server.base_url, texts, batch=7)
    assert len(found) == 100
    (alone,) = embed(server.base_url, ["number 39"])
    assert np.array_equal(found[39], alone)
    assert np.array_equal(found[39], found[79])


def test_a_text_of_stop_words_has_no_direction(server: Server) -> None:
    assert not embed(server.base_url, ["what of the"])[0].any()


def test_the_embedded_server_says_which_model_it_has(server: Server) -> None:
    async def ask() -> str:
        async with Wire() as wire:
            return await TextEmbeddings(Service(), server.base_url, wire).model()

    assert asyncio.run(ask()) in (HASHED, "all-MiniLM-L6-v2")


def test_a_model_that_is_not_there_is_said(server: Server) -> None:
    with pytest.raises(EndpointError, match=r"no embeddings from http.*HTTP 404.*`bge` does not exist"):
        embed(server.base_url, ["a"], model="bge")


@pytest.mark.parametrize("shape", ["tei", "jina"])
def test_both_shapes_of_rerankers_score_in_the_texts_order(server: Server, shape: str) -> None:
    scores = rerank(server.base_url, "fever at night", ["hip fracture", "fever", "night fever"], shape=shape)
    assert scores[2] > scores[1] > scores[0]


def test_nothing_is_reranked_without_asking() -> None:
    assert rerank("http://127.0.0.1:9/v1", "fever", []) == []


def test_what_is_sent_is_the_prefixed_texts_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDING_KEY", KEY)
    rows = [{"index": 1, "embedding": [0, 1]}, {"index": 0, "embedding": [1, 0]}]
    found, raw = asking({"data": rows}, key_env="EMBEDDING_KEY")
    assert [vector.tolist() for vector in found] == [[1, 0], [0, 1]]
    (asked,) = raw.asked
    assert asked.target == "/v1/embeddings"
    assert asked.json() == {"input": ["q: a", "q: b"], "encoding_format": "float", "model": "m"}
    assert asked.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "no list 'data'"),
        ({"data": [{"index": 0, "embedding": [1.0]}]}, "2 texts were sent"),
        ({"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]}, "2 texts were sent"),
        ({"data": [{"embedding": [1.0]}, {"embedding": [1.0, 2.0]}]}, "different dimensions"),
        ({"data": [{"embedding": [None]}, {"embedding": [1.0]}]}, "no list of numbers"),
        ({"data": [{"embedding": [1e999]}, {"embedding": [1.0]}]}, "finite numbers"),
        ({"data": [{"embedding": "AAAA"}, {"embedding": [1.0]}]}, "no list of numbers"),
        ({"data": [1, 2]}, "something else than embeddings"),
        (b"<html>", "not JSON"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_an_answer_of_another_shape_is_one_line(content: Any, words: str) -> None:
    with pytest.raises(EndpointError, match=words) as raised:
        asking(content)
    assert "\n" not in str(raised.value)


def test_a_busy_service_is_asked_again() -> None:
    good = {"data": [{"embedding": [1.0]}, {"embedding": [2.0]}]}

    async def ask() -> list[Vector]:
        async with raw_server(http(503, {}), http(200, good)) as raw, Wire() as wire:
            return await TextEmbeddings(Service(base_url=raw.base_url, model="m"), raw.base_url, wire).embed(
                ["a", "b"], ""
            )

    assert [vector.tolist() for vector in asyncio.run(ask())] == [[1.0], [2.0]]


def test_a_service_is_waited_for_as_long_as_the_caller_says() -> None:
    async def ask() -> None:
        async with raw_server([NEVER_S]) as raw, Wire() as wire:
            service = Service(base_url=raw.base_url, model="m")
            await TextEmbeddings(service, raw.base_url, wire, attempts=1, whole_s=0.05).embed(["a"], "")

    with pytest.raises(EndpointError, match=r"no whole answer within 0\.05 s"):
        asyncio.run(ask())


def test_a_key_that_the_service_repeats_is_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDING_KEY", KEY)
    with pytest.raises(EndpointError) as raised:
        asking({"error": {"message": f"Incorrect key: {KEY}"}}, status=401, key_env="EMBEDDING_KEY")
    assert "Incorrect key: [key]" in str(raised.value)
    assert KEY not in str(raised.value)


@pytest.mark.parametrize(
    "content", [{}, [{"index": 0}], [{"index": 0, "score": 1}, {"index": 5, "score": 1}], [{"index": 0, "score": "x"}]]
)
def test_scores_of_another_shape_are_one_line(content: Any) -> None:
    async def ask() -> None:
        async with raw_server(http(200, content)) as raw, Wire() as wire:
            await Reranker(Service(base_url=raw.base_url, model="m"), raw.base_url, wire).scores("q", ["a", "b"])

    with pytest.raises(EndpointError, match="no reranking from"):
        asyncio.run(ask())


def test_vectors_of_another_length_than_those_of_the_journal_are_one_line(tmp_path: Path) -> None:
    def answer(*numbers: float) -> Answer:
        return http(200, {"data": [{"index": 0, "embedding": list(numbers)}]})

    async def ask() -> None:
        async with raw_server(answer(1, 0), answer(1, 0, 0)) as raw, Wire() as wire:
            service = Service(base_url=raw.base_url, model="m")
            embeddings = TextEmbeddings(service, raw.base_url, wire, attempts=1)
            with Journal.create(tmp_path / "run") as journal:
                await Services(journal, service, embeddings, model="m").embed(["before"], "")
                await Services(journal, service, embeddings, model="m").embed(["before", "since"], "")

    with pytest.raises(EndpointError, match=r"model m gives vectors of another length than .* set another `revision`"):
        asyncio.run(ask())
