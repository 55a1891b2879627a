"""`wardround retrieve`: what a study's arms find, before a model is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wardround.cli.loop import on_fast_loop


def retrieve(
    study: Annotated[Path, typer.Argument(help="A study file, or a shipped one's name.", metavar="STUDY")],
    out: Annotated[
        Path | None, typer.Option(help="The run's folder; reports/<study> by default.", metavar="FOLDER")
    ] = None,
    k: Annotated[int, typer.Option(min=1, help="How many passages hit, recall and span recall look at.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, one object an arm.")] = False,
    attested: Annotated[
        bool, typer.Option("--attested", help="The attestations of models and services hold for this data.")
    ] = False,
) -> None:
    """Search for all arms of a study, and print how well each finds.

    Per task and arm: hit@1, hit@k, recall@k, span recall@k, nDCG@10 and MRR, against the places of the answer where
    the task knows them (column "known", in per cent). Tasks with pairs of texts (MeQSum: summary and message) measure
    each search on those, too. What was found is kept in the run's folder; `wardround run` goes on with it.

    Example: wardround retrieve demo --out reports/mine
    """
    import json

    from wardround.reports.retrieval import found_as_json, found_as_text
    from wardround.running.measuring import measure
    from wardround.study import load_study

    loaded = load_study(study)
    measured = on_fast_loop(measure(loaded, out or Path("reports") / loaded.study, k=k, attested=attested))
    print(json.dumps(found_as_json(measured), indent=2) if as_json else found_as_text(measured, k))
