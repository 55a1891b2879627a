"""Everything that a stream of completions does on the wire to those who read it: exact bytes, and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.wire.raw_server import (
    LAST_CHUNK,
    STREAM_HEAD,
    chunk,
    event,
    http_answer,
    http_head,
    json_answer,
)

EVENTS = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Trap:
    """What a server writes, a number being a pause in seconds, and the record that it must make.

    `arrivals`: how many chunks carried text; `reasoning_first`: whether the answer's text came after reasoning text.
    `hangs_up`: the server closes the connection then.
    """

    pieces: Sequence[bytes | float]
    failure: str = ""
    finish_reason: str = "stop"
    arrivals: int = 2
    output_tokens: int | None = 2
    reasoning_first: bool = False
    hangs_up: bool = False
    words: str = ""

    @property
    def sent(self) -> bytes:
        """All bytes in one."""
        return b"".join(piece for piece in self.pieces if isinstance(piece, bytes))


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def said(content: Any) -> bytes:
    """One event, outside of any chunk."""
    return event(content).partition(b"\r\n")[2].removesuffix(b"\r\n")


USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
ROLE, FIRST, SECOND = said(delta(role="assistant", content="")), said(delta(content="Ja")), said(delta(content=", ß✓"))
STOP, COUNTS = said(delta("stop")), said({"choices": [], "usage": USAGE})
DONE = b"data: [DONE]\n\n"
TEXT = FIRST + SECOND + STOP + COUNTS + DONE


def chunked(*bodies: bytes) -> bytes:
    return STREAM_HEAD + b"".join(map(chunk, bodies)) + LAST_CHUNK


def length(body: bytes) -> bytes:
    return http_answer(body, content_type=EVENTS)


def until_closed(body: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    return http_head(Content_Type=EVENTS).replace(b"HTTP/1.1", version, 1) + body


def apart(whole: bytes, *places: int) -> list[bytes | float]:
    """The bytes cut at `places`, with pauses in which what was written arrives by itself."""
    found: list[bytes | float] = []
    for begin, end in zip((0, *places), (*places, len(whole)), strict=True):
        found += [whole[begin:end], 0.02]
    return found[:-1]


_WHOLE = chunked(FIRST, SECOND, STOP, COUNTS, DONE)
_CRLF = TEXT.replace(b"\n", b"\r\n")
_RAW = chunked(*(text.replace(b"\\u00df\\u2713", "ß✓".encode()) for text in (FIRST, SECOND, STOP + COUNTS, DONE)))

STREAMS: dict[str, Trap] = {
    "events of a chunk each": Trap([_WHOLE]),
    "several events in a chunk": Trap([chunked(TEXT)]),
    "several events in a segment": Trap([STREAM_HEAD, 0.02, _WHOLE[len(STREAM_HEAD) :]]),
    "an event over two chunks": Trap([chunked(FIRST[:30], FIRST[30:] + SECOND[:-1], SECOND[-1:] + STOP, COUNTS + DONE)]),
    "an event over two segments": Trap(apart(_WHOLE, _WHOLE.index(b"Ja") + 1)),
    "a sign over two segments": Trap(apart(_RAW, _RAW.index("ß".encode()) + 1, _RAW.index("✓".encode()) + 2)),
    "a chunk's size over two segments": Trap(apart(_WHOLE, len(STREAM_HEAD) + 1, len(_WHOLE) - 3)),
    "the head over two segments": Trap(apart(_WHOLE, 10, len(STREAM_HEAD) - 2)),
    "CRLF": Trap([chunked(_CRLF)]),
    "CRLF over two segments": Trap(apart(length(_CRLF), length(_CRLF).index(b"}\r\n\r\n") + 2)),
    "CR alone": Trap([chunked(TEXT.replace(b"\n", b"\r"))]),
    "a byte order mark": Trap([chunked(b"\xef\xbb\xbf" + TEXT)]),
    "comments and pings": Trap([chunked(b": ping\n\n", FIRST, b":\n\n: still here\n\n" + SECOND, b"event: ping\ndata: {}\n\n", STOP, COUNTS + DONE)]),
    "other fields": Trap([chunked(b"id: 1\nretry: 5\n" + FIRST, b"event: message\n" + SECOND, STOP + COUNTS + DONE)]),
    "data over two lines": Trap([chunked(FIRST, SECOND.replace(b'"delta"', b'\ndata: "delta"'), STOP + COUNTS + DONE)]),
    "no blank after the colon": Trap([chunked(TEXT.replace(b"data: ", b"data:"))]),
    "an early role": Trap([STREAM_HEAD + chunk(ROLE), 0.02, _WHOLE[len(STREAM_HEAD) :]]),
    "reasoning_content": Trap([chunked(said(delta(reasoning_content="hm")), FIRST, STOP, COUNTS, DONE)], reasoning_first=True),
    "reasoning": Trap([chunked(said(delta(reasoning="hm", content=None)), FIRST, STOP, COUNTS, DONE)], reasoning_first=True),
    "no text in the last": Trap([chunked(FIRST, SECOND, said(delta("stop", content="")), COUNTS, DONE)]),
    "text in the last": Trap([chunked(FIRST, said(delta("length", content=".")), COUNTS, DONE)], finish_reason="length"),
    "counts with the last": Trap([chunked(FIRST, SECOND, said({**delta("stop"), "usage": USAGE}), DONE)]),
    "counts with every event": Trap([chunked(*(said({**delta(content="a"), "usage": {"completion_tokens": n}}) for n in (1, 2)), said({**delta("stop"), "usage": USAGE}), DONE)]),
    "empty usage until the last": Trap([chunked(*(said({**delta(content="a"), "usage": None}) for _ in "ab"), STOP, COUNTS, DONE)]),
    "no counts": Trap([chunked(FIRST, SECOND, STOP, DONE)], output_tokens=None),
    "no [DONE]": Trap([chunked(FIRST, SECOND, STOP, COUNTS)]),
    "no blank line at the end": Trap([chunked(FIRST, SECOND, STOP, COUNTS.removesuffix(b"\n\n"))]),
    "something after [DONE]": Trap([chunked(TEXT + FIRST)]),
    "a length": Trap([length(TEXT)]),
    "until the connection's end": Trap([until_closed(TEXT)], hangs_up=True),
    "HTTP/1.0": Trap([until_closed(TEXT, b"HTTP/1.0")], hangs_up=True),
    "a length, and no more after it": Trap([http_answer(TEXT, content_type=EVENTS, Connection="close")], hangs_up=True),
    "100 Continue before it": Trap([b"HTTP/1.1 100 Continue\r\n\r\n" + _WHOLE]),
    "103 before it, by itself": Trap([b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n", 0.02, until_closed(TEXT)], hangs_up=True),
    "a trailer": Trap([_WHOLE.removesuffix(b"\r\n") + b"Took: 5\r\n\r\n"]),
    "chunk extensions": Trap([STREAM_HEAD + b"00%X;name=value\r\n" % len(TEXT) + TEXT + b"\r\n" + LAST_CHUNK]),
    "one object, unstreamed": Trap([json_answer({"choices": [{"message": {"content": "Ja"}, "finish_reason": "stop"}], "usage": USAGE})], arrivals=1),
}  # fmt: skip


def failing(pieces: Sequence[bytes | float], failure: str, **fields: Any) -> Trap:
    return Trap(pieces, failure, **{"arrivals": 0, **fields})


FAILURES: dict[str, Trap] = {
    "429 with a reason": failing([json_answer({"error": {"message": "busy", "code": 429}}, 429)], "rate_limit", words="busy"),
    "503 of TGI": failing([json_answer({"error": "overloaded", "error_type": "overloaded"}, 503)], "overload", words="overloaded"),
    "502 of a proxy": failing([http_answer(b"<html>bad gateway</html>", 502, "text/html")], "server_error"),
    "500 without a word": failing([http_answer(b"", 500)], "server_error"),
    "500 that breaks off": failing([http_head(500, Content_Length=99) + b'{"error":'], "server_error", hangs_up=True),
    "an error in the stream": failing([chunked(FIRST, said({"error": {"message": "out of memory", "code": 500}}))], "server_error", arrivals=1, words="out of memory"),
    "an error of TGI in the stream": failing([chunked(FIRST, said({"error": "died", "error_type": "generation"}))], "server_error", arrivals=1, words="died"),
    "cut before the head": failing([b""], "broken_stream", hangs_up=True),
    "cut within the head": failing([STREAM_HEAD[:40]], "broken_stream", hangs_up=True),
    "cut after the head": failing([STREAM_HEAD], "broken_stream", hangs_up=True),
    "cut within an event": failing([STREAM_HEAD + chunk(FIRST) + chunk(SECOND)[:20]], "broken_stream", arrivals=1, hangs_up=True),
    "cut between events": failing([STREAM_HEAD + chunk(FIRST)], "broken_stream", arrivals=1, hangs_up=True),
    "cut before the last chunk": failing([_WHOLE.removesuffix(LAST_CHUNK)], "broken_stream", arrivals=2, hangs_up=True),
    "cut short of its length": failing([length(TEXT)[:-5]], "broken_stream", arrivals=2, hangs_up=True),
    "cut short of its length, no more after it": failing([http_answer(TEXT, content_type=EVENTS, Connection="close")[:-5]], "broken_stream", arrivals=2, hangs_up=True),
    "no finish reason": failing([chunked(FIRST, SECOND, DONE)], "broken_stream", arrivals=2, words="the stream ended without a finish reason"),
    "nothing at all": failing([chunked()], "broken_stream", words="the stream ended without a finish reason"),
    "no HTTP": failing([b"SSH-2.0-OpenSSH\r\n"], "broken_stream", hangs_up=True),
    "a chunk of no size": failing([STREAM_HEAD + b"zz\r\n" + TEXT], "broken_stream", hangs_up=True),
    "a page": failing([http_answer(b"<html>welcome</html>", content_type="text/html")], "bad_reply"),
    "events that are no JSON": failing([chunked(b"data: {\n\n")], "bad_reply"),
    "events that are no completions": failing([chunked(b"data: [1]\n\n", b'data: {"choices": 5}\n\n')], "bad_reply"),
}  # fmt: skip

TRAPS = STREAMS | FAILURES
