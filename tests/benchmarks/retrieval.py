"""The word search beside bare bm25s, and the vector search: python -m tests.benchmarks.retrieval [--json FILE]

    index     bm25s.tokenize and BM25.index of the package, against `Lexical(texts)`
    query     words to numbers, scores, the 10 best: `get_scores_from_ids` and `bm25s.selection.topk` against `search`

The texts are invented: 80 words each, drawn from 30,000 by Zipf's law. Rivals take turns in one process, now the one and
now the other first, and the median turn of each counts, in seconds of the processor: both work in one thread, and what
other programs take of the machine is not theirs. Ours may take 10 % longer than bare bm25s.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import bm25s
import numpy as np
from bm25s.selection import topk

from tests.benchmarks.figures import Figure, report
from wardround.retrieval.lexical import K1, METHOD, STOP_WORDS, B, Lexical, words_of
from wardround.retrieval.vectors import Vectors, unit_rows

MOST = 1.10
WORDS, VOCABULARY, DIMENSIONS, QUERIES, BEST = 80, 30_000, 384, 100, 10


def invented(number: int) -> list[str]:
    draw = np.random.default_rng(7)
    spelled = np.array([_spelled(rank) for rank in range(VOCABULARY)])
    weights = 1 / np.arange(1, VOCABULARY + 1)
    drawn = draw.choice(VOCABULARY, size=(number, WORDS), p=weights / weights.sum())
    return [" ".join(spelled[row]) + "." for row in drawn]


def _spelled(rank: int) -> str:
    letters = ""
    while rank:
        rank, left = divmod(rank, 20)
        letters += "bcdfghklmnprtvwaeiou"[left] + "ao"[left % 2]
    return letters + "n"


def seconds(what: Callable[[], Any]) -> float:
    """Seconds of the processor, of all threads together."""
    gc.collect()
    begun = time.process_time()
    what()
    return time.process_time() - begun


def medians(turns: int, *rivals: Callable[[], Any]) -> list[float]:
    """Seconds of each rival's median turn."""
    taken: list[list[float]] = [[] for _ in rivals]
    for turn in range(turns):
        order = range(len(rivals)) if turn % 2 == 0 else reversed(range(len(rivals)))
        for place in order:
            taken[place].append(seconds(rivals[place]))
    return [median(times) for times in taken]


def bare_index(texts: list[str]) -> bm25s.BM25:
    index = bm25s.BM25(k1=K1, b=B, method=METHOD)
    pattern = r"(?u)\b\w+\b"
    tokens = bm25s.tokenize(texts, stopwords=list(STOP_WORDS), token_pattern=pattern, show_progress=False)
    index.index(tokens, show_progress=False)
    return index


def bare_search(index: bm25s.BM25, query: str) -> Any:
    words = [index.vocab_dict[word] for word in words_of(query) if word in index.vocab_dict]
    return topk(index.get_scores_from_ids(words), BEST, sorted=True)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--passages", type=int, default=200_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    texts = invented(options.passages)
    queries = [" ".join(text.split()[:8]) for text in texts[:QUERIES]]
    bare_s, ours_s = medians(options.turns, lambda: bare_index(texts), lambda: Lexical(texts))
    bare, ours = bare_index(texts), Lexical(texts)
    bare_ms, ours_ms = (
        1000 * taken / QUERIES
        for taken in medians(
            options.turns,
            lambda: [bare_search(bare, query) for query in queries],
            lambda: [ours.search(query, BEST) for query in queries],
        )
    )
    matrix = unit_rows(np.random.default_rng(7).standard_normal((options.passages, DIMENSIONS), dtype=np.float32))
    vectors = Vectors(matrix)
    (exact_s,) = medians(options.turns, lambda: [vectors.search(row, BEST) for row in matrix[:QUERIES]])
    peer, passages = f"bm25s {version('bm25s')}, bare", f"{options.passages:,} passages"
    figures = [
        Figure(f"word index of {passages}", ours_s, "s", beside=peer, other=bare_s, goal=MOST * bare_s),
        Figure(f"word query, {passages}", ours_ms, "ms", beside=peer, other=bare_ms, goal=MOST * bare_ms),
        Figure(f"exact vector query, {passages} × {DIMENSIONS}", 1000 * exact_s / QUERIES, "ms"),
    ]
    return report(figures, options.json)


if __name__ == "__main__":
    sys.exit(main())
