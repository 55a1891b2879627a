from __future__ import annotations

import datetime as dt
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.endpoints.pacing import MINUTE_S, AdaptiveConcurrency, Taken, TokenMinute, reset_in_s, rest_asked_for_s
from wardround.endpoints.retries import LONGEST_RETRY_AFTER_S

NOW = dt.datetime(2026, 11, 21, 5, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("1h2m3s", 3723.0),
        ("1d", 86400.0),
        ("7m12.5s", 432.5),
        ("900µs", 0.0009),
        ("900us", 0.0009),
        ("12", 12.0),
        (" 1.5 ", 1.5),
        ("0", 0.0),
        ("0s", 0.0),
        ("2026-11-21T05:00:30Z", 30.0),
        ("2026-11-21T05:00:30.250Z", 30.25),
        ("2026-11-21T06:00:30+01:00", 30.0),
        ("2026-11-21 05:00:30", 30.0),
        ("2026-11-21T04:00:00Z", 0.0),
        (str(int(NOW.timestamp()) + 45), 45.0),
        (str(int(NOW.timestamp() * 1000) + 45_000), 45.0),
    ],
)
def test_a_reset_is_read_in_every_form_that_servers_write(value: str, seconds: float) -> None:
    assert reset_in_s(value, NOW) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    "value",
    [
        *("", "soon", "s", "-1s", "-5", "1s soon", "1 s", "nan", "inf", "1e3", "1_000", "٣s", "0x10", "1ss", "1.s"),
        *("2026-13-01T00:00:00Z", "2026-11-21", "2026-11-21T99:99:99Z", "Sat, 21 Nov 2026 05:00:00 GMT"),
    ],
)
def test_nonsense_is_no_reset(value: str) -> None:
    assert reset_in_s(value, NOW) is None


@given(
    hours=st.integers(0, 99), minutes=st.integers(0, 59), seconds=st.integers(0, 59), milliseconds=st.integers(0, 999)
)
def test_the_parts_of_a_duration_add_up(hours: int, minutes: int, seconds: int, milliseconds: int) -> None:
    value = f"{hours}h{minutes}m{seconds}s{milliseconds}ms"
    assert reset_in_s(value, NOW) == pytest.approx(hours * 3600 + minutes * 60 + seconds + milliseconds / 1000)


@given(st.timedeltas(dt.timedelta(0), dt.timedelta(days=3000)), st.integers(-12, 14))
def test_a_date_is_as_far_as_it_is_in_any_zone(ahead: dt.timedelta, zone_h: int) -> None:
    moment = (NOW + ahead).astimezone(dt.timezone(dt.timedelta(hours=zone_h)))
    assert reset_in_s(moment.isoformat(), NOW) == pytest.approx(ahead.total_seconds(), abs=1e-3)


@given(st.text(max_size=40) | st.text(alphabet="0123456789.smhdnuµ-:TZ+ ", max_size=30) | st.integers().map(str))
def test_whatever_is_written_is_a_wait_or_nothing(value: str) -> None:
    seconds = reset_in_s(value, NOW)
    assert seconds is None or seconds >= 0


def test_no_header_is_no_rest() -> None:
    assert rest_asked_for_s({}) == 0.0


@pytest.mark.parametrize("what", ["requests", "tokens"])
def test_where_nothing_remains_the_reset_is_waited_for(what: str) -> None:
    headers = {f"x-ratelimit-remaining-{what}": "0", f"x-ratelimit-reset-{what}": "1m30s"}
    assert rest_asked_for_s(headers) == 90.0


def test_of_several_rests_the_longest_counts() -> None:
    requests = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20ms"}
    tokens = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "3s"}
    assert rest_asked_for_s({**requests, **tokens, "Retry-After": "2"}) == 3.0
    assert rest_asked_for_s({**requests, "Retry-After": "2"}) == 2.0


def test_who_spreads_requests_already_does_not_wait_until_all_of_them_are_free_again() -> None:
    requests = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "60s"}
    tokens = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "3s"}
    assert rest_asked_for_s(requests, spread=True) == 0.0
    assert rest_asked_for_s({**requests, **tokens}, spread=True) == 3.0
    assert rest_asked_for_s({**requests, "Retry-After": "2"}, spread=True) == 2.0


@pytest.mark.parametrize(
    "headers",
    [
        {"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "9s"},
        {"x-ratelimit-remaining-requests": "0"},
        {"x-ratelimit-reset-requests": "9s"},
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "soon"},
        {"x-ratelimit-remaining-requests": "none", "x-ratelimit-reset-requests": "9s"},
        {"Retry-After": "later"},
    ],
)
def test_headers_that_ask_for_nothing_that_can_be_read_are_ignored(headers: dict[str, str]) -> None:
    assert rest_asked_for_s(headers) == 0.0


@pytest.mark.parametrize("value", [f"{LONGEST_RETRY_AFTER_S + 1:g}", "7h", "9" * 400 + "s"])
def test_a_rest_that_is_too_long_is_not_taken(value: str) -> None:
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": value}
    assert rest_asked_for_s(headers) == 0.0
    assert rest_asked_for_s({**headers, "Retry-After": "2"}) == 2.0


def sent(minute: TokenMinute, sizes: list[tuple[int, int]], latency_s: float) -> list[tuple[float, int, int]]:
    """Send requests of (estimate, use) one after the other, as soon as each may go; returns (when, estimate, use)."""
    now_s, gone = 0.0, []
    under_way: deque[tuple[float, Taken, int]] = deque()
    for estimate, use in sizes:
        while True:
            wait_s = minute.wait_s(now_s, estimate)
            if under_way and under_way[0][0] <= now_s + wait_s:
                done_s, taken, used = under_way.popleft()
                now_s = max(now_s, done_s)
                minute.correct(taken, used)
            elif wait_s > 0:
                # The next float: the sum of two may fall short of what was waited for.
                now_s = now_s + wait_s + 1e-9
            else:
                break
        under_way.append((now_s + latency_s, minute.take(now_s, estimate), use))
        gone.append((now_s, estimate, use))
    return gone


SIZES = st.lists(st.tuples(st.integers(1, 400), st.integers(0, 400)), min_size=1, max_size=80)


@given(SIZES, st.sampled_from([0.0, 0.5, 20.0, 100.0]))
def test_no_minute_sees_more_than_its_tokens(sizes: list[tuple[int, int]], latency_s: float) -> None:
    limit = 1000
    gone = sent(TokenMinute(limit), [(estimate, min(estimate, use)) for estimate, use in sizes], latency_s)
    for end_s, _, _ in gone:
        assert sum(use for at_s, _, use in gone if end_s - MINUTE_S < at_s <= end_s) <= limit


@given(SIZES)
def test_what_is_not_corrected_counts_as_estimated(sizes: list[tuple[int, int]]) -> None:
    limit = 1000
    gone = sent(TokenMinute(limit), sizes, latency_s=1e9)
    for end_s, _, _ in gone:
        assert sum(estimate for at_s, estimate, _ in gone if end_s - MINUTE_S < at_s <= end_s) <= limit


def test_a_minutes_tokens_are_not_all_sent_in_its_first_second() -> None:
    gone = sent(TokenMinute(60_000), [(500, 500)] * 240, latency_s=0.5)
    first_second = sum(use for at_s, _, use in gone if at_s < 1)
    assert 0 < first_second <= 60_000 / 10


@pytest.mark.parametrize(("estimate", "use"), [(500, 500), (4000, 120), (500, 700)])
@pytest.mark.parametrize("latency_s", [0.2, 5.0])
def test_the_spreading_costs_no_throughput(estimate: int, use: int, latency_s: float) -> None:
    gone = sent(TokenMinute(60_000), [(estimate, use)] * 3000, latency_s)
    later = [use for at_s, _, use in gone if MINUTE_S <= at_s < 3 * MINUTE_S]
    # What a reservation holds of the minute until its reply is there cannot be used meanwhile.
    under_way = latency_s * 1000 / use * max(0, estimate - use)
    assert sum(later) >= 0.9 * 2 * (60_000 - min(under_way, 59_000))


def test_a_request_larger_than_a_minutes_tokens_goes_alone() -> None:
    minute = TokenMinute(100)
    assert minute.wait_s(0.0, 5000) == 0.0
    minute.take(0.0, 5000)
    assert minute.wait_s(1.0, 1) > MINUTE_S - 2
    assert TokenMinute(100).wait_s(0.0, 1) == 0.0


def test_what_was_not_used_need_not_be_waited_for() -> None:
    minute = TokenMinute(600)
    taken = minute.take(0.0, 300)
    assert minute.wait_s(0.0, 300) == pytest.approx(30.0, abs=0.2)
    minute.correct(taken, 10)
    assert minute.wait_s(0.0, 300) == pytest.approx(1.0, abs=0.2)


def test_a_correction_that_comes_after_the_minute_changes_nothing() -> None:
    minute = TokenMinute(100)
    old = minute.take(0.0, 100)
    assert minute.wait_s(61.0, 100) == 0.0
    minute.correct(old, 0)
    minute.take(200.0, 100)
    assert minute.wait_s(201.0, 100) > 0


def replies(window: AdaptiveConcurrency, number: int, latency_s: float, *, full: bool = True, tokens: int = 8) -> None:
    for _ in range(number):
        window.note_reply(latency_s, 100, tokens, full=full)


def test_it_begins_with_four_and_adds_one_a_window_while_the_latency_holds() -> None:
    window = AdaptiveConcurrency(64)
    assert window.allowed == 4
    replies(window, 4, 0.1)
    assert window.allowed == 5
    replies(window, 4, 0.1)
    assert window.allowed == 5
    replies(window, 1, 0.1)
    assert window.allowed == 6


def test_it_does_not_grow_beyond_what_is_allowed() -> None:
    window = AdaptiveConcurrency(6)
    replies(window, 500, 0.1)
    assert window.allowed == 6
    assert AdaptiveConcurrency(2).allowed == 2


def test_it_stops_growing_when_requests_queue_at_the_server() -> None:
    # Eight slots: beyond them every request waits for the others.
    window = AdaptiveConcurrency(256)
    for _ in range(4000):
        replies(window, 1, 0.1 * max(1, window.allowed / 8))
    assert 8 < window.allowed <= 18


def test_a_window_that_was_never_full_proves_nothing() -> None:
    window = AdaptiveConcurrency(64)
    replies(window, 100, 0.1, full=False)
    assert window.allowed == 4


def test_too_much_halves_it_once_for_all_that_was_under_way_together() -> None:
    window = AdaptiveConcurrency(64)
    replies(window, 500, 0.1)
    before, epoch = window.allowed, window.epoch
    for _ in range(before):
        window.note_too_much(epoch)
    assert window.allowed == before // 2
    window.note_too_much(window.epoch)
    assert window.allowed == before // 4


def test_one_request_is_always_allowed() -> None:
    window = AdaptiveConcurrency(64)
    for _ in range(10):
        window.note_too_much(window.epoch)
    assert window.allowed == 1
    replies(window, 1, 0.1)
    assert window.allowed == 2


def test_long_answers_after_short_ones_are_no_sign_of_a_queue() -> None:
    window = AdaptiveConcurrency(64)
    replies(window, 100, 0.1, tokens=4)
    before = window.allowed
    replies(window, 200, 8.0, tokens=512)
    assert window.allowed > before


def test_one_reply_from_a_cache_is_not_what_all_are_measured_by() -> None:
    window = AdaptiveConcurrency(64)
    replies(window, 1, 0.001)
    replies(window, 300, 0.1)
    assert window.allowed > 10


def test_one_of_a_size_is_no_measure_for_that_size() -> None:
    window = AdaptiveConcurrency(64)
    replies(window, 3, 0.1)
    replies(window, 1, 0.001, tokens=500)
    replies(window, 300, 0.1, tokens=500)
    assert window.allowed > 10


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 100), st.integers(0, 10_000)), max_size=200), st.integers(1, 20))
def test_it_stays_within_its_bounds_whatever_comes(events: list[tuple[bool, float, int]], most: int) -> None:
    window = AdaptiveConcurrency(most)
    for answered, latency_s, tokens in events:
        arguments: Any = (latency_s, tokens, tokens)
        if answered:
            window.note_reply(*arguments, full=True)
        else:
            window.note_too_much(window.epoch)
        assert 1 <= window.allowed <= most
