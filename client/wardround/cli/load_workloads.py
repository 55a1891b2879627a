"""What `wardround load` sends, by its options: tasks' prompts, a file's, made-up ones, or a run's once more."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, get_args

from wardround.catalogue import EMBEDDED, Model
from wardround.cli.load_options import Wanted
from wardround.endpoints import check_served
from wardround.endpoints.guard import addresses_of, most_sensitive
from wardround.errors import WrongUse
from wardround.journal import Journal
from wardround.load.workloads import Lengths, Workload, mixed, of_file, of_run, of_study, synthetic
from wardround.running.corpora import read_corpora
from wardround.running.evidence import arms_of
from wardround.running.planning import templates_of
from wardround.running.preparing import Prepared, prepare
from wardround.running.round import permits_of, sensitivity_of
from wardround.running.stand_ins import stand_ins
from wardround.study import Study, TaskChoice
from wardround.task import Sensitivity
from wardround.wire import Wire

DEFAULT_TASK = "mednli"
SYNTHETIC_PROMPTS = 512
# Long enough that a mix keeps its shares, short enough to be drawn in no time.
MIX_LENGTH = 20_000


@dataclass(frozen=True, slots=True)
class Sent:
    """What one model is sent, when (the times of a trace or a replay, in seconds), and how sensitive it is."""

    workload: Workload
    times_s: Sequence[float]
    sensitivity: Sensitivity


def sends_tasks(wanted: Wanted) -> bool:
    """Whether tasks' prompts are sent, for which services may search; raises `WrongUse` for more than one source."""
    given = [one for one in (wanted.prompts, wanted.synthetic, wanted.replay) if one is not None]
    if len(given) > 1 or (given and (wanted.tasks or wanted.study)):
        raise WrongUse("give one of --task (with --study or without), --prompts, --synthetic and --replay")
    return not given


async def all_sent(rows: Sequence[Model], wanted: Wanted, study: Study | None) -> list[Sent]:
    """What each of the models in `rows` is sent; what searches for an arm is asked once for all of them."""
    if sends_tasks(wanted):
        return await _of_tasks(rows, wanted, study)
    return [_without_tasks(model, wanted) for model in rows]


def _without_tasks(model: Model, wanted: Wanted) -> Sent:
    said = _sensitivity(wanted.sensitivity)
    if wanted.prompts is not None:
        workload, times_s = of_file(wanted.prompts, wanted.max_tokens)
        # Nobody has said what is in it: it is treated as patients' text.
        return Sent(workload, times_s, said or "phi")
    if wanted.synthetic is not None:
        prompt, output, common = _lengths(wanted.synthetic)
        made = synthetic(prompt, output, shared_prefix=common, number=SYNTHETIC_PROMPTS, seed=wanted.seed)
        return Sent(made, [], said or "open")
    assert wanted.replay is not None
    return _replayed(model, wanted.replay, said)


async def _of_tasks(rows: Sequence[Model], wanted: Wanted, study: Study | None) -> list[Sent]:
    said = _sensitivity(wanted.sensitivity)
    shares = dict(map(_share, wanted.tasks))
    if study is None:
        asked = {_file_of(name): share for name, share in (shares or {DEFAULT_TASK: 1.0}).items()}
        choices = tuple(TaskChoice(task=name) for name in asked)
        study = Study(study="load", models=tuple(rows[:1]), tasks=choices, baselines=False)
        by_file = {choice.task: prepare(choice, study.profile) for choice in study.tasks}
        # A file may hold several tasks, which then have its share in equal parts.
        shares = {one.label: asked[name] / len(some) for name, some in by_file.items() for one in some}
        every = [one for some in by_file.values() for one in some]
    else:
        every = [one for choice in study.tasks for one in prepare(choice, study.profile)]
    prepared = _wanted_of(every, shares)
    arms = tuple(arm for arm in study.arms if any(arm in arms_of(study, one) for one in prepared))
    study = study.model_copy(update={"models": tuple(rows), "arms": arms})
    kinds: list[Sensitivity] = [
        "open" if one.provenance["invented"] else one.provenance["sensitivity"] for one in prepared
    ]
    kinds += [corpus.sensitivity for corpus in study.searched_corpora.values()]
    kind = _not_below(said, most_sensitive(kinds), "the study says" if wanted.study else "the tasks say")
    pinned = addresses_of(permits_of(study, prepared, kind, wanted.attested))
    if any(arm.embeds or arm.rerank for arm in arms):
        # Before minutes of it, and its price: whether there is anybody to send it to.
        await _find_served(rows, pinned)
        print("searching for the study's arms", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="wardround-") as folder:
        # What a corpus may show depends on the cases of all tasks, as in a run.
        corpora = read_corpora(study, every)
        by_model = await of_study(study, prepared, pinned, corpora, Path(folder) / "plan")
    titled = stand_ins(study, prepared, searched=True)
    found = []
    for model, by_task in zip(rows, by_model, strict=True):
        workload = mixed(by_task, shares or dict.fromkeys(by_task, 1.0), wanted.seed, MIX_LENGTH)
        only = study.model_copy(update={"models": (model,)})
        templates = tuple((digest, one.text) for digest, one in templates_of(only).items())
        title = "; ".join([workload.title, *titled])
        found.append(Sent(replace(workload, title=title, templates=templates), [], kind))
    return found


async def _find_served(rows: Sequence[Model], pinned: Mapping[str, Sequence[str]]) -> None:
    async with Wire(pinned=pinned) as wire:
        for model in rows:
            if model.base_url not in (None, EMBEDDED):
                await check_served(model, wire, base_url=model.base_url)


def _wanted_of(prepared: Sequence[Prepared], shares: Mapping[str, float]) -> list[Prepared]:
    """The tasks that have a share, or all of them if none has; raises `WrongUse` for one that is not there."""
    labels = [one.label for one in prepared]
    if missing := [label for label in shares if label not in labels]:
        raise WrongUse(f"no prompts for {', '.join(missing)}; there are: {', '.join(labels)}")
    return [one for one in prepared if not shares or one.label in shares]


def _file_of(name: str) -> str:
    """The task file of a task: those of LongHealth are three in one file."""
    from wardround.task import load_tasks, task_names

    if name in task_names() or ".py" in name or ":" in name:
        return name
    for file in task_names():
        for one in load_tasks(file):
            if one.name == name:
                return one.reference
    return name


def _share(text: str) -> tuple[str, float]:
    name, colon, share = text.rpartition(":")
    if not colon:
        return text, 1.0
    try:
        weight = float(share)
    except ValueError:
        return text, 1.0
    if not weight > 0:
        raise WrongUse(f"--task {text!r}: the share must be above 0")
    return name, weight


def _replayed(model: Model, run: Path, said: Sensitivity | None) -> Sent:
    with Journal.open(run) as journal:
        asked, times_s = of_run(journal, model.name)
        kind = _not_below(said, sensitivity_of(journal), f"{run} says")
        rendered = journal.manifest().get("templates", {})
    if not asked:
        raise WrongUse(f"{run} holds no answered requests of model {model.name!r}")
    templates = tuple((digest, str(one["text"])) for digest, one in rendered.items())
    workload = Workload(f"replay of {run.name}", tuple(asked), tuple(range(len(asked))), templates)
    return Sent(workload, times_s, kind)


def _lengths(text: str) -> tuple[Lengths, Lengths, float]:
    try:
        prompt, output, *common = (float(one) for one in text.split(","))
        share = common[0] / 100 if common else 0.0
        if prompt < 1 or output < 1 or len(common) > 1:
            raise ValueError
    except ValueError:
        raise WrongUse(
            f"--synthetic {text!r}: write prompt tokens, answer tokens and, if you like, the common prefix in per cent,"
            " for example 512,128,50"
        ) from None
    return Lengths(prompt, 0.3), Lengths(output, 0.3), share


def _sensitivity(text: str | None) -> Sensitivity | None:
    if text is not None and text not in get_args(Sensitivity):
        raise WrongUse(f"--sensitivity {text!r} is none of {', '.join(get_args(Sensitivity))}")
    return cast("Sensitivity | None", text)


def _not_below(said: Sensitivity | None, known: Sensitivity, by: str) -> Sensitivity:
    """What the user says, if it is no less than what is known of the data; else raises `WrongUse`."""
    if said is not None and most_sensitive([said, known]) != said:
        raise WrongUse(f"--sensitivity {said}: {by} of this data that it is {known}; leave the option out")
    return said or known
