"""What the order of asking is worth to an engine: `python -m tests.benchmarks.prefixes [--json FILE] [--turns N]`.

vLLM on the CPU serves a tiny model with its prefix cache on: blocks of 128 tokens, of which it keeps 256. A study asks
eight questions on each of forty records, of which about half fit into the cache. Once the records' questions stand
together in the data's order, once they are scattered; nothing else differs, and both orders are the asking's own doing:
samples that name their record as their cluster are brought together, those that name none are asked as they come.

What is measured is the engine's own count of prompt tokens found in its cache, and the wall from the first request to
the last answer. Each turn has words of its own at the beginning, so that nothing is left of the turn before. The engine
must be there (`make engines`).
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import sys
import tempfile
from pathlib import Path

import yaml

from tests.benchmarks.asking import AskingTime
from tests.benchmarks.figures import Figure, report
from tests.engines.fetch import is_fetched
from tests.engines.serving import Engine, running, vllm
from tests.engines.tiny import build
from wardround.running import run_study
from wardround.study import load_study

RECORDS, QUESTIONS, CONCURRENCY, TURNS = 40, 8, 8, 3
RECORD_WORDS = 800

TASK = """
import random
from pathlib import Path
from wardround import Message, Metric, Prompt, Sample, Task
WORDS = "the patient was admitted with fever and cough and the chest film showed a pneumonia".split()
def load(path):
    turn, together = path.read_text().split()
    samples = [
        Sample(f"{record}/{number}", {"turn": turn, "record": record, "number": number}, "YES",
               f"record {record}" if together == "together" else None)
        for record in range(RECORDS) for number in range(QUESTIONS)
    ]
    # The file is in no order: bringing together what belongs together is not the file's doing.
    random.Random(1).shuffle(samples)
    return samples
def prompt(sample, shots):
    draw = random.Random(sample.inputs["record"])
    record = " ".join(draw.choice(WORDS) for _ in range(RECORD_WORDS))
    asked = f"{sample.inputs['turn']} {record} Question {sample.inputs['number']}?"
    return Prompt((Message("user", asked),))
def score(answer, sample): return {"accuracy": 0.0, "parsed": 1.0}
task = Task(name="records", title="", level=None, sensitivity="open", load=load, prompt=prompt, score=score,
            metrics=(Metric("accuracy", "proportion"),), shots=0, max_tokens=2, samples=Path(__file__))
"""


def write_study(folder: Path, engine: Engine, turn: str, order: str) -> Path:
    """The study of one turn in one order; returns its file."""
    sizes = {"RECORDS": RECORDS, "QUESTIONS": QUESTIONS, "RECORD_WORDS": RECORD_WORDS}
    task = TASK
    for name, value in sizes.items():
        task = task.replace(name, str(value))
    (folder / "records.py").write_text(task, encoding="utf-8")
    data = folder / f"{turn}-{order}.txt"
    data.write_text(f"{turn}{order[0]} {order}", encoding="utf-8")
    study = {
        "study": "prefixes",
        "models": [{"name": "tiny", "base_url": engine.base_url, "served_as": engine.served_as, "context": 2048}],
        "tasks": [{"task": "./records.py", "data": str(data)}],
        "baselines": False,
        "concurrency": CONCURRENCY,
    }
    path = folder / f"{turn}-{order}.yaml"
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    return path


def counted(engine: Engine) -> tuple[float, float]:
    """Prompt tokens that the engine looked for in its cache so far, and those it found there."""
    values = {"queries": 0.0, "hits": 0.0}
    for line in engine.get("/metrics").splitlines():
        for what in values:
            if line.startswith(f"vllm:prefix_cache_{what}_total"):
                values[what] += float(line.rpartition(" ")[2])
    return values["queries"], values["hits"]


def asked(folder: Path, engine: Engine, turn: str, order: str) -> tuple[float, float]:
    """The share of prompt tokens found in the cache, and the wall in seconds."""
    queries, hits = counted(engine)
    study = load_study(write_study(folder, engine, turn, order))
    out = folder / f"run-{turn}-{order}"
    summary = asyncio.run(run_study(study, out, progress=AskingTime()))
    if not summary.complete:
        raise SystemExit(f"{summary.samples - summary.answered} samples have no answer")
    later_queries, later_hits = counted(engine)
    database = sqlite3.connect(out / "journal.sqlite")
    (wall_s,) = database.execute("SELECT (max(done_ns) - min(sent_ns)) / 1e9 FROM replies").fetchone()
    database.close()
    return (later_hits - hits) / (later_queries - queries), wall_s


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--turns", type=int, default=TURNS)
    arguments = parser.parse_args()
    if not is_fetched("vllm"):
        print("vLLM is not there; fetch it with: python -m tests.engines.fetch vllm")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        found: dict[str, list[tuple[float, float]]] = {"together": [], "scattered": []}
        with running(vllm(build(folder / "model"), folder)) as engine:
            for turn in range(arguments.turns):
                for order, told in found.items():
                    told.append(asked(folder, engine, f"turn{turn}", order))
                    print(f"turn {turn}, {order}: {told[-1][0]:.1%} found in {told[-1][1]:.1f} s", flush=True)
    share, wall_s = (
        {order: statistics.median(one[place] for one in told) for order, told in found.items()} for place in (0, 1)
    )
    scattered = "the same, scattered"
    return report(
        [
            Figure("prompt tokens found in vLLM's cache", 100 * share["together"], "%", scattered,
                   100 * share["scattered"], 100 * share["scattered"], ">="),
            Figure("wall of 320 requests", wall_s["together"], "s", scattered, wall_s["scattered"], wall_s["scattered"]),
        ],
        arguments.json,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
