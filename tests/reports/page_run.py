"""A run with everything that a page shows: pairs, arms with hits, prices, unanswerable questions, failures."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.browser.runs import failure, reply, request_at
from wardround.endpoints import Params
from wardround.journal import Asked, Cell, Journal, Outcome, Row
from wardround.running.marking import score_run
from wardround.task import Message, Prompt, Sample, load_task

# What must never stand in a page: the words of prompts and of answers.
ASKED, ANSWERED = "a patient whose name is secret", "an answer that stays in the journal"
MODELS: Mapping[str, tuple[str, float]] = {
    "bio-8b": ("biomedical", 0.55),
    "plain-8b": ("general", 0.85),
    "hosted": ("other", 0.9),
    "guess": ("baseline", 0.3),
}
# Task -> samples and arms, each with its lift and how often its evidence holds the answer.
TASKS: Mapping[str, tuple[int, Mapping[str, tuple[float, float | None]]]] = {
    "mednli": (48, {"closed-book": (0.0, None)}),
    "longhealth:longhealth_t1": (
        20,
        {"closed-book": (-0.3, 0.0), "full": (0.0, 1.0), "bm25": (0.05, 0.7), "random-passages": (-0.3, 0.1)},
    ),
    "longhealth:longhealth_t2": (20, {"full": (0.0, 1.0)}),
    "longhealth:longhealth_t3": (20, {"full": (-0.2, None)}),
}
_RIGHT = {"mednli": "{}", "longhealth": "Answer: {}"}


def made_run(
    folder: Path,
    *,
    models: Mapping[str, tuple[str, float]] = MODELS,
    tasks: Mapping[str, tuple[int, Mapping[str, tuple[float, float | None]]]] = TASKS,
    pairs: Sequence[tuple[str, str]] = (("bio-8b", "plain-8b"),),
    labels: Mapping[str, str] = {},
    **manifest: Any,
) -> Path:
    """Make the run in `folder`; `models` are name -> (group, how often it is right), `labels` rename tasks and arms."""
    draw = random.Random(11)
    with Journal.create(folder) as journal:
        for reference, (number, arms) in tasks.items():
            for arm, (lift, hits) in arms.items():
                _ask(journal, draw, reference, number, (labels.get(arm, arm), lift, hits), models, labels)
        journal.put_manifest(
            _manifest(journal, models, pairs, labels, [arm for _, arms in tasks.values() for arm in arms])
        )
        journal.put_manifest(manifest)
        score_run(journal)
    return folder


def _ask(
    journal: Journal,
    draw: random.Random,
    reference: str,
    number: int,
    arm: tuple[str, float, float | None],
    models: Mapping[str, tuple[str, float]],
    labels: Mapping[str, str],
) -> None:
    task = load_task(reference)
    name, lift, hits = arm
    samples = list(task.load(task.samples))[:number]
    rows = [_row(sample, task.name, name, hits, draw) for sample in samples]
    label = labels.get(task.name, task.name)
    asked = [
        Asked(model, label, name, "strict", reference, Params(max_tokens=64), {"model": model}) for model in models
    ]
    with journal.transaction():
        journal.place_cells(asked)
        journal.plan_cells(asked, rows)
    for cell in journal.cells():
        if (cell.task, cell.arm) == (label, name):
            _answer(journal, draw, cell, samples, models[cell.model][1] + lift)


def _row(sample: Sample, task: str, arm: str, hits: float | None, draw: random.Random) -> Row:
    noted = None
    if hits is not None:
        noted = {"evidence": arm, "hit": float(draw.random() < hits), "tokens": 900, "k": 5, "third": 1}
    return Row(sample, Prompt((Message("user", f"{ASKED}: {sample.id} {task} {arm}"),)), evidence=noted)


def _answer(journal: Journal, draw: random.Random, cell: Cell, samples: Sequence[Sample], skill: float) -> None:
    form = _RIGHT[cell.task_file.partition(":")[0]]
    outcomes = []
    for position, sample in enumerate(samples):
        right = str(sample.reference)
        wrong = "CONTRADICTION" if cell.task_file == "mednli" else "C" if right != "C" else "A"
        chance = draw.random()
        said: Any = form.format(right if draw.random() < skill else wrong)
        if chance < 0.06:
            said = ANSWERED
        answered = reply(said) if chance < 0.97 else failure("timeout" if chance < 0.985 else "context_overflow")
        outcomes.append(Outcome(request_at(journal, cell, position), answered, 1))
    journal.record(outcomes)


def _manifest(
    journal: Journal,
    models: Mapping[str, tuple[str, float]],
    pairs: Sequence[tuple[str, str]],
    labels: Mapping[str, str],
    arms: Sequence[str],
) -> dict[str, Any]:
    evidence = {"closed-book": "none"}
    rows = [
        {
            "name": name,
            "group": group,
            "protocol": "openai-chat",
            "base_url": "embedded" if group == "baseline" else "http://user:a-password@127.0.0.1:8000/v1",
            "price": {"input": 0.5 + place, "output": 1.5, "hour": 0.0} if group != "baseline" else None,
        }
        for place, (name, (group, _)) in enumerate(models.items())
    ]
    settings = [
        {"name": labels.get(arm, arm), "evidence": evidence.get(arm, arm), "budget": None}
        for arm in dict.fromkeys(arms)
    ]
    study = {"study": "made", "title": "A made study", "profile": "strict", "models": rows, "arms": settings}
    tasks = {cell.task: {"data": "made.jsonl", "data_sha256": "ab" * 32, "samples": 20} for cell in journal.cells()}
    return {
        "study": {**study, "pairs": [list(pair) for pair in pairs], "seed": 4},
        "tasks": tasks,
        "versions": {"wardround": "0.1.0", "python": "3.11.7", "code_table": "ICD-10-CM"},
        "machine": {"system": "Linux", "cores": 2},
        "guard": [
            {
                "model": "hosted",
                "sensitivity": "open",
                "trust": "loopback",
                "host": "127.0.0.1",
                "addresses": ["127.0.0.1"],
            }
        ],
        "last_started_at": "2026-01-01T00:00:00Z",
    }
