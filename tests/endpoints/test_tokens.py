"""Counting tokens by the server: the three dialects, and what becomes of the connection."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.wire.raw_server import Answer, Asked, json_answer, raw_server
from wardround.catalogue import Model
from wardround.endpoints import tokens
from wardround.endpoints.tokens import TokenCounter, token_counter
from wardround.errors import EndpointError

REFUSED = json_answer({"detail": "Not Found"}, 404)
ESTIMATE = "estimate: 3 bytes a token"


def counter_at(base_url: str) -> TokenCounter:
    return token_counter(Model(name="m", base_url=base_url, served_as="org/m"))


def counted(*answers: Answer, text: str = "Fièvre et toux.") -> tuple[str, int, list[Asked]]:
    """The counter's name, the number of tokens of `text`, and what the server was asked."""

    async def main() -> tuple[str, int, list[Asked]]:
        async with raw_server(*answers) as server:
            counter = await asyncio.to_thread(counter_at, server.base_url)
            return counter.name, await asyncio.to_thread(counter.count, text), server.asked

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("answers", "sent"),
    [
        ([{"count": 7, "max_model_len": 2048}], {"model": "org/m", "add_special_tokens": False}),
        ([None, {"tokens": [1, 2, 3, 4, 5, 6, 7]}], {}),
        ([None, None, [{"id": number, "text": "x"} for number in range(7)]], {"add_special_tokens": False}),
    ],
    ids=["vllm", "llama.cpp", "tgi"],
)
def test_a_server_is_asked_in_the_dialect_that_it_answers(answers: list[Any], sent: dict[str, Any]) -> None:
    steps = [[REFUSED] if answer is None else [json_answer(answer)] for answer in answers]
    name, number, asked = counted(*steps)
    assert (name, number) == ("server org/m", 7)
    last = asked[-1].json()
    assert "Fièvre et toux." in last.values()
    assert sent.items() <= last.items()
    assert {one.target for one in asked} == {"/tokenize"}


def test_a_text_is_sent_only_once_the_dialect_is_known() -> None:
    name, number, asked = counted([REFUSED], text="Mrs Doe has a fever")
    assert (name, number) == (ESTIMATE, 7)
    assert b"Doe" not in b"".join(one.body for one in asked)


def test_an_answer_without_end_is_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "LARGEST_ANSWER", 1000)
    name, _, asked = counted([json_answer({"tokens": list(range(1000)), "count": 1})])
    assert name == ESTIMATE
    assert len(asked) == 3


def test_an_answer_that_grows_without_end_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "LARGEST_ANSWER", 1000)
    with pytest.raises(EndpointError, match="/tokenize answers with more than"):
        counted([json_answer({"count": 1})], [json_answer({"count": 1, "tokens": list(range(1000))})])


@contextmanager
def counting_server() -> Iterator[tuple[str, threading.Event]]:
    """A server for one connection that counts one token always, and an event: the client has closed it."""
    closed = threading.Event()
    body = json.dumps({"count": 1}).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            while received := connection.recv(65536):
                # The body may come in a piece of its own.
                if b"}" in received:
                    connection.sendall(answer)
        closed.set()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1", closed
        thread.join(timeout=10)


def test_the_connection_is_open_as_long_as_the_counter_lives() -> None:
    with counting_server() as (base_url, closed):
        counter = counter_at(base_url)
        assert [counter.count(text) for text in ("a", "b", "c")] == [1, 1, 1]
        assert not closed.is_set()
        del counter
        assert closed.wait(10)


def test_a_name_is_looked_for_among_the_pinned_as_the_guard_writes_it() -> None:
    async def main() -> tuple[str, int, list[Asked]]:
        async with raw_server([json_answer({"count": 7})]) as server:
            base_url = f"http://B\u00fccher.invalid:{server.url.rpartition(':')[2]}/v1"
            model = Model(name="m", base_url=base_url, served_as="org/m")
            pinned = {"xn--bcher-kva.invalid": ["127.0.0.1"]}
            counter = await asyncio.to_thread(token_counter, model, None, pinned)
            return counter.name, await asyncio.to_thread(counter.count, "fever"), server.asked

    name, number, asked = asyncio.run(main())
    assert (name, number) == ("server org/m", 7)
    assert {one.headers["host"].partition(":")[0] for one in asked} == {"xn--bcher-kva.invalid"}


def test_a_name_that_was_not_pinned_is_not_looked_up_where_others_are() -> None:
    model = Model(name="m", base_url="http://localhost:1/v1", served_as="org/m")
    with pytest.raises(EndpointError, match="was not checked"):
        token_counter(model, None, {"ward.invalid": ["127.0.0.1"]})
