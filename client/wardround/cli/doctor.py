"""`wardround doctor`: what the endpoints of models can do."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wardround.cli.loop import on_fast_loop
from wardround.errors import WrongUse

if TYPE_CHECKING:
    from wardround.catalogue import Model
    from wardround.running.doctor import Examination, Finding

_WORDS = {"yes": "yes", "no": "NO", "unclear": "?", "none": "–"}
_COLOURED = re.compile(r"(?<=  )(yes|NO)(?=  |$)")
_COLOURS = {"yes": typer.colors.GREEN, "NO": typer.colors.RED}


def doctor(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Catalogue names; with --study, some of its models.", metavar="MODEL"),
    ] = None,
    study: Annotated[
        Path | None, typer.Option(help="A study file, or a shipped one's name: all of its models.", metavar="STUDY")
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="Their endpoint, if the catalogue has none.")] = None,
    key_env: Annotated[str | None, typer.Option(help="Environment variable that holds their key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, one object an endpoint.")] = False,
    wait: Annotated[
        float | None,
        typer.Option(min=0.0, help="Only wait until all answer, so many seconds at most.", metavar="SECONDS"),
    ] = None,
) -> None:
    """Examine the endpoints of models before a study.

    Reachable, key, served name, chat, template, system role, greedy, stop strings, prefill, token counts of a stream,
    log-probabilities, structured output, what counts tokens, context, latency, seed: one table, and below it what to do
    about each red cell. Only invented prompts are sent, about twenty short ones an endpoint. Exit code 1 if a model
    cannot be asked at all, or, with --wait, if one does not answer in time. A study's embedded baselines are left out.

    Example: wardround doctor our-llama --base-url http://127.0.0.1:8000/v1
    """
    from wardround.running.doctor import examine, wait_for

    wanted = _wanted(models or [], study, base_url, key_env)
    if wait is not None:
        late = on_fast_loop(wait_for(wanted, wait, say=lambda line: print(line, flush=True)))
        for line in late:
            print(f"wardround: {line}", file=sys.stderr)
        raise typer.Exit(1 if late else 0)
    found = on_fast_loop(examine(wanted, say=lambda line: print(line, file=sys.stderr, flush=True)))
    if as_json:
        print(json.dumps([_as_fields(one) for one in found], indent=2, ensure_ascii=False))
    else:
        # Loses its colours where nobody sees them.
        typer.echo("\n".join([*_table(found), *_cures(found)]))
    if not all(one.usable for one in found):
        raise typer.Exit(1)


def _wanted(names: Sequence[str], study: Path | None, base_url: str | None, key_env: str | None) -> list[Model]:
    """The models to examine; raises `WrongUse` or what a wrong study raises."""
    from wardround.catalogue import EMBEDDED
    from wardround.cli.models import model_named
    from wardround.study import load_study

    if study is None:
        if not names:
            raise WrongUse("name a model, or give a study: wardround doctor --study clue")
        return [model_named(name, base_url, key_env) for name in dict.fromkeys(names)]
    if base_url is not None or key_env is not None:
        raise WrongUse("with --study, endpoints and keys stand in the study")
    rows = {model.name: model for model in load_study(study).models}
    for name in names:
        if name not in rows:
            raise WrongUse(f"{name!r} is none of the study's models: {', '.join(rows)}")
    own = [model for model in rows.values() if model.base_url != EMBEDDED]
    return [rows[name] for name in dict.fromkeys(names)] or own or list(rows.values())


def _table(found: Sequence[Examination]) -> list[str]:
    """One line an endpoint: who it is, then the cells."""
    from wardround.reports.table import aligned
    from wardround.running.doctor import CHECKS

    several = {one.model for one in found if [other.model for other in found].count(one.model) > 1}
    rows = [[_named(one, several), _engine(one), *(_cell(one.findings[name]) for name in CHECKS)] for one in found]
    lines = aligned(("model", "engine", *CHECKS), rows, {"context", "TTFT", "E2E"})
    return [_COLOURED.sub(lambda word: typer.style(word[0], fg=_COLOURS[word[0]]), line) for line in lines]


def _cures(found: Sequence[Examination]) -> list[str]:
    """One line for each cell that needs something done."""
    several = {one.model for one in found if [other.model for other in found].count(one.model) > 1}
    lines = [
        f"{_named(one, several)} · {name}: {finding.cure}"
        for one in found
        for name, finding in one.findings.items()
        if finding.cure
    ]
    return ["", *lines] if lines else []


def _named(one: Examination, several: set[str]) -> str:
    return f"{one.model} at {one.base_url}" if one.model in several else one.model


def _engine(one: Examination) -> str:
    facts = one.facts
    return " ".join(word for word in (facts.engine, facts.version) if word and word != "unknown") or "–"


def _cell(finding: Finding) -> str:
    if finding.shown and finding.state == "no":
        return f"{_WORDS['no']} {finding.shown}"
    return finding.shown or _WORDS[finding.state]


def _as_fields(one: Examination) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(one), "usable": one.usable}
