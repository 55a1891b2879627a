"""Searching pools of texts by words, by meaning or by both, each search once: the journal has what was found."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from wardround.catalogue import EMBEDDED, Model
from wardround.errors import EndpointError
from wardround.journal import Journal
from wardround.journal.records import canonical, sha256
from wardround.journal.retrievals import (
    Found,
    found_before,
    keep_found,
    keep_vectors,
    known_vectors,
    retrieval_key,
    vector_key,
)
from wardround.retrieval import Lexical, reciprocal_ranks
from wardround.retrieval.asking import CONCURRENCY
from wardround.retrieval.fusion import RRF_K
from wardround.running.embedded import embedded_server
from wardround.study import Service, Study
from wardround.wire import Wire

if TYPE_CHECKING:
    from wardround.retrieval.qdrant import QdrantVectors
    from wardround.retrieval.services import Reranker, TextEmbeddings, Vector
    from wardround.retrieval.vectors import Matrix, Vectors

T = TypeVar("T")

# How many hits are kept of a search: as many passages as 8,000 tokens hold, and some more.
DEPTH = 64
RERANKED = 50
_INDICES_KEPT = 64
_EMBEDDED_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Pool:
    """What is searched: texts with their ids, and the hash of all of it."""

    hash: str
    ids: tuple[str, ...]
    texts: tuple[str, ...]


def pool_of(texts: Mapping[str, str]) -> Pool:
    """The pool of texts by id."""
    return Pool(sha256(canonical(list(texts.items()))), tuple(texts), tuple(texts.values()))


@dataclass(slots=True)
class Services:
    """What answers for a study's arms: the embedding service with its model's name, the reranker, or None.

    `index` is the server that holds and searches vectors, None where that is done here. `vectors` by (prefix, text) are
    those that were embedded so far and are needed here, all of one `length` (0 before the first).
    """

    journal: Journal
    settings: Service
    embeddings: TextEmbeddings | None = None
    reranker: Reranker | None = None
    index: QdrantVectors | None = None
    model: str = ""
    vectors: dict[tuple[str, str], Vector] = field(default_factory=dict)
    length: int = 0

    @property
    def source(self) -> str:
        """Model and revision, "all-MiniLM-L6-v2@8b3219a9"."""
        return f"{self.model}@{self.settings.revision}" if self.settings.revision else self.model

    async def embed(self, texts: Iterable[str], prefix: str) -> None:
        """Have the vectors of all `texts`, those that the journal has from there."""
        if self.embeddings is None:
            return
        wanted = {
            vector_key(self.model, self.settings.revision, prefix, text): text
            for text in dict.fromkeys(texts)
            if (prefix, text) not in self.vectors
        }
        known = known_vectors(self.journal, list(wanted))
        self._check_lengths(known.values())
        self.vectors.update(((prefix, wanted[key]), vector) for key, vector in known.items())
        missing = [(key, text) for key, text in wanted.items() if key not in known]
        for start in range(0, len(missing), _EMBEDDED_AT_ONCE):
            some = missing[start : start + _EMBEDDED_AT_ONCE]
            vectors = await self.embeddings.embed([text for _, text in some], prefix)
            self._check_lengths(vectors)
            # Kept as they come: a stop costs what is under way, no more.
            keep_vectors(self.journal, self.source, {key: one for (key, _), one in zip(some, vectors, strict=True)})
            self.vectors.update(((prefix, text), one) for (_, text), one in zip(some, vectors, strict=True))

    def _check_lengths(self, vectors: Iterable[Vector]) -> None:
        """Raises `EndpointError` where the model behind the service's name has changed in the journal's lifetime."""
        for vector in vectors:
            self.length = self.length or len(vector)
            if len(vector) != self.length:
                raise EndpointError(
                    f"the embedding service's model {self.source} gives vectors of another length than the journal has"
                    f" ({len(vector)} and {self.length}); set another `revision` of it, or take another --out"
                )

    def matrix(self, texts: Sequence[str], prefix: str) -> Matrix:
        """The unit vectors of texts that were embedded, shape (texts, dimensions)."""
        import numpy as np

        from wardround.retrieval.vectors import unit_rows

        return unit_rows(np.stack([self.vectors[prefix, text] for text in texts]))


def service_rows(study: Study) -> list[Model]:
    """The services that a study's arms need, as rows for the guard."""
    rows = []
    if any(arm.embeds for arm in study.arms):
        rows.append(study.retrieval.embeddings.row("embeddings"))
        if study.retrieval.qdrant is not None:
            rows.append(study.retrieval.qdrant.row())
    if study.retrieval.rerank is not None and any(arm.rerank for arm in study.arms):
        rows.append(study.retrieval.rerank.row("reranking"))
    return rows


@asynccontextmanager
async def open_services(
    study: Study, journal: Journal, pinned: Mapping[str, Sequence[str]]
) -> AsyncIterator[Services | None]:
    """The services that the study's arms need; None if they need none. The embedded server runs meanwhile."""
    needed = {row.name: row for row in service_rows(study)}
    if not needed:
        yield None
        return
    from wardround.retrieval.qdrant import QdrantVectors
    from wardround.retrieval.services import Reranker, TextEmbeddings

    async with contextlib.AsyncExitStack() as stack:
        wire = await stack.enter_async_context(Wire(connect_s=study.deadlines.connect_s, pinned=pinned))
        embedded = ""
        if any(row.base_url == EMBEDDED for row in needed.values()):
            embedded = await stack.enter_async_context(embedded_server())

        def address(service: Service) -> str:
            return embedded if service.base_url == EMBEDDED else service.base_url

        embeddings, rerank = study.retrieval.embeddings, study.retrieval.rerank
        attempts, whole_s = study.attempts, study.deadlines.whole_s
        services = Services(journal, embeddings)
        if "embeddings" in needed:
            services.embeddings = TextEmbeddings(
                embeddings, address(embeddings), wire, attempts=attempts, whole_s=whole_s
            )
            services.model = await services.embeddings.model()
            if (qdrant := study.retrieval.qdrant) is not None:
                services.index = QdrantVectors(qdrant, wire, attempts=attempts, whole_s=whole_s)
        if rerank is not None and "reranking" in needed:
            services.reranker = Reranker(rerank, address(rerank), wire, attempts=attempts, whole_s=whole_s)
        yield services


class Searcher:
    """Searches pools by "bm25", "dense" or "hybrid". Without services all of it is by words.

    What was found before under the same method, pool and query is read from the journal.
    """

    def __init__(self, journal: Journal, services: Services | None) -> None:
        self._journal = journal
        self._services = services
        self._lexical: dict[str, Lexical] = {}
        self._vectors: dict[str, Vectors] = {}
        # What the index server found, by (pool, query).
        self._elsewhere: dict[tuple[str, str], Found] = {}

    def method(self, by: str) -> str:
        """What searches, with all that decides what it finds."""
        if by == "bm25" or self._services is None:
            return Lexical.name
        settings = self._services.settings
        prefixes = f"query={settings.query_prefix!r},passage={settings.passage_prefix!r}"
        engine = "exact" if self._services.index is None else "exact,qdrant"
        dense = f"dense[{self._services.source},{prefixes},{engine}]"
        return dense if by == "dense" else f"rrf[k={RRF_K}]({Lexical.name},{dense})"

    async def prepare(self, by: str, wanted: Iterable[tuple[Pool, str]]) -> None:
        """Have all that new searches of pools for queries by "dense" or "hybrid" need."""
        services = self._services
        if services is None or by == "bm25":
            return
        method, settings = self.method(by), services.settings
        new = {
            key: pool
            for key, pool in {(pool.hash, query): pool for pool, query in wanted if pool.texts}.items()
            if key not in self._elsewhere and found_before(self._journal, retrieval_key(method, *key)) is None
        }
        pools = {pool.hash: pool for pool in new.values()}
        await services.embed((query for _, query in new), settings.query_prefix)
        if services.index is None:
            await services.embed((text for pool in pools.values() for text in pool.texts), settings.passage_prefix)
            return
        for pool in pools.values():
            await self._fill(services, services.index, pool)
        waiting = iter(new.items())
        await _by_several(lambda: self._search_elsewhere(services, waiting))

    async def _fill(self, services: Services, index: QdrantVectors, pool: Pool) -> None:
        """Have a pool's vectors in the index server; they are embedded as they are sent, and do not stay in memory."""
        prefix = services.settings.passage_prefix

        async def matrix_of(start: int, end: int) -> Matrix:
            texts = pool.texts[start:end]
            # A query's vector stays, even if a passage is the same.
            here_only = {(prefix, text) for text in texts} - services.vectors.keys()
            await services.embed(texts, prefix)
            matrix = services.matrix(texts, prefix)
            for key in here_only:
                del services.vectors[key]
            return matrix

        await index.fill(_collection(services, pool.hash), len(pool.texts), matrix_of)

    async def _search_elsewhere(self, services: Services, waiting: Iterator[tuple[tuple[str, str], Pool]]) -> None:
        assert services.index is not None
        for (pool_hash, query), pool in waiting:
            vector = services.vectors[services.settings.query_prefix, query]
            begun = time.perf_counter_ns()
            hits = await services.index.search(_collection(services, pool_hash), len(pool.texts), vector, DEPTH)
            took_ns = time.perf_counter_ns() - begun
            self._elsewhere[pool_hash, query] = Found(tuple((str(place), score) for place, score in hits), took_ns)

    def search(self, by: str, pool: Pool, query: str) -> tuple[str, Found]:
        """The best of a pool as (id, score), at most `DEPTH`, and the key under which the journal has it.

        Call inside a transaction, and after `prepare`.
        """
        method = self.method(by)
        key = retrieval_key(method, pool.hash, query)
        found = found_before(self._journal, key)
        if found is None:
            self._make_ready(by, pool)
            begun = time.perf_counter_ns()
            hits = tuple((pool.ids[place], round(score, 6)) for place, score in self._found(by, pool, query))
            elsewhere = self._elsewhere.get((pool.hash, query)) if by != "bm25" else None
            found = Found(hits, time.perf_counter_ns() - begun + (elsewhere.took_ns if elsewhere else 0))
            keep_found(self._journal, method, pool.hash, query, found)
        return key, found

    def _found(self, by: str, pool: Pool, query: str) -> list[tuple[int, float]]:
        if not pool.texts:
            return []
        if by == "bm25" or self._services is None:
            return self._index(pool).search(query, DEPTH)
        if self._services.index is not None:
            dense = [(int(place), score) for place, score in self._elsewhere[pool.hash, query].hits]
        else:
            vector = self._services.vectors[self._services.settings.query_prefix, query]
            dense = self._matrix(pool, self._services).search(vector, DEPTH)
        if by == "dense":
            return dense
        rankings = [self._index(pool).search(query, DEPTH), dense]
        return reciprocal_ranks([[place for place, _ in ranking] for ranking in rankings])[:DEPTH]

    def _make_ready(self, by: str, pool: Pool) -> None:
        """Have what a pool is searched with: a search is told to have taken the time of searching alone."""
        if not pool.texts:
            return
        services = self._services
        if by != "dense" or services is None:
            self._index(pool)
        if by != "bm25" and services is not None and services.index is None:
            self._matrix(pool, services)

    def _index(self, pool: Pool) -> Lexical:
        return _remembered(self._lexical, pool.hash, lambda: Lexical(pool.texts))

    def _matrix(self, pool: Pool, services: Services) -> Vectors:
        from wardround.retrieval.vectors import Vectors

        prefix = services.settings.passage_prefix
        return _remembered(self._vectors, pool.hash, lambda: Vectors(services.matrix(pool.texts, prefix)))


def _collection(services: Services, pool_hash: str) -> str:
    """What a collection of a pool's vectors is named after: the texts, and all that decides their vectors."""
    return sha256(canonical([services.source, services.settings.passage_prefix, pool_hash]))[:32]


async def _by_several(work: Callable[[], Coroutine[None, None, None]]) -> None:
    """Do `work` several times at once; the first fault ends them all."""
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(CONCURRENCY):
                group.create_task(work())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None


def _remembered(known: dict[str, T], key: str, make: Callable[[], T]) -> T:
    if key not in known:
        if len(known) >= _INDICES_KEPT:
            del known[next(iter(known))]
        known[key] = make()
    return known[key]
