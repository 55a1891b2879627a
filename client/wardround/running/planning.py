"""A study becomes cells, samples and requests in the journal.

The plan is the journal's tables, not a list in memory: what is left to ask is a query over them, so a run that
was stopped goes on where it was, and a study of a hundred thousand long prompts needs little memory.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from wardround.catalogue import Model
from wardround.endpoints import Params, identity
from wardround.endpoints.guard import most_sensitive
from wardround.endpoints.opening import auth_headers
from wardround.endpoints.templates import PLAIN, Template, read_template
from wardround.endpoints.tokens import TokenCounter, token_counter
from wardround.errors import DataError, StudyError
from wardround.journal import Asked, Journal, Row
from wardround.journal.records import sha256
from wardround.running.budget import fitted
from wardround.shipped import shipped
from wardround.study import Arm, Study, TaskChoice
from wardround.task import Prompt, Rules, Sample, Task, load_tasks
from wardround.text import storable

# What the wish for one of the choices takes of a prompt's room, at most.
TOKENS_A_WISH = 64
# (counter, hash of a text) -> (what counted, tokens): the counts of a plan, until the journal has them.
Counted = dict[tuple[str, str], tuple[str, int]]


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
    samples = list(_load(task, data))
    if rules.shuffled_by is not None:
        random.Random(rules.shuffled_by).shuffle(samples)
    wanted = rules.shots if choice.shots is None else choice.shots
    if wanted and not task.takes_shots:
        raise StudyError(f"task {task.name} takes no worked examples: one would answer other samples of its patient")
    from_training = training is not None and wanted > 0 and not rules.shots_from_head
    if from_training and training is not None:
        pool = _load(task, training)
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
    return Prepared(label, task, choice.settings, rules, evaluated, shots, provenance)


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


def plan(
    study: Study,
    journal: Journal,
    prepared: Sequence[Prepared],
    manifest: Mapping[str, Any],
    pinned: Mapping[str, Sequence[str]],
) -> None:
    """Enter all cells of `study` and the manifest into the journal, in the order: task, arm, model.

    `pinned`: the addresses at which servers may be asked to count tokens, by host. Raises `StudyError` if two tasks
    have one label.
    """
    labels = [one.label for one in prepared]
    for label in labels:
        if labels.count(label) > 1:
            raise StudyError(f"task {label!r} stands twice; give each its own `label`")
    counted: Counted = {}
    try:
        with journal.transaction():
            journal.begin_plan()
            for one in prepared:
                for arm in _arms(study, one):
                    _plan_arm(study, journal, one, arm, counted, pinned)
            journal.put_manifest(manifest)
    finally:
        # Also where planning failed: what a server has counted need not be counted again.
        with journal.transaction():
            for (counter, digest), (name, tokens) in counted.items():
                journal.keep_token_count(counter, name, digest, tokens)


def _arms(study: Study, one: Prepared) -> Sequence[Arm]:
    """The arms of a task; those that choose among answers are for tasks with choices only.

    Raises `StudyError` if the study asks for one that the task does not have, or if no arm is left.
    """
    own: Literal["full", "closed-book"] = "full" if any(sample.documents for sample in one.samples) else "closed-book"
    arms = []
    for arm in study.arms or (Arm(name=own, cases=own),):
        if arm.cases not in ("own", own):
            raise StudyError(f"task {one.label} has no arm {arm.name!r}; its cases make it {own!r}")
        if arm.choice == "parse" or one.rules.choices is not None:
            arms.append(arm)
    if not arms:
        raise StudyError(f"task {one.label} has no choices, and all of the study's arms choose; give it another arm")
    return arms


def templates_of(study: Study) -> dict[str, Template]:
    """The chat templates that a study's prompts are rendered with here, by SHA-256; raises `CatalogueError`."""
    named = {arm.template for arm in study.arms} | {model.chat_template for model in study.models}
    found = [read_template(name) for name in sorted(named - {None, PLAIN}, key=str) if name]
    return {template.sha256: template for template in found}


def _template(model: Model, arm: Arm) -> str | None:
    """What renders the prompts of a model in an arm: a template's hash, "plain", or None (the server)."""
    name = arm.template or model.chat_template
    if name is None or name == PLAIN:
        # These protocols send text: without a template there is nothing but the turns' texts.
        return PLAIN if name == PLAIN or model.protocol in ("openai-completions", "tgi") else None
    return read_template(name).sha256


def with_choices(prompt: Prompt, choices: Sequence[str], opening: str) -> Prompt:
    """The prompt for an answer that is one of `choices`.

    The model's turn is begun with `opening`, so that its next token is the choice's first; without one the user's turn
    ends with the choices, and with the wish for one of them alone.
    """
    if opening:
        return replace(prompt, choices=tuple(choices), prefill=opening)
    *before, last = prompt.messages
    wish = f"{last.content}\n\nNow answer with one of these and nothing else: {', '.join(choices)}"
    return replace(prompt, choices=tuple(choices), messages=(*before, replace(last, content=wish)))


def _in_arm(row: Row, arm: Arm, rules: Rules, *, continues: bool) -> Row:
    if arm.choice == "parse" or rules.choices is None:
        return row
    opening = rules.opening if arm.choice == "logprobs" and continues else ""
    return replace(row, prompt=with_choices(row.prompt, rules.choices(row.sample), opening))


def _plan_arm(
    study: Study,
    journal: Journal,
    one: Prepared,
    arm: Arm,
    counted: Counted,
    pinned: Mapping[str, Sequence[str]],
) -> None:
    """Models that count tokens alike and have as much room get the same prompts, which are built once."""
    bounded = one.rules.fit is not None
    alike: dict[tuple[str, int | None, bool], tuple[_Counter, list[str]]] = {}
    for model in study.models:
        counter = _Counter(model, journal, counted, pinned)
        reserved = model.reasoning_tokens + (0 if arm.choice == "parse" else TOKENS_A_WISH)
        context = None if model.context is None else model.context - reserved
        # Only a choice by likelihood is asked for in another way of models that cannot continue a turn.
        continues = model.prefill == "continue" or arm.choice != "logprobs"
        key = (counter.key, context, continues) if bounded else ("", None, continues)
        alike.setdefault(key, (counter, []))[1].append(model.name)
    cells = [
        Asked(
            model=model.name,
            task=one.label,
            arm=arm.name,
            profile=study.profile,
            task_file=one.task.reference,
            settings=one.settings,
            params=_params(study, model, one.rules, arm),
            identity=identity(model),
        )
        for model in study.models
    ]
    journal.place_cells(cells)
    for (_, context, continues), (counter, names) in alike.items():
        rows = (
            _in_arm(fitted(one.rules, sample, one.shots, context, counter), arm, one.rules, continues=continues)
            for sample in one.samples
        )
        journal.plan_cells([cell for cell in cells if cell.model in names], rows)


class _Counter:
    """A model's counter, made when it is first needed; the journal remembers its counts, so no plan asks twice."""

    def __init__(self, model: Model, journal: Journal, counted: Counted, pinned: Mapping[str, Sequence[str]]) -> None:
        self._model = model
        self._pinned = pinned
        self._journal = journal
        self._counted = counted
        self._made: TokenCounter | None = None
        self._name = ""
        self.key = f"{identity(model)['base_url']} {model.served_name} {model.tokenizer or ''}".strip()

    @property
    def name(self) -> str:
        """What counts; known once something was counted."""
        return self._name or self._journal.counter_name(self.key) or "nothing"

    def count(self, text: str) -> int:
        """Tokens of `text`; raises `EndpointError` if the server that counts has gone."""
        digest = sha256(storable(text))
        if (self.key, digest) in self._counted:
            self._name, tokens = self._counted[self.key, digest]
            return tokens
        known = self._journal.token_count(self.key, digest)
        if known is None:
            if self._made is None:
                self._made = token_counter(self._model, auth_headers(self._model), self._pinned)
            known = self._made.count(text)
            self._name = self._made.name
            self._counted[self.key, digest] = (self._made.name, known)
        return known


def _params(study: Study, model: Model, rules: Rules, arm: Arm) -> Params:
    return Params(
        max_tokens=rules.max_tokens + model.reasoning_tokens,
        temperature=model.temperature if rules.temperature is None else rules.temperature,
        seed=study.seed,
        stop=tuple(dict.fromkeys((*rules.stop, *model.stop))),
        extra_body=model.extra_body,
        top_p=model.top_p,
        template=_template(model, arm),
        choose=arm.choice,
    )


def _load(task: Task, path: Path) -> Sequence[Sample]:
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
