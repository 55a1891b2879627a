"""The table of a run, as text for people and as JSON for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from wardround.reports.numbers import counted, interval, percent, share
from wardround.reports.results import CellResults
from wardround.reports.usage import RunUsage, as_fields
from wardround.scoring.icd import table_version

HEADER = ("model", "task", "arm", "n", "metric", "value", "95 % interval", "parsed %", "failed")
_NUMERIC = {"n", "value", "95 % interval", "parsed %", "failed", "cut"}


def as_json(
    cells: Sequence[CellResults],
    usage: RunUsage | None = None,
    shown: Mapping[int, Mapping[str, Any]] | None = None,
) -> str:
    """A list of objects: model, task, arm, profile, metric, value, ci_low, ci_high, n, parsed, failed.

    Values and intervals are shares from 0 to 1 (null where undefined), the last three are counts of samples. With
    `usage` each object also has what its cell took (the same for all metrics of a cell): requests,
    requests_without_tokens, prompt_tokens, output_tokens, cached_tokens, reasoning_share, latency_p50_s,
    latency_p95_s, ttft_p50_s, at_work_s, cost_usd, cost_per_1000_usd, cost_is_least; see `Usage`. Cells share
    requests: what a model took in all is not their sum. `shown`, by cell: an object `evidence`, what the arm has shown;
    see `retrieval.evidence_fields`.
    """
    rows = [
        asdict(result)
        | (as_fields(usage.cells[cell.cell.id]) if usage else {})
        | ({"evidence": shown[cell.cell.id]} if shown and cell.cell.id in shown else {})
        for cell in cells
        for result in cell.results
    ]
    return json.dumps(rows, indent=2, ensure_ascii=False)


def as_text(cells: Sequence[CellResults]) -> str:
    """What was asked and what came back, then the table; values in per cent.

    A column "cut" counts the prompts that were shortened, where any was: a pair must not differ in it unseen.
    """
    cut = any(cell.counts.cut for cell in cells)
    rows = [
        (
            result.model,
            result.task,
            result.arm,
            f"{result.n:,}",
            result.metric,
            percent(result.value),
            interval(result.ci_low, result.ci_high),
            share(result.parsed, result.n),
            f"{result.failed:,}",
            *([f"{cell.counts.cut:,}"] if cut else []),
        )
        for cell in cells
        for result in cell.results
    ]
    profiles = sorted({result.profile for cell in cells for result in cell.results})
    header = (*HEADER, "cut") if cut else HEADER
    codes = any(result.metric == "valid_codes" for cell in cells for result in cell.results)
    named = [f"profile: {', '.join(profiles)}", *([f"codes: {table_version()}"] if codes else [])]
    lines = [*_headline(cells), *named, "", *aligned(header, rows, _NUMERIC)]
    return "\n".join(lines)


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], numeric: set[str]) -> list[str]:
    """Columns padded to their widest cell, those named in `numeric` to the right; cells stay on one line."""
    table = [list(header), *([_one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.rjust(width) if name in numeric else cell.ljust(width)
            for cell, width, name in zip(row, widths, header, strict=True)
        ).rstrip()
        for row in table
    ]
    return [lines[0], "  ".join("─" * width for width in widths), *lines[1:]]


def _one_line(cell: str) -> str:
    """Control characters must not steer the terminal that shows a table."""
    return "".join(letter if letter.isprintable() else " " for letter in cell)


def _headline(cells: Sequence[CellResults]) -> list[str]:
    counts = [cell.counts for cell in cells]
    failed: Counter[str] = sum((one.failed for one in counts), Counter())
    lines = []
    if failed:
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in sorted(failed.items()))
        lines.append(
            f"INCOMPLETE: {counted(failed.total(), 'sample')} without a reply ({kinds}); scores are of the rest"
        )
    lines.append(
        f"{counted(sum(one.asked for one in counts), 'sample')} asked:"
        f" {sum(one.answered for one in counts):,} answered,"
        f" {failed.total() - failed['not_asked']:,} failed; of the answers"
        f" {sum(one.truncated for one in counts):,} truncated, {sum(one.empty for one in counts):,} empty,"
        f" {sum(one.unparsed for one in counts):,} unparsed"
    )
    cut = sum(one.cut for one in counts)
    if cut:
        lines.append(f"{counted(cut, 'prompt')} shortened to fit the context; what was cut is in the journal")
    return lines
