"""The README stays true: its examples run, its table is the demo's, it is short."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from tests.support import ROOT, wardround, write_study
from wardround.study import Study

README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.S)
    (found,) = [text for text in blocks if containing in text]
    return str(found)


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_the_task_of_the_readme_runs(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(block("python", "Smoking status"), encoding="utf-8")
    (tmp_path / "notes.csv").write_text('note,smoker\n"Never smoked.",no\n"Two packs a day.",yes\n')
    study = write_study(tmp_path / "study.yaml", tasks=["./mine.py"], models=["baseline-random"])
    done = wardround("run", study, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"smoking .* 2 +accuracy", done.stdout)
    # The table can be had again from the journal, and the task is found by its path.
    assert wardround("score", "reports/test", cwd=tmp_path).stdout == done.stdout


def test_the_study_of_the_readme_has_only_known_keys() -> None:
    assert yaml.safe_load(block("yaml", "study: mine")).keys() <= Study.model_fields.keys()


def test_the_table_of_the_readme_is_the_demos(tmp_path: Path) -> None:
    assert wardround("demo", cwd=tmp_path).returncode == 0
    shown = wardround("report", "reports/demo", "--json", cwd=tmp_path)
    values = {(row["model"], row["task"], row["arm"], row["metric"]): row for row in json.loads(shown.stdout)}
    rows = re.findall(
        r"^\| (baseline-\S+) \| (\w+) \| (\S+) \| (\w+) \| ([\d.]+) \| \[([\d.]+), ([\d.]+)\] \|", README, re.M
    )
    assert len(rows) >= 5
    for model, task, arm, metric, *numbers in rows:
        row = values[model, task, arm, metric]
        assert [f"{100 * row[key]:.1f}" for key in ("value", "ci_low", "ci_high")] == numbers
