"""What a page is made of, read from a run once: results, usage, comparisons, and who is who."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wardround.errors import WrongUse
from wardround.journal import Journal
from wardround.reports.comparing import compare_run
from wardround.reports.comparison import Comparisons
from wardround.reports.results import CellResults, Result, results_of
from wardround.reports.standings import own_arms
from wardround.reports.usage import RunUsage, usage_of
from wardround.task import load_task


@dataclass(frozen=True, slots=True)
class AskedTask:
    """A task of the study: `label` as it stands in tables, `arms` in the study's order.

    `main_arm` is the arm of the task's own protocol (the whole documents, or none where it has none), in which models
    are compared with each other; `metric` is its first. `family` is the name of the score it is a part of. It has
    answers unless it counts those that were made up (`hallucinated`).
    """

    label: str
    title: str
    level: int | None
    family: str
    metric: str
    main_arm: str
    arms: tuple[str, ...]
    has_answers: bool = True


@dataclass(frozen=True, slots=True)
class Gathered:
    """A run as the page's parts see it.

    `groups` are the models' ("biomedical", "general", "baseline", "other"), baselines stand last among `models`;
    `comparisons` is None where there is nothing to compare.
    """

    journal: Journal
    manifest: Mapping[str, Any]
    cells: tuple[CellResults, ...]
    tasks: tuple[AskedTask, ...]
    models: tuple[str, ...]
    groups: Mapping[str, str]
    usage: RunUsage
    comparisons: Comparisons | None

    def cell(self, model: str, task: str, arm: str) -> CellResults | None:
        """The cell of that name, if the study has it."""
        where = (model, task, arm)
        return next((one for one in self.cells if (one.cell.model, one.cell.task, one.cell.arm) == where), None)

    def main_cells(self) -> list[CellResults]:
        """The cells in which tasks are asked as their own protocol has it."""
        arms = {task.label: task.main_arm for task in self.tasks}
        return [one for one in self.cells if one.cell.arm == arms[one.cell.task]]

    @property
    def study(self) -> Mapping[str, Any]:
        """The study as it was last run."""
        study: Mapping[str, Any] = self.manifest.get("study", {})
        return study

    def is_main(self, task: str, arm: str) -> bool:
        """Whether a task's arm is the one of its own protocol."""
        return any(one.label == task and one.main_arm == arm for one in self.tasks)


def first_result(one: CellResults) -> Result:
    """The result of a cell's first metric, which decides what is right."""
    return one.results[0]


def gather(journal: Journal, profile: str | None = None) -> Gathered:
    """Read a run, under `profile` or each cell's own. Raises `JournalError` if it is not scored under it."""
    cells = results_of(journal, profile)
    manifest = journal.manifest()
    rows = manifest.get("study", {}).get("models", [])
    groups = {row["name"]: row.get("group", "other") for row in rows}
    models = tuple(dict.fromkeys(one.cell.model for one in cells))
    return Gathered(
        journal=journal,
        manifest=manifest,
        cells=tuple(cells),
        tasks=_tasks_of(cells),
        models=tuple(sorted(models, key=lambda model: groups.get(model) == "baseline")),
        groups={model: groups.get(model, "other") for model in models},
        usage=usage_of(journal),
        comparisons=_compared(journal, profile),
    )


def _compared(journal: Journal, profile: str | None) -> Comparisons | None:
    """All that the run's study compares; a run of one model has nothing, which its page says."""
    try:
        return compare_run(journal, profile=profile)
    except WrongUse:
        return None


def _tasks_of(cells: Sequence[CellResults]) -> tuple[AskedTask, ...]:
    loaded = [(one, load_task(one.cell.task_file, one.cell.settings)) for one in cells]
    # The comparisons' own choice, or the figures would show other cells than the verdict speaks of.
    main = own_arms([(one.cell.task, one.cell.arm, task.rules(_profile(one)).protocol) for one, task in loaded])
    found = []
    for label in dict.fromkeys(one.cell.task for one in cells):
        own = [(one, task) for one, task in loaded if one.cell.task == label]
        first, task = own[0]
        arms = tuple(dict.fromkeys(one.cell.arm for one, _ in own))
        metric = first_result(first).metric
        answers = all(one.name != "hallucinated" for one in task.metrics)
        found.append(AskedTask(label, task.title, task.level, task.family or label, metric, main[label], arms, answers))
    return tuple(found)


def _profile(one: CellResults) -> str:
    return first_result(one).profile
