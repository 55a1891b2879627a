from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
from tenacity import RetryCallState

from wardround.endpoints import Failure, Reply, ask_until_answered, retries

REPLY = Reply(
    text="yes",
    reasoning="",
    finish_reason="stop",
    prompt_tokens=1,
    output_tokens=1,
    scheduled_ns=0,
    sent_ns=1,
    first_token_ns=None,
    done_ns=2,
    fingerprint="",
)
FINAL = Failure("bad_request", "no", status=400)


def again(words: str = "busy", retry_after_s: float | None = None) -> Failure:
    """A failure that may be tried again."""
    return Failure("rate_limit", words, status=429, retryable=True, retry_after_s=retry_after_s)


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setattr(retries, "_backoff", lambda _state: 0.0)
        yield


def scripted(*outcomes: Reply | Failure) -> Callable[[], Awaitable[Reply | Failure]]:
    """An endpoint that answers with one outcome after the other; asked more often it raises."""
    left = iter(outcomes)

    async def ask() -> Reply | Failure:
        return next(left)

    return ask


def outcome_of(*outcomes: Reply | Failure, attempts: int = 4) -> tuple[Reply | Failure, int, list[tuple[int, str]]]:
    """The last outcome, the number of attempts, and the failed attempts that were told of."""
    told: list[tuple[int, str]] = []
    last, count = asyncio.run(
        ask_until_answered(
            scripted(*outcomes),
            attempts=attempts,
            on_failed_attempt=lambda attempt, failure: told.append((attempt, failure.words)),
        )
    )
    return last, count, told


def test_a_reply_at_once_is_one_attempt() -> None:
    assert outcome_of(REPLY) == (REPLY, 1, [])


def test_a_failure_that_may_be_tried_again_is_tried_again() -> None:
    assert outcome_of(again("busy"), REPLY) == (REPLY, 2, [(1, "busy")])


def test_each_failed_attempt_before_the_reply_is_told_of_in_its_order() -> None:
    last, count, told = outcome_of(again("one"), again("two"), again("three"), REPLY)
    assert (last, count) == (REPLY, 4)
    assert told == [(1, "one"), (2, "two"), (3, "three")]


def test_when_the_attempts_are_spent_the_last_failure_is_the_outcome() -> None:
    last, count, _ = outcome_of(again("one"), again("two"), again("three"), attempts=3)
    assert (last, count) == (again("three"), 3)


def test_the_last_failed_attempt_is_not_told_of_since_none_follows() -> None:
    _, _, told = outcome_of(again("one"), again("two"), again("three"), attempts=3)
    assert told == [(1, "one"), (2, "two")]


@pytest.mark.parametrize("first", [REPLY, again(), FINAL])
def test_one_attempt_means_one(first: Reply | Failure) -> None:
    assert outcome_of(first, attempts=1) == (first, 1, [])


def test_two_attempts_are_two() -> None:
    assert outcome_of(again("one"), again("two"), attempts=2) == (again("two"), 2, [(1, "one")])


def test_a_failure_that_asking_again_cannot_mend_ends_at_once() -> None:
    assert outcome_of(FINAL) == (FINAL, 1, [])


def test_a_failure_that_asking_again_cannot_mend_ends_also_later() -> None:
    assert outcome_of(again("one"), FINAL) == (FINAL, 2, [(1, "one")])


def test_nobody_needs_to_be_told_of_failed_attempts() -> None:
    assert asyncio.run(ask_until_answered(scripted(again(), REPLY), attempts=2)) == (REPLY, 2)


def test_the_server_s_retry_after_is_the_least_wait() -> None:
    start_s = time.monotonic()
    assert outcome_of(again(retry_after_s=0.1), again(retry_after_s=0.15), REPLY)[1] == 3
    assert time.monotonic() - start_s >= 0.24


def test_the_wait_a_server_asks_for_may_be_exceeded_by_a_tenth_of_the_backoff(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retries, "_backoff", lambda _state: 2.0)
    start_s = time.monotonic()
    outcome_of(again(retry_after_s=0.01), REPLY)
    assert time.monotonic() - start_s >= 0.2


def test_without_a_retry_after_the_backoff_is_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_backoff", lambda _state: 0.1)
    start_s = time.monotonic()
    outcome_of(again(), REPLY)
    assert time.monotonic() - start_s >= 0.09


def test_the_backoff_is_asked_for_each_attempt_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def backoff(state: RetryCallState) -> float:
        asked.append(state.attempt_number)
        return 0.0

    monkeypatch.setattr(retries, "_backoff", backoff)
    outcome_of(again(), again(), REPLY)
    assert asked == [1, 2]


def test_a_retry_after_above_the_cap_is_final() -> None:
    tomorrow = again(retry_after_s=retries.LONGEST_RETRY_AFTER_S + 1)
    assert outcome_of(tomorrow) == (tomorrow, 1, [])


def test_a_retry_after_above_the_cap_is_final_also_later() -> None:
    tomorrow = again("quota", retry_after_s=retries.LONGEST_RETRY_AFTER_S + 1)
    assert outcome_of(again("busy"), tomorrow) == (tomorrow, 2, [(1, "busy")])


def test_a_retry_after_up_to_the_cap_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "LONGEST_RETRY_AFTER_S", 0.01)
    assert outcome_of(again(retry_after_s=0.01), REPLY)[0] == REPLY


def asked_for_leave(*outcomes: Reply | Failure, refuse: int = 99) -> tuple[Reply | Failure, int, list[str], list[str]]:
    """Outcome and attempts where leave for a further attempt is refused the `refuse`th time; what was told and asked."""
    told: list[str] = []
    asked: list[str] = []

    def may_go_on(failure: Failure) -> bool:
        asked.append(failure.words)
        return len(asked) < refuse

    last, count = asyncio.run(
        ask_until_answered(
            scripted(*outcomes),
            attempts=4,
            on_failed_attempt=lambda _attempt, failure: told.append(failure.words),
            may_go_on=may_go_on,
        )
    )
    return last, count, told, asked


def test_leave_is_asked_once_for_each_further_attempt() -> None:
    assert asked_for_leave(again("one"), again("two"), REPLY) == (REPLY, 3, ["one", "two"], ["one", "two"])


def test_nobody_is_asked_where_there_is_no_further_attempt() -> None:
    failures = [again(words) for words in ("one", "two", "three", "four")]
    assert asked_for_leave(*failures)[3] == ["one", "two", "three"]
    assert asked_for_leave(FINAL)[3] == []
    assert asked_for_leave(REPLY)[3] == []


@pytest.mark.parametrize("refuse", [1, 2, 3])
def test_a_refused_attempt_is_not_made_and_the_failure_before_it_is_the_last(refuse: int) -> None:
    failures = [again(words) for words in ("one", "two", "three", "four")]
    last, count, told, _ = asked_for_leave(*failures, refuse=refuse)
    assert (last, count) == (failures[refuse - 1], refuse)
    assert told == ["one", "two", "three"][: refuse - 1]


def test_an_error_in_asking_is_not_swallowed() -> None:
    async def broken() -> Reply | Failure:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(ask_until_answered(broken, attempts=3))
