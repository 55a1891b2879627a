"""The thread that keeps an index in step with its journal, also while a run is writing to it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from wardround.errors import WardroundError
from wardround.reports.viewer.filling import Coverage, Filling
from wardround.reports.viewer.index import Index
from wardround.reports.viewer.reading import answered_at, open_for_reading
from wardround.running.marking import marked

POLL_S = 1.0
# Between two steps: a lock is not handed to who waits longest, so the others need a moment to take it.
PAUSE_S = 0.002
# Looking through the journal again takes at most this share of the time.
MOST_SHARE = 0.1
SCORED_A_STEP = 200


class Keeping(threading.Thread):
    """Lists what became of the samples, makes their words findable, and scores answers that have no scores yet.

    `fault` is what keeps it from doing so, "" if nothing.
    """

    def __init__(self, folder: Path, index: Index) -> None:
        super().__init__(name="wardround viewer index", daemon=True)
        self._journal = open_for_reading(folder)
        self._index = index
        self._filling = Filling(index)
        self._ending = threading.Event()
        self._next_look_s = 0.0
        self.fault = ""

    @property
    def coverage(self) -> Coverage:
        """How far the index has come."""
        return self._filling.coverage

    def end(self) -> None:
        """Stop at the next step and wait for it; to be called before the index is closed."""
        self._ending.set()
        self.join()
        self._journal.close()

    def run(self) -> None:
        """Keep the index until told to end."""
        while not self._ending.is_set():
            try:
                busy = self._step()
                self.fault = ""
            except Exception as error:
                # Whatever it is: what is listed so far is still shown, and it is tried again.
                words = f"The list may lack samples: {type(error).__name__}: {error}"
                self.fault, busy = " ".join(words.split()), False
            self._ending.wait(PAUSE_S if busy else POLL_S)

    def _step(self) -> bool:
        """Do the next thing that is to be done; False if there is nothing."""
        if time.monotonic() >= self._next_look_s and self._filling.changed():
            self._look_through()
            return True
        return self._filling.take_words() or self._score()

    def _look_through(self) -> None:
        begun_s = time.monotonic()
        for piece in self._filling.pieces():
            if self._ending.is_set():
                return
            self._filling.list_piece(piece)
            time.sleep(PAUSE_S)
        now_s = time.monotonic()
        self._next_look_s = now_s + max(POLL_S, (now_s - begun_s) / MOST_SHARE)

    def _score(self) -> bool:
        """Score answers that came after the run's last scoring, as a report would; the journal is left as it is."""
        some = self._filling.unscored(SCORED_A_STEP)
        if not some:
            return False
        self._filling.keep_scores([(cell, position, self._scores_of(cell, position)) for cell, position in some])
        return True

    def _scores_of(self, cell: int, position: int) -> dict[str, float | None] | None:
        rules = self._index.deciding[cell].rules
        answer = answered_at(self._journal, cell, position)
        if rules is None or answer is None or answer.reply is None:
            return None
        try:
            return marked(self._index.cells[cell].task, rules, answer)
        except WardroundError:
            # The sample's own page says why.
            return None
