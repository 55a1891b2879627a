from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from tests.cli_reference import reference
from tests.support import ROOT, wardround, write_study
from wardround.baseline import BASELINES
from wardround.journal import Journal
from wardround.scoring.icd import table_version
from wardround.task import load_tasks, task_names


def load_all_tasks() -> list[str]:
    return [task.name for name in task_names() if name != "csv_task" for task in load_tasks(name)]


def test_the_demo_runs_and_leaves_its_journal(tmp_path: Path) -> None:
    done = wardround("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    asked, answered = re.match(r"([\d,]+) samples asked: ([\d,]+) answered, 0 failed", done.stdout).groups()  # type: ignore[union-attr]
    assert asked == answered
    for task in load_all_tasks():
        assert f" {task} " in done.stdout
    assert re.search(r"baseline-always-f +longhealth_t3 .* accuracy +100\.0 ", done.stdout)
    assert re.search(r"baseline-always-f +longhealth_t2 .* accuracy +0\.0 ", done.stdout)
    assert (tmp_path / "reports" / "demo" / "journal.sqlite").exists()
    again = wardround("demo", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert _without_times(again.stdout) == _without_times(done.stdout)


def _without_times(printed: str) -> list[str]:
    """The lines, without how long a search took: the column before the prompt's tokens."""
    lines = printed.splitlines()
    head = next(number for number, line in enumerate(lines) if " search ms " in line)
    end = lines[head].index(" search ms ") + len(" search ms ")
    return [*lines[:head], *(line[: end - 10] + line[end:] for line in lines[head:])]


def test_the_demo_does_not_remove_another_run(tmp_path: Path) -> None:
    assert wardround("run", write_study(tmp_path / "study.yaml"), "--out", "mine", cwd=tmp_path).returncode == 0
    done = wardround("demo", "--out", "mine", cwd=tmp_path)
    assert done.returncode == 1
    assert "holds another run" in done.stderr
    assert (tmp_path / "mine" / "journal.sqlite").exists()


def test_a_shipped_study_is_found_by_its_name(tmp_path: Path) -> None:
    done = wardround("run", "demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_tasks_are_listed_with_access_and_licence(tmp_path: Path) -> None:
    listed = wardround("tasks", cwd=tmp_path).stdout
    assert "mednli" in listed
    assert "credentialed" in listed
    assert "CC BY 4.0" in listed


def test_models_are_listed_with_their_definitions(tmp_path: Path) -> None:
    listed = wardround("models", cwd=tmp_path).stdout
    assert listed.count("baseline-") == len(BASELINES) == 6


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, wardround.cli.app; from typer.main import get_command; get_command(wardround.cli.app.app);"
        "print([m for m in ('pandas', 'numpy', 'aiohttp', 'rich', 'pydantic', 'tenacity') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_reference_page_is_in_step_with_the_help_texts() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page.strip() == reference().strip(), "run `make docs`"


def test_every_command_has_an_example() -> None:
    sections = reference().split("## wardround ")[1:]
    assert len(sections) >= 8
    assert [section.split()[0] for section in sections if "Example: wardround" not in section] == []


def test_bars_on_a_terminal_lines_when_piped(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study.yaml")
    piped = wardround("run", study, "--out", "piped", cwd=tmp_path).stderr
    assert "\x1b[" not in piped
    assert "done: baseline-majority · mednli · closed-book" in piped
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "wardround", "run", str(study), "--out", "shown"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    assert process.wait(timeout=30) == 0
    assert b"48/48" in seen
    assert b"\x1b[" in seen


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    assert wardround("run", write_study(tmp_path / "study.yaml"), "--out", "run", cwd=tmp_path).returncode == 0
    command = f"{sys.executable} -m wardround report run --json | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr


def test_the_version_is_printed(tmp_path: Path) -> None:
    assert wardround("--version", cwd=tmp_path).stdout.strip() == "0.1.0"


def test_the_code_table_is_named_where_codes_are_scored_and_in_the_manifest(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study.yaml", tasks=["medisumcode"])
    done = wardround("run", study, "--out", "run", cwd=tmp_path)
    assert f"codes: {table_version()}" in done.stdout.splitlines()
    assert "ICD-10-CM" in table_version()
    with Journal.open(tmp_path / "run") as journal:
        assert journal.manifest()["versions"]["code_table"] == table_version()
