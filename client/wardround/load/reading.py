"""From stamped pieces of an answer to a record: events put together, text looked for, tokens and faults read.

Done after an answer is whole. The usual case, pieces that hold whole events with LF line ends, is split by hand;
anything else goes through the event parser that the evaluation uses, which knows every way a stream may be cut. And in
the usual stream one event is like the last but for its text: where that is so, JSON need not be parsed again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

from wardround.catalogue import Protocol
from wardround.endpoints.dialects import failure_from, failure_inside
from wardround.load.records import Record
from wardround.load.streams import Exchange
from wardround.text import storable
from wardround.wire import EventParser

_WORDS_AT_MOST = 300
# Counts beyond are nobody's, and not every reader of JSON has them exactly.
MOST = 2**53
_KIND_OF_FAULT = {"broken": "broken_stream"}
# Where an event's text begins, and text that stands in JSON as it is.
_BEGINS = re.compile(rb'"(?:content|reasoning_content|reasoning|text)": ?"(?!")')
_PLAIN = re.compile(rb"[ !#-\[\]-~]+")
# A stream whose events are never like each other (they are numbered, or padded) is not tried for ever.
_TRIES = 8

# What an event brought: nothing to read, text of the reasoning, text of the answer.
NOTHING, REASONING, ANSWER = 0, 1, 2
# Reads an event into the record (finish reason, counts) and says what it brought; it is called for every chunk.
ReadEvent = Callable[[Any, Record], int]


def chat_event(content: Any, record: Record) -> int:
    """A chat completion chunk, or a whole chat completion."""
    usage = content.get("usage")
    if usage:
        _count(record, usage)
    choices = content.get("choices")
    if not choices:
        return NOTHING
    first = choices[0]
    reason = first.get("finish_reason")
    if reason:
        record.finish_reason = "stop" if reason == "stop" else _word(reason)
    delta = first.get("delta") or first.get("message")
    if not delta:
        return NOTHING
    if delta.get("content"):
        return ANSWER
    return REASONING if delta.get("reasoning_content") or delta.get("reasoning") else NOTHING


def completion_event(content: Any, record: Record) -> int:
    """A text completion chunk."""
    usage = content.get("usage")
    if usage:
        _count(record, usage)
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
    number, scheduled_ns, sent_ns = exchange.number, exchange.scheduled_ns, exchange.sent_ns
    first_byte_ns, done_ns, status = exchange.first_byte_ns, exchange.done_ns, exchange.status
    record = Record(
        number, workload, scheduled_ns, sent_ns, first_byte_ns, 0, 0, done_ns, status, "", "", "", None, None, None, []
    )
    if status not in (0, 200):
        # Also where the body broke off: the status has said enough.
        refused = failure_from(status, b"".join(exchange.pieces), {})
        return _failed(record, refused.kind, refused.words)
    try:
        _read_events(record, exchange, read_event)
    except (ValueError, LookupError, TypeError, AttributeError):
        if not exchange.fault:
            return _failed(record, "bad_reply", "no stream of completions")
        # Half an event, or half an object: what broke the answer off is the reason.
    if record.failure or (record.finish_reason and not exchange.fault):
        return record
    if exchange.fault:
        return _failed(record, _KIND_OF_FAULT.get(exchange.fault, exchange.fault), "")
    if exchange.pieces and not record.first_token_ns and not record.prompt_tokens:
        return _failed(record, "bad_reply", "no stream of completions")
    return _failed(record, "broken_stream", "the stream ended without a finish reason")


def _failed(record: Record, kind: str, words: str) -> Record:
    record.failure = kind
    record.words = storable(" ".join(words.split())[:_WORDS_AT_MOST])
    return record


def _read_events(record: Record, exchange: Exchange, read_event: ReadEvent) -> None:
    pieces, stamps = exchange.pieces, exchange.stamps
    if not pieces:
        return
    if pieces[0][:1] == b"{":
        # A server that does not stream answers with one object: a single chunk, as far as times go.
        _take(record, stamps[-1], pieces[0] if len(pieces) == 1 else b"".join(pieces), read_event)
        return
    sent_ns = record.sent_ns
    arrive = record.arrivals_us.append
    parser: EventParser | None = None
    opening, closing, tries = b"", b"", _TRIES
    for stamp, piece in zip(stamps, pieces, strict=True):
        if parser is None:
            if (
                opening
                and piece.startswith(opening)
                and piece.endswith(closing)
                and _PLAIN.fullmatch(piece, len(opening), len(piece) - len(closing))
            ):
                arrive((stamp - sent_ns) // 1000)
                continue
            events = _whole_events(piece)
            if events is not None:
                for data in events:
                    brought = _take(record, stamp, data, read_event)
                    if brought is None:
                        return
                if tries and len(events) == 1 and brought and not _has_effects(record):
                    tries -= 1
                    opening, closing = _around_text(piece)
                continue
        parser = parser or EventParser()
        for whole in parser.feed(piece):
            if _take(record, stamp, whole.data, read_event) is None:
                return
        if parser.between_events:
            parser = None
    for whole in parser.close() if parser is not None else ():
        if _take(record, stamps[-1], whole.data, read_event) is None:
            return


def _take(record: Record, stamp: int, data: bytes, read_event: ReadEvent) -> int | None:
    """Read one event into the record; returns what it brought, None if nothing after it counts."""
    if data == b"[DONE]":
        return None
    content = orjson.loads(data)
    if content.get("error"):
        inside = failure_inside(content)
        _failed(record, inside.kind, inside.words)
        return None
    brought = read_event(content, record)
    if brought:
        if not record.first_token_ns:
            record.first_token_ns = stamp
        if brought == ANSWER and not record.first_answer_ns:
            record.first_answer_ns = stamp
        record.arrivals_us.append((stamp - record.sent_ns) // 1000)
    return brought


def _whole_events(piece: bytes) -> list[bytes] | None:
    """The data of the events in a piece that holds nothing but whole ones, of one line each; None of any other."""
    if piece[:6] != b"data: " or piece[-2:] != b"\n\n" or b"\r" in piece:
        return None
    # The commonest piece is one event; the next commonest, several of them.
    events = piece[6:-2].split(b"\n\ndata: ")
    return events if piece.count(b"\n") == 2 * len(events) else None


def _has_effects(record: Record) -> bool:
    """Whether any event so far has said more than text."""
    return bool(record.finish_reason) or not (record.output_tokens is None and record.prompt_tokens is None)


def _around_text(piece: bytes) -> tuple[bytes, bytes]:
    """What stands before and after the text of an event; empty if the text is not plain.

    Another event with the same around another text that is plain and not empty is the same JSON with another string in
    the same place, so it brought the same: what `read_event` looks at is whether a string is empty, and nothing else of
    it.
    """
    begins = _BEGINS.search(piece)
    if begins is None:
        return b"", b""
    ends = piece.find(b'"', begins.end())
    if not _PLAIN.fullmatch(piece, begins.end(), ends):
        return b"", b""
    return piece[: begins.end()], piece[ends:]


def _count(record: Record, usage: Any) -> None:
    prompt, output, details = (
        usage.get("prompt_tokens"),
        usage.get("completion_tokens"),
        usage.get("prompt_tokens_details"),
    )
    # `_number` written out: every answer comes through here.
    record.prompt_tokens = prompt if type(prompt) is int and 0 <= prompt < MOST else None
    record.output_tokens = output if type(output) is int and 0 <= output < MOST else None
    if details:
        record.cached_tokens = _number(details.get("cached_tokens"))


def _number(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < MOST else None


def _word(value: Any) -> str:
    return storable(str(value))[:40]
