"""What a benchmark prints: our figure, and beside it a peer's or a limit, measured in the same run.

    python -m tests.benchmarks.NAME [--json FILE]

prints a table, writes the same as JSON where asked, and ends with exit code 1 when a goal is not met.
"""

from __future__ import annotations

import json
import operator
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

_GOALS = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a benchmark: `ours`, in `unit`, against a goal and/or beside what another measured in this run.

    `beside` names the other (a peer with its version, or "limit: …" for what the machine itself allows) and `other` is
    its figure in the same unit.
    """

    name: str
    ours: float
    unit: str
    beside: str = ""
    other: float | None = None
    goal: float | None = None
    must: Literal["<=", ">="] = "<="

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        return None if self.goal is None else bool(_GOALS[self.must](self.ours, self.goal))


def machine() -> dict[str, str | int]:
    """What the figures were measured on."""
    names = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 0,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []


def table(figures: Sequence[Figure]) -> str:
    """Markdown: name, ours, goal, the other and the ratio ours ÷ other."""
    rows = ["| what | ours | goal | beside | its figure | ratio | |", "|---|---:|---:|---|---:|---:|---|"]
    for one in figures:
        goal = "" if one.goal is None else f"{one.must} {_number(one.goal)}"
        other = "" if one.other is None else _number(one.other)
        ratio = "" if not one.other else f"{one.ours / one.other:.2f}"
        met = {None: "", True: "met", False: "**not met**"}[one.met]
        rows.append(
            f"| {one.name} | {_number(one.ours)} {one.unit} | {goal} | {one.beside} | {other} | {ratio} | {met} |"
        )
    return "\n".join(rows)


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def report(figures: Sequence[Figure], out: Path | None = None) -> int:
    """Print the table, write JSON to `out` where given; returns the exit code: 1 if a goal is not met."""
    print(table(figures))
    if out is not None:
        content = {"machine": machine(), "figures": [{**asdict(one), "met": one.met} for one in figures]}
        out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    missed = [one.name for one in figures if one.met is False]
    if missed:
        print(f"not met: {', '.join(missed)}", file=sys.stderr)
    return int(bool(missed))
