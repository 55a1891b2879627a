"""What `wardround load` was asked for, made into a workload, a shape and conditions, and carried out."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wardround.catalogue import Model, as_composed, resolve_model
from wardround.cli.load_options import Wanted, shape_of
from wardround.cli.load_workloads import Sent, all_sent, sends_tasks
from wardround.cli.loop import on_fast_loop
from wardround.errors import RunFailed, WrongUse
from wardround.load.conduct import Conditions, check_allowed, load_test, sweep
from wardround.load.crew import Live
from wardround.load.measures import Slo, parse_slo
from wardround.load.result import LoadResult, to_file
from wardround.load.sweep import Step
from wardround.reports.load import load_lines
from wardround.running.stopping import Stopped, stopped_by_signals, unless_stopped
from wardround.study import Study, load_study
from wardround.task import Sensitivity


def carried_out(wanted: Wanted) -> list[LoadResult]:
    """Do what is wanted, print each result as it is there, and return them all."""
    study = load_study(wanted.study) if wanted.study else None
    rows = [_row(name, wanted, study) for name in wanted.models]
    slo = parse_slo(wanted.slo) if wanted.slo else Slo()
    if sends_tasks(wanted):
        # What can be refused by the options and the rows alone is, before anything is searched for.
        shape = shape_of(wanted, ())
        for model in rows:
            check_allowed(model, shape, _conditions(wanted, slo, "open"))
    return on_fast_loop(_all_of(rows, wanted, study, slo))


async def _all_of(rows: Sequence[Model], wanted: Wanted, study: Study | None, slo: Slo) -> list[LoadResult]:
    folder = wanted.out or Path("reports") / "load" / time.strftime("%Y%m%d-%H%M%S")
    places = _new_folders(folder, rows)
    with stopped_by_signals() as stop:
        try:
            sent = await unless_stopped(stop, all_sent(rows, wanted, study))
        except Stopped:
            raise RunFailed("stopped before the load test began") from None
        # Planning has kept the loop: a signal that came meanwhile is heard in its next turns.
        await asyncio.sleep(0.01)
        if stop.is_set():
            raise RunFailed("stopped before the load test began")
        tests = [_Test(row, wanted, slo, place, one) for row, place, one in zip(rows, places, sent, strict=True)]
        for test in tests:
            test.check()
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

    def __init__(self, model: Model, wanted: Wanted, slo: Slo, folder: Path, sent: Sent) -> None:
        self._model = model
        self._wanted = wanted
        self._folder = folder
        self._workload = sent.workload
        self._shape = shape_of(wanted, sent.times_s)
        self._conditions = _conditions(wanted, slo, sent.sensitivity)
        self._live = _LiveLine(model.name)

    def check(self) -> None:
        """Raises `WrongUse` or `CatalogueError` for what would be refused later."""
        check_allowed(self._model, self._shape, self._conditions)

    async def carry_out(self, stop: asyncio.Event) -> LoadResult:
        wanted, conditions = self._wanted, self._conditions
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


def _conditions(wanted: Wanted, slo: Slo, sensitivity: Sensitivity) -> Conditions:
    return Conditions(
        seed=wanted.seed,
        workers=wanted.workers,
        warmup_s=wanted.duration / 10 if wanted.warmup is None else wanted.warmup,
        rampdown_s=wanted.cut,
        timeout_s=wanted.timeout,
        slo=slo,
        attested=wanted.attested,
        sensitivity=sensitivity,
        metrics_urls=tuple(wanted.metrics),
    )


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


def _new_folders(folder: Path, rows: Sequence[Model]) -> list[Path]:
    """A folder for each test, 0700: `folder` for one alone, else named after the model below it.

    Raises `WrongUse` if one holds another test's files.
    """
    paths: list[Path] = []
    for model in rows:
        name = "".join(one if one.isalnum() or one in "._-" else "-" for one in model.name)
        path, number = (folder if len(rows) == 1 else folder / name), 1
        while path in paths:
            # Two servers may know their models by one name.
            number += 1
            path = folder / f"{name}-{number}"
        paths.append(path)
    for path in paths:
        if path.is_dir() and any(path.iterdir()):
            raise WrongUse(f"{path} holds files; choose another folder with --out")
    for path in paths:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    return paths


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
