"""A server process that writes the bytes of `traps`: `python -m tests.load.trap_server [CERTIFICATE KEY]`.

It serves on a free loopback port, with TLS if a certificate is given, and prints the port as JSON. The path asked for
names the trap. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

from tests.load.traps import TRAPS


def asking(name: str, port: int) -> bytes:
    """The request for a trap."""
    return f"POST /{quote(name)} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: 2\r\n\r\n{{}}".encode()


@contextmanager
def trap_server(certificate: Path | None = None, key: Path | None = None) -> Iterator[int]:
    """Run one; its port."""
    options = [str(path) for path in (certificate, key) if path is not None]
    command = [sys.executable, "-m", "tests.load.trap_server", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.stdin.close()


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(2)
            trap = TRAPS[unquote(head.split(b" ", 2)[1].decode())[1:]]
            for piece in trap.pieces:
                if isinstance(piece, bytes):
                    writer.write(piece)
                    await writer.drain()
                else:
                    await asyncio.sleep(piece)
            if trap.hangs_up:
                break
    writer.close()


async def _serve(certificate: str = "", key: str = "") -> None:
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(_converse, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def listen() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=listen, daemon=True).start()
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
