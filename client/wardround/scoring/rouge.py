"""ROUGE-1, ROUGE-2 and ROUGE-L: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries".

F1 of n-gram overlap (clipped counts) and of the longest common subsequence, sentence-level. With
`ascii_tokens` the values equal those of Google's `rouge-score` without stemming, bit for bit; that is what the
published figures used. Its tokens are runs of a-z and 0-9: "Ménière" falls into three, "β" vanishes.
`unicode_tokens` keeps letters of every script; scores by it carry `unicode` in their names.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

_ASCII = re.compile(r"[a-z0-9]+")


def ascii_tokens(text: str) -> list[str]:
    """Lower-cased runs of a-z and 0-9: the tokens of `rouge-score`."""
    return _ASCII.findall(text.lower())


def unicode_tokens(text: str) -> list[str]:
    """Case-folded runs of letters, digits and their combining marks, of every script (NFKC first)."""
    return _letters_and_marks().findall(unicodedata.normalize("NFKC", text).casefold())


@cache
def _letters_and_marks() -> re.Pattern[str]:
    # `re` counts combining marks (vowel signs of Hindi, accents without a composed form) as no part of a word.
    marks = "".join(letter for letter in map(chr, range(0x300, 0x20000)) if unicodedata.category(letter)[0] == "M")
    return re.compile(rf"[^\W_](?:[^\W_]|[{marks}])*")


@dataclass(frozen=True, slots=True)
class Rouge:
    """F1 values, each from 0 to 1."""

    rouge1: float
    rouge2: float
    rouge_l: float


def rouge(answer: str, reference: str, tokens: Callable[[str], list[str]] = ascii_tokens) -> Rouge:
    """The three F1 values of `answer` against `reference`; 0 where either has no token."""
    said, gold = tokens(answer), tokens(reference)
    return Rouge(_overlap_f1(said, gold, 1), _overlap_f1(said, gold, 2), _lcs_f1(said, gold))


def _overlap_f1(said: Sequence[str], gold: Sequence[str], n: int) -> float:
    said_grams, gold_grams = _grams(said, n), _grams(gold, n)
    overlap = (said_grams & gold_grams).total()
    return _f1(overlap / max(said_grams.total(), 1), overlap / max(gold_grams.total(), 1))


def _grams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[start:] for start in range(n)), strict=False))


def _lcs_f1(said: Sequence[str], gold: Sequence[str]) -> float:
    if not said or not gold:
        return 0.0
    from rapidfuzz.distance import LCSseq

    # Numbers for words: rapidfuzz compares hashes, and those of small integers are the integers themselves.
    number: dict[str, int] = {}
    said_ids = [number.setdefault(word, len(number)) for word in said]
    gold_ids = [number.setdefault(word, len(number)) for word in gold]
    length = LCSseq.similarity(said_ids, gold_ids)
    return _f1(length / len(said), length / len(gold))


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
