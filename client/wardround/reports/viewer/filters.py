"""Which samples are listed, and in which order; as it stands in an address."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from wardround.reports.viewer.outcomes import MARKS, OUTCOMES
from wardround.text import storable

SCOPES = {
    "anywhere": "anywhere",
    "prompt": "in the prompt",
    "answer": "in the answer",
    "reasoning": "in the reasoning",
    "reference": "in the reference",
}
# Column of the index's table and whether the largest come first.
ORDERS = {
    "study": ("rank", False),
    "lowest score": ("value", False),
    "highest score": ("value", True),
    "slowest": ("e2e_ns", True),
    "longest answer": ("output_tokens", True),
}
# A longer search is cut; nobody types one.
MOST_LETTERS = 400
# "cho*" is looked up; fewer letters would match a good part of all words.
LEAST_PREFIX = 3
_PART = re.compile(r'"([^"]*)"?|(\S+)')
_LETTER = re.compile(r"[^\W_]")


@dataclass(frozen=True, slots=True)
class Filter:
    """What a list is restricted to; "" means no restriction.

    `outcome` is one of `OUTCOMES` or `MARKS`. `words` must all stand in one and the same text of the `scope`.
    `least` and `most` bound the score in per cent.
    """

    model: str = ""
    task: str = ""
    arm: str = ""
    outcome: str = ""
    words: str = ""
    scope: str = "anywhere"
    least: str = ""
    most: str = ""
    order: str = "study"

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Filter:
        """The filter that an address asks for; what it does not know, it leaves out."""
        texts = {one.name: storable(query.get(one.name, "")) for one in fields(cls)}
        given = {name: text.replace("\0", " ").strip() for name, text in texts.items() if text}
        known = {"outcome": {*OUTCOMES, *MARKS}, "scope": {*SCOPES}, "order": {*ORDERS}}
        kept = {name: value for name, value in given.items() if name not in known or value in known[name]}
        for bound in ("least", "most"):
            if percent_of(kept.get(bound, "")) is None:
                kept.pop(bound, None)
        return cls(**{**kept, "words": kept.get("words", "")[:MOST_LETTERS]})

    def query(self) -> dict[str, str]:
        """As it stands in an address."""
        return {one.name: value for one in fields(self) if (value := getattr(self, one.name)) != one.default}

    def but(self, **changes: str) -> Filter:
        """The same with other values."""
        return replace(self, **changes)


def percent_of(text: str) -> float | None:
    """A bound as a number; None if it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class Sought:
    """What a search means: an expression for SQLite's FTS5, and the words to mark where they are found."""

    expression: str
    words: tuple[str, ...]


def sought(words: str) -> Sought:
    """All of the words; those "in quotes" one after another; "metf*" is the beginning of a word.

    Nothing the user types is handed to FTS5 as syntax. The expression is "" if there is no letter or digit to look for.
    """
    parts, plain = [], []
    for quoted, bare in _PART.findall(words):
        stem = bare.rstrip("*")
        begins = bare.endswith("*") and len(_LETTER.findall(stem)) >= LEAST_PREFIX
        text = quoted or stem
        if not _LETTER.search(text):
            continue
        doubled = text.replace('"', '""')
        parts.append(f'"{doubled}"*' if begins else f'"{doubled}"')
        plain.append(text)
    return Sought(" ".join(parts), tuple(plain))
