"""Corpora that users bring, read: rows of a file, or a folder of texts; and documents that give cases away.

    {"id": "asthma-3", "title": "Asthma at work", "date": "2023-05", "text": "…"}    a row; title and date may lack
    guidelines/asthma.md, guidelines/lung/copd.txt                                   a folder; a PDF as its text

What appeared after the corpus's cut-off is left out. A date without its day or month counts as the last one it can be.
"""

from __future__ import annotations

import calendar
import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wardround.errors import DataError
from wardround.retrieval.lexical import words_of
from wardround.rows import read_rows, text_of
from wardround.task import Document
from wardround.text import storable

if TYPE_CHECKING:
    from wardround.sources import CorpusChoice

ENDINGS = (".txt", ".md")
# A document holds a case if it has such a share of the case's sequences of so many words: where one word in ten was
# changed, six sequences of four in ten are as they were.
SEQUENCE_WORDS = 4
HELD = 0.3
_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus as it was read: its documents, each with its title as heading, and the hash of all of them.

    `after_cut_off`, `excluded` and `empty` count documents that were left out, `undated` those kept without a date.
    """

    documents: tuple[Document, ...]
    sha256: str
    after_cut_off: int = 0
    excluded: int = 0
    empty: int = 0
    undated: int = 0

    def without(self, ids: Iterable[str]) -> Corpus:
        """The same without some documents."""
        dropped = set(ids)
        return replace(self, documents=tuple(one for one in self.documents if one.id not in dropped))


def read_corpus(choice: CorpusChoice) -> Corpus:
    """Read the corpus that a study names; raises `DataError` in one line, also where nothing is left of it."""
    path = choice.path
    if path.is_dir():
        found: list[tuple[Document, date | None]] = list(_of_folder(path))
    elif path.exists():
        found = list(_of_rows(path))
    else:
        raise DataError(f"there is no corpus {path}; give a file of rows or a folder of .txt and .md files")
    seen: set[str] = set()
    for document, _ in found:
        if document.id in seen:
            raise DataError(f"{path}: the id {document.id!r} stands twice; ids must be unique")
        seen.add(document.id)
    if absent := next((name for name in choice.exclude if name not in seen), None):
        raise DataError(f"{path} has no document {absent!r}, which the study excludes")
    excluded = set(choice.exclude)
    late = {document.id for document, last in found if last is not None and last > choice.cut_off} - excluded
    empty = {document.id for document, _ in found if not words_of(document.text)} - excluded - late
    kept = tuple(document for document, _ in found if document.id not in excluded | late | empty)
    if not kept:
        raise DataError(f"{path}: no document is left of {len(found)}; look at its texts, `cut_off` and `exclude`")
    content = json.dumps([[one.id, one.heading, one.text] for one in kept], ensure_ascii=False)
    digest = hashlib.sha256(content.encode()).hexdigest()
    undated = sum(last is None for document, last in found if document.id not in excluded | empty)
    return Corpus(kept, digest, after_cut_off=len(late), excluded=len(excluded), empty=len(empty), undated=undated)


def _of_rows(path: Path) -> Iterator[tuple[Document, date | None]]:
    """Each row's document, and the last day on which it can have appeared."""
    for number, row in read_rows(path, ("id", "text")):
        name, text = text_of(path, number, row, "id").strip(), text_of(path, number, row, "text", empty_is_fine=True)
        title = " ".join(text_of(path, number, row, "title", empty_is_fine=True).split())
        yield Document(storable(name), storable(text), storable(title)), _last_day(path, number, row)


def _last_day(path: Path, number: int, row: Mapping[str, Any]) -> date | None:
    # A cell of a table may be a date already.
    if isinstance(given := row.get("date"), date):
        return given.date() if isinstance(given, datetime) else given
    said = text_of(path, number, dict(row), "date", empty_is_fine=True).strip()
    if not said:
        return None
    parts = _DATE.fullmatch(said)
    try:
        if parts is None:
            raise ValueError(said)
        year, month = int(parts[1]), int(parts[2] or 12)
        return date(year, month, int(parts[3] or calendar.monthrange(year, month)[1]))
    except ValueError:
        raise DataError(
            f"{path}: row {number}: the date {said!r} is none; write 2024, 2024-06 or 2024-06-30, or leave it out"
        ) from None


def _of_folder(folder: Path) -> Iterator[tuple[Document, date | None]]:
    root = folder.resolve()
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in ENDINGS
        and path.is_file()
        # A link may lead to anything on the machine; what begins with a dot is no text of the corpus.
        and path.resolve().is_relative_to(root)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not paths:
        raise DataError(f"{folder} has no .txt and no .md file; of a PDF give its text (pdftotext FILE.pdf)")
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path} cannot be read as UTF-8 text: {error}") from error
        name = path.relative_to(folder).as_posix()
        yield Document(storable(name), text, storable(_title(path.stem, text))), None


def _title(stem: str, text: str) -> str:
    """What a file is called: its heading in Markdown, else its name."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    heading = first.lstrip("#").strip() if first.startswith("#") else ""
    return heading or stem.replace("_", " ")


def holding(documents: Sequence[Document], cases: Mapping[str, str]) -> dict[str, list[str]]:
    """The documents in which the text of a case stands, as it is or nearly so, each with the ids of its cases.

    `cases` are texts by id. A document holds one if it has 30 % of its sequences of four words, wherever they stand;
    function words, case, accents and plurals do not matter. Cases of fewer words are not looked for, since they stand
    in many texts by chance, and a case that was retold is not found.
    """
    wanted: dict[tuple[str, ...], list[str]] = {}
    needed: dict[str, float] = {}
    for name, text in cases.items():
        sequences = set(_sequences(text))
        needed[name] = HELD * len(sequences)
        for sequence in sequences:
            wanted.setdefault(sequence, []).append(name)
    found = {}
    for document in documents:
        # A heading is shown and searched as the text is.
        said = _sequences(f"{document.heading}\n{document.text}")
        counts = Counter(name for sequence in wanted.keys() & said for name in wanted[sequence])
        if held := [name for name, count in counts.items() if count >= needed[name]]:
            found[document.id] = sorted(held)
    return found


def _sequences(text: str) -> Iterator[tuple[str, ...]]:
    words = words_of(text)
    return zip(*(itertools.islice(words, start, None) for start in range(SEQUENCE_WORDS)), strict=False)
