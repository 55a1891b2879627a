"""The papers' level means of a pair: the values of `aggregates`, an interval and a test over all tasks at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.browser.runs import reply
from tests.reports.made_runs import tell_study
from wardround.endpoints import Params
from wardround.journal import Asked, Journal, Outcome, Row
from wardround.reports.aggregates import LEVEL_TASKS, TASK_METRICS, level_score, task_score
from wardround.reports.comparing import OWN_ARM, Comparison, compare_run
from wardround.reports.published import OUR_NAMES
from wardround.reports.results import results_of
from wardround.task import Message, Prompt, Sample, load_task

PROFILE = "clue-tgi-2024"
MODELS = {"bio": "aaditya/Llama3-OpenBioLLM-8B", "general": "meta-llama/Meta-Llama-3-8B-Instruct"}
LEVEL_1 = ("mednli", "meqsum", "problem_summary")
LEVEL_2 = (*(f"longhealth:longhealth_t{number}" for number in (1, 2, 3)), "medisumqa", "medisumcode")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal.create(tmp_path / "run") as made:
        yield made


def scored(journal: Journal, task: str, samples: int, *, seed: int, concepts: bool = True, undefined: int = 0) -> None:
    """A task of the papers for both models, every metric of theirs scored by chance; LongHealth by two patients.

    Of the first model's so many samples the concept F1 is undefined.
    """
    loaded = load_task(task)
    rules = loaded.rules(PROFILE)
    arm = "clue-oracle" if loaded.family else "closed-book"
    rows = [
        Row(
            Sample(f"{loaded.name} {place}", {}, "A", f"patient {place % 2}" if loaded.family else None),
            Prompt((Message("user", f"{loaded.name} {place}"),)),
        )
        for place in range(samples)
    ]
    generator = np.random.default_rng(seed)
    for model in MODELS:
        cell = Asked(model, loaded.name, arm, PROFILE, task, Params(max_tokens=8), {"model": model})
        with journal.transaction():
            journal.place_cells([cell])
            journal.plan_cells([cell], rows)
        number = next(one.id for one in journal.cells() if (one.model, one.task) == (model, loaded.name))
        asked = journal.read("SELECT request FROM asks WHERE cell = ?", (number,))
        journal.record([Outcome(int(request), reply("answer"), 1) for (request,) in list(asked)])
        values = []
        for place in range(samples):
            row: dict[str, float | None] = {rules.metrics[0].parsed: 1.0}
            for metric in rules.metrics:
                source = {"bertscore_f1": "[m]", "concept_f1": "[umls]"}.get(metric.name, "")
                right = metric.kind == "proportion"
                row[f"{metric.name}{source}"] = float(generator.random() < 0.6) if right else float(generator.random())
            if "concept_f1[umls]" in row and model == "bio" and place < undefined:
                row["concept_f1[umls]"] = None
            if not concepts:
                row.pop("concept_f1[umls]", None)
            values.append((place, row))
        journal.put_scores(number, PROFILE, values)


def levels(journal: Journal) -> dict[int | None, Comparison]:
    tell_study(journal, [{"name": name, "served_as": served} for name, served in MODELS.items()])
    made = compare_run(journal, pairs=["bio:general"])
    return {one.level: one for one in made.comparisons if one.level is not None}


def by_the_table(journal: Journal, model: str, level: int) -> float | None:
    """The level's mean from the results table, by the functions that the published figures are checked with."""
    ours: Mapping[tuple[str, str], float | None] = {
        (one.task, result.metric.removesuffix("[m]")): result.value
        for one in results_of(journal)
        for result in one.results
        if one.cell.model == model
    }
    names = {name: [OUR_NAMES[name, metric] for metric in TASK_METRICS[name]] for name in LEVEL_TASKS[level]}
    return level_score(
        {name: task_score({" ".join(one): ours[one] for one in metrics}) for name, metrics in names.items()}, level
    )


@pytest.mark.parametrize(("level", "tasks"), [(1, LEVEL_1), (2, LEVEL_2)])
def test_a_levels_values_are_the_papers_means_of_the_results(
    journal: Journal, level: int, tasks: tuple[str, ...]
) -> None:
    for place, task in enumerate(tasks):
        scored(journal, task, 10, seed=place)
    found = levels(journal)
    assert list(found) == [level]
    one = found[level]
    assert one.first.value == pytest.approx(by_the_table(journal, "bio", level))
    assert one.second.value == pytest.approx(by_the_table(journal, "general", level))
    assert (one.task, one.metric, one.first.arm) == (f"Level {level}", "mean", OWN_ARM)
    assert one.tally is None
    assert one.n == 10 * len(tasks)


Rows = list[dict[str, float | None]]


def level_by_hand(tables: Mapping[str, Rows]) -> float:
    """Level 1 of rows of scores: the mean over tasks of the mean over metrics, each over what is defined."""
    # The first sample of each task counts twice (study.md, defect 1).
    weights = (2, 1, 1)
    tasks = []
    for rows in tables.values():
        means = []
        for metric in rows[0]:
            defined = [(row[metric], weight) for row, weight in zip(rows, weights, strict=True)]
            known = [(value, weight) for value, weight in defined if value is not None]
            means.append(sum(value * weight for value, weight in known) / sum(weight for _, weight in known))
        tasks.append(sum(means) / len(means))
    return sum(tasks) / len(tasks)


@pytest.mark.parametrize("undefined", [0, 1])
def test_a_level_is_tested_by_swapping_the_cases_of_all_its_tasks(journal: Journal, undefined: int) -> None:
    for place, task in enumerate(LEVEL_1):
        scored(journal, task, 3, seed=10 + place, undefined=undefined)
    one = levels(journal)[1]
    metrics = {task: [metric.name for metric in load_task(task).rules(PROFILE).metrics] for task in LEVEL_1}
    both: list[dict[str, Rows]] = []
    for model in MODELS:
        cells = {cell.task: journal.scores(cell.id, PROFILE) for cell in journal.cells() if cell.model == model}
        both.append(
            {
                task: [
                    {name: value for name, value in row.items() if name.partition("[")[0] in metrics[task]}
                    for _, row in sorted(rows.items())
                ]
                for task, rows in cells.items()
            }
        )
    observed = level_by_hand(both[0]) - level_by_hand(both[1])
    assert one.difference == pytest.approx(observed)
    extreme = 0
    for swaps in itertools.product((False, True), repeat=9):
        flags = iter(swaps)
        sides: list[dict[str, Rows]] = [{task: [] for task in LEVEL_1} for _ in both]
        for task in LEVEL_1:
            for rows in zip(both[0][task], both[1][task], strict=True):
                first, second = reversed(rows) if next(flags) else rows
                sides[0][task].append(first)
                sides[1][task].append(second)
        extreme += abs(level_by_hand(sides[0]) - level_by_hand(sides[1])) >= abs(observed) - 1e-12
    assert one.p == pytest.approx(extreme / 2**9)
    assert one.clusters == 9


def test_patients_that_tasks_share_are_one_case(journal: Journal) -> None:
    for place, task in enumerate(LEVEL_2):
        scored(journal, task, 6, seed=place)
    assert levels(journal)[2].clusters == 2 + 6 + 6


def test_no_level_without_all_its_metrics(journal: Journal) -> None:
    for place, task in enumerate(LEVEL_1):
        scored(journal, task, 4, seed=place, concepts=False)
    assert levels(journal) == {}


def test_a_levels_test_is_one_of_the_family(journal: Journal) -> None:
    for place, task in enumerate(LEVEL_1):
        scored(journal, task, 4, seed=place)
    assert compare_run(journal, pairs=["bio:general"]).family == 4


def test_published_figures_stand_beside_ours(journal: Journal) -> None:
    for place, task in enumerate(LEVEL_1):
        scored(journal, task, 4, seed=place)
    level = levels(journal)[1]
    (site,) = level.published
    assert (site.first, site.second) == pytest.approx((0.332, 0.4837), abs=0.0001)
    assert site.difference == pytest.approx((site.first or 0) - (site.second or 0))
    assert site.metric == "Level 1, average score"
    mednli = next(one for one in compare_run(journal, pairs=["bio:general"]).comparisons if one.task == "mednli")
    assert [one.first for one in mednli.published] == pytest.approx([0.4493], abs=0.0001)


def test_models_of_other_names_have_no_published_figures(journal: Journal) -> None:
    scored(journal, "mednli", 4, seed=1)
    (one,) = compare_run(journal, pairs=["bio:general"]).comparisons
    assert one.published == ()
