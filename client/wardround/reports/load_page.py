"""A load test, or several side by side, as a page: figures, each with its numbers below it."""

from __future__ import annotations

from collections.abc import Sequence

from wardround.load.result import LoadResult
from wardround.reports import html
from wardround.reports.figures import DASHES, GREY, MARKERS, SERIES, as_svg, figure
from wardround.reports.load import (
    STEP_HEADER,
    cost_rows,
    headline,
    knee_line,
    latency_rows,
    server_rows,
    step_rows,
    throughput_rows,
    warnings,
)

_LATENCY_HEADER = ("seconds", "n", "mean", "p50", "p90", "p95", "p99", "max")
_SECOND_HEADER = ("second", "due", "answered", "failed", "in flight", "output tokens", "TTFT p50", "TTFT p99")


def load_page(results: Sequence[LoadResult]) -> str:
    """The page of one or more load tests; the same results give the same bytes."""
    parts = [html.heading(1, "Load test" if len(results) == 1 else "Load tests side by side")]
    if any(result.steps for result in results):
        parts += _knees([result for result in results if result.steps])
    for place, result in enumerate(results):
        parts += _one(result, place)
    parts += [
        html.heading(2, "How it was measured"),
        html.paragraph(
            "TTFT runs from the last byte of the request to the first chunk with text; the user's TTFT from the moment"
            " at which the request was due, so that waiting in any queue counts. ITL: gaps between chunks with text."
            " TPOT: from the first to the last chunk, divided by the server's token count less one. E2E: to the end of"
            " the answer. Percentiles are exact. Failed requests enter no latency. Only requests due within the window"
            " count; warm-up and the end are cut off.",
            "soft",
        ),
    ]
    return html.page("Load test", "\n".join(parts))


def _one(result: LoadResult, place: int) -> list[str]:
    about = result.about
    parts = [html.heading(2, f"{about['model']}: {about['shape']}", f"test-{place + 1}")]
    parts += [html.paragraph(line, "loud") for line in warnings(result)]
    parts.append(html.paragraph(headline(result)))
    parts.append(html.table(_LATENCY_HEADER, latency_rows(result), set(_LATENCY_HEADER[1:]), "Times in seconds"))
    parts.append(html.table(("per second", "value"), throughput_rows(result), {"value"}, "Throughput"))
    if result.server:
        parts.append(html.table(("server", "value"), server_rows(result), {"value"}, "The server's own account"))
    if result.cost:
        parts.append(html.table(("cost", "value"), cost_rows(result), {"value"}, "Cost at the measured throughput"))
    parts += _course(result, place)
    facts = [(name, str(value)) for name, value in sorted(about.items()) if name != "start_ns"]
    parts.append(html.details("What it was", html.table(("about", "value"), facts, set())))
    return parts


def _course(result: LoadResult, place: int) -> list[str]:
    """Wait, load and throughput over the seconds of the test."""
    seconds = [one["second"] for one in result.seconds]
    if not seconds:
        return []
    made, (waits, flying, tokens) = figure(5.0, rows=3, share_x=True)
    for name, label, colour, dash in (("ttft_p50_s", "median", SERIES[0], "-"), ("ttft_p99_s", "p99", SERIES[1], "--")):
        points = [(one["second"], one[name]) for one in result.seconds if one[name] is not None]
        waits.plot([x for x, _ in points], [y for _, y in points], color=colour, linestyle=dash, label=label)
    waits.set_ylabel("user's TTFT (s)")
    waits.legend(frameon=False, ncols=2, loc="upper right")
    flying.plot(seconds, [one["in_flight"] for one in result.seconds], color=SERIES[0])
    flying.set_ylabel("in flight")
    tokens.plot(seconds, [one["output_tokens"] for one in result.seconds], color=SERIES[0])
    tokens.set_ylabel("output tokens/s")
    tokens.set_xlabel("second of the test")
    for axes in (waits, flying, tokens):
        axes.set_ylim(bottom=0)
        for edge in (result.window["from_s"], result.window["to_s"]):
            axes.axvline(edge, color=GREY, linewidth=0.8, linestyle=":")
    title = f"The course of test {place + 1}"
    svg = as_svg(made, title, "Wait for the first token, requests in flight and output tokens over time.")
    rows = [
        (
            str(one["second"]),
            *(f"{one[name]:,}" for name in ("scheduled", "succeeded", "failed", "in_flight", "output_tokens")),
            *("–" if one[name] is None else f"{one[name]:.4f}" for name in ("ttft_p50_s", "ttft_p99_s")),
        )
        for one in result.seconds
    ]
    numbers = html.table(_SECOND_HEADER, rows, set(_SECOND_HEADER), "Second by second")
    return [
        html.figure(svg, "Dotted lines: the window that is measured. A request counts in the second it was due."),
        html.details("The numbers of this figure", numbers),
    ]


def _knees(results: Sequence[LoadResult]) -> list[str]:
    """Latency against rate, with the knee."""
    made, (axes,) = figure(3.2)
    for place, result in enumerate(results):
        steps = sorted(result.steps, key=lambda one: float(one["rate_rps"]))
        points = [
            (step["rate_rps"], step["measured"]["ttft_user"]["percentiles_s"]["90"])
            for step in steps
            if step["measured"]["ttft_user"] is not None
        ]
        colour = SERIES[place % len(SERIES)]
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            color=colour,
            marker=MARKERS[place % len(MARKERS)],
            linestyle=DASHES[place % len(DASHES)],
            label=str(result.about["model"]),
        )
        carried = (result.knee or {}).get("carried_rps")
        if carried is not None:
            axes.axvline(carried, color=colour, linewidth=0.8, linestyle=":")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("requests per second")
    axes.set_ylabel("user's TTFT, p90 (s)")
    axes.legend(frameon=False)
    svg = as_svg(made, "Wait against rate", "The user's wait for the first token at each rate that was tried.")
    parts = [
        html.heading(2, "Wait against rate", "knee"),
        html.figure(svg, "Dotted lines: the highest rate that was carried. Both axes are logarithmic."),
    ]
    for result in results:
        parts.append(html.paragraph(f"{result.about['model']}: {knee_line(result)}"))
        table = html.table(STEP_HEADER, step_rows(result), set(STEP_HEADER) - {"carried"}, str(result.about["model"]))
        parts.append(html.details("The numbers of this figure", table))
    return parts
