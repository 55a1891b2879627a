"""From a run to comparisons: pairs of models and pairs of arms on the same samples.

The two of a pair are compared on the samples that were planned for both and that both have answered, sample by sample.
An answer that cannot be read is wrong, as in `results`; a sample without a reply is no answer, enters nothing and is
counted. All values are shares from 0 to 1; a difference is the first less the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from wardround.errors import WrongUse
from wardround.journal import Cell, Journal
from wardround.reports.comparison import MARGIN as MARGIN
from wardround.reports.comparison import OWN_ARM as OWN_ARM
from wardround.reports.comparison import Comparison as Comparison
from wardround.reports.comparison import Comparisons as Comparisons
from wardround.reports.comparison import Kind as Kind
from wardround.reports.comparison import PublishedPair as PublishedPair
from wardround.reports.comparison import Ranking as Ranking
from wardround.reports.comparison import Side as Side
from wardround.reports.comparison import Standing as Standing
from wardround.reports.level_means import Paired, fewest_cases, level_pair
from wardround.reports.measured import SWAPS_A_TEST, Measured, measure, test
from wardround.reports.pairing import matched
from wardround.reports.published_pairs import published_pairs
from wardround.reports.results import check_scored
from wardround.reports.same_samples import Mask, SameSamples, Scored, read_cell
from wardround.reports.standings import own_arms, ranked_of, standings_of
from wardround.statistics import (
    RESAMPLES,
    SWAPS,
    Finding,
    Verdict,
    design_effect,
    detectable_mean,
    detectable_share,
    holm,
    verdict,
)
from wardround.statistics.power import ALPHA
from wardround.task import load_task


def compare_run(
    journal: Journal,
    *,
    profile: str | None = None,
    pairs: Sequence[str] = (),
    arms: Sequence[str] = (),
    tasks: Sequence[str] = (),
    margin: float = MARGIN,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparisons:
    """Compare a run's pairs of models and of arms under `profile` (each cell's own if None).

    `pairs` ("A:B") and `arms` ("X:Y") are compared if given, and nothing else then; otherwise the study's pairs, the
    catalogue's counterparts as the run recorded them (without any, each model with the baseline `random`), and of every
    model each arm with evidence with the one without, and what was searched for with passages drawn at random. `tasks`
    are labels; without them all are compared. `margin` is a share. The same arguments and journal give the same
    comparisons.

    Raises `WrongUse` for a name that the run does not have, a margin that is none, or if there is nothing to compare;
    `JournalError` if the run is not scored under `profile`.
    """
    if not 0 < margin < 1:
        raise WrongUse(f"a margin of {100 * margin:g} points is none; give one between 0 and 100, as --margin 5")
    check_scored(journal, profile)
    manifest = journal.manifest()
    cells = journal.cells()
    own = own_arms([(cell.task, cell.arm, _protocol(cell, profile)) for cell in cells])
    chosen, remarks = matched(manifest, cells, own, pairs=pairs, arms=arms, tasks=tasks)
    named = {cell.id for one in chosen for cell in (one.first, one.second)}
    # Where nothing is named the order of all models is told, too.
    whole = not pairs and not arms
    wanted = [cell for cell in cells if cell.id in named or (whole and (not tasks or cell.task in tasks))]
    scored = {cell.id: _read(journal, cell, profile or cell.profile) for cell in wanted}
    grounds = _grounds(list(scored.values()))
    opened = _with_levels(
        [_opened(one.kind, grounds[one.first.task], scored[one.first.id], scored[one.second.id]) for one in chosen], own
    )
    rankings = measure(opened, ranked_of(grounds, list(scored.values())), resamples, seed)
    swaps = max(SWAPS, SWAPS_A_TEST * len(opened))
    test(opened, swaps, seed)
    comparisons = _closed(opened, margin, manifest, own)
    return Comparisons(
        study=manifest.get("study", {}).get("study", ""),
        profiles=tuple(sorted({one.profile for one in comparisons})),
        comparisons=comparisons,
        standings=standings_of(comparisons, own),
        rankings=rankings,
        family=sum(one.p is not None for one in comparisons),
        margin=margin,
        resamples=resamples,
        swaps=swaps,
        seed=seed,
        remarks=(*remarks, *_remarks(comparisons)),
    )


def _protocol(cell: Cell, profile: str | None) -> str:
    return load_task(cell.task_file, cell.settings).rules(profile or cell.profile).protocol


def _read(journal: Journal, cell: Cell, profile: str) -> Scored:
    # The papers' means go over all metrics.
    return read_cell(journal, cell, profile, every_metric=profile.startswith("clue-"))


def _grounds(scored: Sequence[Scored]) -> dict[str, SameSamples]:
    of_tasks: dict[str, list[Scored]] = {}
    for one in scored:
        of_tasks.setdefault(one.cell.task, []).append(one)
    return {task: SameSamples(ones) for task, ones in of_tasks.items()}


def _opened(kind: Kind, ground: SameSamples, first: Scored, second: Scored) -> Measured:
    mask = ground.spread(first, first.answered) & ground.spread(second, second.answered)
    paired = Paired(ground, first, second, mask)
    name = first.metric.name
    # A metric of two sources (BERTScore by two models) is two metrics.
    if not mask.any() or name != second.metric.name or not (first.has(name) and second.has(name)):
        return Measured(kind, paired, None)
    return Measured(kind, paired, (ground.place(first, name, mask), ground.place(second, name, mask)))


def _with_levels(opened: Sequence[Measured], own: Mapping[str, str]) -> list[Measured]:
    """Behind the tasks of each pair of models the levels' means that they make."""
    found: list[Measured] = []
    pairs: dict[tuple[str, str, str], list[Measured]] = {}
    for one in opened:
        pairs.setdefault((one.kind, *_names(one)), []).append(one)
    for (kind, *_), ones in pairs.items():
        found += ones
        tasks = [one.paired for one in ones if one.paired.first.cell.arm == own[one.paired.first.cell.task]]
        for level in (1, 2) if kind == "models" else ():
            made = level_pair(level, tasks)
            if made is not None:
                found.append(Measured("models", made.pairs[0], None, made))
    return found


def _names(one: Measured) -> tuple[str, str]:
    first, second = one.paired.first.cell, one.paired.second.cell
    return (first.model, second.model) if one.kind == "models" else (first.arm, second.arm)


def _cases(one: Measured) -> int:
    seen = {
        (part.ground.family, case)
        for part in one.parts
        for case, inside in zip(part.ground.clusters or part.ground.ids, part.mask, strict=True)
        if inside
    }
    return len(seen)


def _fewest(one: Measured, cases: int) -> int:
    """The cases that what is said rests on: of a level's mean those of its smallest task."""
    return fewest_cases(one.level) if one.level else cases


def _detectable(one: Measured, cases: int, alpha: float) -> float | None:
    """The least difference that is called one with a probability of 80 % at `alpha`; None if no difference would be."""
    # Swaps of so few cases give no p that is small enough.
    if one.difference is None or cases < 2 or 2.0 ** (1 - cases) > alpha:
        return None
    if one.proportion and one.sides is not None and one.tally is not None:
        clusters = one.paired.ground.clusters
        if one.tally.discordance is None:
            return None
        pairs = one.tally.wins + one.tally.ties + one.tally.losses
        if clusters is None:
            return detectable_share(pairs, one.tally.discordance, alpha=alpha)
        # Where all differences are alike nothing is known of the clusters: take them for the cases that they are.
        effect = design_effect(*one.sides, clusters)
        effect = pairs / cases if effect is None else effect
        return detectable_share(pairs, one.tally.discordance, design_effect=effect, clusters=cases, alpha=alpha)
    if one.difference.standard_error is None:
        return None
    least = detectable_mean(1, one.difference.standard_error, clusters=_fewest(one, cases), alpha=alpha)
    return least if least <= 1 else None


def _closed(
    opened: Sequence[Measured], margin: float, manifest: Mapping[str, Any], own: Mapping[str, str]
) -> tuple[Comparison, ...]:
    """What all tests together allow to be said of each comparison."""
    adjusted = holm([one.p for one in opened])
    shown = sum(p is not None and p <= ALPHA for p in adjusted)
    # What is not shown would have been at this level, all else as it is.
    alpha = ALPHA / max(1, sum(p is not None for p in adjusted) - shown)
    served = {row["name"]: row.get("served_as") or row["name"] for row in manifest.get("study", {}).get("models", ())}
    made = []
    for one, p in zip(opened, adjusted, strict=True):
        cases = _cases(one)
        seen = _detectable(one, cases, alpha)
        said = verdict(
            one.difference, p, margin=margin, detectable=seen, cases=_fewest(one, cases), reference=one.values[1]
        )
        found = _as_measured(one, cases, said)
        models = (served.get(found.first.model, ""), served.get(found.second.model, ""))
        as_papers_ask = one.kind == "models" and (one.level is not None or found.first.arm == own[found.task])
        made.append(
            replace(
                found,
                p_adjusted=p,
                detectable=seen,
                words=_words(said, one, seen),
                published=published_pairs(models, found.task_name or found.task, found.metric) if as_papers_ask else (),
            )
        )
    return tuple(made)


def _as_measured(one: Measured, cases: int, said: Verdict) -> Comparison:
    """A comparison but for what its family says of it."""
    first, difference = one.paired.first, one.difference
    return Comparison(
        kind=one.kind,
        task=f"Level {one.level.level}" if one.level else first.cell.task,
        task_name="" if one.level else first.task.name,
        level=one.level.level if one.level else None,
        metric="mean" if one.level else first.metric.name,
        profile=first.profile,
        first=_side(one, 0),
        second=_side(one, 1),
        n=sum(int(part.mask.sum()) for part in one.parts),
        clusters=cases,
        clustered=any(part.ground.clusters is not None for part in one.parts),
        unpaired=sum(int((_planned(part, 0) ^ _planned(part, 1)).sum()) for part in one.parts),
        failed=sum(int((_planned(part, 0) & _planned(part, 1) & ~part.mask).sum()) for part in one.parts),
        difference=difference.value if difference else None,
        low=difference.low if difference else None,
        high=difference.high if difference else None,
        standard_error=difference.standard_error if difference else None,
        test=one.test,
        p=one.p,
        p_adjusted=None,
        detectable=None,
        detectable_alone=_detectable(one, cases, ALPHA),
        tally=one.tally,
        verdict=said,
        words="",
    )


def _words(said: Verdict, one: Measured, detectable: float | None) -> str:
    if said.finding is Finding.NOT_TESTED and not one.paired.mask.any():
        return "not tested; no sample was answered by both"
    if said.finding is Finding.NO_DIFFERENCE_SHOWN and detectable is None:
        if one.difference is not None and one.difference.standard_error is None and one.difference.value == 0:
            return "no difference shown; every resample gives the same"
        return "no difference shown; the study is too small to see any"
    return str(said)


def _planned(part: Paired, side: int) -> Mask:
    return part.ground.planned((part.first, part.second)[side])


def _side(one: Measured, side: int) -> Side:
    n = parsed = failed = cut = 0
    for part in one.parts:
        scored = (part.first, part.second)[side]
        ground, name = part.ground, scored.metric.name
        defined = part.mask
        if name in scored.values:
            defined = defined & ~np.isnan(ground.values(scored, name, part.mask))
        n += int(ground.weights[defined].sum())
        parsed += int(ground.weights[defined & ground.spread(scored, scored.parsed)].sum())
        planned = _planned(part, 0) & _planned(part, 1)
        failed += int((planned & ~ground.spread(scored, scored.answered)).sum())
        cut += scored.cut
    cell = (one.paired.first, one.paired.second)[side].cell
    return Side(cell.model, OWN_ARM if one.level else cell.arm, one.values[side], n, parsed, failed, cut)


def _remarks(comparisons: Sequence[Comparison]) -> list[str]:
    lines = []
    failed = [one for one in comparisons if one.failed and one.level is None]
    if failed:
        lines.append(
            f"INCOMPLETE: in {len(failed)} of the comparisons samples have no reply of one side or both and are left"
            " out; `wardround run` asks them again"
        )
    if any(one.unpaired for one in comparisons if one.level is None):
        lines.append("some comparisons lack samples that were planned for one side alone; see `unpaired`")
    return lines
