"""`wardround compare` from the command line, over a run that was really asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT, wardround, write_study
from wardround.journal import Journal
from wardround.reports import results_of


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo study's first two tasks, asked of the baselines."""
    folder = tmp_path_factory.mktemp("compared")
    study = write_study(
        folder / "study.yaml", models=[], baselines=True, tasks=["mednli", {"task": "meqsum", "limit": 20}]
    )
    done = wardround("run", study, "--out", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def told(run: Path, *options: str) -> dict[str, Any]:
    done = wardround("compare", run, "--format", "json", *options, cwd=run.parent)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_run_is_compared_with_chance_where_it_names_no_pairs(run: Path) -> None:
    found = told(run)
    assert {one["second"]["model"] for one in found["comparisons"]} == {"baseline-random"}
    assert len(found["comparisons"]) == found["family"] == 2 * 5
    with Journal.open(run) as journal:
        values = {(one.cell.model, one.cell.task): one.results[0].value for one in results_of(journal)}
    for one in found["comparisons"]:
        assert one["first"]["value"] == pytest.approx(values[one["first"]["model"], one["task"]])


def test_what_is_named_is_compared_and_nothing_else(run: Path) -> None:
    found = told(run, "--pair", "baseline-lead:baseline-random", "--task", "mednli", "--margin", "7.5", "--seed", "4")
    (one,) = found["comparisons"]
    assert (one["first"]["model"], one["second"]["model"], one["task"]) == (
        "baseline-lead",
        "baseline-random",
        "mednli",
    )
    assert (found["margin"], found["seed"]) == (0.075, 4)


def test_the_same_command_prints_the_same_bytes(run: Path) -> None:
    first, second = (wardround("compare", run, cwd=run.parent).stdout for _ in range(2))
    assert first == second
    assert first.startswith("# Comparisons\n")
    assert "## baseline-lead against baseline-random" in first


@pytest.mark.parametrize(
    ("form", "beginning"), [("md", "# Comparisons"), ("csv", '"kind","task"'), ("latex", "% study"), ("json", "{")]
)
def test_every_form_can_be_written_to_a_file(run: Path, tmp_path: Path, form: str, beginning: str) -> None:
    done = wardround("compare", run, "--format", form, "--out", "table", "--resamples", "100", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "table\n"), done.stderr
    assert (tmp_path / "table").read_text(encoding="utf-8").startswith(beginning)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--pair", "baseline-lead:baseline-randon"), 2, "did you mean 'baseline-random'?"),
        (("--arm", "closed-book:bm25"), 2, "has no arm 'bm25'; it has: closed-book"),
        (("--task", "mednl"), 2, "did you mean 'mednli'?"),
        (("--margin", "0"), 2, "a margin of 0 points is none"),
        (("--profile", "clue-tgi-2024"), 1, "not scored under 'clue-tgi-2024'"),
        (("--out", "gone/table"), 1, "gone/table cannot be written"),
    ],
)
def test_wrong_use_is_one_line(run: Path, options: tuple[str, ...], code: int, words: str) -> None:
    done = wardround("compare", run, *options, cwd=run.parent)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_a_folder_without_a_run_is_one_line(tmp_path: Path) -> None:
    done = wardround("compare", "nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert "nowhere holds no run" in done.stderr


def test_the_page_explains_every_column(run: Path) -> None:
    explained = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")
    done = wardround("compare", run, "--pair", "baseline-lead:baseline-random", cwd=run.parent)
    header = next(line for line in done.stdout.splitlines() if line.startswith("| task"))
    for column in header.strip("| ").split(" | "):
        assert f"| {column} |" in explained
    made = wardround("compare", run, "--format", "csv", cwd=run.parent).stdout.splitlines()[0]
    for column in made.replace('"', "").split(","):
        assert f"`{column}`" in explained
