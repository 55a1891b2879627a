"""The embedded server: the baselines behind the APIs of real engines, for demos, tests and load tests.

It behaves like an engine to its clients: chat and text completions in OpenAI's and Azure's words, TGI's own API,
streams, usage, probabilities, stop strings, forms to keep to, limits, a queue, errors in each API's shape, and on
request faults. Tokens are words and punctuation marks with the blanks before them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import threading
from collections.abc import Callable

from wardround.baseline.connection import Connection, Turns
from wardround.baseline.routes import Routes, malformed
from wardround.baseline.state import ServerOptions, State
from wardround.errors import RunFailed

BACKLOG = 2048
# How long answers on their way may take once the server is to end.
GRACE_S = 1.0


async def serve(
    options: ServerOptions,
    *,
    host: str,
    port: int,
    ready: Callable[[str], None],
    until_stdin_closes: bool = False,
) -> None:
    """Serve on `host` until SIGINT or SIGTERM; `ready` is called with the base URL. Port 0 takes a free one.

    `until_stdin_closes`: end also when standard input does, so that a server never outlives who started it.
    Raises `RunFailed` if the port is taken.
    """
    routes = Routes(State(options))
    connections: set[Connection] = set()
    # Where answers take no time there is nothing to be measured but how many there are.
    turns = None if options.latency.instant else Turns()
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(
            lambda: Connection(routes, malformed, connections, turns), host, port, backlog=BACKLOG
        )
    except OSError as error:
        raise RunFailed(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if until_stdin_closes:
        # A thread, since event loops refuse to watch what is no pipe (/dev/null, a file), uvloop by aborting.
        threading.Thread(target=_stop_at_end_of_stdin, args=(loop, stop), daemon=True).start()
    # What is here now stays, and what comes seldom holds circles: looking for garbage often only costs time.
    gc.freeze()
    gc.set_threshold(20_000)
    bound_host, bound_port = server.sockets[0].getsockname()[:2]
    shown = f"[{bound_host}]" if ":" in bound_host else bound_host
    ready(f"http://{shown}:{bound_port}/v1")
    await stop.wait()
    server.close()
    await _end(connections)


async def _end(connections: set[Connection]) -> None:
    """Let answers on their way come to an end, for a while."""
    busy = [answering for connection in list(connections) if (answering := connection.stop()) is not None]
    if busy:
        await asyncio.wait(busy, timeout=GRACE_S)
    for connection in list(connections):
        connection.abort()


def _stop_at_end_of_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    # os.read and not sys.stdin: a daemon thread that holds its lock would keep the interpreter from ending.
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(stop.set)
