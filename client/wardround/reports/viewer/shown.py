"""Text from outside as text, whatever stands in it.

Models write markup, terminal escapes, characters that turn the direction of writing, and NULs. None of it may act on
the page, and all of it must be seen: control characters are shown by their pictures (␛, ␀), other characters without a
shape of their own by their numbers (⟨U+202E⟩).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from html import escape

from rapidfuzz.distance import LCSseq

from wardround.text import TOKEN

# So many words are compared in about a tenth of a second and 50 MB; longer texts stand side by side as they are.
MOST_WORDS = 20_000
# Pieces of a text, each with whether it is marked.
Pieces = Iterable[tuple[str, bool]]
_PLAIN = re.compile(r"[\n\t\x20-\x7e]*")
# Other blanks are among what is to be seen.
_BLANKS = re.compile(r"[ \t\n]+")


def shown(text: str) -> str:
    """Text as HTML; what has no shape is set apart."""
    return _written(text, lambda odd: f'<span class="odd">{odd}</span>')


def attribute(text: str) -> str:
    """Text for an attribute's value or a title, where no markup can stand."""
    return _written(text, lambda odd: odd)


def marked(pieces: Pieces) -> str:
    """Text of which pieces are marked, as HTML."""
    return "".join(f"<mark>{shown(text)}</mark>" if is_marked else shown(text) for text, is_marked in pieces)


def _written(text: str, odd: Callable[[str], str]) -> str:
    if _PLAIN.fullmatch(text):
        return escape(text)
    return "".join(escape(one) if _has_shape(one) else odd(_named(one)) for one in text)


def _has_shape(letter: str) -> bool:
    # Blanks that do not break or are narrower have no shape in Python's eyes; they do no harm.
    return letter.isprintable() or letter in "\n\t" or unicodedata.category(letter) == "Zs"


def _named(letter: str) -> str:
    number = ord(letter)
    if number < 0x20:
        return chr(0x2400 + number)
    return "\u2421" if number == 0x7F else f"⟨U+{number:04X}⟩"


def found_in(text: str, words: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """The pieces of `text`, those marked that are among `words` (looked for at the beginnings of words)."""
    pattern = finding(words)
    reached = 0
    for match in pattern.finditer(text) if pattern else ():
        yield text[reached : match.start()], False
        yield match.group(), True
        reached = match.end()
    yield text[reached:], False


def finding(words: Iterable[str]) -> re.Pattern[str] | None:
    """What finds the first letters of words, in either case; None if there are no words."""
    longest_first = sorted(set(words), key=len, reverse=True)
    # Between the words of a phrase may stand any blanks and marks, as in the index.
    spelled = [r"[\W_]+".join(map(re.escape, re.findall(r"[^\W_]+", one))) for one in longest_first]
    there = [one for one in spelled if one]
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(there)})", re.IGNORECASE) if there else None


def excerpt(text: str, words: Iterable[str], length: int) -> Iterator[tuple[str, bool]]:
    """About `length` characters of `text` on one line: from its beginning, or around the first of `words` in it."""
    words = list(words)
    pattern = finding(words)
    match = pattern.search(text) if pattern else None
    start = 0
    if match and match.start() > length // 2:
        # At the beginning of a word, if one begins near.
        start = match.start() - length // 3
        blank = _BLANKS.search(text, start, match.start())
        start = blank.end() if blank else start
    piece = _BLANKS.sub(" ", text[start : start + length]).strip(" ")
    yield "… " if start else "", False
    yield from found_in(piece, words)
    yield " …" if start + length < len(text) else "", False


def differing(left: str, right: str) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]] | None:
    """Both texts in pieces, those marked that the other text does not have there; None if they are too long for it.

    Words and marks are compared, blanks are not. The longest common subsequence stays unmarked.
    """
    ours, theirs = TOKEN.findall(left), TOKEN.findall(right)
    if max(len(ours), len(theirs)) > MOST_WORDS:
        return None
    opcodes = LCSseq.opcodes([word.strip() for word in ours], [word.strip() for word in theirs])
    left_pieces, right_pieces = [], []
    for step in opcodes:
        left_pieces.append(("".join(ours[step.src_start : step.src_end]), step.tag != "equal"))
        right_pieces.append(("".join(theirs[step.dest_start : step.dest_end]), step.tag != "equal"))
    return [one for one in left_pieces if one[0]], [one for one in right_pieces if one[0]]
