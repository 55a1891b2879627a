"""Runs whose every score is the test's choice, put into a real journal; the answers are the scores themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wardround.endpoints import Failure, Params, Reply
from wardround.journal import Asked, Journal, Outcome, Row
from wardround.task import Message, Prompt, Sample, load_task

# An answer: its score, None for one that cannot be read (so its score is 0), FAILED for no reply, SKIPPED for a sample
# that was not planned.
FAILED = "failed"
SKIPPED = "skipped"
Answer = float | str | None

_TASK = """
from pathlib import Path
from wardround.scoring import macro_f1
from wardround.task import Message, Metric, Prompt, Sample, Task

def load(path):
    return []

def prompt(sample, shots):
    return Prompt((Message("user", sample.id),))

def score(answer, sample):
    read = answer != "?"
    return {{"score": float(answer) if read else 0.0, "parsed": float(read)}}

def batch(answers, samples):
    said = [None if answer == "?" else str(int(float(answer))) for answer in answers]
    return {{"f1": macro_f1(said, [str(sample.reference) for sample in samples], ("0", "1"))}}

task = Task(
    name="{name}", title="", level=None, sensitivity="open", load=load, prompt=prompt, score=score, batch=batch,
    metrics=({metrics},), shots=0, max_tokens=8, samples=Path("none"),
)
"""
_METRICS = {
    "proportion": 'Metric("score", "proportion")',
    "mean": 'Metric("score")',
    "batch": 'Metric("f1", "batch"), Metric("score")',
}


def task_file(folder: Path, name: str = "made", kind: str = "proportion") -> str:
    """A task file whose answers are their scores; its first metric is of the given kind."""
    path = folder / f"{name}.py"
    path.write_text(_TASK.format(name=name, metrics=_METRICS[kind]))
    return str(path)


def add_answers(
    journal: Journal,
    task: str,
    answers: Mapping[str, Sequence[Answer]],
    *,
    arm: str = "closed-book",
    clusters: Sequence[str] | None = None,
    references: Sequence[Any] | None = None,
) -> None:
    """Add a cell a model to the run's study, with these answers to samples "s0", "s1" …"""
    loaded = load_task(task)
    for model, given in answers.items():
        cell = Asked(model, loaded.name, arm, "strict", task, Params(max_tokens=8), {"model": model, "arm": arm})
        kept = [(place, answer) for place, answer in enumerate(given) if answer != SKIPPED]
        samples = [
            Sample(f"s{place}", {}, references[place] if references else "", clusters[place] if clusters else None)
            for place, _ in kept
        ]
        with journal.transaction():
            journal.place_cells([cell])
            journal.plan_cells(
                [cell], [Row(one, Prompt((Message("user", f"{loaded.name} {one.id}"),))) for one in samples]
            )
        ((number,),) = journal.read(
            "SELECT id FROM cells WHERE model = ? AND task = ? AND arm = ?", (model, loaded.name, arm)
        )
        requests = [int(one) for (one,) in journal.read(
            "SELECT request FROM asks WHERE cell = ? ORDER BY position", (number,)
        )]  # fmt: skip
        journal.record(
            [Outcome(request, _came(answer), 1) for request, (_, answer) in zip(requests, kept, strict=True)]
        )


def _came(answer: Answer) -> Reply | Failure:
    if answer == FAILED:
        return Failure("timeout", "no answer in time", None)
    text = "?" if answer is None else repr(answer)
    return Reply(text, "", "stop", 1, 1, 10**9, 2 * 10**9, None, 3 * 10**9, "m", endpoint="http://127.0.0.1:1/v1")


def tell_study(journal: Journal, models: Sequence[Mapping[str, Any]] = (), **fields: Any) -> None:
    """What the run's manifest says of its study."""
    with journal.transaction():
        journal.put_manifest({"study": {"study": "made", "models": list(models), **fields}})
