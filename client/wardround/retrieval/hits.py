"""How good a ranking was, where the places of the answer are known. Formulas, one place each.

Gold spans are stretches of characters of documents. They are what the benchmark's authors marked and need not be all
places where the answer stands, so every recall here is a lower bound.

- hit@k: 1 if any of the first k passages overlaps a gold span, else 0.
- recall@k: the share of gold documents of which a passage that overlaps a gold span is among the first k.
- span recall@k: the share of the gold spans' characters that the first k passages cover.
- nDCG@k: discounted gain 1/log2(rank + 1) of passages that overlap a gold span, divided by that of the best order there
  could be (Järvelin and Kekäläinen 2002, binary gain).
- reciprocal rank: 1/rank of the first passage that overlaps a gold span, 0 if none does; its mean is the MRR.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wardround.retrieval.passages import Passage

# By document: stretches of its characters, (start, end).
Spans = Mapping[str, Sequence[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Quality:
    """How good a ranking was; shares from 0 to 1, see the module's formulas."""

    hit: float
    recall: float
    span_recall: float
    ndcg: float
    reciprocal_rank: float


def quality_of(ranked: Sequence[Passage], gold: Spans, pool: Sequence[Passage], k: int) -> Quality | None:
    """The quality of the first `k` of a ranking over `pool`; None where there is no gold at all.

    `gold`: by document, spans of characters (start, end); empty ones do not count. Raises `ValueError` for a negative
    `k`.
    """
    if k < 0:
        raise ValueError(f"k is {k}; it cannot be negative")
    gold = {document: spans for document, given in gold.items() if (spans := [one for one in given if one[0] < one[1]])}
    if not gold:
        return None
    shown = ranked[:k]
    relevant = [overlaps(passage, gold) for passage in shown]
    first = next((rank for rank, is_gold in enumerate(relevant, start=1) if is_gold), None)
    best = min(k, sum(overlaps(passage, gold) for passage in pool))
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, best + 1))
    gain = sum(1 / math.log2(rank + 1) for rank, is_gold in enumerate(relevant, start=1) if is_gold)
    found = {passage.document for passage, is_gold in zip(shown, relevant, strict=True) if is_gold}
    return Quality(
        hit=float(first is not None),
        recall=len(found) / len(gold),
        span_recall=_covered(shown, gold),
        ndcg=gain / ideal if ideal else 0.0,
        reciprocal_rank=1 / first if first else 0.0,
    )


def overlaps(passage: Passage, gold: Spans) -> bool:
    """Whether a passage shares a character with a gold span."""
    return any(start < passage.end and passage.start < end for start, end in gold.get(passage.document, ()))


def third_of(shown: Sequence[Passage], gold: Spans) -> int | None:
    """In which third of the passages, in the order in which a prompt shows them, the first gold one stands.

    1, 2 or 3; None if there is none among them.
    """
    for place, passage in enumerate(shown):
        if overlaps(passage, gold):
            return 1 + 3 * place // len(shown)
    return None


def _covered(shown: Sequence[Passage], gold: Spans) -> float:
    wanted = covered = 0
    for document, spans in gold.items():
        letters = set().union(*(range(start, end) for start, end in spans))
        seen: set[int] = set()
        for passage in shown:
            if passage.document == document:
                seen |= letters.intersection(range(passage.start, passage.end))
        wanted += len(letters)
        covered += len(seen)
    return covered / wanted
