from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.load.reading import chat_event, completion_event, read, tgi_event
from wardround.load.records import Record, read_records, to_line
from wardround.load.streams import Exchange


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


STREAM = [
    chunk(role="assistant", content=""),
    chunk(reasoning_content="hm"),
    chunk(content="Nein"),
    chunk(content=", ß\r\n"),
    chunk("stop"),
    {
        "choices": [],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}},
    },
]


def body(events: list[dict[str, Any]], end: bytes = b"\n", done: bool = True) -> bytes:
    lines = [b"data: " + json.dumps(event, ensure_ascii=False).encode() + end + end for event in events]
    return b"".join(lines) + (b"data: [DONE]" + end + end if done else b"")


def exchange(pieces: list[bytes], *, status: int = 200, fault: Any = "") -> Exchange:
    """An answer whose piece number i came i + 1 ms after the request was sent."""
    stamps = [1_000_000 * (2 + place) for place in range(len(pieces))]
    return Exchange(3, b"", 500_000, 1_000_000, 1_900_000, 99_000_000, status, fault, stamps, pieces)


def record_of(pieces: list[bytes], **fields: Any) -> Record:
    return read(exchange(pieces, **fields), "w", chat_event)


def test_each_moment_is_that_of_the_piece_that_completed_its_event() -> None:
    record = record_of([body([event], done=False) for event in STREAM] + [b"data: [DONE]\n\n"])
    assert (record.first_token_ns, record.first_answer_ns) == (3_000_000, 4_000_000)
    assert record.arrivals_us == [2000, 3000, 4000]
    assert record.last_token_ns == 5_000_000
    assert (record.prompt_tokens, record.output_tokens, record.cached_tokens) == (7, 3, 4)
    assert (record.finish_reason, record.failure) == ("stop", "")


@given(st.lists(st.integers(1, 400), max_size=12), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_however_the_bytes_are_cut_the_same_is_read(cuts: list[int], end: bytes) -> None:
    whole = b": ping\n\n" + body(STREAM, end)
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    pieces = [whole[a:b] for a, b in itertools.pairwise(places)]
    record = record_of(pieces)
    assert (record.failure, record.finish_reason, record.output_tokens) == ("", "stop", 3)
    assert len(record.arrivals_us) == 3
    # No event is seen before the piece that holds its last byte.
    ends = [whole.index(text) for text in (b"hm", b"Nein", "ß".encode())]
    arrived = [next(i for i, place in enumerate(places[1:]) if place > at) for at in ends]
    assert all((2 + i) * 1000 - 1000 <= us for i, us in zip(arrived, record.arrivals_us, strict=True))


TEXTS = st.one_of(st.text(max_size=4), st.sampled_from(["a", " tok", "", '"', "\\", "\n", "ß", '","x":"']), st.none())
DELTAS = st.fixed_dictionaries({}, optional={"content": TEXTS, "reasoning_content": TEXTS, "reasoning": TEXTS})


@given(st.lists(DELTAS, max_size=30), st.booleans(), st.booleans(), st.booleans())
def test_of_events_alike_and_unlike_each_that_brought_text_is_counted(
    deltas: list[dict[str, str | None]], ascii_only: bool, compact: bool, numbered: bool
) -> None:
    """Most of a stream is read without its JSON being parsed again; that must make no difference."""
    separators = (",", ":") if compact else None
    pieces, with_text, with_answer = [], [], []
    for place, delta in enumerate(deltas):
        content: dict[str, Any] = chunk(**delta) | ({"id": place} if numbered else {})
        text = json.dumps(content, ensure_ascii=ascii_only, separators=separators)
        pieces.append(b"data: " + text.encode("utf-8", "surrogatepass") + b"\n\n")
        with_text += [place] if any(delta.values()) else []
        with_answer += [place] if delta.get("content") else []
    record = record_of([*pieces, body([chunk("stop")])])
    stamps = [1_000_000 * (2 + place) for place in range(len(pieces))]
    assert record.failure == ""
    assert record.arrivals_us == [(stamps[place] - 1_000_000) // 1000 for place in with_text]
    assert record.first_token_ns == (stamps[with_text[0]] if with_text else 0)
    assert record.first_answer_ns == (stamps[with_answer[0]] if with_answer else 0)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n', id="no UTF-8"),
        pytest.param(b'data: {"choices":[{"delta":{"content":"\t"}}]}\n\n', id="a bare tab"),
        pytest.param(b'data: {"choices":[{"delta":{"content":"a"b"}}]}\n\n', id="a bare quote"),
        pytest.param(b'data: {"choices":[{"delta":{"content":"\\"}}]}\n\n', id="an escape of nothing"),
        pytest.param(b'data: {"choices":[{"delta":{"content":"\n"}}]}\n\n', id="a bare line end"),
    ],
)
def test_an_event_like_the_last_that_is_no_json_is_seen(broken: bytes) -> None:
    good = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
    assert record_of([good, good, broken, body([chunk("stop")])]).failure == "bad_reply"


@pytest.mark.parametrize("pieces", [[b'data: {"choices":[{"delta":{"con'], [b'{"choices": [{"message"']])
@pytest.mark.parametrize(("fault", "failure"), [("broken", "broken_stream"), ("timeout", "timeout")])
def test_half_an_answer_is_named_for_what_broke_it_off(pieces: list[bytes], fault: str, failure: str) -> None:
    assert record_of(pieces, fault=fault).failure == failure


def test_several_events_in_one_segment_share_its_stamp() -> None:
    assert record_of([body(STREAM)]).arrivals_us == [1000, 1000, 1000]


def test_an_answer_in_one_object_is_a_single_chunk() -> None:
    answer = {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}], "usage": {"completion_tokens": 1}}
    text = json.dumps(answer).encode()
    record = record_of([text[:9], text[9:]])
    assert (record.arrivals_us, record.output_tokens, record.failure) == ([2000], 1, "")


@pytest.mark.parametrize(
    ("pieces", "fields", "failure", "words"),
    [
        ([body(STREAM[:3], done=False)], {"fault": "broken"}, "broken_stream", ""),
        ([body(STREAM[:3])], {}, "broken_stream", "the stream ended without a finish reason"),
        ([], {"fault": "timeout", "status": 0}, "timeout", ""),
        ([], {"fault": "connect", "status": 0}, "connect", ""),
        ([b'{"error":{"message":"busy","code":429}}'], {"status": 429}, "rate_limit", "busy"),
        ([b"data: <html>\n\n"], {}, "bad_reply", "no stream of completions"),
        ([b"data: 5\n\n"], {}, "bad_reply", "no stream of completions"),
        ([b'data: {"choices": [7]}\n\n'], {}, "bad_reply", "no stream of completions"),
        ([b'data: {"error": {"message": "out of memory", "code": 500}}\n\n'], {}, "server_error", "out of memory"),
    ],
)
def test_what_is_no_answer_is_a_named_failure(
    pieces: list[bytes], fields: dict[str, Any], failure: str, words: str
) -> None:
    record = record_of(pieces, **fields)
    assert (record.failure, record.words) == (failure, words)


def test_a_completion_stream() -> None:
    events: list[dict[str, Any]] = [
        {"choices": [{"text": "no", "finish_reason": None}]},
        {"choices": [{"text": "", "finish_reason": "length"}]},
        {"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 1}},
    ]
    record = read(exchange([body(events)]), "w", completion_event)
    assert (record.arrivals_us, record.finish_reason, record.prompt_tokens) == ([1000], "length", 2)


def test_a_stream_of_tgi() -> None:
    events: list[dict[str, Any]] = [
        {"token": {"id": 1, "text": "no", "special": False}, "generated_text": None, "details": None},
        {"token": {"id": 2, "text": "</s>", "special": True}, "generated_text": "no",
         "details": {"finish_reason": "eos_token", "generated_tokens": 2, "input_length": 9}},
    ]  # fmt: skip
    record = read(exchange([body(events, done=False)]), "w", tgi_event)
    assert (record.arrivals_us, record.finish_reason) == ([1000], "eos_token")
    assert (record.output_tokens, record.prompt_tokens) == (2, 9)


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=6))
def test_no_bytes_raise_anything(pieces: list[bytes]) -> None:
    assert record_of(pieces).failure


def test_a_record_comes_back_from_its_line_and_half_a_last_line_is_passed_over(tmp_path: Any) -> None:
    record = record_of([body(STREAM)])
    path = tmp_path / "records.jsonl"
    path.write_bytes(to_line(record) * 2 + to_line(record)[:30])
    assert [to_line(one) for one in (record, record)] == [
        to_line(replace(one, arrivals_us=list(one.arrivals_us))) for one in read_records(path)
    ]
