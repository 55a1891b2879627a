"""Real engines as processes: each serves the tiny model on a free loopback port and is ended with all its children.

`with running(llama_server(tiny, folder)) as engine: …` starts one, waits until it answers and stops it at the end. An
engine can be killed and started again on the same port, as a server is that dies in the middle of a study.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.engines.fetch import folder_of, llama_backends, llama_server_command, vllm_environment
from tests.engines.tiny import CONTEXT, Tiny

# Importing vLLM three times over on a busy machine takes its time.
START_S = 240.0
STOP_S = 10.0
# An engine that dies puts its affairs in order first.
ENDS_S = 60.0
SERVED_AS = "tiny"


@dataclass
class Engine:
    """An engine: how it is started, and its process once it is. `log` is the file with all that it says."""

    name: str
    command: tuple[str, ...]
    port: int
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    served_as: str = SERVED_AS
    process: subprocess.Popen[bytes] | None = None
    launched_s: float = 0.0
    # From its last launch to its first answer, in seconds; None if that came before anyone waited for it.
    start_s: float | None = None

    @property
    def root(self) -> str:
        """The address of what is not OpenAI's: /health, /metrics, /tokenize."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """The address for a model's row."""
        return f"{self.root}/v1"

    def launch(self) -> None:
        """Start the process, and do not wait for it."""
        self.launched_s, self.start_s = time.monotonic(), None
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A group of its own: engines have children, and all of them must go.
                start_new_session=True,
            )

    def wait(self) -> None:
        """Return when the engine answers; raises `RuntimeError` with its last words if it ends or takes too long."""
        assert self.process is not None
        deadline = time.monotonic() + START_S
        while not self._is_healthy():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                last = self.log.read_text("utf-8", "replace")[-3000:]
                raise RuntimeError(f"{self.name} did not start; the end of {self.log}:\n{last}")
            time.sleep(0.05)
            self.start_s = time.monotonic() - self.launched_s

    def wait_for_its_end(self) -> int:
        """Return the exit code of a process that ends by itself; raises `TimeoutExpired` of one that does not."""
        assert self.process is not None
        return self.process.wait(timeout=ENDS_S)

    def kill(self) -> None:
        """End the process and its children at once, as an engine ends that has no memory left."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """Ask the process to end and end what is left of it and its children."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGKILL)

    def get(self, path: str, key: str | None = None) -> str:
        """The body of GET `path` below the root; raises `urllib.error.URLError`."""
        return self._exchanged(path, None, key)

    def post(self, path: str, content: Mapping[str, Any], key: str | None = None) -> Any:
        """The JSON that answers a POST of `content`; raises `urllib.error.URLError`."""
        return json.loads(self.post_text(path, content, key))

    def post_text(self, path: str, content: Mapping[str, Any], key: str | None = None) -> str:
        """The body that answers a POST of `content`; raises `urllib.error.URLError`."""
        return self._exchanged(path, json.dumps(content).encode(), key)

    def _exchanged(self, path: str, body: bytes | None, key: str | None) -> str:
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        request = urllib.request.Request(self.root + path, body, headers)
        with _without_proxy.open(request, timeout=60 if body else 10) as answer:
            content: bytes = answer.read()
        return content.decode()

    def _is_healthy(self) -> bool:
        try:
            self.get("/health")
        except (urllib.error.URLError, OSError):
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=STOP_S)


_without_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def running(engine: Engine) -> Iterator[Engine]:
    """`engine` until the end of the block, started if it was not launched before."""
    try:
        if engine.process is None:
            engine.launch()
        engine.wait()
        yield engine
    finally:
        engine.stop()


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def llama_server(tiny: Tiny, folder: Path, *flags: str) -> Engine:
    """llama.cpp's server, not yet started, with 4 slots of the model's whole context unless `flags` say otherwise.

    Left to itself it keeps keys and values in 16 bits, and of the tiny model's answers one in six is then another.
    """
    fetched, port = folder_of("llama-server"), free_port()
    command = (
        *llama_server_command(fetched),
        *("--model", str(tiny.gguf), "--alias", SERVED_AS, "--host", "127.0.0.1", "--port", str(port)),
        *("--parallel", "4", "--ctx-size", str(4 * CONTEXT), "--threads", "1", "--jinja", "--metrics"),
        *("--cache-type-k", "f32", "--cache-type-v", "f32", "--flash-attn", "off", "--offline", "--no-webui"),
        # With fewer, connections that come at once may share a thread and wait 5 s for each other.
        *("--threads-http", "64"),
        *flags,
    )
    return Engine("llama-server", command, port, folder / f"llama-server-{port}.log", folder=llama_backends(fetched))


def vllm(tiny: Tiny, folder: Path, *flags: str) -> Engine:
    """vLLM on the CPU, not yet started; it writes nothing outside `folder`.

    It reckons in float32 like llama.cpp, so that both say the same, and with the worker in the engine's process: each
    process more takes ten seconds of imports.
    """
    fetched, port = folder_of("vllm"), free_port()
    command = (
        *(str(fetched / "bin" / "python"), "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(tiny.folder), "--served-model-name", SERVED_AS, "--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", "float32", "--max-model-len", str(CONTEXT), "--enforce-eager", "--generation-config", "vllm"),
        *("--distributed-executor-backend", "uni", "--enable-prompt-tokens-details"),
        # A cache of 32,768 tokens is ready a second sooner than one of 1 GiB.
        *("--num-gpu-blocks-override", "256"),
        *flags,
    )
    environment = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        # Bound to a core, two of them would share one.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_CONFIG_ROOT": str(folder / "vllm-config"),
        "VLLM_CACHE_ROOT": str(folder / "vllm-cache"),
        "HF_HOME": str(folder / "hf-home"),
        "HF_HUB_OFFLINE": "1",
        **vllm_environment(fetched),
    }
    return Engine("vllm", command, port, folder / f"vllm-{port}.log", environment)


def transformers_serve(tiny: Tiny, folder: Path, *flags: str) -> Engine:
    """`transformers serve`, not yet started, with a small cache: it would take most of the memory otherwise."""
    fetched, port = folder_of("vllm"), free_port()
    # Without its cache's folder it answers a question for its models with 500.
    (folder / "hf-home" / "hub").mkdir(parents=True, exist_ok=True)
    command = (
        # The script names its interpreter by the path it was installed under.
        *(str(fetched / "bin" / "python"), str(fetched / "bin" / "transformers"), "serve", str(tiny.folder)),
        *("--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--continuous-batching"),
        *("--cb-num-blocks", "256", "--cb-block-size", "32"),
        *flags,
    )
    environment = {
        "HF_HOME": str(folder / "hf-home"),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    log = folder / f"transformers-{port}.log"
    return Engine("transformers", command, port, log, environment, served_as=str(tiny.folder))
