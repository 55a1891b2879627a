"""What was shown beside what was answered."""

from __future__ import annotations

from typing import Any

import pytest

from wardround.endpoints import Reply
from wardround.journal import Answered
from wardround.reports.retrieval import found_as_text, shown_in
from wardround.running.measuring import Measured
from wardround.task import Sample


def answered(position: int, reply: bool = True, cut: tuple[str, ...] = (), **noted: Any) -> Answered:
    said = Reply("x", "", "stop", 1, 1, 0, 0, None, 1, "f") if reply else None
    return Answered(position, Sample(str(position), {}, "A"), said, None if reply else "timeout", cut, noted or None)


ANSWERS = [
    answered(0, hit=1, tokens=100, k=2, third=1),
    answered(1, hit=1, tokens=300, k=4, third=3, cut=("some",)),
    answered(2, hit=0, tokens=200, k=3, third=None),
    answered(3, hit=0, tokens=200, k=3, third=None),
    answered(4, hit=0, tokens=200, k=3, third=None),
    answered(5, reply=False, hit=1, tokens=900, k=9),
]
SCORES: dict[int, dict[str, float | None]] = {
    0: {"accuracy": 1, "parsed": 1, "abstained": 0},
    1: {"accuracy": 0, "parsed": 0, "abstained": 0},
    2: {"accuracy": 1, "parsed": 1, "abstained": 0},
    3: {"accuracy": 0, "parsed": 1, "abstained": 1},
    4: {"accuracy": 0, "parsed": 1, "abstained": 0},
}


def test_the_quadrants_are_hit_and_right() -> None:
    shown = shown_in(ANSWERS, SCORES, "accuracy")
    assert shown.quadrants == {"grounded": 1, "ignored": 1, "lucky": 1, "miss": 2}
    assert (shown.right, shown.hit, shown.right_given_hit) == (0.4, 0.4, 0.5)


def test_abstentions_unparsed_answers_and_what_was_shown_are_of_answered_samples() -> None:
    shown = shown_in(ANSWERS, SCORES, "accuracy")
    assert (shown.n, shown.abstained, shown.cut) == (5, 0.2, 1)
    assert shown.unparsed == pytest.approx(0.2)
    assert (shown.tokens, shown.k) == (200, 3)
    assert shown.thirds == {1: 1, 3: 1}


def test_without_known_places_there_are_no_quadrants() -> None:
    shown = shown_in([answered(0, tokens=5, k=1)], SCORES, "accuracy")
    assert (shown.hit, shown.right_given_hit, dict(shown.quadrants)) == (None, None, {})
    assert shown.right == 1


def test_a_cell_without_an_answer_has_nothing_to_show() -> None:
    shown = shown_in([answered(0, reply=False, hit=1)], {}, "accuracy")
    assert (shown.n, shown.right, shown.hit, shown.tokens) == (0, None, None, None)


def test_a_metric_that_is_neither_right_nor_wrong_has_hits_and_no_quadrants() -> None:
    scores: dict[int, dict[str, float | None]] = {position: {"f1": 0.5} for position in range(6)}
    shown = shown_in(ANSWERS, scores, "")
    assert (shown.right, shown.hit, dict(shown.quadrants)) == (None, 0.4, {})


def test_what_a_search_took_is_the_mean_of_those_that_were_made_and_the_sum_of_a_samples() -> None:
    answers = [
        answered(0, evidence="bm25", retrieval="a", bounded="k", of=4, whole=0.5, recall=0.25, ndcg=0.75, rr=1.0),
        answered(1, evidence="bm25", retrieval="b", bounded="budget", of=6, whole=1.0, recall=0.75, ndcg=0.25, rr=0.5),
        answered(2, evidence="two-step", retrievals=["a", "b"], bounded="k"),
        answered(3, evidence="none"),
    ]
    shown = shown_in(answers, {}, "accuracy", {"a": 1_000_000, "b": 3_000_000})
    assert shown.search_ms == pytest.approx((1 + 3 + 4) / 3)
    assert (shown.of, shown.whole, shown.recall, shown.ndcg, shown.rr) == (5, 0.75, 0.5, 0.5, 0.75)
    assert shown.ended_by == {"k": 2, "budget": 1}
    assert (shown.kind, shown.by) == ("bm25", "passages")


def test_the_table_of_the_stage_alone() -> None:
    rows = [
        Measured("t", "bm25", 1000, 1000, 0.5, 0.75, 0.7, 0.625, 0.5, 0.51, 1.234),
        Measured("t", "oracle", 10, 0, None, None, None, None, None, None, None),
    ]
    *table, empty, note = found_as_text(rows, 5).splitlines()
    assert (empty, note.split(":")[0]) == ("", "hit")
    assert table == [
        "task  arm     queries  known  hit@1  hit@5  recall@5  span recall@5  nDCG@10    MRR    ms",
        "────  ──────  ───────  ─────  ─────  ─────  ────────  ─────────────  ───────  ─────  ────",
        "t     bm25      1,000  100.0  0.500  0.750     0.700          0.625    0.500  0.510  1.23",
        "t     oracle       10    0.0      –      –         –              –        –      –     –",
    ]
