"""POST /v1/embeddings as OpenAI words it, and POST /rerank as text-embeddings-inference and Jina word it.

A request that names no model gets the best that is there, and every answer says which one it was. Reranking is by the
cosine of the same vectors.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wardround.baseline.http import Call, Outcome, Whole
from wardround.baseline.refusals import Refused, must

if TYPE_CHECKING:
    from wardround.baseline.embedders import Embedder

MOST_INPUTS = 2048


def _embedder(name: Any) -> Embedder:
    # NumPy is for those who ask for it: the server starts without.
    from wardround.baseline.embedders import HASHED, embedder_named

    must(name is None or isinstance(name, str), "'model' must be a string.", param="model")
    found = embedder_named(name or "")
    if found is None:
        words = f"The model `{name}` does not exist; there is {HASHED}, and all-MiniLM-L6-v2 where it is installed."
        raise Refused(words, status=404, code="model_not_found", param="model")
    return found


def routes() -> dict[tuple[str, str], Callable[[Call], Outcome]]:
    """The addresses and what answers there."""
    return {("POST", "/v1/embeddings"): embeddings, ("POST", "/rerank"): rerank, ("POST", "/v1/rerank"): rerank}


def embeddings(call: Call) -> Whole:
    """Embed one text or several; raises `Refused`."""
    body = _read(call)
    given = body.get("input")
    texts = _texts([given] if isinstance(given, str) else given, "input")
    must(body.get("encoding_format") in (None, "float"), "'encoding_format' must be 'float'.", param="encoding_format")
    embedder = _embedder(body.get("model"))
    vectors, tokens = embedder.embed(texts)
    data = [
        {"object": "embedding", "index": place, "embedding": [float(number) for number in vector]}
        for place, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return _json({"object": "list", "model": embedder.name, "data": data, "usage": usage})


def rerank(call: Call) -> Whole:
    """Score texts against a query, in the words of the request: TEI has `texts`, Jina `documents`; raises `Refused`."""
    body = _read(call)
    query = body.get("query")
    must(isinstance(query, str) and query, "'query' must be a non-empty string.", param="query")
    by_jina = "documents" in body
    texts = _texts(body.get("documents" if by_jina else "texts"), "documents" if by_jina else "texts")
    embedder = _embedder(body.get("model"))
    (asked, *vectors), _ = embedder.embed([str(query), *texts])
    scores = sorted(((float(asked @ vector), place) for place, vector in enumerate(vectors)), key=lambda one: -one[0])
    if by_jina:
        results = [{"index": place, "relevance_score": score} for score, place in scores]
        return _json({"model": embedder.name, "results": results})
    return _json([{"index": place, "score": score} for score, place in scores])


def _read(call: Call) -> dict[str, Any]:
    try:
        body = json.loads(call.body)
    except (ValueError, RecursionError):
        body = None
    must(isinstance(body, dict), "The body must be a JSON object.")
    return body if isinstance(body, dict) else {}


def _texts(given: Any, name: str) -> list[str]:
    must(
        isinstance(given, list) and given and all(isinstance(text, str) for text in given),
        f"'{name}' must be a non-empty array of strings.",
        param=name,
    )
    must(len(given) <= MOST_INPUTS, f"'{name}' may hold {MOST_INPUTS} texts.", param=name)
    return list(given)


def _json(content: Any) -> Whole:
    return Whole(200, json.dumps(content).encode())
