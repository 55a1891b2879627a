"""`docker compose up` without a profile: the embedded server, built, healthy, closed in, and asked by a study."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import wardround
from tests.compose.asking import get, listening, study_over
from tests.compose.project import Project
from tests.support import ROOT, write_study

pytestmark = pytest.mark.compose

PORT = 8600


@pytest.fixture(scope="module", autouse=True)
def _up(project: Project) -> None:
    project.use(ROOT / "compose.yaml", {}, {})
    project.up()


def test_up_returns_when_it_is_healthy(project: Project) -> None:
    assert project.container("embedded")["State"]["Health"]["Status"] == "healthy"


def test_nothing_else_is_started(project: Project) -> None:
    names = project.compose("--profile", "*", "ps", "--all", "--services").split()
    assert names == ["embedded"]


def test_its_port_is_published_on_loopback_and_nowhere_else(project: Project) -> None:
    ports = project.container("embedded")["NetworkSettings"]["Ports"]
    assert ports == {f"{PORT}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(PORT)}]}
    assert listening(project.docker, PORT) == {"127.0.0.1"}


def test_it_is_no_root_and_can_become_none(project: Project) -> None:
    assert project.container("embedded")["Config"]["User"] == "10001:10001"
    _, status = project.inside("embedded", "cat", "/proc/1/status")
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    assert set(lines["Uid"].split()) == {"10001"}
    assert lines["NoNewPrivs"].strip() == "1"
    assert {int(lines[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {0}


def test_it_can_write_nowhere_but_to_tmp(project: Project) -> None:
    assert project.container("embedded")["HostConfig"]["ReadonlyRootfs"] is True
    code, words = project.inside("embedded", "touch", "/opt/wardround/new")
    assert (code, "Read-only file system" in words) == (1, True)
    # Python looks for a folder that it can write into by doing so.
    code, words = project.inside("embedded", "python", "-c", "import tempfile; print(tempfile.gettempdir())")
    assert (code, words.strip()) == (0, "/tmp")


def test_its_image_has_what_is_installed_and_nothing_of_the_checkout(project: Project) -> None:
    code, words = project.inside("embedded", "ls", "/source")
    assert (code, "No such file" in words) == (2, True)
    code, version = project.inside("embedded", "wardround", "--version")
    assert (code, version.split()[-1]) == (0, wardround.__version__)


def test_it_says_whom_it_serves(project: Project) -> None:
    code, body = get(project.docker, f"http://127.0.0.1:{PORT}/v1/models")
    assert code == 200
    assert "baseline-majority" in [row["id"] for row in json.loads(body)["data"]]


def test_a_study_runs_against_the_published_port(project: Project, tmp_path: Path) -> None:
    row = {"name": "baseline-majority", "base_url": f"http://127.0.0.1:{PORT}/v1"}
    study = write_study(tmp_path / "study.yaml", models=[row], tasks=[{"task": "mednli", "limit": 12}])
    done = study_over(project.docker, study)
    assert done.returncode == 0, done.stderr
    assert "12 samples asked: 12 answered, 0 failed" in done.stdout


def test_stopped_it_ends_by_itself(project: Project) -> None:
    project.compose("stop", "--timeout", "20", "embedded")
    # 137 would say that it was killed after the 20 seconds.
    assert project.container("embedded")["State"]["ExitCode"] != 137
    project.up()  # for whatever test comes after
