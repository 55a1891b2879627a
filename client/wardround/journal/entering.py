"""Samples and requests entered into the journal: many a statement, and each once."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from wardround.journal.records import sample_to_json, sha256
from wardround.task import Sample

# SQLite takes 32,766 values a query; prompts may be long, so a few dozens are in memory at a time.
_MOST_VALUES, _MOST_ROWS = 32_000, 64


def rows_at_once(cells: int) -> int:
    """How many samples to enter at a time where each is asked by so many cells."""
    return max(1, min(_MOST_ROWS, _MOST_VALUES // cells))


def enter_samples(database: sqlite3.Connection, task: str, samples: Sequence[Sample]) -> list[int]:
    """The ids of a task's samples, entered where they are new; call inside a transaction."""
    bodies = [sample_to_json(sample) for sample in samples]
    hashes = [sha256(f"{sample.cluster}\n{body}") for sample, body in zip(samples, bodies, strict=True)]
    database.executemany(
        "INSERT INTO samples (task, hash, sample, cluster, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [
            (task, digest, sample.id, sample.cluster, body)
            for digest, sample, body in zip(hashes, samples, bodies, strict=True)
        ],
    )
    marks = ", ".join("?" * len(hashes))
    ids = dict(database.execute(f"SELECT hash, id FROM samples WHERE task = ? AND hash IN ({marks})", (task, *hashes)))
    return [ids[digest] for digest in hashes]


def enter_requests(database: sqlite3.Connection, requests: Sequence[tuple[str, str, str, str]]) -> list[int]:
    """The ids of requests (key, model, prompt, params), entered where they are new; call inside a transaction."""
    database.executemany(
        "INSERT INTO requests (key, model, prompt, params) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", requests
    )
    keys = [key for key, *_ in requests]
    marks = ", ".join("?" * len(keys))
    ids = dict(database.execute(f"SELECT key, id FROM requests WHERE key IN ({marks})", keys))
    return [ids[key] for key in keys]
