"""What several tests need: real servers as processes, and the command line as a process."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Server:
    """An embedded server in a process of its own."""

    base_url: str
    process: subprocess.Popen[bytes]

    def stats(self) -> dict[str, Any]:
        """What it has seen: {"requests": …, "statuses": {…}}."""
        with urllib.request.urlopen(self.base_url.removesuffix("/v1") + "/stats", timeout=10) as answer:
            content: dict[str, Any] = json.load(answer)
        return content


@contextmanager
def running_server(*options: str, env: Mapping[str, str] | None = None) -> Iterator[Server]:
    """`wardround serve` with `options` on a free loopback port, stopped at the end."""
    command = [sys.executable, "-m", "wardround", "serve", "--port", "0", "--announce", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env and dict(env)) as process:
        assert process.stdout is not None
        try:
            yield Server(json.loads(process.stdout.readline())["base_url"], process)
        finally:
            process.terminate()
            process.wait(timeout=10)


def wardround(
    *arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    command = [sys.executable, "-m", "wardround", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=env and dict(env), capture_output=True, text=True, timeout=300, check=False
    )


def write_study(path: Path, **fields: Any) -> Path:
    """A study file with `fields`; by default MedNLI's invented samples and one embedded baseline, no others."""
    study = {"study": "test", "models": ["baseline-majority"], "tasks": ["mednli"], "baselines": False, **fields}
    path.write_text(yaml.safe_dump(study, allow_unicode=True), encoding="utf-8")
    return path


def model_at(server: Server, name: str = "baseline-majority", **fields: Any) -> dict[str, Any]:
    """A model row that asks the baseline `name` at `server`."""
    return {"name": name, "base_url": server.base_url, **fields}
