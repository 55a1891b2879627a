"""Runs with answers of the tests' choice, and the viewer over them as a process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wardround.endpoints import Failure, Params, Reply
from wardround.journal import Asked, Cell, Journal, Outcome, Row
from wardround.task import Message, Prompt, Sample, load_task

# What must be shown and never done; each with how it is shown.
HOSTILE = {
    '<script>window.hacked = 1; document.title = "hacked"</script>': None,
    '<img src="x" onerror="window.hacked = 1">': None,
    '"><svg onload="window.hacked = 1">': None,
    "</div></section></main><h1>out of the box</h1>": None,
    "[click](javascript:window.hacked=1) ![pixel](http://0.0.0.0/pixel.png)": None,
    "&lt;b&gt; &amp; &#60;script&#62;": None,
    "\x1b[31mred\x1b[0m \x1b]8;;http://0.0.0.0\x07link\x1b]8;;\x07": "␛[31mred␛[0m ␛]8;;http://0.0.0.0␇link␛]8;;␇",
    "invoice\u202etxt.exe\u202c": "invoice⟨U+202E⟩txt.exe⟨U+202C⟩",
    "a\x00b\rc\u2028d\u200be": "a␀b␍c⟨U+2028⟩d⟨U+200B⟩e",
}


def shown(text: str) -> str:
    """How a hostile text is to be shown."""
    return HOSTILE[text] or text


def reply(text: str, **fields: Any) -> Reply:
    """A reply that took 1.5 s, 40 tokens long."""
    plain = Reply(text, "", "stop", 100, 40, 10**9, 2 * 10**9, None, 3_500_000_000, "m fp_1")
    return replace(plain, endpoint="http://127.0.0.1:1/v1", **fields)


def failure(kind: Any = "timeout", words: str = "no answer in time") -> Failure:
    """A failure that is final."""
    return Failure(kind, words, None)


def plan(
    journal: Journal,
    task: str,
    *,
    models: Sequence[str] = ("small", "large"),
    arm: str = "closed-book",
    rows: Sequence[Row] | None = None,
    profile: str = "strict",
) -> list[Cell]:
    """Add cells to a journal's study, one a model, that ask a shipped task's invented samples or `rows`."""
    loaded = load_task(task)
    rules = loaded.rules(profile)
    asked = rows or [Row(sample, rules.prompt(sample, ())) for sample in loaded.load(loaded.samples)]
    cells = [
        Asked(model, loaded.name, arm, profile, task, Params(max_tokens=64), {"base_url": "u", "model": model})
        for model in models
    ]
    with journal.transaction():
        journal.place_cells(cells)
        journal.plan_cells(cells, asked)
        before = journal.manifest().get("tasks", {})
        journal.put_manifest({"tasks": {**before, loaded.name: {"sensitivity": "open", "invented": True}}})
        journal.put_manifest({"last_started_at": "2026-01-01T00:00:00Z"})
    return [cell for cell in journal.cells() if (cell.task, cell.arm) == (loaded.name, arm)]


def request_at(journal: Journal, cell: Cell, position: int) -> int:
    """The request of a sample in a cell."""
    ((request,),) = journal.read("SELECT request FROM asks WHERE cell = ? AND position = ?", (cell.id, position))
    return int(request)


def answer(journal: Journal, cell: Cell, outcomes: Mapping[int, str | Reply | Failure]) -> None:
    """Record what came back for the samples at these positions of a cell."""
    journal.record(
        [
            Outcome(request_at(journal, cell, position), reply(one) if isinstance(one, str) else one, 1)
            for position, one in outcomes.items()
        ]
    )


def choice_rows(names: Sequence[str], *, documents: str = "") -> list[Row]:
    """Rows of a task with options, one a name; the right option is always B."""
    options = {"A": "gout", "B": "sepsis", "C": "stroke"}
    rows = []
    for name in names:
        sample = Sample(name, {"question": f"What has the patient of {name}?", "options": options}, "B", f"c {name}")
        asked = f"{documents}QUESTION:\nWhat has the patient of {name}?\n\nOPTIONS:\nA: gout\nB: sepsis\nC: stroke"
        rows.append(Row(sample, Prompt((Message("system", "Answer shortly."), Message("user", asked)))))
    return rows


@dataclass(frozen=True)
class Viewer:
    """`wardround view` in a process of its own, and the address that it printed."""

    address: str
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.address.split("/")[2].rpartition(":")[2])

    @property
    def token(self) -> str:
        """The key in the address."""
        return self.address.split("/")[3]


@contextmanager
def running_viewer(folder: Path, *options: str) -> Iterator[Viewer]:
    """`wardround view` over a run, stopped at the end."""
    command = [sys.executable, "-m", "wardround", "view", str(folder), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Viewer(process.stdout.readline().split()[0], process)
        finally:
            process.terminate()
            process.wait(timeout=10)
