"""What a run took: tokens, times and money, from replies whose every figure is known."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.catalogue import EMBEDDED, Price
from wardround.endpoints import Failure, Params, Reply
from wardround.journal import Asked, Journal, Outcome, Row
from wardround.journal.usage import Took, at_work_s, cost_usd, took_by_model
from wardround.reports import as_json, export_run, results_of, usage_of, what_it_took
from wardround.running import score_run
from wardround.task import Message, Prompt, Sample

PRICE = {"input": 3.0, "output": 15.0, "hour": 0.0}
# The wall clock's time at which each test's first answer ends.
NOON = 1_800_000_000.0
INPUTS = {"sentence1": "Fever of 39 °C.", "sentence2": "The patient coughs."}


def asked(model: str = "m", task: str = "mednli", served: str = "") -> Asked:
    identity = {"base_url": "u", "model": served or model}
    return Asked(model, task, "closed-book", "strict", "mednli", Params(max_tokens=20), identity)


def row(name: str, text: str = "") -> Row:
    return Row(Sample(name, INPUTS, "NEUTRAL"), Prompt((Message("user", text or name),)))


FOUR = [row(f"sample {number}") for number in range(4)]


def reply(
    seconds: float = 1.0,
    tokens: tuple[int | None, int | None] = (100, 10),
    *,
    text: str = "neutral",
    reasoning: str = "",
    sent_s: float = 0.0,
    first_s: float | None = None,
    cached: int | None = None,
) -> Reply:
    """A reply that took `seconds`, on a clock that read `sent_s` when the request was sent."""
    sent, first = round(sent_s * 1e9), None if first_s is None else round((sent_s + first_s) * 1e9)
    return Reply(
        text, reasoning, "stop", *tokens, sent - 5, sent, first, sent + round(seconds * 1e9), "m", cached_tokens=cached
    )


def model_row(name: str = "m", price: Mapping[str, float] | None = PRICE, base_url: str = "http://u/v1") -> Any:
    return {"name": name, "base_url": base_url, "price": price}


def journal_of(
    folder: Path,
    replies: Sequence[Reply | Failure],
    *cells: Asked,
    models: Sequence[Any] = (),
    rows: Sequence[Row] = (),
) -> Journal:
    """A run of `cells` whose pending requests were given `replies`, in order, one a second from noon on."""
    journal = Journal.create(folder)
    rows = rows or [row(f"sample {number}") for number in range(len(replies))]
    with journal.transaction():
        journal.begin_plan()
        for cell in cells or (asked(),):
            journal.place_cells([cell])
            journal.plan_cells([cell], rows)
        journal.put_manifest({"study": {"models": list(models or [model_row()])}})
    requests = [request for request, _, _ in journal.pending()]
    journal.record([Outcome(request, one, 1) for request, one in zip(requests, replies, strict=False)])
    answered_at(journal, {request: NOON + number for number, request in enumerate(requests)})
    return journal


def answered_at(journal: Journal, times: Mapping[int, float]) -> None:
    database = sqlite3.connect(journal.folder / "journal.sqlite")
    with database:
        database.executemany(
            "UPDATE replies SET answered_at = ? WHERE request = ?", [(at, request) for request, at in times.items()]
        )
    database.close()


def took(begin_s: float, end_s: float) -> Took:
    return Took(0, 1, 1, None, round((end_s - begin_s) * 1e9), None, end_s, 1, 0)


# Times.


def test_percentiles_are_exact_and_lie_between_two_values_linearly(tmp_path: Path) -> None:
    with journal_of(tmp_path, [reply(float(number)) for number in range(1, 21)]) as journal:
        usage = usage_of(journal).models["m"]
    assert usage.latency_p50_s == pytest.approx(10.5)
    assert usage.latency_p95_s == pytest.approx(19.05)


def test_ttft_is_of_the_streamed_answers_alone(tmp_path: Path) -> None:
    replies = [reply(), reply(first_s=0.1), reply(first_s=0.3), reply(first_s=0.5)]
    with journal_of(tmp_path, replies) as journal:
        assert usage_of(journal).models["m"].ttft_p50_s == pytest.approx(0.3)


def test_without_an_answer_there_is_no_latency(tmp_path: Path) -> None:
    with journal_of(tmp_path, [Failure("timeout", "slow")]) as journal:
        usage = usage_of(journal).models["m"]
    assert (usage.requests, usage.latency_p50_s, usage.latency_p95_s, usage.ttft_p50_s) == (0, None, None, None)
    assert (usage.prompt_tokens, usage.at_work_s, usage.cost_usd, usage.cost_per_1000_usd) == (None, 0, 0, None)


@pytest.mark.parametrize(
    ("intervals", "seconds"),
    [
        ([], 0),
        ([(0, 2)], 2),
        ([(0, 2), (5, 6)], 3),
        ([(0, 2), (1, 3)], 3),
        ([(0, 9), (1, 3), (4, 5)], 9),
        ([(0, 2), (2, 3)], 3),
        ([(4, 6), (0, 2), (1, 5)], 6),
        ([(0, 2), (0, 2)], 2),
    ],
)
def test_time_at_work_is_the_union_of_the_intervals(intervals: list[tuple[float, float]], seconds: float) -> None:
    assert at_work_s([took(*interval) for interval in intervals]) == pytest.approx(seconds)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20))))
def test_time_at_work_is_the_number_of_seconds_that_some_request_covers(intervals: list[tuple[int, int]]) -> None:
    covered = {second for begin, length in intervals for second in range(begin, begin + length)}
    assert at_work_s([took(begin, begin + length) for begin, length in intervals]) == pytest.approx(len(covered))


def test_equal_readings_of_two_processes_clocks_are_not_one_time(tmp_path: Path) -> None:
    # After a restart of the machine the monotonic clock begins anew: both answers were sent at its second 7.
    with journal_of(tmp_path, [reply(2, sent_s=7), reply(2, sent_s=7)]) as journal:
        answered_at(journal, {1: NOON, 2: NOON + 3600})
        assert usage_of(journal).models["m"].at_work_s == pytest.approx(4)


def test_unequal_readings_of_two_clocks_are_one_time_if_the_wall_clock_says_so(tmp_path: Path) -> None:
    with journal_of(tmp_path, [reply(2, sent_s=7), reply(2, sent_s=90_000)]) as journal:
        answered_at(journal, {1: NOON, 2: NOON + 1})
        assert usage_of(journal).models["m"].at_work_s == pytest.approx(3)


# Tokens and money.


def test_tokens_are_sums_of_the_servers_counts(tmp_path: Path) -> None:
    with journal_of(tmp_path, [reply(tokens=(100, 10), cached=64), reply(tokens=(200, 5))]) as journal:
        usage = usage_of(journal).models["m"]
    assert (usage.prompt_tokens, usage.output_tokens, usage.cached_tokens) == (300, 15, 64)
    assert usage.requests_without_tokens == 0


def test_the_reasonings_share_is_of_the_bytes_written_also_behind_a_nul(tmp_path: Path) -> None:
    with journal_of(tmp_path, [reply(text="\0yes", reasoning="über"), reply(text="no")]) as journal:
        assert usage_of(journal).models["m"].reasoning_share == pytest.approx(5 / 11)


def test_the_cost_is_tokens_times_price_and_hours_times_price() -> None:
    assert cost_usd(Price(input=3, output=15), 2_000_000, 100_000, 99.0) == pytest.approx(6 + 1.5)
    assert cost_usd(Price(hour=2.5), 2_000_000, 100_000, 1800.0) == pytest.approx(1.25)
    assert cost_usd(Price(input=3, output=15, hour=2.5), 1_000_000, 0, 3600.0) == pytest.approx(5.5)


def test_an_hour_of_a_model_is_paid_while_it_is_at_work(tmp_path: Path) -> None:
    price = {"input": 0.0, "output": 0.0, "hour": 3600.0}
    with journal_of(tmp_path, [reply(3), reply(3)], models=[model_row(price=price)]) as journal:
        # Answered one second apart: four seconds at a dollar each.
        assert usage_of(journal).models["m"].cost_usd == pytest.approx(4)


def test_without_a_price_the_cost_is_unknown(tmp_path: Path) -> None:
    with journal_of(tmp_path, [reply()], models=[model_row(price=None)]) as journal:
        usage = usage_of(journal)
    assert (usage.models["m"].cost_usd, usage.models["m"].cost_per_1000_usd, usage.whole.cost_usd) == (None, None, None)


def test_the_embedded_server_costs_nothing(tmp_path: Path) -> None:
    with journal_of(tmp_path, [reply()], models=[model_row(price=None, base_url=EMBEDDED)]) as journal:
        assert usage_of(journal).models["m"].cost_usd == 0


@pytest.mark.parametrize("tokens", [(None, 10), (100, None), (None, None)])
def test_an_answer_without_counts_makes_the_cost_the_least_it_can_be(
    tmp_path: Path, tokens: tuple[int | None, int | None]
) -> None:
    with journal_of(tmp_path, [reply(), reply(tokens=tokens)]) as journal:
        usage = usage_of(journal).models["m"]
    assert (usage.requests_without_tokens, usage.cost_is_least) == (1, True)
    assert usage.cost_usd == pytest.approx((100 + (tokens[0] or 0)) * 3e-6 + (10 + (tokens[1] or 0)) * 15e-6)


def test_counts_that_no_answer_has_are_absent_and_not_0(tmp_path: Path) -> None:
    with journal_of(tmp_path, [reply(tokens=(None, None))]) as journal:
        usage = usage_of(journal).models["m"]
    assert (usage.prompt_tokens, usage.output_tokens, usage.cached_tokens) == (None, None, None)


def test_a_price_by_the_hour_alone_needs_no_counts(tmp_path: Path) -> None:
    price = {"input": 0.0, "output": 0.0, "hour": 2.0}
    with journal_of(tmp_path, [reply(tokens=(None, None))], models=[model_row(price=price)]) as journal:
        assert usage_of(journal).models["m"].cost_is_least is False


# What is counted once, and what is left out.


def test_equal_questions_of_a_cell_are_one_request_and_cost_its_price_for_all(tmp_path: Path) -> None:
    rows = [row(f"sample {number}", "the same") for number in range(10)]
    with journal_of(tmp_path, [reply()], rows=rows) as journal:
        usage = usage_of(journal).cells[1]
    assert (usage.requests, usage.samples, usage.prompt_tokens) == (1, 10, 100)
    assert usage.cost_per_1000_usd == pytest.approx(100 * (100 * 3e-6 + 10 * 15e-6))


def test_a_request_of_two_cells_counts_in_each_and_once_in_the_models_total(tmp_path: Path) -> None:
    with journal_of(tmp_path, [reply(), reply()], asked(), asked(task="again")) as journal:
        usage = usage_of(journal)
    assert [usage.cells[cell].requests for cell in (1, 2)] == [2, 2]
    assert (usage.models["m"].requests, usage.models["m"].samples, usage.models["m"].prompt_tokens) == (2, 4, 200)


def test_a_request_of_two_models_counts_in_each_and_once_in_the_runs_total(tmp_path: Path) -> None:
    cells = (asked("m", served="x"), asked("n", served="x"))
    models = [model_row("m"), model_row("n", price={"input": 300.0, "output": 0.0, "hour": 0.0})]
    with journal_of(tmp_path, [reply(), reply()], *cells, models=models) as journal:
        usage = usage_of(journal)
    assert [usage.models[name].requests for name in "mn"] == [2, 2]
    assert (usage.whole.requests, usage.whole.prompt_tokens) == (2, 200)
    assert usage.whole.cost_usd == usage.models["m"].cost_usd


def test_the_runs_total_leaves_the_embedded_server_out(tmp_path: Path) -> None:
    models = [model_row("m"), model_row("n", price=None, base_url=EMBEDDED)]
    with journal_of(tmp_path, [reply()] * 8, asked("m"), asked("n"), models=models, rows=FOUR) as journal:
        usage = usage_of(journal)
    assert (usage.models["m"].requests, usage.models["n"].requests, usage.whole.requests) == (4, 4, 4)
    assert usage.whole.cost_usd == usage.models["m"].cost_usd


def test_a_total_over_models_of_which_one_has_no_price_is_the_least_it_can_be(tmp_path: Path) -> None:
    models = [model_row("m"), model_row("n", price=None)]
    with journal_of(tmp_path, [reply()] * 8, asked("m"), asked("n"), models=models, rows=FOUR) as journal:
        usage = usage_of(journal)
    assert (usage.whole.cost_usd, usage.whole.cost_is_least) == (usage.models["m"].cost_usd, True)


def test_what_a_study_no_longer_asks_is_in_no_total_and_yet_was_spent(tmp_path: Path) -> None:
    with journal_of(tmp_path, [reply(), reply()]) as journal:
        with journal.transaction():
            journal.begin_plan()
            journal.place_cells([asked()])
            journal.plan_cells([asked()], [row("sample 0")])
        assert usage_of(journal).models["m"].requests == 1
        assert len(took_by_model(journal)["m"]) == 2


# How it is shown.


def two_models(folder: Path, replies: Sequence[Reply], **rows: Any) -> Journal:
    """Two models, two tasks each; the replies are model m's of both tasks, then n's, as the study's order has them."""
    cells = [asked(model, task) for task in ("mednli", "again") for model in ("m", "n")]
    journal = Journal.create(folder)
    with journal.transaction():
        journal.begin_plan()
        for cell in cells:
            journal.place_cells([cell])
            journal.plan_cells([cell], [row(f"{cell.task} sample")])
        journal.put_manifest({"study": {"models": [model_row("m"), rows.get("n") or model_row("n", price=None)]}})
    requests = [request for request, _, _ in journal.pending()]
    journal.record([Outcome(request, one, 1) for request, one in zip(requests, replies, strict=True)])
    answered_at(journal, dict.fromkeys(requests, NOON))
    score_run(journal)
    return journal


def shown(journal: Journal) -> list[str]:
    return what_it_took(results_of(journal), usage_of(journal))


def test_the_table_has_a_row_a_cell_and_totals(tmp_path: Path) -> None:
    replies = [
        reply(1, (1000, 20), first_s=0.25),
        reply(10, (900, 20), text="entailment"),
        reply(2, (3000, 36), first_s=0.35),
        reply(20, (800, 10)),
    ]
    with two_models(tmp_path, replies) as journal:
        assert shown(journal) == [
            "What it took: seconds from sending to the answer's end (p50, p95) and to a stream's first token (TTFT, p50);",
            "tokens as the servers count them; cost by the prices of the models' rows, and what it makes for 1,000 samples",
            "",
            "model       task       arm          metric    value  requests  p50 s  p95 s  TTFT s  prompt tokens  output tokens      cost  per 1,000",
            "──────────  ─────────  ───────────  ────────  ─────  ────────  ─────  ─────  ──────  ─────────────  ─────────────  ────────  ─────────",
            "m           mednli     closed-book  accuracy  100.0         1   1.00   1.00   0.250          1,000             20   $0.0033      $3.30",
            "m           again      closed-book  accuracy  100.0         1   2.00   2.00   0.350          3,000             36   $0.0095      $9.54",
            "m           all tasks                                       2   1.50   1.95   0.300          4,000             56    $0.013      $6.42",
            "n           mednli     closed-book  accuracy    0.0         1   10.0   10.0       –            900             20         –          –",
            "n           again      closed-book  accuracy  100.0         1   20.0   20.0       –            800             10         –          –",
            "n           all tasks                                       2   15.0   19.5       –          1,700             30         –          –",
            "all models  all tasks                                       4      –      –       –          5,700             86  ≥ $0.013    ≥ $3.21",
        ]


def test_one_task_of_one_model_needs_no_total(tmp_path: Path) -> None:
    with journal_of(tmp_path, [reply()]) as journal:
        score_run(journal)
        header, _, line = shown(journal)[3:]
    assert (header.split()[0], line.split()[0]) == ("model", "m")


def test_the_embedded_server_has_no_row(tmp_path: Path) -> None:
    replies = [reply()] * 4
    with two_models(tmp_path, replies, n=model_row("n", base_url=EMBEDDED)) as journal:
        rows = shown(journal)[5:]
    assert [line.split()[0] for line in rows] == ["m", "m", "m"]


def test_a_run_of_the_embedded_server_alone_has_no_such_table(tmp_path: Path) -> None:
    with journal_of(tmp_path, [reply()], models=[model_row(base_url=EMBEDDED)]) as journal:
        score_run(journal)
        assert shown(journal) == []


def test_cached_tokens_and_reasoning_have_columns_where_there_are_any(tmp_path: Path) -> None:
    with journal_of(tmp_path / "without", [reply()]) as journal:
        score_run(journal)
        assert "cached tokens" not in shown(journal)[3]
        assert "reasoning %" not in shown(journal)[3]
    with journal_of(tmp_path / "with", [reply(cached=50, reasoning="because", text="neutral")]) as journal:
        score_run(journal)
        header, _, line = shown(journal)[3:]
    assert re.split(" {2,}", header)[-4:] == ["cached tokens", "reasoning %", "cost", "per 1,000"]
    assert line.split()[-4:] == ["50", "50.0", "$0.00045", "$0.45"]


def test_answers_without_counts_are_said_above_the_table(tmp_path: Path) -> None:
    with journal_of(tmp_path, [reply(), reply(tokens=(None, None))]) as journal:
        score_run(journal)
        lines = shown(journal)
    assert "1 answer came without token counts; tokens and cost are of the others" in lines
    assert lines[-1].endswith("≥ $0.00045    ≥ $0.23")


def test_a_missing_price_is_said_above_the_table(tmp_path: Path) -> None:
    with journal_of(tmp_path, [reply()], models=[model_row(price=None)]) as journal:
        score_run(journal)
        assert "cost is –: no model's row has a `price`" in shown(journal)


FIELDS = (
    *("requests", "requests_without_tokens", "prompt_tokens", "output_tokens", "cached_tokens", "reasoning_share"),
    *("latency_p50_s", "latency_p95_s", "ttft_p50_s", "at_work_s", "cost_usd", "cost_per_1000_usd", "cost_is_least"),
)


def test_json_has_what_a_cell_took_beside_each_of_its_metrics(tmp_path: Path) -> None:
    with journal_of(tmp_path, [reply(1.5, (100, 10), first_s=0.5)]) as journal:
        score_run(journal)
        rows = json.loads(as_json(results_of(journal), usage_of(journal)))
    assert [row["metric"] for row in rows] == ["accuracy", "macro_f1", "accuracy_lenient"]
    for row in rows:
        assert tuple(row)[11:] == FIELDS
        assert (row["requests"], row["prompt_tokens"], row["output_tokens"]) == (1, 100, 10)
        assert (row["latency_p50_s"], row["latency_p95_s"], row["ttft_p50_s"]) == (1.5, 1.5, 0.5)
        assert row["at_work_s"] == pytest.approx(1.5)
        assert row["cost_usd"] == pytest.approx(0.00045)
        assert row["cost_per_1000_usd"] == pytest.approx(0.45)
        assert (row["cached_tokens"], row["cost_is_least"], row["requests_without_tokens"]) == (None, False, 0)


def test_the_exported_results_have_the_same_fields_as_json(tmp_path: Path) -> None:
    with journal_of(tmp_path / "run", [reply()]) as journal:
        score_run(journal)
        export_run(journal, tmp_path / "export")
        expected = json.loads(as_json(results_of(journal), usage_of(journal)))
    with (tmp_path / "export" / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [list(row) for row in rows] == [list(row) for row in expected]
    assert [float(row["cost_usd"]) for row in rows] == [row["cost_usd"] for row in expected]
