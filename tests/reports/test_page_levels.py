"""The papers' level means on the page: from our results under a profile of theirs, the values that they printed."""

from __future__ import annotations

from collections import Counter
from typing import cast

import pytest

from wardround.journal import Cell, Journal
from wardround.reports.aggregates import LEVEL_TASKS, TASK_METRICS
from wardround.reports.page.gathered import AskedTask, Gathered
from wardround.reports.page.levels import first_metric_means, levels_part, paper_means
from wardround.reports.published import OUR_NAMES, SITE_2024_06_26, published_rows
from wardround.reports.results import CellResults, Counts, Result
from wardround.reports.usage import RunUsage

# Half of the last printed digit, and room for floats at an exact tie.
ROUNDING = 0.005 + 1e-9
JUNE: dict[str, dict[tuple[str, str], float]] = {}
for _row in published_rows():
    if _row.version == SITE_2024_06_26:
        JUNE.setdefault(_row.model, {})[_row.task, _row.metric] = _row.value
PRINTED = {
    model: (figures["Level 1", "average score"], figures["Level 2", "average score"])
    for model, figures in JUNE.items()
    if ("Level 2", "average score") in figures
}


def cells_of(model: str, profile: str) -> list[CellResults]:
    """A model's printed metrics as if they were our results."""
    results: dict[str, list[Result]] = {}
    for task in (task for tasks in LEVEL_TASKS.values() for task in tasks):
        for metric in TASK_METRICS[task]:
            name, ours = OUR_NAMES[task, metric]
            # Metrics of a service carry their source.
            ours = f"{ours}[a-model]" if ours == "bertscore_f1" else ours
            value = JUNE[model][task, metric] / 100
            own = Result(model, name, "closed-book", profile, ours, value, None, None, 10, 10, 0)
            results.setdefault(name, []).append(own)
    counts = Counts(10, 10, 0, 0, 0, Counter())
    return [
        CellResults(Cell(place, model, name, "closed-book", profile, name), counts, tuple(own), name)
        for place, (name, own) in enumerate(results.items())
    ]


def gathered(models: list[str], profile: str) -> Gathered:
    cells = [one for model in models for one in cells_of(model, profile)]
    levels = {
        OUR_NAMES[task, TASK_METRICS[task][0]][0]: level for level, tasks in LEVEL_TASKS.items() for task in tasks
    }
    tasks = [
        AskedTask(
            name,
            name,
            levels.get(name, 2),
            "longhealth" if "longhealth" in name else name,
            "m",
            "closed-book",
            ("closed-book",),
        )
        for name in dict.fromkeys(one.cell.task for one in cells)
    ]
    return Gathered(
        journal=cast(Journal, None),
        manifest={},
        cells=tuple(cells),
        tasks=tuple(tasks),
        models=tuple(models),
        groups=dict.fromkeys(models, "general"),
        usage=cast(RunUsage, None),
        comparisons=None,
    )


@pytest.mark.parametrize("model", PRINTED)
def test_the_papers_means_are_those_that_they_printed(model: str) -> None:
    found = paper_means(gathered([model], "clue-tgi-2024"), model)
    assert [100 * (found[level] or 0) for level in (1, 2)] == pytest.approx(PRINTED[model], abs=ROUNDING)


def test_under_our_own_rules_there_are_no_papers_means() -> None:
    model = next(iter(PRINTED))
    assert paper_means(gathered([model], "strict"), model) == {1: None, 2: None}


def test_parts_of_one_score_count_once_in_the_mean_of_first_metrics() -> None:
    model = next(iter(PRINTED))
    run = gathered([model], "strict")
    value = {one.cell.task: one.results[0].value or 0 for one in run.cells}
    longhealth = sum(value[f"longhealth_t{part}"] for part in (1, 2, 3)) / 3
    expected = (longhealth + value["medisumqa"] + value["medisumcode"]) / 3
    assert first_metric_means(run, model)[2] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("profile", "said"), [("clue-tgi-2024", "as the CLUE paper forms them"), ("strict", "not the CLUE")]
)
def test_the_figure_says_whose_means_it_shows(profile: str, said: str) -> None:
    assert said in "".join(levels_part(gathered(list(PRINTED), profile)))
