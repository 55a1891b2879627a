"""Accuracy against speed and against money, with the models that none other beats on both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from wardround.journal.usage import Took, at_work_s, took_in_cell
from wardround.reports import html
from wardround.reports.numbers import dollars, number, percent, seconds
from wardround.reports.page.drawing import Plot
from wardround.reports.page.gathered import AskedTask, Gathered, first_result
from wardround.reports.page.scatter import Axes, Point, scatter_plot

_HEADER = (
    *("model", "accuracy %", "answers a minute", "$ per 1,000 samples", "p50 s", "p95 s", "TTFT s"),
    *("prompt tokens", "output tokens", "cost in all"),
)


@dataclass(frozen=True, slots=True)
class Spent:
    """A model's accuracy beside what it took, over the same cells.

    `accuracy` is the mean over the tasks compared, a share; `answers_a_minute` counts while it was at work, at the
    study's concurrency; `per_1000_usd` is None without a price. `cost_is_least`: some answers have no token counts.
    """

    model: str
    accuracy: float
    answers_a_minute: float | None
    per_1000_usd: float | None
    cost_is_least: bool


def costs_part(run: Gathered) -> list[str]:
    """Both figures and their table; the embedded server's rows are left out, for their times are no model's."""
    tasks = accuracy_tasks(run)
    asked = [model for model in run.models if model not in run.usage.embedded]
    parts = [html.heading(2, "Accuracy against speed and cost", "costs")]
    if not asked:
        return [*parts, html.paragraph("Only baselines of the embedded server were asked; their speed is no model's.")]
    spent = [one for model in asked if (one := _spent(run, model, tasks)) is not None]
    if not spent:
        return [*parts, html.paragraph("No model has answered all tasks that are compared here.")]
    drawn = _plots(run, spent)
    names = ", ".join(task.label for task in tasks)
    what = "accuracy" if tasks[0].metric.startswith("accuracy") else "the first metrics"
    caption = (
        f"Up: the mean of {what} over {names}, each in its own arm. Dashed, and bold in the key: the models that no"
        " other one beats in both (the Pareto front). Speed is what was reached in this run, at its concurrency, not"
        " what a server can carry; a load test tells that."
    )
    if all(one.per_1000_usd is None for one in spent):
        caption += " Cost is not shown: no model's row has a price."
    return [
        *parts,
        *([html.plots(drawn, caption)] if drawn else [html.paragraph(caption, "soft")]),
        html.details("The numbers of these figures", _table(run, spent)),
    ]


def accuracy_tasks(run: Gathered) -> list[AskedTask]:
    """The tasks whose first metric is an accuracy; all where there is none, for a mean of both kinds means little."""
    found = [task for task in run.tasks if task.metric.startswith("accuracy")]
    return found or list(run.tasks)


def _spent(run: Gathered, model: str, tasks: Sequence[AskedTask]) -> Spent | None:
    cells = [run.cell(model, task.label, task.main_arm) for task in tasks]
    own = [one for one in cells if one is not None]
    values = [value for one in own if (value := first_result(one).value) is not None]
    if len(values) < len(tasks):
        return None
    took: dict[int, Took] = {}
    for one in own:
        took.update((answer.request, answer) for answer in took_in_cell(run.journal, one.cell.id))
    at_work = at_work_s(list(took.values()))
    used = [run.usage.cells[one.cell.id] for one in own]
    costs = [one.cost_usd for one in used if one.cost_usd is not None]
    samples = sum(one.samples for one in used)
    known = len(costs) == len(used) and samples
    return Spent(
        model=model,
        accuracy=fmean(values),
        answers_a_minute=60 * len(took) / at_work if at_work else None,
        per_1000_usd=1000 * sum(costs) / samples if known else None,
        cost_is_least=any(one.cost_is_least for one in used),
    )


def pareto_front(points: Sequence[Point], *, more_is_better: bool) -> list[str]:
    """The labels of the points that no other beats on both axes, from left to right; up is always better."""
    found = []
    for point in points:
        beaten = any(
            (other.x >= point.x if more_is_better else other.x <= point.x)
            and other.y >= point.y
            and (other.x, other.y) != (point.x, point.y)
            for other in points
        )
        if not beaten:
            found.append(point)
    return [point.label for point in sorted(found, key=lambda point: (point.x, point.y, point.label))]


def _plots(run: Gathered, spent: Sequence[Spent]) -> list[Plot]:
    drawn = []
    fast = [(one, one.answers_a_minute) for one in spent if one.answers_a_minute]
    paid = [(one, one.per_1000_usd) for one in spent if one.per_1000_usd is not None]
    for name, what, found, more in (
        ("speed", "answers a minute", fast, True),
        ("cost", "US dollars per 1,000 samples", paid, False),
    ):
        points = [
            Point(one.model, value, 100 * one.accuracy, run.groups[one.model])
            for one, value in found
            if value is not None
        ]
        if points:
            axes = Axes(what, "accuracy (%)", x_by_ratios=all(point.x > 0 for point in points))
            said = "; ".join(f"{point.label}: {point.x:,.4g} {what}, {point.y:.1f} %" for point in points)
            front = pareto_front(points, more_is_better=more)
            drawn.append(scatter_plot(name, f"Accuracy against {what}", said, axes, points, front=front))
    return drawn


def _table(run: Gathered, spent: Sequence[Spent]) -> str:
    rows = []
    for one in spent:
        whole = run.usage.models[one.model]
        rows.append(
            (
                one.model,
                percent(one.accuracy),
                "–" if one.answers_a_minute is None else f"{one.answers_a_minute:,.1f}",
                dollars(one.per_1000_usd, at_least=one.cost_is_least),
                *(seconds(value) for value in (whole.latency_p50_s, whole.latency_p95_s, whole.ttft_p50_s)),
                *(number(whole.prompt_tokens), number(whole.output_tokens)),
                dollars(whole.cost_usd, at_least=whole.cost_is_least),
            )
        )
    caption = "Accuracy, speed and price over the tasks of the figures; latencies, tokens and cost over the whole run"
    return html.table(_HEADER, rows, {*_HEADER[1:]}, caption)
