"""The page as a whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wardround.errors import JournalError
from wardround.journal import Journal
from wardround.reports import html
from wardround.reports.numbers import dollars, number
from wardround.reports.page.abstaining import abstaining_part
from wardround.reports.page.arms import arms_part
from wardround.reports.page.beside import published_part
from wardround.reports.page.costs import costs_part
from wardround.reports.page.failures import failures_part
from wardround.reports.page.gathered import Gathered, gather
from wardround.reports.page.levels import levels_part
from wardround.reports.page.method import method_part
from wardround.reports.page.models import models_part
from wardround.reports.page.pairs import pairs_part
from wardround.reports.page.verdict import verdict_part

# (anchor, words for the contents, what makes the part); a part without anything to show is left out.
_PARTS: tuple[tuple[str, str, Callable[[Gathered], list[str]]], ...] = (
    ("verdict", "Verdict", verdict_part),
    ("pairs", "Pairs", pairs_part),
    ("models", "Models and tasks", models_part),
    ("levels", "Levels", levels_part),
    ("costs", "Speed and cost", costs_part),
    ("arms", "Arms", arms_part),
    ("abstaining", "Unanswerable questions", abstaining_part),
    ("failures", "Failures", failures_part),
    ("published", "Published figures", published_part),
    ("method", "Method", method_part),
)


def run_page(journal: Journal, profile: str | None = None) -> str:
    """The page of a run under `profile`, each cell's own if None; the same run gives the same bytes.

    Raises `JournalError` if the run is not scored under it, `TaskError` if one of its tasks is gone.
    """
    run = gather(journal, profile)
    title = str(run.study.get("title") or run.study.get("study") or journal.folder.name)
    made = [(anchor, words, parts) for anchor, words, part in _PARTS if (parts := part(run))]
    body = [
        html.heading(1, title),
        _about(run),
        html.contents([(anchor, words) for anchor, words, _ in made]),
        *(line for _, _, parts in made for line in parts),
        html.paragraph("This page holds none of the samples' text and none of the models' answers.", "soft"),
    ]
    return html.page(title, "\n".join(body))


def write_page(journal: Journal, file: Path, profile: str | None = None) -> Path:
    """Write the page of a run; returns `file`. Raises what `run_page` raises, and `JournalError` if it cannot."""
    page = run_page(journal, profile)
    try:
        file.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise JournalError(f"{file} cannot be written: {error.strerror or error}") from error
    return file


def _about(run: Gathered) -> str:
    counts = [one.counts for one in run.cells]
    answered = sum(one.answered for one in counts)
    planned = answered + sum(one.failed.total() for one in counts)
    cost = run.usage.whole
    rows = [
        ("Study", str(run.study.get("study", "–"))),
        ("Run", str(run.manifest.get("last_started_at", "–"))[:10]),
        ("Models", number(len(run.models))),
        ("Tasks", number(len(run.tasks))),
        ("Answers wanted", number(planned)),
        ("Answered", number(answered)),
    ]
    if cost.cost_usd:
        rows.append(("Cost", dollars(cost.cost_usd, at_least=cost.cost_is_least)))
    return html.facts(rows)
