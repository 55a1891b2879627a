"""In what order requests are taken: the study's, the prefix cache's, and the longest first at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.running.rounds import at_once, carry_out, rows
from tests.support import model_at, running_server, write_study
from wardround.catalogue import Limits
from wardround.endpoints import Failure, Params, Reply
from wardround.endpoints.limits import Gate, Limited
from wardround.journal import Journal
from wardround.running.connecting import Opened
from wardround.running.queues import PIECE_CHARACTERS, Beginnings, Request, ServerQueue, pieces_of
from wardround.running.spending import Spending
from wardround.study import load_study
from wardround.task import Message, Prompt

SHORT = "Is this short?"


@dataclass
class Asked:
    """A journal's requests, as the queue reads them: request -> its prompt's text."""

    texts: dict[int, str] = field(default_factory=dict)

    def requests(self, requests: Sequence[int]) -> dict[int, tuple[Prompt, Params]]:
        return {one: (Prompt((Message("user", self.texts[one]),)), Params(5)) for one in requests}


class Silent:
    """An endpoint that is never asked here."""


def reply(seconds: float) -> Reply:
    return Reply("A", "", "stop", 1, 1, 0, 0, None, int(seconds * 1e9), "")


@pytest.fixture
def spending(tmp_path: Path) -> Spending:
    with Journal.create(tmp_path / "run") as journal:
        return Spending(load_study(write_study(tmp_path / "study.yaml")), journal)


def queue_of(spending: Spending, cells: dict[int, list[str]], concurrency: int) -> ServerQueue:
    """A queue with cells of one model, each with its prompts' texts; requests are numbered from 0."""
    asked = Asked()
    queue = ServerQueue("server", spending)
    opened = Opened("server", Limited(Silent(), Gate(Limits())), concurrency)  # type: ignore[arg-type]
    for cell, texts in cells.items():
        for text in texts:
            number = len(asked.texts)
            asked.texts[number] = text
            queue.lane("m", cell, opened, asked).add(number, number, [cell])  # type: ignore[arg-type]
    return queue


def taken(queue: ServerQueue, number: int) -> list[Request]:
    async def main() -> list[Request]:
        found = [await queue.next() for _ in range(number)]
        return [one for one in found if one is not None]

    return asyncio.run(main())


def test_requests_are_taken_in_the_studys_order(spending: Spending) -> None:
    queue = queue_of(spending, {1: [SHORT] * 3, 2: [SHORT] * 2}, concurrency=2)
    assert [one.rank for one in taken(queue, 9)] == [0, 1, 2, 3, 4]


def test_cells_whose_requests_took_longest_go_first_at_the_end(spending: Spending) -> None:
    queue = queue_of(spending, {1: [SHORT] * 8, 2: [SHORT] * 8}, concurrency=4)
    first = taken(queue, 4)
    for request in first:
        queue.note(request, reply(0.1))
    # Of the second cell nothing is known but that it is there: it may be as long.
    [another] = taken(queue, 1)
    assert another.cells == [1]
    second_lane = next(lane for lane in queue._lanes.values() if lane is not another.lane)
    second_lane.note(Request(99, [2], 0, "m", another.endpoint, another.prompt, another.params), reply(1.0))
    assert [one.cells for one in taken(queue, 11)][3:] == [[2]] * 8


def test_while_much_is_left_the_longest_wait_for_their_turn(spending: Spending) -> None:
    queue = queue_of(spending, {1: [SHORT] * 40, 2: [SHORT] * 40}, concurrency=2)
    for request in taken(queue, 4):
        queue.note(request, reply(0.1))
    lanes = list(queue._lanes.values())
    lanes[1].note(Request(99, [2], 0, "m", lanes[1].endpoint, Prompt(()), Params(1)), reply(0.2))
    assert [one.rank for one in taken(queue, 6)] == [4, 5, 6, 7, 8, 9]


def record(name: str) -> str:
    return f"{name} " * PIECE_CHARACTERS


def test_one_request_of_those_that_begin_alike_goes_before_the_others(spending: Spending) -> None:
    texts = [record("one") + f"{number}?" for number in range(3)] + [
        record("two") + f"{number}?" for number in range(3)
    ]
    queue = queue_of(spending, {1: texts}, concurrency=4)
    first, second = taken(queue, 2)
    assert (first.rank, second.rank) == (0, 3)


def test_the_others_follow_when_it_is_answered(spending: Spending) -> None:
    texts = [record("one") + f"{number}?" for number in range(3)] + [record("two") + "?"]
    queue = queue_of(spending, {1: texts}, concurrency=4)
    [first] = taken(queue, 1)
    queue.note(first, reply(0.1))
    assert [one.rank for one in taken(queue, 3)] == [1, 2, 3]


def test_no_place_stays_empty_for_the_cache(spending: Spending) -> None:
    queue = queue_of(spending, {1: [record("one") + f"{number}?" for number in range(4)]}, concurrency=4)
    assert [one.rank for one in taken(queue, 4)] == [0, 1, 2, 3]


def test_what_failed_has_filled_no_cache(spending: Spending) -> None:
    texts = [record("one") + "1?", record("one") + "2?", record("one") + "3?", record("two") + "?"]
    queue = queue_of(spending, {1: texts}, concurrency=4)
    [first] = taken(queue, 1)
    queue.note(first, Failure("timeout", "too late", retryable=True))
    assert [one.rank for one in taken(queue, 3)] == [1, 3, 2]


def test_a_short_prompt_has_no_pieces_and_a_long_one_one_for_each_beginning() -> None:
    def pieces(text: str) -> tuple[int, ...]:
        return pieces_of(Prompt((Message("user", text),)))

    assert pieces("x" * 100) == ()
    one, other = pieces("x" * 3 * PIECE_CHARACTERS + "a"), pieces("x" * 3 * PIECE_CHARACTERS + "b")
    assert (len(one), one) == (3, other)
    assert pieces("y" + "x" * 3 * PIECE_CHARACTERS)[0] != one[0]


def test_beginnings_that_ended_are_not_under_way() -> None:
    beginnings = Beginnings()
    beginnings.begin([1, 2])
    beginnings.begin([1, 3])
    beginnings.end([1, 2], read=False)
    assert (beginnings.being_read([1]), beginnings.being_read([2])) == (True, False)


def test_two_servers_are_both_kept_busy_from_the_first_request_on(tmp_path: Path) -> None:
    with running_server("--ttft", "0.05") as one, running_server("--ttft", "0.05") as other:
        models = [model_at(one), model_at(other, "baseline-lead")]
        summary, _ = carry_out(tmp_path, models=models, concurrency=4)
    assert summary.complete
    spans: dict[str, list[tuple[int, int]]] = {}
    for endpoint, sent_ns, done_ns in rows(tmp_path, "SELECT endpoint, sent_ns, done_ns FROM replies"):
        spans.setdefault(endpoint, []).append((sent_ns, done_ns))
    assert [at_once(each) for each in spans.values()] == [4, 4]
    # Neither waits for the other to be done: half of the study each, in the same time.
    first, second = spans.values()
    assert min(first)[0] < max(second)[1]
    assert min(second)[0] < min(done for _, done in first[4:])
