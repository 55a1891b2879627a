"""Method and provenance: what was asked of whom, with which settings, on which data, and how it was reckoned."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel

from wardround.catalogue import EMBEDDED, Model
from wardround.endpoints.keys import without_secrets
from wardround.reports import html
from wardround.reports.numbers import ABSENT, number
from wardround.reports.page.gathered import Gathered
from wardround.running.who_answered import NOTED, WEIGHTS, answerers, complaints
from wardround.study import Arm

# Of a model's row: what names it or has a column of its own, and what only says where its secrets lie.
_NAMED = ("name", "title", "group", "protocol", "base_url", "served_as", "serving", "price", "attestation")
_PRIVATE = ("key_env", "key_file", "headers", "headers_env")
_SHORT = 16
_PRICES = {"input": "per million tokens read", "output": "per million written", "hour": "an hour"}
# What `html.table` takes: header, rows, numeric columns, caption.
Table = tuple[Sequence[str], Sequence[Sequence[str]], set[str], str]


def method_part(run: Gathered) -> list[str]:
    """Everything that is needed to judge the figures, and to make them again."""
    return [
        html.heading(2, "Method and provenance", "method"),
        _facts_table("The run", _of_the_run(run)),
        *_statistics(run),
        html.heading(3, "Models"),
        html.table(*_models(run)),
        html.heading(3, "Who answered"),
        *_who_answered(run),
        html.heading(3, "Tasks and data"),
        html.table(*_tasks(run)),
        html.table(*_hashes(run)),
        html.heading(3, "Arms"),
        *_arms(run),
        html.heading(3, "How answers were generated"),
        html.table(*_parameters(run)),
        html.heading(3, "Where the samples' text was sent"),
        *_guard(run),
    ]


def _facts_table(caption: str, rows: Iterable[tuple[str, str]]) -> str:
    return html.table(("what", "value"), list(rows), set(), caption)


def _of_the_run(run: Gathered) -> list[tuple[str, str]]:
    study, versions, machine = run.study, run.manifest.get("versions", {}), run.manifest.get("machine", {})
    profiles = sorted({result.profile for one in run.cells for result in one.results})
    cells = number(len(run.cells))
    return [
        ("study", _told(study.get("study"))),
        ("title", _told(study.get("title"))),
        ("last started", _told(run.manifest.get("last_started_at"))),
        ("asked under the profile", _told(study.get("profile"))),
        ("scored under the profile", ", ".join(profiles)),
        ("cells (model × task × arm)", cells),
        ("seed sent to the servers", _told(study.get("seed"))),
        ("requests in flight at one server", _told(study.get("concurrency"))),
        ("attempts a request", _told(study.get("attempts"))),
        ("deadlines", _settings(study.get("deadlines", {}))),
        ("budget", _settings(study.get("budget", {})) or "none"),
        ("wardround", _told(versions.get("wardround"))),
        ("Python", _told(versions.get("python"))),
        ("table of codes", _told(versions.get("code_table"))),
        ("machine that asked", _machine(machine)),
        ("chat templates rendered here, SHA-256", ", ".join(sorted(run.manifest.get("templates", {}))) or "none"),
        ("passages", _retrieval(study)),
    ]


def _machine(machine: Mapping[str, Any]) -> str:
    """System and release, "Linux 6.1.0", without what the builder of its kernel added."""
    system = " ".join(str(machine.get("system", "")).split("-")[:2])
    return f"{system}, {machine['cores']} cores" if machine.get("cores") else _told(system)


def _retrieval(study: Mapping[str, Any]) -> str:
    """How the study's arms search."""
    settings = study.get("retrieval", {})
    if not any(arm.get("evidence") not in (None, "own", "none", "full") for arm in study.get("arms", ())):
        return "no arm searches"
    found = [f"{settings.get('length')} words, overlap {settings.get('overlap')}"]
    for name in ("embeddings", "rerank"):
        service = settings.get(name)
        if service:
            model = " ".join(str(service[key]) for key in ("model", "revision") if service.get(key))
            found.append(f"{name} by {model or 'the embedded server'}")
    return "; ".join(found)


def _statistics(run: Gathered) -> list[str]:
    lines = [
        "A value's interval is Wilson's for shares of independent samples, else a bootstrap over samples or, where"
        " several belong together (a patient, a premise), over those clusters; 95 % throughout.",
        "An answer that cannot be read is wrong. A sample without a reply enters nothing and is counted.",
    ]
    compared = run.comparisons
    if compared is not None:
        tests = " or ".join(sorted({f"“{one.test}”" for one in compared.comparisons if one.test})) or "no test"
        lines += [
            f"Two models or arms are compared on the samples that both have answered: the difference with a paired"
            f" bootstrap of {compared.resamples:,} resamples (seed {compared.seed}), tested by {tests}"
            f" ({compared.swaps:,} swaps where they are drawn), p adjusted by Holm over all {compared.family:,} tests.",
            f"Non-inferior: the lower end of the interval lies above −{100 * compared.margin:g} points."
            " “Could see”: the difference that would have been called one with a probability of 80 %, at the level that"
            " Holm's adjustment leaves to this comparison.",
        ]
    return [html.heading(3, "How it was reckoned"), html.bullets(lines)]


def _models(run: Gathered) -> Table:
    header = (
        *("model", "kind", "what it is", "protocol", "asked at", "asked for as", "revision", "price", "attestation"),
        "settings",
    )
    rows = []
    for row in run.study.get("models", ()):
        if row["name"] in run.models:
            serving = row.get("serving") or {}
            rows.append(
                (
                    *(str(row["name"]), _told(row.get("group")), _told(row.get("title")), _told(row.get("protocol"))),
                    *(_address(row.get("base_url")), _told(row.get("served_as") or row["name"])),
                    *(_short(serving.get("revision")), _price(row.get("price")), _told(row.get("attestation"))),
                    _besides_usual(row, Model, (*_NAMED, *_PRIVATE)),
                )
            )
    return header, rows, set(), "The catalogue's rows as they were used, with the settings that are not the usual ones"


def _price(price: Mapping[str, float] | None) -> str:
    """A price per million tokens read and written, and per hour."""
    if not price:
        return ABSENT
    found = [f"${price[name]:g} {what}" for name, what in _PRICES.items() if price.get(name)]
    return ", ".join(found) or "free"


def _besides_usual(row: Mapping[str, Any], kind: type[BaseModel], left_out: Sequence[str]) -> str:
    """The settings of a row that are not as they are where nothing is said."""
    usual = {name: field.get_default(call_default_factory=True) for name, field in kind.model_fields.items()}
    found = []
    for name, value in sorted(row.items()):
        if name in left_out or name not in usual or value in (None, [], {}):
            continue
        default = usual[name]
        plain = default.model_dump(mode="json") if isinstance(default, BaseModel) else default
        if value != plain:
            said = ", ".join(_address(one) for one in value) if name == "replicas" else _plainly(name, value)
            found.append(f"{name.replace('_', ' ')}: {said}")
    return "; ".join(found) or "the usual"


def _plainly(name: str, value: Any) -> str:
    """A setting's value; of a file its name alone, for where it lies is nobody's business."""
    if name in ("tokenizer", "chat_template"):
        return PurePath(str(value)).name
    if isinstance(value, Mapping):
        return _settings(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _who_answered(run: Gathered) -> list[str]:
    found = answerers(run.journal)
    if not found:
        return [html.paragraph("The embedded server alone, which the run starts and stops itself.")]
    names = {**NOTED, **WEIGHTS}
    # A column that no server fills says nothing.
    filled = [name for name in names if any(one.facts.get(name) for one in found)]
    header = (
        "model",
        "address",
        *(f"served {names[name]}" if name == "served" else names[name] for name in filled),
        "changed",
    )
    rows = [
        (
            *(one.model, _address(one.base_url)),
            *(_short(one.facts.get(name)) for name in filled),
            f"{one.changed}: {', '.join(names.get(name, name) for name in one.unlike)}" if one.changed else "no",
        )
        for one in found
    ]
    asked = [
        Model.model_construct(name=row["name"], base_url=row.get("base_url")) for row in run.study.get("models", ())
    ]
    complained = [html.paragraph(line, "loud") for line in complaints(run.journal, asked)]
    return [
        html.table(header, rows, set(), "What the servers said of themselves, before and after the run"),
        *complained,
    ]


def _tasks(run: Gathered) -> Table:
    header = (
        "task",
        "title",
        "level",
        "samples",
        "shots",
        "shots from",
        "sensitivity",
        "invented",
        "unclear",
    )
    rows = []
    for task in run.tasks:
        found = run.manifest.get("tasks", {}).get(task.label, {})
        rows.append(
            (
                *(task.label, task.title, _told(task.level), number(found.get("samples")), number(found.get("shots"))),
                *(_told(found.get("shots_from")), _told(found.get("sensitivity"))),
                *("yes" if found.get("invented") else "no", number(len(found.get("unclear", ())))),
            )
        )
    return (
        header,
        rows,
        {"level", "samples", "shots", "unclear"},
        "What was asked; unclear: samples without a clear reference",
    )


def _hashes(run: Gathered) -> Table:
    """The files that samples, worked examples and rules came of, each with its SHA-256."""
    rows = []
    for task in run.tasks:
        found = run.manifest.get("tasks", {}).get(task.label, {})
        for what, name, digest in (
            ("samples", found.get("data"), found.get("data_sha256")),
            ("worked examples", found.get("training"), found.get("training_sha256")),
            ("task file", found.get("task"), found.get("task_file_sha256")),
        ):
            if digest:
                rows.append((task.label, what, _told(name), str(digest)))
    return ("task", "what", "file", "SHA-256"), rows, set(), "Hashes of the files"


def _arms(run: Gathered) -> list[str]:
    settings = {arm["name"]: arm for arm in run.study.get("arms", ())}
    used = list(dict.fromkeys(one.cell.arm for one in run.cells))
    rows = []
    for arm in used:
        asked = ", ".join(task.label for task in run.tasks if arm in task.arms)
        rows.append((arm, _besides_usual(settings.get(arm, {}), Arm, ("name",)), asked))
    return [html.table(("arm", "settings", "tasks"), rows, set(), "Arms: what a prompt shows")]


def _parameters(run: Gathered) -> Table:
    """What each request asked of the model besides its prompt; it is the same for all requests of a cell."""
    query = (
        "SELECT cells.task, requests.params, cells.arm, cells.model FROM cells"
        " JOIN asks ON asks.cell = cells.id AND asks.position = 0 JOIN requests ON requests.id = asks.request"
        " WHERE cells.place IS NOT NULL ORDER BY cells.place"
    )
    found: dict[tuple[str, str], tuple[dict[str, None], dict[str, None]]] = {}
    for task, params, arm, model in run.journal.read(query):
        arms, models = found.setdefault((task, params), ({}, {}))
        arms[arm] = models[model] = None
    rows = []
    for (task, params), (arms, models) in found.items():
        alike = "all" if len(models) == len(run.models) else ", ".join(models)
        settings = {name.replace("_", " "): value for name, value in json.loads(params).items()}
        rows.append((task, _settings(settings), ", ".join(arms), alike))
    return ("task", "parameters", "arms", "models"), rows, set(), "Parameters of the requests, as they were sent"


def _guard(run: Gathered) -> list[str]:
    permits = run.manifest.get("guard", [])
    if not permits:
        return [html.paragraph("The run has no record of it.")]
    header = ("model or service", "most sensitive text", "leave by", "host", "addresses", "attestation")
    rows = [
        (
            *(str(one.get("model")), _told(one.get("sensitivity")), _told(one.get("trust")), _told(one.get("host"))),
            *(", ".join(one.get("addresses", ())) or ABSENT, _told(one.get("attestation"))),
        )
        for one in permits
    ]
    return [html.table(header, rows, set(), "The guard's record: decided before anything was sent")]


def _address(url: object) -> str:
    if not isinstance(url, str) or url == EMBEDDED:
        return "embedded server" if url else ABSENT
    return without_secrets(url)


def _settings(values: Mapping[str, Any]) -> str:
    """Those that are set, as "name value"; 0 is a setting (a temperature of 0 is greedy), False is none."""
    there = [
        (name, value)
        for name, value in sorted(values.items())
        if value is not False and value not in (None, "", [], {})
    ]
    return ", ".join(f"{name} {_nested(value)}" for name, value in there)


def _nested(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _told(value: object) -> str:
    return ABSENT if value in (None, "", ()) else str(value)


def _short(value: object) -> str:
    """A hash by its beginning, anything else as it is."""
    words = str(value or "").removeprefix("sha256:")
    is_hash = len(words) >= 40 and all(letter in "0123456789abcdef" for letter in words)
    return words[:_SHORT] if is_hash else words or ABSENT
