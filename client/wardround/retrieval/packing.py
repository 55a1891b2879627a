"""Documents packed into a budget of tokens: whole ones in a given order, then the beginning of the next."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from wardround.task import Count, Document

# The end of a line, or of a sentence; "Dr." and "p.o." end none.
_BORDER = re.compile(r"\s*\n\s*|(?<=[.!?])(?<!\b\w\.)(?<!\b\w\w\.)\s+(?=[^\W\d_]|\d|[\"(\[])")
_BLANK = re.compile(r"\s+")


def packed(
    documents: Sequence[Document], order: Sequence[str], room_tokens: int, heading_tokens: int, count: Count
) -> dict[str, Document]:
    """The documents that fit by the sum of their tokens and of a heading each, by id.

    They are taken in `order`, those that it does not name after all others. The first that does not fit is shortened,
    or left out if nothing of it fits; what comes after it is left out.
    """
    by_id = {document.id: document for document in documents}
    kept: dict[str, Document] = {}
    for name in dict.fromkeys([*(name for name in order if name in by_id), *by_id]):
        room_tokens -= heading_tokens
        tokens = count(by_id[name].text)
        if tokens > room_tokens:
            text = shortened(by_id[name].text, room_tokens, count)
            if text:
                kept[name] = replace(by_id[name], text=text)
            break
        kept[name] = by_id[name]
        room_tokens -= tokens
    return kept


def shortened(text: str, room_tokens: int, count: Count) -> str:
    """The longest beginning of `text` that fits, up to a line's or sentence's end, else a word's; "" if none."""
    for border in (_BORDER, _BLANK):
        places = [0, *(match.start() for match in border.finditer(text))]
        fitting, too_long = 0, len(places)
        while too_long - fitting > 1:
            middle = (fitting + too_long) // 2
            if count(text[: places[middle]]) <= room_tokens:
                fitting = middle
            else:
                too_long = middle
        if fitting:
            return text[: places[fitting]]
    return ""


def cut_lines(
    documents: Sequence[Document], kept: Mapping[str, Document], with_answer: Collection[str], count: Count
) -> list[str]:
    """A line for each document that was left out or shortened, which says so if the answer stands in it."""
    lines = []
    for document in documents:
        holds = " (holds the answer)" if document.id in with_answer else ""
        if document.id not in kept:
            lines.append(f"{document.id}{holds}: left out, {count(document.text)} tokens")
        elif kept[document.id] is not document:
            tokens = count(kept[document.id].text)
            lines.append(f"{document.id}{holds}: shortened from {count(document.text)} to {tokens} tokens")
    return lines
