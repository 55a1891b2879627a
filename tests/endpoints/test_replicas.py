"""Replicas, proven by what reaches their servers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.endpoints.chat_server import PARAMS, ChatServer, Say, after, always, chat_server, limited, prompt
from tests.wire.raw_server import closed_port
from wardround import load_task
from wardround.catalogue import Limits
from wardround.endpoints import Failure, Reply, ask_until_answered, replicas, retries
from wardround.endpoints.replicas import PIECE_CHARACTERS, Replicas
from wardround.task import Prompt
from wardround.wire import Wire

LONG = 20 * PIECE_CHARACTERS
T1 = load_task("longhealth:longhealth_t1")


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setattr(retries, "_backoff", lambda _state: 0.0)
        yield


def run(
    test: Callable[[Replicas, Sequence[ChatServer]], Awaitable[None]],
    *how: Callable[[int], Say],
    concurrency: int = 8,
    limits: Limits | None = None,
) -> list[ChatServer]:
    """Run `test` against servers that answer so, and the replicas that they are."""

    async def main() -> list[ChatServer]:
        async with contextlib.AsyncExitStack() as stack:
            servers = [await stack.enter_async_context(chat_server(say)) for say in how]
            wire = await stack.enter_async_context(Wire())
            each = limits or Limits(concurrency=concurrency)
            endpoints = {one.base_url: limited(one.base_url, wire, each) for one in servers}
            async with asyncio.timeout(20):
                await test(Replicas(endpoints, concurrency=concurrency), servers)
            return servers

    return asyncio.run(main())


def counts(servers: Sequence[ChatServer]) -> list[int]:
    return [len(server.came_s) for server in servers]


async def ask_each(endpoint: Replicas, prompts: Sequence[Prompt], at_once: int) -> list[Reply | Failure]:
    """Ask all prompts in order, so many at a time."""
    left = list(reversed(prompts))
    outcomes: list[Reply | Failure] = []

    async def work() -> None:
        while left:
            outcomes.append(await endpoint.ask(left.pop(), PARAMS))

    await asyncio.gather(*(work() for _ in range(at_once)))
    return outcomes


def distinct(number: int, start: int = 0) -> list[Prompt]:
    return [prompt(f"{place:04} " * 400) for place in range(start, start + number)]


def family(name: str, number: int) -> list[Prompt]:
    """Prompts of one long beginning and different ends."""
    return [prompt(f"{name} " * (LONG // (len(name) + 1)) + f"question {place}") for place in range(number)]


def test_unlike_prompts_are_spread_evenly() -> None:
    async def test(endpoint: Replicas, _: Sequence[ChatServer]) -> None:
        assert all(isinstance(one, Reply) for one in await ask_each(endpoint, distinct(60), 12))

    servers = run(test, always(delay_s=0.005), always(delay_s=0.005), always(delay_s=0.005))
    assert min(counts(servers)) >= 15


def test_the_slower_of_two_replicas_gets_less() -> None:
    async def test(endpoint: Replicas, _: Sequence[ChatServer]) -> None:
        await ask_each(endpoint, distinct(60), 6)

    quick, slow = counts(run(test, always(delay_s=0.01), always(delay_s=0.08)))
    assert quick > 2 * slow > 0


def test_prompts_of_one_beginning_go_to_one_replica_and_others_spread() -> None:
    async def test(endpoint: Replicas, servers: Sequence[ChatServer]) -> None:
        for name in ("ada", "bob", "cyd", "dee"):
            before = counts(servers)
            await ask_each(endpoint, family(name, 8), 2)
            assert sorted(now - then for now, then in zip(counts(servers), before, strict=True)) == [0, 8]

    assert counts(run(test, always(delay_s=0.005), always(delay_s=0.005))) == [16, 16]


def test_a_short_beginning_that_all_prompts_share_decides_nothing() -> None:
    shared = "You help physicians. " * 60
    asked = [prompt(f"{shared} {place:04} " + f"{place:04} " * 200) for place in range(40)]

    async def test(endpoint: Replicas, _: Sequence[ChatServer]) -> None:
        await ask_each(endpoint, asked, 8)

    assert min(counts(run(test, always(delay_s=0.005), always(delay_s=0.005)))) >= 12


def test_one_beginning_shared_by_all_does_not_leave_a_replica_idle() -> None:
    async def test(endpoint: Replicas, _: Sequence[ChatServer]) -> None:
        await ask_each(endpoint, family("ada", 40), 16)

    assert min(counts(run(test, always(delay_s=0.01), always(delay_s=0.01)))) >= 10


def who_got(prompts: dict[str, Prompt], at_once: int) -> dict[str, int]:
    """Which of two replicas each prompt was sent to."""

    async def test(endpoint: Replicas, _: Sequence[ChatServer]) -> None:
        await ask_each(endpoint, list(prompts.values()), at_once)

    servers = run(test, always(delay_s=0.002), always(delay_s=0.002))
    where = {text: number for number, server in enumerate(servers) for text in server.texts}
    return {name: where[one.messages[-1].content] for name, one in prompts.items()}


def test_longhealths_questions_on_a_patient_stay_together_where_they_show_the_records_in_one_order() -> None:
    samples = [one for one in T1.load(T1.samples) if one.id.endswith("/1")]
    in_order = [replace(one, documents=tuple(sorted(one.documents, key=lambda doc: doc.id))) for one in samples]
    where = who_got({one.id: T1.prompt(one, ()) for one in in_order}, at_once=3)
    by_patient = [
        {where[one.id] for one in samples if one.cluster == patient} for patient in {s.cluster for s in samples}
    ]
    assert [len(places) for places in by_patient] == [1] * len(by_patient)
    assert set().union(*by_patient) == {0, 1}


def test_longhealths_own_prompts_stay_together_as_far_as_they_begin_alike() -> None:
    samples = [one for one in T1.load(T1.samples) if one.id.endswith("/1")]
    where = who_got({one.id: T1.prompt(one, ()) for one in samples}, at_once=3)
    # Each question shuffles the records: what two prompts can share begins with the same one.
    first = {one.id: one.documents[0].id for one in samples}
    groups = [[where[name] for name in first if first[name] == document] for document in set(first.values())]
    together = sum(max(group.count(0), group.count(1)) for group in groups)
    assert together >= 0.95 * len(samples)
    assert 0.25 <= sum(where.values()) / len(where) <= 0.75


def test_a_replica_without_room_is_passed_over() -> None:
    async def test(endpoint: Replicas, servers: Sequence[ChatServer]) -> None:
        first = asyncio.create_task(endpoint.ask(family("ada", 1)[0], PARAMS))
        await asyncio.sleep(0.05)
        assert not endpoint.suits(family("ada", 2)[1])
        assert endpoint.suits(family("bob", 1)[0])
        await endpoint.ask(family("ada", 2)[1], PARAMS)
        await first
        assert counts(servers) == [1, 1]

    run(test, always(delay_s=0.2), always(), limits=Limits(concurrency=1))


def test_a_replica_that_asked_for_a_rest_is_passed_over() -> None:
    async def test(endpoint: Replicas, servers: Sequence[ChatServer]) -> None:
        assert isinstance(await endpoint.ask(family("ada", 1)[0], PARAMS), Failure)
        assert all(isinstance(one, Reply) for one in await ask_each(endpoint, family("ada", 6), 1))
        assert counts(servers) == [1, 6]

    run(test, always(status=429, headers={"Retry-After": "60"}), always())


async def until_answered(endpoint: Replicas, asked: Prompt, number: int, attempts: int = 6) -> tuple[object, int]:
    return await ask_until_answered(lambda: endpoint.ask(asked, PARAMS, scheduled_ns=number), attempts=attempts)


def test_a_failed_attempt_is_repeated_at_another_replica() -> None:
    async def test(endpoint: Replicas, servers: Sequence[ChatServer]) -> None:
        for number, asked in enumerate(family("ada", 2)):
            before = counts(servers)
            outcome, attempts = await until_answered(endpoint, asked, number)
            assert isinstance(outcome, Reply)
            assert (attempts, [now - then for now, then in zip(counts(servers), before, strict=True)]) == (2, [1, 1])

    run(test, after(Say(status=500), Say(status=500)), always())


@pytest.mark.parametrize("status", [401, 404])
def test_a_replica_that_no_longer_serves_the_model_costs_no_request(status: int) -> None:
    async def test(endpoint: Replicas, servers: Sequence[ChatServer]) -> None:
        for number, asked in enumerate(distinct(20)):
            outcome, _ = await until_answered(endpoint, asked, number)
            assert isinstance(outcome, Reply)
        assert counts(servers)[0] == 1

    run(test, always(status=status, words="The model `m` does not exist."), always())


def test_what_no_replica_accepts_is_not_asked_for_ever() -> None:
    async def test(endpoint: Replicas, servers: Sequence[ChatServer]) -> None:
        outcome, _ = await until_answered(endpoint, prompt(), 1)
        assert isinstance(outcome, Failure)
        assert sum(counts(servers)) == 2

    run(test, always(status=401), always(status=401))


def test_a_prompt_that_is_refused_says_nothing_about_the_replica() -> None:
    async def test(endpoint: Replicas, servers: Sequence[ChatServer]) -> None:
        for asked in distinct(8):
            outcome = await endpoint.ask(asked, PARAMS)
            assert isinstance(outcome, Failure)
            assert not outcome.retryable
        assert counts(servers) == [4, 4]

    run(test, always(status=400), always(status=400))


def test_a_replica_that_breaks_again_and_again_is_left_and_one_that_breaks_now_and_then_is_not() -> None:
    async def test(endpoint: Replicas, servers: Sequence[ChatServer]) -> None:
        for number, asked in enumerate(distinct(30)):
            await until_answered(endpoint, asked, number)
        assert counts(servers)[0] == replicas.BREAKS_UNTIL_LEFT
        # As many as the one that breaks now and then: what breaks on a kept connection goes there once more.
        assert counts(servers)[1] >= 12
        assert counts(servers)[2] > 5

    broken = always(hang_up=True)
    run(test, broken, always(), lambda number: Say(hang_up=number % 2 == 0))


def test_a_replica_that_is_left_is_tried_again_by_one_request_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "FIRST_REST_S", 0.3)

    async def test(endpoint: Replicas, servers: Sequence[ChatServer]) -> None:
        back, other = servers
        for number, asked in enumerate(distinct(12)):
            await until_answered(endpoint, asked, number)
        assert len(back.came_s) == replicas.BREAKS_UNTIL_LEFT
        await asyncio.sleep(0.35)
        back.say = other.say = always(delay_s=0.1)
        trying = asyncio.create_task(ask_each(endpoint, distinct(6, 20), 6))
        await asyncio.sleep(0.05)
        assert len(back.came_s) == replicas.BREAKS_UNTIL_LEFT + 1
        await trying
        await ask_each(endpoint, distinct(6, 30), 6)
        assert len(back.came_s) >= replicas.BREAKS_UNTIL_LEFT + 3

    run(test, always(status=500), always())


def test_each_vain_trial_doubles_the_rest_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "FIRST_REST_S", 0.05)
    monkeypatch.setattr(replicas, "LONGEST_REST_S", 0.2)

    async def test(endpoint: Replicas, servers: Sequence[ChatServer]) -> None:
        for number in range(300):
            await until_answered(endpoint, prompt(f"{number}"), number)
            await asyncio.sleep(0.004)
        broken = servers[0].came_s[replicas.BREAKS_UNTIL_LEFT - 1 :]
        rests_s = [later - earlier for earlier, later in pairwise(broken)]
        assert len(rests_s) >= 3
        assert all(rest_s >= least for rest_s, least in zip(rests_s, (0.05, 0.1, 0.2, 0.2, 0.2), strict=False))

    run(test, always(status=500), always())


def test_requests_that_fail_together_are_one_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "FIRST_REST_S", 0.2)

    async def test(endpoint: Replicas, servers: Sequence[ChatServer]) -> None:
        await ask_each(endpoint, distinct(16), 16)
        failed = len(servers[0].came_s)
        assert failed > 2 * replicas.BREAKS_UNTIL_LEFT
        await asyncio.sleep(0.25)
        await ask_each(endpoint, distinct(4, 20), 4)
        assert len(servers[0].came_s) == failed + 1

    run(test, always(status=500, delay_s=0.05), always(delay_s=0.05))


def test_an_answer_from_before_a_replica_was_left_does_not_bring_it_back() -> None:
    async def test(endpoint: Replicas, servers: Sequence[ChatServer]) -> None:
        early = asyncio.create_task(endpoint.ask(prompt("early"), PARAMS))
        await servers[0].came.wait()
        await ask_each(endpoint, distinct(24), 6)
        left_after = len(servers[0].came_s)
        assert left_after > replicas.BREAKS_UNTIL_LEFT
        assert isinstance(await early, Reply)
        await ask_each(endpoint, distinct(6, 20), 1)
        assert len(servers[0].came_s) == left_after

    run(test, after(Say(delay_s=0.4), then=Say(status=500)), always(delay_s=0.01))


def test_an_unreachable_replica_takes_no_part_from_the_beginning_if_that_is_known() -> None:
    async def main() -> None:
        async with chat_server() as server, Wire() as wire:
            gone = f"http://127.0.0.1:{closed_port()}/v1"
            endpoints = {url: limited(url, wire) for url in (gone, server.base_url)}
            endpoint = Replicas(endpoints, concurrency=4, left=[gone])
            for asked in distinct(4):
                assert isinstance(await endpoint.ask(asked, PARAMS), Reply)

    asyncio.run(main())


def test_one_unreachable_replica_is_no_sign_that_all_are_gone_and_all_of_them_are() -> None:
    async def main() -> None:
        async with chat_server() as server, Wire() as wire:
            gone = [f"http://127.0.0.1:{closed_port()}/v1" for _ in range(2)]
            one = Replicas({url: limited(url, wire) for url in (gone[0], server.base_url)}, concurrency=4)
            both = Replicas({url: limited(url, wire) for url in gone}, concurrency=4)
            for number, asked in enumerate(distinct(4)):
                assert isinstance((await until_answered(one, asked, number))[0], Reply)
                failed, attempts = await until_answered(both, asked, number, attempts=3)
                assert isinstance(failed, Failure)
                assert (failed.kind, attempts) == ("connect", 3)
            assert not one.cut_off
            assert both.cut_off

    asyncio.run(main())


def test_a_cancelled_request_leaves_nothing_behind() -> None:
    async def test(endpoint: Replicas, servers: Sequence[ChatServer]) -> None:
        asking = [asyncio.create_task(endpoint.ask(one, PARAMS)) for one in distinct(6)]
        await asyncio.sleep(0.05)
        assert endpoint.busy
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        assert not endpoint.busy
        for server in servers:
            server.say = always()
        assert all(isinstance(one, Reply) for one in await ask_each(endpoint, distinct(8), 2))
        assert abs(counts(servers)[0] - counts(servers)[1]) <= 2

    run(test, always(delay_s=5), always(delay_s=5), limits=Limits(concurrency=1), concurrency=1)
