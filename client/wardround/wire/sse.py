"""Server-sent events, parsed as the bytes come.

Source: WHATWG HTML, section 9.2.6 "Interpreting an event stream". One deliberate difference: an event that
the end of the stream cuts off before its blank line is given out by `close`, since some servers forget the
last blank line; whether it is whole is then for its reader to see (JSON does not parse in halves).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its name ("message" unless the server says otherwise) and its data, lines joined by LF."""

    name: str
    data: bytes


class EventParser:
    """Turns pieces of a byte stream, however they are cut, into events."""

    def __init__(self) -> None:
        # A line that has not ended yet, in the pieces in which it came.
        self._held: list[bytes] = []
        self._data: list[bytes] = []
        self._name = ""
        self._after_cr = False
        self._at_start = True

    def feed(self, piece: bytes) -> list[Event]:
        """Take the next bytes and return the events they complete."""
        if self._after_cr and piece:
            # A CR at the end of the last piece already ended its line; its LF may come first in this one.
            self._after_cr = False
            if piece[0] == 0x0A:
                piece = piece[1:]
        if b"\r" in piece:
            self._after_cr = piece[-1] == 0x0D
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._held.append(piece)
        if b"\n" not in piece and not self._at_start:
            return []
        text = piece if len(self._held) == 1 else b"".join(self._held)
        if self._at_start:
            if b"\xef\xbb\xbf".startswith(text[:3]) and len(text) < 3:
                return []
            text = text.removeprefix(b"\xef\xbb\xbf")
            self._at_start = False
        lines = text.split(b"\n")
        rest = lines.pop()
        self._held = [rest] if rest else []
        events: list[Event] = []
        for line in lines:
            if line:
                self._take_line(line)
            elif self._data:
                events.append(self._finish())
            else:
                self._name = ""
        return events

    @property
    def between_events(self) -> bool:
        """Whether nothing is left over of what was fed."""
        return not (any(self._held) or self._data or self._name or self._after_cr)

    def close(self) -> list[Event]:
        """The stream has ended: return what was still open, if anything was."""
        rest = b"".join(self._held)
        self._held = []
        if rest:
            self._take_line(rest)
        return [self._finish()] if self._data else []

    def _take_line(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")

    def _finish(self) -> Event:
        event = Event(self._name or "message", b"\n".join(self._data))
        self._data = []
        self._name = ""
        return event
