"""Level 1 against Level 2, as the papers' figure has it."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from wardround.reports import html
from wardround.reports.aggregates import LEVEL_TASKS, TASK_METRICS, level_score, task_score
from wardround.reports.numbers import percent
from wardround.reports.page.gathered import Gathered, first_result
from wardround.reports.page.scatter import Axes, Point, scatter_plot
from wardround.reports.page.verdict import by_pair, main_comparisons
from wardround.reports.published import OUR_NAMES

LEVELS = (1, 2)
# A model's score on each level; None where it has not all that enters.
LevelScores = dict[int, float | None]


def levels_part(run: Gathered) -> list[str]:
    """The figure over the papers' own means where all that enters them was asked and scored, else over ours."""
    there = {task.level for task in run.tasks}
    if not there & {*LEVELS}:
        return []
    title = "Level 1 against Level 2"
    parts = [html.heading(2, title, "levels")]
    if not {*LEVELS} <= there:
        only = next(level for level in LEVELS if level in there)
        return [*parts, html.paragraph(f"The study has tasks of Level {only} alone.")]
    papers = {model: paper_means(run, model) for model in run.models}
    if any(None not in scores.values() for scores in papers.values()):
        return parts + _shown(run, papers, _PAPERS)
    ours = {model: first_metric_means(run, model) for model in run.models}
    if any(None not in scores.values() for scores in ours.values()):
        return parts + _shown(run, ours, _OURS.format(tasks=_tasks_named(run)))
    return [
        *parts,
        html.paragraph("No model was asked, with an answer that can be scored, on all tasks of both levels."),
    ]


_PAPERS = (
    "Level means as the CLUE paper forms them: the plain mean of all metrics of each task, then of the level's three"
    " tasks. BERTScore and valid codes weigh most in them; first metrics stand above."
)
_OURS = (
    "Each level's value is the plain mean of its tasks' first metrics ({tasks}). These are not the CLUE paper's means,"
    " which need all metrics of all six tasks under one of the papers' profiles."
)


def _tasks_named(run: Gathered) -> str:
    levels = [
        f"Level {level}: {', '.join(task.label for task in run.tasks if task.level == level)}" for level in LEVELS
    ]
    return "; ".join(levels)


def _shown(run: Gathered, scores: Mapping[str, LevelScores], how: str) -> list[str]:
    points = [
        Point(model, 100 * one, 100 * two, run.groups[model])
        for model, levels in scores.items()
        for one, two in [(levels[1], levels[2])]
        if one is not None and two is not None
    ]
    arrows = [(own[0].second.model, own[0].first.model) for own in by_pair(main_comparisons(run))]
    real = [
        (second, first) for second, first in arrows if "baseline" not in (run.groups.get(second), run.groups.get(first))
    ]
    said = "; ".join(f"{point.label}: Level 1 {point.x:.1f}, Level 2 {point.y:.1f}" for point in points)
    plot = scatter_plot(
        "levels", "Level 1 against Level 2", said, Axes("Level 1 (%)", "Level 2 (%)"), points, arrows=real
    )
    arrow = " Arrows lead from the general model of a pair to the biomedical one." if real else ""
    rows = [(model, run.groups[model], percent(levels[1]), percent(levels[2])) for model, levels in scores.items()]
    header = ("model", "kind", "Level 1 %", "Level 2 %")
    return [
        html.plots([plot], how + arrow),
        html.details("The numbers of this figure", html.table(header, rows, {*header[2:]}, "Level means")),
    ]


def paper_means(run: Gathered, model: str) -> LevelScores:
    """The papers' means of a model under a profile of theirs, from each task in its own arm."""
    own = [one for one in run.main_cells() if one.cell.model == model]
    if not all(first_result(one).profile.startswith("clue-") for one in own):
        return dict.fromkeys(LEVELS)
    values: dict[tuple[str, str], float | None] = {}
    for one in own:
        for result in one.results:
            # "bertscore_f1[model]" is the papers' metric too, unless there are several.
            for name in dict.fromkeys((result.metric, result.metric.partition("[")[0])):
                values[one.task, name] = None if (one.task, name) in values else result.value
    scores = {
        task: task_score({metric: values.get(OUR_NAMES[task, metric]) for metric in metrics})
        for task, metrics in TASK_METRICS.items()
    }
    return {level: level_score({str(task): score for task, score in scores.items()}, level) for level in LEVEL_TASKS}


def first_metric_means(run: Gathered, model: str) -> LevelScores:
    """Each level's plain mean of the first metrics of the study's tasks; parts of one score are averaged first."""
    return {level: _first_metric_mean(run, model, level) for level in LEVELS}


def _first_metric_mean(run: Gathered, model: str, level: int) -> float | None:
    families: dict[str, list[float | None]] = {}
    for task in run.tasks:
        if task.level == level:
            one = run.cell(model, task.label, task.main_arm)
            families.setdefault(task.family, []).append(None if one is None else first_result(one).value)
    values = [value for family in families.values() for value in family]
    if not values or None in values:
        return None
    return fmean(fmean(one for one in family if one is not None) for family in families.values())
