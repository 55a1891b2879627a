"""What `wardround load` was asked for, made into a workload, a shape and conditions, and carried out."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from wardround.catalogue import Model, as_composed, resolve_model
from wardround.cli.loop import on_fast_loop
from wardround.endpoints.guard import addresses_of, most_sensitive
from wardround.errors import WrongUse
from wardround.journal import Journal
from wardround.load.conduct import Conditions, load_test, sweep
from wardround.load.crew import Live
from wardround.load.measures import Slo, parse_slo
from wardround.load.result import LoadResult, to_file
from wardround.load.shape import Shape
from wardround.load.sweep import Step
from wardround.load.workloads import Lengths, Workload, mixed, of_file, of_run, of_study, synthetic
from wardround.reports.load import load_lines
from wardround.running.planning import templates_of
from wardround.running.preparing import prepare
from wardround.running.round import permits_of, sensitivity_of
from wardround.running.stand_ins import stand_ins
from wardround.running.stopping import stopped_by_signals
from wardround.study import Study, TaskChoice, load_study
from wardround.task import Sensitivity

DEFAULT_TASK = "mednli"
SYNTHETIC_PROMPTS = 512
# Long enough that a mix keeps its shares, short enough to be drawn in no time.
MIX_LENGTH = 20_000
_Kind = Literal["constant", "poisson", "gamma", "ramp", "closed", "trace"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of `wardround load test`, as they were given."""

    models: Sequence[str]
    base_url: str | None
    served_as: str | None
    key_env: str | None
    study: Path | None
    tasks: Sequence[str]
    prompts: Path | None
    synthetic: str | None
    replay: Path | None
    shape: str | None
    rate: float | None
    to_rate: float | None
    burstiness: float
    users: int
    think: float
    pace: float
    duration: float
    warmup: float | None
    cut: float
    slo: str | None
    sweep: bool
    workers: int
    max_tokens: int
    timeout: float
    seed: int
    metrics: Sequence[str]
    sensitivity: str | None
    attested: bool
    at_once: bool
    out: Path | None


def carried_out(wanted: Wanted) -> list[LoadResult]:
    """Do what is wanted, print each result as it is there, and return them all."""
    study = load_study(wanted.study) if wanted.study else None
    rows = [_row(name, wanted, study) for name in wanted.models]
    slo = parse_slo(wanted.slo) if wanted.slo else Slo()
    return on_fast_loop(_all_of(rows, wanted, study, slo))


async def _all_of(rows: Sequence[Model], wanted: Wanted, study: Study | None, slo: Slo) -> list[LoadResult]:
    folder = wanted.out or Path("reports") / "load" / time.strftime("%Y%m%d-%H%M%S")
    tests = []
    for model in rows:
        place = _new_folder(folder, model, alone=len(rows) == 1)
        tests.append(_Test(model, wanted, slo, place, *await _workload(model, wanted, study)))
    with stopped_by_signals() as stop:
        if wanted.at_once:
            results = await asyncio.gather(*(test.carry_out(stop) for test in tests))
            for result, test in zip(results, tests, strict=True):
                test.tell(result)
            return list(results)
        found = []
        for test in tests:
            if not stop.is_set():
                found.append(await test.carry_out(stop))
                test.tell(found[-1])
        return found


class _Test:
    """One model's test."""

    def __init__(
        self,
        model: Model,
        wanted: Wanted,
        slo: Slo,
        folder: Path,
        workload: Workload,
        times_s: Sequence[float],
        sensitivity: Sensitivity,
    ) -> None:
        self._model = model
        self._wanted = wanted
        self._slo = slo
        self._folder = folder
        self._workload = workload
        self._sensitivity = sensitivity
        self._shape = _shape(wanted, times_s)
        self._live = _LiveLine(model.name)

    async def carry_out(self, stop: asyncio.Event) -> LoadResult:
        wanted = self._wanted
        conditions = Conditions(
            seed=wanted.seed,
            workers=wanted.workers,
            warmup_s=wanted.duration / 10 if wanted.warmup is None else wanted.warmup,
            rampdown_s=wanted.cut,
            timeout_s=wanted.timeout,
            slo=self._slo,
            attested=wanted.attested,
            sensitivity=self._sensitivity,
            metrics_urls=tuple(wanted.metrics),
        )
        if wanted.sweep:
            result = await sweep(
                self._model, self._workload, self._shape, self._folder, conditions,
                highest_rps=wanted.to_rate or 1000.0, on_live=self._live.show, on_step=self._live.step, stop=stop,
            )  # fmt: skip
        else:
            result = await load_test(
                self._model, self._workload, self._shape, self._folder, conditions, on_live=self._live.show, stop=stop
            )
        to_file(result, self._folder)
        return result

    def tell(self, result: LoadResult) -> None:
        self._live.clear()
        print("\n".join(load_lines(result)))
        print(f"records and result: {self._folder}", file=sys.stderr)


def _row(name: str, wanted: Wanted, study: Study | None) -> Model:
    if study is not None:
        for model in study.models:
            if model.name == name:
                return model
    row: dict[str, Any] = {"name": name}
    if name.startswith(("http://", "https://")):
        row = {"name": wanted.served_as or name, "base_url": name}
    if wanted.base_url is not None:
        row["base_url"] = wanted.base_url
    if wanted.served_as is not None:
        row["served_as"] = wanted.served_as
    if wanted.key_env is not None:
        row["key_env"] = wanted.key_env
    return as_composed(resolve_model(row))


async def _workload(model: Model, wanted: Wanted, study: Study | None) -> tuple[Workload, list[float], Sensitivity]:
    """What is sent, the times of a trace or a replay, and how sensitive it is."""
    given = [one for one in (wanted.prompts, wanted.synthetic, wanted.replay) if one is not None]
    if len(given) > 1 or (given and (wanted.tasks or study)):
        raise WrongUse("give one of --task (with --study or without), --prompts, --synthetic and --replay")
    said = _sensitivity(wanted.sensitivity)
    if wanted.prompts is not None:
        workload, times_s = of_file(wanted.prompts, wanted.max_tokens)
        # Nobody has said what is in it: it is treated as patients' text.
        return workload, times_s, said or "phi"
    if wanted.synthetic is not None:
        prompt, output, common = _lengths(wanted.synthetic)
        made = synthetic(prompt, output, shared_prefix=common, number=SYNTHETIC_PROMPTS, seed=wanted.seed)
        return made, [], said or "open"
    if wanted.replay is not None:
        return _replayed(model, wanted.replay, said)
    return await _of_tasks(model, wanted, study, said)


async def _of_tasks(
    model: Model, wanted: Wanted, study: Study | None, said: Sensitivity | None
) -> tuple[Workload, list[float], Sensitivity]:
    shares = dict(map(_share, wanted.tasks))
    if study is None:
        names = list(dict.fromkeys(name.partition(":")[0] if ".py" not in name else name for name in wanted.tasks))
        choices = [TaskChoice(task=_file_of(name)) for name in dict.fromkeys(names or [DEFAULT_TASK])]
        unique = tuple({choice.task: choice for choice in choices}.values())
        study = Study(study="load", models=(model,), tasks=unique, baselines=False)
    prepared = [one for choice in study.tasks for one in prepare(choice, study.profile)]
    kinds: list[Sensitivity] = [
        "open" if one.provenance["invented"] else one.provenance["sensitivity"] for one in prepared
    ]
    kinds += [corpus.sensitivity for corpus in study.searched_corpora.values()]
    kind = _not_below(said, most_sensitive(kinds), "the study" if wanted.study else "the tasks")
    only = study.model_copy(update={"models": (model,)})
    pinned = addresses_of(permits_of(only, prepared, kind, wanted.attested))
    with tempfile.TemporaryDirectory(prefix="wardround-") as folder:
        by_task = await of_study(only, prepared, model.name, pinned, Path(folder) / "plan")
    workload = mixed(by_task, shares or dict.fromkeys(by_task, 1.0), wanted.seed, MIX_LENGTH)
    templates = tuple((digest, one.text) for digest, one in templates_of(only).items())
    title = "; ".join([workload.title, *stand_ins(only, prepared, searched=True)])
    return replace(workload, title=title, templates=templates), [], kind


def _file_of(name: str) -> str:
    """The task file of a task: those of LongHealth are three in one file."""
    from wardround.task import load_tasks, task_names

    if name in task_names() or ".py" in name:
        return name
    for file in task_names():
        for one in load_tasks(file):
            if one.name == name:
                return one.reference
    return name


def _share(text: str) -> tuple[str, float]:
    name, colon, share = text.rpartition(":")
    if not colon:
        return text, 1.0
    try:
        weight = float(share)
    except ValueError:
        return text, 1.0
    if not weight > 0:
        raise WrongUse(f"--task {text!r}: the share must be above 0")
    return name, weight


def _replayed(model: Model, run: Path, said: Sensitivity | None) -> tuple[Workload, list[float], Sensitivity]:
    with Journal.open(run) as journal:
        asked, times_s = of_run(journal, model.name)
        kind = _not_below(said, sensitivity_of(journal), str(run))
        rendered = journal.manifest().get("templates", {})
    if not asked:
        raise WrongUse(f"{run} holds no answered requests of model {model.name!r}")
    templates = tuple((digest, str(one["text"])) for digest, one in rendered.items())
    return Workload(f"replay of {run.name}", tuple(asked), tuple(range(len(asked))), templates), times_s, kind


def _lengths(text: str) -> tuple[Lengths, Lengths, float]:
    try:
        prompt, output, *common = (float(one) for one in text.split(","))
        share = common[0] / 100 if common else 0.0
        if prompt < 1 or output < 1 or len(common) > 1:
            raise ValueError
    except ValueError:
        raise WrongUse(
            f"--synthetic {text!r}: write prompt tokens, answer tokens and, if you like, the common prefix in per cent,"
            " for example 512,128,50"
        ) from None
    return Lengths(prompt, 0.3), Lengths(output, 0.3), share


def _sensitivity(text: str | None) -> Sensitivity | None:
    if text is not None and text not in get_args(Sensitivity):
        raise WrongUse(f"--sensitivity {text!r} is none of {', '.join(get_args(Sensitivity))}")
    return cast("Sensitivity | None", text)


def _not_below(said: Sensitivity | None, known: Sensitivity, by: str) -> Sensitivity:
    """What the user says, if it is no less than what is known of the data; else raises `WrongUse`."""
    if said is not None and most_sensitive([said, known]) != said:
        raise WrongUse(f"--sensitivity {said}: {by} says of this data that it is {known}; leave the option out")
    return said or known


def _shape(wanted: Wanted, times_s: Sequence[float]) -> Shape:
    kind = wanted.shape or ("closed" if wanted.users else "trace" if times_s and wanted.rate is None else "constant")
    if kind not in get_args(_Kind):
        raise WrongUse(f"--shape {kind!r} is none of {', '.join(get_args(_Kind))}")
    if wanted.sweep and kind not in ("constant", "poisson", "gamma"):
        raise WrongUse("a sweep goes through rates: --shape constant, poisson or gamma")
    if kind == "trace" and not times_s:
        raise WrongUse("--shape trace needs times: --prompts with `at_s`, or --replay")
    if kind == "closed" and not wanted.users:
        raise WrongUse("--shape closed needs --users")
    if kind == "ramp" and wanted.to_rate is None:
        raise WrongUse("--shape ramp needs --to-rate")
    return Shape(
        kind=cast(_Kind, kind),
        duration_s=wanted.duration if kind != "trace" else max(times_s) - min(times_s),
        rate_rps=1.0 if wanted.rate is None else wanted.rate,
        to_rps=wanted.to_rate or 0.0 if kind == "ramp" else 0.0,
        burstiness=wanted.burstiness,
        users=wanted.users,
        think_s=wanted.think,
        times_s=tuple(times_s) if kind == "trace" else (),
        pace=wanted.pace,
    )


def _new_folder(folder: Path, model: Model, *, alone: bool) -> Path:
    """The folder of one test, 0700; raises `WrongUse` if it holds another one's files."""
    name = "".join(one if one.isalnum() or one in "._-" else "-" for one in model.name)
    path = folder if alone else folder / name
    if path.is_dir() and any(path.iterdir()):
        raise WrongUse(f"{path} holds files; choose another folder with --out")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


class _LiveLine:
    """How a test is getting on, in one line that is written over on a terminal, and every five seconds elsewhere."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._terminal = sys.stderr.isatty()
        self._began_s = time.monotonic()
        self._last: tuple[float, int, int] = (self._began_s, 0, 0)
        self._width = 0

    def show(self, live: Live) -> None:
        now = time.monotonic()
        before, fired, tokens = self._last
        if now - before < (0.5 if self._terminal else 5.0):
            return
        rate = (live.fired - fired) / (now - before)
        per_s = (live.tokens - tokens) / (now - before)
        self._last = (now, live.fired, live.tokens)
        waits = sorted(live.ttfts_ns)
        shown = f", TTFT {_at(waits, 0.5)}/{_at(waits, 0.99)} ms (p50/p99)" if waits else ""
        self._say(
            f"{self._name}: {rate:.1f} sent/s, {live.in_flight} in flight, {live.succeeded:,} answered,"
            f" {live.failed:,} failed{shown}, {max(0.0, per_s):,.0f} tokens/s"
        )

    def step(self, step: Step) -> None:
        self.clear()
        self._last = (time.monotonic(), 0, 0)
        print(
            f"{self._name}: {step.rate_rps:.2f} requests/s {'carried' if step.carried else 'not carried'}",
            file=sys.stderr,
        )

    def clear(self) -> None:
        if self._terminal and self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()
            self._width = 0

    def _say(self, line: str) -> None:
        if not self._terminal:
            print(line, file=sys.stderr, flush=True)
            return
        sys.stderr.write("\r" + line.ljust(self._width))
        sys.stderr.flush()
        self._width = len(line)


def _at(ordered_ns: Sequence[int], share: float) -> str:
    return f"{ordered_ns[min(len(ordered_ns) - 1, int(share * len(ordered_ns)))] / 1e6:.0f}"
