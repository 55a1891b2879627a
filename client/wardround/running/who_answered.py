"""Who answered: what the servers of a run say of themselves, kept in its journal, and whether it changed.

Each server is asked before the first prompt and after the last answer. A reply is kept under the address and name it
was asked for, and neither says whose weights stand behind them: what a later run finds there must be what the earlier
one found, or its answers would be another model's. The embedded server is the run's own and left out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from wardround.catalogue import EMBEDDED, Model
from wardround.endpoints.opening import without_secrets
from wardround.endpoints.probing import ServerFacts, facts_of
from wardround.errors import EndpointError
from wardround.journal import Journal
from wardround.wire import Wire

Occasion = Literal["start", "end"]
Facts = Mapping[str, Any]

# Another value of one of these, where both are known, means other weights or other prompts.
WEIGHTS = {
    "served": "model",
    "root": "weights",
    "revision": "revision",
    "quantization": "quantization",
    "template": "chat template",
}
# Another value of these is said, and no more.
NOTED = {"engine": "engine", "version": "version", "context": "context"}
FINGERPRINTS_SHOWN = 3
_SHORT_HASH = 12


@dataclass(frozen=True, slots=True)
class Found:
    """What one server said of itself just now; `main` is a model's first address, the others are its replicas."""

    model: str
    base_url: str
    main: bool
    facts: ServerFacts


@dataclass(frozen=True, slots=True)
class Answerer:
    """One server as it was while it answered.

    `facts` are those of `ServerFacts`. `changed` says when it became another than the one before it: "during the run",
    "between runs", or "" if it did not; `unlike` names the fields in which it did.
    """

    model: str
    base_url: str
    facts: Facts
    changed: str = ""
    unlike: tuple[str, ...] = ()


async def look(models: Sequence[Model], wire: Wire) -> list[Found]:
    """Ask every server of the models that have one of their own who it is."""

    async def ask(model: Model, url: str) -> Found:
        facts = await facts_of(model, wire, base_url=url)
        return Found(model.name, without_secrets(url), url == model.urls[0], facts)

    asked = [ask(model, url) for model in models if model.base_url != EMBEDDED for url in model.urls]
    return list(await asyncio.gather(*asked))


def accept(journal: Journal, found: Sequence[Found], *, mixed: bool, note: Callable[[str], None]) -> None:
    """Keep what was found at the start of a run, unless the earlier answers of a model are another's.

    Raises `EndpointError` for a model that has answers in the journal and other weights behind it now, or whose
    servers are not alike; `mixed` goes on all the same. What changed besides is told to `note`.
    """
    answered = _answered(journal)
    known = {(one.model, one.base_url): one for one in answerers(journal)}
    for one in found:
        facts = asdict(one.facts)
        before = _earlier(known, one)
        if before is not None and answered[one.model]:
            _compare(before, one, facts, mixed=mixed, note=note)
        _compare_replicas([other for other in found if other.model == one.model], one, mixed=mixed)
    _keep(journal, found, "start")


def conclude(journal: Journal, found: Sequence[Found], *, note: Callable[[str], None]) -> None:
    """Keep what was found at the end of a run; what changed besides the weights is told to `note`."""
    known = {(one.model, one.base_url): one for one in answerers(journal)}
    for one in found:
        if (one.model, one.base_url) in known:
            _note_besides(known[one.model, one.base_url], one, asdict(one.facts), note)
    _keep(journal, found, "end")


def _keep(journal: Journal, found: Sequence[Found], occasion: Occasion) -> None:
    """Write down what servers said, and how many answers of their models there were by then."""
    answered = _answered(journal)
    for one in found:
        circumstances = {"occasion": occasion, "main": one.main, "answered": answered[one.model]}
        journal.keep_server(one.model, one.base_url, {**asdict(one.facts), **circumstances})


def answerers(journal: Journal) -> list[Answerer]:
    """The servers behind a run's answers in the order in which they came, one entry for each state of each.

    A server that did not say something later is taken to be what it was; one that gave way to another before anything
    was answered is left out.
    """
    states: dict[tuple[str, str], list[Answerer]] = {}
    main: dict[str, str] = {}
    for model, base_url, said in journal.servers():
        if said.get("main") and main.setdefault(model, base_url) != base_url:
            # The model has moved: requests at another address are others, and so are their answers.
            states = {key: kept for key, kept in states.items() if key[0] != model}
            main[model] = base_url
        facts = {name: said.get(name) for name in (*WEIGHTS, *NOTED)}
        history = states.setdefault((model, base_url), [])
        unlike = _unlike(history[-1].facts, facts) if history else ()
        if history and not unlike:
            history[-1] = replace(history[-1], facts=_completed(history[-1].facts, facts))
        elif not history or not said.get("answered"):
            history[:] = [Answerer(model, base_url, facts)]
        else:
            changed = "during the run" if said.get("occasion") == "end" else "between runs"
            history.append(Answerer(model, base_url, facts, changed, unlike))
    asked = {cell.model for cell in journal.cells()}
    return [one for (model, _), history in states.items() if model in asked for one in history]


def complaints(journal: Journal, models: Sequence[Model]) -> list[str]:
    """One line for each sign that a model's answers are not all of the same weights, as far as its servers told."""
    return [*_change_complaints(journal), *_fingerprint_complaints(journal, models)]


def _change_complaints(journal: Journal) -> list[str]:
    lines = []
    last: dict[tuple[str, str], Answerer] = {}
    for one in answerers(journal):
        before = last.get((one.model, one.base_url))
        if before is not None:
            lines.append(
                f"model {one.model!r} at {one.base_url} changed {one.changed}: it answered as"
                f" {_told(before.facts, one.unlike)} and then as {_told(one.facts, one.unlike)}; its answers are mixed"
            )
        last[one.model, one.base_url] = one
    for model in dict.fromkeys(one.model for one in last.values()):
        first, *others = [one for one in last.values() if one.model == model]
        for other in others:
            unlike = _unlike(first.facts, other.facts)
            if unlike:
                lines.append(
                    f"model {model!r} has servers that are not alike: {first.base_url} is {_told(first.facts, unlike)},"
                    f" {other.base_url} is {_told(other.facts, unlike)}; its answers are mixed"
                )
    return lines


def _fingerprint_complaints(journal: Journal, models: Sequence[Model]) -> list[str]:
    """One line for each model whose replies carry several fingerprints: what the server called itself in each."""
    rows = journal.read(
        "SELECT cells.model, replies.fingerprint, count(DISTINCT replies.request) AS number FROM cells"
        " JOIN asks ON asks.cell = cells.id JOIN replies ON replies.request = asks.request"
        # A reply without a fingerprint says nothing, also not that it is another's.
        " WHERE cells.place IS NOT NULL AND replies.fingerprint != ''"
        " GROUP BY cells.model, replies.fingerprint ORDER BY number DESC"
    )
    told: dict[str, list[str]] = {model.name: [] for model in models if model.base_url != EMBEDDED}
    for model, fingerprint, number in rows:
        if model in told:
            told[model].append(f"{fingerprint!r} ({number:,})")
    return [
        f"model {model!r} answered under {len(seen)} fingerprints: {', '.join(seen[:FINGERPRINTS_SHOWN])}"
        + (f" and {len(seen) - FINGERPRINTS_SHOWN} more" if len(seen) > FINGERPRINTS_SHOWN else "")
        for model, seen in told.items()
        if len(seen) > 1
    ]


def _earlier(known: Mapping[tuple[str, str], Answerer], one: Found) -> Answerer | None:
    """What the same server was last; for a new replica, what another server of the model was."""
    same = known.get((one.model, one.base_url))
    return same or next((other for (model, _), other in known.items() if model == one.model), None)


def _compare(before: Answerer, one: Found, facts: Facts, *, mixed: bool, note: Callable[[str], None]) -> None:
    unlike = _unlike(before.facts, facts)
    if unlike:
        was, now = _told(before.facts, unlike), _told(facts, unlike)
        if not mixed:
            raise EndpointError(
                f"model {one.model!r} at {one.base_url} answered as {was} and is now {now}: earlier answers are another"
                " model's; start a new run with --out, or pass --mixed to go on"
            )
        note(f"model {one.model!r} at {one.base_url} answered as {was} and is now {now}: its answers are mixed")
    _note_besides(before, one, facts, note)


def _note_besides(before: Answerer, one: Found, facts: Facts, note: Callable[[str], None]) -> None:
    besides = _unlike(before.facts, facts, NOTED)
    if besides:
        was, now = _told(before.facts, besides, NOTED), _told(facts, besides, NOTED)
        note(f"model {one.model!r} at {one.base_url}: {was} before, {now} now")


def _compare_replicas(servers: Sequence[Found], one: Found, *, mixed: bool) -> None:
    first = asdict(servers[0].facts)
    facts = asdict(one.facts)
    unlike = _unlike(first, facts)
    if unlike and not mixed:
        raise EndpointError(
            f"the servers of model {one.model!r} are not alike: {servers[0].base_url} is {_told(first, unlike)},"
            f" {one.base_url} is {_told(facts, unlike)}; serve the same weights, or pass --mixed to go on"
        )


def _answered(journal: Journal) -> Counter[str]:
    """How many samples of the study each model has answered."""
    progress = journal.progress()
    counts: Counter[str] = Counter()
    for cell in journal.cells():
        counts[cell.model] += progress[cell.id][1]
    return counts


def _unlike(before: Facts, now: Facts, fields: Mapping[str, str] = WEIGHTS) -> tuple[str, ...]:
    """The fields that both know and that differ."""
    return tuple(
        name
        for name in fields
        if before.get(name) not in (None, "unknown")
        and now.get(name) not in (None, "unknown")
        and before[name] != now[name]
    )


def _completed(before: Facts, now: Facts) -> Facts:
    """What is known now, and what was known before where nothing is now."""
    return {name: before.get(name) if now.get(name) in (None, "unknown") else now[name] for name in now}


def _told(facts: Facts, names: Sequence[str], fields: Mapping[str, str] = WEIGHTS) -> str:
    return ", ".join(
        f"{fields[name]} {str(facts[name])[:_SHORT_HASH] if name == 'template' else facts[name]}" for name in names
    )
