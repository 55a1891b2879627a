from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.raw_server import http_answer, raw_server
from wardround.load.measures import Window
from wardround.load.scrape import Scraped, histogram_quantile, parse, scraping, summarised
from wardround.wire import Wire

VLLM = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 7.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 1000.0
# TYPE vllm:prefix_cache_hits_total counter
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 400.0
# TYPE vllm:num_preemptions_total counter
vllm:num_preemptions_total{engine="0",model_name="m"} 1.0
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1"} 5.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.2"} 9.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf"} 10.0
vllm:time_to_first_token_seconds_sum{engine="0"} 1.2
vllm:time_to_first_token_seconds_count{engine="0"} 10.0
"""


@pytest.mark.parametrize(
    ("text", "figures"),
    [
        (
            VLLM,
            {
                "running": 5,
                "waiting": 7,
                "kv_cache": 0.75,
                "prefix_queries": 1000,
                "prefix_hits": 400,
                "preemptions": 1,
            },
        ),
        ("# TYPE tgi_queue_size gauge\ntgi_queue_size 4\ntgi_batch_current_size 2\n", {"waiting": 4, "running": 2}),
        (
            'sglang:num_running_reqs{model_name="m"} 1.0\nsglang:num_queue_reqs{model_name="m"} 6.0\n'
            'sglang:token_usage{model_name="m"} 0.5\n',
            {"running": 1, "waiting": 6, "kv_cache": 0.5},
        ),
        ("llamacpp:requests_processing 2\nllamacpp:requests_deferred 3\n", {"running": 2, "waiting": 3}),
        (
            'DCGM_FI_DEV_POWER_USAGE{gpu="0"} 300\nDCGM_FI_DEV_POWER_USAGE{gpu="1"} 200\nDCGM_FI_DEV_FB_USED{gpu="0"} 2\n',
            {"gpu_power_w": 500, "gpu_memory_bytes": 2 * 1024 * 1024},
        ),
        ("vllm:num_requests_running NaN\n", {}),
    ],
)
def test_the_figures_of_each_engine_go_by_one_name(text: str, figures: dict[str, float]) -> None:
    assert parse(text, 0).figures == figures


@given(st.text(max_size=200))
def test_no_text_raises_anything(text: str) -> None:
    parse(text, 0)


def test_counters_are_reckoned_between_the_ends_of_the_window_and_gauges_within_it() -> None:
    def at(second: int, running: float, hits: float, queries: float, early: float, late: float) -> Scraped:
        figures = {"running": running, "prefix_hits": hits, "prefix_queries": queries, "gpu_power_w": 100.0}
        return Scraped(second * 10**9, figures, {0.1: early, 0.2: late, float("inf"): late})

    scraped = [at(0, 99, 0, 0, 0, 0), at(1, 1, 10, 100, 1, 1), at(2, 3, 50, 180, 1, 3), at(3, 98, 99, 999, 9, 9)]
    found = summarised(scraped, Window(1 * 10**9, 2 * 10**9))
    assert found is not None
    assert (found.running_mean, found.running_max, found.scrapes) == (2, 3, 2)
    assert found.prefix_hit_share == 40 / 80
    assert found.ttft_p50_s == pytest.approx(0.15)
    assert found.gpu_energy_wh == pytest.approx(100 / 3600)
    assert (found.waiting_max, found.preemptions, found.kv_cache_max) == (None, None, None)


def test_without_a_scrape_within_the_window_there_is_no_account() -> None:
    assert summarised([], Window(0, 1)) is None


def test_a_counter_that_fell_is_that_of_a_server_started_anew() -> None:
    scraped = [Scraped(0, {"preemptions": 9.0}), Scraped(10, {"preemptions": 2.0})]
    found = summarised(scraped, Window(0, 10))
    assert found is not None
    assert found.preemptions == 2


@pytest.mark.parametrize(
    ("buckets", "share", "value"),
    [
        ({0.1: 5, 0.2: 9, float("inf"): 10}, 0.5, 0.1),
        ({0.1: 5, 0.2: 9, float("inf"): 10}, 0.7, 0.15),
        ({0.1: 5, 0.2: 9, float("inf"): 10}, 0.99, 0.2),
        ({0.1: 0, float("inf"): 0}, 0.5, None),
        ({}, 0.5, None),
    ],
)
def test_quantiles_of_a_histogram(buckets: dict[float, float], share: float, value: float | None) -> None:
    assert histogram_quantile(buckets, share) == (None if value is None else pytest.approx(value))


def test_a_server_is_read_while_the_block_runs_and_the_key_goes_to_the_first_alone() -> None:
    async def read() -> tuple[list[Scraped], list[str]]:
        answer = http_answer(b"vllm:num_requests_running 3\n", content_type="text/plain")
        other = http_answer(b"DCGM_FI_DEV_POWER_USAGE 50\n", content_type="text/plain")
        async with raw_server([answer]) as engine, raw_server([other]) as exporter, Wire() as wire:
            urls = [f"{engine.url}/metrics", f"{exporter.url}/metrics", "http://127.0.0.1:9/metrics"]
            async with scraping(wire, urls, {"Authorization": "Bearer k"}, every_s=0.05) as found:
                await asyncio.sleep(0.3)
            keys = ["authorization" in one.asked[0].headers for one in (engine, exporter)]
            return found, list(map(str, keys))

    found, keys = asyncio.run(read())
    assert len(found) >= 3
    assert found[0].figures == {"running": 3, "gpu_power_w": 50}
    assert keys == ["True", "False"]
