"""Prints a section in Markdown of what a run of tests/gpu/run.sh has left in a folder.

python -m tests.gpu.section FOLDER SIZE PARAMETERS START_S
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import wardround
from tests.benchmarks.figures import machine

# The columns of gpu.csv, as run.sh asks nvidia-smi for them; memory in MiB, power in W, utilization in %.
NAME, DRIVER, MEMORY, USED, POWER, BUSY = range(6)


def card(folder: Path) -> tuple[str, str]:
    """What it ran on, and what the card drew and held meanwhile ("" without a card)."""
    path = folder / "gpu.csv"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    rows = list(csv.reader(text.splitlines(), skipinitialspace=True))
    if not rows:
        here = machine()
        return f"{here['processor']}, {here['cores']} cores, no GPU", ""
    first = rows[0]
    drawn = f"{_mean(rows, POWER)} W drawn on average and {_most(rows, POWER)} W at most"
    held = f"{_most(rows, USED)} of {first[MEMORY]} MiB held"
    return f"{first[NAME]}, driver {first[DRIVER]}", f"{drawn}, {held}, busy {_mean(rows, BUSY)} % of the time"


def _numbers(rows: list[list[str]], column: int) -> list[float]:
    # A card that does not tell says [N/A].
    return [float(row[column]) for row in rows if len(row) > column and row[column].replace(".", "", 1).isdigit()]


def _mean(rows: list[list[str]], column: int) -> str:
    numbers = _numbers(rows, column)
    return f"{mean(numbers):,.0f}" if numbers else "?"


def _most(rows: list[list[str]], column: int) -> str:
    numbers = _numbers(rows, column)
    return f"{max(numbers):,.0f}" if numbers else "?"


def percentiles(measured: dict[str, Any], name: str) -> str:
    """The 50th, 90th and 99th percentile of a latency in ms, as cells of a table."""
    found = measured[name]["percentiles_s"]
    return " | ".join(_in_ms(found.get(one)) for one in ("50", "90", "99"))


def _in_ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:,.1f}"


def _whole(number: float | None) -> str:
    return "–" if number is None else f"{number:,.0f}"


def section(folder: Path, size: str, parameters: int, start_s: int) -> str:
    """The section; raises `OSError` or `LookupError` where the run left less than it should."""
    [result] = json.loads((folder / "load.json").read_text(encoding="utf-8"))
    about, measured, knee = result["about"], result["measured"], result["knee"]
    ran_on, meter = card(folder)
    engine = (folder / "engine.log").read_text("utf-8", "replace").splitlines()[0]
    [asked, *_] = [one for one in (folder / "run.txt").read_text(encoding="utf-8").splitlines() if "asked" in one]
    lines = [
        f"### {ran_on}, {about['started_at'][:10]}",
        "",
        f"- {engine}; wardround {wardround.__version__}, Python {about['python']}",
        f"- random Llama, {size}, {parameters / 1e9:.3g} × 10⁹ parameters; it answered {start_s} s after its start",
        f"- study: {asked}",
        f"- load: {about['workload']}; {about['shape']}; {_knee(knee)}",
        f"- {_whole(measured['output_tokens_per_s'])} tokens/s written, {_whole(measured['prompt_tokens_per_s'])} read,"
        f" {sum(measured['failures'].values())} of {measured['requests']} requests failed",
        *([f"- {meter}"] if meter else []),
        *(["- **limited by the client**: these are figures of the client"] if measured["limited_by_client"] else []),
        "",
        "| ms | p50 | p90 | p99 |",
        "|---|---:|---:|---:|",
    ]
    for shown, name in (("TTFT", "ttft"), ("TTFT, user's", "ttft_user"), ("TPOT", "tpot"), ("E2E", "e2e")):
        lines.append(f"| {shown} | {percentiles(measured, name)} |")
    lines += ["", "| requests/s | carried | TTFT p50, ms | tokens/s |", "|---:|---|---:|---:|"]
    for step in result["steps"]:
        lines.append(_step(step))
    return "\n".join(lines)


def _step(step: dict[str, Any]) -> str:
    measured = step["measured"]
    cells = (
        f"{step['rate_rps']:g}",
        "yes" if step["carried"] else "no",
        _in_ms(measured["ttft"]["percentiles_s"].get("50")),
        _whole(measured["output_tokens_per_s"]),
    )
    return f"| {' | '.join(cells)} |"


def _knee(knee: dict[str, Any]) -> str:
    carried, refused = knee["carried_rps"], knee["refused_rps"]
    if carried is None:
        return "not even the first rate was carried"
    return f"{carried:g} requests/s carried" + (f", {refused:g} not" if refused is not None else ", and no limit found")


def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    folder, size, parameters, start_s = arguments
    print(section(Path(folder), size, int(parameters), int(start_s)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
