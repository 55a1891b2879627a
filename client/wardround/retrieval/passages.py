"""Documents cut into passages that overlap, at the places where a note has its seams.

A passage is a stretch of whole lines, or of whole sentences of a long line. It ends at the last seam before it would
grow too long, and the next one begins so far back that the overlap is had. Lengths are in words and marks, so that
passages are the same for every model; budgets are counted in each model's own tokens when prompts are packed.
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wardround.task import Document

LENGTH = 160
OVERLAP = 0.25
MOST_OVERLAP = 0.9

# The pieces between which a passage may begin and end: lines with their ends, and sentences within long lines.
_LINE = re.compile(r"[^\n]*\n+|[^\n]+\Z")
_SENTENCE_END = re.compile(r"(?<=[.!?;:])[ \t]+(?=[A-Z0-9(\"„“-])")
_WORD = re.compile(r"\w+|[^\w\s]")
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}\.?"
_DATE = re.compile(
    r"\b(?:\d{1,2}[./]\d{1,2}[./](?:19|20)\d{2}|(?:19|20)\d{2}-\d{2}-\d{2}|\d{1,2}/(?:19|20)\d{2}"
    rf"|(?:\d{{1,2}}(?:st|nd|rd|th)? )?{_MONTH} (?:\d{{1,2}}, )?(?:19|20)\d{{2}})\b"
)


@dataclass(frozen=True, slots=True)
class Passage:
    """Characters `start` to `end` of a document; `place` counts the document's passages from 0.

    `text` is without blanks at its ends. `dated` is the last date that the document names before the passage, as it is
    written there, "" if none.
    """

    document: str
    place: int
    start: int
    end: int
    text: str
    dated: str = ""

    @property
    def id(self) -> str:
        """Document and place: "patient_01/text_0#3"."""
        return f"{self.document}#{self.place}"


@dataclass(frozen=True, slots=True)
class _Piece:
    start: int
    end: int
    words: int


def passages_of(document: Document, *, length: int = LENGTH, overlap: float = OVERLAP) -> list[Passage]:
    """The passages of a document, in its order; every word of it lies in at least one, and none lies in another.

    `length`: words and marks of a passage at most; `overlap`: the share of it that two neighbours have in common at
    most. A document of fewer words is one passage, one without any word is none. Raises `ValueError` for a length below
    1 or an overlap outside 0 to 0.9.
    """
    if length < 1 or not 0 <= overlap <= MOST_OVERLAP:
        raise ValueError(f"a passage has a length of at least 1 and an overlap from 0 to {MOST_OVERLAP}")
    pieces = list(_pieces(document.text, length))
    dates = list(_DATE.finditer(document.text))
    ends = [date.end() for date in dates]
    found: list[Passage] = []
    first = 0
    while first < len(pieces):
        last, words = first, pieces[first].words
        while last + 1 < len(pieces) and words + pieces[last + 1].words <= length:
            last += 1
            words += pieces[last].words
        start, end = pieces[first].start, pieces[last].end
        if words:
            earlier = bisect_right(ends, start)
            dated = " ".join(dates[earlier - 1].group().split()) if earlier else ""
            found.append(Passage(document.id, len(found), start, end, document.text[start:end].strip(), dated))
        if last + 1 >= len(pieces):
            break
        # What is shared must leave room for the piece that comes next, else the passage would hold nothing new.
        first = _back(pieces, first, last, min(overlap * length, length - pieces[last + 1].words))
    return found


def _back(pieces: Sequence[_Piece], first: int, last: int, most_words: float) -> int:
    """Where the next passage begins: behind `first`, and so far back from `last` that no more words are shared."""
    begin, words = last + 1, 0
    while begin - 1 > first and words + pieces[begin - 1].words <= most_words:
        begin -= 1
        words += pieces[begin].words
    return begin


def _pieces(text: str, length: int) -> Iterator[_Piece]:
    for line in _LINE.finditer(text):
        seams = [line.start(), *(line.start() + one.end() for one in _SENTENCE_END.finditer(line.group())), line.end()]
        for start, end in itertools.pairwise(seams):
            yield from _short_enough(text, start, end, length)


def _short_enough(text: str, start: int, end: int, length: int) -> Iterator[_Piece]:
    """A sentence as one piece, or, if it alone is too long for a passage, cut between words."""
    words = list(_WORD.finditer(text, start, end))
    if len(words) <= length:
        yield _Piece(start, end, len(words))
        return
    for begin in range(0, len(words), length):
        following = begin + length
        until = words[following].start() if following < len(words) else end
        yield _Piece(start if begin == 0 else words[begin].start(), until, min(length, len(words) - begin))
