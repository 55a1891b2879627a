"""The commands. Each imports what it needs when it is called: `wardround --help` stays instant."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

import wardround
from wardround.cli.compare import compare
from wardround.cli.compose import compose
from wardround.cli.data import data
from wardround.cli.doctor import doctor
from wardround.cli.load import load
from wardround.cli.loop import on_fast_loop
from wardround.cli.models import models
from wardround.cli.retrieve import retrieve
from wardround.cli.serve import serve
from wardround.cli.view import view

if TYPE_CHECKING:
    from wardround.journal import Journal
    from wardround.reports import CellResults
    from wardround.running import RunSummary
    from wardround.study import Study

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    # Plain help texts: rich would cost a third of the start-up time.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Ask language models clinical questions, local and hosted alike, and compare them properly.",
)

app.add_typer(data, name="data")
app.add_typer(load, name="load")

RunFolder = Annotated[Path, typer.Argument(help="A run's folder, for example reports/demo.", metavar="RUN")]
Profile = Annotated[
    str | None,
    typer.Option(help="Score by this profile's rules (strict, clue-tgi-2024); the study's own by default."),
]


def _version(wanted: bool) -> None:
    if wanted:
        print(wardround.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the run goes.", metavar="FOLDER")] = Path("reports/demo"),
) -> None:
    """Run the demo study on invented samples.

    Every shipped task is put to every baseline.

    Starts the embedded server on a free loopback port, asks, prints the table, stops the server. The demo always
    starts anew: an earlier demo run in the folder is replaced.

    Example: wardround demo
    """
    from wardround.shipped import shipped
    from wardround.study import load_study

    study = load_study(shipped("studies") / "demo.yaml")
    _run(study, out, anew=True)


@app.command()
def run(
    study: Annotated[Path, typer.Argument(help="A study file, or a shipped one's name.", metavar="STUDY")],
    out: Annotated[
        Path | None, typer.Option(help="Where the run goes; reports/<study> by default.", metavar="FOLDER")
    ] = None,
    attested: Annotated[
        bool, typer.Option("--attested", help="The attestations in the models' rows hold for this study's data.")
    ] = False,
    mixed: Annotated[
        bool, typer.Option("--mixed", help="Go on although other weights answer for a model than before.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Ask nothing; print requests, tokens, expected cost and time.")
    ] = False,
) -> None:
    """Carry out a study, or go on where it stopped.

    Only requests without a reply are asked. Prints the table of results. Exit code 1 if any sample has no reply;
    the same command asks those again. Text of credentialed data goes to loopback and private addresses alone, unless
    a model's row carries an attestation and you say --attested.

    With --dry-run no server is spoken to and nothing is kept: the study is planned, and what its requests may take
    is reckoned from the models' rows (price, limits, tokenizer) and the answers of an earlier run.

    Example: wardround run studies/demo.yaml --out reports/mine
    """
    from wardround.study import load_study

    loaded = load_study(study)
    folder = out or Path("reports") / loaded.study
    if dry_run:
        from wardround.reports.forecast import forecast
        from wardround.running.estimate import estimate_run

        print("\n".join(forecast(estimate_run(loaded, folder))))
        return
    _run(loaded, folder, attested=attested, mixed=mixed)


@app.command()
def score(
    run: RunFolder,
    profile: Profile = None,
    embeddings: Annotated[
        str | None, typer.Option(help="BERTScore by the /embed_all service at this URL.", metavar="URL")
    ] = None,
    embeddings_model: Annotated[
        str | None, typer.Option(help="What to call that service's model, and layer, in the metric's name.")
    ] = None,
    concepts: Annotated[bool, typer.Option("--concepts", help="Concept F1 by the ICD-10-CM dictionary.")] = False,
) -> None:
    """Score a run's answers again, without asking a model.

    Any profile's rules can be applied; what was asked differently is said. Metrics of a service are named after
    their source and stay in the run.

    Example: wardround score reports/demo --profile clue-tgi-2024
    """
    from wardround.running import add_bertscore, add_concept_f1, score_run

    with _journal(run) as journal:
        for remark in score_run(journal, profile):
            print(f"wardround: {remark}", file=sys.stderr)
        if concepts:
            add_concept_f1(journal, profile)
        if embeddings is not None:
            on_fast_loop(add_bertscore(journal, embeddings.rstrip("/"), profile, called=embeddings_model))
        _print_results(journal, profile)


@app.command()
def judge(
    run: RunFolder,
    model: Annotated[str, typer.Option(help="The judge: a catalogue name, or its served name.")],
    base_url: Annotated[str | None, typer.Option(help="Its endpoint, if the catalogue has none.")] = None,
    key_env: Annotated[str | None, typer.Option(help="Environment variable that holds its key.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests in flight.")] = 32,
    attested: Annotated[
        bool, typer.Option("--attested", help="The attestation in the model's row holds for this data.")
    ] = False,
) -> None:
    """Have a model judge whether the references support a run's free-text answers.

    Its verdicts are kept in RUN/judges/ and stand in the table as judge_support[MODEL]. Answers and references are
    sent to its endpoint.

    Example: wardround judge reports/mine --model our-judge --base-url http://127.0.0.1:8001/v1
    """
    from wardround.cli.models import model_named
    from wardround.running import judge_run, progress_for

    summary = on_fast_loop(
        judge_run(
            run,
            model_named(model, base_url, key_env),
            progress=progress_for(),
            concurrency=concurrency,
            attested=attested,
        )
    )
    with _journal(run) as journal:
        _print_results(journal)
    _fail_if_incomplete(summary)


class _PageWithoutName(TyperCommand):
    """`--html` without a file writes RUN/report.html; typer's options cannot leave their value out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in an empty name where none stands."""
        for place in [place for place, word in enumerate(args) if word == "--html"][::-1]:
            if place + 1 == len(args) or args[place + 1].startswith("-"):
                args = [*args[: place + 1], "", *args[place + 1 :]]
        return super().parse_args(ctx, args)


@app.command(cls=_PageWithoutName)
def report(
    run: RunFolder,
    profile: Profile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, one object a metric.")] = False,
    published: Annotated[
        bool, typer.Option("--published", help="Add the papers' figures for the same tasks and metrics.")
    ] = False,
    html: Annotated[
        str | None,
        typer.Option("--html", help="Write a page to share instead; RUN/report.html by default.", metavar="[FILE]"),
    ] = None,
) -> None:
    """Print a run's table of results, and what they took.

    Model, task, arm, n, metric, 95 % interval, parse rate and failures; values in per cent, in JSON from 0 to 1.
    Below it, for models of servers of their own: latency, tokens and cost beside each task's first metric.

    With --html a page is written: the verdict, the pairs and all figures in one file, which needs no network and holds
    none of the samples' text.

    Example: wardround report reports/demo --html
    """
    from wardround import reports

    if html is not None:
        from wardround.reports.page import write_page

        with _journal(run) as journal:
            print(write_page(journal, Path(html) if html else run / "report.html", profile))
        return
    with _journal(run) as journal:
        if as_json:
            from wardround.reports.retrieval import evidence_fields

            shown = evidence_fields(journal, profile)
            print(reports.as_json(reports.results_of(journal, profile), reports.usage_of(journal), shown))
            return
        cells = _print_results(journal, profile)
    if published:
        print("\n" + "\n".join(reports.published_beside(cells)))


@app.command()
def export(
    run: RunFolder,
    to: Annotated[
        Path | None, typer.Option(help="Where the files go; RUN/export by default.", metavar="FOLDER")
    ] = None,
    profile: Profile = None,
) -> None:
    """Write a run's samples and results as parquet and CSV.

    Samples come with answers, references and scores. The files hold patients' text if the run does; they are
    readable by you alone.

    Example: wardround export reports/demo
    """
    from wardround.reports import export_run

    with _journal(run) as journal:
        for path in export_run(journal, to or run / "export", profile):
            print(path)


app.command()(compare)
app.command()(retrieve)
app.command()(view)
app.command()(serve)
app.command()(doctor)


@app.command()
def tasks() -> None:
    """List the shipped tasks, their access and licences.

    Example: wardround tasks
    """
    from wardround.reports.table import aligned
    from wardround.task import load_tasks, task_names

    loaded = [task for name in task_names() for task in load_tasks(name)]
    rows = [
        (task.name, task.title, "–" if task.level is None else str(task.level), task.sensitivity,
         ", ".join(["strict", *task.profiles]), task.licence, task.access)
        for task in loaded
    ]  # fmt: skip
    header = ("task", "title", "level", "sensitivity", "profiles", "licence", "access")
    print("\n".join(aligned(header, rows, set())))


app.add_typer(models, name="models")
app.command()(compose)


def _run(study: Study, out: Path, *, anew: bool = False, attested: bool = False, mixed: bool = False) -> None:
    from wardround.running import progress_for, run_study

    summary = on_fast_loop(run_study(study, out, progress=progress_for(), anew=anew, attested=attested, mixed=mixed))
    with _journal(out) as journal:
        _print_results(journal)
    print(f"journal: {out / 'journal.sqlite'} ({summary.asking_s:.1f} s of asking)", file=sys.stderr)
    _fail_if_incomplete(summary)


def _print_results(journal: Journal, profile: str | None = None) -> list[CellResults]:
    from wardround.reports import as_text, clue_means, results_of, usage_of, what_it_took
    from wardround.reports.retrieval import beside_evidence
    from wardround.reports.servers import who_answered

    cells, usage = results_of(journal, profile), usage_of(journal)
    print(as_text(cells))
    changed: list[str] = []
    if len({one.cell.arm for one in cells}) > 1:
        # All of the comparing is behind it, which a run of one arm need not wait for.
        from wardround.reports.retrieval_effects import what_evidence_changed

        changed = what_evidence_changed(journal, profile)
    for below in (
        beside_evidence(journal, profile, cells, usage),
        changed,
        what_it_took(cells, usage),
        who_answered(journal),
        clue_means(cells),
    ):
        if below:
            print("\n" + "\n".join(below))
    return cells


def _fail_if_incomplete(summary: RunSummary) -> None:
    for complaint in summary.complaints:
        print(f"wardround: {complaint}", file=sys.stderr)
    if not summary.complete:
        missing = summary.samples - summary.answered
        why = "stopped: " if summary.stopped else ""
        print(f"wardround: {why}{missing} samples have no reply; the same command asks them", file=sys.stderr)
        raise typer.Exit(1)


def _journal(run: Path) -> Journal:
    from wardround.journal import Journal

    return Journal.open(run)
