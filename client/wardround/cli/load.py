"""`wardround load`: how much load a server carries, and how long its users wait."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from wardround.errors import WrongUse

if TYPE_CHECKING:
    from wardround.load.result import LoadResult


class _TestUnlessNamed(TyperGroup):
    """`wardround load MODEL …` is `wardround load test MODEL …`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in the name that was left out."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["test", *args]
        return super().parse_args(ctx, args)


load = typer.Typer(
    cls=_TestUnlessNamed,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Load-test servers with the tasks' own prompts.\n\n`wardround load MODEL` is short for `wardround load test"
    " MODEL`.\n\nExample: wardround load llama-3-8b-instruct --task longhealth_t1 --shape poisson --rate 2",
)


@load.command(name="test")
def load_server(
    models: Annotated[
        list[str],
        typer.Argument(help="Catalogue names, or base URLs (then --served-as names the model).", metavar="MODEL|URL"),
    ],
    base_url: Annotated[
        str | None, typer.Option(help="The endpoint, if the catalogue has none.", metavar="URL")
    ] = None,
    served_as: Annotated[str | None, typer.Option(help="The name the server knows the model by.")] = None,
    key_env: Annotated[str | None, typer.Option(help="Environment variable that holds the key.")] = None,
    study: Annotated[
        Path | None, typer.Option(help="A study: its models' rows, tasks, data and arms.", metavar="STUDY")
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(help="A task's prompts; NAME:SHARE, several times, for a mix. Of --study, or invented samples."),
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="A file of prompts, JSON lines: prompt or messages.", metavar="FILE")
    ] = None,
    synthetic: Annotated[
        str | None, typer.Option(help="Made-up prompts: prompt tokens,answer tokens[,common prefix in %].")
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(help="The requests of a run, in the order and at the pace of it.", metavar="RUN")
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(help="constant, poisson, gamma, ramp, closed or trace; by default what --rate or --users says."),
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Requests a second; of a ramp or sweep the first rate.")] = None,
    to_rate: Annotated[float | None, typer.Option(help="The last rate of a ramp, the highest of a sweep.")] = None,
    burstiness: Annotated[float, typer.Option(help="Of gamma: below 1 in bursts, above 1 evenly.")] = 1.0,
    users: Annotated[int, typer.Option(min=0, help="Of a closed loop: users who each wait for their answer.")] = 0,
    think: Annotated[float, typer.Option(min=0.0, help="Seconds that a user thinks between two requests.")] = 0.0,
    pace: Annotated[float, typer.Option(help="Of trace and replay: how many times as fast.")] = 1.0,
    duration: Annotated[float, typer.Option(min=0.5, help="Seconds; of a sweep, for each rate.")] = 60.0,
    warmup: Annotated[float | None, typer.Option(min=0.0, help="Seconds cut off first; a tenth by default.")] = None,
    cut: Annotated[float, typer.Option(min=0.0, help="Seconds cut off at the end.")] = 0.0,
    slo: Annotated[str | None, typer.Option(help="Objectives: ttft=500ms,tpot=50ms,e2e=8s.")] = None,
    sweep: Annotated[bool, typer.Option("--sweep", help="Look for the highest rate that is carried.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Client processes, one a core.")] = 1,
    max_tokens: Annotated[int, typer.Option(min=1, help="New tokens at most, for prompts that do not say.")] = 128,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds after which a request has failed.")] = 600.0,
    seed: Annotated[int, typer.Option(help="Seed of arrivals, orders and lengths.")] = 0,
    metrics: Annotated[
        list[str] | None, typer.Option(help="Further metrics to read, of a GPU exporter.", metavar="URL")
    ] = None,
    sensitivity: Annotated[
        str | None,
        typer.Option(
            help="open, licensed, credentialed or phi: of a file of prompts (phi by default), or more than known."
        ),
    ] = None,
    attested: Annotated[
        bool, typer.Option("--attested", help="The attestations in the models' rows hold for this data.")
    ] = False,
    at_once: Annotated[bool, typer.Option("--at-once", help="Load several models at once, not in turn.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where records and results go.", metavar="FOLDER")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the results as JSON.", metavar="FILE")] = None,
    html_file: Annotated[Path | None, typer.Option("--html", help="Write a page.", metavar="FILE")] = None,
) -> None:
    """Load a server and measure what its users feel.

    Prints latencies, throughput, goodput under --slo, the server's own account where it gives metrics, and cost where
    the model's row has a price. Ctrl-C keeps what there is. Every request's times are kept in the folder.

    Example: wardround load our-llama --base-url http://127.0.0.1:8000/v1 --task mednli:0.7 --task longhealth_t1:0.3
    --shape poisson --rate 4 --duration 120 --slo ttft=500ms,tpot=50ms,e2e=8s
    """
    from wardround.cli.load_options import Wanted
    from wardround.cli.loading import carried_out

    wanted = Wanted(
        models=models, base_url=base_url, served_as=served_as, key_env=key_env, study=study, tasks=task or [],
        prompts=prompts, synthetic=synthetic, replay=replay, shape=shape, rate=rate, to_rate=to_rate,
        burstiness=burstiness, users=users, think=think, pace=pace, duration=duration, warmup=warmup, cut=cut, slo=slo,
        sweep=sweep, workers=workers, max_tokens=max_tokens, timeout=timeout, seed=seed, metrics=metrics or [],
        sensitivity=sensitivity, attested=attested, at_once=at_once, out=out,
    )  # fmt: skip
    results = carried_out(wanted)
    _written(results, json_file, html_file)
    if any(result.measured["failures"] or result.about["stopped"] for result in results):
        raise typer.Exit(1)


@load.command()
def compare(
    results: Annotated[list[Path], typer.Argument(help="Folders of load tests, the first to compare with.")],
    html_file: Annotated[Path | None, typer.Option("--html", help="Write a page.", metavar="FILE")] = None,
) -> None:
    """Put load tests side by side.

    Percentiles of each further test are compared with the first's, with 95 % bootstrap intervals.

    Example: wardround load compare reports/load/local reports/load/hosted
    """
    from wardround.load.result import from_file, records_beside
    from wardround.reports.load import comparison_lines
    from wardround.reports.load_page import load_page

    if len(results) < 2:
        raise WrongUse("to compare, name two or more folders of load tests")
    loaded = [from_file(path) for path in results]
    print("\n".join(comparison_lines(loaded, [records_beside(path) for path in results])))
    if html_file is not None:
        html_file.write_text(load_page(loaded), encoding="utf-8")


def _written(results: Sequence[LoadResult], json_file: Path | None, html_file: Path | None) -> None:
    from wardround.load.result import as_json
    from wardround.reports.load_page import load_page

    if json_file is not None:
        json_file.write_bytes(as_json(results))
    if html_file is not None:
        html_file.write_text(load_page(results), encoding="utf-8")
