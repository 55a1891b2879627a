"""Runs in this process, with servers in theirs, and what their journals say of who was asked when."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import write_study
from wardround.running import RunSummary, run_study
from wardround.study import load_study


@dataclass
class Notes:
    """A progress that keeps what it is told."""

    lines: list[str] = field(default_factory=list)

    def note(self, line: str) -> None:
        self.lines.append(line)

    def start(self, cells: Sequence[tuple[int, str, int, int]]) -> None:
        """Not kept."""

    def advance(self, cell: int, *, answered: bool) -> None:
        """Not kept."""

    def finish(self) -> None:
        """Not kept."""


def carry_out(folder: Path, **study: Any) -> tuple[RunSummary, list[str]]:
    """Run a study with these fields in `folder`/run; returns its summary and what was noted."""
    notes = Notes()
    path = write_study(folder / "study.yaml", **study)
    return asyncio.run(run_study(load_study(path), folder / "run", progress=notes)), notes.lines


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """Read the journal of `folder`/run."""
    database = sqlite3.connect(folder / "run" / "journal.sqlite")
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()


def at_once(spans: Sequence[tuple[int, int]]) -> int:
    """The largest number of (begin, end) spans that overlap."""
    changes = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most
