"""Vectors in a Qdrant server, over its REST API; searched exactly, so that what is found is what NumPy finds.

    GET  /collections/{name}/exists         -> {"result": {"exists": false}, "status": "ok", "time": 0.1}
    PUT  /collections/{name}                {"vectors": {"size", "distance": "Dot", …}, "hnsw_config": {"m": 0}}
    POST /collections/{name}/points/count   {"exact": true}                          -> {"result": {"count": 3}, …}
    PUT  /collections/{name}/points         {"batch": {"ids": [0, …], "vectors": [[0.1, …], …]}}    with ?wait=true
    POST /collections/{name}/points          {"ids": [0], "with_vector": true, "with_payload": false}
                                            -> {"result": [{"id": 0, "vector": [0.1, …]}], …}
    POST /collections/{name}/points/query   {"query": [0.1, …], "limit", "params": {"exact": true}, …}
                                            -> {"result": {"points": [{"id": 0, "version": 1, "score": 0.9}, …]}, …}

and {"status": {"error": "…"}} where one is refused. Points are numbered by the texts' places, sent at length 1 and in
order, with no text: a collection that was left half filled is filled from where it is. No graph is built (m = 0), since
exact searches do not use one. The caller has asked the guard, and hands in the wire it pinned.
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.retrieval.asking import ATTEMPTS, WHOLE_S, AskedService
from wardround.retrieval.vectors import Matrix
from wardround.sources import Qdrant
from wardround.wire import Wire

# The unit vectors of the texts from one place up to before another, shape (texts, dimensions).
MatrixOf = Callable[[int, int], Awaitable[Matrix]]


# How far two unit vectors of one text may lie apart: one model in half precision, in batches of other sizes.
SAME_WITHIN = 0.02


class QdrantVectors:
    """Indices over unit vectors in the Qdrant server of `settings`, a collection each; raises `EndpointError`."""

    def __init__(self, settings: Qdrant, wire: Wire, *, attempts: int = ATTEMPTS, whole_s: float = WHOLE_S) -> None:
        self._settings = settings
        self._asked = AskedService(
            settings.row(),
            settings.base_url,
            wire,
            what="vectors",
            attempts=attempts,
            whole_s=whole_s,
            in_usual_words=_in_usual_words,
        )

    async def fill(self, content: str, number: int, matrix_of: MatrixOf) -> None:
        """Have the collection of `content` (a hash) with its `number` vectors; what is there already is not sent.

        `number` is at least 1; `matrix_of` is asked for batches, in order.
        """
        route = self._route(content)
        batch = self._settings.batch
        there, first = 0, None
        if _result(await self._asked.get(f"{route}/exists"), "exists") is True:
            there = await self._count(route)
            if 0 < there <= number:
                await self._compare(route, (await matrix_of(0, 1))[0])
            if there == number:
                return
        else:
            first = await matrix_of(0, min(batch, number))
            vectors = {"size": first.shape[1], "distance": "Dot", "on_disk": True}
            await self._asked.put(route, {"vectors": vectors, "hnsw_config": {"m": 0}})
        for start in range(there, number, batch):
            end = min(start + batch, number)
            rows = await matrix_of(start, end) if first is None or start else first
            points = {"ids": list(range(start, end)), "vectors": rows.tolist()}
            await self._asked.put(f"{route}/points?wait=true", {"batch": points})
        if (there := await self._count(route)) != number:
            name = route.rpartition("/")[2]
            raise self._asked.error(f"the collection {name} has {there} vectors and not {number}; delete it there")

    async def search(self, content: str, number: int, query: NDArray[np.float32], k: int) -> list[tuple[int, float]]:
        """The `k` nearest of `number` as (place, cosine), nearest first, equal ones by place; where equal ones stand at
        the end, the server decides which are among them. `query` as in `Vectors.search`.
        """
        length = float(np.linalg.norm(query))
        if length == 0:
            return []
        unit = query / np.float32(length)
        body = {
            "query": unit.tolist(),
            "limit": k,
            "params": {"exact": True},
            "with_payload": False,
            "with_vector": False,
        }
        points = _result(await self._asked.post(f"{self._route(content)}/points/query", body), "points")
        try:
            return _places(points, number, k)
        except ValueError as error:
            raise self._asked.error(str(error)) from None

    def _route(self, content: str) -> str:
        return f"/collections/{self._settings.collection_prefix}-{content}"

    async def _compare(self, route: str, own: NDArray[np.float32]) -> None:
        """See that the first of the vectors that are there is the model's own, shape (dimensions,).

        A service may have another model now under the old name, and the collection is named after the name.
        """
        content = await self._asked.post(f"{route}/points", {"ids": [0], "with_vector": True, "with_payload": False})
        try:
            stored = np.asarray(content["result"][0]["vector"], np.float32)
        except (LookupError, TypeError, ValueError):
            stored = np.zeros(0, np.float32)
        if stored.shape != own.shape or not float(np.linalg.norm(stored - own)) <= SAME_WITHIN:
            name = route.rpartition("/")[2]
            raise self._asked.error(
                f"the collection {name} holds another model's vectors; set the embeddings' `revision`, or delete it"
            )

    async def _count(self, route: str) -> int:
        count = _result(await self._asked.post(f"{route}/points/count", {"exact": True}), "count")
        if not isinstance(count, int):
            raise self._asked.error("it does not say how many vectors a collection has")
        return count


def _result(content: Any, name: str) -> Any:
    result = content.get("result") if isinstance(content, dict) else None
    return result.get(name) if isinstance(result, dict) else None


def _places(points: Any, number: int, k: int) -> list[tuple[int, float]]:
    """(place, score) of the points of an answer, best first; raises `ValueError` with what is wrong."""
    if not isinstance(points, list) or len(points) > k:
        raise ValueError(f"its answer is no list of up to {k} points")
    found: dict[int, float] = {}
    for point in points:
        place, score = (point.get("id"), point.get("score")) if isinstance(point, dict) else (None, None)
        if not isinstance(place, int) or not isinstance(score, int | float) or not math.isfinite(score):
            raise ValueError("its answer holds something else than points with a number and a score")
        if not 0 <= place < number:
            raise ValueError(f"its answer holds point {place} of {number}")
        found[place] = float(score)
    return sorted(found.items(), key=lambda one: (-one[1], one[0]))


def _in_usual_words(body: bytes) -> bytes:
    """A refusal's words where endpoints have them."""
    try:
        error = json.loads(body)["status"]["error"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return body
    return json.dumps({"error": str(error)}).encode()
