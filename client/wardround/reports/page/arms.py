"""Arms: what was shown beside what was answered, between the placebo and the oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wardround.reports import html
from wardround.reports.numbers import ABSENT, number, percent
from wardround.reports.page.dots import MOST_SERIES, Dot, DotLine, dot_plots
from wardround.reports.page.gathered import AskedTask, Gathered, first_result
from wardround.reports.page.heat import HeatColumn, HeatRow, heat_maps
from wardround.reports.page.models import flags
from wardround.reports.page.pairs import arm_pairs
from wardround.reports.retrieval import Shown, shown_in

# What an arm's evidence is, as a reader may call it; and the order of a figure's lines, from no help to all there is.
_KINDS = {
    "none": "no documents",
    "random-passages": "placebo passages",
    "truncated": "the first documents",
    "bm25": "found by words",
    "dense": "found by embeddings",
    "hybrid": "found by both",
    "two-step": "looked up by itself",
    "full": "all documents",
    "clue-oracle": "the answer's documents first",
    "oracle-spans": "oracle passages",
}
_BARS = "in how many prompts the evidence held the answer, as far as its places are known"
_HEADER = (
    *("task", "arm", "model", "n", "value %", "95 % interval", "hit %", "right where hit %", "grounded", "lucky"),
    *("ignored", "miss", "hits of", "whole %", "abstained %", "evidence tokens", "passages"),
)
_NUMERIC = {*_HEADER} - {"task", "arm", "model", "hits of"}


def arms_part(run: Gathered) -> list[str]:
    """A figure for each task that was asked in several arms; nothing where no task was."""
    several = [task for task in run.tasks if len(task.arms) > 1]
    if not several:
        return []
    shown = {one.cell.id: found for one in run.cells if (found := _shown(run, one.cell.id)) is not None}
    parts = [html.heading(2, "Arms: what the models were shown", "arms")]
    for task in several:
        parts += _figure(run, task, shown)
    parts.append(html.details("The numbers of these figures", _table(run, several, shown)))
    if shown:
        parts.append(
            html.paragraph(
                "A hit: the evidence that was shown holds the answer, as far as its places are known; a lower bound."
                " Of passages one must overlap a place of the answer, of documents a place must stand in the prompt"
                " whole; “whole %” is the same for both. Grounded: hit and right. Lucky: no hit, yet right. Ignored:"
                " hit and wrong. Miss: neither.",
                "soft",
            )
        )
    return parts + arm_pairs(run)


def _shown(run: Gathered, number: int) -> Shown | None:
    """What a cell's arm showed; None where nothing was noted."""
    noted = run.journal.read("SELECT 1 FROM asks WHERE cell = ? AND evidence IS NOT NULL LIMIT 1", (number,))
    if not any(True for _ in noted):
        return None
    one = next(one for one in run.cells if one.cell.id == number)
    result = first_result(one)
    # Only an accuracy says of a single answer that it is right.
    right = result.metric if result.metric.startswith("accuracy") else ""
    return shown_in(list(run.journal.answers(number)), run.journal.scores(number, result.profile), right)


def _figure(run: Gathered, task: AskedTask, shown: Mapping[int, Shown]) -> list[str]:
    name, title = f"arms-{run.tasks.index(task)}", f"{task.label}: {task.metric} in each arm"
    models = _series(run)
    arms = ordered(task.arms, run.study)
    if len(models) <= MOST_SERIES:
        lines = [_line(run, task, arm, kind, models, shown) for arm, kind in arms]
        caption = f"Points: {task.metric} with its 95 % interval."
        caption += f" Open bars: {_BARS}." if any(line.bar is not None for line in lines) else ""
        return [
            html.heading(3, title),
            html.plots(dot_plots(name, title, models, lines, bar="hit rate of the evidence"), caption),
        ]
    columns = [HeatColumn(arm, kind) for arm, kind in arms]
    rows = [_hit_row(run, task, arms, shown), *(_heat_row(run, task, arms, model) for model in models)]
    caption = f"Per cent: {task.metric} by arm; first line: {_BARS}. Darker is higher."
    drawn = heat_maps(name, title, columns, [row for row in rows if row is not None])
    return [html.heading(3, title), html.plots(drawn, caption)]


def _series(run: Gathered) -> list[str]:
    """The models whose points are drawn: baselines only where there is nothing else."""
    own = [model for model in run.models if run.groups[model] != "baseline"]
    return own or list(run.models)


def ordered(arms: Sequence[str], study: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Arms from no help to all there is, each with what it shows; those that show the same in the study's order."""
    settings = {arm["name"]: arm for arm in study.get("arms", [])}
    kinds = list(_KINDS)
    found = []
    for place, arm in enumerate(arms):
        evidence = str(
            settings.get(arm, {}).get("evidence", {"closed-book": "none", "oracle": "oracle-spans"}.get(arm, arm))
        )
        budget = settings.get(arm, {}).get("budget")
        said = _KINDS.get(evidence, "")
        said += f", ≤ {budget:,} tokens" if said and budget else ""
        found.append((kinds.index(evidence) if evidence in kinds else -1, budget or 0, place, arm, said))
    return [(arm, said) for *_, arm, said in sorted(found)]


def _line(
    run: Gathered, task: AskedTask, arm: str, kind: str, models: Sequence[str], shown: Mapping[int, Shown]
) -> DotLine:
    dots = []
    for model in models:
        one = run.cell(model, task.label, arm)
        result = None if one is None else first_result(one)
        dots.append(
            Dot(None)
            if result is None
            else Dot(*(_hundredfold(v) for v in (result.value, result.ci_low, result.ci_high)))
        )
    return DotLine(arm, kind, _hundredfold(_hit(run, task, arm, shown)), tuple(dots))


def _hit(run: Gathered, task: AskedTask, arm: str, shown: Mapping[int, Shown]) -> float | None:
    """The arm's hit rate over its models: they see nearly the same, as far as their token counts allow."""
    cells = [run.cell(model, task.label, arm) for model in run.models]
    rates = [shown[one.cell.id].hit for one in cells if one is not None and one.cell.id in shown]
    known = [rate for rate in rates if rate is not None]
    return sum(known) / len(known) if known else None


def _hundredfold(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _hit_row(
    run: Gathered, task: AskedTask, arms: Sequence[tuple[str, str]], shown: Mapping[int, Shown]
) -> HeatRow | None:
    rates = [_hit(run, task, arm, shown) for arm, _ in arms]
    if all(rate is None for rate in rates):
        return None
    return HeatRow("hit rate of the evidence", tuple(rates), tuple(percent(rate) for rate in rates))


def _heat_row(run: Gathered, task: AskedTask, arms: Sequence[tuple[str, str]], model: str) -> HeatRow:
    cells = [run.cell(model, task.label, arm) for arm, _ in arms]
    values = [None if one is None else first_result(one).value for one in cells]
    numbers = [
        percent(value) + ("" if one is None or value is None else flags(one))
        for one, value in zip(cells, values, strict=True)
    ]
    return HeatRow(model, tuple(values), tuple(numbers))


def _table(run: Gathered, tasks: Sequence[AskedTask], shown: Mapping[int, Shown]) -> str:
    rows = [
        _row(run, task, arm, model, shown)
        for task in tasks
        for arm, _ in ordered(task.arms, run.study)
        for model in run.models
        if run.cell(model, task.label, arm) is not None
    ]
    return html.table(_HEADER, rows, _NUMERIC, "Every arm of every task that was asked in several")


def _row(run: Gathered, task: AskedTask, arm: str, model: str, shown: Mapping[int, Shown]) -> tuple[str, ...]:
    one = run.cell(model, task.label, arm)
    assert one is not None
    result, seen = first_result(one), shown.get(one.cell.id)
    interval = ABSENT if result.ci_low is None else f"[{percent(result.ci_low)}, {percent(result.ci_high)}]"
    start = (task.label, arm, model, number(result.n), percent(result.value), interval)
    if seen is None:
        return (*start, *[ABSENT] * (len(_HEADER) - len(start)))
    quadrants = [number(seen.quadrants[name]) if seen.quadrants else ABSENT for name in _HEADER[8:12]]
    tokens = ABSENT if seen.tokens is None else f"{seen.tokens:,.0f}"
    passages = ABSENT if seen.k is None else f"{seen.k:.1f}"
    return (
        *start,
        percent(seen.hit),
        percent(seen.right_given_hit),
        *quadrants,
        seen.by,
        percent(seen.whole),
        percent(seen.abstained),
        tokens,
        passages,
    )
