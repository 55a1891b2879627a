"""Which cells of a run are compared with which: pairs of models in one arm, pairs of arms of one model."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wardround.errors import WrongUse
from wardround.journal import Cell
from wardround.reports.comparison import Kind
from wardround.study import ARMS, DEFAULT_BUDGET

# Against it everything stands where a run names no pairs.
_FLOOR = "baseline-random"
# The baseline that reads what it is shown.
_READER = "baseline-overlap"
_SEARCHED = ("bm25", "dense", "hybrid")
_PLACEBO = "random-passages"


@dataclass(frozen=True, slots=True)
class Matched:
    """Two cells of one task that are to be compared; the first is what a verdict speaks of."""

    kind: Kind
    first: Cell
    second: Cell


def matched(
    manifest: Mapping[str, Any],
    cells: Sequence[Cell],
    own: Mapping[str, str],
    *,
    pairs: Sequence[str] = (),
    arms: Sequence[str] = (),
    tasks: Sequence[str] = (),
) -> tuple[list[Matched], list[str]]:
    """The cells to compare, in the order: pair, task, arm; and remarks on how they were chosen.

    Takes what `compare_run` takes, and each task's own arm. Raises `WrongUse` for an unknown name, and if there is
    nothing to compare.
    """
    for task in tasks:
        _known(task, _names(cell.task for cell in cells), "--task", "task")
    cells = [cell for cell in cells if not tasks or cell.task in tasks]
    models, their_arms = _names(cell.model for cell in cells), _names(cell.arm for cell in cells)
    study = manifest.get("study", {})
    remarks: list[str] = []
    found: list[Matched] = []
    if pairs or arms:
        for pair in _once(split_pair(text, models, "--pair", "model") for text in pairs):
            found += _in_common(_of_models(cells, *pair), pair, "task in one arm", "--pair")
        for pair in _once(split_pair(text, their_arms, "--arm", "arm") for text in arms):
            found += _in_common(_of_arms(cells, *pair), pair, "model and task", "--arm")
        return found, remarks
    named = _pairs_of(study, models)
    for pair in named:
        found += _of_models(cells, *pair)
    if not named and _FLOOR in models and len(models) > 1:
        remarks.append(
            f"the run names no pairs: every model stands against {_FLOOR}, in each task's own arm; name others with"
            " --pair A:B"
        )
        for model in models:
            own_arm = [cell for cell in cells if cell.arm == own[cell.task]]
            found += _of_models(own_arm, model, _FLOOR) if model != _FLOOR else []
    baselines = {row["name"] for row in study.get("models", ()) if row.get("group") == "baseline"}
    asked = [cell for cell in cells if cell.model not in baselines] or [one for one in cells if one.model == _READER]
    for pair in _arms_of(study, their_arms):
        found += _of_arms(asked, *pair)
    if not found:
        raise WrongUse(
            f"the run names no pairs and has no arms to compare; give --pair A:B with two of: {_listed(models)}"
        )
    return found, remarks


def split_pair(text: str, names: Sequence[str], option: str, thing: str) -> tuple[str, str]:
    """Two of `names` with a colon between; names may hold colons themselves. Raises `WrongUse`."""
    halves = [(text[:place], text[place + 1 :]) for place, letter in enumerate(text) if letter == ":"]
    if not halves:
        raise WrongUse(f"{option} {text!r}: give two {thing}s with a colon between, as {option} A:B")
    for first, second in halves:
        if first in names and second in names:
            if first == second:
                raise WrongUse(f"{option} {text!r}: a {thing} is not compared with itself")
            return first, second
    # The half that is known says where the colon between the two stands.
    first, second = max(halves, key=lambda pair: (pair[0] in names) + (pair[1] in names))
    _known(first, names, f"{option} {text!r}", thing)
    _known(second, names, f"{option} {text!r}", thing)
    raise AssertionError("both halves are known")


def _known(name: str, names: Sequence[str], where: str, thing: str) -> None:
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has: {_listed(names)}"
        raise WrongUse(f"{where}: the run has no {thing} {name!r}; {hint}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name)[1:-1] for name in names)


def _names(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _once(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Each two once, as they are named first: the other way round it is the same question."""
    kept: dict[frozenset[str], tuple[str, str]] = {}
    for pair in pairs:
        kept.setdefault(frozenset(pair), (pair[0], pair[1]))
    return list(kept.values())


def _in_common(found: list[Matched], pair: tuple[str, str], what: str, option: str) -> list[Matched]:
    if not found:
        raise WrongUse(f"{option} {':'.join(pair)!r}: the two have no {what} in common")
    return found


def _pairs_of(study: Mapping[str, Any], models: Sequence[str]) -> list[tuple[str, str]]:
    """The study's pairs, then the counterparts that its models' rows name; only of models that were asked."""
    named = [(first, second) for first, second in study.get("pairs", ())]
    named += [(row["name"], other) for row in study.get("models", ()) for other in row.get("counterparts", ())]
    return [
        (first, second) for first, second in _once(named) if first in models and second in models and first != second
    ]


def _arms_of(study: Mapping[str, Any], arms: Sequence[str]) -> list[tuple[str, str]]:
    """Arms with evidence against those without any, and what was searched for against as much drawn at random.

    Two steps stand against one, which shows the case as the task does.

    Only arms that differ in nothing but their evidence; an arm is known by the study's settings, or by its name.
    """
    settings = {arm["name"]: arm for arm in study.get("arms", ())}
    told = {name: _told(name, settings.get(name, {})) for name in arms}
    return [
        (first, second)
        for first, one in told.items()
        for second, other in told.items()
        if one["others"] == other["others"]
        and (
            (other["shows"] == "none" and one["shows"] not in ("none", "own"))
            or (one["shows"] == "two-step" and other["shows"] in ("own", "full"))
            or (other["shows"] == _PLACEBO and one["shows"] in _SEARCHED and one["room"] == other["room"])
        )
    ]


def _told(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What an arm shows, up to how much, and what else of it could make a difference."""
    by_name = {"closed-book": "none", "oracle": "oracle-spans"}.get(name, name)
    known = by_name in ("none", "truncated", "oracle-spans", _PLACEBO, *_SEARCHED, *ARMS)
    return {
        "shows": settings.get("evidence", by_name if known else "own"),
        "room": (settings.get("budget") or DEFAULT_BUDGET, settings.get("k"), settings.get("corpus")),
        "others": (settings.get("shots_by", "fixed"), settings.get("template"), settings.get("choice", "parse")),
    }


def _of_models(cells: Sequence[Cell], first: str, second: str) -> list[Matched]:
    others = {(cell.task, cell.arm): cell for cell in cells if cell.model == second}
    return [
        Matched("models", cell, others[cell.task, cell.arm])
        for cell in cells
        if cell.model == first and (cell.task, cell.arm) in others
    ]


def _of_arms(cells: Sequence[Cell], first: str, second: str) -> list[Matched]:
    others = {(cell.model, cell.task): cell for cell in cells if cell.arm == second}
    return [
        Matched("arms", cell, others[cell.model, cell.task])
        for cell in cells
        if cell.arm == first and (cell.model, cell.task) in others
    ]
