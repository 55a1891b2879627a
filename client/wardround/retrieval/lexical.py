"""Word search: BM25 as `bm25s` computes it, with words as clinicians write them.

bm25s's own pattern drops every word of one character, so that "K 5", "7.2 %" and "vitamin D" cannot be found. Here a
word is a run of letters and digits, in which a point, a comma, a slash, a hyphen or a plus may stand between two of
them ("7.2", "120/80", "HER2-neu", "C.difficile"), and such a compound is also found by its parts; one with a per cent
sign or a plus at its end is also found without. Case and accents do not matter, nor does the plural: its "s" goes as in
Harman's S stemmer ("How effective is suffixing?", JASIS 1991), for words of four letters and more.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

K1 = 1.5
B = 0.75
METHOD = "lucene"

_WORD = re.compile(r"[^\W_]+(?:[.,/+\-'’][^\W_]+)*[%+]?")
_PART = re.compile(r"[^\W_]+")
_SHORTEST_PLURAL = 4
# Function words alone; "no", "not" and "without" carry the meaning of a finding, and single letters those of a vitamin.
_FUNCTION_WORDS = """
    a an the of and or to in on at for by with from as is are was were be been has have had it its this that these those
    which who whom what when where how does did do he she his her they their them we our you your there
"""
STOP_WORDS = frozenset(_FUNCTION_WORDS.split())


def words_of(text: str) -> list[str]:
    """The words of a text as they are searched for: folded, singular, compounds with their parts, no function words."""
    folded = text.casefold()
    if not folded.isascii():
        apart = unicodedata.normalize("NFKD", folded)
        folded = "".join(letter for letter in apart if not unicodedata.combining(letter)).casefold()
    found: list[str] = []
    for word in _WORD.findall(folded):
        if word in STOP_WORDS:
            continue
        # Most words are plain, and this is asked of every word of a corpus.
        if word.isalnum():
            found.append(_singular(word) if word[-1] == "s" else word)
            continue
        found.append(word)
        bare = word.rstrip("%+")
        if bare != word:
            found.append(bare)
        parts = _PART.findall(word)
        if len(parts) > 1:
            found += [_singular(part) for part in parts if part not in STOP_WORDS]
    return found


def _singular(word: str) -> str:
    if len(word) < _SHORTEST_PLURAL or word.endswith(("ss", "us")):
        return word
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    if word.endswith("es") and word.endswith(("aes", "ees", "oes")):
        return word
    return word.removesuffix("s")


class Lexical:
    """An index over texts, asked by words. Places are those of the texts it was built from."""

    name = f"bm25[k1={K1},b={B},{METHOD}]"

    def __init__(self, texts: Sequence[str]) -> None:
        self._number = len(texts)
        self._index: Any = None
        self._known: dict[str, int] = {}
        known = self._known
        # Words as numbers at once: of a large corpus their spellings would take many times the memory.
        ids = [[known.setdefault(word, len(known)) for word in words_of(text)] for text in texts]
        if known:
            import bm25s
            from bm25s.tokenization import Tokenized

            self._index = bm25s.BM25(k1=K1, b=B, method=METHOD)
            self._index.index(Tokenized(ids, known), create_empty_token=False, show_progress=False)

    def search(self, query: str, k: int) -> list[tuple[int, float]]:
        """The `k` best texts as (place, score), best first, equal scores in the texts' order.

        Fewer than `k` where fewer share a word with the query. Raises `ValueError` for a `k` below 1.
        """
        if k < 1:
            raise ValueError(f"k is {k}; at least one text must be wanted")
        words = [self._known[word] for word in words_of(query) if word in self._known]
        if not words:
            return []
        scores: NDArray[np.float32] = self._index.get_scores_from_ids(words)
        best = best_places(scores, min(k, self._number))
        return [(int(place), float(scores[place])) for place in best if scores[place] > 0]


def best_places(scores: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """The places of the `k` highest scores, highest first, equal ones by place."""
    import numpy as np

    if k < len(scores):
        # Those that are certainly in, and of those at the edge the first.
        edge = np.partition(scores, len(scores) - k)[len(scores) - k]
        sure = np.flatnonzero(scores > edge)
        rest = np.flatnonzero(scores == edge)[: k - len(sure)]
        chosen = np.concatenate([sure, rest])
    else:
        chosen = np.arange(len(scores))
    order: NDArray[np.intp] = chosen[np.lexsort((chosen, -scores[chosen]))]
    return order
