"""The tasks of a study with their data read: what is evaluated, the worked examples, and where both came from."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wardround.endpoints.guard import most_sensitive
from wardround.errors import DataError, StudyError
from wardround.shipped import shipped
from wardround.study import TaskChoice
from wardround.task import Rules, Sample, Task, load_tasks


@dataclass(frozen=True, slots=True)
class Prepared:
    """A task of a study with its data read: what is evaluated, and the worked examples."""

    label: str
    task: Task
    settings: dict[str, Any]
    rules: Rules
    samples: Sequence[Sample]
    shots: Sequence[Sample]
    provenance: dict[str, Any]
    data: Path | None = None
    training: Path | None = None

    @property
    def takes_shots(self) -> bool:
        """Whether its prompts have worked examples that an arm can choose."""
        return self.rules.shots > 0


def prepare(choice: TaskChoice, profile: str) -> list[Prepared]:
    """Load what `choice` names, one task or the several of a file, and the data.

    Raises `TaskError`, `DataError` or `StudyError` before anything is asked.
    """
    tasks = load_tasks(choice.task, choice.settings)
    return [_prepare(task, choice, profile, alone=len(tasks) == 1) for task in tasks]


def _prepare(task: Task, choice: TaskChoice, profile: str, *, alone: bool) -> Prepared:
    """The worked examples come from the training file where there is one, else from the head of the data, and
    are then left out of the evaluation.
    """
    rules = task.rules(profile)
    data = choice.data or task.samples
    training = choice.training or (None if choice.data else task.training_samples)
    samples = list(read_samples(task, data))
    if rules.shuffled_by is not None:
        random.Random(rules.shuffled_by).shuffle(samples)
    wanted = rules.shots if choice.shots is None else choice.shots
    if wanted and not task.takes_shots:
        raise StudyError(f"task {task.name} takes no worked examples: one would answer other samples of its patient")
    from_training = training is not None and wanted > 0 and not rules.shots_from_head
    if from_training and training is not None:
        pool = read_samples(task, training)
        if len(pool) < wanted:
            raise StudyError(f"{training} has {len(pool)} samples; {wanted} are needed as worked examples")
        shots, evaluated = list(pool[:wanted]), samples
        _refuse_overlap(rules, shots, evaluated, training)
    else:
        shots, evaluated = samples[:wanted], samples[wanted:]
    if not evaluated:
        raise StudyError(f"{data} has {len(samples)} samples; with {wanted} as worked examples none are left")
    evaluated = evaluated[: choice.limit]
    shots_from = "training file" if from_training else "head of the data, left out of the evaluation"
    provenance = {
        "task": task.name,
        "task_file_sha256": _file_sha256(task.path) if task.path else None,
        "sensitivity": most_sensitive([task.sensitivity, choice.sensitivity or "open"]),
        "data": data.name,
        "data_sha256": _file_sha256(data),
        "training": training.name if from_training and training else None,
        "training_sha256": _file_sha256(training) if from_training and training else None,
        "shots": wanted,
        "shots_from": shots_from if wanted else None,
        "samples": len(evaluated),
        "unclear": [sample.id for sample in evaluated if "unclear" in sample.inputs],
        "invented": _is_invented(data) and (not from_training or training is None or _is_invented(training)),
    }
    label = choice.label or task.name
    if choice.label and not alone:
        label = f"{choice.label}_{task.name}"
    rules = replace(rules, shots=wanted, max_tokens=choice.max_tokens or rules.max_tokens)
    return Prepared(label, task, choice.settings, rules, evaluated, shots, provenance, data, training)


def _is_invented(path: Path) -> bool:
    """Whether a file is one of the samples that come with wardround; a user's task may bring real ones."""
    return path.resolve().is_relative_to((shipped("tasks") / "samples").resolve())


def _refuse_overlap(rules: Rules, shots: Sequence[Sample], evaluated: Sequence[Sample], training: Path) -> None:
    """No sample may be its own worked example, whatever its id in either file."""
    shown = {rules.prompt(shot, ()): shot.id for shot in shots}
    for sample in evaluated:
        shot = shown.get(rules.prompt(sample, ()))
        if shot is not None:
            raise StudyError(
                f"the worked example {shot!r} of {training} is also evaluated, as {sample.id!r}; use another `training`"
            )


def read_samples(task: Task, path: Path) -> Sequence[Sample]:
    """The samples of a file, ids checked; raises `DataError`."""
    if not path.is_file():
        raise DataError(f"there is no data file {path}")
    samples = task.load(path)
    if not samples:
        raise DataError(f"{path} holds no samples for task {task.name}")
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen:
            raise DataError(f"{path}: the id {sample.id!r} stands twice; ids must be unique")
        seen.add(sample.id)
    return samples


def _file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    for piece in _pieces(path):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            yield piece
