"""What was shown beside what was answered: hits, quadrants, tokens, times and abstentions of every arm.

    by           what `hit` is asked of: an arm's passages (one overlaps a place of the answer), its documents (a place
                 stands in the prompt as a whole), or its texts (of two steps: one of them is right)
    recall       of passages: documents with the answer of which one was shown; of documents: the same, whole places; of
                 texts: the right ones that were shown, which is the most that an answer can reach
    span recall  the characters of the places of the answer that were shown
    whole        those of them that stand in the prompt as whole places: the same for passages and documents, so that
                 arms of both kinds can be held side by side
    nDCG@10, MRR of passages, in the order in which they were found
    grounded     hit and right         lucky    no hit, and right all the same
    ignored      hit and wrong         miss     no hit and wrong
    right | hit  the share of right answers among the samples with a hit: beside the oracle's it says what is lost
                 between finding and answering

Places of the answer are those that are known; they need not be all, so that all but the values are lower bounds. Right
is the task's first metric where that is 0 or 1; an unparsed answer is wrong and counted apart; what has no reply enters
nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import fmean
from typing import Any

from wardround.journal import Answered, Cell, Journal
from wardround.reports.corpora import searched_corpora
from wardround.reports.numbers import ABSENT, dollars, interval, percent, seconds, share
from wardround.reports.results import CellResults, Result, results_of
from wardround.reports.table import aligned
from wardround.reports.usage import RunUsage, Usage, usage_of
from wardround.running.measuring import Measured
from wardround.task import load_task

_FOUND = (
    *("model", "task", "arm", "by", "n", "metric", "value", "95 % interval"),
    *("hit %", "recall %", "span recall %", "whole %", "nDCG@10", "MRR"),
    *("right | hit", "grounded", "lucky", "ignored", "miss"),
)
_TOOK = (
    *("model", "task", "arm", "value", "evidence tokens", "k", "of", "ended by", "cut", "abstained %", "unparsed %"),
    *("gold in thirds", "search ms", "prompt tokens", "TTFT s", "p50 s", "per 1,000"),
)
_WORDS = {"model", "task", "arm", "by", "metric", "gold in thirds", "ended by"}
_MEASURED = (
    "task",
    "arm",
    "queries",
    "known",
    "hit@1",
    "hit@{k}",
    "recall@{k}",
    "span recall@{k}",
    "nDCG@10",
    "MRR",
    "ms",
)
_NOTES = (
    "by: what a hit is asked of. Passages: one that was shown overlaps a place of the answer; documents: a place stands"
    " in the prompt whole; texts: a right one was shown.",
    "whole %: characters of the answer's places that stand in the prompt in whole places; the only column of these by"
    " which passages and documents compare. All of them are lower bounds: not every place is marked.",
)
_UNITS = {
    **dict.fromkeys(("bm25", "dense", "hybrid", "oracle-spans", "random-passages"), "passages"),
    **dict.fromkeys(("full", "truncated", "clue-oracle"), "documents"),
    "two-step": "texts",
}
_SEARCHED = {"bm25", "dense", "hybrid"}
_QUADRANT = {(True, True): "grounded", (False, True): "lucky", (True, False): "ignored", (False, False): "miss"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A cell's answered samples by what was shown and whether they are right; shares from 0 to 1, None if undefined.

    `kind` is the arm's evidence. `quadrants` counts samples as "grounded", "lucky", "ignored" and "miss"; empty where
    no place of an answer is known, or nothing is right or wrong. `tokens`, `k` and `of` are means of evidence tokens,
    of passages shown and of those found; `ended_by` counts what ended the evidence; `thirds` in which third of it the
    answer first stood. `search_ms` is the mean time of a search, as often as it was needed.
    """

    kind: str
    right: float | None
    hit: float | None
    recall: float | None
    span_recall: float | None
    whole: float | None
    ndcg: float | None
    rr: float | None
    right_given_hit: float | None
    quadrants: Counter[str]
    abstained: float | None
    unparsed: float | None
    tokens: float | None
    k: float | None
    of: float | None
    ended_by: Counter[str]
    thirds: Counter[int]
    search_ms: float | None
    cut: int
    n: int

    @property
    def by(self) -> str:
        """What `hit` is asked of."""
        return _UNITS.get(self.kind, ABSENT)


def shown_in(
    answers: Sequence[Answered],
    scores: Mapping[int, Mapping[str, float | None]],
    right: str,
    took_ns: Mapping[str, int] | None = None,
) -> Shown:
    """The summary of a cell's answers; `right` is the metric that says by 1 that one is right.

    `took_ns`: how long each search took, by its key.
    """
    rows = [
        (answer.evidence or {}, scores.get(answer.position, {}), bool(answer.cut))
        for answer in answers
        if answer.reply is not None
    ]
    judged = [(noted, own[right] == 1) for noted, own, _ in rows if own.get(right) in (0, 1)]
    known = [(noted["hit"] == 1, is_right) for noted, is_right in judged if noted.get("hit") is not None]
    declined = [own.get("abstained", own.get("refused")) for _, own, _ in rows]
    parsed = [own.get("parsed") for _, own, _ in rows]
    noted_all = [noted for noted, _, _ in rows]

    def mean_of(name: str) -> float | None:
        return _mean([noted[name] for noted in noted_all if noted.get(name) is not None])

    searches_ms = [took / 1e6 for noted in noted_all if (took := _search_ns(noted, took_ns or {})) is not None]
    return Shown(
        kind=next((str(noted["evidence"]) for noted in noted_all if "evidence" in noted), ""),
        right=_mean([is_right for _, is_right in judged]),
        hit=mean_of("hit"),
        recall=mean_of("recall"),
        span_recall=mean_of("span_recall"),
        whole=mean_of("whole"),
        ndcg=mean_of("ndcg"),
        rr=mean_of("rr"),
        right_given_hit=_mean([is_right for is_hit, is_right in known if is_hit]),
        quadrants=Counter(_QUADRANT[pair] for pair in known),
        abstained=_mean([value for value in declined if value is not None]),
        unparsed=_mean([1 - value for value in parsed if value is not None]),
        tokens=mean_of("tokens"),
        k=mean_of("k"),
        of=mean_of("of"),
        ended_by=Counter(noted["bounded"] for noted in noted_all if "bounded" in noted),
        thirds=Counter(noted["third"] for noted in noted_all if noted.get("third")),
        search_ms=_mean(searches_ms),
        cut=sum(cut for _, _, cut in rows),
        n=len(rows),
    )


def _search_ns(noted: Mapping[str, Any], took_ns: Mapping[str, int]) -> int | None:
    keys = [noted["retrieval"]] if "retrieval" in noted else noted.get("retrievals", [])
    known = [took_ns[key] for key in keys if key in took_ns]
    return sum(known) if known else None


def beside_evidence(
    journal: Journal,
    profile: str | None = None,
    cells: Sequence[CellResults] | None = None,
    usage: RunUsage | None = None,
) -> list[str]:
    """Two tables over all cells of the tasks that have an arm with evidence of its own: what was found, what it took.

    Empty where a study has no arm that shows passages or cuts documents to a budget. `cells` and `usage` are read if
    they are not given.
    """
    shown = _shown(journal, profile)
    if not shown:
        return []
    cells = results_of(journal, profile) if cells is None else cells
    usage = usage_of(journal) if usage is None else usage
    values = {one.cell.id: one.results[0] for one in cells if one.results}
    found = [_found(cell, one, values.get(cell.id)) for cell, one in shown]
    took = [
        _took(cell, one, values.get(cell.id), usage.cells[cell.id], cell.model in usage.embedded) for cell, one in shown
    ]
    return [
        "What was shown beside what was answered (hit: the evidence holds the answer; a lower bound):",
        "",
        *aligned(_FOUND, found, {*_FOUND} - _WORDS),
        "",
        *_NOTES,
        *_missing([(cell.task, one) for cell, one in shown]),
        "",
        "What the evidence took (means a sample; TTFT and p50 are of requests, of which a sample in two steps has two;"
        " cut: prompts that the context shortened):",
        "",
        *aligned(_TOOK, took, {*_TOOK} - _WORDS),
        *searched_corpora(journal),
    ]


def evidence_fields(journal: Journal, profile: str | None = None) -> dict[int, dict[str, Any]]:
    """The same by cell as plain values, for programs: the fields of `Shown`, and `by`."""
    return {cell.id: {"by": one.by, **_plain(one)} for cell, one in _shown(journal, profile)}


def _plain(shown: Shown) -> dict[str, Any]:
    # Not asdict: before Python 3.12 it makes a counter of pairs of a counter.
    values = {each.name: getattr(shown, each.name) for each in fields(shown)}
    return {name: dict(value) if isinstance(value, Counter) else value for name, value in values.items()}


def _shown(journal: Journal, profile: str | None) -> list[tuple[Cell, Shown]]:
    """The cells of the tasks in which some arm shows a part of what there is."""
    searched = {
        task
        for (task,) in journal.read(
            "SELECT DISTINCT cells.task FROM cells JOIN asks ON asks.cell = cells.id"
            " WHERE cells.place IS NOT NULL AND json_extract(asks.evidence, '$.tokens') IS NOT NULL"
        )
    }
    took_ns: dict[str, int] = dict(journal.read("SELECT key, took_ns FROM retrievals") if searched else ())
    return [
        (cell, _of_cell(journal, cell, profile, took_ns))
        for cell in journal.cells()
        # Arms of worked examples show no evidence: their tables are the results'.
        if cell.task in searched and not _shots_alone(journal, cell)
    ]


def _shots_alone(journal: Journal, cell: Cell) -> bool:
    noted = journal.read("SELECT evidence FROM asks WHERE cell = ? AND evidence IS NOT NULL LIMIT 1", (cell.id,))
    return any("shots_by" in one and "evidence" not in one for one in (json.loads(text) for (text,) in noted))


def _of_cell(journal: Journal, cell: Cell, profile: str | None, took_ns: Mapping[str, int]) -> Shown:
    metric = load_task(cell.task_file, cell.settings).rules(profile or cell.profile).metrics[0]
    right = metric.name if metric.kind == "proportion" else ""
    return shown_in(list(journal.answers(cell.id)), journal.scores(cell.id, profile or cell.profile), right, took_ns)


def _found(cell: Cell, shown: Shown, result: Result | None) -> tuple[str, ...]:
    quadrants = [f"{shown.quadrants[name]:,}" if shown.quadrants else ABSENT for name in _QUADRANT.values()]
    value = ("", ABSENT, ABSENT)
    if result is not None:
        value = (result.metric, percent(result.value), interval(result.ci_low, result.ci_high))
    return (
        *(cell.model, cell.task, cell.arm, shown.by, f"{shown.n:,}", *value),
        *map(percent, (shown.hit, shown.recall, shown.span_recall, shown.whole)),
        *(_decimal(shown.ndcg, 3), _decimal(shown.rr, 3)),
        *(percent(shown.right_given_hit), *quadrants),
    )


def _took(cell: Cell, shown: Shown, result: Result | None, usage: Usage, embedded: bool) -> tuple[str, ...]:
    thirds = "/".join(str(shown.thirds[third]) for third in (1, 2, 3)) if shown.thirds else ABSENT
    ended = ", ".join(f"{name} {many:,}" for name, many in shown.ended_by.most_common()) or ABSENT
    # Equal requests are one; both steps of a sample are two.
    answered = usage.requests / (2 if shown.kind == "two-step" else 1)
    tokens = None if usage.prompt_tokens is None or not answered else usage.prompt_tokens / answered
    times = (ABSENT, ABSENT) if embedded else (seconds(usage.ttft_p50_s), seconds(usage.latency_p50_s))
    return (
        *(cell.model, cell.task, cell.arm, percent(result.value if result else None)),
        *(_decimal(shown.tokens, 0), _decimal(shown.k, 1), _decimal(shown.of, 1), ended, f"{shown.cut:,}"),
        *(percent(shown.abstained), percent(shown.unparsed), thirds, _decimal(shown.search_ms, 2)),
        *(_decimal(tokens, 0), *times, dollars(usage.cost_per_1000_usd, at_least=usage.cost_is_least)),
    )


def _missing(shown: Sequence[tuple[str, Shown]]) -> list[str]:
    """What a reader needs beside the arms that search, and does not have: the placebo and the ceiling."""
    lines = []
    for task in dict.fromkeys(task for task, _ in shown):
        own = [one for of, one in shown if of == task]
        kinds = {one.kind for one in own}
        if not kinds & _SEARCHED:
            continue
        if "random-passages" not in kinds:
            lines.append(f"{task}: NO PLACEBO; without the arm random-passages a longer prompt may be all that helped.")
        if "oracle-spans" not in kinds and any(one.hit is not None for one in own):
            lines.append(f"{task}: NO CEILING; without the arm oracle nobody knows what a perfect search would give.")
        if all(one.hit is None for one in own):
            lines.append(f"{task}: no place of an answer is known, so there are no hits and no ceiling.")
    return lines


def _decimal(value: float | None, decimals: int) -> str:
    return ABSENT if value is None else f"{value:,.{decimals}f}"


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def found_as_text(measured: Sequence[Measured], k: int) -> str:
    """The table of `wardround retrieve`: shares from 0 to 1 with three decimals, as papers on retrieval have them."""
    header = tuple(name.format(k=k) for name in _MEASURED)
    rows = [
        (
            *(one.task, one.arm, f"{one.queries:,}", share(one.known, one.queries)),
            *(_decimal(value, 3) for value in (one.hit_1, one.hit, one.recall, one.span_recall, one.ndcg, one.mrr)),
            _decimal(one.took_ms, 2),
        )
        for one in measured
    ]
    note = "hit: a passage among the first k overlaps a known place of the answer; not every place is known"
    return "\n".join([*aligned(header, rows, {*header} - {"task", "arm"}), "", note])


def found_as_json(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """The same as plain values, one object an arm of a task."""
    return [asdict(one) for one in measured]
