"""What stands below the table: what it took, the papers' means, and the published figures beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from wardround.reports.aggregates import LEVEL_TASKS, TASK_METRICS, LevelTask, level_score, task_score
from wardround.reports.numbers import ABSENT, counted, dollars, number, percent, seconds
from wardround.reports.published import OUR_NAMES, SITE_2024_06_26, PublishedRow, published_rows
from wardround.reports.results import CellResults
from wardround.reports.table import aligned
from wardround.reports.usage import RunUsage, Usage
from wardround.study import ARMS

_COLUMNS = ("requests", "p50 s", "p95 s", "TTFT s", "prompt tokens", "output tokens", "cost", "per 1,000")
_CACHED = "cached tokens"
_REASONING = "reasoning %"


def clue_means(cells: Sequence[CellResults]) -> list[str]:
    """Task scores and level scores of each model as the CLUE paper forms them, of results by its own profiles.

    Under `strict` a share that is undefined (valid codes of a silent model) would count for more than it is worth.
    A score is absent while one of its metrics is (BERTScore and UMLS concept F1 come of services).
    """
    cells = [one for one in cells if all(result.profile.startswith("clue-") for result in one.results)]
    rows = []
    for model, arm in dict.fromkeys((one.cell.model, _arm(one)) for one in cells):
        ours: dict[tuple[str, str], float | None] = {}
        for one in cells:
            if (one.cell.model, _arm(one)) == (model, arm):
                for result in one.results:
                    name = (one.task, result.metric)
                    # Two uses of one task (two files, say) have no one value.
                    ours[name] = None if name in ours else result.value
        scores: dict[str, float | None] = {name: _task_mean(name, ours) for name in TASK_METRICS}
        if any(task in {task for task, _ in ours} for task, _ in OUR_NAMES.values()):
            levels = [level_score(scores, level) for level in LEVEL_TASKS]
            rows.append((model, arm, *(percent(score) for score in (*scores.values(), *levels))))
    if not rows:
        return []
    header = ("model", "arm", *TASK_METRICS, *(f"Level {level}" for level in LEVEL_TASKS))
    title = "Means as the CLUE paper forms them (– where a metric is absent; they are no better for being one number):"
    return [title, "", *aligned(header, rows, set(header[2:]))]


def _arm(one: CellResults) -> str:
    """Each task's own way of showing its cases counts as one arm: the papers' means go over tasks of both kinds."""
    return "each task's own" if one.cell.arm in ARMS else one.cell.arm


def _task_mean(name: LevelTask, ours: dict[tuple[str, str], float | None]) -> float | None:
    wanted = [OUR_NAMES[name, metric] for metric in TASK_METRICS[name]]
    return task_score({f"{task} {metric}": _sourced(ours, task, metric) for task, metric in wanted})


def _sourced(ours: dict[tuple[str, str], float | None], task: str, metric: str) -> float | None:
    """A value under its exact name, or under the only source it has: "bertscore_f1[model]" for "bertscore_f1"."""
    if ours.get((task, metric)) is not None:
        return ours[task, metric]
    sourced = [value for (one, name), value in ours.items() if one == task and name.startswith(f"{metric}[")]
    return sourced[0] if len(sourced) == 1 else None


def _name(row: PublishedRow, ours: str) -> str:
    """Our name of the task; case challenges of two journals are two test sets."""
    return f"{ours} ({row.task.split()[0]})" if ours == "case_challenge" else ours


def published_beside(cells: Sequence[CellResults]) -> list[str]:
    """The published figures of the tasks and metrics in `cells`, as a table of reference models."""
    wanted = {(one.task or one.cell.task, result.metric.partition("[")[0]) for one in cells for result in one.results}
    rows = [
        (
            row.model,
            row.group,
            _name(row, ours[0]),
            ours[1],
            f"{row.value:.1f}",
            f"{row.paper}, {row.version}",
        )
        for row in published_rows()
        for ours in [OUR_NAMES.get((row.task, row.metric))]
        if ours
        and (ours[0], ours[1].partition("[")[0]) in wanted
        and not row.misprinted
        and (row.version == SITE_2024_06_26 or not row.paper.startswith("Dada"))
    ]
    if not rows:
        return []
    header = ("published model", "group", "task", "metric", "value", "source")
    return ["Published figures (their data, their prompts; not asked here):", "", *aligned(header, rows, {"value"})]


def what_it_took(cells: Sequence[CellResults], usage: RunUsage) -> list[str]:
    """The table below the results: each cell's primary metric beside what it took, and each model's total.

    Nothing if all models are the embedded server's: they cost nothing, and their times are no model's.
    """
    shown = [one for one in cells if one.cell.model not in usage.embedded]
    if not shown:
        return []
    total = usage.whole
    columns = [_CACHED] if total.cached_tokens is not None else []
    columns += [_REASONING] if total.reasoning_share else []
    names = [*_COLUMNS[:-2], *columns, *_COLUMNS[-2:]]
    rows: list[Sequence[str]] = []
    models = list(dict.fromkeys(one.cell.model for one in shown))
    for model in models:
        own = [one for one in shown if one.cell.model == model]
        for one in own:
            what = (one.cell.task, one.cell.arm, one.results[0].metric, percent(one.results[0].value))
            rows.append((model, *what, *_cells(usage.cells[one.cell.id], names)))
        if len(own) > 1:
            rows.append((model, "all tasks", "", "", "", *_cells(usage.models[model], names)))
    if len(models) > 1:
        # Latencies of several models have no common median.
        sums = replace(total, latency_p50_s=None, latency_p95_s=None, ttft_p50_s=None)
        rows.append(("all models", "all tasks", "", "", "", *_cells(sums, names)))
    header = ("model", "task", "arm", "metric", "value", *names)
    return [*_heading(total), "", *aligned(header, rows, {"value", *names})]


def _cells(usage: Usage, names: Sequence[str]) -> list[str]:
    least = usage.cost_is_least
    shown = {
        "requests": number(usage.requests),
        "p50 s": seconds(usage.latency_p50_s),
        "p95 s": seconds(usage.latency_p95_s),
        "TTFT s": seconds(usage.ttft_p50_s),
        "prompt tokens": number(usage.prompt_tokens),
        "output tokens": number(usage.output_tokens),
        _CACHED: number(usage.cached_tokens),
        _REASONING: percent(usage.reasoning_share),
        "cost": dollars(usage.cost_usd, at_least=least),
        "per 1,000": dollars(usage.cost_per_1000_usd, at_least=least),
    }
    return [shown[name] for name in names]


def _heading(total: Usage) -> list[str]:
    lines = [
        "What it took: seconds from sending to the answer's end (p50, p95) and to a stream's first token (TTFT, p50);",
        "tokens as the servers count them; cost by the prices of the models' rows, and what it makes for 1,000 samples",
    ]
    if total.requests_without_tokens:
        missing = counted(total.requests_without_tokens, "answer")
        lines.append(f"{missing} came without token counts; tokens and cost are of the others")
    if total.cost_usd is None:
        lines.append(f"cost is {ABSENT}: no model's row has a `price`")
    return lines
