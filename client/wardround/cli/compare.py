"""`wardround compare`: pairs of models and of arms, with what may be said of them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """The forms of the tables."""

    MD = "md"
    CSV = "csv"
    LATEX = "latex"
    JSON = "json"


def compare(
    run: Annotated[Path, typer.Argument(help="A run's folder, for example reports/demo.", metavar="RUN")],
    pair: Annotated[
        list[str] | None, typer.Option(help="Two models; may be given several times.", metavar="A:B")
    ] = None,
    arm: Annotated[
        list[str] | None, typer.Option(help="Two arms, of every model; may be given several times.", metavar="X:Y")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="Only this task; may be given several times.", metavar="TASK")
    ] = None,
    margin: Annotated[
        float, typer.Option(help="Points by which a model may be worse and still count as no worse.")
    ] = 5.0,
    format_: Annotated[Format, typer.Option("--format", help="The form of the tables.")] = Format.MD,
    out: Annotated[
        Path | None, typer.Option(help="Write to this file instead of the terminal.", metavar="FILE")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="Compare what this profile's rules scored; the study's own by default.")
    ] = None,
    resamples: Annotated[int, typer.Option(min=100, max=1_000_000, help="Resamples behind each interval.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of resamples and swaps.")] = 0,
) -> None:
    """Compare a run's models and arms: differences, intervals, tests, and what may be said.

    Without --pair and --arm: the study's pairs and the catalogue's counterparts, and arms with evidence against those
    without. The more is compared, the smaller a p-value must be; name what you want to know. The margin is to be set
    before the data are seen. What the columns mean stands in docs/compare.md.

    Example: wardround compare reports/demo --pair baseline-overlap:baseline-random
    """
    from wardround.journal import Journal
    from wardround.reports import comparison_tables as tables
    from wardround.reports.comparing import compare_run

    with Journal.open(run) as journal:
        made = compare_run(
            journal,
            profile=profile,
            pairs=pair or (),
            arms=arm or (),
            tasks=task or (),
            margin=margin / 100,
            resamples=resamples,
            seed=seed,
        )
    write = {
        Format.MD: tables.as_markdown,
        Format.CSV: tables.as_csv,
        Format.LATEX: tables.as_latex,
        Format.JSON: tables.as_json,
    }[format_]
    text = write(made).rstrip("\n")
    if out is None:
        print(text)
    else:
        _save(f"{text}\n", out)


def _save(text: str, out: Path) -> None:
    from wardround.errors import RunFailed

    try:
        out.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise RunFailed(f"{out} cannot be written: {error.strerror or error}") from error
    print(out)
