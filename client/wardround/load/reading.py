"""From stamped pieces of an answer to a record: events put together, text looked for, tokens and faults read.

Done after an answer is whole. The usual case, pieces that hold whole events with LF line ends, is split by hand;
anything else goes through the event parser that the evaluation uses, which knows every way a stream may be cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson

from wardround.catalogue import Protocol
from wardround.endpoints.dialects import failure_from, failure_inside
from wardround.load.records import Record
from wardround.load.streams import Exchange
from wardround.text import storable
from wardround.wire import EventParser

_WORDS_AT_MOST = 300
_KIND_OF_FAULT = {"broken": "broken_stream"}


# What an event brought: nothing to read, text of the reasoning, text of the answer.
NOTHING, REASONING, ANSWER = 0, 1, 2
# Reads an event into the record (finish reason, counts) and says what it brought; it is called for every chunk.
ReadEvent = Callable[[Any, Record], int]


def chat_event(content: Any, record: Record) -> int:
    """A chat completion chunk, or a whole chat completion."""
    if content.get("usage"):
        _count(record, content["usage"])
    choices = content.get("choices")
    if not choices:
        return NOTHING
    first = choices[0]
    if first.get("finish_reason"):
        record.finish_reason = _word(first["finish_reason"])
    delta = first.get("delta") or first.get("message")
    if not delta:
        return NOTHING
    if delta.get("content"):
        return ANSWER
    return REASONING if delta.get("reasoning_content") or delta.get("reasoning") else NOTHING


def completion_event(content: Any, record: Record) -> int:
    """A text completion chunk."""
    if content.get("usage"):
        _count(record, content["usage"])
    choices = content.get("choices")
    if not choices:
        return NOTHING
    if choices[0].get("finish_reason"):
        record.finish_reason = _word(choices[0]["finish_reason"])
    return ANSWER if choices[0].get("text") else NOTHING


def tgi_event(content: Any, record: Record) -> int:
    """A piece of TGI's own stream: a token an event, the details with the last one."""
    details = content.get("details")
    if details:
        record.finish_reason = _word(details.get("finish_reason") or "")
        record.output_tokens = _number(details.get("generated_tokens"))
        record.prompt_tokens = _number(details.get("input_length"))
    token = content.get("token")
    return ANSWER if token and token.get("text") and not token.get("special") else NOTHING


READERS: dict[Protocol, ReadEvent] = {
    "openai-chat": chat_event,
    "azure-openai": chat_event,
    "openai-completions": completion_event,
    "tgi": tgi_event,
}


def read(exchange: Exchange, workload: str, read_event: ReadEvent) -> Record:
    """The record of an exchange that has ended. Whatever the server wrote, this raises nothing."""
    record = Record(
        number=exchange.number,
        workload=workload,
        scheduled_ns=exchange.scheduled_ns,
        sent_ns=exchange.sent_ns,
        first_byte_ns=exchange.first_byte_ns,
        first_token_ns=0,
        first_answer_ns=0,
        done_ns=exchange.done_ns,
        status=exchange.status,
        failure="",
        words="",
        finish_reason="",
        prompt_tokens=None,
        output_tokens=None,
        cached_tokens=None,
        arrivals_us=[],
    )
    if exchange.status not in (0, 200):
        # Also where the body broke off: the status has said enough.
        refused = failure_from(exchange.status, b"".join(exchange.pieces), {})
        return _failed(record, refused.kind, refused.words)
    try:
        _read_events(record, exchange, read_event)
    except (ValueError, LookupError, TypeError, AttributeError):
        return _failed(record, "bad_reply", "no stream of completions")
    if record.failure:
        return record
    if exchange.fault:
        return _failed(record, _KIND_OF_FAULT.get(exchange.fault, exchange.fault), "")
    if not record.finish_reason and exchange.pieces and not record.first_token_ns and not record.prompt_tokens:
        return _failed(record, "bad_reply", "no stream of completions")
    if not record.finish_reason:
        return _failed(record, "broken_stream", "the stream ended without a finish reason")
    return record


def _failed(record: Record, kind: str, words: str) -> Record:
    record.failure = kind
    record.words = storable(" ".join(words.split())[:_WORDS_AT_MOST])
    return record


def _read_events(record: Record, exchange: Exchange, read_event: ReadEvent) -> None:
    sent_ns = exchange.sent_ns
    arrivals = record.arrivals_us = []
    # A server that does not stream answers with one object: a single chunk, as far as times go.
    whole = exchange.pieces and exchange.pieces[0][:1] == b"{"
    events = [(exchange.stamps[-1], b"".join(exchange.pieces))] if whole else _events(exchange)
    for stamp, data in events:
        if data == b"[DONE]":
            return
        content = orjson.loads(data)
        if content.get("error"):
            inside = failure_inside(content)
            _failed(record, inside.kind, inside.words)
            return
        brought = read_event(content, record)
        if brought:
            if not record.first_token_ns:
                record.first_token_ns = stamp
            if brought == ANSWER and not record.first_answer_ns:
                record.first_answer_ns = stamp
            arrivals.append((stamp - sent_ns) // 1000)


def _count(record: Record, usage: Any) -> None:
    details = usage.get("prompt_tokens_details") or {}
    record.prompt_tokens = _number(usage.get("prompt_tokens"))
    record.output_tokens = _number(usage.get("completion_tokens"))
    record.cached_tokens = _number(details.get("cached_tokens"))


def _number(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**53 else None


def _word(value: Any) -> str:
    return storable(str(value))[:40]


def _events(exchange: Exchange) -> Iterator[tuple[int, bytes]]:
    """The data of each event, with the stamp of the piece that completed it."""
    parser: EventParser | None = None
    for stamp, piece in zip(exchange.stamps, exchange.pieces, strict=True):
        if parser is None and piece[-2:] == b"\n\n" and piece[:6] == b"data: " and b"\r" not in piece:
            # The commonest piece is one event of one line; the next commonest, several of them.
            if piece.count(b"\n") == 2:
                yield stamp, piece[6:-2]
                continue
            events = piece[6:-2].split(b"\n\ndata: ")
            if piece.count(b"\n") == 2 * len(events):
                for event in events:
                    yield stamp, event
                continue
        parser = parser or EventParser()
        for whole in parser.feed(piece):
            yield stamp, whole.data
        if parser.between_events:
            parser = None
    if parser is not None:
        stamp = exchange.stamps[-1]
        for whole in parser.close():
            yield stamp, whole.data
