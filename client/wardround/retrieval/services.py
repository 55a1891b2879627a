"""Embeddings of whole texts and reranking, by services that speak the usual words.

    POST {base_url}/embeddings   {"model", "input": ["…"], "encoding_format": "float"}     OpenAI, TEI, vLLM, hosted
                                 -> {"model", "data": [{"index": 0, "embedding": [0.1, …]}, …], "usage": {…}}
    POST {root}/rerank           {"query", "texts": ["…"], "truncate": true}               TEI (shape "tei")
                                 -> [{"index": 0, "score": 0.9}, …]
    POST {base_url}/rerank       {"model", "query", "documents": ["…"]}                    Jina, Cohere, vLLM ("jina")
                                 -> {"results": [{"index": 0, "relevance_score": 0.9}, …]}

The caller has asked the guard, and hands in the wire it pinned.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.retrieval.asking import ATTEMPTS, CONCURRENCY, WHOLE_S, AskedService
from wardround.sources import Service
from wardround.text import storable
from wardround.wire import Wire

Vector = NDArray[np.float32]


class TextEmbeddings:
    """A service that embeds texts, `service` of a study, at `base_url`.

    At most four requests of `service.batch` texts are under way at once, each asked up to `attempts` times.
    `prompt_tokens` sums up what the service says that it read.
    """

    def __init__(
        self, service: Service, base_url: str, wire: Wire, *, attempts: int = ATTEMPTS, whole_s: float = WHOLE_S
    ) -> None:
        self._service = service
        self._asked = AskedService(
            service.row("embeddings"), base_url, wire, what="embeddings", attempts=attempts, whole_s=whole_s
        )
        self.prompt_tokens = 0

    async def model(self) -> str:
        """The model's name: the study's, or, where that names none, the one the service says."""
        if self._service.model:
            return self._service.model
        content = await self._asked.post("/embeddings", {"input": ["name"]})
        name = content.get("model") if isinstance(content, dict) else None
        if not isinstance(name, str) or not name.strip():
            raise self._asked.error("it does not say which model it has; name one in the study's `retrieval`")
        return storable(" ".join(name.split()))

    async def embed(self, texts: Sequence[str], prefix: str) -> list[Vector]:
        """The vector of each text with `prefix` before it, as the service gives it; raises `EndpointError`.

        A text is asked for once, however often it stands in `texts`.
        """
        wanted = list(dict.fromkeys(texts))
        size = self._service.batch
        batches = iter([wanted[start : start + size] for start in range(0, len(wanted), size)])
        found: dict[str, Vector] = {}
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(CONCURRENCY):
                    group.create_task(self._work(batches, prefix, found))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        if len({len(vector) for vector in found.values()}) > 1:
            raise self._asked.error("it answers with vectors of different dimensions")
        return [found[text] for text in texts]

    async def _work(self, batches: Iterator[list[str]], prefix: str, found: dict[str, Vector]) -> None:
        for batch in batches:
            body: dict[str, Any] = {"input": [storable(prefix + text) for text in batch], "encoding_format": "float"}
            if self._service.model:
                body["model"] = self._service.model
            content = await self._asked.post("/embeddings", body)
            try:
                vectors = _embeddings(content, len(batch))
            except ValueError as error:
                raise self._asked.error(str(error)) from None
            usage = content.get("usage")
            if isinstance(usage, dict) and isinstance(usage.get("prompt_tokens"), int):
                self.prompt_tokens += usage["prompt_tokens"]
            found.update(zip(batch, vectors, strict=True))


class Reranker:
    """A service that scores texts against a query, `service` of a study, at `base_url`."""

    def __init__(
        self, service: Service, base_url: str, wire: Wire, *, attempts: int = ATTEMPTS, whole_s: float = WHOLE_S
    ) -> None:
        self._service = service
        self._asked = AskedService(
            service.row("reranking"), base_url, wire, what="reranking", attempts=attempts, whole_s=whole_s
        )

    async def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers the query, by the service's own measure; raises `EndpointError`."""
        if not texts:
            return []
        query = self._service.query_prefix + query
        given = [storable(self._service.passage_prefix + text) for text in texts]
        if self._service.shape == "tei":
            content = await self._asked.post(
                "/rerank", {"query": storable(query), "texts": given, "truncate": True}, at_root=True
            )
            rows, name = content, "score"
        else:
            body = {"model": self._service.model, "query": storable(query), "documents": given}
            content = await self._asked.post("/rerank", body)
            rows, name = content.get("results") if isinstance(content, dict) else None, "relevance_score"
        try:
            return _by_index(rows, name, len(texts))
        except ValueError as error:
            raise self._asked.error(str(error)) from None


def _by_index(rows: Any, name: str, count: int) -> list[float]:
    """The scores of `count` texts in the order in which they were sent; raises `ValueError` with what is wrong."""
    if not isinstance(rows, list):
        raise ValueError("its answer is no list of scores")
    found: dict[int, float] = {}
    for row in rows:
        index, score = (row.get("index"), row.get(name)) if isinstance(row, dict) else (None, None)
        if not isinstance(index, int) or not isinstance(score, int | float) or not math.isfinite(score):
            raise ValueError(f"its answer holds something else than an index and a {name}")
        found[index] = float(score)
    if sorted(found) != list(range(count)):
        raise ValueError(f"{count} texts were sent, and scores of others or not of all came back")
    return [found[index] for index in range(count)]


def _embeddings(content: Any, count: int) -> list[Vector]:
    """The vectors of `count` texts in the order in which they were sent; raises `ValueError` with what is wrong."""
    rows = content.get("data") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise ValueError("its answer has no list 'data'")
    found: dict[int, Vector] = {}
    for place, row in enumerate(rows):
        index = row.get("index", place) if isinstance(row, dict) else None
        if not isinstance(index, int):
            raise ValueError("its answer holds something else than embeddings")
        found[index] = _vector(row.get("embedding"))
    if sorted(found) != list(range(count)):
        raise ValueError(f"{count} texts were sent, and embeddings of others or not of all came back")
    return [found[index] for index in range(count)]


def _vector(numbers: Any) -> Vector:
    try:
        vector = np.asarray(numbers)
    except ValueError:
        vector = np.empty(0)
    # JSON has no NaN: a server that met one writes null.
    if vector.ndim != 1 or not len(vector) or vector.dtype.kind not in "fi":
        raise ValueError("an embedding is no list of numbers")
    with np.errstate(over="ignore"):
        vector = vector.astype(np.float32)
    if not np.isfinite(vector).all():
        raise ValueError("an embedding has something else than finite numbers")
    return vector
