"""Answers to scores, from the journal alone: no server is needed, and any profile's rules can be applied."""

from __future__ import annotations

import math

from wardround.errors import TaskError, WardroundError
from wardround.journal import Answered, Journal
from wardround.task import Rules, load_task


def score_run(journal: Journal, profile: str | None = None) -> list[str]:
    """Score every answer of a run under `profile` (each cell's own if None).

    Only answered samples get scores: a failure is no answer and never a 0. Returns remarks on what rescoring
    cannot change, one line a task. Raises `TaskError` if a task is gone, has no such profile, or fails on an answer.
    """
    remarks: dict[str, None] = {}
    for cell in journal.cells():
        task = load_task(cell.task_file, cell.settings)
        rules = task.rules(profile or cell.profile)
        asked_differently = rules.asked_like(task.rules(cell.profile))
        if asked_differently:
            remarks[
                f"{cell.task}: asked under {cell.profile}, scored under {profile};"
                f" these differ and stay as asked: {', '.join(asked_differently)}"
            ] = None
        scores = (
            (answer.position, marked(cell.task, rules, answer))
            for answer in journal.answers(cell.id)
            if answer.reply is not None
        )
        journal.put_scores(cell.id, profile or cell.profile, scores)
    return list(remarks)


def marked(task: str, rules: Rules, answer: Answered) -> dict[str, float | None]:
    """The scores of one answered sample, as plain numbers.

    Raises `TaskError` that names task and sample if the task's `score` fails or gives what is no number.
    """
    if answer.reply is None:
        return {}
    try:
        scores = rules.score(answer.reply.text, answer.sample)
        # A task may compute with NumPy; the journal keeps numbers.
        numbers = {metric: None if value is None else float(value) for metric, value in scores.items()}
        strange = [metric for metric, value in numbers.items() if value is not None and not math.isfinite(value)]
        if strange:
            raise ValueError(f"{strange[0]!r} is {numbers[strange[0]]}; give a finite number, or None for no value")
        return numbers
    except WardroundError:
        raise
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        raise TaskError(f"the score of task {task} fails on sample {answer.sample.id!r}: {words}") from error
