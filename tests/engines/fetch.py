"""Fetch real inference engines for the tests into a folder of their own; nothing is installed into the system.

    python -m tests.engines.fetch [llama-server] [vllm] [transformers]

The folder is `.engines/` in the checkout, or where WARDROUND_ENGINES says. What is there already is not fetched again.

- llama-server comes as Debian packages, from the mirror that this system's own apt configuration names, and is run
  with the C library that lies beside it: Debian's testing release is the first to have it.
- vllm is a build of vLLM for CPUs, in a virtual environment of its own, with versions and hashes from
  vllm-requirements.txt. PyTorch is pinned by version alone: which of its builds pip finds, and so which hash, depends on
  the machine's pip configuration. The build for CPUs is the one to have; without it pip takes the one with CUDA (GBs).
- transformers is `transformers serve`, which lives in vllm's environment; its own folder only says that it is wanted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support import ROOT

ENGINES = ("llama-server", "vllm", "transformers")
STAMP = "fetched.json"

SUITE = "forky"
LLAMA_PACKAGES = (
    *("llama.cpp-tools", "libllama0", "libggml0"),
    *("libc6", "libgcc-s1", "libgomp1", "libssl3t64", "libstdc++6", "libzstd1", "zlib1g"),
)
TORCH = "torch==2.13.0"
REQUIREMENTS = Path(__file__).parent / "vllm-requirements.txt"

COMMAND_S = 1200


class CannotFetch(Exception):
    """An engine is not to be had here; the text is one line that says why."""


def cache_folder() -> Path:
    """Where engines are kept."""
    return Path(os.environ.get("WARDROUND_ENGINES") or ROOT / ".engines").resolve()


def folder_of(engine: str) -> Path:
    """Where `engine` is or would be."""
    return cache_folder() / engine


def is_fetched(engine: str) -> bool:
    """Whether `engine` is in the cache, whole and as this version of the tests wants it."""
    try:
        stamp = json.loads((folder_of(engine) / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(stamp["wanted"] == _wanted(engine))


def fetch(engine: str) -> str:
    """Fetch `engine` if it is not there; returns a line that says what was done. Raises `CannotFetch`."""
    folder = folder_of(engine)
    if is_fetched(engine):
        return f"{engine}: is in {folder} already"
    began = time.monotonic()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        found = _FETCHING[engine](made, Path(scratch))
        stamp = {"wanted": _wanted(engine), "found": found}
        (made / STAMP).write_text(json.dumps(stamp, indent=1), encoding="utf-8")
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        made.rename(folder)
    size_mb = sum(path.lstat().st_size for path in folder.rglob("*")) / 1e6
    return f"{engine}: fetched into {folder}, {size_mb:.0f} MB in {time.monotonic() - began:.0f} s"


def _wanted(engine: str) -> dict[str, Any]:
    """What a stamp must say for its folder to be the right one."""
    if engine == "llama-server":
        return {"suite": SUITE, "packages": list(LLAMA_PACKAGES)}
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    lock = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    return {"torch": TORCH, "python": python, "requirements": lock}


def _fetch_llama_server(made: Path, scratch: Path) -> list[str]:
    files = debian_packages(LLAMA_PACKAGES, scratch, suite=SUITE)
    for file in files:
        _run(["dpkg-deb", "--extract", file, made], "a package could not be unpacked")
    _run([*llama_server_command(made), "--version"], "llama-server does not run on this machine")
    return sorted(file.stem for file in files)


def llama_server_command(folder: Path) -> list[str]:
    """The beginning of the command line that runs the llama-server in `folder`; raises `CannotFetch`."""
    loaders = sorted(folder.glob("usr/lib/*/ld-linux-*.so.*"))
    if not loaders:
        raise CannotFetch(f"{folder} holds no C library; delete it and fetch llama-server again")
    libraries = loaders[0].parent
    path = f"{libraries}:{libraries / 'llama'}"
    return [str(loaders[0]), "--library-path", path, str(folder / "usr/bin/llama-server")]


def llama_backends(folder: Path) -> Path:
    """The folder with one build of llama.cpp's arithmetic for each kind of CPU; it looks for them where it is started."""
    [backends, *_] = sorted(folder.glob("usr/lib/*/ggml/backends*"))
    return backends


def _fetch_vllm(made: Path, scratch: Path) -> list[str]:
    _run([sys.executable, "-m", "venv", "--without-pip", made], "no virtual environment could be made")
    python = made / "bin" / "python"
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    _run([*pip, "install", "--quiet", TORCH], "PyTorch could not be installed")
    _run(
        [*pip, "install", "--quiet", "--no-deps", "--require-hashes", "-r", REQUIREMENTS],
        "vLLM could not be installed",
    )
    if _fails([python, "-c", "import ctypes; ctypes.CDLL('libnuma.so.1')"]):
        [file] = debian_packages(["libnuma1"], scratch, suite=None)
        _run(["dpkg-deb", "--extract", file, made / "numa"], "a package could not be unpacked")
    _run([python, "-c", "import vllm.entrypoints.openai.api_server"], "vLLM does not run", vllm_environment(made))
    return _run([*pip, "freeze"], "pip does not answer").splitlines()


def vllm_environment(folder: Path) -> dict[str, str]:
    """What vLLM's process must have in its environment to run from `folder`."""
    libraries = [str(path.parent) for path in sorted(folder.glob("numa/usr/lib/*/libnuma.so.1"))]
    return {"LD_LIBRARY_PATH": ":".join(libraries)} if libraries else {}


def _fetch_transformers(_made: Path, _scratch: Path) -> list[str]:
    fetch("vllm")
    return ["see vllm"]


_FETCHING = {"llama-server": _fetch_llama_server, "vllm": _fetch_vllm, "transformers": _fetch_transformers}


def debian_packages(names: Sequence[str], scratch: Path, *, suite: str | None) -> list[Path]:
    """Download packages of `suite`, by default this system's own, with an apt configuration that touches nothing else."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise CannotFetch("this needs a Debian system: apt-get or dpkg-deb is not there")
    mirror, own_suite = _debian_mirror()
    apt = scratch / "apt"
    for folder in ("state/lists/partial", "cache/archives/partial", "sources", "packages"):
        (apt / folder).mkdir(parents=True)
    (apt / "status").touch()
    (apt / "sources" / "debian.list").write_text(f"deb {mirror} {suite or own_suite} main\n", encoding="utf-8")
    settings = {
        "Dir::State": apt / "state",
        "Dir::State::status": apt / "status",
        "Dir::Cache": apt / "cache",
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": apt / "sources",
        "Acquire::Languages": "none",
    }
    lines = [f'{name} "{value}";\n' for name, value in settings.items()]
    (apt / "apt.conf").write_text("".join(lines), encoding="utf-8")
    environment = {"APT_CONFIG": str(apt / "apt.conf")}
    _run(["apt-get", "update", "-qq"], "the mirror's list of packages could not be read", environment)
    _run(["apt-get", "download", "-qq", *names], "packages could not be downloaded", environment, apt / "packages")
    return sorted((apt / "packages").glob("*.deb"))


def _debian_mirror() -> tuple[str, str]:
    """Address (with options) and suite of the Debian mirror that the system's own configuration names."""
    try:
        codename = re.search(r"^VERSION_CODENAME=\W?(\w+)", Path("/etc/os-release").read_text("utf-8"), re.M)
    except OSError:
        codename = None
    listed = _run(
        ["apt-get", "indextargets", "--format", "$(CREATED_BY) $(COMPONENT) $(RELEASE) $(REPO_URI)"],
        "the system's sources of packages could not be read",
    )
    for line in listed.splitlines():
        created_by, component, release, address = line.split(maxsplit=3)
        if codename and (created_by, component, release) == ("Packages", "main", codename[1]):
            keys = [path for path in Path("/usr/share/keyrings").glob("debian-archive-keyring.*") if path.is_file()]
            return (f"[signed-by={keys[0]}] " if keys else "") + address, release
    raise CannotFetch("this needs a Debian system: apt names no mirror of its release")


def _run(
    command: Sequence[str | Path],
    otherwise: str,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> str:
    """Run a command to its end and return what it printed; raises `CannotFetch` with `otherwise` and its last words."""
    try:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=folder,
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotFetch(f"{otherwise}: {error}") from error
    if done.returncode != 0:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        # pip and apt mark what matters; notes and warnings come after it.
        said = [line for line in lines if re.match(r"E:|ERROR:|error:", line)] or lines or ["no reason given"]
        raise CannotFetch(f"{otherwise}: {said[-1].strip()}")
    return done.stdout


def _fails(command: Sequence[str | Path]) -> bool:
    return subprocess.run([str(word) for word in command], capture_output=True, check=False).returncode != 0


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.engines.fetch", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("engines", nargs="+", choices=ENGINES)
    for engine in parser.parse_args(arguments).engines:
        try:
            print(fetch(engine))
        except CannotFetch as error:
            print(f"{engine}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
