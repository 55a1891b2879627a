"""The pages of a run: what is asked for in an address, looked up and made into HTML."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from wardround.errors import WardroundError
from wardround.journal import Cell, Journal
from wardround.journal.records import ANSWERS
from wardround.reports.viewer.filling import Coverage, prompt_text, reference_of
from wardround.reports.viewer.filters import Filter, sought
from wardround.reports.viewer.finding import Finding, Line, Place
from wardround.reports.viewer.frame import Site
from wardround.reports.viewer.index import Index
from wardround.reports.viewer.keeping import Keeping
from wardround.reports.viewer.listing import Row, listing_page
from wardround.reports.viewer.reading import Seen, open_for_reading, seen
from wardround.reports.viewer.sample import Side, Step, sample_page
from wardround.reports.viewer.shown import excerpt, finding
from wardround.running.marking import marked as scores_of
from wardround.running.round import sensitivity_of

LINES = 50
EXCERPT = 200
WARNINGS = {
    "credentialed": "This run holds text of credentialed data: these pages are for those who may read it, and for this"
    " machine.",
    "phi": "This run holds patients' health information: these pages are for those who may read it, and for this"
    " machine.",
    "licensed": "This run holds licensed text: its terms hold for what stands on these pages.",
}


class Pages:
    """Makes the pages of one run; from any thread."""

    def __init__(self, base: str, folder: Path, journal: Journal, index: Index, keeping: Keeping) -> None:
        self._base = base
        self._folder = folder
        self._journal = journal
        # The journal's connection, that is; the index has a lock of its own.
        self._lock = threading.Lock()
        self._index = index
        self._finding = Finding(index)
        self._keeping = keeping

    @classmethod
    def open(cls, folder: Path, base: str) -> Pages:
        """The pages of the run in `folder`, at addresses that begin with `base`; raises `JournalError`."""
        journal = open_for_reading(folder)
        index = Index(folder)
        keeping = Keeping(folder, index)
        keeping.start()
        return cls(base, folder, journal, index, keeping)

    def close(self) -> None:
        """Let go of the journal and forget the index."""
        self._keeping.end()
        self._index.close()
        with self._lock:
            self._journal.close()

    @property
    def coverage(self) -> Coverage:
        """How much of the journal is listed and can be found."""
        return self._keeping.coverage

    def listing(self, query: Mapping[str, str]) -> str:
        """The list that an address asks for, as HTML."""
        wanted = Filter.of(query)
        after, before = (Place.of(query.get(name, "")) for name in ("after", "before"))
        listed = self._finding.page(wanted, LINES, after, before)
        with self._lock:
            site = self._site()
            # Another thread may put other cells in their place, but never changes these.
            cells = self._index.cells
            rows = [self._row(line, cells[line.cell], wanted) for line in listed.lines if line.cell in cells]
        remarks = [*self._index.remarks, *([self._keeping.fault] if self._keeping.fault else [])]
        return listing_page(site, wanted, listed, rows, [*cells.values()], self.coverage, remarks)

    def sample(self, place: Place, query: Mapping[str, str]) -> str | None:
        """The sample at a place, as HTML; None if there is none."""
        wanted = Filter.of(query)
        with self._lock:
            side = self._side(place)
            site = self._site()
        if side is None:
            return None
        before, after = self._finding.neighbours(wanted, place)
        cells = self._index.cells
        elsewhere = self._finding.elsewhere(side.line) if side.line else []
        others = [(cells[one.cell], one.place) for one in elsewhere if one.cell != place.cell and one.cell in cells]
        named = query.get("beside", "")
        beside = _beside(
            cells.get(int(named)) if named.isascii() and named.isdigit() and len(named) < 10 else None, others
        )
        with self._lock:
            other = self._side(beside) if beside else None
        return sample_page(site, wanted, side, other, Step(before, after, [cell for cell, _ in others]))

    def _site(self) -> Site:
        return Site(self._base, self._folder.resolve().name, WARNINGS.get(sensitivity_of(self._journal), ""))

    def _side(self, place: Place) -> Side | None:
        cell = next((one for one in self._journal.cells() if one.id == place.cell), None)
        found = seen(self._journal, cell, place.position) if cell else None
        if found is None:
            return None
        made, remark = self._scored_now(found)
        return Side(made, self._finding.line(place), remark)

    def _scored_now(self, found: Seen) -> tuple[Seen, str]:
        """With the scores that an answer would have which came after the run's last scoring, and what to say of it."""
        how, profile = self._index.deciding.get(found.cell.id), found.cell.profile
        if how is None or found.answered.reply is None or how.parsed in found.scores.get(profile, {}):
            return found, ""
        if how.rules is None:
            return found, how.remark
        try:
            made = scores_of(found.cell.task, how.rules, found.answered)
        except WardroundError as error:
            return found, str(error)
        scores = {**found.scores, profile: {**found.scores.get(profile, {}), **made}}
        return replace(found, scores=scores), "Scored just now, by the task as it is; the journal has no scores yet."

    def _row(self, line: Line, cell: Cell, wanted: Filter) -> Row:
        """A line with the beginning of its answer, or with what the search found."""
        texts = self._texts(line, wanted)
        words = sought(wanted.words).words
        pattern = finding(words)
        first = next(iter(texts), ("", ""))
        where, text = next(((name, text) for name, text in texts if pattern and pattern.search(text)), first)
        return Row(line, cell, list(excerpt(text, words, EXCERPT)), "" if where == "answer" else where)

    def _texts(self, line: Line, wanted: Filter) -> list[tuple[str, str]]:
        """The texts of a sample in which something may be found, by their names; without a search, what came back."""
        query = (
            "SELECT replies.text, replies.reasoning, (SELECT kind || ': ' || words FROM failures"
            " WHERE failures.request = asks.request AND final ORDER BY id DESC LIMIT 1), samples.body, prompts.body"
            " FROM asks JOIN samples ON samples.id = asks.sample JOIN requests ON requests.id = asks.request"
            " JOIN prompts ON prompts.hash = requests.prompt LEFT JOIN replies ON replies.request = asks.request"
            f" AND {ANSWERS} WHERE asks.cell = ? AND asks.position = ?"
        )
        for answer, reasoning, failure, sample, prompt in self._journal.read(query, (line.cell, line.position)):
            found = [("failure", failure or "")] if answer is None else [("answer", answer), ("reasoning", reasoning)]
            if wanted.words:
                found += [("reference", reference_of(sample)), ("prompt", prompt_text(prompt))]
            allowed = wanted.scope if wanted.words else "anywhere"
            return [one for one in found if allowed in ("anywhere", one[0])] or found[:1]
        return []


def _beside(named: Cell | None, others: Sequence[tuple[Cell, Place]]) -> Place | None:
    """The sample beside: that of the named cell or, for a sample of another task, of its model and arm there."""
    for cell, place in others:
        if named is not None and (cell.model, cell.arm) == (named.model, named.arm):
            return place
    return None
