"""What `docker compose` itself says of every rendered file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.compose.engine import Docker
from wardround.catalogue import EngineName
from wardround.serving import ENGINES, render, served_models

pytestmark = pytest.mark.compose


@pytest.mark.parametrize("name", ENGINES)
def test_it_reads_the_file_of_every_engine_without_a_word(engine: Docker, name: EngineName, tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text(render(tmp_path, engine=name).text, encoding="utf-8")
    (tmp_path / "env").touch()
    words = ("compose", "--env-file", tmp_path / "env", "--file", path, "--profile", "*", "config", "--format", "json")
    done = engine.run("docker", *words)
    assert (done.returncode, done.stderr) == (0, "")
    services = json.loads(done.stdout)["services"]
    assert {one.name for one in served_models()} <= services.keys()
    published = [port for one in services.values() for port in one.get("ports", [])]
    assert {port["host_ip"] for port in published} == {"127.0.0.1"}
