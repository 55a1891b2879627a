"""A dry run as people read it."""

from __future__ import annotations

from typing import Any

import pytest

from wardround.catalogue import Price
from wardround.reports.forecast import forecast
from wardround.running.estimate import ModelEstimate, RunEstimate
from wardround.study import Budget


def one(model: str = "hosted", **fields: Any) -> ModelEstimate:
    known: dict[str, Any] = {
        "server": f"http://{model}/v1",
        "price": Price(input=3, output=15),
        "counted_by": "estimate: 3 bytes a token",
        "requests": 1422,
        "answered": 22,
        "prompt_tokens": 350_000,
        "new_tokens": 22_400,
        "most_new_tokens": 28_000,
        "cost_usd": 1.386,
        "most_cost_usd": 1.47,
        "charged_usd": 1.386,
        "most_charged_usd": 1.47,
        "time_s": 1400.0,
        "time_by": "its limit of requests",
    }
    return ModelEstimate(model, **{**known, **fields})


LOCAL: dict[str, Any] = {
    "price": None,
    "cost_usd": None,
    "most_cost_usd": None,
    "charged_usd": 0.0,
    "most_charged_usd": 0.0,
    "time_s": None,
    "time_by": "unknown: no limit and no earlier run",
}
EMBEDDED: dict[str, Any] = {
    "server": "embedded",
    "price": None,
    "counted_by": "words and marks",
    "cost_usd": 0.0,
    "most_cost_usd": 0.0,
    "charged_usd": 0.0,
    "most_charged_usd": 0.0,
    "time_s": None,
    "time_by": "embedded: as fast as this machine",
}


def lines(*models: ModelEstimate, spent: tuple[float, int] = (0.0, 0), **budget: Any) -> list[str]:
    return forecast(RunEstimate(models, Budget(**budget), *spent))


def test_the_whole_page() -> None:
    models = (one(), one("local", **LOCAL), one("baseline-lead", **EMBEDDED))
    assert lines(*models, usd=5) == [
        "Nothing was asked. What the study asks, and what the requests that have no answer yet may take:",
        "",
        "model                 requests  answered  prompt tokens  new tokens  at most     cost  cost at most           time  time told by",
        "────────────────────  ────────  ────────  ─────────────  ──────────  ───────  ───────  ────────────  ─────────────  ────────────────────────────────────",
        "hosted                   1,422        22        350,000      22,400   28,000    $1.39         $1.47    23 min 20 s  its limit of requests",
        "local                    1,422        22        350,000      22,400   28,000        –             –              –  unknown: no limit and no earlier run",
        "baseline-lead            1,422        22        350,000      22,400   28,000    $0.00         $0.00              –  embedded: as fast as this machine",
        "all but the embedded     2,844        44        700,000      44,800   56,000  ≥ $1.39             –  ≥ 23 min 20 s",
        "",
        "prompt tokens by estimate: 3 bytes a token (hosted, local)",
        "prompt tokens by words and marks (baseline-lead)",
        "new tokens: as many as the references have, 16 for one of several choices, and all that a row grants for reasoning",
        "expected $1.39 is within the budget of $5.00",
    ]


def test_one_model_needs_no_total_and_one_counter_no_names() -> None:
    page = lines(one())
    assert not any(line.startswith("all") for line in page)
    assert "prompt tokens by estimate: 3 bytes a token" in page


def test_a_total_in_which_all_is_known_is_no_lower_bound() -> None:
    (total,) = [line for line in lines(one("a"), one("b")) if line.startswith("all")]
    assert total.split()[:7] == ["all", "2,844", "44", "700,000", "44,800", "56,000", "$2.77"]
    assert "≥" not in total


@pytest.mark.parametrize(
    ("usd", "spent", "line"),
    [
        (5, 0.0, "expected $1.39 is within the budget of $5.00"),
        (1.4, 0.0, "expected $1.39 is within the budget of $1.40, $1.47 is not"),
        (1, 0.0, "expected $1.39 is above the budget of $1.00"),
        (5, 3.0, "expected $1.39 after $3.00 spent is within the budget of $5.00"),
        (4.4, 3.0, "expected $1.39 after $3.00 spent is within the budget of $4.40, $1.47 is not"),
        (4, 3.0, "expected $1.39 after $3.00 spent is above the budget of $4.00"),
    ],
)
def test_money_against_the_budget(usd: float, spent: float, line: str) -> None:
    assert lines(one(), spent=(spent, 0), usd=usd)[-1] == line


@pytest.mark.parametrize(
    ("tokens", "spent", "line"),
    [
        (372_400, 0, "expected 372,400 tokens is within the budget of 372,400"),
        (372_399, 0, "expected 372,400 tokens is above the budget of 372,399"),
        (400_000, 100_000, "expected 372,400 tokens after 100,000 spent is above the budget of 400,000"),
    ],
)
def test_tokens_against_the_budget(tokens: int, spent: int, line: str) -> None:
    assert lines(one(), spent=(0.0, spent), tokens=tokens)[-1] == line


def test_without_a_budget_nothing_is_said_of_one() -> None:
    assert not any("budget" in line for line in lines(one()))


def test_what_the_embedded_server_would_use_counts_against_no_budget() -> None:
    assert lines(one("baseline-lead", **EMBEDDED), tokens=10)[-1] == "expected 0 tokens is within the budget of 10"


def test_a_budget_does_not_count_what_is_paid_by_the_hour() -> None:
    hourly = one(price=Price(input=3, output=15, hour=100), cost_usd=40.0, most_cost_usd=None)
    assert lines(hourly, usd=5)[-1] == "expected $1.39 without what is paid by the hour is within the budget of $5.00"
