"""What the server has done and is doing, in Prometheus' text format and by vLLM's names."""

from __future__ import annotations

from collections.abc import Iterator

from wardround.baseline.state import BUCKETS_S, Histogram, State

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LABEL = 'model_name="baselines"'


def exposition(state: State) -> str:
    """The body of /metrics."""
    return "\n".join(_lines(state)) + "\n"


def _lines(state: State) -> Iterator[str]:
    engine = state.engine
    for name, words, value in (
        ("num_requests_running", "Requests that have a slot.", engine.running),
        ("num_requests_waiting", "Requests that wait for a slot.", engine.waiting),
        ("kv_cache_usage_perc", "Share of the prefix cache in use, from 0 to 1.", engine.memory_used),
    ):
        yield from _plain(name, "gauge", words, float(value))
    for name, words, value in (
        ("prefix_cache_queries", "Prompt tokens looked for in the prefix cache.", engine.cache.queries),
        ("prefix_cache_hits", "Prompt tokens found in the prefix cache.", engine.cache.hits),
        ("num_preemptions", "Requests put off for want of memory; never any here.", 0),
        ("prompt_tokens", "Prompt tokens of the answers given.", state.prompt_tokens),
        ("generation_tokens", "Tokens generated.", state.output_tokens),
    ):
        yield from _plain(f"{name}_total", "counter", words, float(value))
    yield "# HELP vllm:request_success_total Answers given, by why they ended."
    yield "# TYPE vllm:request_success_total counter"
    for reason in ("stop", "length"):
        yield f'vllm:request_success_total{{finished_reason="{reason}",{_LABEL}}} {float(state.finished[reason])}'
    yield from _histogram("time_to_first_token_seconds", "Time until the first token.", state.first_tokens)
    yield from _histogram("e2e_request_latency_seconds", "Time until the whole answer.", state.whole_answers)


def _plain(name: str, kind: str, words: str, value: float) -> Iterator[str]:
    yield f"# HELP vllm:{name} {words}"
    yield f"# TYPE vllm:{name} {kind}"
    yield f"vllm:{name}{{{_LABEL}}} {value}"


def _histogram(name: str, words: str, histogram: Histogram) -> Iterator[str]:
    yield f"# HELP vllm:{name} {words}"
    yield f"# TYPE vllm:{name} histogram"
    below = 0
    for bound, count in zip((*BUCKETS_S, float("inf")), histogram.counts, strict=True):
        below += count
        shown = "+Inf" if bound == float("inf") else str(bound)
        yield f'vllm:{name}_bucket{{le="{shown}",{_LABEL}}} {float(below)}'
    yield f"vllm:{name}_count{{{_LABEL}}} {float(below)}"
    yield f"vllm:{name}_sum{{{_LABEL}}} {histogram.sum_s}"
