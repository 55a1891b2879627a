"""Load tests as tables: what was measured, how several compare, and what stands first when something is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wardround.load.measures import RESAMPLES, quantiles_resampled
from wardround.load.records import Record
from wardround.load.result import LoadResult
from wardround.reports.numbers import ABSENT, counted, dollars, number, percent, seconds
from wardround.reports.table import aligned

_SPREADS = (
    ("TTFT", "ttft"),
    ("TTFT, user's", "ttft_user"),
    ("TTFT of the answer", "ttft_answer"),
    ("ITL", "itl"),
    ("TPOT", "tpot"),
    ("E2E", "e2e"),
    ("E2E, user's", "e2e_user"),
    ("client lag", "lag"),
)
_PERCENTILES = ("50", "90", "95", "99")


def load_lines(result: LoadResult) -> list[str]:
    """One test for a terminal: warnings first, then what was asked, latencies, throughput, the server's side, cost."""
    lines = [*warnings(result), headline(result), ""]
    lines += aligned(("seconds", "n", "mean", "p50", "p90", "p95", "p99", "max"), latency_rows(result), _NUMBERS)
    lines += ["", *aligned(("per second", "value"), throughput_rows(result), {"value"})]
    for title, rows in (("server", server_rows(result)), ("cost", cost_rows(result))):
        if rows:
            lines += ["", *aligned((title, "value"), rows, {"value"})]
    if result.steps:
        lines += ["", *aligned(STEP_HEADER, step_rows(result), set(STEP_HEADER) - {"carried"}), "", knee_line(result)]
    return lines


_NUMBERS = {"n", "mean", "p50", "p90", "p95", "p99", "max"}
STEP_HEADER = ("rate/s", "requests", "failed", "TTFT p50", "user's p90", "goodput/s", "tokens/s", "carried")


def warnings(result: LoadResult) -> list[str]:
    """What makes the figures less than they seem, loudest first."""
    measured = result.measured
    found = []
    if measured["limited_by_client"]:
        lag = measured["lag"]["percentiles_s"]["99"]
        found.append(
            f"LIMITED BY THE CLIENT: it sent {1000 * lag:.1f} ms late at its 99th percentile, more than 5 % of the"
            " median TTFT; these are figures of the client, not of the server (more --workers, or a lower rate)"
        )
    if result.about.get("stopped"):
        found.append("STOPPED EARLY: the figures are of what there was by then")
    if measured["failures"]:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in measured["failures"].items())
        failed = sum(measured["failures"].values())
        found.append(f"{counted(failed, 'request')} of {measured['requests']:,} failed ({kinds}); no latency has them")
    if measured["uncounted"]:
        found.append(
            f"{counted(measured['uncounted'], 'answer')} came without a token count: tokens and TPOT are of the rest"
        )
    return found


def headline(result: LoadResult) -> str:
    """Model, shape, workload, window and outcome in one line."""
    about, measured, window = result.about, result.measured, result.window
    return (
        f"{about['model']}: {about['shape']}, workload {about['workload']};"
        f" {counted(measured['requests'], 'request')} in {_tenths(measured['window_s'])} s"
        f" (second {_tenths(window['from_s'])} to {_tenths(window['to_s'])};"
        f" {_tenths(window['warmup_cut_s'])} s of warm-up and {_tenths(window['rampdown_cut_s'])} s of the end cut),"
        f" {measured['succeeded']:,} answered"
    )


def _tenths(seconds: float) -> str:
    """Short tests have warm-ups of less than a second: what was cut must not read as nothing."""
    return f"{round(seconds, 1):,g}"


def latency_rows(result: LoadResult) -> list[tuple[str, ...]]:
    """A row for each time that was measured: n, mean, percentiles and maximum in seconds."""
    rows = []
    for title, name in _SPREADS:
        spread = result.measured[name]
        if spread is not None:
            values = [spread["mean_s"], *(spread["percentiles_s"][one] for one in _PERCENTILES), spread["max_s"]]
            rows.append((title, f"{spread['n']:,}", *map(precise, values)))
    return rows


def precise(value: float | None) -> str:
    """Seconds to a tenth of a millisecond below one second: a load test is about those."""
    return f"{value:.4f}" if value is not None and value < 1 else seconds(value)


def throughput_rows(result: LoadResult) -> list[tuple[str, str]]:
    """Requests, tokens and goodput a second, and what the client took for it."""
    measured = result.measured
    rows = [("requests", f"{measured['requests_per_s']:.2f}")]
    if measured["goodput_per_s"] is not None:
        objectives = ", ".join(
            f"{name.removesuffix('_s')} ≤ {precise(value)} s"
            for name, value in (
                ("ttft_s", result.slo.ttft_s),
                ("tpot_s", result.slo.tpot_s),
                ("e2e_s", result.slo.e2e_s),
            )
            if value is not None
        )
        rows.append((f"goodput ({objectives})", f"{measured['goodput_per_s']:.2f}"))
    for title, name in (("output tokens", "output_tokens_per_s"), ("prompt tokens", "prompt_tokens_per_s")):
        if measured[name] is not None:
            rows.append((title, f"{measured[name]:,.1f}"))
    tpot = measured["tpot"]
    if tpot is not None and tpot["percentiles_s"]["50"] > 0:
        rows.append(("output tokens for one user (1 / median TPOT)", f"{1 / tpot['percentiles_s']['50']:,.1f}"))
    if measured["client_s_per_1000_tokens"] is not None:
        rows.append(("client's processor seconds per 1,000 tokens", f"{measured['client_s_per_1000_tokens']:.4f}"))
    return rows


def server_rows(result: LoadResult) -> list[tuple[str, str]]:
    """The server's own account, where it gives one."""
    server = result.server or {}
    shown: list[tuple[str, str, Any]] = [
        ("requests running, mean", "running_mean", lambda value: f"{value:.1f}"),
        ("requests running, most", "running_max", lambda value: f"{value:.0f}"),
        ("requests waiting, mean", "waiting_mean", lambda value: f"{value:.1f}"),
        ("requests waiting, most", "waiting_max", lambda value: f"{value:.0f}"),
        ("KV cache in use, most (%)", "kv_cache_max", percent),
        ("prompt tokens found in the prefix cache (%)", "prefix_hit_share", percent),
        ("preemptions", "preemptions", lambda value: f"{value:.0f}"),
        ("server's own TTFT p50 (s)", "ttft_p50_s", precise),
        ("server's own TTFT p99 (s)", "ttft_p99_s", precise),
        ("GPU power, mean (W)", "gpu_power_mean_w", lambda value: f"{value:.0f}"),
        ("GPU energy (Wh)", "gpu_energy_wh", lambda value: f"{value:.2f}"),
        ("GPU memory, most (GiB)", "gpu_memory_max_bytes", lambda value: f"{value / 2**30:.1f}"),
    ]
    return [(title, write(server[name])) for title, name, write in shown if server.get(name) is not None]


def cost_rows(result: LoadResult) -> list[tuple[str, str]]:
    """What it costs at the measured throughput, where the model has a price."""
    cost = result.cost
    if cost is None:
        return []
    return [
        ("per hour", dollars(cost["usd_per_hour"])),
        ("per million output tokens", dollars(cost["usd_per_million_output_tokens"])),
        ("per 1,000 requests", dollars(cost["usd_per_1000_requests"])),
    ]


def step_rows(result: LoadResult) -> list[tuple[str, ...]]:
    """The rates that a sweep tried, in rising order."""
    rows: list[tuple[str, ...]] = []
    for step in sorted(result.steps, key=lambda one: float(one["rate_rps"])):
        measured = step["measured"]
        rows.append(
            (
                f"{step['rate_rps']:.2f}",
                number(measured["requests"]),
                number(sum(measured["failures"].values())),
                precise(_percentile(measured["ttft"], "50")),
                precise(_percentile(measured["ttft_user"], "90")),
                ABSENT if measured["goodput_per_s"] is None else f"{measured['goodput_per_s']:.2f}",
                ABSENT if measured["output_tokens_per_s"] is None else f"{measured['output_tokens_per_s']:,.0f}",
                "yes" if step["carried"] else "no",
            )
        )
    return rows


def knee_line(result: LoadResult) -> str:
    """Where the knee is, in words."""
    knee = result.knee or {}
    carried, refused = knee.get("carried_rps"), knee.get("refused_rps")
    if carried is None:
        return "knee: not even the lowest rate was carried"
    if refused is None:
        return f"knee: not reached; {carried:.2f} requests/s were carried"
    return f"knee: {carried:.2f} requests/s are carried, {refused:.2f} are not"


def _percentile(spread: Mapping[str, Any] | None, percentile: str) -> float | None:
    return None if spread is None else float(spread["percentiles_s"][percentile])


def comparison_lines(results: Sequence[LoadResult], records: Sequence[Sequence[Record]]) -> list[str]:
    """Several tests side by side, each after the first also as its difference from the first.

    Differences of percentiles have 95 % bootstrap intervals; the requests of two tests are not paired.
    """
    names = _distinct([str(result.about["model"]) for result in results])
    header = ("", *names)
    rows: list[tuple[str, ...]] = [
        ("shape", *(str(result.about["shape"]) for result in results)),
        ("workload", *(str(result.about["workload"]) for result in results)),
        ("requests", *(number(result.measured["requests"]) for result in results)),
        ("failed", *(number(sum(result.measured["failures"].values())) for result in results)),
    ]
    for title, name in _SPREADS:
        for percentile in ("50", "99"):
            values = [_percentile(result.measured[name], percentile) for result in results]
            if any(value is not None for value in values):
                rows.append((f"{title} p{percentile} (s)", *map(precise, values)))
    for title, name in (
        ("requests/s", "requests_per_s"),
        ("goodput/s", "goodput_per_s"),
        ("output tokens/s", "output_tokens_per_s"),
    ):
        figures = [result.measured[name] for result in results]
        if any(value is not None for value in figures):
            rows.append((title, *(ABSENT if value is None else f"{value:,.2f}" for value in figures)))
    for title, name in (
        ("$ per million output tokens", "usd_per_million_output_tokens"),
        ("$ per 1,000 requests", "usd_per_1000_requests"),
    ):
        if any(result.cost for result in results):
            rows.append((title, *(dollars(result.cost[name] if result.cost else None) for result in results)))
    lines = aligned(header, rows, set(names))
    for place in range(1, len(results)):
        lines += ["", *_differences(names[0], names[place], records[0], records[place], results[0], results[place])]
    return lines


def _differences(
    first: str, other: str, ours: Sequence[Record], theirs: Sequence[Record], a: LoadResult, b: LoadResult
) -> list[str]:
    rows = []
    for title, values in (("TTFT", _ttfts_s), ("E2E", _e2es_s)):
        one, two = values(_steady(ours, a)), values(_steady(theirs, b))
        if len(one) < 2 or len(two) < 2:
            continue
        for percentile in (50.0, 99.0):
            difference, low, high = percentile_difference(one, two, percentile)
            verdict = "no difference shown" if low <= 0 <= high else "slower" if difference > 0 else "faster"
            rows.append((f"{title} p{percentile:.0f}", f"{difference:+.4f}", f"[{low:+.4f}, {high:+.4f}]", verdict))
    header = (f"{other} − {first}", "seconds", "95 % interval", "verdict")
    return aligned(header, rows, {"seconds", "95 % interval"})


def percentile_difference(
    first_s: Sequence[float], other_s: Sequence[float], percentile: float, *, seed: int = 0
) -> tuple[float, float, float]:
    """Other minus first at a percentile, with a 95 % percentile bootstrap interval of two independent samples."""
    import numpy as np

    first, other = np.asarray(first_s), np.asarray(other_s)
    drawn = (
        quantiles_resampled(other, [percentile], resamples=RESAMPLES, seed=seed + 1)
        - quantiles_resampled(first, [percentile], resamples=RESAMPLES, seed=seed)
    )[:, 0]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(np.percentile(other, percentile) - np.percentile(first, percentile)), float(low), float(high)


def _steady(records: Sequence[Record], result: LoadResult) -> list[Record]:
    start_ns = int(result.about["start_ns"])
    from_ns, to_ns = (start_ns + int(result.window[end] * 1e9) for end in ("from_s", "to_s"))
    return [one for one in records if from_ns <= one.scheduled_ns < to_ns and not one.failure]


def _ttfts_s(records: Sequence[Record]) -> list[float]:
    return [(one.first_token_ns - one.sent_ns) / 1e9 for one in records if one.first_token_ns]


def _e2es_s(records: Sequence[Record]) -> list[float]:
    return [(one.done_ns - one.sent_ns) / 1e9 for one in records]


def _distinct(names: Sequence[str]) -> list[str]:
    """Names that tell columns apart: "model", "model (2)" …"""
    return [
        name if names[:place].count(name) == 0 else f"{name} ({names[:place].count(name) + 1})"
        for place, name in enumerate(names)
    ]
