"""The verdict: what the run shows, in sentences, before any figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from wardround.reports import html
from wardround.reports.comparison import Comparison
from wardround.reports.numbers import counted
from wardround.reports.page.gathered import Gathered
from wardround.reports.page.wording import in_words, listed, plural, points
from wardround.running.who_answered import answerers
from wardround.statistics import FEWEST_CASES, Finding

_NOTHING = (
    "Nothing was compared: the study names no pairs of its models, and no arms that differ in their evidence alone."
)
_KEPT = (Finding.EQUIVALENT, Finding.NON_INFERIOR)


def verdict_part(run: Gathered) -> list[str]:
    """What a reader must know first, what the pairs show, what the arms show."""
    parts = [html.heading(2, "What the run shows", "verdict")]
    parts += [html.paragraph(line, "loud") for line in warnings(run)]
    if run.comparisons is None:
        return [*parts, html.paragraph(_NOTHING)]
    models, arms = main_comparisons(run), [one for one in run.comparisons.comparisons if one.kind == "arms"]
    tested = [one for one in models if one.level is None]
    if tested:
        parts.append(html.paragraph(headline(tested, _firsts(run, tested)), "verdict"))
        parts.append(html.bullets([_pair_line(own) for own in by_pair(tested)]))
    if arms:
        parts.append(html.heading(3, "Does other evidence, or another way of asking, change the answers?"))
        parts.append(html.bullets([_arm_line(own) for own in _by_arms(arms)]))
    if tested or arms:
        parts.append(html.paragraph(_what_shown_means(run.comparisons.family), "soft"))
    # What is incomplete stands above already.
    remarks = [one for one in run.comparisons.remarks if not one.startswith("INCOMPLETE")]
    parts += [html.paragraph(f"{remark[:1].upper()}{remark[1:]}.", "soft") for remark in remarks]
    return parts


def main_comparisons(run: Gathered) -> list[Comparison]:
    """Models against models, each task in its own arm, and the levels' means."""
    if run.comparisons is None:
        return []
    return [
        one
        for one in run.comparisons.comparisons
        if one.kind == "models" and (one.level is not None or run.is_main(one.task, one.first.arm))
    ]


def by_pair(comparisons: Sequence[Comparison]) -> list[list[Comparison]]:
    """Comparisons of one pair of models together, in the order in which the pairs first stand."""
    found: dict[tuple[str, str], list[Comparison]] = {}
    for one in comparisons:
        found.setdefault((one.first.model, one.second.model), []).append(one)
    return list(found.values())


def _by_arms(comparisons: Sequence[Comparison]) -> list[list[Comparison]]:
    found: dict[tuple[str, str], list[Comparison]] = {}
    for one in comparisons:
        if one.level is None:
            found.setdefault((one.first.arm, one.second.arm), []).append(one)
    return list(found.values())


def warnings(run: Gathered) -> list[str]:
    """What forbids to take the figures at their face."""
    lines = []
    tasks = run.manifest.get("tasks", {}).values()
    invented = sum(bool(task.get("invented")) for task in tasks)
    if invented:
        which = "All samples are" if invented == len(tasks) else f"The samples of {invented} of {len(tasks)} tasks are"
        lines.append(f"{which} invented: they show how wardround works and say nothing about any model's skill.")
    failed: Counter[str] = sum((one.counts.failed for one in run.cells), Counter())
    if failed:
        kinds = ", ".join(f"{number:,} {kind.replace('_', ' ')}" for kind, number in sorted(failed.items()))
        lines.append(
            f"Incomplete: {counted(failed.total(), 'sample')} without a reply ({kinds}). Scores are of the rest."
        )
    changed = dict.fromkeys(one.model for one in answerers(run.journal) if one.changed)
    if changed:
        lines.append(f"Other weights or another server answered for {listed(list(changed))} in the course of the run.")
    return lines


def _firsts(run: Gathered, comparisons: Sequence[Comparison]) -> str:
    """What the first models of all pairs are called together."""
    sides = {(run.groups.get(one.first.model), run.groups.get(one.second.model)) for one in comparisons}
    return "biomedical model" if sides == {("biomedical", "general")} else "first model of the pair"


def headline(comparisons: Sequence[Comparison], firsts: str) -> str:
    """The whole in two or three sentences; `firsts` is what the first models of the pairs are called."""
    found = Counter(one.finding for one in comparisons)
    better, worse = found[Finding.BETTER], found[Finding.WORSE]
    kept = sum(found[one] for one in _KEPT)
    pairs = len({(one.first.model, one.second.model) for one in comparisons})
    whole = f"{counted(len(comparisons), 'comparison')} ({counted(pairs, 'pair')} of models on their tasks)"
    if not better and not worse:
        said = f"No difference is shown in {'any of ' if len(comparisons) > 1 else ''}{whole}."
    elif not worse:
        said = f"Where a difference is shown, the {firsts} is better: in {better} of {whole}."
    elif not better:
        said = f"The {firsts} is better nowhere and worse in {worse} of {whole}."
    else:
        said = (
            f"It depends on the pair and the task: of {whole}, the {firsts} is better in {better} and worse in {worse}."
        )
    if kept:
        said += f" In {kept} {'more ' if better or worse else ''}it is shown {_not_worse(comparisons)}."
    rest = [one for one in comparisons if one.finding is Finding.NO_DIFFERENCE_SHOWN]
    if rest and (better or worse or kept):
        said += f" In {len(rest)} no difference is shown."
    untested = found[Finding.NOT_TESTED]
    if untested:
        said += f" {in_words(untested).capitalize()} could not be tested."
    return said + _what_could_be_seen(rest)


def _what_could_be_seen(rest: Sequence[Comparison]) -> str:
    """What no difference means: how large one would have had to be."""
    seen = [one.detectable for one in rest if one.detectable is not None]
    if not rest:
        return ""
    said = " That is no proof that there is none:"
    if seen:
        least, most = f"{100 * min(seen):.0f}", f"{100 * max(seen):.0f}"
        said += f" the study could see differences of {least if least == most else f'{least} to {most}'} points"
        if len(seen) == len(rest):
            return f"{said} there."
        said += ","
    few = "one" if len(rest) - len(seen) == 1 else f"{len(rest) - len(seen)}"
    return f"{said} {'and ' if seen else ''}in {few} of these it has too few cases to see any."


def _not_worse(comparisons: Sequence[Comparison]) -> str:
    """What keeping the margin says."""
    margins = [one.verdict.margin for one in comparisons if one.finding in _KEPT]
    return f"not to be worse by {100 * (margins[0] or 0):g} points or more"


def _pair_line(own: Sequence[Comparison]) -> str:
    """As in: a against b: worse on x (−6.3 points); no difference shown on three other tasks."""
    first = own[0]
    said = []
    for finding in (Finding.BETTER, Finding.WORSE):
        names = [f"{one.task} ({points(one.difference)} points)" for one in own if one.finding is finding]
        if names:
            said.append(f"{finding} on {listed(names)}")
    kept = [one.task for one in own if one.finding in _KEPT]
    if kept:
        said.append(f"shown {_not_worse(own)} on {listed(kept)}")
    said += _rest(own, said, "task")
    return f"{first.first.model} against {first.second.model}: {'; '.join(said)}."


def _arm_line(own: Sequence[Comparison]) -> str:
    """As in: bm25 against closed-book, 8 comparisons of a model on a task: better in 3, worse in 1."""
    found = Counter(one.finding for one in own)
    said = []
    for finding in (Finding.BETTER, Finding.WORSE):
        if found[finding]:
            said.append(f"{finding} in {found[finding]}")
    kept = sum(found[one] for one in _KEPT)
    if kept:
        said.append(f"shown {_not_worse(own)} in {kept}")
    none = found[Finding.NO_DIFFERENCE_SHOWN]
    if none:
        said.append(f"no difference shown in {none}" if said else "no difference shown")
    if found[Finding.NOT_TESTED]:
        said.append(f"not tested in {found[Finding.NOT_TESTED]}")
    whole = counted(len(own), "comparison")
    return f"{own[0].first.arm} against {own[0].second.arm}, {whole} of a model on a task: {', '.join(said)}."


def _rest(own: Sequence[Comparison], before: Sequence[str], thing: str) -> list[str]:
    """What is left: comparisons without a difference, and those that could not be tested."""
    said = []
    found = Counter(one.finding for one in own)
    other = "other " if before else ""
    none = found[Finding.NO_DIFFERENCE_SHOWN]
    if none:
        said.append(f"no difference shown on {plural(none, other + thing)}")
    untested = found[Finding.NOT_TESTED]
    if untested:
        said.append(f"{in_words(untested)} not tested")
    return said


def _what_shown_means(family: int) -> str:
    return (
        f"“Better” and “worse” are said where the difference is unlikely to be chance: p ≤ 0.05 after Holm's"
        f" adjustment over all {family} tests of this run, so that the chance of any false alarm among them is at"
        " most 5 %. Keeping the margin is said for"
        " each comparison by itself, with an error of 2.5 % each that is not adjusted; never over fewer than"
        f" {in_words(FEWEST_CASES)} cases, nor where the second's value is itself within the margin."
    )
