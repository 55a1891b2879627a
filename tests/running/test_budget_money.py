"""Budgets in money and tokens: what is reserved, what counts as spent, and runs that stop in time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.endpoints.test_retries import REPLY
from tests.running.rounds import at_once, carry_out, rows
from tests.support import Server, model_at, running_server, wardround, write_study
from wardround.catalogue import Model, Price
from wardround.endpoints import Failure, Params, Reply
from wardround.endpoints.replies import FailureKind
from wardround.errors import StudyError
from wardround.journal import Asked, Journal, Outcome, Row
from wardround.running.budget import TOKENS_A_PROMPT, TOKENS_A_TURN
from wardround.running.spending import Spending, check_prices, may_be_charged
from wardround.study import Budget, Study, TaskChoice
from wardround.task import Message, Prompt, Sample

PRICE = {"input": 1000.0, "output": 4000.0}
PROMPT = Prompt((Message("user", "é" * 20),))
PARAMS = Params(max_tokens=10)
# Forty bytes, the marks of a turn and of what begins the answer, and of the whole.
PROMPT_AT_MOST = 40 + 2 * TOKENS_A_TURN + TOKENS_A_PROMPT
OVERLOADED = Failure("overload", "no", status=503, retryable=True)
TIMED_OUT = Failure("timeout", "no answer", retryable=True)


def spent_usd(folder: Path) -> float:
    [(usd,)] = rows(folder, "SELECT sum(prompt_tokens * 1000.0 + output_tokens * 4000.0) / 1e6 FROM replies")
    return float(usd or 0)


def priced(server: Server, name: str = "baseline-lead", **fields: Any) -> dict[str, Any]:
    return model_at(server, name, price=PRICE, **fields)


def test_a_budget_in_dollars_stops_the_run_before_it_is_passed_and_a_higher_one_completes_it(tmp_path: Path) -> None:
    with running_server("--ttft", "0.005") as server:
        study: dict[str, Any] = {"models": [priced(server)], "concurrency": 8}
        summary, _ = carry_out(tmp_path, budget={"usd": 9.0}, **study)
        assert 6 < spent_usd(tmp_path) <= 9
        [line] = summary.complaints
        left = 48 - summary.answered
        assert 0 < left < 48
        assert line.startswith(f"the budget of $9.00 is used up ({spent_usd(tmp_path):.2f} spent, {left} requests")
        assert line.endswith("not asked); raise `budget` and run again")
        assert rows(tmp_path, "SELECT count(*) FROM failures") == [(0,)]
        # What was spent counts: the same budget has no room for more.
        again, _ = carry_out(tmp_path, budget={"usd": 9.0}, **study)
        assert again.answered == summary.answered
        higher, _ = carry_out(tmp_path, budget={"usd": 1000}, **study)
        assert higher.complete
        assert higher.complaints == ()
        assert server.stats()["requests"] == 48


def test_a_budget_in_tokens_stops_the_run_before_it_is_passed(tmp_path: Path) -> None:
    with running_server("--ttft", "0.005") as server:
        summary, _ = carry_out(tmp_path, models=[model_at(server)], budget={"tokens": 9000}, concurrency=8)
    [(tokens,)] = rows(tmp_path, "SELECT sum(prompt_tokens + output_tokens) FROM replies")
    assert 6000 < tokens <= 9000
    assert summary.complaints[0].startswith(f"the budget of 9,000 tokens is used up ({tokens:,} spent, ")


def test_a_run_that_is_out_of_budget_ends_with_an_exit_code_and_one_line(tmp_path: Path) -> None:
    with running_server() as server:
        study = write_study(tmp_path / "study.yaml", models=[priced(server)], budget={"usd": 0.01})
        done = wardround("run", study, "--out", "run", cwd=tmp_path)
        assert server.stats()["requests"] == 0
    assert done.returncode == 1
    assert "the budget of $0.01 is used up (0 spent, 48 requests not asked)" in done.stderr
    assert "48 not_asked" in done.stdout


def test_what_is_reserved_too_high_delays_a_run_and_does_not_stop_it(tmp_path: Path) -> None:
    with running_server() as one, running_server() as other:
        # Each request may think for 20,000 tokens, so one at a time has room; together they use about 11,000.
        models = [
            model_at(one, "baseline-lead", reasoning_tokens=20_000),
            model_at(other, "baseline-overlap", reasoning_tokens=20_000),
        ]
        tasks = [{"task": "mednli", "limit": 12}]
        summary, _ = carry_out(tmp_path, models=models, tasks=tasks, budget={"tokens": 34_000}, concurrency=6)
    assert summary.complete
    assert summary.complaints == ()
    spans = rows(tmp_path, "SELECT sent_ns, done_ns FROM replies")
    assert at_once(spans) == 1


def test_what_costs_nothing_is_asked_all_the_same(tmp_path: Path) -> None:
    with running_server() as server:
        models = [priced(server), model_at(server, "baseline-overlap", price={}), "baseline-majority"]
        summary, _ = carry_out(tmp_path, models=models, budget={"usd": 2.0}, concurrency=4)
    answered = dict(rows(tmp_path, "SELECT model, count(*) FROM replies JOIN requests ON id = request GROUP BY model"))
    assert (answered["baseline-overlap"], answered["baseline-majority"]) == (48, 48)
    assert 0 < answered["baseline-lead"] < 48
    assert not summary.complete


def test_a_model_whose_price_is_not_known_is_an_error_before_anything_is_asked(tmp_path: Path) -> None:
    with running_server() as server:
        study = write_study(tmp_path / "study.yaml", models=[model_at(server)], budget={"usd": 5})
        done = wardround("run", study, "--out", "run", cwd=tmp_path)
        assert server.stats()["requests"] == 0
    assert done.returncode == 2
    assert "model 'baseline-majority' has no `price`; give its row one" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_attempts_that_broke_are_paid_for(tmp_path: Path) -> None:
    with running_server("--cut", "0.5", "--seed", "4") as server:
        summary, _ = carry_out(tmp_path, models=[priced(server)], budget={"usd": 9.0}, concurrency=2, attempts=3)
    broken = rows(tmp_path, "SELECT kind, count(*) FROM failures GROUP BY kind")
    assert [kind for kind, _ in broken] == ["broken_stream"]
    assert spent_usd(tmp_path) < 6, "what broke was reserved and stays so"
    assert not summary.complete


def test_attempts_that_were_refused_are_not(tmp_path: Path) -> None:
    with running_server("--fail-429", "0.5", "--retry-after", "0.01", "--seed", "4") as server:
        carry_out(tmp_path, models=[priced(server)], budget={"usd": 9.0}, concurrency=8, attempts=12)
    assert rows(tmp_path, "SELECT count(*) FROM failures")[0][0] > 5
    assert 7.5 < spent_usd(tmp_path) <= 9


def study_with(budget: Budget, *models: Model) -> Study:
    return Study(study="s", models=models or (MODEL,), tasks=(TaskChoice(task="mednli"),), budget=budget)


MODEL = Model(name="m", base_url="http://127.0.0.1:1/v1", price=Price(**PRICE))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal.create(tmp_path / "run") as one:
        yield one


@pytest.fixture(scope="module")
def empty_journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    with Journal.create(tmp_path_factory.mktemp("empty") / "run") as one:
        yield one


def reply(prompt_tokens: int | None = 30, output_tokens: int | None = 5, text: str = "yes") -> Reply:
    fields = {name: getattr(REPLY, name) for name in REPLY.__slots__}
    return Reply(**{**fields, "prompt_tokens": prompt_tokens, "output_tokens": output_tokens, "text": text})


def reserved(spending: Spending, params: Params = PARAMS, model: str = "m") -> Any:
    one = spending.reserve(model, PROMPT, params)
    assert one is not None
    return one


def test_what_is_reserved_is_a_token_a_byte_the_templates_marks_and_all_that_is_granted(journal: Journal) -> None:
    one = reserved(Spending(study_with(Budget(usd=5)), journal))
    assert (one.prompt_tokens, one.output_tokens) == (PROMPT_AT_MOST, 10)
    assert one.usd == pytest.approx((PROMPT_AT_MOST * 1000 + 10 * 4000) / 1e6)


def test_a_grant_in_the_models_own_fields_counts(journal: Journal) -> None:
    params = Params(max_tokens=10, extra_body={"max_completion_tokens": 900, "max_tokens": 3})
    assert reserved(Spending(study_with(Budget(usd=5)), journal), params).output_tokens == 900


@pytest.mark.parametrize(
    "budget", [Budget(tokens=2 * (PROMPT_AT_MOST + 10)), Budget(usd=2 * (PROMPT_AT_MOST * 1000 + 10 * 4000) / 1e6)]
)
def test_the_budget_is_for_all_that_is_in_flight_together(journal: Journal, budget: Budget) -> None:
    spending = Spending(study_with(budget), journal)
    first, _ = reserved(spending), reserved(spending)
    assert spending.reserve("m", PROMPT, PARAMS) is None
    assert spending.awaited
    spending.settle(first, OVERLOADED)
    assert reserved(spending)


def test_who_waits_for_room_is_told_when_something_is_settled(journal: Journal) -> None:
    told: list[bool] = []
    spending = Spending(study_with(Budget(usd=5)), journal)
    spending.on_settled = lambda: told.append(spending.awaited)
    spending.settle(reserved(spending), reply())
    assert told == [False]


@pytest.mark.parametrize(
    ("kind", "status", "charged"),
    [
        ("timeout", None, True),
        ("broken_stream", None, True),
        ("broken_stream", 200, True),
        ("bad_reply", None, True),
        ("bad_reply", 200, True),
        ("cut_in_reasoning", 200, True),
        ("connect", None, False),
        ("missing_template", None, False),
        ("bad_request", None, False),
        ("rate_limit", 429, False),
        ("overload", 503, False),
        ("server_error", 500, False),
        ("bad_request", 302, False),
        ("context_overflow", 400, False),
    ],
)
def test_only_what_was_sent_and_not_refused_may_be_charged(
    kind: FailureKind, status: int | None, charged: bool
) -> None:
    assert may_be_charged(kind, status) is charged


def settled(spending: Spending, *outcomes: Reply | Failure) -> Spending:
    for outcome in outcomes:
        spending.settle(reserved(spending), outcome)
    return spending


def test_a_reply_without_counts_is_reckoned_by_its_bytes_and_that_is_said(journal: Journal) -> None:
    spending = settled(Spending(study_with(Budget(tokens=10_000)), journal), reply(None, None, "ja ü"), reply(30, None))
    assert "spent" not in "".join(spending.complaints(0))
    assert spending.complaints(0)[0].startswith("2 replies came without token counts; ")
    # The text has five bytes, the other three.
    assert f"({PROMPT_AT_MOST + 5 + 30 + 3:,} spent" in spending.complaints(1)[0]


def test_a_further_attempt_that_does_not_fit_is_refused_and_that_is_said(journal: Journal) -> None:
    spending = Spending(study_with(Budget(tokens=PROMPT_AT_MOST + 10)), journal)
    one = reserved(spending)
    again = spending.once_more(one, OVERLOADED, PROMPT, PARAMS)
    assert again is not None
    assert spending.once_more(again, TIMED_OUT, PROMPT, PARAMS) is None
    assert "0 requests not asked, 1 not asked again" in spending.complaints(0)[0]


def test_without_a_budget_nothing_is_counted(journal: Journal) -> None:
    spending = Spending(study_with(Budget()), journal)
    for _ in range(3):
        spending.settle(reserved(spending), reply(None, None))
    assert spending.complaints(0) == []


def keep(journal: Journal, outcomes: Sequence[Reply | Failure]) -> None:
    """Journal one request for each outcome."""
    cell = Asked("m", "mednli", "closed-book", "strict", "mednli", PARAMS, {"base_url": "x"})
    rows_asked = [
        Row(Sample(str(number), {}, "YES"), Prompt((Message("user", "é" * 10 + f"{number:020}"),)))
        for number in range(len(outcomes))
    ]
    with journal.transaction():
        journal.begin_plan()
        journal.place_cells([cell])
        journal.plan_cells([cell], rows_asked)
    asked = [request for request, _, _ in journal.pending()]
    journal.record([Outcome(request, one, 1) for request, one in zip(asked, outcomes, strict=True)])


def test_a_run_that_goes_on_counts_what_the_earlier_one_spent_as_that_one_did(journal: Journal) -> None:
    outcomes: list[Reply | Failure] = [reply(), reply(None, 4), reply(9, None), OVERLOADED, TIMED_OUT, reply(7, 0)]
    outcomes.append(Failure("connect", "no", retryable=True))
    study = study_with(Budget(usd=5, tokens=100_000))
    before = settled(Spending(study, journal), *outcomes)
    keep(journal, outcomes)
    assert Spending(study, journal).complaints(1) == before.complaints(1)


def test_models_that_the_study_no_longer_has_count_no_more(journal: Journal) -> None:
    keep(journal, [reply(), TIMED_OUT])
    other = MODEL.model_copy(update={"name": "other"})
    assert "(0 spent" in Spending(study_with(Budget(tokens=500), other), journal).complaints(1)[0]


def test_prices_are_needed_for_a_budget_in_dollars_alone() -> None:
    unpriced = Model(name="m", base_url="http://127.0.0.1:1/v1")
    free = Model(name="baseline-lead", base_url="embedded")
    check_prices(study_with(Budget(tokens=5), unpriced))
    check_prices(study_with(Budget(usd=5), MODEL, free))
    with pytest.raises(StudyError, match="model 'm' has no `price`"):
        check_prices(study_with(Budget(usd=5), unpriced, free))


EVENTS = st.lists(
    st.tuples(st.sampled_from(["ask", "ask", "ask", "reply", "break", "refuse"]), st.integers(0, 50)), max_size=60
)


@given(EVENTS, st.floats(0.05, 2.0))
def test_whatever_comes_the_replies_never_cost_more_than_the_budget(
    empty_journal: Journal, events: list[tuple[str, int]], usd: float
) -> None:
    spending = Spending(study_with(Budget(usd=usd)), empty_journal)
    in_flight: list[Any] = []
    costs: list[float] = []
    for event, number in events:
        if event == "ask":
            one = spending.reserve("m", PROMPT, PARAMS)
            in_flight += [one] if one else []
        elif in_flight:
            one = in_flight.pop(number % len(in_flight))
            if event == "reply":
                costs.append((number * 1000 + min(number, 10) * 4000) / 1e6)
                spending.settle(one, reply(number, min(number, 10)))
            else:
                costs.append(one.usd if event == "break" else 0.0)
                spending.settle(one, TIMED_OUT if event == "break" else OVERLOADED)
    assert math.fsum(costs) <= usd + 1e-9


def test_the_printed_figures_are_no_smaller_than_the_budget_s_own_digits(journal: Journal) -> None:
    spending = Spending(study_with(Budget(usd=0.000125, tokens=1_234_567)), journal)
    assert spending.complaints(3)[0].startswith(
        "the budget of $0.000125 and 1,234,567 tokens is used up (0 and 0 spent"
    )
