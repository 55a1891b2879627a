"""A pair by one profile, served by llama.cpp's server from the rendered file, and a study that finds both by name.

The services are as rendered but for their image, made of the llama-server of the engines' tests, and the GPUs, which
this machine does not have.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tests.compose.asking import get, listening, study_over
from tests.compose.project import Project, Reset
from tests.engines.tiny import build
from tests.support import wardround, write_study
from wardround.catalogue import find_model

pytestmark = pytest.mark.compose

PAIR = ("llama-3-8b-instruct", "openbiollm-8b")
KEY = "sk-compose-0123456789abcdef"
KEY_ENV = "LLAMA_API_KEY"


def port_of(name: str) -> int:
    weights = find_model(name).serving
    assert weights is not None
    return weights.port


def row(name: str) -> dict[str, str]:
    return {"name": name, "key_env": KEY_ENV}


@pytest.fixture(scope="module", autouse=True)
def _up(project: Project, llama_image: str, folder: Path) -> None:
    rendered = wardround("compose", "--engine", "llamacpp", "--out", "compose.yaml", cwd=folder)
    assert rendered.returncode == 0, rendered.stderr
    tiny = build(folder / "tiny")
    weights = folder / "gguf"
    weights.mkdir()
    for name in PAIR:
        (weights / f"{name}.gguf").hardlink_to(tiny.gguf)
    services = {name: {"image": llama_image, "deploy": Reset()} for name in PAIR}
    project.use(folder / "compose.yaml", services, {"GGUF_FOLDER": str(weights), KEY_ENV: KEY})
    project.up("pair-openbiollm-8b")


@pytest.mark.parametrize("name", PAIR)
def test_one_profile_brings_up_both_and_waits_until_they_are_healthy(project: Project, name: str) -> None:
    assert project.container(name)["State"]["Health"]["Status"] == "healthy"


@pytest.mark.parametrize("name", PAIR)
def test_each_is_published_on_the_catalogues_port_on_loopback_alone(project: Project, name: str) -> None:
    ports = project.container(name)["NetworkSettings"]["Ports"]
    assert ports["8000/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": str(port_of(name))}]
    assert listening(project.docker, port_of(name)) == {"127.0.0.1"}


@pytest.mark.parametrize("name", PAIR)
def test_the_key_of_the_environment_is_asked_for(project: Project, name: str) -> None:
    address = f"http://127.0.0.1:{port_of(name)}/v1/models"
    # /v1/models is open in llama.cpp; what asks the model is not.
    assert get(project.docker, address.replace("/models", "/slots"))[0] == 401
    assert get(project.docker, address, KEY)[0] == 200


@pytest.mark.parametrize("name", PAIR)
def test_the_key_stands_in_no_command_line_and_in_no_file(project: Project, name: str) -> None:
    container = project.container(name)
    assert f"{KEY_ENV}={KEY}" in container["Config"]["Env"]
    assert KEY not in " ".join([container["Path"], *container["Args"]])
    assert KEY not in (project.folder / "compose.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAIR)
def test_it_gains_no_rights_and_reads_what_is_mounted(project: Project, name: str) -> None:
    container = project.container(name)
    assert "no-new-privileges:true" in container["HostConfig"]["SecurityOpt"]
    writable = {mount["Destination"]: mount["RW"] for mount in container["Mounts"]}
    assert writable == {"/gguf": False, "/templates": False, "/weights": True}


def test_the_template_of_the_row_is_what_the_engine_renders_with(project: Project) -> None:
    _, properties = get(project.docker, f"http://127.0.0.1:{port_of('openbiollm-8b')}/props", KEY)
    assert "bos_token" in properties
    assert "/templates/llama-3.jinja" in project.container("openbiollm-8b")["Args"]
    assert "--chat-template-file" not in project.container("llama-3-8b-instruct")["Args"]


def test_a_study_finds_both_by_their_names(project: Project, tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "study.yaml",
        models=[row(name) for name in PAIR],
        pairs=[list(reversed(PAIR))],
        tasks=[{"task": "mednli", "limit": 6, "max_tokens": 8}],
    )
    done = study_over(project.docker, study, **{KEY_ENV: KEY})
    assert done.returncode == 0, done.stderr
    assert "12 samples asked: 12 answered, 0 failed" in done.stdout


def test_doctor_waits_for_both(project: Project, tmp_path: Path) -> None:
    study = write_study(tmp_path / "study.yaml", models=[row(name) for name in PAIR])
    doctor = (sys.executable, "-m", "wardround", "doctor", "--study", study, "--wait", "60")
    done = project.docker.run(*doctor, folder=tmp_path, environment={KEY_ENV: KEY})
    assert done.returncode == 0, done.stdout + done.stderr
    assert KEY not in done.stdout + done.stderr


def test_an_engine_that_ends_is_started_again(project: Project) -> None:
    name = PAIR[0]
    assert project.inside(name, "sh", "-c", "kill -TERM 1")[0] == 0
    deadline = time.monotonic() + 60
    while project.container(name)["RestartCount"] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    project.up("pair-openbiollm-8b")
    assert project.container(name)["State"]["Health"]["Status"] == "healthy"
