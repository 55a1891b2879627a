"""Who answered: the servers behind a run's table, as they described themselves."""

from __future__ import annotations

from wardround.journal import Journal
from wardround.reports.numbers import ABSENT
from wardround.reports.table import aligned
from wardround.running.who_answered import Answerer, answerers

SHORT_HASH = 12
_NUMERIC = {"context"}


def who_answered(journal: Journal) -> list[str]:
    """One line a server below a heading, none for the embedded one; columns that no server fills are left out.

    A server that became another during the run or between runs has a line for each, marked.
    """
    rows = [_row(one) for one in answerers(journal)]
    if not rows:
        return []
    filled = [name for name in rows[0] if any(row[name] for row in rows)]
    cells = [[row[name] or ABSENT for name in filled] for row in rows]
    return aligned([name if name != "changed" else "" for name in filled], cells, _NUMERIC)


def _row(one: Answerer) -> dict[str, str]:
    facts = one.facts
    engine = " ".join(str(facts[name]) for name in ("engine", "version") if facts[name])
    root = facts["root"]
    return {
        "who answered": one.model,
        "at": one.base_url,
        "engine": engine,
        "served as": str(facts["served"] or ""),
        "weights": str(root) if root and root != facts["served"] else "",
        "revision": _short(facts["revision"]),
        "quantization": str(facts["quantization"] or ""),
        "context": f"{facts['context']:,}" if facts["context"] else "",
        "template": _short(facts["template"]),
        "changed": f"changed {one.changed}" if one.changed else "",
    }


def _short(value: object) -> str:
    """A hash by its beginning; anything else as it is."""
    text = str(value or "").removeprefix("sha256:")
    is_hash = len(text) >= 40 and all(letter in "0123456789abcdef" for letter in text)
    return text[:SHORT_HASH] if is_hash else text
