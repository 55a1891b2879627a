from __future__ import annotations

import asyncio
import json
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.baseline.test_server import CASE, LEAD, async_client_of, chat, client_of
from tests.support import Server, running_server
from wardround.baseline.prefix_cache import BLOCK_TOKENS, PrefixCache, blocks_of

# Wake-ups are in whole milliseconds, and rounded.
SLACK_NS = 1_000_000
LONG = " ".join(f"word{number}" for number in range(4 * BLOCK_TOKENS))


def get(server: Server, path: str) -> bytes:
    with urllib.request.urlopen(server.base_url.removesuffix("/v1") + path, timeout=20) as answer:
        return bytes(answer.read())


def truths(server: Server, *ids: str) -> list[dict[str, Any]]:
    """The server's own times, of all requests or of those with these ids."""
    query = urllib.parse.urlencode([("id", one) for one in ids])
    found: list[dict[str, Any]] = json.loads(get(server, f"/ground-truth?{query}"))["requests"]
    return found


def metrics(server: Server) -> dict[str, float]:
    lines = get(server, "/metrics").decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def gauge(server: Server, name: str) -> float:
    return metrics(server)[f'vllm:{name}{{model_name="baselines"}}']


async def together(server: Server, conversations: Sequence[Sequence[tuple[str, str]]]) -> None:
    """Ask for a stream for each conversation, all at once."""

    async def one(client: openai.AsyncOpenAI, turns: Sequence[tuple[str, str]]) -> None:
        messages: Any = [{"role": role, "content": content} for role, content in turns]
        stream: Any = await client.chat.completions.create(model=LEAD, messages=messages, stream=True)
        async for _ in stream:
            pass

    async with async_client_of(server) as client:
        await asyncio.gather(*(one(client, turns) for turns in conversations))


@pytest.mark.parametrize("streamed", [True, False])
def test_the_server_knows_when_each_token_was_sent(streamed: bool) -> None:
    with running_server("--ttft", "0.1", "--tpot", "0.01") as server, client_of(server) as client:
        options: dict[str, Any] = {"stream": True} if streamed else {}
        answer = chat(client, extra_headers={"x-request-id": "mine"}, **options)
        chunks = list(answer) if streamed else [answer]
        (truth,) = truths(server, "mine")
        assert truths(server, chunks[0].id) == [truth]
    assert (truth["id"], truth["request_id"], truth["streamed"]) == (chunks[0].id, "mine", streamed)
    assert (truth["prompt_tokens"], truth["cached_tokens"], truth["completion_tokens"]) == (12, 0, 12)
    assert truth["first_token_ns"] - truth["received_ns"] >= 100_000_000 - SLACK_NS
    assert truth["done_ns"] - truth["received_ns"] >= 100_000_000 + 11 * 10_000_000 - SLACK_NS
    if streamed:
        assert len(truth["token_ns"]) == 12
        assert truth["token_ns"][0] == truth["first_token_ns"]
        assert truth["token_ns"] == sorted(truth["token_ns"])
    else:
        assert truth["token_ns"] == []


def test_times_are_by_the_clock_of_this_process_too(server: Server) -> None:
    before_ns = time.perf_counter_ns()
    with client_of(server) as client:
        answer = chat(client)
    (truth,) = truths(server, answer.id)
    assert before_ns < truth["received_ns"] <= truth["first_token_ns"] <= truth["done_ns"] < time.perf_counter_ns()


@pytest.mark.parametrize("streamed", [True, False])
def test_an_answer_without_a_token_has_no_first_one(server: Server, streamed: bool) -> None:
    with client_of(server) as client:
        headers = {"x-request-id": f"empty {streamed}".replace(" ", "-")}
        list(chat(client, "baseline-majority", stream=streamed, extra_headers=headers))
    (truth,) = truths(server, headers["x-request-id"])
    assert (truth["first_token_ns"], truth["token_ns"], truth["completion_tokens"]) == (None, [], 0)
    assert truth["done_ns"] > truth["received_ns"]


def test_only_so_many_times_are_kept() -> None:
    with running_server("--ground-truth", "3") as server, client_of(server) as client:
        ids = [chat(client).id for _ in range(5)]
        assert [truth["id"] for truth in truths(server)] == ids[-3:]


def test_no_times_are_kept_where_none_are_wanted() -> None:
    with running_server("--ground-truth", "0") as server, client_of(server) as client:
        chat(client)
        with pytest.raises(urllib.error.HTTPError) as caught:
            truths(server)
        caught.value.close()
        assert caught.value.code == 404


def test_a_long_prompt_takes_longer_to_its_first_token() -> None:
    with running_server("--prefill-per-token", "0.005") as server, client_of(server) as client:
        ids = [chat(client, messages=[{"role": "user", "content": text}], max_tokens=1).id for text in ("x", LONG)]
        short, long = truths(server, *ids)
    assert long["first_token_ns"] - long["received_ns"] >= 64 * 5_000_000 - SLACK_NS
    assert short["first_token_ns"] - short["received_ns"] >= 5_000_000 - SLACK_NS


@contextmanager
def others_at_their_tokens(server: Server, count: int) -> Iterator[None]:
    """So many streams that have begun and will not end before they are left."""
    turns = [("user", "x"), ("assistant", "w " * 5000), ("user", "w " * 5000)]
    messages = [{"role": role, "content": content} for role, content in turns]
    with client_of(server) as client, ExitStack() as stack:
        for _ in range(count):
            stream = stack.enter_context(chat(client, messages=messages, stream=True, max_tokens=5000))
            next(chunk for chunk in stream if chunk.choices[0].delta.content)
        yield


@pytest.mark.parametrize("streamed", [True, False])
def test_tokens_take_longer_the_more_requests_are_at_theirs(streamed: bool) -> None:
    options = ("--ttft", "0.01", "--tpot", "0.005", "--decode-slope", "0.01")
    with running_server(*options) as server, client_of(server) as client:
        with others_at_their_tokens(server, 2):
            answer = chat(client, max_tokens=6, extra_headers={"x-request-id": "third"}, stream=streamed)
            list(answer)
        (truth,) = truths(server, "third")
    assert truth["done_ns"] - truth["received_ns"] >= 10_000_000 + 5 * 25_000_000 - SLACK_NS


def test_a_request_that_is_alone_is_not_slowed_down_by_itself() -> None:
    options = ("--decode-slope", "1000")
    with running_server(*options) as server, client_of(server) as client:
        assert chat(client).choices[0].message.content == CASE


def test_a_prompt_that_begins_like_an_earlier_one_is_read_faster_and_says_so() -> None:
    def ask(client: openai.OpenAI, text: str, **options: Any) -> Any:
        return chat(client, messages=[{"role": "user", "content": text}], max_tokens=1, **options)

    with (
        running_server("--prefill-per-token", "0.002", "--prefix-cache", "1000") as server,
        client_of(server) as client,
    ):
        first, second = ask(client, LONG), ask(client, f"{LONG} and more")
        usages = [one.usage.prompt_tokens_details.cached_tokens for one in (first, second)]
        # All full blocks of it; of the same again not the last one, whose last token must be computed.
        assert usages == [0, 4 * BLOCK_TOKENS]
        assert ask(client, LONG).usage.prompt_tokens_details.cached_tokens == 3 * BLOCK_TOKENS
        *_, last = ask(client, LONG, stream=True, stream_options={"include_usage": True})
        assert last.usage.prompt_tokens_details.cached_tokens == 3 * BLOCK_TOKENS
        told = truths(server, first.id, second.id)
        assert [truth["cached_tokens"] for truth in told] == usages
        assert told[0]["first_token_ns"] - told[0]["received_ns"] >= 64 * 2_000_000 - SLACK_NS
        counted = 64 + 66 + 64 + 64, 64 + 48 + 48
        assert (gauge(server, "prefix_cache_queries_total"), gauge(server, "prefix_cache_hits_total")) == counted


def test_without_a_cache_nothing_is_said_of_it(server: Server) -> None:
    with client_of(server) as client:
        assert chat(client).usage.prompt_tokens_details is None


def test_where_nothing_takes_time_the_cache_still_tells() -> None:
    with running_server("--prefix-cache", "100") as server, client_of(server) as client:
        messages = [{"role": "user", "content": LONG}]
        chat(client, messages=messages)
        assert chat(client, messages=messages).usage.prompt_tokens_details.cached_tokens == 3 * BLOCK_TOKENS


def test_the_metrics_count_what_runs_and_what_waits() -> None:
    async def main(server: Server) -> None:
        asking = asyncio.create_task(together(server, [[("user", CASE)]] * 5))
        await asyncio.to_thread(wait_until, server, (2, 3))
        # Whoever leaves takes no place any more, neither a slot nor one in the queue.
        asking.cancel()
        await asyncio.wait([asking])
        await asyncio.to_thread(wait_until, server, (0, 0))

    def wait_until(server: Server, expected: tuple[int, int]) -> None:
        while (gauge(server, "num_requests_running"), gauge(server, "num_requests_waiting")) != expected:
            time.sleep(0.01)

    with running_server("--slots", "2", "--ttft", "600") as server:
        asyncio.run(main(server))
        assert server.stats()["peak_in_flight"] == 5


def test_the_metrics_tell_how_long_answers_took() -> None:
    with running_server("--ttft", "0.05") as server, client_of(server) as client:
        chat(client)
        list(chat(client, stream=True, max_tokens=3))
        told = metrics(server)
    label = 'model_name="baselines"'
    assert told[f'vllm:request_success_total{{finished_reason="stop",{label}}}'] == 1
    assert told[f'vllm:request_success_total{{finished_reason="length",{label}}}'] == 1
    assert told[f"vllm:prompt_tokens_total{{{label}}}"] == 24
    assert told[f"vllm:generation_tokens_total{{{label}}}"] == 12 + 3
    for name in ("time_to_first_token_seconds", "e2e_request_latency_seconds"):
        assert told[f"vllm:{name}_count{{{label}}}"] == 2
        assert told[f'vllm:{name}_bucket{{le="0.04",{label}}}'] == 0
        assert told[f'vllm:{name}_bucket{{le="+Inf",{label}}}'] == 2
        assert told[f"vllm:{name}_sum{{{label}}}"] >= 2 * 0.049


def test_the_cache_s_use_is_told() -> None:
    with running_server("--prefix-cache", "128") as server, client_of(server) as client:
        chat(client, messages=[{"role": "user", "content": LONG}])
        assert gauge(server, "kv_cache_usage_perc") == 0.5


def test_slots_are_given_one_after_the_other_in_the_order_in_which_requests_came() -> None:
    with running_server("--slots", "1", "--ttft", "0.05") as server:
        asyncio.run(together(server, [[("user", CASE)]] * 4))
        done = truths(server)
    assert done == sorted(done, key=lambda truth: truth["received_ns"])
    for earlier, later in pairwise(done):
        assert later["first_token_ns"] - earlier["done_ns"] >= 50_000_000 - SLACK_NS


def blocks(text: str, role: str = "user") -> tuple[int, ...]:
    return blocks_of([(role, text)])


def test_a_block_is_known_by_all_that_stands_before_it() -> None:
    assert len(blocks(LONG)) == 4
    assert blocks(f"{LONG} more")[:4] == blocks(LONG)
    assert not set(blocks(f"other {LONG}")) & set(blocks(LONG))
    assert not set(blocks(LONG, "system")) & set(blocks(LONG))


def test_only_full_blocks_count() -> None:
    assert blocks("x " * (BLOCK_TOKENS - 2)) == ()
    assert blocks_of([]) == ()


def test_what_was_not_used_for_longest_is_given_up_from_its_end() -> None:
    cache = PrefixCache(5 * BLOCK_TOKENS)
    one, other = blocks(LONG), blocks(f"other {LONG}")
    cache.keep(one)
    cache.keep(other[:2])
    assert cache.look_up(one, 1000) == 3 * BLOCK_TOKENS
    assert cache.look_up(other, 1000) == 2 * BLOCK_TOKENS
    assert cache.used_tokens == 5 * BLOCK_TOKENS


def test_a_prompt_larger_than_the_cache_keeps_its_beginning() -> None:
    cache = PrefixCache(2 * BLOCK_TOKENS)
    cache.keep(blocks(LONG))
    assert cache.look_up(blocks(LONG), 64) == 2 * BLOCK_TOKENS


@given(st.lists(st.text("ab ", max_size=200), max_size=8), st.integers(0, 6))
def test_the_cache_never_holds_more_than_it_may_nor_finds_what_it_was_not_given(prompts: list[str], size: int) -> None:
    cache, given_so_far = PrefixCache(size * BLOCK_TOKENS), set[int]()
    for prompt in prompts:
        tokens = len(prompt.split())
        found = cache.look_up(blocks(prompt), tokens)
        assert found == 0 or found < tokens
        assert set(blocks(prompt)[: found // BLOCK_TOKENS]) <= given_so_far
        cache.keep(blocks(prompt))
        given_so_far |= set(blocks(prompt))
        assert cache.used_tokens <= size * BLOCK_TOKENS
