"""A study becomes cells, samples and requests in the journal.

The plan is the journal's tables, not a list in memory: what is left to ask is a query over them, so a run that
was stopped goes on where it was, and a study of a hundred thousand long prompts needs little memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from wardround.catalogue import EMBEDDED, Model
from wardround.endpoints import Params, identity
from wardround.endpoints.opening import auth_headers
from wardround.endpoints.templates import PLAIN, Template, read_template
from wardround.endpoints.tokens import TokenCounter, counter_without_server, token_counter
from wardround.errors import EndpointError, StudyError
from wardround.journal import Asked, Journal, Row
from wardround.journal.records import sha256
from wardround.running.evidence import Chosen, arms_of, row_in_arm
from wardround.running.preparing import Prepared as Prepared
from wardround.running.preparing import prepare as prepare
from wardround.running.retrieving import Retrieved, retrieve_here
from wardround.running.two_step import TwoSteps, awaiting_second
from wardround.study import Arm, Study
from wardround.task import Prompt, Rules
from wardround.text import storable

# What the wish for one of the choices takes of a prompt's room, at most.
TOKENS_A_WISH = 64
# (counter, hash of a text) -> (what counted, tokens): the counts of a plan, until the journal has them.
Counted = dict[tuple[str, str], tuple[str, int]]


def plan(
    study: Study,
    journal: Journal,
    prepared: Sequence[Prepared],
    manifest: Mapping[str, Any],
    pinned: Mapping[str, Sequence[str]] | None,
    retrieved: Retrieved | None = None,
) -> None:
    """Enter all cells of `study` and the manifest into the journal, in the order: task, arm, model.

    `pinned`: the addresses at which servers may be asked to count tokens, by host; None asks no server. `retrieved` is
    what `retrieve` chose for the arms that search; without it what needs a service is found by words instead, which
    is as long. Raises `StudyError` if two tasks have one label, or if a task or an arm is left without the other.
    """
    labels = [one.label for one in prepared]
    for label in labels:
        if labels.count(label) > 1:
            raise StudyError(f"task {label!r} stands twice; give each its own `label`")
    of_tasks = {one.label: arms_of(study, one) for one in prepared}
    for arm in study.arms:
        if not any(arm in arms for arms in of_tasks.values()):
            raise StudyError(f"arm {arm.name!r} suits none of the study's tasks; take it out or add a task that has it")
    chosen = retrieve_here(study, journal, prepared) if retrieved is None else retrieved
    with _counting(journal) as counted, journal.transaction():
        journal.begin_plan()
        for one in prepared:
            for arm in of_tasks[one.label]:
                _plan_arm(study, journal, one, arm, chosen.get((one.label, arm.name)), counted, pinned)
        journal.put_manifest(manifest)


def plan_second_steps(
    study: Study,
    journal: Journal,
    prepared: Sequence[Prepared],
    pinned: Mapping[str, Sequence[str]] | None,
    left: dict[str, str],
) -> int:
    """Enter the second questions of those samples whose first ones were answered since; returns of how many cells.

    `left` gets a line for each model whose server no longer counts tokens. Its second questions wait for the next run,
    those of the others do not; who is in it already is not tried again.
    """
    awaiting = {one for one in awaiting_second(journal) if one[0] not in left}
    if not awaiting:
        return 0
    planned = 0
    with _counting(journal) as counted, journal.transaction():
        for one in prepared:
            for arm in arms_of(study, one):
                if arm.evidence != "two-step":
                    continue
                steps = TwoSteps(journal, one, arm)
                for model, cell in zip(study.models, _cells(study, one, arm), strict=True):
                    if (cell.model, cell.task, cell.arm) not in awaiting or model.name in left:
                        continue
                    try:
                        _plan_two_steps(journal, steps, one, model, cell, counted, pinned)
                        planned += 1
                    except EndpointError as error:
                        left[model.name] = f"model {model.name!r}: second steps are left unasked: {error}"
    return planned


@contextmanager
def _counting(journal: Journal) -> Iterator[Counted]:
    """What is counted meanwhile, kept in the journal at the end, also where planning failed: it was asked for once."""
    counted: Counted = {}
    try:
        yield counted
    finally:
        with journal.transaction():
            for (counter, digest), (name, tokens) in counted.items():
                journal.keep_token_count(counter, name, digest, tokens)


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
    chosen: Sequence[Chosen] | None,
    counted: Counted,
    pinned: Mapping[str, Sequence[str]] | None,
) -> None:
    """Models that count tokens alike and have as much room get the same prompts, which are built once."""
    cells = _cells(study, one, arm)
    journal.place_cells(cells)
    if arm.evidence == "two-step":
        steps = TwoSteps(journal, one, arm)
        for model, cell in zip(study.models, cells, strict=True):
            _plan_two_steps(journal, steps, one, model, cell, counted, pinned)
        return
    bounded = one.rules.fit is not None or arm.evidence_tokens is not None
    alike: dict[tuple[str, int | None, bool], tuple[_Counter, list[str]]] = {}
    for model in study.models:
        counter = _Counter(model, journal, counted, pinned)
        reserved = model.reasoning_tokens + (0 if arm.choice == "parse" else TOKENS_A_WISH)
        context = None if model.context is None else model.context - reserved
        # Only a choice by likelihood is asked for in another way of models that cannot continue a turn.
        continues = model.prefill == "continue" or arm.choice != "logprobs"
        key = (counter.key, context, continues) if bounded else ("", None, continues)
        alike.setdefault(key, (counter, []))[1].append(model.name)
    for (_, context, continues), (counter, names) in alike.items():
        rows = (
            _in_arm(row_in_arm(one, arm, sample, found, context, counter), arm, one.rules, continues=continues)
            for sample, found in zip(one.samples, chosen or itertools.repeat(Chosen()), strict=False)
        )
        journal.plan_cells([cell for cell in cells if cell.model in names], rows)


def _plan_two_steps(
    journal: Journal,
    steps: TwoSteps,
    one: Prepared,
    model: Model,
    cell: Asked,
    counted: Counted,
    pinned: Mapping[str, Sequence[str]] | None,
) -> None:
    """No two models share these prompts: each is shown what it named itself."""
    counter = _Counter(model, journal, counted, pinned)
    context = None if model.context is None else model.context - model.reasoning_tokens
    journal.plan_cells([cell], (steps.row(cell, sample, context, counter) for sample in one.samples))


def _cells(study: Study, one: Prepared, arm: Arm) -> list[Asked]:
    return [
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


class _Counter:
    """A model's counter, made when it is first needed; the journal remembers its counts, so no plan asks twice."""

    def __init__(
        self, model: Model, journal: Journal, counted: Counted, pinned: Mapping[str, Sequence[str]] | None
    ) -> None:
        self._model = model
        self._pinned = pinned
        self._journal = journal
        self._counted = counted
        self._made: TokenCounter | None = None
        self._name = ""
        # The embedded server's rows all count alike.
        served = "" if model.base_url == EMBEDDED else model.served_name
        self.key = " ".join(f"{identity(model)['base_url']} {served} {model.tokenizer or ''}".split())

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
                self._made = (
                    counter_without_server(self._model)
                    if self._pinned is None
                    else token_counter(self._model, auth_headers(self._model), self._pinned)
                )
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
