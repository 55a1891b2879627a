"""The retrieval stage alone: what a study's arms find, and how good that is, before any model is asked.

Every arm that chooses passages is measured against the places of the answer, where a task knows them, the placebo and
the ceiling among them. Besides, a task may have pairs of texts (a summary and the message it is of): there each search
of the study looks for the one by the other among all of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from wardround.endpoints.guard import addresses_of
from wardround.journal import Journal
from wardround.journal.retrievals import found_before
from wardround.retrieval import Passage, Quality, quality_of
from wardround.running.corpora import read_corpora
from wardround.running.evidence import Chosen, suits
from wardround.running.preparing import Prepared, prepare, read_samples
from wardround.running.retrieving import retrieve
from wardround.running.round import permits_of
from wardround.running.searching import Searcher, open_services, pool_of
from wardround.study import Study

NDCG_AT = 10
PAIRS = "pairs"


@dataclass(frozen=True, slots=True)
class Measured:
    """How well an arm of a task finds: means over `queries` samples, of which `known` have a known place of the answer.

    `hit_1` and `hit` are hit@1 and hit@k, `recall` and `span_recall` at k, `ndcg` at 10, `mrr` over all that was found;
    None where no place is known. `took_ms`: a search's time at the mean, None where nothing was searched.
    """

    task: str
    arm: str
    queries: int
    known: int
    hit_1: float | None
    hit: float | None
    recall: float | None
    span_recall: float | None
    ndcg: float | None
    mrr: float | None
    took_ms: float | None


async def measure(study: Study, folder: Path, *, k: int = 10, attested: bool = False) -> list[Measured]:
    """Search for all arms of `study` and keep in the run folder `folder` what was found; a run goes on with it.

    Raises what `run_study` raises before it asks a model.
    """
    prepared = [one for choice in study.tasks for one in prepare(choice, study.profile)]
    with Journal.create(folder) as journal:
        corpora = read_corpora(study, prepared)
        pinned = addresses_of(permits_of(study, prepared, None, attested))
        # A task that no arm suits may have pairs all the same.
        searched = [one for one in prepared if not study.arms or any(suits(arm, one) for arm in study.arms)]
        retrieved = await retrieve(study, journal, searched, pinned, corpora)
        found = [
            _measured(one, arm.name, retrieved[one.label, arm.name], journal, k)
            for one in searched
            for arm in study.arms
            if arm.shows_passages and (one.label, arm.name) in retrieved
        ]
        async with open_services(study, journal, pinned) as services:
            searcher = Searcher(journal, services)
            for one in prepared:
                for by in _searches(study):
                    if one.task.pairs is not None:
                        found.append(await _of_pairs(one, by, searcher, journal, k))
        return found


def _searches(study: Study) -> list[str]:
    """By what a study searches; by words if it says nothing."""
    named = {arm.evidence for arm in study.arms} | {arm.shots_by for arm in study.arms}
    return [by for by in ("bm25", "dense", "hybrid") if by in named] or ["bm25"]


def _measured(one: Prepared, arm: str, chosen: Sequence[Chosen], journal: Journal, k: int) -> Measured:
    rows = []
    for sample, each in zip(one.samples, chosen, strict=True):
        gold = one.rules.gold(sample) if one.rules.gold is not None else {}
        rows.append([quality_of(each.passages, gold, each.pool, at) for at in (1, k, NDCG_AT, len(each.pool))])
    found = [found_before(journal, key) for key in dict.fromkeys(each.retrieval for each in chosen) if key]
    return _means(one.label, arm, rows, [one.took_ns for one in found if one is not None])


async def _of_pairs(one: Prepared, by: str, searcher: Searcher, journal: Journal, k: int) -> Measured:
    """How well the shorter text of each pair finds its longer one among all of the file."""
    assert one.task.pairs is not None
    assert one.data is not None
    samples = read_samples(one.task, one.data)
    pairs = {sample.id: one.task.pairs(sample) for sample in samples}
    pool = pool_of({name: longer for name, (_, longer) in pairs.items()})
    await searcher.prepare(by, [(pool, shorter) for shorter, _ in pairs.values()])
    passages = {name: Passage(name, 0, 0, max(1, len(longer)), longer) for name, (_, longer) in pairs.items()}
    rows, took_ns = [], []
    with journal.transaction():
        for name, (shorter, _) in pairs.items():
            found = searcher.search(by, pool, shorter)[1]
            ranked = [passages[hit] for hit, _ in found.hits]
            gold = {name: [(0, passages[name].end)]}
            # One text is the right one, whatever else is in the pool.
            rows.append([quality_of(ranked, gold, [passages[name]], at) for at in (1, k, NDCG_AT, len(ranked))])
            took_ns.append(found.took_ns)
    return _means(one.label, f"{PAIRS} {by}", rows, took_ns)


def _means(task: str, arm: str, rows: Sequence[Sequence[Quality | None]], took_ns: Sequence[int]) -> Measured:
    known = [[quality for quality in row if quality is not None] for row in rows if None not in row]
    first, at_k, at_ten, everything = zip(*known, strict=True) if known else ((), (), (), ())

    def mean(qualities: Sequence[Quality], name: str) -> float | None:
        return fmean(getattr(quality, name) for quality in qualities) if qualities else None

    return Measured(
        task=task,
        arm=arm,
        queries=len(rows),
        known=len(known),
        hit_1=mean(first, "hit"),
        hit=mean(at_k, "hit"),
        recall=mean(at_k, "recall"),
        span_recall=mean(at_k, "span_recall"),
        ndcg=mean(at_ten, "ndcg"),
        mrr=mean(everything, "reciprocal_rank"),
        took_ms=fmean(took_ns) / 1e6 if took_ns else None,
    )
