"""One sample out of the journal, which is opened so that it cannot be written to."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardround.endpoints.replies import Params
from wardround.errors import JournalError
from wardround.journal import JOURNAL_FILE, Answered, Cell, Journal
from wardround.journal.records import ANSWERS, params_from_json, prompt_from_json, reply_from_row
from wardround.journal.schema import checked
from wardround.task import Prompt, Sample

_REPLY = (
    "replies.text, replies.reasoning, replies.finish_reason, replies.prompt_tokens, replies.output_tokens,"
    " replies.scheduled_ns, replies.sent_ns, replies.first_token_ns, replies.done_ns, replies.fingerprint,"
    " replies.cached_tokens, replies.endpoint, replies.logprobs"
)


def read_only(folder: Path) -> str:
    """The address under which SQLite opens a run's journal for reading alone.

    SQLite itself keeps it from being written to; beside it stand its `-wal` and `-shm` files, as for any reader.
    """
    return f"{(folder / JOURNAL_FILE).resolve().as_uri()}?mode=ro"


def open_for_reading(folder: Path) -> Journal:
    """The journal of a run, for reading alone, be the run still writing or not; raises `JournalError`."""
    path = folder / JOURNAL_FILE
    if not path.is_file():
        raise JournalError(f"{folder} holds no run: there is no {JOURNAL_FILE} in it")
    database = None
    try:
        # One thread at a time uses it, not always the same.
        database = sqlite3.connect(read_only(folder), uri=True, isolation_level=None, check_same_thread=False)
        return Journal(folder, checked(path, database), None)
    except sqlite3.Error as error:
        if database is not None:
            database.close()
        raise JournalError(f"{path} cannot be read as a journal: {error}") from error


def answered_at(journal: Journal, cell: int, position: int) -> Answered | None:
    """A sample of a cell with its reply or the kind of its last failure; None if there is no such sample."""
    query = (
        f"SELECT samples.body, samples.cluster, replies.request IS NOT NULL, {_REPLY},"
        " (SELECT kind FROM failures WHERE failures.request = asks.request AND final ORDER BY id DESC LIMIT 1),"
        " asks.cut, asks.evidence FROM asks JOIN samples ON samples.id = asks.sample"
        f" LEFT JOIN replies ON replies.request = asks.request AND {ANSWERS} WHERE asks.cell = ? AND asks.position = ?"
    )
    for body, cluster, answered, *reply, kind, cut, evidence in journal.read(query, (cell, position)):
        return Answered(
            position=position,
            sample=Sample(**json.loads(body), cluster=cluster),
            reply=reply_from_row(reply) if answered else None,
            failure=None if answered else kind or "not_asked",
            cut=tuple(json.loads(cut)) if cut else (),
            evidence=json.loads(evidence) if evidence else None,
        )
    return None


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that got no reply; `at` in seconds since 1970."""

    attempt: int
    final: bool
    kind: str
    status: int | None
    words: str
    at: float


@dataclass(frozen=True, slots=True)
class Seen:
    """All there is to see of a sample in a cell.

    `attempts` and `answered_at` (seconds since 1970) are None where there is no reply. `scores`: by profile, by metric.
    """

    cell: Cell
    answered: Answered
    prompt: Prompt
    prompt_hash: str
    params: Params
    attempts: int | None
    answered_at: float | None
    failures: tuple[Attempt, ...]
    scores: Mapping[str, Mapping[str, float | None]]
    searched: Mapping[str, Any] | None


def seen(journal: Journal, cell: Cell, position: int) -> Seen | None:
    """What there is to see of the sample at `position` of `cell`; None if there is no such sample."""
    answered = answered_at(journal, cell.id, position)
    if answered is None:
        return None
    query = (
        "SELECT asks.request, requests.prompt, prompts.body, requests.params, replies.attempts, replies.answered_at"
        " FROM asks JOIN requests ON requests.id = asks.request JOIN prompts ON prompts.hash = requests.prompt"
        f" LEFT JOIN replies ON replies.request = asks.request AND {ANSWERS} WHERE asks.cell = ? AND asks.position = ?"
    )
    for request, digest, body, params, attempts, at in journal.read(query, (cell.id, position)):
        return Seen(
            cell=cell,
            answered=answered,
            prompt=prompt_from_json(body),
            prompt_hash=digest,
            params=params_from_json(params),
            attempts=attempts,
            answered_at=at,
            failures=_failures(journal, request),
            scores=_scores(journal, cell.id, position),
            searched=_searched(journal, answered.evidence),
        )
    return None


def _failures(journal: Journal, request: int) -> tuple[Attempt, ...]:
    rows = journal.read(
        "SELECT attempt, final, kind, status, words, failed_at FROM failures WHERE request = ? ORDER BY id", (request,)
    )
    return tuple(Attempt(attempt, bool(final), *rest) for attempt, final, *rest in rows)


def _scores(journal: Journal, cell: int, position: int) -> dict[str, dict[str, float | None]]:
    found: dict[str, dict[str, float | None]] = {}
    # The table's key begins with cell and profile: which profiles there are is found by jumping from one to the next.
    rows = journal.read(
        "WITH RECURSIVE known(profile) AS (SELECT min(profile) FROM scores WHERE cell = ?1 UNION ALL"
        " SELECT (SELECT min(scores.profile) FROM scores WHERE cell = ?1 AND scores.profile > known.profile)"
        " FROM known WHERE profile IS NOT NULL)"
        " SELECT known.profile, metric, value FROM known JOIN scores"
        " ON cell = ?1 AND scores.profile = known.profile AND position = ?2 ORDER BY known.profile, metric",
        (cell, position),
    )
    for profile, metric, value in rows:
        found.setdefault(profile, {})[metric] = value
    return found


def _searched(journal: Journal, evidence: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """What was searched for the sample, and what was found: method, query, hits and milliseconds."""
    key = (evidence or {}).get("retrieval")
    for method, query, hits, took_ns in journal.read(
        "SELECT method, query, hits, took_ns FROM retrievals WHERE key = ?", (key,)
    ):
        return {"method": method, "query": query, "hits": json.loads(hits), "took_ms": took_ns / 1e6}
    return None
