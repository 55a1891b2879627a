"""The private database behind the lists: a table of all samples of a run, and the words of its texts.

It lies in memory and, beyond a limit, in a temporary file of SQLite's that has no name and is readable by its owner
alone: nothing of it is left behind, whichever way the process ends. The journal is attached to it, read only.
`filling` writes it a little at a time, `finding` asks it.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wardround.journal import Cell
from wardround.reports.viewer import tables
from wardround.reports.viewer.outcomes import Deciding, deciding
from wardround.reports.viewer.reading import open_for_reading, read_only

CACHE_KIB = 64 * 1024


class Index:
    """The database, for one thread at a time, and the cells that it lists.

    `generation` grows with every change: what was found before it may no longer hold.
    """

    def __init__(self, folder: Path) -> None:
        """Raises `JournalError` if `folder` holds no run."""
        self._journal = open_for_reading(folder)
        self._lock = threading.Lock()
        self._db = sqlite3.connect("file:", uri=True, isolation_level=None, check_same_thread=False)
        self._db.execute("ATTACH DATABASE ? AS run", (read_only(folder),))
        self._db.execute(f"PRAGMA main.cache_size = -{CACHE_KIB}")
        self._db.executescript(tables.TABLES)
        self._closed = False
        self.generation = 0
        self.cells: dict[int, Cell] = {}
        self.places: dict[int, int] = {}
        self.deciding: dict[int, Deciding] = {}

    @contextmanager
    def alone(self) -> Iterator[sqlite3.Connection]:
        """The database, while no other thread has it; raises `sqlite3.Error` once it is closed."""
        with self._lock:
            if self._closed:
                raise sqlite3.ProgrammingError("the index is closed")
            yield self._db

    def close(self) -> None:
        """Forget everything."""
        # What is being carried out in another thread ends there, with an error.
        self._db.interrupt()
        with self._lock:
            self._closed = True
            self._db.close()
            self._journal.close()

    def begin_anew(self, database: sqlite3.Connection) -> None:
        """Forget all samples and words, and look which cells the study has now."""
        for table in ("listed", "facts", "prompts", "late"):
            database.execute(f"DELETE FROM main.{table}")
        for table in tables.WORDS:
            database.execute(f"INSERT INTO {table} ({table}) VALUES ('delete-all')")
        self.generation += 1
        self.cells = {cell.id: cell for cell in self._journal.cells()}
        self.places = dict(database.execute("SELECT id, place FROM run.cells WHERE place IS NOT NULL"))
        # One look at a task for all cells that ask it.
        alike: dict[tuple[str, str, str], Deciding] = {}
        self.deciding = {}
        for cell in self.cells.values():
            key = (cell.task_file, json.dumps(dict(cell.settings), sort_keys=True), cell.profile)
            if key not in alike:
                alike[key] = deciding(cell)
            self.deciding[cell.id] = alike[key]

    @property
    def remarks(self) -> list[str]:
        """What is to be said of the run's tasks, each once."""
        return sorted({how.remark for how in self.deciding.values() if how.remark})
