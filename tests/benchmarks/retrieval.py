"""How long the word search takes beside bare bm25s, and what the vector search does: python -m tests.benchmarks.retrieval

    index     bm25s.tokenize and BM25.index of the package, against `Lexical(texts)`
    query     words to numbers, scores, the 10 best: `get_scores_from_ids` and `bm25s.selection.topk` against `search`

The texts are invented: 80 words each, drawn from 30,000 by Zipf's law; each pair is measured in turns and the fastest
turn counts, so that another program's load does not decide. Ratios above 1.10 end with exit code 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import bm25s
import numpy as np
from bm25s.selection import topk

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
    begun = time.perf_counter()
    what()
    return time.perf_counter() - begun


def fastest(turns: int, *rivals: Callable[[], Any]) -> list[float]:
    taken = [[seconds(rival) for rival in rivals] for _ in range(turns)]
    return [min(column) for column in zip(*taken, strict=True)]


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
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    texts = invented(options.passages)
    queries = [" ".join(text.split()[:8]) for text in texts[:QUERIES]]
    bare_s, ours_s = fastest(options.turns, lambda: bare_index(texts), lambda: Lexical(texts))
    bare, ours = bare_index(texts), Lexical(texts)
    bare_q, ours_q = fastest(
        options.turns,
        lambda: [bare_search(bare, query) for query in queries],
        lambda: [ours.search(query, BEST) for query in queries],
    )
    matrix = unit_rows(np.random.default_rng(7).standard_normal((options.passages, DIMENSIONS), dtype=np.float32))
    vectors = Vectors(matrix)
    (exact_q,) = fastest(options.turns, lambda: [vectors.search(row, BEST) for row in matrix[:QUERIES]])
    print(f"{options.passages:,} passages of {WORDS} words; the fastest of {options.turns} turns")
    print(f"index   bare {bare_s:.2f} s, ours {ours_s:.2f} s, ratio {ours_s / bare_s:.2f}")
    print(f"query   bare {QUERIES / bare_q:.0f}/s, ours {QUERIES / ours_q:.0f}/s, ratio {ours_q / bare_q:.2f}")
    print(f"vectors {QUERIES / exact_q:.0f}/s ({DIMENSIONS} dimensions, exact)")
    return int(max(ours_s / bare_s, ours_q / bare_q) > MOST)


if __name__ == "__main__":
    sys.exit(main())
