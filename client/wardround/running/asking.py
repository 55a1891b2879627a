"""Asking all that has no reply yet: one queue a server, over all cells, so that no tail forms between tasks.

A slot of a server's concurrency is free again when its reply is on the disk, not when it came. So after
`kill -9` at most `concurrency` requests a server are asked twice, and no reply that was counted is lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping

from wardround.endpoints import Failure, Reply, ask_until_answered
from wardround.errors import StudyError
from wardround.journal import Journal, Outcome
from wardround.journal.records import ANSWERS
from wardround.running.connecting import Opened
from wardround.running.progress import Progress
from wardround.running.queues import Request, ServerQueue
from wardround.running.spending import Spending

FILES_BESIDE_CONNECTIONS = 64


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
    endpoints: Mapping[str, Opened],
    *,
    attempts: int,
    progress: Progress,
    spending: Spending,
    leave: Collection[int] = (),
) -> tuple[list[str], int]:
    """Ask every pending request of the journal's study but those to `leave`; `endpoints` maps models to what answers.

    Returns one line for each server that was given up, and how many requests the budget left unasked. Cancelled, it
    drops the requests in flight and writes what has come before it ends. Raises `JournalError` if the journal cannot be
    written.
    """
    queues = _queues(journal, endpoints, spending, leave)
    first_steps = _first_steps(journal)
    allow_connections(sum(min(queue.concurrency, len(queue)) for queue in queues))
    writing = journal.second_connection()
    scribe = Scribe(writing)
    scribing = asyncio.create_task(scribe.write())
    workers = [
        asyncio.create_task(_work(queue, scribe, attempts, progress, spending, first_steps))
        for queue in queues
        for _ in range(min(queue.concurrency, len(queue)))
    ]
    try:
        # Nothing is pending where all was answered meanwhile, by another cell's same request.
        if workers:
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
    gone = [queue for queue in queues if queue.gone]
    lines = [f"{queue.server} stopped answering; {len(queue)} requests were not asked" for queue in gone]
    return lines, sum(len(queue) for queue in queues if not queue.gone)


def _queues(
    journal: Journal, endpoints: Mapping[str, Opened], spending: Spending, leave: Collection[int]
) -> list[ServerQueue]:
    queues: dict[str, ServerQueue] = {}
    for rank, (request, model, cells) in enumerate(journal.pending()):
        if request in leave:
            continue
        opened = endpoints[model]
        if opened.server not in queues:
            queues[opened.server] = ServerQueue(opened.server, spending)
        queues[opened.server].lane(model, min(cells), opened, journal).add(rank, request, cells)

    def wake_all() -> None:
        # The budget is one for all of them.
        for queue in queues.values():
            queue.wake()

    spending.on_settled = wake_all
    return list(queues.values())


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


def _first_steps(journal: Journal) -> set[tuple[int, int]]:
    """(cell, request) of what asks a first step: its reply answers no sample yet."""
    return {
        (cell, request)
        for cell, request in journal.read(
            "SELECT asks.cell, asks.request FROM asks JOIN cells ON cells.id = asks.cell AND cells.place IS NOT NULL"
            f" WHERE NOT ({ANSWERS})"
        )
    }


async def _work(
    queue: ServerQueue,
    scribe: Scribe,
    attempts: int,
    progress: Progress,
    spending: Spending,
    first_steps: Collection[tuple[int, int]],
) -> None:
    while (request := await queue.next()) is not None:
        last = await _ask(request, scribe, attempts, spending)
        queue.note(request, last)
        for cell in request.cells:
            answered = not isinstance(last, Failure)
            if not answered or (cell, request.id) not in first_steps:
                progress.advance(cell, answered=answered)


async def _ask(request: Request, scribe: Scribe, attempts: int, spending: Spending) -> Reply | Failure:
    """Ask until answered, and return the outcome when it is on the disk."""
    prompt, params = request.prompt, request.params
    scheduled_ns = time.perf_counter_ns()
    earlier: list[tuple[int, Failure]] = []

    def may_go_on(failure: Failure) -> bool:
        if request.reserved is not None:
            request.reserved = spending.once_more(request.reserved, failure, prompt, params)
        return request.reserved is not None

    last, attempted = await ask_until_answered(
        lambda: request.endpoint.ask(prompt, params, scheduled_ns=scheduled_ns),
        attempts=attempts,
        on_failed_attempt=lambda attempt, failure: earlier.append((attempt, failure)),
        may_go_on=may_go_on,
    )
    if request.reserved is not None:
        spending.settle(request.reserved, last)
    await scribe.keep(Outcome(request.id, last, attempted, tuple(earlier)))
    return last
