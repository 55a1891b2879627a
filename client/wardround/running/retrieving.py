"""Retrieval as a stage of its own, between reading the data and planning what is asked.

For every arm that searches, and every sample, it is chosen here which passages or worked examples the prompts may show,
the best first; every model gets the same.

A case is searched for in exactly the documents that the arm "full" shows of it, those of other patients included; or
in a corpus, for arms that name one.
Worked examples come of the training file alone; those of the same patient or premise, the sample itself and
near-duplicates of it are left out. Where a search finds too few, the first of the file that are not left out stand in.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from wardround.errors import StudyError
from wardround.journal import Journal
from wardround.journal.retrievals import Found, KeptPassage, found_before, keep_found, keep_passages, retrieval_key
from wardround.retrieval import Passage, passages_of
from wardround.retrieval.lexical import words_of
from wardround.running.corpora import SearchedCorpus, read_corpora
from wardround.running.evidence import Chosen, arms_of, at_random, drawn_by, gold_passages, some_at_random
from wardround.running.preparing import Prepared, read_samples
from wardround.running.searching import DEPTH, RERANKED, Pool, Searcher, Services, open_services, pool_of
from wardround.study import Arm, Service, Study
from wardround.task import Document, Sample

if TYPE_CHECKING:
    from wardround.retrieval.services import Reranker

# By (task, arm): what was chosen for each of the task's samples, in their order.
Retrieved = Mapping[tuple[str, str], Sequence[Chosen]]

# Word sets that share so much of all their words are one case twice.
NEAR_DUPLICATE = 0.8
_RERANKING_AT_ONCE = 4


async def retrieve(
    study: Study,
    journal: Journal,
    prepared: Sequence[Prepared],
    pinned: Mapping[str, Sequence[str]],
    corpora: Mapping[str, SearchedCorpus],
) -> Retrieved:
    """Search for every arm of `study` that does, at services pinned to the addresses that the guard checked.

    Raises `StudyError` for an arm that suits no task or lacks its training file, `EndpointError` if a service fails.
    """
    async with open_services(study, journal, pinned) as services:
        searcher = Searcher(journal, services)
        found: dict[tuple[str, str], Sequence[Chosen]] = {}
        for one in prepared:
            choosing = _Choosing(study, journal, one, searcher, services, corpora)
            for arm in arms_of(study, one):
                await choosing.prepare(arm)
                chosen = choosing.chosen(arm)
                if arm.rerank:
                    chosen = await choosing.reranked(arm, chosen)
                if chosen:
                    found[one.label, arm.name] = chosen
        return found


def retrieve_here(study: Study, journal: Journal, prepared: Sequence[Prepared]) -> Retrieved:
    """The same without any service, for plans of which nothing is asked: what needs one is found by words instead."""
    searcher, corpora = Searcher(journal, None), read_corpora(study, prepared)
    found: dict[tuple[str, str], Sequence[Chosen]] = {}
    for one in prepared:
        choosing = _Choosing(study, journal, one, searcher, None, corpora)
        for arm in arms_of(study, one):
            if chosen := choosing.chosen(arm):
                found[one.label, arm.name] = chosen
    return found


class _Choosing:
    """Chooses passages and worked examples for the samples of a task."""

    def __init__(
        self,
        study: Study,
        journal: Journal,
        one: Prepared,
        searcher: Searcher,
        services: Services | None,
        corpora: Mapping[str, SearchedCorpus],
    ) -> None:
        self._study = study
        self._journal = journal
        self._one = one
        self._searcher = searcher
        self._services = services
        self._corpora = corpora
        self._passages: dict[Document, list[Passage]] = {}
        self._pools: dict[tuple[Document, ...], tuple[Pool, dict[str, Passage]]] = {}
        self._training: tuple[Sequence[Sample], Pool] | None = None
        self._words: dict[str, frozenset[str]] = {}

    async def prepare(self, arm: Arm) -> None:
        """Have the vectors that an arm needs, if it needs any."""
        samples = self._one.samples
        if arm.evidence in ("dense", "hybrid"):
            wanted = [(self._searched(arm, sample)[0], self._query(sample)) for sample in samples]
            await self._searcher.prepare(arm.evidence, wanted)
        if arm.shots_by == "dense":
            pool = self._shots_pool(arm)[1]
            await self._searcher.prepare("dense", [(pool, self._query(sample)) for sample in samples])

    def chosen(self, arm: Arm) -> list[Chosen]:
        """What an arm chooses for each sample; empty if it chooses nothing."""
        if arm.shows_passages:
            with self._journal.transaction():
                found = [self._with_passages(arm, sample) for sample in self._one.samples]
                keep_passages(self._journal, (_kept(one) for some in self._passages.values() for one in some))
                if arm.corpus is not None:
                    # Of a corpus only what was found: all of it may be gigabytes.
                    keep_passages(
                        self._journal, {passage: _kept(passage) for one in found for passage in one.passages}.values()
                    )
                return found
        if arm.shots_by in ("random", "bm25", "dense"):
            with self._journal.transaction():
                return [self._with_shots(arm, sample) for sample in self._one.samples]
        return []

    async def reranked(self, arm: Arm, chosen: Sequence[Chosen]) -> list[Chosen]:
        """The same passages, the first of them in the order that the reranking service gives them."""
        settings = self._study.retrieval.rerank
        if self._services is None or self._services.reranker is None or settings is None:
            return list(chosen)
        by, reranker = _reranking_method(settings, self._searcher.method(arm.evidence)), self._services.reranker
        asked: dict[str, tuple[Sample, Chosen]] = {}
        keys = []
        for sample, one in zip(self._one.samples, chosen, strict=True):
            keys.append(retrieval_key(by, self._searched(arm, sample)[0].hash, self._query(sample)))
            asked.setdefault(keys[-1], (sample, one))
        orders: dict[str, Found] = {}
        waiting = iter(asked.items())

        async def work() -> None:
            for key, (sample, one) in waiting:
                known = found_before(self._journal, key)
                orders[key] = known or await self._reranked_once(reranker, by, arm, sample, one)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(_RERANKING_AT_ONCE):
                    group.create_task(work())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [_ordered(one, orders[key], key) for one, key in zip(chosen, keys, strict=True)]

    async def _reranked_once(self, reranker: Reranker, by: str, arm: Arm, sample: Sample, one: Chosen) -> Found:
        first = one.passages[:RERANKED]
        begun = time.perf_counter_ns()
        scores = await reranker.scores(self._query(sample), [passage.text for passage in first])
        took_ns = time.perf_counter_ns() - begun
        ranked = sorted(zip(first, scores, strict=True), key=lambda scored: -scored[1])
        found = Found(tuple((passage.id, round(score, 6)) for passage, score in ranked), took_ns)
        with self._journal.transaction():
            keep_found(self._journal, by, self._searched(arm, sample)[0].hash, self._query(sample), found)
        return found

    def _query(self, sample: Sample) -> str:
        assert self._one.rules.query is not None
        return self._one.rules.query(sample)

    def _searched(self, arm: Arm, sample: Sample) -> tuple[Pool, Mapping[str, Passage]]:
        """The passages of the arm's corpus, or else of a sample's documents, whatever their order in it."""
        if arm.corpus is not None:
            return self._corpora[arm.corpus].pool, self._corpora[arm.corpus].passages
        documents = sorted(sample.documents, key=lambda document: document.id)
        known = tuple(documents)
        if known not in self._pools:
            passages = {passage.id: passage for document in documents for passage in self._cut(document)}
            self._pools[known] = pool_of({name: passage.text for name, passage in passages.items()}), passages
        return self._pools[known]

    def _cut(self, document: Document) -> list[Passage]:
        if document not in self._passages:
            settings = self._study.retrieval
            self._passages[document] = passages_of(document, length=settings.length, overlap=settings.overlap)
        return self._passages[document]

    def _with_passages(self, arm: Arm, sample: Sample) -> Chosen:
        if arm.corpus is not None:
            return self._with_passages_of_corpus(arm, self._corpora[arm.corpus], sample)
        pool, passages = self._searched(arm, sample)
        everything = tuple(passages.values())
        if arm.evidence == "oracle-spans":
            return Chosen(gold_passages(self._one, sample, everything), everything)
        if arm.evidence == "random-passages":
            return Chosen(at_random(everything, self._study.seed, arm.seed, sample.id), everything)
        key, found = self._searcher.search(arm.evidence, pool, self._query(sample))
        return Chosen(tuple(passages[name] for name, _ in found.hits), everything, retrieval=key)

    def _with_passages_of_corpus(self, arm: Arm, corpus: SearchedCorpus, sample: Sample) -> Chosen:
        if arm.evidence == "random-passages":
            drawn = some_at_random(corpus.everything, DEPTH, self._study.seed, arm.seed, sample.id)
            return Chosen(drawn, corpus.everything, documents=corpus.documents)
        key, found = self._searcher.search(arm.evidence, corpus.pool, self._query(sample))
        passages = tuple(corpus.passages[name] for name, _ in found.hits)
        return Chosen(passages, corpus.everything, retrieval=key, documents=corpus.documents)

    def _with_shots(self, arm: Arm, sample: Sample) -> Chosen:
        samples, pool = self._shots_pool(arm)
        by_id = {shot.id: shot for shot in samples}
        key = ""
        if arm.shots_by == "random":
            draw = drawn_by(self._study.seed, arm.seed, sample.id)
            keys = {shot.id: draw.random() for shot in samples}
            ranked: list[Sample] = sorted(samples, key=lambda shot: keys[shot.id])
        else:
            key, found = self._searcher.search(arm.shots_by, pool, self._query(sample))
            ranked = [by_id[name] for name, _ in found.hits]
        wanted = self._one.rules.shots
        taken: dict[str, Sample] = {}
        for shot in (*ranked, *samples):
            if len(taken) == wanted:
                break
            if shot.id not in taken and not self._too_near(sample, shot):
                taken[shot.id] = shot
        if len(taken) < wanted:
            raise StudyError(
                f"arm {arm.name!r}: {len(taken)} of {wanted} worked examples for {self._one.label} {sample.id!r}"
                " are left without its own patient and near-duplicates of it; use a larger `training`"
            )
        # The nearest stands last, beside the case itself.
        return Chosen(shots=tuple(reversed(taken.values())), retrieval=key)

    def _too_near(self, sample: Sample, shot: Sample) -> bool:
        """Whether a worked example would give the sample's answer away: its own patient or premise, or its own text."""
        if sample.cluster is not None and sample.cluster == shot.cluster:
            return True
        ours, theirs = self._words_of(sample), self._words_of(shot)
        return len(ours & theirs) >= NEAR_DUPLICATE * len(ours | theirs)

    def _words_of(self, sample: Sample) -> frozenset[str]:
        text = self._shown(sample)
        if text not in self._words:
            self._words[text] = frozenset(words_of(text))
        return self._words[text]

    def _shown(self, sample: Sample) -> str:
        if self._one.rules.query is not None:
            return self._query(sample)
        return "\n".join(message.content for message in self._one.rules.prompt(sample, ()).messages)

    def _shots_pool(self, arm: Arm) -> tuple[Sequence[Sample], Pool]:
        """The samples of the training file; raises `StudyError` if there is none, or if it is the evaluated file."""
        if self._training is None:
            one = self._one
            if one.training is None:
                raise StudyError(
                    f"arm {arm.name!r} takes worked examples from a training file; give task {one.label} `training`"
                )
            if one.data is not None and one.training.resolve() == one.data.resolve():
                raise StudyError(f"arm {arm.name!r}: `training` of task {one.label} is the file that is evaluated")
            samples = read_samples(one.task, one.training)
            self._training = samples, pool_of({shot.id: self._shown(shot) for shot in samples})
        return self._training


def _reranking_method(settings: Service, first: str) -> str:
    """What reranks, with all that decides its order, and what found what it orders."""
    model = f"{settings.model or 'unnamed'}@{settings.revision}" if settings.revision else settings.model or "unnamed"
    prefixes = f"query={settings.query_prefix!r},passage={settings.passage_prefix!r}"
    return f"rerank[{model},{prefixes},first={RERANKED}]({first})"


def _ordered(one: Chosen, order: Found, key: str) -> Chosen:
    """The passages in the order found; those that were not reranked stand behind as they were."""
    passages = {passage.id: passage for passage in one.passages}
    first = tuple(passages.pop(name) for name, _ in order.hits)
    return replace(one, passages=(*first, *passages.values()), retrieval=key)


def _kept(passage: Passage) -> KeptPassage:
    return KeptPassage(passage.document, passage.place, passage.start, passage.end, passage.dated, passage.text)
