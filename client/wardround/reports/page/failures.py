"""What did not come, or could not be read: parse failures, truncated and empty answers, failures by kind."""

from __future__ import annotations

from collections import Counter

from wardround.reports import html
from wardround.reports.numbers import counted, number
from wardround.reports.page.bars import Bar, stacked_bars
from wardround.reports.page.gathered import Gathered
from wardround.reports.results import CellResults

_PARTS = ("read", "unreadable answer", "no reply: failed", "not asked yet")
_HEADER = ("model", "task", "arm", "samples", "answered", "unreadable", "truncated", "empty", "shortened", "failed")


def failures_part(run: Gathered) -> list[str]:
    """Every sample of the run as read, unreadable, failed or not asked; the cells with a loss in a table."""
    parts = [html.heading(2, "Answers that could not be read, and failures", "failures")]
    lossy = [one for one in run.cells if _lost(one)]
    if not lossy:
        return [*parts, html.paragraph("Every sample has an answer, whole, readable, and to an unshortened prompt.")]
    bars = [Bar(model, _counts(run, model)) for model in run.models]
    drawn = stacked_bars("failures", "What became of every sample", _PARTS, bars)
    kinds = sorted({kind for one in run.cells for kind in one.counts.failed})
    header = (*_HEADER, *(kind.replace("_", " ") for kind in kinds))
    rows = [_row(one, kinds) for one in lossy]
    caption = "Cells with something lost; a prompt is shortened where the context had no room for all evidence"
    total: Counter[str] = sum((one.counts.failed for one in run.cells), Counter())
    named = ", ".join(f"{kind.replace('_', ' ')} {total[kind]:,}" for kind in kinds)
    return [
        *parts,
        html.plots(
            drawn,
            "Shares of all samples of the study, over all tasks and arms. An unreadable answer counts as wrong; a"
            f" sample without a reply counts nowhere.{f' Without a reply: {named}.' if named else ''}",
        ),
        html.details(
            f"The numbers of this figure: {counted(len(lossy), 'cell')} of {len(run.cells):,} with something lost",
            html.table(_names_apart(header), rows, {*_names_apart(header)} - {"model", "task", "arm"}, caption),
        ),
    ]


def _names_apart(header: tuple[str, ...]) -> tuple[str, ...]:
    """Kinds of failure are told apart from what they add up to."""
    return (*header[: len(_HEADER)], *(f"of these: {name}" for name in header[len(_HEADER) :]))


def _lost(one: CellResults) -> bool:
    counts = one.counts
    return bool(counts.failed or counts.unparsed or counts.truncated or counts.empty or counts.cut)


def _counts(run: Gathered, model: str) -> tuple[int, int, int, int]:
    own = [one.counts for one in run.cells if one.cell.model == model]
    unread = sum(one.unparsed for one in own)
    waiting = sum(one.failed["not_asked"] for one in own)
    failed = sum(one.failed.total() for one in own) - waiting
    return sum(one.answered for one in own) - unread, unread, failed, waiting


def _row(one: CellResults, kinds: list[str]) -> tuple[str, ...]:
    counts, cell = one.counts, one.cell
    figures = (
        counts.answered + counts.failed.total(),
        *(counts.answered, counts.unparsed, counts.truncated, counts.empty, counts.cut, counts.failed.total()),
        *(counts.failed[kind] for kind in kinds),
    )
    return (cell.model, cell.task, cell.arm, *(number(figure) for figure in figures))
