"""How near a study of unequal tasks comes to the shortest wall: `python -m tests.benchmarks.ordering [--json FILE]`.

Eight tasks whose answers take from 0.2 to 1.6 s are asked of one server at 16 in flight, the longest task last, as a
study might have it. No order is done sooner than (all requests' time ÷ places), and every order that leaves no place
idle is done within that and the longest single request. Then two servers at once, which must take no longer than one.

The embedded server's latency model gives each task its time: its answers' tokens differ, at 0.1 s a token.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import yaml

from tests.benchmarks.asking import CLIENT_CORE, AskingTime, pin, server
from tests.benchmarks.figures import Figure, report
from wardround.running import run_study
from wardround.study import load_study

CONCURRENCY = 16
TPOT_S = 0.1
# Samples of each task, and the tokens of its answers.
TASKS = [(160, 2), (120, 3), (200, 2), (80, 5), (60, 6), (40, 8), (30, 12), (24, 16)]

TASK = """
from pathlib import Path
from wardround import Message, Metric, Prompt, Sample, Task
def load(path):
    return [Sample(str(number), {"number": number}, "YES") for number in range(200)]
def prompt(sample, shots):
    return Prompt((Message("user", f"Case {sample.inputs['number']}: " + "a word more of the history " * 20),))
def score(answer, sample): return {"accuracy": 0.0, "parsed": 1.0}
task = Task(name="unequal", title="", level=None, sensitivity="open", load=load, prompt=prompt, score=score,
            metrics=(Metric("accuracy", "proportion"),), shots=0, max_tokens=5, samples=Path(__file__))
"""


def write_study(folder: Path, base_urls: Sequence[str]) -> Path:
    """A study of all tasks, with a model for each of the servers; returns its file."""
    (folder / "unequal.py").write_text(TASK, encoding="utf-8")
    names = ["baseline-lead", "baseline-lead-too"]
    study = {
        "study": "ordering",
        "models": [
            {"name": name, "served_as": "baseline-lead", "base_url": url}
            for name, url in zip(names, base_urls, strict=False)
        ],
        "tasks": [
            {"task": "./unequal.py", "label": f"tokens_{number}_{tokens}", "limit": samples, "max_tokens": tokens}
            for number, (samples, tokens) in enumerate(TASKS)
        ],
        "baselines": False,
        "concurrency": CONCURRENCY,
    }
    path = folder / f"study-{len(base_urls)}.yaml"
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    return path


def walls_s(folder: Path, servers: int) -> tuple[float, float, float]:
    """Seconds between the first request and the last answer of the server that took longest.

    And its work ÷ places, and its longest request, both by the tokens that it wrote.
    """
    with ExitStack() as stack:
        base_urls = [stack.enter_context(server("--tpot", str(TPOT_S), "--ttft", str(TPOT_S))) for _ in range(servers)]
        study = load_study(write_study(folder, base_urls))
        asyncio.run(run_study(study, folder / f"run-{servers}", progress=AskingTime()))
    database = sqlite3.connect(folder / f"run-{servers}" / "journal.sqlite")
    rows = database.execute(
        "SELECT (max(done_ns) - min(sent_ns)) / 1e9, sum(output_tokens), max(output_tokens) FROM replies"
        " GROUP BY endpoint"
    ).fetchall()
    database.close()
    wall_s, tokens, longest = max(rows)
    return wall_s, tokens * TPOT_S / CONCURRENCY, longest * TPOT_S


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    pin(CLIENT_CORE)
    with tempfile.TemporaryDirectory() as temporary:
        figures = []
        for servers, name in ((1, "eight unequal tasks, one server"), (2, "the same of two servers at once")):
            wall_s, shortest_s, longest_s = walls_s(Path(temporary), servers)
            most_s = 1.03 * (shortest_s + longest_s)
            figures.append(Figure(name, wall_s, "s", "limit: work ÷ places", shortest_s, most_s))
    return report(figures, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
