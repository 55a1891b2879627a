"""Asking again: which failures are worth it, and how long to wait before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from wardround.endpoints.replies import Failure, Reply

if TYPE_CHECKING:
    from tenacity import RetryCallState

FIRST_WAIT_S = 0.5
LONGEST_BACKOFF_S = 30.0
# A server that asks for more than this (a daily quota, say) is not waited for: the run says so and goes on.
LONGEST_RETRY_AFTER_S = 300.0


async def ask_until_answered(
    ask: Callable[[], Awaitable[Reply | Failure]],
    *,
    attempts: int,
    on_failed_attempt: Callable[[int, Failure], None] = lambda _attempt, _failure: None,
    may_go_on: Callable[[Failure], bool] = lambda _failure: True,
) -> tuple[Reply | Failure, int]:
    """Call `ask` until it gives a reply, a failure that asking again cannot mend, or `attempts` are spent.

    Returns the last outcome and the number of attempts. `on_failed_attempt` is told of each failed attempt
    that is followed by another. `may_go_on` is asked once for each further attempt, before the wait for it, and may
    refuse it: a budget may be used up.
    """
    first = await ask()
    if attempts == 1 or not _worth_another(first) or (isinstance(first, Failure) and not may_go_on(first)):
        return first, 1
    if isinstance(first, Failure):
        on_failed_attempt(1, first)
    # The usual case, an answer at once, ends above: tenacity and its bookkeeping are paid only by failures.
    from tenacity import AsyncRetrying, retry_if_result

    pending: list[Reply | Failure] = [first]

    async def next_attempt() -> Reply | Failure:
        return pending.pop() if pending else await ask()

    def before_sleep(state: RetryCallState) -> None:
        outcome = _outcome(state)
        if state.attempt_number > 1 and isinstance(outcome, Failure):
            on_failed_attempt(state.attempt_number, outcome)

    def no_further(state: RetryCallState) -> bool:
        number, outcome = state.attempt_number, _outcome(state)
        # The first attempt was asked about above, and nobody is asked about one that there is none left for.
        return number >= attempts or (number > 1 and isinstance(outcome, Failure) and not may_go_on(outcome))

    retrying = AsyncRetrying(
        stop=no_further,
        wait=_wait_s,
        retry=retry_if_result(_worth_another),
        before_sleep=before_sleep,
        retry_error_callback=_outcome,
    )
    outcome: Reply | Failure = await retrying(next_attempt)
    return outcome, int(retrying.statistics["attempt_number"])


def _worth_another(outcome: Reply | Failure) -> bool:
    return (
        isinstance(outcome, Failure)
        and outcome.retryable
        and (outcome.retry_after_s is None or outcome.retry_after_s <= LONGEST_RETRY_AFTER_S)
    )


def _backoff(state: RetryCallState) -> float:
    """Seconds by "full jitter": drawn uniformly from 0 to the exponentially growing bound, so that a thousand refused
    requests do not come back together.
    """
    from tenacity import wait_random_exponential

    return wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_BACKOFF_S)(state)


def _wait_s(state: RetryCallState) -> float:
    failure = _outcome(state)
    jittered = _backoff(state)
    if isinstance(failure, Failure) and failure.retry_after_s is not None:
        # Never sooner than the server said; a tenth of the backoff on top keeps the herd apart.
        return failure.retry_after_s + jittered / 10
    return jittered


def _outcome(state: RetryCallState) -> Reply | Failure:
    assert state.outcome is not None
    result: Reply | Failure = state.outcome.result()
    return result
