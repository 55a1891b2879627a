from __future__ import annotations

from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.baseline.test_server import CASE, LEAD, MESSAGES, client_of
from tests.support import running_server
from wardround.baseline import RateLimits
from wardround.baseline.limits import Meter, duration
from wardround.baseline.refusals import Refused


def told(meter: Meter, now_s: float) -> dict[str, str]:
    return dict(meter.headers(now_s))


def refused(meter: Meter, tokens: int, now_s: float) -> Refused:
    with pytest.raises(Refused) as caught:
        meter.let_in("m", tokens, now_s)
    return caught.value


def test_requests_are_let_in_up_to_the_limit() -> None:
    meter = Meter(RateLimits(requests=2))
    meter.let_in("m", 10, 100.0)
    meter.let_in("m", 10, 101.0)
    assert refused(meter, 10, 102.0).status == 429


def test_who_is_refused_is_told_when_there_will_be_room() -> None:
    meter = Meter(RateLimits(requests=2))
    meter.let_in("m", 10, 100.0)
    meter.let_in("m", 10, 110.0)
    assert refused(meter, 10, 120.0).retry_after_s == 40.0
    meter.let_in("m", 10, 160.0)
    assert refused(meter, 10, 165.0).retry_after_s == 5.0


def test_who_is_refused_does_not_count() -> None:
    meter = Meter(RateLimits(requests=1))
    meter.let_in("m", 10, 100.0)
    for later in range(1, 60):
        refused(meter, 10, 100.0 + later)
    meter.let_in("m", 10, 160.0)


def test_tokens_are_let_in_up_to_the_limit() -> None:
    meter = Meter(RateLimits(tokens=100))
    meter.let_in("m", 40, 100.0)
    meter.let_in("m", 40, 110.0)
    meter.let_in("m", 20, 120.0)
    # Room for 50 comes with the second of the three.
    assert refused(meter, 50, 130.0).retry_after_s == 40.0
    assert refused(meter, 40, 130.0).retry_after_s == 30.0


def test_a_request_over_the_whole_limit_is_never_let_in() -> None:
    error = refused(Meter(RateLimits(tokens=100)), 101, 0.0)
    assert (error.status, error.kind, error.retry_after_s) == (429, "tokens", None)
    assert "Request too large" in error.words


def test_a_request_refused_for_its_tokens_does_not_count_as_one() -> None:
    meter = Meter(RateLimits(requests=5, tokens=100))
    meter.let_in("m", 100, 0.0)
    refused(meter, 1, 1.0)
    assert told(meter, 1.0)["x-ratelimit-remaining-requests"] == "4"


def test_what_is_left_is_told_as_openai_tells_it() -> None:
    meter = Meter(RateLimits(requests=3, tokens=100))
    meter.let_in("m", 40, 100.0)
    meter.let_in("m", 10, 130.0)
    assert told(meter, 131.5) == {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "58.5s",
        "x-ratelimit-limit-tokens": "100",
        "x-ratelimit-remaining-tokens": "50",
        "x-ratelimit-reset-tokens": "58.5s",
    }


def test_after_a_window_all_is_as_at_first() -> None:
    meter = Meter(RateLimits(requests=3))
    meter.let_in("m", 10, 100.0)
    assert told(meter, 160.0) == told(Meter(RateLimits(requests=3)), 160.0)


def test_limits_that_are_not_set_are_not_told() -> None:
    assert {name.rpartition("-")[2] for name in told(Meter(RateLimits(tokens=5)), 0.0)} == {"tokens"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0004, "0s"),
        (0.017, "17ms"),
        (0.9996, "1s"),
        (1.5, "1.5s"),
        (59.999, "59.999s"),
        (60, "1m0s"),
        (90.25, "1m30.25s"),
        (360, "6m0s"),
        (3600, "1h0m0s"),
    ],
)
def test_times_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 60)), max_size=40))
def test_no_window_ever_holds_more_than_the_limits(asked: list[tuple[float, int]]) -> None:
    meter, now_s, let_in = Meter(RateLimits(requests=4, tokens=100, window_s=50)), 0.0, list[tuple[float, int]]()
    for pause_s, tokens in asked:
        now_s += pause_s
        try:
            meter.let_in("m", tokens, now_s)
            let_in.append((now_s, tokens))
        except Refused as error:
            assert error.retry_after_s is not None  # noqa: PT017
            # Whoever comes back then is let in.
            now_s += error.retry_after_s + 1e-6
            meter.let_in("m", tokens, now_s)
            let_in.append((now_s, tokens))
        window = [weight for at_s, weight in let_in if at_s > now_s - 50]
        assert len(window) <= 4
        assert sum(window) <= 100


def headers_of(client: openai.OpenAI, **options: Any) -> Any:
    return client.chat.completions.with_raw_response.create(model=LEAD, messages=MESSAGES, **options).headers


def test_every_answer_tells_what_is_left() -> None:
    with running_server("--rpm", "3", "--tpm", "100") as server, client_of(server) as client:
        # Twelve tokens of the prompt and what may come of it.
        first = headers_of(client, max_tokens=8)
        assert (first["x-ratelimit-limit-requests"], first["x-ratelimit-remaining-requests"]) == ("3", "2")
        assert (first["x-ratelimit-limit-tokens"], first["x-ratelimit-remaining-tokens"]) == ("100", "80")
        assert first["x-ratelimit-reset-requests"] in ("1m0s", "59.999s", "59.998s")
        # Without max_tokens only the prompt is known beforehand.
        assert headers_of(client)["x-ratelimit-remaining-tokens"] == "68"
        assert headers_of(client, stream=True)["x-ratelimit-remaining-requests"] == "0"


def test_one_request_too_many_is_refused_with_the_time_to_wait() -> None:
    with running_server("--rpm", "1") as server, client_of(server) as client:
        headers_of(client)
        with pytest.raises(openai.RateLimitError) as caught:
            headers_of(client)
        answer = caught.value.response
        assert 59 < float(answer.headers["retry-after"]) <= 60
        assert answer.headers["x-ratelimit-remaining-requests"] == "0"
        assert (caught.value.code, answer.json()["error"]["type"]) == ("rate_limit_exceeded", "requests")
        assert "requests per min (RPM): Limit 1, Used 1, Requested 1. Please try again in" in str(caught.value)


def test_whoever_waits_as_told_is_let_in() -> None:
    with running_server("--rpm", "1", "--window", "0.3") as server:
        patient = openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=1, timeout=30.0)
        with patient:
            answers = [patient.chat.completions.create(model=LEAD, messages=MESSAGES) for _ in range(3)]
        assert [answer.choices[0].message.content for answer in answers] == [CASE] * 3
        # The client obeyed Retry-After and was never refused twice.
        assert server.stats()["statuses"]["200"] == 3


def test_a_request_of_too_many_tokens_is_refused_for_good() -> None:
    with running_server("--tpm", "20") as server, client_of(server) as client:
        with pytest.raises(openai.RateLimitError, match="Request too large") as caught:
            headers_of(client, max_tokens=9)
        assert "retry-after" not in caught.value.response.headers


def test_limits_hold_for_all_apis_together() -> None:
    with running_server("--rpm", "2") as server, client_of(server) as client:
        headers_of(client)
        client.completions.create(model=LEAD, prompt=CASE)
        with pytest.raises(openai.RateLimitError):
            client.completions.create(model=LEAD, prompt=CASE)


def test_other_addresses_are_not_limited() -> None:
    with running_server("--rpm", "1") as server, client_of(server) as client:
        for _ in range(3):
            answer = client.models.with_raw_response.list()
        assert "x-ratelimit-limit-requests" not in answer.headers
