"""The index is filled from the journal in steps of some tens of milliseconds, so that nobody who asks waits long."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from wardround.journal.records import prompt_from_json
from wardround.reports.viewer import tables
from wardround.reports.viewer.index import Index

SAMPLES_A_STEP = 2000
LETTERS_A_STEP = 50_000


@dataclass(frozen=True, slots=True)
class Piece:
    """Samples of a cell that are listed in one step: those at `low` and on, below `high`."""

    cell: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """How far the index has come: samples listed of all, texts whose words can be found of all.

    `known`: whether the journal was looked at, so that it is known how many there are.
    """

    listed: int = 0
    samples: int = 0
    worded: int = 0
    texts: int = 0
    known: bool = False

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.known and self.listed >= self.samples and self.worded >= self.texts


class Filling:
    """Fills an index; for the one thread that does."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._version = -1
        self._state: str | None = ""
        # Up to these numbers, words are known.
        self._references = 0
        self._prompts = 0
        self.coverage = Coverage()

    def changed(self) -> bool:
        """Whether the journal was written to since this was last asked."""
        with self._index.alone() as database:
            before = self._version
            (self._version,) = database.execute("PRAGMA run.data_version").fetchone()
            return self._version != before

    def pieces(self) -> list[Piece]:
        """What is to be listed; where the run was begun anew, everything known is forgotten first."""
        with self._index.alone() as database:
            (state,) = database.execute(tables.STATE).fetchone()
            if state != self._state:
                self._references = self._prompts = 0
                self._index.begin_anew(database)
                self._state = state
                (references,) = database.execute("SELECT count(*) FROM run.samples").fetchone()
                self.coverage = Coverage(texts=references)
            lasts = {
                cell: database.execute("SELECT max(position) FROM run.asks WHERE cell = ?", (cell,)).fetchone()[0]
                for cell in self._index.cells
            }
        ends = {cell: 0 if last is None else last + 1 for cell, last in lasts.items()}
        self.coverage = replace(self.coverage, samples=sum(ends.values()), known=True)
        return [
            Piece(cell, low, low + SAMPLES_A_STEP)
            for cell, end in ends.items()
            for low in range(0, end, SAMPLES_A_STEP)
        ]

    def list_piece(self, piece: Piece) -> None:
        """List the samples of a piece as they now are."""
        index = self._index
        how, profile = index.deciding[piece.cell], index.cells[piece.cell].profile
        where = {"cell": piece.cell, "low": piece.low, "high": piece.high}
        scores = {"profile": profile, "parsed": how.parsed, "value": how.value, "proportion": how.proportion}
        with self._changing() as database:
            new = database.execute(tables.PROMPTS, where).rowcount + database.execute(tables.FACTS, where).rowcount
            database.execute(tables.LISTED, {**where, **scores, "place": index.places[piece.cell]})
            (listed,) = database.execute("SELECT count(*) FROM listed").fetchone()
        self.coverage = replace(self.coverage, listed=listed, texts=self.coverage.texts + new)

    def take_words(self) -> bool:
        """Make the words of some more texts findable; False if there are none left."""
        with self._index.alone() as database:
            rows = self._unworded(database)
        if not rows:
            return False
        with self._changing() as database:
            for table, number, text in rows:
                database.execute(f"INSERT INTO {table} (rowid, body) VALUES (?, ?)", (number, text))
            worded = [(number,) for table, number, _ in rows if table == "answer_words"]
            database.executemany("UPDATE facts SET worded = 1 WHERE request = ?", worded)
        self._references = max([self._references, *(n for table, n, _ in rows if table == "reference_words")])
        self._prompts = max([self._prompts, *(n for table, n, _ in rows if table == "prompt_words")])
        # Reasoning belongs to its answer, and is no text of its own here.
        texts = sum(table != "reasoning_words" for table, _, _ in rows)
        self.coverage = replace(self.coverage, worded=self.coverage.worded + texts)
        return True

    def _unworded(self, database: sqlite3.Connection) -> list[tuple[str, int, str]]:
        """Some texts whose words are not known yet: (table for them, number, text). Answers come first."""
        answers = _some(database, tables.UNWORDED_ANSWERS)
        if answers:
            of_answers = [("answer_words", request, text) for request, text, _ in answers]
            return of_answers + [("reasoning_words", request, text) for request, _, text in answers if text]
        references = _some(database, tables.UNWORDED_REFERENCES, self._references)
        if references:
            return [("reference_words", sample, reference_of(body)) for sample, body in references]
        prompts = _some(database, tables.UNWORDED_PROMPTS, self._prompts)
        return [("prompt_words", number, prompt_text(body)) for number, body in prompts]

    def unscored(self, most: int) -> list[tuple[int, int]]:
        """Answered samples that have no scores but may get some: (cell, position)."""
        known = [cell for cell, how in self._index.deciding.items() if how.rules is not None]
        marks = ", ".join("?" * len(known))
        with self._index.alone() as database:
            return database.execute(
                f"SELECT cell, position FROM listed WHERE outcome = 'unscored' AND cell IN ({marks})"
                " AND NOT EXISTS (SELECT 1 FROM late WHERE late.cell = listed.cell"
                " AND late.position = listed.position) ORDER BY rank LIMIT ?",
                (*known, most),
            ).fetchall()

    def keep_scores(self, made: Sequence[tuple[int, int, Mapping[str, float | None] | None]]) -> None:
        """Keep scores that were made here: (cell, position, the scores; None if the task cannot make them)."""
        spans: dict[int, list[int]] = {}
        with self._changing() as database:
            for cell, position, scores in made:
                how, some = self._index.deciding[cell], scores or {}
                row = (cell, position, some.get(how.parsed), some.get(how.value), some.get("refused"), scores is None)
                database.execute("INSERT OR REPLACE INTO late VALUES (?, ?, ?, ?, ?, ?)", row)
                spans.setdefault(cell, []).append(position)
        for cell, positions in spans.items():
            self.list_piece(Piece(cell, min(positions), max(positions) + 1))

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """The database, for a change that is made as a whole or not at all."""
        with self._index.alone() as database:
            database.execute("BEGIN")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
            self._index.generation += 1


def _some(database: sqlite3.Connection, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """The first rows of a query whose last columns are texts: at least one, and so many as make a step."""
    taken: list[tuple[Any, ...]] = []
    letters = 0
    # Closed, or the statement would still be at work while what it reads is changed.
    with closing(database.execute(query, values)) as rows:
        for row in rows:
            taken.append(row)
            letters += sum(len(value) for value in row if isinstance(value, str))
            if letters >= LETTERS_A_STEP or len(taken) >= SAMPLES_A_STEP:
                break
    return taken


def reference_of(body: str) -> str:
    """The reference of a sample, from its JSON, as it is shown and searched."""
    reference = json.loads(body)["reference"]
    return reference if isinstance(reference, str) else json.dumps(reference, ensure_ascii=False)


def prompt_text(body: str) -> str:
    """All turns of a prompt, from its JSON, as one text."""
    prompt = prompt_from_json(body)
    return "\n".join([*(message.content for message in prompt.messages), prompt.prefill])
