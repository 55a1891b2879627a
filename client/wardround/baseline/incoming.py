"""Requests read out of the bytes of a connection."""

from __future__ import annotations

from wardround.baseline.http import LARGEST_BODY, LARGEST_HEAD, TOO_LARGE, Call, Malformed


class Incoming:
    """Requests read out of a stream of bytes, in whatever pieces it comes."""

    def __init__(self) -> None:
        self._buffer: bytes | bytearray = b""
        self._head: tuple[str, str, dict[str, str]] | None = None
        self._length = 0
        self._chunks: _Chunks | None = None
        self._expects = False
        self.keeps_alive = True
        self.version = b""

    @property
    def waiting(self) -> int:
        """Bytes that no request has taken yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take in some bytes."""
        if not self._buffer:
            self._buffer = data
        elif isinstance(self._buffer, bytearray):
            self._buffer += data
        else:
            self._buffer = bytearray(self._buffer) + data

    def wants_to_go_on(self) -> bool:
        """Whether the client waits to be told that its body is welcome; says so once."""
        expects, self._expects = self._expects and self._head is not None, False
        return expects

    def take(self, came_ns: int) -> Call | None:
        """The next request, None while it is not all there; raises `Malformed`."""
        if self._head is None and not self._read_head():
            return None
        assert self._head is not None
        if self._chunks is not None:
            end = self._chunks.read(self._buffer)
            if end is None:
                return None
            body = b"".join(self._chunks.parts)
        else:
            end = self._length
            if len(self._buffer) < end:
                return None
            body = bytes(self._buffer[:end])
        self._buffer = self._buffer[end:]
        (method, target, headers), self._head, self._chunks = self._head, None, None
        path, _, query = target.partition("?")
        return Call(method, path, query, headers, body, came_ns)

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > LARGEST_HEAD:
                raise Malformed(431, "The request's headers are too large.")
            return False
        first, *lines = bytes(self._buffer[:end]).lstrip(b"\r\n").split(b"\r\n")
        self._buffer = self._buffer[end + 4 :]
        try:
            method, target, self.version = first.split(b" ")
        except ValueError:
            raise Malformed(400, "This is no HTTP request.") from None
        if self.version not in (b"HTTP/1.1", b"HTTP/1.0"):
            raise Malformed(505, "This server speaks HTTP/1.1.")
        headers = {}
        for line in lines:
            name, colon, value = line.partition(b":")
            if not colon:
                raise Malformed(400, "A header has no colon.")
            headers[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
        self._head = (method.decode("latin-1"), target.decode("latin-1"), headers)
        connection = headers.get("connection", "").lower()
        self.keeps_alive = "keep-alive" in connection if self.version == b"HTTP/1.0" else "close" not in connection
        self._expects = headers.get("expect", "").lower() == "100-continue"
        self._chunks = _Chunks(self._head[1]) if headers.get("transfer-encoding", "").lower() == "chunked" else None
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdecimal()):
            raise Malformed(400, "Content-Length is no number.")
        self._length = int(length)
        if self._length > LARGEST_BODY:
            raise Malformed(413, TOO_LARGE, self._head[1])
        return True


class _Chunks:
    """A body that comes in chunks, sent to `path`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.parts: list[bytes] = []
        self._size = 0
        self._at = 0

    def read(self, buffer: bytes | bytearray) -> int | None:
        """Where the body ends in `buffer`, None while it does not; raises `Malformed`."""
        while True:
            line_end = buffer.find(b"\r\n", self._at)
            if line_end < 0:
                return None
            try:
                size = int(bytes(buffer[self._at : line_end]).split(b";")[0], 16)
            except ValueError:
                raise Malformed(400, "A chunk has no size.") from None
            if size < 0:
                raise Malformed(400, "A chunk has no size.")
            if size == 0:
                end = buffer.find(b"\r\n\r\n", line_end)
                return None if end < 0 else end + 4
            end = line_end + 2 + size
            if len(buffer) < end + 2:
                self._refuse_endless(size)
                return None
            self.parts.append(bytes(buffer[line_end + 2 : end]))
            self._size += size
            self._refuse_endless(0)
            self._at = end + 2

    def _refuse_endless(self, to_come: int) -> None:
        if self._size + to_come > LARGEST_BODY:
            raise Malformed(413, TOO_LARGE, self._path)
