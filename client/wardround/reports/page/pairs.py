"""The pairs: differences with their intervals as a forest plot, and the table behind it."""

from __future__ import annotations

from collections.abc import Sequence

from wardround.reports import html
from wardround.reports.comparison import OWN_ARM, Comparison, Comparisons
from wardround.reports.numbers import ABSENT, counted, number, percent
from wardround.reports.page.forest import ForestGroup, ForestLine, forest_plots
from wardround.reports.page.gathered import Gathered
from wardround.reports.page.verdict import main_comparisons
from wardround.reports.page.wording import p_value, points, points_interval
from wardround.statistics import Finding

_HEADER = (
    *("pair", "task", "arm", "metric", "n", "first %", "second %", "difference", "95 % interval", "p (Holm)"),
    *("wins / ties / losses", "first parsed %", "second parsed %", "verdict"),
)
_NUMERIC = {*_HEADER} - {"pair", "task", "arm", "metric", "verdict"}
_SIDES = ("second of the pair higher", "first of the pair higher")
_KINDS = {Finding.BETTER: "better", Finding.WORSE: "worse"}


def pairs_part(run: Gathered) -> list[str]:
    """The forest plot and the table of all pairs of models."""
    if run.comparisons is None:
        return []
    main = main_comparisons(run)
    shown = {id(one) for one in main}
    others = [one for one in run.comparisons.comparisons if one.kind == "models" and id(one) not in shown]
    if not main and not others:
        return []
    margin = run.comparisons.margin
    parts = [html.heading(2, "Pairs of models", "pairs")]
    parts += _plotted("pairs", "Differences between the models of each pair", main, margin)
    parts += _standings(run.comparisons)
    if others:
        below = _plotted("pairs-arms", "The same pairs in the study's other arms", others, margin)
        parts.append(
            html.details(f"The same pairs in the study's other arms: {len(others):,} comparisons", "".join(below))
        )
    return parts


def _standings(comparisons: Comparisons) -> list[str]:
    """Tasks counted by the bare values, as papers do, beside what is shown."""
    own = [one for one in comparisons.standings if one.kind == "models" and one.first_arm == OWN_ARM]
    if not own:
        return []
    header = ("pair", "tasks", "first higher", "equal", "first lower", "shown better", "shown worse", "not inferior")
    rows = [
        (
            f"{one.first_model} against {one.second_model}",
            *(number(one.tasks), number(one.higher), number(one.equal), number(one.lower)),
            *(number(one.better), number(one.worse), number(one.non_inferior)),
        )
        for one in own
    ]
    caption = "Tasks by the bare values, as papers count them, and by what is shown"
    return [html.details("Tasks counted as papers do", html.table(header, rows, {*header[1:]}, caption))]


def arm_pairs(run: Gathered) -> list[str]:
    """The comparisons of arms, each model with itself."""
    if run.comparisons is None:
        return []
    arms = [one for one in run.comparisons.comparisons if one.kind == "arms"]
    if not arms:
        return []
    title = "Differences between arms, each model against itself"
    body = "".join(_plotted("arms", title, arms, run.comparisons.margin))
    return [html.details(f"Arm against arm, each model against itself: {counted(len(arms), 'comparison')}", body)]


def _plotted(name: str, title: str, comparisons: Sequence[Comparison], margin: float) -> list[str]:
    if not comparisons:
        return []
    drawn = forest_plots(name, title, groups_of(comparisons), margin=100 * margin, sides=_SIDES)
    caption = (
        "Marks: the difference, first less second; lines: its 95 % interval. ▲ better and ▼ worse after Holm's"
        " adjustment, ○ no difference shown or none but by the margin. Dashed: the margin for “non-inferior”."
    )
    return [
        html.plots(drawn, caption),
        html.details("The numbers of this figure", comparison_table(comparisons, title)),
    ]


def groups_of(comparisons: Sequence[Comparison]) -> list[ForestGroup]:
    """The lines of a forest plot: tasks under their pair of models; what stands more than once under pair and task."""
    titles = [(pair_of(one), one.task) for one in comparisons]
    several = len({*titles}) < len(titles)
    found: dict[str, list[ForestLine]] = {}
    for one, (pair, task) in zip(comparisons, titles, strict=True):
        found.setdefault(f"{pair}: {task}" if several else pair, []).append(_line(one, several=several))
    return [ForestGroup(title, tuple(lines)) for title, lines in found.items()]


def pair_of(one: Comparison) -> str:
    """The two that are compared: models, or arms."""
    if one.kind == "models":
        return f"{one.first.model} against {one.second.model}"
    return f"{one.first.arm} against {one.second.arm}"


def _line(one: Comparison, *, several: bool) -> ForestLine:
    """A comparison's line, by its task; by its model or arm where its task stands above."""
    label = one.task if one.level is None else f"{one.task}, mean"
    if several:
        label = one.first.model if one.kind == "arms" else one.first.arm
    return ForestLine(
        label=label,
        value=_hundredfold(one.difference),
        low=_hundredfold(one.low),
        high=_hundredfold(one.high),
        kind=_KINDS.get(one.finding, "none"),
        numbers=f"{points(one.difference)} {points_interval(one.low, one.high)}",
        said=_shortly(one),
    )


def _hundredfold(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _shortly(one: Comparison) -> str:
    """The verdict where there is little room."""
    if one.finding is not Finding.NO_DIFFERENCE_SHOWN:
        return str(one.verdict)
    if one.detectable is None:
        return "none shown; study too small"
    return f"none shown; could see {100 * one.detectable:.1f} points"


def comparison_table(comparisons: Sequence[Comparison], caption: str) -> str:
    """The comparisons with everything that is known of them, a row each."""
    # Arms are compared within a model, models within an arm.
    within = "arm" if comparisons[0].kind == "models" else "model"
    header = tuple(within if name == "arm" else name for name in _HEADER)
    return html.table(header, [_row(one) for one in comparisons], _NUMERIC, f"{caption}, in points of 100")


def _row(one: Comparison) -> tuple[str, ...]:
    tally = one.tally
    counts = ABSENT if tally is None else f"{tally.wins:,} / {tally.ties:,} / {tally.losses:,}"
    within = one.first.arm if one.kind == "models" else one.first.model
    return (
        *(pair_of(one), one.task, within, one.metric, number(one.n)),
        *(percent(one.first.value), percent(one.second.value)),
        *(points(one.difference), points_interval(one.low, one.high), p_value(one.p_adjusted), counts),
        *(percent(one.first.parse_rate), percent(one.second.parse_rate), one.words),
    )
