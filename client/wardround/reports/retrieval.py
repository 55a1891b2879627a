"""What was shown beside what was answered: hits, quadrants, tokens and abstentions of every arm with its evidence.

    hit          the evidence that was shown holds the answer, as far as its places are known; they need not be all
    grounded     hit and right         lucky    no hit, and right all the same
    ignored      hit and wrong         miss     no hit and wrong
    right | hit  the share of right answers among the samples with a hit: beside the oracle's it says what is lost
                 between finding and answering

Right is the task's first metric; an unparsed answer is wrong and counted apart; what has no reply enters nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from wardround.journal import Answered, Cell, Journal
from wardround.reports.numbers import ABSENT, percent, share
from wardround.reports.table import aligned
from wardround.running.measuring import Measured
from wardround.task import load_task

_HEADER = (
    *("model", "task", "arm", "n", "right", "hit %", "right | hit", "grounded", "lucky", "ignored", "miss"),
    *("abstained %", "unparsed %", "evidence tokens", "k", "gold in thirds", "cut"),
)
_NUMERIC = {*_HEADER} - {"model", "task", "arm", "gold in thirds"}
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


@dataclass(frozen=True, slots=True)
class Shown:
    """A cell's answered samples by what was shown and whether they are right; shares from 0 to 1, None if undefined.

    `quadrants` counts samples as "grounded", "lucky", "ignored" and "miss"; empty where no place of an answer is known.
    `tokens` and `k` are means of evidence tokens and of passages; `thirds` counts in which third of the evidence the
    answer first stood.
    """

    right: float | None
    hit: float | None
    right_given_hit: float | None
    quadrants: Counter[str]
    abstained: float | None
    unparsed: float | None
    tokens: float | None
    k: float | None
    thirds: Counter[int]
    cut: int
    n: int


_QUADRANT = {(True, True): "grounded", (False, True): "lucky", (True, False): "ignored", (False, False): "miss"}


def shown_in(answers: Sequence[Answered], scores: Mapping[int, Mapping[str, float | None]], right: str) -> Shown:
    """The summary of a cell's answers; `right` is the metric that says whether one is right."""
    rows = [
        (answer.evidence or {}, scores.get(answer.position, {}), bool(answer.cut))
        for answer in answers
        if answer.reply is not None
    ]
    judged = [(noted, own[right] == 1) for noted, own, _ in rows if own.get(right) is not None]
    known = [(noted["hit"] == 1, is_right) for noted, is_right in judged if noted.get("hit") is not None]
    with_hit = [is_right for is_hit, is_right in known if is_hit]
    declined = [own.get("abstained", own.get("refused")) for _, own, _ in rows]
    parsed = [own.get("parsed") for _, own, _ in rows]
    return Shown(
        right=_mean([is_right for _, is_right in judged]),
        hit=_mean([is_hit for is_hit, _ in known]),
        right_given_hit=_mean(with_hit),
        quadrants=Counter(_QUADRANT[pair] for pair in known),
        abstained=_mean([value for value in declined if value is not None]),
        unparsed=_mean([1 - value for value in parsed if value is not None]),
        tokens=_mean([noted["tokens"] for noted, _, _ in rows if "tokens" in noted]),
        k=_mean([noted["k"] for noted, _, _ in rows if "k" in noted]),
        thirds=Counter(noted["third"] for noted, _, _ in rows if noted.get("third")),
        cut=sum(cut for _, _, cut in rows),
        n=len(rows),
    )


def beside_evidence(journal: Journal, profile: str | None = None) -> list[str]:
    """The table over all cells of arms that choose their evidence, with those of the same tasks that need not.

    Empty where a study has no arm that shows passages or cuts documents to a budget.
    """
    cells = [(cell, shown) for cell in journal.cells() if (shown := _of_cell(journal, cell, profile)) is not None]
    searched = {cell.task for cell, shown in cells if shown.tokens is not None}
    rows = [_row(cell, shown) for cell, shown in cells if cell.task in searched]
    if not rows:
        return []
    title = "What was shown beside what was answered (hit: the evidence holds the answer; a lower bound):"
    return [title, "", *aligned(_HEADER, rows, _NUMERIC)]


def _of_cell(journal: Journal, cell: Cell, profile: str | None) -> Shown | None:
    marked = journal.read("SELECT 1 FROM asks WHERE cell = ? AND evidence IS NOT NULL LIMIT 1", (cell.id,))
    if not any(True for _ in marked):
        return None
    metric = load_task(cell.task_file, cell.settings).rules(profile or cell.profile).metrics[0]
    answers = list(journal.answers(cell.id))
    if metric.kind != "proportion" or not any("evidence" in (answer.evidence or {}) for answer in answers):
        return None
    return shown_in(answers, journal.scores(cell.id, profile or cell.profile), metric.name)


def _row(cell: Cell, shown: Shown) -> tuple[str, ...]:
    quadrants = [f"{shown.quadrants[name]:,}" if shown.quadrants else ABSENT for name in _QUADRANT.values()]
    thirds = "/".join(str(shown.thirds[third]) for third in (1, 2, 3)) if shown.thirds else ABSENT
    return (
        *(cell.model, cell.task, cell.arm, f"{shown.n:,}"),
        *(percent(shown.right), percent(shown.hit), percent(shown.right_given_hit)),
        *quadrants,
        *(percent(shown.abstained), percent(shown.unparsed)),
        *(_decimal(shown.tokens, 0), _decimal(shown.k, 1), thirds, f"{shown.cut:,}"),
    )


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
    return "\n".join(aligned(header, rows, {*header} - {"task", "arm"}))


def found_as_json(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """The same as plain values, one object an arm of a task."""
    from dataclasses import asdict

    return [asdict(one) for one in measured]
