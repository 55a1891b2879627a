"""Becomes an engine that serves a model on a loopback port, with continuous batching.

    python -m tests.gpu.serve ENGINE DEVICE FOLDER CONTEXT PORT

ENGINE is vllm, transformers or llama-server, DEVICE cpu or cuda. ENGINE_PYTHON names the interpreter that has the engine;
on a CPU it is by default that of .engines. What says with which version it serves is printed first.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.engines.fetch import folder_of, llama_backends, llama_server_command, vllm_environment

NAME = "larger"
GGUF = "tiny.gguf"


@dataclass(frozen=True)
class Start:
    """How an engine is started; `version` is the command that prints its version."""

    command: tuple[str, ...]
    version: tuple[str, ...]
    environment: dict[str, str]
    folder: Path | None = None


def interpreter(device: str) -> str:
    """The Python that has the engine."""
    fetched = folder_of("vllm") / "bin" / "python"
    given = os.environ.get("ENGINE_PYTHON")
    return given or (str(fetched) if device == "cpu" and fetched.exists() else sys.executable)


def vllm(device: str, folder: Path, context: int, port: int) -> Start:
    """vLLM; on a CPU as the engines' tests start it."""
    python = interpreter(device)
    command = [
        *(python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--served-model-name", NAME),
        *("--host", "127.0.0.1", "--port", str(port), "--max-model-len", str(context)),
        *("--dtype", "bfloat16", "--generation-config", "vllm", "--enable-prefix-caching"),
    ]
    environment = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
    if device == "cpu":
        command += ["--enforce-eager", "--distributed-executor-backend", "uni"]
        environment |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        environment |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", **vllm_environment(folder_of("vllm"))}
    return Start(tuple(command), _version_of(python, "vllm"), environment)


def transformers(device: str, folder: Path, _context: int, port: int) -> Start:
    """`transformers serve`, which takes the model's whole context; on a CPU with a small cache, since it would take most of the memory."""
    python = interpreter(device)
    command = [
        *(python, "-c", "from transformers.cli.transformers import main; main()", "serve", str(folder)),
        *("--host", "127.0.0.1", "--port", str(port), "--continuous-batching"),
        *("--device", "cpu" if device == "cpu" else "cuda:0", "--dtype", "bfloat16"),
    ]
    if device == "cpu":
        command += ["--cb-num-blocks", "512", "--cb-block-size", "32"]
    # Without its cache's folder it answers a question for its models with 500.
    home = folder / "hf-home"
    (home / "hub").mkdir(parents=True, exist_ok=True)
    environment = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return Start(tuple(command), _version_of(python, "transformers"), environment)


def llama_server(device: str, folder: Path, context: int, port: int) -> Start:
    """llama.cpp's server with 8 slots; the one of .engines on a CPU, else what LLAMA_SERVER names."""
    given = os.environ.get("LLAMA_SERVER")
    fetched = folder_of("llama-server")
    program = [given] if given else llama_server_command(fetched)
    command = [
        *(*program, "--model", str(folder / GGUF), "--alias", NAME, "--host", "127.0.0.1", "--port", str(port)),
        *("--parallel", "8", "--ctx-size", str(8 * context), "--jinja", "--metrics", "--offline", "--no-webui"),
        *(("--threads", "1") if device == "cpu" else ("--n-gpu-layers", "all")),
    ]
    return Start(tuple(command), (*program, "--version"), {}, None if given else llama_backends(fetched))


def _version_of(python: str, module: str) -> tuple[str, ...]:
    # The build for CPUs goes by another name; its module knows its version all the same.
    return (python, "-W", "ignore", "-c", f"import {module}; print('{module}', {module}.__version__)")


ENGINES: dict[str, Callable[[str, Path, int, int], Start]] = {
    "vllm": vllm,
    "transformers": transformers,
    "llama-server": llama_server,
}


def served_as(engine: str, folder: Path) -> str:
    """The name that the engine knows the model by: `transformers serve` knows folders only."""
    return str(folder) if engine == "transformers" else NAME


def main(arguments: list[str]) -> int:
    """The command; on success this process has become the engine and nothing is returned."""
    engine, device, folder, context, port = arguments
    start = ENGINES[engine](device, Path(folder).resolve(), int(context), int(port))
    environment = {**os.environ, **start.environment}
    told = subprocess.run(start.version, env=environment, cwd=start.folder, capture_output=True, text=True, check=False)
    if told.returncode != 0:
        print(*told.stderr.strip().splitlines()[-1:], file=sys.stderr)
        return 1
    # llama-server writes its version where others write complaints.
    [version, *_] = [line for line in (told.stdout + told.stderr).splitlines() if line.startswith((engine, "version"))]
    print(version if version.startswith(engine) else f"{engine} {version}", flush=True)
    if start.folder is not None:
        os.chdir(start.folder)
    os.execve(start.command[0], start.command, environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
