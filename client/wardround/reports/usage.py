"""What it took: requests, tokens, times and money, of each cell, each model and the whole run.

A request that several cells ask (equal content is asked once) counts in each of them, and once in the total of a model
and of the run: the cells of a model may add up to more than its total. So may their hours: cells are asked at the
same time. Only answered attempts are reckoned; what failed attempts used up is not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wardround.catalogue import EMBEDDED, Price
from wardround.journal import Journal
from wardround.journal.usage import Took, at_work_s, cost_usd, took_in_cell


@dataclass(frozen=True, slots=True)
class Usage:
    """What the answered requests of a cell, a model or a run took.

    `samples` are those that the `requests` answered; equal requests are one. Token counts are sums of what the servers
    gave, None where they gave nothing; of `requests_without_tokens` the prompt's or the answer's count is missing.
    `cached_tokens` of the prompt's tokens came from the server's cache. `reasoning_share` is the reasoning's part of
    all bytes written (tokens are not counted apart), None if nothing was written.

    Latency is E2E, done − sent of the attempt that was answered; TTFT is first token − sent, None unless streamed;
    percentiles are exact, between two values linearly. `at_work_s`: seconds in which a request was under way.

    `cost_usd` is reckoned from the row's price, see `cost_usd` in `journal.usage`; 0 for the embedded server's rows,
    None without a price. `cost_is_least`: a part of the cost is not known and the rest is given.
    """

    requests: int
    samples: int
    requests_without_tokens: int
    prompt_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    reasoning_share: float | None
    latency_p50_s: float | None
    latency_p95_s: float | None
    ttft_p50_s: float | None
    at_work_s: float
    cost_usd: float | None
    cost_is_least: bool

    @property
    def cost_per_1000_usd(self) -> float | None:
        """The cost of a thousand samples, were they like these."""
        return None if self.cost_usd is None or not self.samples else 1000 * self.cost_usd / self.samples


@dataclass(frozen=True, slots=True)
class RunUsage:
    """What a run took: by cell, by model, and all models together but for the `embedded` ones."""

    cells: Mapping[int, Usage]
    models: Mapping[str, Usage]
    whole: Usage
    embedded: frozenset[str]


def usage_of(journal: Journal) -> RunUsage:
    """What the cells of a run's study took, at the prices of the rows it was last run with."""
    rows = {row["name"]: row for row in journal.manifest().get("study", {}).get("models", [])}
    prices = {name: _price(row) for name, row in rows.items()}
    samples = {cell: answered for cell, (_, answered) in journal.progress().items()}
    cells: dict[int, Usage] = {}
    took: dict[str, dict[int, Took]] = {}
    answered: dict[str, int] = {}
    for cell in journal.cells():
        here = took_in_cell(journal, cell.id)
        cells[cell.id] = _usage(here, samples[cell.id], prices.get(cell.model))
        took.setdefault(cell.model, {}).update((one.request, one) for one in here)
        answered[cell.model] = answered.get(cell.model, 0) + samples[cell.id]
    embedded = frozenset(name for name, row in rows.items() if row["base_url"] == EMBEDDED)
    asked = [model for model in took if model not in embedded]
    return RunUsage(
        cells=cells,
        models={model: _usage([*took[model].values()], answered[model], prices.get(model)) for model in took},
        whole=_whole({model: took[model] for model in asked}, sum(answered[model] for model in asked), prices),
        embedded=embedded,
    )


def _price(row: Mapping[str, Any]) -> Price | None:
    if row["base_url"] == EMBEDDED:
        return Price()
    return Price(**row["price"]) if row.get("price") else None


def _usage(took: Sequence[Took], samples: int, price: Price | None) -> Usage:
    uncounted = sum(not one.counted for one in took)
    prompt = _sum([one.prompt_tokens for one in took])
    output = _sum([one.output_tokens for one in took])
    reasoning = sum(one.reasoning_bytes for one in took)
    written = reasoning + sum(one.text_bytes for one in took)
    latencies_ns = [one.e2e_ns for one in took]
    at_work = at_work_s(took)
    return Usage(
        requests=len(took),
        samples=samples,
        requests_without_tokens=uncounted,
        prompt_tokens=prompt,
        output_tokens=output,
        cached_tokens=_sum([one.cached_tokens for one in took]),
        reasoning_share=reasoning / written if written else None,
        latency_p50_s=_percentile_s(latencies_ns, 50),
        latency_p95_s=_percentile_s(latencies_ns, 95),
        ttft_p50_s=_percentile_s([one.ttft_ns for one in took if one.ttft_ns is not None], 50),
        at_work_s=at_work,
        cost_usd=None if price is None else cost_usd(price, prompt or 0, output or 0, at_work),
        cost_is_least=price is not None and bool(uncounted) and bool(price.input or price.output),
    )


def _whole(took: Mapping[str, Mapping[int, Took]], samples: int, prices: Mapping[str, Price | None]) -> Usage:
    """All models together; a request that two rows share is the first one's, and paid at its price."""
    seen: dict[int, Took] = {}
    parts = []
    for model, here in took.items():
        own = [one for request, one in here.items() if request not in seen]
        seen.update(here)
        parts.append(_usage(own, 0, prices.get(model)))
    known = [part.cost_usd for part in parts if part.cost_usd is not None]
    everything = _usage([*seen.values()], samples, None)
    is_least = len(known) < len(parts) or any(part.cost_is_least for part in parts)
    return replace(everything, cost_usd=sum(known) if known else None, cost_is_least=bool(known) and is_least)


def _sum(counts: Sequence[int | None]) -> int | None:
    given = [count for count in counts if count is not None]
    return sum(given) if given else None


def _percentile_s(values_ns: Sequence[int], percentile: float) -> float | None:
    return float(np.percentile(values_ns, percentile)) / 1e9 if values_ns else None


def as_fields(usage: Usage) -> dict[str, Any]:
    """A cell's usage as the fields that stand beside its results in JSON and CSV."""
    return {
        "requests": usage.requests,
        "requests_without_tokens": usage.requests_without_tokens,
        "prompt_tokens": usage.prompt_tokens,
        "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cached_tokens,
        "reasoning_share": usage.reasoning_share,
        "latency_p50_s": usage.latency_p50_s,
        "latency_p95_s": usage.latency_p95_s,
        "ttft_p50_s": usage.ttft_p50_s,
        "at_work_s": usage.at_work_s,
        "cost_usd": usage.cost_usd,
        "cost_per_1000_usd": usage.cost_per_1000_usd,
        "cost_is_least": usage.cost_is_least,
    }
