"""Questions without an answer: who abstains, and who makes one up."""

from __future__ import annotations

from collections.abc import Sequence

from wardround.reports import html
from wardround.reports.numbers import ABSENT, number, percent
from wardround.reports.page.bars import Bar, stacked_bars
from wardround.reports.page.gathered import AskedTask, Gathered, first_result
from wardround.reports.results import CellResults, Result

_PARTS = ("abstained, which is right", "made up an answer", "refused or empty", "unreadable")
_METRICS = ("accuracy_lenient", "hallucinated", "refused", "unparsed")
_HEADER = ("task", "arm", "model", "n", "abstained %", "made up %", "refused or empty %", "unreadable %")


def abstaining_part(run: Gathered) -> list[str]:
    """The split of such a task's answers (LongHealth T3), with the accuracy where there is an answer beside it."""
    tasks = [task for task in run.tasks if any("hallucinated" in _of(one) for one in _cells(run, task))]
    if not tasks:
        return []
    drawn = []
    for task in tasks:
        bars = [
            Bar(one.cell.model, _counts(one), _beside(run, task, one))
            for one in _cells(run, task)
            if one.cell.arm == task.main_arm
        ]
        title = f"{task.label}: no document holds the answer"
        drawn += stacked_bars(
            f"abstaining-{run.tasks.index(task)}", title, _PARTS, bars, beside=_beside_title(run, task)
        )
    rows = [_row(one) for task in tasks for one in _cells(run, task)]
    return [
        html.heading(2, "Questions that the documents cannot answer", "abstaining"),
        html.plots(
            drawn,
            "Shares of the answers, in the task's own arm. Before each bar: the accuracy on the same questions where"
            " the documents do hold the answer, for whoever always abstains is always right here and never there.",
        ),
        html.details(
            "The numbers of this figure, for all arms",
            html.table(_HEADER, rows, {*_HEADER[3:]}, "What was answered where there is no answer"),
        ),
    ]


def _cells(run: Gathered, task: AskedTask) -> list[CellResults]:
    return [one for model in run.models for one in run.cells if (one.cell.model, one.cell.task) == (model, task.label)]


def _of(one: CellResults) -> dict[str, Result]:
    return {result.metric: result for result in one.results}


def _counts(one: CellResults) -> tuple[int, ...]:
    found = [_of(one).get(metric) for metric in _METRICS]
    return tuple(0 if each is None or each.value is None else round(each.value * each.n) for each in found)


def _beside(run: Gathered, task: AskedTask, one: CellResults) -> str:
    """The model's accuracy on the task of the same family that has answers (LongHealth's T2)."""
    beside = _answerable(run.tasks, task)
    other = None if beside is None else run.cell(one.cell.model, beside.label, beside.main_arm)
    return "" if other is None else percent(first_result(other).value)


def _beside_title(run: Gathered, task: AskedTask) -> str:
    beside = _answerable(run.tasks, task)
    return "" if beside is None else f"{beside.label} %"


def _answerable(tasks: Sequence[AskedTask], task: AskedTask) -> AskedTask | None:
    """The last of the family before the task, in which the same questions stand with documents that answer them."""
    place = [one.label for one in tasks].index(task.label)
    family = [number for number, one in enumerate(tasks) if one.family == task.family and one.has_answers]
    before = [number for number in family if number < place]
    chosen = before[-1] if before else family[0] if family else None
    return None if chosen is None else tasks[chosen]


def _row(one: CellResults) -> tuple[str, ...]:
    found = _of(one)
    shares = [found[metric].value if metric in found else None for metric in _METRICS]
    result = first_result(one)
    start = (one.cell.task, one.cell.arm, one.cell.model, number(result.n) if result.n else ABSENT)
    return (*start, *(percent(value) for value in shares))
