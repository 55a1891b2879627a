"""Gates, proven by what reaches a server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from tests.endpoints.chat_server import PARAMS, ChatServer, Say, after, always, chat_server, limited, prompt
from wardround.catalogue import Limits
from wardround.endpoints import Failure, Params, Reply
from wardround.endpoints.limits import Gate, Limited, tokens_at_most
from wardround.endpoints.retries import LONGEST_RETRY_AFTER_S
from wardround.endpoints.tokens import estimate
from wardround.task import Message, Prompt
from wardround.wire import Wire


def with_server(
    test: Callable[[ChatServer, Limited], Awaitable[None]],
    limits: Limits | None = None,
    say: Callable[[int], Say] | None = None,
) -> ChatServer:
    """Run `test` against a server and an endpoint for it; returns the server as it was left."""

    async def main() -> ChatServer:
        async with chat_server(say) as server, Wire() as wire:
            async with asyncio.timeout(20):
                await test(server, limited(server.base_url, wire, limits))
            return server

    return asyncio.run(main())


async def ask_many(endpoint: Limited, number: int, params: Params = PARAMS) -> list[Reply | Failure]:
    return list(await asyncio.gather(*(endpoint.ask(prompt(), params) for _ in range(number))))


def test_no_more_requests_are_in_flight_than_allowed() -> None:
    async def test(_: ChatServer, endpoint: Limited) -> None:
        assert all(isinstance(one, Reply) for one in await ask_many(endpoint, 12))

    server = with_server(test, Limits(concurrency=3), always(delay_s=0.02))
    assert (len(server.came_s), server.most_at_once) == (12, 3)


def test_without_limits_all_go_at_once() -> None:
    async def test(_: ChatServer, endpoint: Limited) -> None:
        assert endpoint.gate.open
        await ask_many(endpoint, 12)

    assert with_server(test, say=always(delay_s=0.1)).most_at_once == 12


def test_a_minutes_requests_are_spread_and_none_is_lost() -> None:
    async def test(_: ChatServer, endpoint: Limited) -> None:
        await ask_many(endpoint, 25)

    # 1,200 a minute are two in a tenth of a second.
    server = with_server(test, Limits(requests_per_minute=1200))
    assert len(server.came_s) == 25
    assert server.came_s[-1] - server.came_s[0] >= 1.1
    assert sum(came_s < server.came_s[0] + 0.3 for came_s in server.came_s) <= 10


def test_few_requests_a_minute_go_one_by_one() -> None:
    async def test(_: ChatServer, endpoint: Limited) -> None:
        await ask_many(endpoint, 3)

    server = with_server(test, Limits(requests_per_minute=200))
    gaps_s = [later - earlier for earlier, later in pairwise(server.came_s)]
    assert min(gaps_s) > 0.2


def test_a_minutes_tokens_are_kept_by_the_servers_count() -> None:
    # 6,000 a minute are a hundred a second: a request that uses fifty every half second, whatever was granted to it.
    params = Params(max_tokens=300)

    async def test(_: ChatServer, endpoint: Limited) -> None:
        for _number in range(4):
            await endpoint.ask(prompt(), params)

    server = with_server(test, Limits(tokens_per_minute=6000), always(prompt_tokens=40, output_tokens=10))
    assert 1.0 <= server.came_s[-1] - server.came_s[0] < 6.0


def test_what_is_granted_counts_until_the_server_has_counted() -> None:
    async def test(server: ChatServer, endpoint: Limited) -> None:
        asking = [asyncio.create_task(endpoint.ask(prompt(), Params(max_tokens=4000))) for _ in range(3)]
        await asyncio.sleep(0.3)
        assert len(server.came_s) == 1
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    with_server(test, Limits(tokens_per_minute=6000), always(delay_s=5.0))


def test_a_prompt_is_estimated_with_its_beginning_of_the_answer_and_what_is_granted() -> None:
    asked = Prompt((Message("system", "a" * 30), Message("user", "b" * 31)), prefill="c" * 3)
    assert tokens_at_most(asked, Params(max_tokens=7)) == 10 + estimate("b" * 31) + 1 + 7


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("limits", [None, Limits(concurrency=8)])
def test_a_retry_after_holds_back_all_requests_and_not_only_the_one(status: int, limits: Limits | None) -> None:
    say = after(Say(status=status, headers={"Retry-After": "0.4"}))

    async def test(server: ChatServer, endpoint: Limited) -> None:
        first = await endpoint.ask(prompt(), PARAMS)
        assert isinstance(first, Failure)
        refused_s = time.monotonic()
        assert all(isinstance(one, Reply) for one in await ask_many(endpoint, 5))
        assert min(server.came_s[1:]) - refused_s >= 0.35

    with_server(test, limits, say)


@pytest.mark.parametrize("limits", [None, Limits(concurrency=4)])
def test_where_the_server_says_that_nothing_remains_its_reset_is_waited_for(limits: Limits | None) -> None:
    said = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "400ms"}

    async def test(server: ChatServer, endpoint: Limited) -> None:
        await ask_many(endpoint, 1)
        await ask_many(endpoint, 5)
        assert server.came_s[1] - server.came_s[0] >= 0.35

    with_server(test, limits, after(Say(headers=said)))


def test_after_a_rest_nothing_is_limited_any_more() -> None:
    async def test(_: ChatServer, endpoint: Limited) -> None:
        await ask_many(endpoint, 1)
        assert not endpoint.gate.open
        await ask_many(endpoint, 1)
        assert endpoint.gate.open

    with_server(test, say=after(Say(status=429, headers={"Retry-After": "0.05"})))


def test_a_rest_that_is_too_long_is_not_taken() -> None:
    headers = {"Retry-After": f"{LONGEST_RETRY_AFTER_S + 1:g}"}

    async def test(server: ChatServer, endpoint: Limited) -> None:
        await ask_many(endpoint, 4)
        assert len(server.came_s) == 4

    with_server(test, Limits(concurrency=1), always(status=429, headers=headers))


def test_a_cancelled_request_gives_its_place_back() -> None:
    async def test(server: ChatServer, endpoint: Limited) -> None:
        asking = asyncio.create_task(endpoint.ask(prompt(), PARAMS))
        await server.came.wait()
        assert not endpoint.gate.has_room
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert endpoint.gate.has_room
        assert isinstance(await endpoint.ask(prompt(), PARAMS), Reply)

    with_server(test, Limits(concurrency=1), after(Say(delay_s=10.0)))


def test_a_request_that_is_cancelled_while_it_waits_holds_nobody_up() -> None:
    async def test(_: ChatServer, endpoint: Limited) -> None:
        first = asyncio.create_task(endpoint.ask(prompt(), PARAMS))
        waiting = [asyncio.create_task(endpoint.ask(prompt(), PARAMS)) for _ in range(3)]
        await asyncio.sleep(0.02)
        assert endpoint.gate.busy
        for task in waiting[:2]:
            task.cancel()
        assert isinstance(await first, Reply)
        assert isinstance(await waiting[2], Reply)
        assert not endpoint.gate.busy
        assert endpoint.gate.has_room

    server = with_server(test, Limits(concurrency=1), always(delay_s=0.1))
    assert len(server.came_s) == 2


def test_whoever_keeps_requests_elsewhere_is_told_when_nobody_waits_any_more() -> None:
    told: list[bool] = []

    async def test(_: ChatServer, endpoint: Limited) -> None:
        endpoint.call_when_free(lambda: told.append(endpoint.busy))
        await ask_many(endpoint, 3)

    with_server(test, Limits(concurrency=1), always(delay_s=0.01))
    assert told == [False] * 3


def test_an_error_in_asking_gives_the_place_back() -> None:
    class Broken:
        async def ask(self, *_: object, **__: object) -> Reply | Failure:
            raise ZeroDivisionError

    async def main() -> None:
        endpoint = Limited(Broken(), Gate(Limits(concurrency=1)))
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await endpoint.ask(prompt(), PARAMS)

    asyncio.run(main())


def test_four_thousand_who_wait_do_not_keep_the_machine_busy() -> None:
    async def test(_: ChatServer, endpoint: Limited) -> None:
        waiting = [asyncio.create_task(endpoint.ask(prompt(), PARAMS)) for _ in range(4000)]
        await asyncio.sleep(0.2)
        before_s = time.process_time()
        await asyncio.sleep(0.5)
        assert time.process_time() - before_s < 0.2
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    server = with_server(test, Limits(requests_per_minute=1))
    assert len(server.came_s) == 1


def test_an_adaptive_endpoint_grows_while_the_latency_holds() -> None:
    async def test(_: ChatServer, endpoint: Limited) -> None:
        assert endpoint.gate.concurrency == 4
        await ask_many(endpoint, 100)
        assert endpoint.gate.concurrency > 6

    server = with_server(test, Limits(adaptive=True, concurrency=64), always(delay_s=0.05))
    assert 6 < server.most_at_once < 64


@pytest.mark.parametrize("status", [429, 503])
def test_an_adaptive_endpoint_shrinks_when_it_is_too_much_for_the_server(status: int) -> None:
    async def test(_: ChatServer, endpoint: Limited) -> None:
        await ask_many(endpoint, 4)
        assert endpoint.gate.concurrency == 2
        await ask_many(endpoint, 4)
        assert endpoint.gate.concurrency == 1

    with_server(test, Limits(adaptive=True), always(status=status, delay_s=0.02))
