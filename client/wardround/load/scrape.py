"""What the server says of itself meanwhile: Prometheus text at /metrics, read once a second while the test runs.

Each figure has the names it goes by at the engines (vLLM, TGI, SGLang, llama.cpp, the embedded server) and at the
exporters for NVIDIA GPUs (DCGM's, nvidia_gpu_exporter). A figure that the server does not give is absent.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from wardround.load.measures import Window
from wardround.wire import Wire, WireError

EVERY_S = 1.0
SCRAPE_S = 5.0
LARGEST_TEXT = 8 * 1024 * 1024

# Gauges are added up over their labels (several engines behind one door), shares are not.
GAUGES: dict[str, tuple[str, ...]] = {
    "running": (
        "vllm:num_requests_running",
        "tgi_batch_current_size",
        "sglang:num_running_reqs",
        "llamacpp:requests_processing",
    ),
    "waiting": (
        "vllm:num_requests_waiting",
        "tgi_queue_size",
        "sglang:num_queue_reqs",
        "llamacpp:requests_deferred",
    ),
    "gpu_power_w": ("DCGM_FI_DEV_POWER_USAGE", "nvidia_smi_power_draw_watts"),
    "gpu_memory_bytes": ("DCGM_FI_DEV_FB_USED", "nvidia_smi_memory_used_bytes"),
}
SHARES: dict[str, tuple[str, ...]] = {
    "kv_cache": (
        "vllm:kv_cache_usage_perc",
        "vllm:gpu_cache_usage_perc",
        "sglang:token_usage",
        "llamacpp:kv_cache_usage_ratio",
    ),
}
COUNTERS: dict[str, tuple[str, ...]] = {
    "prefix_queries": ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"),
    "prefix_hits": ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"),
    "preemptions": ("vllm:num_preemptions_total",),
}
TTFT_HISTOGRAMS = ("vllm:time_to_first_token_seconds", "sglang:time_to_first_token_seconds")
_MEGABYTES = "DCGM_FI_DEV_FB_USED"
_NAME_OF = {name: figure for kind in (GAUGES, SHARES, COUNTERS) for figure, names in kind.items() for name in names}


@dataclass(frozen=True, slots=True)
class Scraped:
    """The figures of one moment; `ttft_buckets` maps upper bounds in seconds to cumulative counts."""

    at_ns: int
    figures: Mapping[str, float]
    ttft_buckets: Mapping[float, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerSide:
    """The server's own account of a window; None where it gives none.

    Means and maxima of requests running and waiting, the greatest share of the KV cache in use, the share of prompt
    tokens found in the prefix cache, preemptions, its own TTFT (median and 99th percentile, read off a histogram: the
    upper bound of the bucket in which it lies, interpolated), and power (W, energy in Wh) and memory of its GPUs.
    """

    scrapes: int
    running_mean: float | None
    running_max: float | None
    waiting_mean: float | None
    waiting_max: float | None
    kv_cache_max: float | None
    prefix_hit_share: float | None
    preemptions: float | None
    ttft_p50_s: float | None
    ttft_p99_s: float | None
    gpu_power_mean_w: float | None
    gpu_energy_wh: float | None
    gpu_memory_max_bytes: float | None


def parse(text: str, at_ns: int) -> Scraped:
    """The known figures in Prometheus text; lines that are none are passed over with all that follows them."""
    from prometheus_client.parser import text_string_to_metric_families

    figures: dict[str, float] = {}
    buckets: dict[float, float] = {}
    families = iter(text_string_to_metric_families(text))
    while True:
        try:
            family = next(families)
        except StopIteration:
            break
        except ValueError:
            break
        for sample in family.samples:
            _take(sample, figures, buckets)
    return Scraped(at_ns, figures, buckets)


def _take(sample: Any, figures: dict[str, float], buckets: dict[float, float]) -> None:
    value = float(sample.value)
    if not math.isfinite(value):
        return
    figure = _NAME_OF.get(sample.name)
    if figure is not None:
        value = value * 1024 * 1024 if sample.name == _MEGABYTES else value
        figures[figure] = max(figures.get(figure, 0.0), value) if figure in SHARES else figures.get(figure, 0.0) + value
    elif sample.name.endswith("_bucket") and sample.name.removesuffix("_bucket") in TTFT_HISTOGRAMS:
        bound = float(sample.labels.get("le", "nan"))
        if not math.isnan(bound):
            buckets[bound] = buckets.get(bound, 0.0) + value


@asynccontextmanager
async def scraping(
    wire: Wire, urls: Sequence[str], headers: Mapping[str, str], *, every_s: float = EVERY_S
) -> AsyncIterator[list[Scraped]]:
    """Read `urls` (the server's /metrics, an exporter's) every `every_s` seconds; the list grows meanwhile.

    The key's headers go to the first alone. What cannot be reached or read gives no figures and no error.
    """
    found: list[Scraped] = []

    async def once() -> None:
        figures: dict[str, float] = {}
        buckets: dict[float, float] = {}
        for place, url in enumerate(urls):
            try:
                answer = await wire.get(url, headers=headers if place == 0 else {}, whole_s=SCRAPE_S)
            except WireError:
                continue
            if answer.status == 200 and len(answer.body) <= LARGEST_TEXT:
                one = parse(answer.body.decode("utf-8", "replace"), 0)
                figures |= one.figures
                buckets |= one.ttft_buckets
        if figures or buckets:
            found.append(Scraped(time.perf_counter_ns(), figures, buckets))

    async def again_and_again() -> None:
        while True:
            await asyncio.gather(once(), asyncio.sleep(every_s))

    reading = asyncio.create_task(again_and_again())
    try:
        yield found
        await once()
    finally:
        reading.cancel()


def summarised(scraped: Sequence[Scraped], window: Window) -> ServerSide | None:
    """The figures over a window: gauges of the moments within it, counters between its ends; None without any."""
    inside = [one for one in scraped if window.from_ns <= one.at_ns <= window.to_ns]
    if not inside:
        return None
    before = [one for one in scraped if one.at_ns <= window.from_ns][-1:] or inside[:1]
    after = [one for one in scraped if one.at_ns >= window.to_ns][:1] or inside[-1:]
    first, last = before[0], after[0]
    queries, hits = _grown(first, last, "prefix_queries"), _grown(first, last, "prefix_hits")
    buckets = {bound: count - first.ttft_buckets.get(bound, 0.0) for bound, count in last.ttft_buckets.items()}
    power = _mean(inside, "gpu_power_w")
    return ServerSide(
        scrapes=len(inside),
        running_mean=_mean(inside, "running"),
        running_max=_max(inside, "running"),
        waiting_mean=_mean(inside, "waiting"),
        waiting_max=_max(inside, "waiting"),
        kv_cache_max=_max(inside, "kv_cache"),
        prefix_hit_share=hits / queries if queries and hits is not None else None,
        preemptions=_grown(first, last, "preemptions"),
        ttft_p50_s=histogram_quantile(buckets, 0.5),
        ttft_p99_s=histogram_quantile(buckets, 0.99),
        gpu_power_mean_w=power,
        gpu_energy_wh=None if power is None else power * window.seconds / 3600,
        gpu_memory_max_bytes=_max(inside, "gpu_memory_bytes"),
    )


def histogram_quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """The value below which `share` of a cumulative histogram lies, in a straight line within its bucket.

    As Prometheus's `histogram_quantile`: in the bucket without an upper bound it is that bucket's lower bound. None of
    nothing.
    """
    bounds = sorted(buckets)
    if not bounds or buckets[bounds[-1]] <= 0:
        return None
    wanted = share * buckets[bounds[-1]]
    below, lower = 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= wanted:
            if math.isinf(bound) or buckets[bound] == below:
                return lower
            return lower + (bound - lower) * (wanted - below) / (buckets[bound] - below)
        below, lower = buckets[bound], bound
    return lower


def _values(scraped: Sequence[Scraped], figure: str) -> list[float]:
    return [one.figures[figure] for one in scraped if figure in one.figures]


def _mean(scraped: Sequence[Scraped], figure: str) -> float | None:
    values = _values(scraped, figure)
    return sum(values) / len(values) if values else None


def _max(scraped: Sequence[Scraped], figure: str) -> float | None:
    return max(_values(scraped, figure), default=None)


def _grown(first: Scraped, last: Scraped, figure: str) -> float | None:
    if figure not in first.figures or figure not in last.figures:
        return None
    # A counter that fell belongs to a server that was started anew: what it has counted since.
    grown = last.figures[figure] - first.figures[figure]
    return grown if grown >= 0 else last.figures[figure]
