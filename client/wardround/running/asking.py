"""Asking all that has no reply yet: one queue a server, over all cells, so that no tail forms between tasks.

A slot of a server's concurrency is free again when its reply is on the disk, not when it came. So after
`kill -9` at most `concurrency` requests a server are asked twice, and no reply that was counted is lost.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from wardround.endpoints import Failure, ask_until_answered
from wardround.endpoints.replies import Endpoint
from wardround.errors import StudyError
from wardround.journal import Journal, Outcome
from wardround.running.progress import Progress

# A server that is gone fails every request after all its attempts; that is noticed once, not a thousand times.
GONE_AFTER = 16
FILES_BESIDE_CONNECTIONS = 64


@dataclass(slots=True)
class ServerQueue:
    """What is left to ask at one base URL: (request, endpoint, cells) in order."""

    base_url: str
    concurrency: int
    requests: deque[tuple[int, Endpoint, list[int]]] = field(default_factory=deque)
    connections_failed: int = 0

    @property
    def gone(self) -> bool:
        """Whether so many requests in a row could not even connect that the rest is not tried."""
        return self.connections_failed >= GONE_AFTER


class Scribe:
    """Writes outcomes down in batches, off the event loop, and tells each asker when its own is safe."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: list[tuple[Outcome, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._closing = False

    async def keep(self, outcome: Outcome) -> None:
        """Return when `outcome` is on the disk; raises `JournalError` if it cannot be."""
        safe: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((outcome, safe))
        self._wake.set()
        await safe

    def close(self) -> None:
        """Let `write` return once everything that waits is written."""
        self._closing = True
        self._wake.set()

    async def write(self) -> None:
        """Write whatever comes, until closed. Not to be cancelled: a write under way is in another thread."""
        while self._waiting or not self._closing:
            await self._wake.wait()
            self._wake.clear()
            batch, self._waiting = self._waiting, []
            if not batch:
                continue
            error: Exception | None = None
            try:
                await asyncio.to_thread(self._journal.record, [outcome for outcome, _ in batch])
            except Exception as raised:
                error = raised
            for _, safe in batch:
                if safe.done():  # its asker was cancelled; what it brought is written all the same
                    continue
                if error is None:
                    safe.set_result(None)
                else:
                    safe.set_exception(error)


async def ask_all(
    journal: Journal,
    endpoints: Mapping[str, tuple[str, Endpoint]],
    *,
    concurrency: int,
    attempts: int,
    progress: Progress,
) -> list[str]:
    """Ask every pending request of the journal's study; `endpoints` maps model to (base URL, endpoint).

    Returns one line for each server that was given up. Cancelled, it drops the requests in flight and writes what has
    come before it ends. Raises `JournalError` if the journal cannot be written.
    """
    queues: dict[str, ServerQueue] = {}
    for request, model, cells in journal.pending():
        base_url, endpoint = endpoints[model]
        queue = queues.setdefault(base_url, ServerQueue(base_url, concurrency))
        queue.requests.append((request, endpoint, cells))
    allow_connections(sum(min(queue.concurrency, len(queue.requests)) for queue in queues.values()))
    writing = journal.second_connection()
    scribe = Scribe(writing)
    scribing = asyncio.create_task(scribe.write())
    workers = [
        asyncio.create_task(_work(queue, journal, scribe, attempts, progress))
        for queue in queues.values()
        for _ in range(min(queue.concurrency, len(queue.requests)))
    ]
    try:
        await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for worker in workers:
            worker.cancel()
        ended = await asyncio.gather(*workers, return_exceptions=True)
        scribe.close()
        await scribing
        writing.close()
    for error in ended:
        if isinstance(error, Exception):
            raise error
    return [
        f"{queue.base_url} stopped answering; {len(queue.requests)} requests were not asked"
        for queue in queues.values()
        if queue.gone
    ]


def allow_connections(number: int) -> None:
    """Raise this process's limit of open files to what so many connections need.

    Raises `StudyError` if the system does not allow it: refused connections would be blamed on the server.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    needed = number + FILES_BESIDE_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise StudyError(f"{number} connections need {needed} open files, {hard} are allowed; lower `concurrency`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


async def _work(queue: ServerQueue, journal: Journal, scribe: Scribe, attempts: int, progress: Progress) -> None:
    while queue.requests and not queue.gone:
        request, endpoint, cells = queue.requests.popleft()
        prompt, params = journal.request(request)
        scheduled_ns = time.perf_counter_ns()
        earlier: list[tuple[int, Failure]] = []
        last, attempted = await ask_until_answered(
            lambda: endpoint.ask(prompt, params, scheduled_ns=scheduled_ns),  # noqa: B023 - awaited here
            attempts=attempts,
            on_failed_attempt=lambda attempt, failure: earlier.append((attempt, failure)),  # noqa: B023
        )
        await scribe.keep(Outcome(request, last, attempted, tuple(earlier)))
        unreachable = isinstance(last, Failure) and last.kind == "connect"
        queue.connections_failed = queue.connections_failed + 1 if unreachable else 0
        for cell in cells:
            progress.advance(cell, answered=not isinstance(last, Failure))
