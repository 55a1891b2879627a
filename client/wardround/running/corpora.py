"""The corpora that a study's arms search, cut into passages, without the texts that would give its cases away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wardround.errors import DataError
from wardround.retrieval import Passage, passages_of
from wardround.retrieval.corpora import holding, read_corpus
from wardround.running.evidence import suits
from wardround.running.preparing import Prepared
from wardround.running.searching import Pool, pool_of
from wardround.study import CorpusChoice, Study
from wardround.task import Document

# So many of the documents that hold a case are named in the manifest.
_NAMED = 20


@dataclass(frozen=True, slots=True)
class SearchedCorpus:
    """A corpus as arms search it: documents and passages by id, the pool of their texts, and what the manifest says.

    A passage is searched for with its document's title before it.
    """

    documents: Mapping[str, Document]
    passages: Mapping[str, Passage]
    everything: tuple[Passage, ...]
    pool: Pool
    provenance: Mapping[str, Any]


def read_corpora(study: Study, prepared: Sequence[Prepared]) -> dict[str, SearchedCorpus]:
    """Every corpus that an arm of `study` searches, by name; raises `DataError`."""
    return {name: _read(name, choice, study, prepared) for name, choice in study.searched_corpora.items()}


def _read(name: str, choice: CorpusChoice, study: Study, prepared: Sequence[Prepared]) -> SearchedCorpus:
    corpus = read_corpus(choice)
    arms = [arm for arm in study.arms if arm.corpus == name]
    cases = {
        f"{one.label} {sample.id}": one.rules.query(sample)
        for one in prepared
        if one.rules.query is not None and any(suits(arm, one) for arm in arms)
        for sample in one.samples
    }
    held = holding(corpus.documents, cases)
    kept = corpus.without(held) if choice.leaks == "drop" else corpus
    if not kept.documents:
        raise DataError(f"corpus {name}: every document of {choice.path} holds a case of the study; none is left")
    settings = study.retrieval
    passages = {
        passage.id: passage
        for document in kept.documents
        for passage in passages_of(document, length=settings.length, overlap=settings.overlap)
    }
    documents = {document.id: document for document in kept.documents}
    headings = {document.id: f"{document.heading}\n" if document.heading else "" for document in kept.documents}
    texts = {key: headings[passage.document] + passage.text for key, passage in passages.items()}
    provenance = {
        "source": choice.path.name,
        "sha256": corpus.sha256,
        "licence": choice.licence,
        "cut_off": choice.cut_off.isoformat(),
        "sensitivity": choice.sensitivity,
        "documents": len(documents),
        "passages": len(passages),
        "after_cut_off": corpus.after_cut_off,
        "undated": corpus.undated,
        "excluded": corpus.excluded,
        "empty": corpus.empty,
        "leaks": choice.leaks,
        "holding_cases": len(held),
        "held_cases": len({case for some in held.values() for case in some}),
        "holding": list(held)[:_NAMED],
    }
    return SearchedCorpus(documents, passages, tuple(passages.values()), pool_of(texts), provenance)


def leaks_said(name: str, provenance: Mapping[str, Any]) -> str:
    """One line on the documents that hold a case of the study; "" if none does."""
    if not provenance["holding_cases"]:
        return ""
    done = "they were left out" if provenance["leaks"] == "drop" else "they are searched all the same (leaks: keep)"
    listed = ", ".join(provenance["holding"][:5]) + (", …" if provenance["holding_cases"] > 5 else "")
    return f"corpus {name}: documents with the text of a case: {provenance['holding_cases']} ({listed}); {done}"
