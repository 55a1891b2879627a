"""The benchmarks' runner: what it reads and what it refuses; the figures themselves are no tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.__main__ import FOLDER, NAMES, ROOT, figures_in
from tests.benchmarks.figures import Figure, report, table


def test_every_benchmark_that_is_run_by_default_is_there() -> None:
    assert [name for name in NAMES if not (FOLDER / f"{name}.py").is_file()] == []


def test_figures_come_back_as_they_were_written(tmp_path: Path) -> None:
    figures = [Figure("speed", 7.0, "/s", "a peer", 5.0, 6.0, ">="), Figure("memory", 3.0, "MB")]
    assert report(figures, tmp_path / "out.json") == 0
    assert figures_in(json.loads((tmp_path / "out.json").read_text())) == figures


def test_a_goal_that_is_not_met_is_the_exit_code() -> None:
    assert report([Figure("wall", 7.0, "s", goal=6.0)]) == 1


def test_the_table_has_the_peer_and_the_ratio() -> None:
    row = table([Figure("speed", 7.5, "/s", "a peer", 5.0, 6.0, ">=")]).splitlines()[-1]
    assert row == "| speed | 7.5 /s | >= 6 | a peer | 5 | 1.50 | met |"


def test_a_benchmark_that_is_not_there_is_refused_with_those_that_are() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "nothing"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "there is no benchmark nothing" in done.stderr
    assert "asking" in done.stderr
