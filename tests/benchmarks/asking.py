"""How fast a study is asked and journaled: `python -m tests.benchmarks.asking [--peers] [--json FILE]`.

The embedded server runs on one core; `wardround run`, the whole command in a process of its own, on the other. Beside
it in the same run: the same requests by a bare aiohttp loop that keeps nothing, and by a loop over this project's own
client (`wire`). What a command took is read from its journal and from the system, so nothing is measured from within;
only the processor's time of the asking alone is taken inside, when progress is told that it begins and ends.

Where a machine is shared, seconds of the wall tell what others did, those of the processor what this did. So rates are
given by both: "a second", and "a second of a core's time". Even the latter differ by half from one turn to the next, with
what the neighbours do to caches and clock; that only ever takes away, so rates and times are the best of several turns,
ours and the limits' alike, and say so. Those of other harnesses are of one turn.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.benchmarks.figures import Figure, report

SERVER_CORE, CLIENT_CORE = 0, 1
SAMPLES, MANY_SAMPLES, CONCURRENCY = 2000, 10_000, 64
LATENCY_S = 0.5
TURNS, SLOW_TURNS = 5, 3
# 6,000 a second where bare aiohttp makes 12,400: the goal, in a form that holds on every machine.
GOAL_OF_BARE = 0.48
MODEL = "baseline-majority"
INSTRUCTION = "You answer questions about medicine and about patients."


@dataclass(frozen=True, slots=True)
class Took:
    """What one whole command took: seconds, and MB at its peak.

    `start_s` lies between the command's start and its first request, `asking_s` between that and the last commit.
    """

    samples: int
    start_s: float
    asking_s: float
    whole_s: float
    peak_mb: float

    @property
    def rate(self) -> float:
        """Samples asked and journaled in a second."""
        return self.samples / self.asking_s


def write_table(path: Path, samples: int) -> None:
    """Short invented questions with four options each."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["question", "a", "b", "c", "d", "answer"])
        for number in range(samples):
            question = f"Patient {number} has had a cough for {number % 40} days. Which of these is the next step?"
            table.writerow(
                [question, "wait", "an X-ray of the chest", "blood culture", "spirometry", "ABCD"[number % 4]]
            )


def write_study(folder: Path, samples: int, base_url: str) -> Path:
    """A study of one task and one model; returns its file."""
    table = folder / f"questions-{samples}.csv"
    write_table(table, samples)
    settings = {
        "question": "question",
        "reference": "answer",
        "metric": "choice",
        "options": list("abcd"),
        "sensitivity": "open",
        "instruction": INSTRUCTION,
    }
    study = {
        "study": "asking",
        "models": [{"name": MODEL, "base_url": base_url}],
        "tasks": [{"task": "csv_task", "data": str(table), "settings": settings}],
        "baselines": False,
        "concurrency": CONCURRENCY,
    }
    path = folder / f"study-{samples}.yaml"
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    return path


@contextmanager
def server(*options: str) -> Iterator[str]:
    """The embedded server on its core; yields its base URL."""
    command = [sys.executable, "-m", "wardround", "serve", "--port", "0", "--announce", "--ground-truth", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=lambda: pin(SERVER_CORE)) as process:
        assert process.stdout is not None
        try:
            yield str(json.loads(process.stdout.readline())["base_url"])
        finally:
            process.terminate()


def pin(core: int) -> None:
    """Keep this process on one core, where the system can."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > core:
        os.sched_setaffinity(0, {core})


def run_command(study: Path, folder: Path) -> Took:
    """Carry the study out as a command of its own into an empty folder."""
    command = [sys.executable, "-m", "wardround", "run", str(study), "--out", str(folder)]
    begun_ns, begun_s = time.perf_counter_ns(), time.time()
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=lambda: pin(CLIENT_CORE)
    ) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    whole_s = (time.perf_counter_ns() - begun_ns) / 1e9
    if process.returncode:
        raise SystemExit(said.decode())
    database = sqlite3.connect(folder / "journal.sqlite")
    # The clock of both processes is the system's monotonic one.
    samples, first_ns, last_s = database.execute(
        "SELECT count(*), min(sent_ns), max(answered_at) FROM replies"
    ).fetchone()
    database.close()
    start_s = (first_ns - begun_ns) / 1e9
    peak_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Took(samples, start_s, last_s - begun_s - start_s, whole_s, peak_bytes / 1e6)


def requests(samples: int) -> list[bytes]:
    """The bodies that such a study sends, or ones like them."""
    bodies = []
    for number in range(samples):
        question = f"Patient {number} has had a cough for {number % 40} days. Which of these is the next step?"
        options = "A. wait\nB. an X-ray of the chest\nC. blood culture\nD. spirometry"
        messages = [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": f"{question}\n{options}"}]
        body = {"model": MODEL, "messages": messages, "max_tokens": 50, "temperature": 0.0, "seed": 0}
        bodies.append(json.dumps(body).encode())
    return bodies


async def bare_aiohttp(base_url: str, bodies: Sequence[bytes]) -> tuple[float, float]:
    """Seconds of the wall and of the processor for all of them by aiohttp alone, parsed and dropped."""
    import aiohttp

    left = iter(bodies)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def work() -> None:
            for body in left:
                async with session.post(f"{base_url}/chat/completions", data=body, headers=headers) as answer:
                    json.loads(await answer.read())["choices"][0]["message"]["content"]

        begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
        return time.perf_counter() - begun_s, time.process_time() - begun_cpu_s


async def bare_wire(base_url: str, bodies: Sequence[bytes]) -> tuple[float, float]:
    """Seconds of the wall and of the processor for all of them by this project's client alone, parsed and dropped."""
    from wardround.wire import Wire

    left = iter(bodies)
    headers = {"Content-Type": "application/json"}
    async with Wire() as wire:

        async def work() -> None:
            for body in left:
                answer = await wire.post(f"{base_url}/chat/completions", body, headers=headers, whole_s=60.0)
                json.loads(answer.body)["choices"][0]["message"]["content"]

        begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
        return time.perf_counter() - begun_s, time.process_time() - begun_cpu_s


def bare_imports(by: str) -> float:
    """Seconds that a process takes which imports the libraries that any run needs, makes a model and ends."""
    code = (
        "import sqlite3, typer, pydantic, yaml, asyncio, uvloop, orjson, httptools, yarl, csv\n"
        "class Row(pydantic.BaseModel):\n    name: str"
    )
    took: list[float] = []
    for _ in range(TURNS):
        begun = resource.getrusage(resource.RUSAGE_CHILDREN)
        begun_s = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, preexec_fn=lambda: pin(CLIENT_CORE))
        wall_s = time.perf_counter() - begun_s
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = ended.ru_utime + ended.ru_stime - begun.ru_utime - begun.ru_stime
        took.append(wall_s if by == "wall" else cpu_s)
    return min(took)


LOOPS = {"aiohttp": bare_aiohttp, "wire": bare_wire}


class AskingTime:
    """A progress that looks at the clocks when asking begins and ends; seconds of the wall and of the processor."""

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = self.before_cpu_s = 0.0

    def note(self, line: str) -> None:
        """Not kept."""

    def start(self, cells: Sequence[tuple[int, str, int, int]]) -> None:
        """Asking begins."""
        self.before_cpu_s = time.process_time()
        self.wall_s, self.cpu_s = -time.perf_counter(), -time.process_time()

    def advance(self, cell: int, *, answered: bool) -> None:
        """Not kept."""

    def finish(self) -> None:
        """All is asked, and on the disk."""
        self.wall_s += time.perf_counter()
        self.cpu_s += time.process_time()


def measured_inside(what: str, where: str) -> dict[str, float]:
    """Requests a second of the wall and of the processor: of a study file, or of a bare loop at a base URL.

    And the processor's seconds before the first of them, from the process's start: imports, data, the plan.
    """
    from wardround.cli.loop import on_fast_loop

    if what in LOOPS:
        bodies = requests(SAMPLES)
        wall_s, cpu_s = on_fast_loop(LOOPS[what](where, bodies))
        before_s = 0.0
    else:
        from wardround.running import run_study
        from wardround.study import load_study

        took = AskingTime()
        with tempfile.TemporaryDirectory() as temporary:
            on_fast_loop(run_study(load_study(Path(where)), Path(temporary) / "run", progress=took))
        wall_s, before_s, cpu_s = took.wall_s, took.before_cpu_s, took.cpu_s
    return {"wall": SAMPLES / wall_s, "cpu": SAMPLES / cpu_s, "before_s": before_s}


def inside(what: str, where: str | Path) -> dict[str, float]:
    """`measured_inside` in a process of its own on the client's core."""
    command = [sys.executable, "-m", "tests.benchmarks.asking", "--inside", what, str(where)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, preexec_fn=lambda: pin(CLIENT_CORE)).stdout
    rates: dict[str, float] = json.loads(told)
    return rates


def at_no_latency(folder: Path) -> list[Figure]:
    """Rates, start and memory; ours and the limits take turns."""
    took: list[Took] = []
    rates: dict[str, list[dict[str, float]]] = {"ours": [], **{name: [] for name in LOOPS}}
    with server() as base_url:
        study = write_study(folder, SAMPLES, base_url)
        for turn in range(TURNS):
            took.append(run_command(study, folder / f"run-{turn}"))
            for name, told in rates.items():
                told.append(inside(name, study if name == "ours" else base_url))
        many = run_command(write_study(folder, MANY_SAMPLES, base_url), folder / "run-many")
    shares = [ours["cpu"] / bare["cpu"] for ours, bare in zip(rates["ours"], rates["aiohttp"], strict=True)]
    rate = {(name, by): max(one[by] for one in told) for name, told in rates.items() for by in told[0]}
    before_s = min(one["before_s"] for one in rates["ours"])
    start_s = min(one.start_s for one in took)
    peak_mb = statistics.median(one.peak_mb for one in took)
    growth_kb = (many.peak_mb - peak_mb) * 1000 / (MANY_SAMPLES - SAMPLES)
    aiohttp = "limit: bare aiohttp, nothing kept"
    return [
        Figure(f"asked and journaled, a second of a core's time, best of {TURNS}", rate["ours", "cpu"], "/s", aiohttp,
               rate["aiohttp", "cpu"], 6000, ">="),
        Figure("the same, in parts of bare aiohttp's of the same turn, median", statistics.median(shares), "×",
               goal=GOAL_OF_BARE, must=">="),
        Figure(f"asked and journaled, a second, best of {TURNS}", rate["ours", "wall"], "/s", aiohttp, rate["aiohttp", "wall"]),
        Figure(f"bare loop over wire, a second of a core's time, best of {TURNS}", rate["wire", "cpu"], "/s", aiohttp,
               rate["aiohttp", "cpu"]),
        Figure(f"bare loop over wire, a second, best of {TURNS}", rate["wire", "wall"], "/s", aiohttp, rate["aiohttp", "wall"]),
        Figure(f"start to asking, of a core's time, best of {TURNS}", before_s, "s", "limit: imports of the libraries alone",
               bare_imports("cpu"), 0.5),
        Figure(f"start to first request, wall, best of {TURNS}", start_s, "s", "limit: imports of the libraries alone",
               bare_imports("wall"), 0.5),
        Figure(f"whole command, {SAMPLES:,}, best of {TURNS}", min(one.whole_s for one in took), "s"),
        Figure(f"peak memory at {SAMPLES:,}", peak_mb, "MB", goal=120),
        Figure("more memory a sample, report included", growth_kb, "kB", goal=1),
    ]  # fmt: skip


def at_half_a_second(folder: Path) -> list[Figure]:
    """The wall against what the latency alone would take."""
    ideal_s = -(-SAMPLES // CONCURRENCY) * LATENCY_S
    took = []
    with server("--ttft", str(LATENCY_S)) as base_url:
        for turn in range(SLOW_TURNS):
            took.append(run_command(write_study(folder, SAMPLES, base_url), folder / f"run-slow-{turn}"))
    asking_s, whole_s = min(one.asking_s for one in took), min(one.whole_s for one in took)
    return [
        Figure(f"asking at 500 ms, best of {SLOW_TURNS}", asking_s, "s", "limit: waves of 64", ideal_s, 16.2),
        Figure(f"whole command at 500 ms, best of {SLOW_TURNS}", whole_s, "s", "limit: waves of 64", ideal_s, 17),
    ]


# Peers, each in an environment of its own: what is installed, and how it asks. Their figures are their own words: lm-eval
# asks for 2,000 answers of the same server at the same concurrency.
PEERS = Path(__file__).resolve().parent.parent.parent / ".peers"
LM_EVAL_TASK = """
task: asking
dataset_path: csv
dataset_kwargs: {{data_files: {{test: {table}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: [], max_gen_toks: 50}}
metric_list: [{{metric: exact_match}}]
"""


def peer_python(name: str, *packages: str) -> Path:
    """The interpreter of a peer's environment, made where it is not there yet."""
    python = PEERS / name / "bin" / "python"
    if not python.exists():
        PEERS.mkdir(exist_ok=True)
        # Nothing of it is the project's.
        (PEERS / ".gitignore").write_text("*\n", encoding="utf-8")
        subprocess.run([sys.executable, "-m", "venv", str(PEERS / name)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


def lm_eval(folder: Path) -> list[Figure]:
    """The whole command of lm-evaluation-harness over the same questions, beside ours."""
    python = peer_python("lm-eval", "lm-eval[api]")
    with server() as base_url:
        ours = run_command(write_study(folder, SAMPLES, base_url), folder / "run-peer")
        task = folder / "asking.yaml"
        task.write_text(LM_EVAL_TASK.format(table=folder / f"questions-{SAMPLES}.csv"), encoding="utf-8")
        given = f"model={MODEL},base_url={base_url}/chat/completions,num_concurrent={CONCURRENCY},max_retries=3"
        command = [
            *(str(python), "-m", "lm_eval", "--model", "local-chat-completions", "--model_args"),
            *(f"{given},tokenized_requests=False", "--tasks", "asking", "--include_path", str(folder)),
            *("--apply_chat_template", "--output_path", str(folder / "lm-eval")),
        ]
        begun_s = time.perf_counter()
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=lambda: pin(CLIENT_CORE),
        )  # fmt: skip
        whole_s = time.perf_counter() - begun_s
    return [Figure(f"whole command, {SAMPLES:,}", ours.whole_s, "s", "lm-eval", whole_s)]


def inspect_ai(folder: Path) -> list[Figure]:
    """The whole command of Inspect AI over the same questions, beside ours."""
    python = peer_python("inspect-ai", "inspect-ai", "openai")
    (folder / "asking_task.py").write_text(
        "from inspect_ai import Task, task\n"
        "from inspect_ai.dataset import FieldSpec, csv_dataset\n"
        "from inspect_ai.scorer import match\n"
        "from inspect_ai.solver import generate\n"
        "@task\ndef asking():\n"
        f"    data = csv_dataset('questions-{SAMPLES}.csv', FieldSpec(input='question', target='answer'))\n"
        "    return Task(dataset=data, solver=generate(), scorer=match())\n"
    )
    with server() as base_url:
        ours = run_command(write_study(folder, SAMPLES, base_url), folder / "run-inspect")
        command = [
            *(str(python), "-m", "inspect_ai", "eval", "asking_task.py", "--model", f"openai-api/local/{MODEL}"),
            *("--max-connections", str(CONCURRENCY), "--max-samples", str(CONCURRENCY), "--display", "none"),
        ]
        env = os.environ | {"LOCAL_API_KEY": "none", "LOCAL_BASE_URL": base_url}
        begun_s = time.perf_counter()
        subprocess.run(command, check=True, cwd=folder, env=env, stdout=subprocess.DEVNULL,
                       preexec_fn=lambda: pin(CLIENT_CORE))  # fmt: skip
        whole_s = time.perf_counter() - begun_s
    return [Figure(f"whole command, {SAMPLES:,}", ours.whole_s, "s", "Inspect AI", whole_s)]


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--quick", action="store_true", help="leave out the run at 500 ms")
    parser.add_argument("--peers", action="store_true", help="also lm-eval and Inspect AI, installed into .peers/")
    parser.add_argument("--inside", nargs=2, metavar=("WHAT", "WHERE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        print(json.dumps(measured_inside(*arguments.inside)))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        figures = at_no_latency(Path(temporary))
        if not arguments.quick:
            figures += at_half_a_second(Path(temporary))
        if arguments.peers:
            figures += lm_eval(Path(temporary)) + inspect_ai(Path(temporary))
    return report(figures, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
