"""The journal's file: its tables, how it is opened, and who may write to it. docs/journal.md describes the tables."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from wardround.errors import JournalError

JOURNAL_FILE = "journal.sqlite"
LOCK_FILE = "lock"
SCHEMA_VERSION = 3

SCHEMA = """
CREATE TABLE manifest (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE prompts (hash TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE samples (
  id INTEGER PRIMARY KEY, task TEXT NOT NULL, hash TEXT NOT NULL, sample TEXT NOT NULL, cluster TEXT,
  body TEXT NOT NULL, UNIQUE (task, hash));
CREATE TABLE cells (
  id INTEGER PRIMARY KEY, model TEXT NOT NULL, task TEXT NOT NULL, arm TEXT NOT NULL, profile TEXT NOT NULL,
  task_file TEXT NOT NULL, settings TEXT NOT NULL, digest TEXT NOT NULL, place INTEGER,
  UNIQUE (model, task, arm, profile));
CREATE TABLE requests (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, model TEXT NOT NULL, prompt TEXT NOT NULL REFERENCES prompts,
  params TEXT NOT NULL);
CREATE TABLE asks (
  cell INTEGER NOT NULL REFERENCES cells, position INTEGER NOT NULL, sample INTEGER NOT NULL REFERENCES samples,
  request INTEGER NOT NULL REFERENCES requests, cut TEXT, evidence TEXT,
  PRIMARY KEY (cell, position)) WITHOUT ROWID;
CREATE TABLE passages (
  hash TEXT PRIMARY KEY, document TEXT NOT NULL, place INTEGER NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL,
  dated TEXT NOT NULL, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE retrievals (
  key TEXT PRIMARY KEY, method TEXT NOT NULL, pool TEXT NOT NULL, query TEXT NOT NULL, hits TEXT NOT NULL,
  took_ns INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE vectors (key TEXT PRIMARY KEY, source TEXT NOT NULL, vector BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE counters (counter TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE token_counts (
  counter TEXT NOT NULL, hash TEXT NOT NULL, tokens INTEGER NOT NULL, PRIMARY KEY (counter, hash)) WITHOUT ROWID;
CREATE INDEX asks_by_request ON asks (request);
CREATE TABLE replies (
  request INTEGER PRIMARY KEY REFERENCES requests, text TEXT NOT NULL, reasoning TEXT NOT NULL,
  finish_reason TEXT, prompt_tokens INTEGER, output_tokens INTEGER, scheduled_ns INTEGER NOT NULL,
  sent_ns INTEGER NOT NULL, first_token_ns INTEGER, done_ns INTEGER NOT NULL, attempts INTEGER NOT NULL,
  fingerprint TEXT NOT NULL, cached_tokens INTEGER, endpoint TEXT NOT NULL, logprobs TEXT,
  answered_at REAL NOT NULL);
CREATE TABLE servers (
  id INTEGER PRIMARY KEY, model TEXT NOT NULL, base_url TEXT NOT NULL, facts TEXT NOT NULL, seen_at REAL NOT NULL);
CREATE TABLE failures (
  id INTEGER PRIMARY KEY, request INTEGER NOT NULL REFERENCES requests, attempt INTEGER NOT NULL,
  final INTEGER NOT NULL, kind TEXT NOT NULL, status INTEGER, words TEXT NOT NULL, failed_at REAL NOT NULL);
CREATE INDEX failures_by_request ON failures (request, id);
CREATE TABLE scores (
  cell INTEGER NOT NULL REFERENCES cells, profile TEXT NOT NULL, position INTEGER NOT NULL, metric TEXT NOT NULL,
  value REAL, PRIMARY KEY (cell, profile, position, metric)) WITHOUT ROWID;
"""

# (request, model, cells) of what has no reply, those of one cluster together.
PENDING = """
SELECT request, model, group_concat(cell) FROM (
  SELECT asks.request, cells.model, cells.id AS cell, cells.place, asks.position,
    min(asks.position) OVER (PARTITION BY asks.cell, samples.cluster) AS first
  FROM asks JOIN cells ON cells.id = asks.cell AND cells.place IS NOT NULL JOIN samples ON samples.id = asks.sample
  WHERE NOT EXISTS (SELECT 1 FROM replies WHERE replies.request = asks.request))
GROUP BY request ORDER BY min(place), min(first), min(position)
"""


def connect(path: Path) -> sqlite3.Connection:
    """Open the file for one user at a time; raises `JournalError`."""
    database = None
    try:
        # One connection is used by one thread at a time; the scribe's lives in a worker thread.
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30.0)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        # macOS: without it a flush ends in the drive's own cache. Nothing elsewhere.
        database.execute("PRAGMA fullfsync = ON")
    except sqlite3.Error as error:
        if database is not None:
            database.close()
        raise JournalError(f"{path} cannot be opened as a journal: {error}") from error
    return database


def checked(path: Path, database: sqlite3.Connection) -> sqlite3.Connection:
    """Return `database` if this version reads its schema; raises `JournalError`."""
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version != SCHEMA_VERSION:
        database.close()
        raise JournalError(
            f"{path} is no journal that this version of wardround reads (schema {version}, not {SCHEMA_VERSION})"
        )
    return database


def lock_folder(folder: Path) -> int | None:
    """Keep other runs out of `folder` as long as the file number returned is open; raises `JournalError`."""
    try:
        import fcntl
    except ImportError:  # Windows: SQLite still keeps the file whole, two runs would only ask twice
        return None
    lock = os.open(folder / LOCK_FILE, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise JournalError(f"another run is writing to {folder}; wait for it or choose --out") from error
    return lock
