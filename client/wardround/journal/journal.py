"""The journal: one SQLite file a run, with every request, reply, failure and score.

A run is a folder; its journal is `journal.sqlite` in it. Replies are committed with `synchronous=FULL` before
anyone counts them, so neither `kill -9` nor a power cut loses one that was counted. Prompts are kept once, by
content hash; requests are kept once, by the hash of endpoint, prompt and parameters.
"""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wardround.endpoints.replies import Failure, Params
from wardround.errors import JournalError
from wardround.journal.entering import enter_requests, enter_samples, rows_at_once
from wardround.journal.records import (
    ANSWERS,
    Answered,
    Asked,
    Cell,
    Outcome,
    Row,
    asked_with,
    canonical,
    failure_row,
    params_from_json,
    prompt_from_json,
    prompt_to_json,
    reply_from_row,
    reply_row,
    request_key,
    sha256,
)
from wardround.journal.schema import (
    JOURNAL_FILE,
    LOCK_FILE,
    PENDING,
    SCHEMA,
    SCHEMA_VERSION,
    checked,
    connect,
    lock_folder,
)
from wardround.task import Prompt, Sample


class Journal:
    """An open journal. `Journal.create` for the one who runs, `Journal.open` for all who read or score."""

    def __init__(self, folder: Path, database: sqlite3.Connection, lock: int | None) -> None:
        self.folder = folder
        self._db = database
        self._lock = lock

    @classmethod
    def create(cls, folder: Path) -> Journal:
        """Open the journal in `folder` for a run, making both if needed, and keep other runs out.

        The folder is made 0700 and the journal 0600: it holds what the prompts hold. Raises `JournalError` if
        the folder holds something else or another process is writing to it.
        """
        path = folder / JOURNAL_FILE
        try:
            # A run that was killed at its very beginning leaves its lock file.
            if folder.is_dir() and not path.exists() and any(one.name != LOCK_FILE for one in folder.iterdir()):
                raise JournalError(f"{folder} holds files but no run; choose another folder with --out")
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = lock_folder(folder)
        except OSError as error:
            raise JournalError(f"{folder} cannot be written: {error.strerror}") from error
        try:
            return cls(folder, cls._made(folder), lock)
        except BaseException:
            if lock is not None:
                os.close(lock)
            raise

    @staticmethod
    def _made(folder: Path) -> sqlite3.Connection:
        """The open file of a run, made if needed."""
        path = folder / JOURNAL_FILE
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            # The modes above are for what is new; what was there may have been open to others.
            folder.chmod(0o700)
            path.chmod(0o600)
        except OSError as error:
            raise JournalError(f"{folder} cannot be written: {error.strerror}") from error
        database = connect(path)
        if database.execute("PRAGMA user_version").fetchone()[0] == 0:
            database.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        return checked(path, database)

    @classmethod
    def open(cls, folder: Path) -> Journal:
        """Open the journal of an existing run; raises `JournalError` if there is none."""
        path = folder / JOURNAL_FILE
        if not path.is_file():
            raise JournalError(f"{folder} holds no run: there is no {JOURNAL_FILE} in it")
        return cls(folder, checked(path, connect(path)), None)

    def close(self) -> None:
        """Close the file and let others write."""
        self._db.close()
        if self._lock is not None:
            os.close(self._lock)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def second_connection(self) -> Journal:
        """Another connection to the same file, for a thread of its own."""
        return Journal(self.folder, connect(self.folder / JOURNAL_FILE), None)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block is written or none of it."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise JournalError(f"{self.folder / JOURNAL_FILE} cannot be written: {error}") from error
            raise

    def read(self, query: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query that only reads; the queries on what requests took are in `journal.usage`."""
        yield from self._db.execute(query, values)

    def write(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Carry a statement out for each row, for `journal.retrievals`; call inside a transaction."""
        self._db.executemany(statement, rows)

    def forget(self) -> None:
        """Empty every table: the run begins anew."""
        with self.transaction():
            for (table,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                self._db.execute(f"DELETE FROM {table}")

    # The manifest: what was run, with what, on what.

    def put_manifest(self, entries: Mapping[str, Any]) -> None:
        """Keep entries of the run's manifest, each as JSON."""
        rows = [(key, canonical(value)) for key, value in entries.items()]
        self._db.executemany("INSERT OR REPLACE INTO manifest VALUES (?, ?)", rows)

    def manifest(self) -> dict[str, Any]:
        """The run's manifest."""
        return {key: json.loads(value) for key, value in self._db.execute("SELECT key, value FROM manifest")}

    def keep_server(self, model: str, base_url: str, facts: Mapping[str, Any]) -> None:
        """Keep what a server said of itself just now, `base_url` without secrets."""
        self._db.execute(
            "INSERT INTO servers (model, base_url, facts, seen_at) VALUES (?, ?, ?, ?)",
            (model, base_url, canonical(dict(facts)), time.time()),
        )

    def servers(self) -> list[tuple[str, str, dict[str, Any]]]:
        """What the servers of the study's models said of themselves, oldest first: (model, base URL, facts)."""
        rows = self._db.execute("SELECT model, base_url, facts FROM servers ORDER BY id")
        return [(model, base_url, json.loads(facts)) for model, base_url, facts in rows]

    # Planning.

    def begin_plan(self) -> None:
        """Forget which cells the study consists of (their replies stay); call inside a transaction."""
        self._db.execute("UPDATE cells SET place = NULL")

    def place_cells(self, cells: Sequence[Asked]) -> None:
        """Give cells the next places in the study; call inside a transaction, before `plan_cells`."""
        self._db.executemany(
            "INSERT INTO cells (model, task, arm, profile, task_file, settings, digest, place)"
            " VALUES (?, ?, ?, ?, ?, ?, '', (SELECT coalesce(max(place) + 1, 0) FROM cells))"
            " ON CONFLICT (model, task, arm, profile)"
            " DO UPDATE SET place = excluded.place, task_file = excluded.task_file, settings = excluded.settings",
            [
                (cell.model, cell.task, cell.arm, cell.profile, cell.task_file, canonical(dict(cell.settings)))
                for cell in cells
            ],
        )

    def plan_cells(self, cells: Sequence[Asked], rows: Iterable[Row]) -> None:
        """Enter what placed cells ask, where they ask the same with the same prompts; call inside a transaction.

        Each row is kept once, whatever number of cells asks it; some dozens of them are in memory at a time. A cell
        that asks exactly what it asked before keeps its scores; one that changed loses them.
        """
        fixed: dict[int | None, list[tuple[str, str]]] = {}
        asks: list[list[tuple[Any, ...]]] = [[] for _ in cells]
        numbered = enumerate(rows)
        while some := list(itertools.islice(numbered, rows_at_once(len(cells)))):
            samples = enter_samples(self._db, cells[0].task, [row.sample for _, row in some])
            bodies = [prompt_to_json(row.prompt) for _, row in some]
            prompts = [sha256(body) for body in bodies]
            self._db.executemany("INSERT OR IGNORE INTO prompts VALUES (?, ?)", zip(prompts, bodies, strict=True))
            requests = []
            for (_, row), prompt in zip(some, prompts, strict=True):
                if row.max_tokens not in fixed:
                    fixed[row.max_tokens] = [asked_with(cell, row.max_tokens) for cell in cells]
                for cell, (identity, params) in zip(cells, fixed[row.max_tokens], strict=True):
                    requests.append((request_key(identity, prompt, params), cell.model, prompt, params))
            entered = iter(enter_requests(self._db, requests))
            for (position, row), sample in zip(some, samples, strict=True):
                noted = (canonical(row.cut) if row.cut else None, canonical(row.evidence) if row.evidence else None)
                for cell_asks in asks:
                    cell_asks.append((position, sample, next(entered), *noted))
        for cell, cell_asks in zip(cells, asks, strict=True):
            self._enter_asks(cell, cell_asks)

    def _enter_asks(self, cell: Asked, asks: list[tuple[Any, ...]]) -> None:
        database = self._db
        number, digest = database.execute(
            "SELECT id, digest FROM cells WHERE model = ? AND task = ? AND arm = ? AND profile = ?",
            (cell.model, cell.task, cell.arm, cell.profile),
        ).fetchone()
        now = sha256(json.dumps(asks))
        if now == digest:
            return
        before = database.execute(
            "SELECT position, sample, request FROM asks WHERE cell = ? ORDER BY position", (number,)
        ).fetchall()
        # What is noted besides may be worded otherwise by another release; scores are of samples and replies.
        if before != [ask[:3] for ask in asks]:
            database.execute("DELETE FROM scores WHERE cell = ?", (number,))
        database.execute("DELETE FROM asks WHERE cell = ?", (number,))
        database.executemany("INSERT INTO asks VALUES (?, ?, ?, ?, ?, ?)", [(number, *ask) for ask in asks])
        database.execute("UPDATE cells SET digest = ? WHERE id = ?", (now, number))

    def token_count(self, counter: str, digest: str) -> int | None:
        """How many tokens `counter` once found in the text with this hash, if it was asked."""
        found = self._db.execute(
            "SELECT tokens FROM token_counts WHERE counter = ? AND hash = ?", (counter, digest)
        ).fetchone()
        return int(found[0]) if found else None

    def counter_name(self, counter: str) -> str | None:
        """What `counter` counts with: a tokenizer file, a server, an estimate."""
        found = self._db.execute("SELECT name FROM counters WHERE counter = ?", (counter,)).fetchone()
        return str(found[0]) if found else None

    def keep_token_count(self, counter: str, name: str, digest: str, tokens: int) -> None:
        """Remember a count, so that planning the same again needs no server; call inside a transaction."""
        self._db.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (counter, name))
        self._db.execute("INSERT OR REPLACE INTO token_counts VALUES (?, ?, ?)", (counter, digest, tokens))

    # Asking.

    def pending(self) -> list[tuple[int, str, list[int]]]:
        """The requests of the study that have no reply, as (request, model, cells), in the study's order.

        Samples of one cluster stand together: their prompts often begin alike, and a server keeps what it has read. A
        cell stands among the cells once for each of its samples that the request asks.
        """
        return [
            (request, model, [int(cell) for cell in cells.split(",")]) for request, model, cells in self.read(PENDING)
        ]

    def request(self, request: int) -> tuple[Prompt, Params]:
        """What a request asks."""
        return self.requests([request])[request]

    def requests(self, requests: Sequence[int]) -> dict[int, tuple[Prompt, Params]]:
        """What some requests ask, at most some hundreds of them."""
        marks = ", ".join("?" * len(requests))
        rows = self._db.execute(
            "SELECT requests.id, prompts.body, requests.params FROM requests"
            f" JOIN prompts ON prompts.hash = requests.prompt WHERE requests.id IN ({marks})",
            tuple(requests),
        )
        return {number: (prompt_from_json(prompt), params_from_json(params)) for number, prompt, params in rows}

    def record(self, outcomes: Sequence[Outcome]) -> None:
        """Write outcomes down; when this returns they are on the disk. Raises `JournalError`."""
        now = time.time()
        replies, failures = [], []
        for outcome in outcomes:
            for attempt, failure in outcome.earlier:
                failures.append(failure_row(outcome.request, attempt, False, failure, now))
            if isinstance(outcome.last, Failure):
                failures.append(failure_row(outcome.request, outcome.attempts, True, outcome.last, now))
            else:
                replies.append(reply_row(outcome, outcome.last, now))
        with self.transaction():
            marks = ", ".join("?" * 16)
            self._db.executemany(f"INSERT OR IGNORE INTO replies VALUES ({marks})", replies)
            self._db.executemany(
                "INSERT INTO failures (request, attempt, final, kind, status, words, failed_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                failures,
            )

    # Reading and scoring.

    def cells(self) -> list[Cell]:
        """The cells of the study as it was last run, in its order."""
        rows = self._db.execute(
            "SELECT id, model, task, arm, profile, task_file, settings FROM cells"
            " WHERE place IS NOT NULL ORDER BY place"
        )
        return [
            Cell(number, model, task, arm, profile, task_file, json.loads(settings))
            for number, model, task, arm, profile, task_file, settings in rows
        ]

    def progress(self) -> dict[int, tuple[int, int]]:
        """For each cell of the study: (samples, answered samples)."""
        rows = self._db.execute(
            "SELECT cells.id, count(asks.cell), count(replies.request) FROM cells"
            " LEFT JOIN asks ON asks.cell = cells.id LEFT JOIN replies ON replies.request = asks.request"
            f" AND {ANSWERS} WHERE cells.place IS NOT NULL GROUP BY cells.id"
        )
        return {cell: (samples, answered) for cell, samples, answered in rows}

    def answers(self, cell: int) -> Iterator[Answered]:
        """A cell's samples in order, each with its reply or the kind of its last failure."""
        rows = self._db.execute(
            "SELECT asks.position, samples.body, samples.cluster, replies.request IS NOT NULL, replies.text,"
            " replies.reasoning, replies.finish_reason, replies.prompt_tokens, replies.output_tokens,"
            " replies.scheduled_ns, replies.sent_ns, replies.first_token_ns, replies.done_ns,"
            " replies.fingerprint, replies.cached_tokens, replies.endpoint, replies.logprobs,"
            " (SELECT kind FROM failures WHERE failures.request = asks.request AND final"
            "  ORDER BY failures.id DESC LIMIT 1), asks.cut, asks.evidence"
            " FROM asks JOIN samples ON samples.id = asks.sample"
            f" LEFT JOIN replies ON replies.request = asks.request AND {ANSWERS}"
            " WHERE asks.cell = ? ORDER BY asks.position",
            (cell,),
        )
        for position, body, cluster, answered, *reply, kind, cut, evidence in rows:
            yield Answered(
                position=position,
                sample=Sample(**json.loads(body), cluster=cluster),
                reply=reply_from_row(reply) if answered else None,
                failure=None if answered else kind or "not_asked",
                cut=tuple(json.loads(cut)) if cut else (),
                evidence=json.loads(evidence) if evidence else None,
            )

    def put_scores(self, cell: int, profile: str, scores: Iterable[tuple[int, Mapping[str, float | None]]]) -> None:
        """Replace a cell's scores under `profile` by (position, metric -> value) pairs.

        Scores that a service gave, named "metric[source]", stay unless they are among the new ones.
        """
        rows = [
            (cell, profile, position, metric, value) for position, values in scores for metric, value in values.items()
        ]
        with self.transaction():
            self._db.execute(
                "DELETE FROM scores WHERE cell = ? AND profile = ? AND instr(metric, '[') = 0", (cell, profile)
            )
            self._db.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?)", rows)

    def add_scores(self, cell: int, profile: str, scores: Iterable[tuple[int, Mapping[str, float | None]]]) -> None:
        """Keep further scores beside those that are there."""
        rows = [
            (cell, profile, position, metric, value) for position, values in scores for metric, value in values.items()
        ]
        with self.transaction():
            self._db.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?)", rows)

    def scores(self, cell: int, profile: str) -> dict[int, dict[str, float | None]]:
        """A cell's scores under `profile`: position -> metric -> value."""
        found: dict[int, dict[str, float | None]] = {}
        for position, metric, value in self._db.execute(
            "SELECT position, metric, value FROM scores WHERE cell = ? AND profile = ?", (cell, profile)
        ):
            # A few names, and as many texts of them as there are scores: only one of each is kept.
            found.setdefault(position, {})[sys.intern(metric)] = value
        return found

    def scored_profiles(self) -> list[str]:
        """The profiles under which cells of the study have scores, sorted."""
        rows = self._db.execute(
            "SELECT DISTINCT scores.profile FROM scores JOIN cells ON cells.id = scores.cell"
            " WHERE cells.place IS NOT NULL ORDER BY scores.profile"
        )
        return [profile for (profile,) in rows]
