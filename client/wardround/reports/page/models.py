"""Models by tasks: the heat map, who stands where, and every metric of every cell."""

from __future__ import annotations

from wardround.reports import html
from wardround.reports.numbers import interval, number, percent, share
from wardround.reports.page.gathered import AskedTask, Gathered, first_result
from wardround.reports.page.heat import HeatColumn, HeatRow, heat_maps
from wardround.reports.results import CellResults, Result

_HEADER = ("model", "task", "arm", "metric", "value %", "95 % interval", "n", "parsed %", "failed", "shortened")
_NUMERIC = {*_HEADER} - {"model", "task", "arm", "metric"}
# Beyond so many rows a page lists the first metrics only: it must stay small enough to be sent.
MOST_ROWS = 4000
_LOW_PARSE_RATE = 0.9


def models_part(run: Gathered) -> list[str]:
    """The heat map over each task's own arm, and the tables."""
    title = "Every model on every task"
    drawn = heat_maps("models", title, _columns(run), [_row(run, model) for model in run.models])
    caption = (
        "Per cent, each task in the arm of its own protocol, by its first metric. The darker, the nearer to the"
        " column's highest value, which is bold; shades of two columns are not comparable. * some samples have no"
        " reply; ° under 90 % of the answers could be read; hatched: not asked, or undefined."
    )
    return [
        html.heading(2, title, "models"),
        html.plots(drawn, caption),
        html.details("The numbers of this figure", _main_table(run)),
        *_order(run),
        html.details(f"All arms and metrics: {_count(run)}", _whole_table(run)),
    ]


def _columns(run: Gathered) -> list[HeatColumn]:
    return [HeatColumn(task.label, below_of(task)) for task in run.tasks]


def below_of(task: AskedTask) -> str:
    """What is measured, and in which arm if there are several."""
    return f"{task.metric}, {task.main_arm}" if len(task.arms) > 1 else task.metric


def _row(run: Gathered, model: str) -> HeatRow:
    highest = {task.label: _highest(run, task) for task in run.tasks}
    shades, numbers, strong = [], [], []
    for task in run.tasks:
        one = run.cell(model, task.label, task.main_arm)
        value = None if one is None else first_result(one).value
        most = highest[task.label]
        shades.append(None if value is None else value / most if most else 0.0)
        numbers.append(percent(value) + ("" if one is None or value is None else flags(one)))
        strong.append(value is not None and value == most)
    first_baseline = next((one for one in run.models if run.groups[one] == "baseline"), None)
    apart = model == first_baseline and model != run.models[0]
    return HeatRow(model, tuple(shades), tuple(numbers), tuple(strong), apart)


def _highest(run: Gathered, task: AskedTask) -> float | None:
    own = [run.cell(model, task.label, task.main_arm) for model in run.models]
    values = [first_result(one).value for one in own if one is not None]
    return max((value for value in values if value is not None), default=None)


def flags(one: CellResults) -> str:
    """The signs behind a value that must not be taken at its face."""
    result = first_result(one)
    unread = result.n and result.parsed / result.n < _LOW_PARSE_RATE
    return ("*" if result.failed else "") + ("°" if unread else "")


def _main_table(run: Gathered) -> str:
    rows = [_cells(one, first_result(one)) for one in run.main_cells()]
    return html.table(_HEADER, rows, _NUMERIC, "Each task's first metric in its own arm")


def _count(run: Gathered) -> str:
    rows = sum(len(one.results) for one in run.cells)
    return f"{rows:,} results" if rows <= MOST_ROWS else f"the first metrics of {len(run.cells):,} cells"


def _whole_table(run: Gathered) -> str:
    short = sum(len(one.results) for one in run.cells) > MOST_ROWS
    rows = [_cells(one, result) for one in run.cells for result in (one.results[:1] if short else one.results)]
    return html.table(_HEADER, rows, _NUMERIC, "All arms and metrics")


def _cells(one: CellResults, result: Result) -> tuple[str, ...]:
    return (
        *(result.model, result.task, result.arm, result.metric),
        *(percent(result.value), interval(result.ci_low, result.ci_high), number(result.n)),
        *(share(result.parsed, result.n), number(result.failed), number(one.counts.cut)),
    )


def _order(run: Gathered) -> list[str]:
    """How sure the order of the models is, for each task in its own arm."""
    rankings = [] if run.comparisons is None else run.comparisons.rankings
    main = [one for one in rankings if run.is_main(one.task, one.arm) and len(one.models) > 1]
    if not main:
        return []
    rows = []
    for ranking in main:
        for place, model in enumerate(ranking.models):
            after = ranking.before[place][place + 1] if place + 1 < len(ranking.models) else None
            first = percent(ranking.ranks[place][0])
            value = percent(ranking.values[place])
            rows.append(
                (ranking.task, number(place + 1), model, value, number(ranking.n[place]), first, percent(after))
            )
    header = ("task", "rank", "model", "value %", "n", "first in % of resamples", "before the next in %")
    numeric = {*header} - {"task", "model"}
    caption = (
        f"How sure the order is: shares of {number(run.comparisons.resamples if run.comparisons else None)} resamples"
    )
    return [html.details("How sure the order of the models is", html.table(header, rows, numeric, caption))]
