"""The UMLS service's HTTP side: what it takes, what it refuses, and that it keeps no texts. The linker is scispaCy's."""

from __future__ import annotations

import http.client
import importlib.util
import json
import sys
import threading
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import ROOT

INFO = {"model": "tiny 1.0", "linker": "umls", "scispacy": "0"}


def _service() -> ModuleType:
    spec = importlib.util.spec_from_file_location("umls_service", ROOT / "servers" / "umls" / "server.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


service = _service()


def concepts(texts: Sequence[str]) -> list[list[dict[str, Any]]]:
    """One concept for every word "fever"; it fails at "zebra"."""
    if any("zebra" in text for text in texts):
        raise ValueError(texts)
    found = {"cui": "C0015967", "name": "Fever", "score": 1.0}
    return [[found] * text.count("fever") for text in texts]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    serving = service.server(("127.0.0.1", 0), concepts, INFO)
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield serving.server_address[1]
    serving.shutdown()
    thread.join()
    serving.server_close()


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    return answer.status, content


def asked(port: int, content: Any) -> tuple[int, Any]:
    return ask(port, "POST", "/concepts", json.dumps(content).encode())


def test_every_text_gets_its_list(port: int) -> None:
    status, content = asked(port, {"texts": ["fever, fever", "", "no complaint"]})
    assert status == 200
    assert [[one["cui"] for one in found] for found in content] == [["C0015967", "C0015967"], [], []]


def test_it_says_that_it_is_ready_and_what_it_is(port: int) -> None:
    assert ask(port, "GET", "/health") == (200, {"status": "ok"})
    assert ask(port, "GET", "/info") == (200, INFO)


@pytest.mark.parametrize(
    "content", [{}, [], None, "texts", {"texts": "fever"}, {"texts": [1]}, {"texts": [None]}, {"texts": {"a": 1}}]
)
def test_a_body_of_another_form_is_refused_with_the_reason(port: int, content: Any) -> None:
    status, answer = asked(port, content)
    assert status == 400
    assert "texts" in answer["error"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_refused(port: int, body: bytes) -> None:
    assert ask(port, "POST", "/concepts", body)[0] == 400


def test_too_many_texts_are_refused(port: int) -> None:
    assert asked(port, {"texts": ["x"] * service.MOST_TEXTS})[0] == 200
    assert asked(port, {"texts": ["x"] * (service.MOST_TEXTS + 1)})[0] == 413


def test_a_body_too_large_is_refused_without_being_read(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("POST", "/concepts")
    connection.putheader("Content-Length", str(service.MOST_BYTES + 1))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert answer.getheader("Connection") == "close"
    connection.close()


def test_a_body_of_unknown_length_is_refused(port: int) -> None:
    assert ask(port, "POST", "/concepts", None, **{"Transfer-Encoding": "chunked"})[0] == 411


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("GET", "/concepts"), ("POST", "/health")])
def test_there_are_no_other_routes(port: int, method: str, path: str) -> None:
    assert ask(port, method, path, b"{}" if method == "POST" else None)[0] == 404


def test_one_connection_takes_several_requests(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for text, number in (("fever", 1), ("cough", 0)):
        connection.request("POST", "/concepts", json.dumps({"texts": [text]}).encode())
        answer = connection.getresponse()
        assert [len(found) for found in json.loads(answer.read())] == [number]
    connection.close()


def test_nothing_of_a_request_is_logged(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    asked(port, {"texts": ["fever of Mr Smith"]})
    ask(port, "GET", "/fever-of-Mr-Smith")
    assert capfd.readouterr() == ("", "")


def test_a_failure_of_the_linker_is_said_without_the_text(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert asked(port, {"texts": ["a zebra"]}) == (500, {"error": "the linker failed: ValueError"})
    assert capfd.readouterr() == ("", "")
    assert asked(port, {"texts": ["fever"]})[0] == 200


@given(st.lists(st.text()))
def test_texts_come_through_as_they_were(texts: list[str]) -> None:
    assert service.texts_of(json.dumps({"texts": texts}).encode()) == texts


@given(st.binary())
def test_no_body_breaks_the_reading(body: bytes) -> None:
    status = 200
    try:
        service.texts_of(body)
    except service.Refused as refused:
        status = refused.status
    assert status in (200, 400)
