"""What embeds texts for the embedded server: a hashed bag of words, or MiniLM where it is installed.

The hashed one is just that: a text is the sum of its words' signs, each at a place of 512 that the word's hash names, a
word that stands n times counting 1 + ln n. It knows no meaning, but it is a dense vector that comes over real HTTP.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wardround.baseline import minilm
from wardround.retrieval.lexical import words_of
from wardround.text import TOKEN

HASHED = "hashed-bag-of-words-512"
DIMENSIONS = 512
Floats = NDArray[np.float32]


class Embedder(Protocol):
    """Embeds texts under a name."""

    name: str

    def embed(self, texts: Sequence[str]) -> tuple[list[Floats], int]:
        """The vector of each text, and the number of tokens that were read."""


class HashedWords:
    """The hashed bag of words."""

    name = HASHED

    def embed(self, texts: Sequence[str]) -> tuple[list[Floats], int]:
        """Unit vectors, shape (512,); a text without a word that counts has no direction and gets zeros."""
        return [_hashed(text) for text in texts], sum(len(TOKEN.findall(text)) for text in texts)


def _hashed(text: str) -> Floats:
    vector = np.zeros(DIMENSIONS, np.float32)
    for word, times in Counter(words_of(text)).items():
        place, sign = _place_of(word)
        vector[place] += sign * (1 + math.log(times))
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length) if length else vector


@functools.lru_cache(maxsize=100_000)
def _place_of(word: str) -> tuple[int, int]:
    number = int.from_bytes(hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest(), "big")
    return number % DIMENSIONS, 1 if number >> 63 else -1


@functools.cache
def _minilm() -> Embedder | None:
    folder = minilm.installed()
    return None if folder is None else minilm.MiniLM(folder)


def embedder_named(name: str) -> Embedder | None:
    """The model of that name, the best that is there for no name; None if there is none."""
    if name in ("", minilm.NAME) and (found := _minilm()) is not None:
        return found
    return HashedWords() if name in ("", HASHED) else None
