"""Carrying a study out: from the study file to scores in the journal."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import wardround
from wardround.catalogue import EMBEDDED
from wardround.endpoints.guard import Permit, addresses_of, most_sensitive, permits_for, resolve
from wardround.errors import JournalError
from wardround.journal import Journal
from wardround.running.asking import ask_all
from wardround.running.connecting import Opened, open_endpoints
from wardround.running.corpora import leaks_said, read_corpora
from wardround.running.marking import score_run
from wardround.running.planning import Prepared, plan, plan_second_steps, prepare, templates_of
from wardround.running.progress import Progress
from wardround.running.retrieving import retrieve
from wardround.running.searching import service_rows
from wardround.running.spending import Spending, check_prices
from wardround.running.stopping import Stopped, stopped_by_signals, unless_stopped
from wardround.running.who_answered import accept, complaints, conclude, look
from wardround.scoring.icd import table_version
from wardround.study import Study
from wardround.task import Sensitivity
from wardround.wire import Wire


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What became of a run: samples planned and answered, seconds of asking, and what went wrong."""

    samples: int
    answered: int
    asking_s: float
    stopped: bool
    complaints: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every sample has its reply."""
        return self.answered == self.samples


async def run_study(
    study: Study,
    folder: Path,
    *,
    progress: Progress,
    anew: bool = False,
    attested: bool = False,
    sensitivity: Sensitivity | None = None,
    mixed: bool = False,
) -> RunSummary:
    """Carry `study` out into the run folder `folder`, or go on where an earlier run of it stopped.

    Everything that can be known beforehand (tasks, data, keys, servers, served names) is checked before the
    first prompt is sent. Ctrl-C stops the asking; what was answered is kept and scored. `anew` forgets an earlier run
    of the same study, and only one that asked nothing but invented samples of the embedded server: else
    `JournalError`. `attested` is the user's word that the attestations of the models' rows hold for this data, and
    `sensitivity` replaces that of the tasks (invented samples are open): `GuardError` where data must not go. A model
    that has answers in the journal and other weights behind it now is an `EndpointError`, unless `mixed`.
    """
    check_prices(study)
    prepared = [one for choice in study.tasks for one in prepare(choice, study.profile)]
    with Journal.create(folder) as journal:
        if anew:
            _forget_earlier(study, journal)
        corpora = read_corpora(study, prepared)
        for name, corpus in corpora.items():
            if said := leaks_said(name, corpus.provenance):
                progress.note(said)
        permits = permits_of(study, prepared, sensitivity, attested)
        templates = {digest: {"name": one.name, "text": one.text} for digest, one in templates_of(study).items()}
        manifest = _manifest(study, prepared) | {"guard": [asdict(one) for one in permits], "templates": templates}
        manifest |= {"corpora": {name: dict(one.provenance) for name, one in corpora.items()}}
        manifest |= {"most_sensitive": _most_sensitive_ever(journal, study, prepared)}
        retrieved = await retrieve(study, journal, prepared, addresses_of(permits), corpora)
        plan(study, journal, prepared, manifest, addresses_of(permits), retrieved)
        _note_unclear(prepared, progress)
        # From here on the journal has them; only second steps are still planned from the samples.
        del retrieved, corpora
        if not any(arm.evidence == "two-step" for arm in study.arms):
            prepared = [replace(one, samples=()) for one in prepared]
        begun_s = time.monotonic()
        stopped = False
        complained: list[str] = []
        if journal.pending():
            stopped, complained = await _ask_unless_stopped(study, journal, prepared, progress, permits, mixed)
        asking_s = time.monotonic() - begun_s
        score_run(journal)
        counts = journal.progress().values()
        return RunSummary(
            samples=sum(samples for samples, _ in counts),
            answered=sum(answered for _, answered in counts),
            asking_s=asking_s,
            stopped=stopped,
            complaints=(*complained, *complaints(journal, study.models)),
        )


def _note_unclear(prepared: Sequence[Prepared], progress: Progress) -> None:
    for one in prepared:
        if one.provenance["unclear"]:
            listed = ", ".join(one.provenance["unclear"][:10])
            progress.note(f"{one.label}: {len(one.provenance['unclear'])} samples have no clear reference: {listed}")


def _forget_earlier(study: Study, journal: Journal) -> None:
    earlier = journal.manifest()
    if not earlier:
        return
    models = earlier["study"]["models"]
    harmless = all(task["invented"] for task in earlier["tasks"].values()) and all(
        model["base_url"] == EMBEDDED for model in models
    )
    if earlier["study"]["study"] != study.study or not harmless:
        raise JournalError(f"{journal.folder} holds another run; choose another folder with --out")
    journal.forget()


def permits_of(
    study: Study, prepared: Sequence[Prepared], sensitivity: Sensitivity | None, attested: bool
) -> list[Permit]:
    """Leave to send the study's data to each of its models' servers and services; raises `GuardError`."""
    of_corpora = [corpus.sensitivity for corpus in study.searched_corpora.values()]
    of_tasks = sensitivity or _most_sensitive_of([one.provenance for one in prepared])
    kind = most_sensitive([of_tasks, *of_corpora])
    # One look-up a host: models of one host must be judged by the same addresses.
    look_up = cache(resolve)
    asked = (*study.models, *service_rows(study))
    allowed = (permits_for(model, kind, attested=attested, resolve=look_up) for model in asked)
    return [one for of_a_model in allowed for one in of_a_model]


def sensitivity_of(journal: Journal) -> Sensitivity:
    """The most sensitive of a run's data, as its manifest has them; invented samples are open."""
    manifest = journal.manifest()
    of_corpora = [one["sensitivity"] for one in manifest.get("corpora", {}).values()]
    of_tasks = _most_sensitive_of(list(manifest.get("tasks", {}).values()))
    return most_sensitive([manifest.get("most_sensitive", "open"), of_tasks, *of_corpora])


def _most_sensitive_ever(journal: Journal, study: Study, prepared: Sequence[Prepared]) -> Sensitivity:
    """Of what the journal holds and what `study` adds: prompts stay, though another study takes its place."""
    of_corpora = [corpus.sensitivity for corpus in study.searched_corpora.values()]
    of_tasks = _most_sensitive_of([one.provenance for one in prepared])
    return most_sensitive([sensitivity_of(journal), of_tasks, *of_corpora])


def _most_sensitive_of(provenances: Sequence[Mapping[str, Any]]) -> Sensitivity:
    return most_sensitive(["open" if one["invented"] else one["sensitivity"] for one in provenances])


async def _ask_unless_stopped(
    study: Study,
    journal: Journal,
    prepared: Sequence[Prepared],
    progress: Progress,
    permits: Sequence[Permit],
    mixed: bool,
) -> tuple[bool, list[str]]:
    """Ask, and leave off at Ctrl-C wherever it comes, be it while servers are still being looked for."""
    with stopped_by_signals() as stop:
        try:
            return False, await unless_stopped(stop, _ask(study, journal, prepared, progress, permits, mixed))
        except Stopped:
            return True, []


async def _ask(
    study: Study,
    journal: Journal,
    prepared: Sequence[Prepared],
    progress: Progress,
    permits: Sequence[Permit],
    mixed: bool,
) -> list[str]:
    templates = {digest: one["text"] for digest, one in journal.manifest().get("templates", {}).items()}
    async with (
        Wire(connect_s=study.deadlines.connect_s, pinned=addresses_of(permits)) as wire,
        open_endpoints(study, wire, templates, note=progress.note) as endpoints,
    ):
        accept(journal, await look(study.models, wire), mixed=mixed, note=progress.note)
        spending = Spending(study, journal)
        complained, unasked = await _ask_pending(study, journal, endpoints, progress, spending)
        asked = _pending_now(journal)
        left: dict[str, str] = {}
        while plan_second_steps(study, journal, prepared, addresses_of(permits), left):
            progress.note("the first steps are answered; what was named is looked up, and the second steps follow")
            lines, more = await _ask_pending(study, journal, endpoints, progress, spending, asked)
            complained, unasked = complained + lines, unasked + more
            asked = _pending_now(journal)
        complained += left.values()
        conclude(journal, await look(study.models, wire), note=progress.note)
        return complained + spending.complaints(unasked)


def _pending_now(journal: Journal) -> frozenset[int]:
    """The requests without a reply: once asked in a run, they wait for the next one."""
    return frozenset(request for request, _, _ in journal.pending())


async def _ask_pending(
    study: Study,
    journal: Journal,
    endpoints: Mapping[str, Opened],
    progress: Progress,
    spending: Spending,
    leave: frozenset[int] = frozenset(),
) -> tuple[list[str], int]:
    done = journal.progress()
    progress.start([(cell.id, cell.title, *done[cell.id]) for cell in journal.cells()])
    try:
        return await ask_all(
            journal, endpoints, attempts=study.attempts, progress=progress, spending=spending, leave=leave
        )
    finally:
        progress.finish()


def _manifest(study: Study, prepared: list[Prepared]) -> dict[str, Any]:
    return {
        "study": study.model_dump(mode="json"),
        "tasks": {one.label: one.provenance for one in prepared},
        "versions": {
            "wardround": wardround.__version__,
            "python": platform.python_version(),
            "code_table": table_version(),
        },
        "machine": {"system": platform.platform(), "cores": os.cpu_count()},
        "last_started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
