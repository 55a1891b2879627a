"""A compose project of the tests: the rendered file, what differs here in files of its own, up and down."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.compose.engine import Docker

NAME = "wardround-test"
# Not compose.yaml's own tag: a user's image is not written over.
EMBEDDED = "wardround-test-embedded:0"
# vLLM is imported twice before it answers, and the machine may be busy.
START_S = "600"


class Reset:
    """In the place of a value that is to be as if it stood nowhere."""


def _reset(dumper: yaml.SafeDumper, _value: Reset) -> yaml.Node:
    return dumper.represent_scalar("!reset", "null")


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(Reset, _reset)


class Project:
    """A project; `folder` gets its .env and its overriding file. A name of its own keeps it apart from a user's."""

    def __init__(self, docker: Docker, folder: Path, base_image: str) -> None:
        self.docker = docker
        self.folder = folder
        self._base_image = base_image
        self._words: tuple[str | Path, ...] = ()

    def use(self, compose: Path, services: Mapping[str, Any], env: Mapping[str, str]) -> None:
        """Take the file `compose` with `services` laid over it and `env` in the place of the checkout's .env."""
        embedded = {"build": {"args": {"PYTHON_IMAGE": self._base_image}}, "image": EMBEDDED}
        override = {"services": {"embedded": embedded, **services}}
        over, variables = self.folder / "override.yaml", self.folder / "env"
        over.write_text(yaml.dump(override, Dumper=_Dumper), encoding="utf-8")
        variables.write_text("".join(f"{name}={value}\n" for name, value in env.items()), encoding="utf-8")
        self._words = ("--project-name", NAME, "--env-file", variables, "--file", compose, "--file", over)

    def compose(self, *words: str) -> str:
        """What `docker compose WORDS` prints; an assertion fails if it fails."""
        return self.docker.says("compose", *self._words, *words)

    def up(self, *profiles: str, services: Sequence[str] = ()) -> None:
        """`docker compose --profile … up -d --wait`: returns when `services`, by default all of them, are healthy."""
        named = [word for profile in profiles for word in ("--profile", profile)]
        try:
            self.compose(*named, "up", "--detach", "--wait", "--wait-timeout", START_S, "--pull", "never", *services)
        except AssertionError as error:
            logs = self.docker.run("docker", "compose", *self._words, "--profile", "*", "logs", "--tail", "40").stdout
            raise AssertionError(f"{error}\n{logs}") from None

    def container(self, service: str) -> dict[str, Any]:
        """Everything that the engine knows of a service's container."""
        [line] = self.compose("--profile", "*", "ps", "--all", "--format", "json", service).splitlines()
        return self.docker.inspect(json.loads(line)["Name"])

    def inside(self, service: str, *command: str) -> tuple[int, str]:
        """The exit code of a command in a service's container, and what it printed."""
        done = self.docker.run(
            "docker", "compose", *self._words, "--profile", "*", "exec", "--no-TTY", service, *command
        )
        return done.returncode, done.stdout + done.stderr

    def down(self) -> None:
        """Remove its containers, networks and volumes."""
        if self._words:
            self.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5")
