"""The corpora that a run's arms searched: of what, under which licence, up to when, and what was left out."""

from __future__ import annotations

from wardround.journal import Journal


def searched_corpora(journal: Journal) -> list[str]:
    """One line a corpus, under an empty one and a title; empty where a run searched none."""
    found = journal.manifest().get("corpora", {})
    if not found:
        return []
    lines = []
    for name, one in found.items():
        held = (
            f"{one['holding_cases']:,} with a case's text {'left out' if one['leaks'] == 'drop' else 'searched, too'}"
        )
        left_out = [
            held if one["holding_cases"] else "",
            f"{one['after_cut_off']:,} after the cut-off left out" if one["after_cut_off"] else "",
            f"{one['undated']:,} without a date, not checked" if one.get("undated") else "",
            f"{one['excluded']:,} excluded by the study" if one["excluded"] else "",
            f"{one['empty']:,} without a word left out" if one["empty"] else "",
        ]
        parts = [
            f"{one['documents']:,} documents, {one['passages']:,} passages, {one['licence']}, up to {one['cut_off']}",
            f"sha256 {one['sha256'][:12]}",
            *filter(None, left_out),
        ]
        lines.append(f"{name} ({one['source']}): {'; '.join(parts)}")
    return ["", "Corpora that arms searched:", "", *lines]
