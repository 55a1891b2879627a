"""Prints the small study that is run over the engine: its one model, where and under which name it answers.

python -m tests.gpu.study ENGINE FOLDER CONTEXT PORT
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from tests.gpu.serve import NAME, served_as

SAMPLES = 24
LONG = 8192


def study(engine: str, folder: Path, context: int, port: int) -> dict[str, Any]:
    """The study as its file says it."""
    model: dict[str, Any] = {
        "name": NAME,
        "base_url": f"http://127.0.0.1:{port}/v1",
        "served_as": served_as(engine, folder),
        "context": context,
    }
    if engine != "transformers":
        # Else random weights end their answers at random, and the load would be any other than asked for.
        model["extra_body"] = {"ignore_eos": True}
    tasks: list[dict[str, Any]] = [{"task": "mednli", "limit": SAMPLES, "max_tokens": 32}]
    if context >= LONG:
        # Short questions over long notes: what a prefix cache and a large batch are for.
        tasks = [{"task": name, "limit": SAMPLES, "max_tokens": 128} for name in ("mednli", "longhealth")]
    return {"study": "gpu", "models": [model], "tasks": tasks, "baselines": False, "concurrency": 8}


def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    engine, folder, context, port = arguments
    print(yaml.safe_dump(study(engine, Path(folder).resolve(), int(context), int(port))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
