"""What was searched and found, in the journal: passages, retrievals and vectors, each kept once by its content.

`retrievals.key` is the SHA-256 of method, pool and query: what was found once is not searched again, and all models get
the same. `vectors.key` is that of the embedding model, its revision, the prefix and the text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wardround.journal.journal import Journal
from wardround.journal.records import canonical, sha256
from wardround.text import storable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# How many keys a query names at once; SQLite allows 32,766.
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class KeptPassage:
    """A passage as it is kept: characters `start` to `stop` of a document."""

    document: str
    place: int
    start: int
    stop: int
    dated: str
    text: str

    @property
    def hash(self) -> str:
        """Of all of it: two documents may share a name, in two versions of a file."""
        return sha256(canonical([self.document, self.place, self.start, self.stop, self.dated, storable(self.text)]))


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave: (id, score) best first, where an id is a passage's or a worked example's."""

    hits: tuple[tuple[str, float], ...]
    took_ns: int


def retrieval_key(method: str, pool: str, query: str) -> str:
    """The key of a retrieval; `pool` is the hash of what was searched."""
    return sha256(canonical([method, pool, query]))


def found_before(journal: Journal, key: str) -> Found | None:
    """What was found under this key, if it was searched."""
    for hits, took_ns in journal.read("SELECT hits, took_ns FROM retrievals WHERE key = ?", (key,)):
        return Found(tuple((str(name), float(score)) for name, score in json.loads(hits)), took_ns)
    return None


def keep_found(journal: Journal, method: str, pool: str, query: str, found: Found) -> str:
    """Keep what was found; returns its key. Call inside a transaction."""
    key = retrieval_key(method, pool, query)
    journal.write(
        "INSERT OR IGNORE INTO retrievals VALUES (?, ?, ?, ?, ?, ?)",
        [(key, method, pool, storable(query), canonical([list(hit) for hit in found.hits]), found.took_ns)],
    )
    return key


def keep_passages(journal: Journal, passages: Iterable[KeptPassage]) -> None:
    """Keep passages that are not there yet; call inside a transaction."""
    journal.write(
        "INSERT OR IGNORE INTO passages VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(one.hash, one.document, one.place, one.start, one.stop, one.dated, storable(one.text)) for one in passages],
    )


def vector_key(model: str, revision: str, prefix: str, text: str) -> str:
    """The key of a text's vector."""
    return sha256(canonical([model, revision, prefix, text]))


def known_vectors(journal: Journal, keys: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Those of the vectors that are kept, by key."""
    import numpy as np

    known: dict[str, NDArray[np.float32]] = {}
    for start in range(0, len(keys), _AT_ONCE):
        some = keys[start : start + _AT_ONCE]
        marks = ", ".join("?" * len(some))
        for key, vector in journal.read(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", some):
            known[key] = np.frombuffer(vector, dtype="<f4")
    return known


def keep_vectors(journal: Journal, source: str, vectors: Mapping[str, NDArray[np.float32]]) -> None:
    """Keep vectors by their keys, and what gave them."""
    with journal.transaction():
        journal.write(
            "INSERT OR IGNORE INTO vectors VALUES (?, ?, ?)",
            [(key, source, vector.astype("<f4").tobytes()) for key, vector in vectors.items()],
        )
