"""What the lists are made of, asked of the index: samples page by page, how many there are, their neighbours."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wardround.reports.viewer.filters import ORDERS, Filter, percent_of, sought
from wardround.reports.viewer.index import Index
from wardround.reports.viewer.outcomes import MARKS, OUTCOMES

# So many searches are remembered: whoever pages or steps through one searches once.
SEARCHES = 8
_COLUMNS = "cell, position, name, outcome, value, failure, truncated, empty, shortened, e2e_ns, output_tokens"
# Where the words of a scope's texts are, and the column of `listed` by which a sample has such a text.
_TEXTS = {
    "prompt": ("prompt_words", "prompt"),
    "answer": ("answer_words", "request"),
    "reasoning": ("reasoning_words", "request"),
    "reference": ("reference_words", "sample"),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sample stands: which one it is of a cell."""

    cell: int
    position: int

    @classmethod
    def of(cls, text: str) -> Place | None:
        """The place that an address names ("3.17"); None if it names none."""
        cell, dot, position = text.partition(".")
        if not dot or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in (cell, position)):
            return None
        return cls(int(cell), int(position))

    def __str__(self) -> str:
        return f"{self.cell}.{self.position}"


@dataclass(frozen=True, slots=True)
class Line:
    """A sample of a cell as it is listed; `value` from 0 to 1, `failure` "" where there is none."""

    cell: int
    position: int
    name: str
    outcome: str
    value: float | None
    failure: str
    truncated: int
    empty: int
    shortened: int
    e2e_ns: int | None
    output_tokens: int | None

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.cell, self.position)


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of a list: its lines, whether there are more on either side, and how many samples have which outcome.

    `counts` is of all that the filter leaves but for its outcome, by `OUTCOMES` and `MARKS`; `total` with its outcome.
    """

    lines: tuple[Line, ...]
    more_before: bool
    more_after: bool
    counts: Mapping[str, int]
    total: int


class Finding:
    """Asks an index."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._searches: OrderedDict[tuple[str, str], _Search] = OrderedDict()
        self._made = 0

    def page(self, wanted: Filter, length: int, after: Place | None = None, before: Place | None = None) -> Listed:
        """The first `length` samples of a list, or those next after or before a place in it."""
        with self._index.alone() as database:
            counts = self._counts(database, wanted.but(outcome=""))
            total = counts[wanted.outcome] if wanted.outcome else sum(counts[name] for name in OUTCOMES)
            key = self._key(database, wanted, before or after)
            backwards = before is not None and key is not None
            lines = self._next_to(database, wanted, key, length + 1, backwards=backwards)
        more, lines = len(lines) > length, lines[:length]
        if backwards:
            return Listed(tuple(reversed(lines)), more, True, counts, total)
        return Listed(tuple(lines), key is not None, more, counts, total)

    def neighbours(self, wanted: Filter, place: Place) -> tuple[Line | None, Line | None]:
        """The samples before and after a place in a list; None where it ends, or if the place has none in it."""
        with self._index.alone() as database:
            key = self._key(database, wanted, place)
            if key is None:
                return None, None
            before = self._next_to(database, wanted, key, 1, backwards=True)
            after = self._next_to(database, wanted, key, 1, backwards=False)
        return next(iter(before), None), next(iter(after), None)

    def line(self, place: Place) -> Line | None:
        """The sample at a place; None if it is not listed, or not yet."""
        with self._index.alone() as database:
            return self._line(database, place)

    def elsewhere(self, line: Line) -> list[Line]:
        """The same sample of the same task in all cells that have it, in the study's order."""
        own = self._index.cells.get(line.cell)
        task = own.task if own else ""
        cells = [number for number, cell in self._index.cells.items() if cell.task == task]
        marks = ", ".join("?" * len(cells))
        with self._index.alone() as database:
            rows = database.execute(
                f"SELECT {_COLUMNS} FROM listed WHERE name = ? AND cell IN ({marks}) ORDER BY rank", (line.name, *cells)
            )
            return [Line(*row) for row in rows]

    def _rank(self, place: Place) -> int | None:
        of_cell = self._index.places.get(place.cell)
        return None if of_cell is None else (of_cell << 32) | place.position

    def _line(self, database: sqlite3.Connection, place: Place) -> Line | None:
        row = database.execute(f"SELECT {_COLUMNS} FROM listed WHERE rank = ?", (self._rank(place),)).fetchone()
        return None if row is None else Line(*row)

    def _counts(self, database: sqlite3.Connection, wanted: Filter) -> dict[str, int]:
        where, values = self._where(database, wanted)
        marks = ", ".join(f"sum({mark})" for mark in MARKS)
        counts = dict.fromkeys((*OUTCOMES, *MARKS), 0)
        rows = database.execute(f"SELECT outcome, count(*), {marks} FROM listed WHERE {where} GROUP BY outcome", values)
        for outcome, number, *marked in rows:
            counts[outcome] = number
            for mark, many in zip(MARKS, marked, strict=True):
                counts[mark] += many
        return counts

    def _key(self, database: sqlite3.Connection, wanted: Filter, place: Place | None) -> tuple[Any, int] | None:
        """What a place is ordered by: the column of the list's order, then its rank; None if it has no place in it."""
        column, _ = ORDERS[wanted.order]
        rank = None if place is None else self._rank(place)
        row = database.execute(f"SELECT {column}, rank FROM listed WHERE rank = ?", (rank,)).fetchone()
        return None if row is None or row[0] is None else row

    def _next_to(
        self, database: sqlite3.Connection, wanted: Filter, key: tuple[Any, int] | None, most: int, *, backwards: bool
    ) -> list[Line]:
        """The `most` samples next to what has this key, the nearest first; the first of all if it is None."""
        column, largest_first = ORDERS[wanted.order]
        where, values = self._where(database, wanted)
        down = largest_first != backwards
        if key is not None:
            further, away = "<" if down else ">", "<" if backwards else ">"
            # Where the rank alone orders, SQLite goes straight to it.
            tied = f"({column} {further} :key OR ({column} = :key AND rank {away} :rank))"
            where += f" AND rank {away} :rank" if column == "rank" else f" AND {tied}"
            values |= {"key": key[0], "rank": key[1]}
        rows = database.execute(
            f"SELECT {_COLUMNS} FROM listed WHERE {where}"
            f" ORDER BY {column} {'DESC' if down else 'ASC'}, rank {'DESC' if backwards else 'ASC'} LIMIT :lines",
            values | {"lines": most},
        )
        return [Line(*row) for row in rows]

    def _where(self, database: sqlite3.Connection, wanted: Filter) -> tuple[str, dict[str, Any]]:
        """A condition on `listed`, and its values."""
        parts, values = ["1"], dict[str, Any]()
        if wanted.model or wanted.task or wanted.arm:
            cells = [
                number
                for number, cell in self._index.cells.items()
                if wanted.model in ("", cell.model) and wanted.task in ("", cell.task) and wanted.arm in ("", cell.arm)
            ]
            parts.append(f"cell IN ({', '.join(map(str, cells))})")
        if wanted.outcome in MARKS:
            parts.append(wanted.outcome)
        elif wanted.outcome:
            parts.append("outcome = :outcome")
            values["outcome"] = wanted.outcome
        for bound, sign in (("least", ">="), ("most", "<=")):
            percent = percent_of(getattr(wanted, bound))
            if percent is not None:
                # What is shown as 33.3 is found by 33.3.
                parts.append(f"round(100 * value, 1) {sign} :{bound}")
                values[bound] = percent
        if wanted.order != "study":
            parts.append(f"{ORDERS[wanted.order][0]} IS NOT NULL")
        if wanted.words:
            parts.append(self._searched(database, wanted).condition)
        return " AND ".join(parts), values

    def _searched(self, database: sqlite3.Connection, wanted: Filter) -> _Search:
        """What a search finds, searched now or before."""
        key = (wanted.words, wanted.scope)
        known = self._searches.pop(key, None)
        if known is None or known.generation != self._index.generation:
            if known is not None:
                known.forget(database)
            known = self._search(database, wanted)
        self._searches[key] = known
        while len(self._searches) > SEARCHES:
            _, oldest = self._searches.popitem(last=False)
            oldest.forget(database)
        return known

    def _search(self, database: sqlite3.Connection, wanted: Filter) -> _Search:
        expression = sought(wanted.words).expression
        conditions, made = [], []
        for scope, (words, column) in _TEXTS.items():
            self._made += 1
            table = f"found_{self._made}"
            database.execute(f"CREATE TABLE {table} (number INTEGER PRIMARY KEY)")
            made.append(table)
            conditions.append(f"{column} IN {table}")
            # Without a letter or digit there is nothing to look for.
            if expression and wanted.scope in ("anywhere", scope):
                found = f"SELECT rowid FROM {words} WHERE {words} MATCH ?"
                database.execute(f"INSERT INTO {table} {found}", (expression,))
            if column == "sample":
                # A sample's name is found whatever stands in it.
                named = "SELECT sample FROM listed WHERE name = ?"
                database.execute(f"INSERT OR IGNORE INTO {table} {named}", (wanted.words,))
        return _Search(self._index.generation, f"({' OR '.join(conditions)})", tuple(made))


@dataclass(frozen=True, slots=True)
class _Search:
    """What a search found when the index was of a generation: tables of numbers, and the condition on `listed`."""

    generation: int
    condition: str
    tables: tuple[str, ...]

    def forget(self, database: sqlite3.Connection) -> None:
        """Drop the tables."""
        for table in self.tables:
            database.execute(f"DROP TABLE {table}")
