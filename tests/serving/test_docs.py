"""docs/serving.md stays true: its table is the catalogue's, its commands and names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.serving_reference import sizing_table
from tests.support import ROOT, wardround
from wardround.catalogue import catalogue
from wardround.study import load_study

PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
COMMANDS = [
    line.partition("#")[0].split()[1:]
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S)
    for line in block.splitlines()
    if line.startswith("wardround compose") or line.startswith("wardround models")
]


def test_the_sizing_table_is_the_catalogues() -> None:
    written = re.search(r"a test keeps it in step. -->\n(.*?)\n<!-- The end", PAGE, re.S)
    assert written is not None
    assert written[1] == sizing_table(), "run `python -m tests.serving_reference`"


def test_every_model_stands_in_the_table() -> None:
    named = {name for row in re.findall(r"^\| ([^|]+) \|", sizing_table(), re.M) for name in row.split(", ")}
    assert {name for name, model in catalogue().items() if model.serving} <= named


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_its_commands_run(command: list[str], tmp_path: Path) -> None:
    done = wardround(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_its_study_asks_the_two_models_where_they_are_served(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    (tmp_path / "pair.yaml").write_text(block, encoding="utf-8")
    study = load_study(tmp_path / "pair.yaml")
    published = {service["ports"][0].split(":")[1] for service in COMPOSE["services"].values() if "ports" in service}
    for model in study.models[:2]:
        assert re.fullmatch(r"http://127\.0\.0\.1:(\d+)/v1", model.base_url or "")
        assert (model.base_url or "").split(":")[2].removesuffix("/v1") in published


def test_its_profiles_exist_and_its_ports_are_theirs() -> None:
    profiles = {profile for service in COMPOSE["services"].values() for profile in service.get("profiles", [])}
    assert set(re.findall(r"--profile ([\w.-]+)", PAGE)) <= profiles
    beside = re.findall(r"^\| `(\w+)` \|.*\| 127\.0\.0\.1:(\d+)(?:, (\d+))? \|$", PAGE, re.M)
    assert len(beside) == 4
    for profile, *ports in beside:
        services = [one for one in COMPOSE["services"].values() if profile in one.get("profiles", [])]
        assert {one["ports"][0].split(":")[1] for one in services} == {port for port in ports if port}
