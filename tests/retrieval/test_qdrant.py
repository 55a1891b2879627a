"""Vectors in a Qdrant server: recorded exchanges replayed by a process, and a real server where one runs.

WARDROUND_QDRANT=http://127.0.0.1:6333 names a real one; its key, where it has one, stands in WARDROUND_QDRANT_KEY.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from tests.retrieval.test_corpora import rows
from tests.support import ROOT, wardround, write_study
from tests.wire.raw_server import closed_port, http_head, raw_server
from wardround.endpoints import retries
from wardround.errors import EndpointError
from wardround.journal import Journal
from wardround.retrieval.qdrant import QdrantVectors
from wardround.retrieval.vectors import Matrix, Vectors, unit_rows
from wardround.sources import Qdrant
from wardround.wire import Wire

KEY = "qd-secret-0123456789abcdef"
ROWS = unit_rows(np.array([[2, 1, 0], [0, 1, 1], [1, 0, 0]], np.float32))
QUERY = np.array([4, 2, 0], np.float32)
Hits = list[tuple[int, float]]


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_backoff", lambda _state: 0.0)


@contextmanager
def replaying(scenario: str) -> Iterator[str]:
    """The address of a process that replays a scenario; in the end nothing of it may be left."""
    command = [sys.executable, "-m", "tests.retrieval.qdrant_replay", scenario]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = f"http://127.0.0.1:{int(process.stdout.readline())}"
            yield url
            assert told(url, "left") == 0
        finally:
            process.terminate()
            process.wait(timeout=10)


def told(url: str, what: str) -> Any:
    with urllib.request.urlopen(f"{url}/{what}", timeout=10) as answer:
        return json.load(answer)


def found(url: str, *, matrix: Matrix = ROWS, k: int = 64, content: str = "0" * 32, **fields: Any) -> Hits:
    """Fill a collection and search it."""

    async def matrix_of(start: int, end: int) -> Matrix:
        return matrix[start:end]

    async def ask() -> Hits:
        async with Wire() as wire:
            vectors = QdrantVectors(Qdrant(**{"base_url": url, "batch": 2, **fields}), wire, attempts=2)
            await vectors.fill(content, len(matrix), matrix_of)
            return await vectors.search(content, len(matrix), QUERY if matrix is ROWS else matrix[0], k)

    return asyncio.run(ask())


@pytest.mark.parametrize("scenario", ["new", "half filled", "filled", "busy"])
def test_the_same_is_found_as_here_and_only_what_is_not_there_is_sent(scenario: str) -> None:
    with replaying(scenario) as url:
        theirs = found(url)
    ours = Vectors(ROWS).search(QUERY, 64)
    assert [place for place, _ in theirs] == [place for place, _ in ours] == [0, 2, 1]
    assert [score for _, score in theirs] == pytest.approx([score for _, score in ours], abs=1e-6)


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        ("another's", "has 5 vectors and not 3; delete it there"),
        ("another model's", "holds another model's vectors; set the embeddings' `revision`, or delete it"),
        ("another length", "holds another model's vectors"),
        ("no leave to write", "HTTP 403: Forbidden: Global manage access is required"),
        ("gone", "HTTP 404: Not found: Collection `wardround-0` doesn't exist!"),
    ],
)
def test_a_refusal_is_one_line(scenario: str, words: str) -> None:
    with replaying(scenario) as url, pytest.raises(EndpointError) as raised:
        found(url)
    assert str(raised.value).startswith(f"no vectors from {url}: ")
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "no list of up to 5 points"),
        ({"result": {"points": [{"id": 0, "score": 0.5}] * 6}}, "no list of up to 5 points"),
        ({"result": {"points": [{"id": "a", "score": 0.5}]}}, "something else than points"),
        ({"result": {"points": [{"id": 0, "score": None}]}}, "something else than points"),
        ({"result": {"points": [{"id": 3, "score": 0.5}]}}, "holds point 3 of 3"),
        ({"result": {"points": [{"id": -1, "score": 0.5}]}}, "holds point -1 of 3"),
        ([], "no list of up to 5 points"),
    ],
)
def test_an_answer_of_another_shape_is_one_line(content: Any, words: str) -> None:
    body = json.dumps(content).encode()

    async def ask() -> None:
        answer = [http_head(Content_Type="application/json", Content_Length=len(body)) + body]
        async with raw_server(answer) as raw, Wire() as wire:
            await QdrantVectors(Qdrant(base_url=raw.url), wire, attempts=1).search("0" * 32, 3, QUERY, 5)

    with pytest.raises(EndpointError, match=f"no vectors from http.*{words}"):
        asyncio.run(ask())


def test_a_request_that_was_not_recorded_fails() -> None:
    with pytest.raises(EndpointError, match="Not recorded: POST"), replaying("filled") as url:
        found(url, k=3)


def test_a_server_that_is_not_there_is_one_line() -> None:
    with pytest.raises(EndpointError, match="no vectors from http://127"):
        found(f"http://127.0.0.1:{closed_port()}")


def test_the_key_is_sent_as_qdrant_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_KEY", KEY)
    with replaying("filled") as url:
        found(url, key_env="QDRANT_KEY")
        assert told(url, "keys") == [KEY]


def test_a_query_without_a_direction_is_like_nothing_and_asks_nobody() -> None:
    async def ask() -> Hits:
        async with Wire() as wire:
            vectors = QdrantVectors(Qdrant(base_url=f"http://127.0.0.1:{closed_port()}"), wire, attempts=1)
            return await vectors.search("0" * 32, 3, np.zeros(3, np.float32), 5)

    assert asyncio.run(ask()) == []


def study_of(folder: Path, url: str, **retrieval: Any) -> Path:
    """A case on lead and copper, and three notes of which two are on the one and two on the other."""
    case = {"question": "lead lead copper", "opa": "lead", "opb": "copper", "answer_idx": "A"}
    notes = [{"id": name, "text": name.replace("-", " ")} for name in ("lead-lead-copper", "copper-thiamine", "lead")]
    return write_study(
        folder / "s.yaml",
        tasks=[{"task": "case_challenge", "data": str(rows(folder / "cases.jsonl", case))}],
        arms=[{"name": "dense", "corpus": "notes"}, {"name": "hybrid", "corpus": "notes"}],
        corpora={"notes": {"path": str(rows(folder / "c.jsonl", *notes)), "licence": "MIT", "cut_off": "2024-12-31"}},
        retrieval={"embeddings": {"base_url": f"{url}/v1", "model": "m"}, **retrieval},
    )


def hits_of(run: Path) -> dict[str, list[tuple[str, float]]]:
    with Journal.open(run) as journal:
        kept = list(journal.read("SELECT method, hits FROM retrievals ORDER BY method"))
    return {str(method): [(name, score) for name, score in json.loads(hits)] for method, hits in kept}


def test_a_study_finds_the_same_with_either_engine(tmp_path: Path) -> None:
    with replaying("new") as url:
        qdrant = {"engine": "qdrant", "qdrant": {"base_url": url, "batch": 2}}
        for name, retrieval in (("qdrant", qdrant), ("numpy", {})):
            done = wardround("retrieve", study_of(tmp_path, url, **retrieval), "--out", name, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
        # What was found is in the journal: the server is asked nothing more, and nothing is left to replay.
        again = wardround("run", study_of(tmp_path, url, **qdrant), "--out", "qdrant", cwd=tmp_path)
        assert again.returncode == 0, again.stderr
    theirs, ours = hits_of(tmp_path / "qdrant"), hits_of(tmp_path / "numpy")
    method = "dense[m,query='',passage='',exact,qdrant]"
    assert list(theirs) == [method, f"rrf[k=60](bm25[k1=1.5,b=0.75,lucene],{method})"]
    for (_, found_there), (_, found_here) in zip(theirs.items(), ours.items(), strict=True):
        assert [name for name, _ in found_there] == [name for name, _ in found_here]
        assert [score for _, score in found_there] == pytest.approx([score for _, score in found_here], abs=1e-6)


def test_the_guard_covers_the_server(tmp_path: Path) -> None:
    study = study_of(tmp_path, "http://127.0.0.1:9", engine="qdrant", qdrant={"base_url": "http://0.0.0.0:9"})
    content = study.read_text(encoding="utf-8").replace("- data:", "- sensitivity: phi\n  data:")
    study.write_text(content, encoding="utf-8")
    done = wardround("retrieve", study, "--out", "run", cwd=tmp_path)
    assert done.returncode == 1
    assert "phi data does not go to model 'qdrant': 0.0.0.0" in done.stderr


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"engine": "qdrant"}, "engine: 'qdrant' needs its server"),
        ({"qdrant": {"base_url": "http://127.0.0.1:6333"}}, "the server is only asked with `engine: qdrant`"),
        ({"engine": "qdrant", "qdrant": {"base_url": "embedded"}}, "the embedded server is no Qdrant"),
        ({"engine": "qdrant", "qdrant": {"base_url": "http://h:1", "colection_prefix": "x"}}, "'collection_prefix'?"),
        ({"engine": "qdrant", "qdrant": {"base_url": "http://h:1", "collection_prefix": "a/b"}}, "collection_prefix"),
    ],
)
def test_wrong_settings_are_one_line(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    from wardround.errors import StudyError
    from wardround.study import load_study

    with pytest.raises(StudyError) as raised:
        load_study(study_of(tmp_path, "http://127.0.0.1:9", **fields))
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.qdrant
def test_a_real_server_finds_what_is_found_here() -> None:
    url = os.environ.get("WARDROUND_QDRANT")
    if not url:
        pytest.skip("needs a Qdrant server: set WARDROUND_QDRANT to its address")
    key_env = "WARDROUND_QDRANT_KEY" if os.environ.get("WARDROUND_QDRANT_KEY") else None
    matrix = unit_rows(np.random.default_rng(7).standard_normal((500, 64), dtype=np.float32))
    theirs = found(url, matrix=matrix, k=20, content=uuid4().hex, key_env=key_env, batch=100)
    ours = Vectors(matrix).search(matrix[0], 20)
    assert [place for place, _ in theirs] == [place for place, _ in ours]
    assert [score for _, score in theirs] == pytest.approx([score for _, score in ours], abs=1e-5)
