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
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAPERS = sorted({pair for name in ("clue", "dorfner") for pair in load_study(ROOT / "studies" / f"{name}.yaml").pairs})
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


def started_by(profiles: tuple[str, ...]) -> set[str]:
    """The models that compose starts with these profiles."""
    return {name for name, one in COMPOSE["services"].items() if set(one.get("profiles", [])) & set(profiles)}


@pytest.mark.parametrize("pair", PAPERS, ids="/".join)
def test_each_of_the_papers_pairs_has_its_line(pair: tuple[str, str]) -> None:
    lines = re.findall(r"^docker compose ((?:--profile [\w.-]+ )+)up -d --wait\b", PAGE, re.M)
    assert set(pair) in [started_by(tuple(re.findall(r"--profile (\S+)", line))) for line in lines]


@pytest.mark.parametrize("text", [README, PAGE], ids=["readme", "serving"])
def test_the_profiles_it_names_exist(text: str) -> None:
    profiles = {profile for service in COMPOSE["services"].values() for profile in service.get("profiles", [])}
    lines = re.findall(r"^docker compose .*", text, re.M)
    named = {name for line in lines for name in re.findall(r"--profile ([\w.-]+)", line)}
    assert named
    assert named <= profiles


def test_the_readme_lists_what_pair_stands_before() -> None:
    listed = re.search(r"`pair-` before (.*?)\. From", README, re.S)
    assert listed is not None
    profiles = {profile for service in COMPOSE["services"].values() for profile in service.get("profiles", [])}
    names = re.findall(r"`([^`]+)`", listed[1])
    assert {f"pair-{name}" for name in names} <= profiles
    assert {biomedical for biomedical, _ in PAPERS} <= set(names)


def test_what_stands_beside_the_models_is_published_where_it_says() -> None:
    beside = re.findall(r"^\| `(\w+)` \|.*\| 127\.0\.0\.1:(\d+)(?:, (\d+))? \|$", PAGE, re.M)
    assert len(beside) == 4
    for profile, *ports in beside:
        services = [one for one in COMPOSE["services"].values() if profile in one.get("profiles", [])]
        assert {one["ports"][0].split(":")[1] for one in services} == {port for port in ports if port}
