from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.errors import WrongUse
from wardround.load.measures import Slo, Window, measure, meets, parse_slo, quantiles_resampled, spread, tpot_s, ttft_s
from wardround.load.records import Record

MS = 1_000_000


def request(**fields: Any) -> Record:
    """Scheduled at 0, sent 1 ms later, tokens 100, 120 and 160 ms after the sending, done at 171 ms."""
    given = {
        "number": 0, "workload": "w", "scheduled_ns": 0, "sent_ns": 1 * MS, "first_byte_ns": 90 * MS,
        "first_token_ns": 101 * MS, "first_answer_ns": 121 * MS, "done_ns": 171 * MS, "status": 200, "failure": "",
        "words": "", "finish_reason": "stop", "prompt_tokens": 10, "output_tokens": 5, "cached_tokens": None,
        "arrivals_us": [100_000, 120_000, 160_000],
    }  # fmt: skip
    return Record(**{**given, **fields})


WINDOW = Window(0, 1000 * MS)


def test_the_formulas_of_one_request() -> None:
    found = measure([request()], WINDOW, client_cpu_s=0.002)
    assert found.ttft is not None
    assert found.ttft.mean_s == pytest.approx(0.100)
    assert found.ttft_user is not None
    assert found.ttft_user.mean_s == pytest.approx(0.101)
    assert found.ttft_answer is not None
    assert found.ttft_answer.mean_s == pytest.approx(0.120)
    assert found.tpot is not None
    assert found.tpot.mean_s == pytest.approx(0.060 / 4)
    assert found.itl is not None
    assert found.itl.n == 2
    assert found.itl.mean_s == pytest.approx(0.030)
    assert found.e2e is not None
    assert found.e2e.mean_s == pytest.approx(0.170)
    assert found.lag is not None
    assert found.lag.max_s == pytest.approx(0.001)
    assert found.client_s_per_1000_tokens == pytest.approx(0.4)
    assert (found.output_tokens_per_s, found.prompt_tokens_per_s, found.requests_per_s) == (5, 10, 1)


def test_tokens_are_counted_by_the_server_and_never_by_chunks() -> None:
    assert tpot_s(request(output_tokens=None)) is None
    assert tpot_s(request(output_tokens=61)) == pytest.approx(0.001)
    assert measure([request(output_tokens=None)], WINDOW).output_tokens_per_s is None
    assert measure([request(output_tokens=None)], WINDOW).uncounted == 1


def test_an_answer_that_comes_all_at_once_took_no_time_and_not_less() -> None:
    at_once = request(first_token_ns=101 * MS + 999, arrivals_us=[100_000, 100_000])
    assert tpot_s(at_once) == 0


def test_what_is_absent_is_none_and_not_zero() -> None:
    silent = request(first_token_ns=0, first_answer_ns=0, arrivals_us=[], output_tokens=0)
    found = measure([silent], WINDOW)
    assert (ttft_s(silent), found.ttft, found.itl, found.tpot) == (None, None, None, None)
    assert found.e2e is not None
    assert measure([request(output_tokens=1, arrivals_us=[100_000])], WINDOW).tpot is None
    assert measure([], WINDOW).e2e is None


def test_a_failed_request_enters_no_latency_and_is_counted_by_its_kind() -> None:
    found = measure([request(), request(failure="timeout", done_ns=900 * MS)], WINDOW)
    assert (found.requests, found.succeeded, found.failures) == (2, 1, {"timeout": 1})
    assert found.e2e is not None
    assert found.e2e.n == 1


def test_only_what_was_scheduled_within_the_window_is_measured_and_only_what_ended_in_it_is_throughput() -> None:
    late = request(scheduled_ns=900 * MS, sent_ns=900 * MS, first_token_ns=950 * MS, done_ns=1100 * MS)
    after = request(scheduled_ns=1000 * MS, sent_ns=1000 * MS, first_token_ns=1001 * MS, done_ns=1002 * MS)
    found = measure([request(), late, after], WINDOW)
    assert (found.requests, found.requests_per_s) == (2, 1)


def test_a_closed_loop_has_no_times_from_the_schedule() -> None:
    found = measure([request()], WINDOW, closed=True)
    assert (found.ttft_user, found.e2e_user, found.lag, found.limited_by_client) == (None, None, None, False)


@pytest.mark.parametrize(("late_ms", "limited"), [(4, False), (6, True)])
def test_a_client_that_is_late_says_that_it_measured_itself(late_ms: int, limited: bool) -> None:
    late = request(scheduled_ns=0, sent_ns=late_ms * MS, first_token_ns=(100 + late_ms) * MS)
    assert measure([late] * 50, WINDOW).limited_by_client is limited


@pytest.mark.parametrize(
    ("slo", "met"),
    [
        (Slo(ttft_s=0.101), True),
        (Slo(ttft_s=0.1005), False),  # 100 ms from the sending, 101 from the schedule
        (Slo(tpot_s=0.015), True),
        (Slo(tpot_s=0.014), False),
        (Slo(e2e_s=0.171), True),
        (Slo(e2e_s=0.170), False),
        (Slo(ttft_s=1, tpot_s=1, e2e_s=0.1), False),
    ],
)
def test_goodput_counts_requests_that_met_every_objective(slo: Slo, met: bool) -> None:
    assert meets(request(), slo) is met
    assert measure([request()], WINDOW, slo=slo).goodput_per_s == float(met)


def test_a_failure_is_never_good_and_an_answer_of_one_token_is_not_late_by_the_token() -> None:
    assert not meets(request(failure="timeout"), Slo(e2e_s=9))
    assert meets(request(output_tokens=1), Slo(tpot_s=0.001))
    assert measure([request()], WINDOW).goodput_per_s is None


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_percentiles_are_exact(values: list[float]) -> None:
    found = spread(values)
    assert found is not None
    assert found.percentiles_s[90] == np.percentile(values, 90)
    assert found.max_s == max(values)


def test_intervals_of_percentiles_cover_the_truth_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(5)
    truth = -np.log(1 - 0.9)
    covered = 0
    for seed in range(300):
        found = spread(generator.exponential(size=400), intervals=True, seed=seed)
        assert found is not None
        low, high = found.intervals_s[90]
        covered += low <= truth <= high
    assert 0.91 <= covered / 300 <= 0.99


def test_resampled_percentiles_are_those_of_resamples() -> None:
    values = np.random.default_rng(1).exponential(size=200)
    quick = quantiles_resampled(values, [50, 90], resamples=20_000, seed=2)
    generator = np.random.default_rng(3)
    slow = np.percentile(generator.choice(values, (5_000, 200)), [50, 90], axis=1).T
    assert quick.mean(axis=0) == pytest.approx(slow.mean(axis=0), rel=0.02)
    assert quick.std(axis=0) == pytest.approx(slow.std(axis=0), rel=0.06)


def test_objectives_are_read_with_their_units() -> None:
    assert parse_slo("ttft=500ms, tpot=50ms,e2e=8s") == Slo(0.5, 0.05, 8.0)
    assert parse_slo("e2e=1.5s") == Slo(e2e_s=1.5)


@pytest.mark.parametrize("text", ["", ",", "ttft=500", "ttft<500ms", "p99=1s", "ttft=1s,ttft=2s", "ttft=-1s"])
def test_objectives_that_are_none_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(WrongUse, match="ttft=500ms,tpot=50ms,e2e=8s"):
        parse_slo(text)
