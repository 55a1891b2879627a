"""A Docker engine for the tests: the one that answers, or Debian's packages unpacked into a folder of their own.

    python -m tests.compose.engine

fetches the packages into `.engines/docker` (or below WARDROUND_ENGINES) if no engine answers; nothing is installed into
the system. The unpacked daemon lives in mount, network and process namespaces of its own: its bridges, packet filter
rules, mounts and containers are not the machine's, and all of them are gone when its first process is. What is to reach a
published port has to be run in that network namespace: `Docker.run`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.engines.fetch import CannotFetch, cache_folder, debian_packages

PACKAGES = (
    *("docker.io", "containerd", "runc", "iptables"),
    *("libdevmapper1.02.1", "libip4tc2", "libip6tc2", "libmnl0", "libnftnl11", "libxtables12"),
)
# The first release of Debian with a compose that knows `!reset`; it is a program by itself and runs with an older libc.
COMPOSE_SUITE = "forky"
COMPOSE_PACKAGE = "docker-compose"
OLDEST_COMPOSE = (2, 24)
STAMP = "fetched.json"
DATA = ".docker-data-"
OWNER = "owner"
LOG = "dockerd.log"
START_S = 60.0
COMMAND_S = 900.0


class CannotRun(Exception):
    """There is no Docker engine to be had here; the text is one line that says why."""


@dataclass(frozen=True)
class Docker:
    """An engine that answers. `prefix` are the words that lead into its network, `environment` leads to its socket."""

    environment: Mapping[str, str]
    prefix: tuple[str, ...] = ()

    def run(
        self,
        *command: str | Path,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        timeout_s: float = COMMAND_S,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command where the engine's ports are published, to its end."""
        return subprocess.run(
            [*self.prefix, *map(str, command)],
            cwd=folder,
            env={**os.environ, **self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )

    def says(self, *words: str | Path, **options: Any) -> str:
        """What `docker WORDS` prints; an assertion fails if it fails."""
        done = self.run("docker", *words, **options)
        assert done.returncode == 0, f"docker {' '.join(map(str, words))}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done.stdout

    def inspect(self, name: str) -> dict[str, Any]:
        """Everything that the engine knows of a container."""
        [content] = json.loads(self.says("container", "inspect", name))
        found: dict[str, Any] = content
        return found


def folder() -> Path:
    """Where the unpacked packages are or would be."""
    return cache_folder() / "docker"


def is_fetched() -> bool:
    """Whether they are there, as this version of the tests wants them."""
    try:
        return bool(json.loads((folder() / STAMP).read_text(encoding="utf-8")) == _wanted())
    except (OSError, ValueError):
        return False


def _wanted() -> dict[str, Any]:
    return {"packages": list(PACKAGES), "compose": [COMPOSE_SUITE, COMPOSE_PACKAGE]}


def fetch() -> str:
    """Fetch the packages if they are not there; returns a line that says what was done. Raises `CannotRun`."""
    if is_fetched():
        return f"docker: is in {folder()} already"
    began = time.monotonic()
    folder().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder().parent, prefix=".docker-") as scratch:
        made = Path(scratch) / "made"
        try:
            files = [
                *debian_packages(PACKAGES, Path(scratch) / "own", suite=None),
                *debian_packages([COMPOSE_PACKAGE], Path(scratch) / "newer", suite=COMPOSE_SUITE),
            ]
        except CannotFetch as error:
            raise CannotRun(str(error)) from error
        for file in files:
            subprocess.run(["dpkg-deb", "--extract", file, made], check=True)
        _complete(made)
        (made / STAMP).write_text(json.dumps(_wanted()), encoding="utf-8")
        shutil.rmtree(folder(), ignore_errors=True)
        made.rename(folder())
    return f"docker: fetched into {folder()} in {time.monotonic() - began:.0f} s"


def _complete(made: Path) -> None:
    """Add the links that an installation would make: the packet filter's names, and compose as docker's plugin."""
    for name in ("iptables", "ip6tables"):
        (made / "usr" / "sbin" / name).symlink_to("xtables-nft-multi")
    [plugin] = made.glob("usr/lib*/docker/cli-plugins/docker-compose")
    plugins = made / "config" / "cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-compose").symlink_to(os.path.relpath(plugin, plugins))


@contextmanager
def docker() -> Iterator[Docker]:
    """The engine that answers, or else the unpacked one until the end of the block; raises `CannotRun`."""
    if not sys.platform.startswith("linux"):
        raise CannotRun("the images of the tests are made of this machine's own Python, so it must run Linux")
    found = Docker({})
    if answers(found):
        must_know_reset(found)
        yield found
        return
    fetch()
    if os.geteuid() != 0:
        raise CannotRun("no Docker engine answers, and the unpacked one needs root")
    missing = [name for name in ("setpriv", "unshare", "nsenter", "ip", "mount") if shutil.which(name) is None]
    if missing:
        raise CannotRun(f"the unpacked Docker engine needs {', '.join(missing)}")
    remove_what_killed_tests_left()
    scratch = tempfile.TemporaryDirectory(dir=cache_folder(), prefix=DATA, ignore_cleanup_errors=True)
    with scratch as data, _daemon(Path(data)) as started:
        must_know_reset(started)
        yield started


def answers(found: Docker) -> bool:
    """Whether there is a docker command, and an engine behind it."""
    if shutil.which("docker", path=found.environment.get("PATH")) is None:
        return False
    return found.run("docker", "info", "--format", "{{.ServerVersion}}", timeout_s=30).returncode == 0


def must_know_reset(found: Docker) -> None:
    """Raise `CannotRun` if its compose does not know `!reset`."""
    done = found.run("docker", "compose", "version", "--short", timeout_s=30)
    numbers = done.stdout.strip().removeprefix("v").split(".")
    if done.returncode != 0 or tuple(int(number) for number in numbers[:2]) < OLDEST_COMPOSE:
        raise CannotRun("`docker compose` is missing or older than 2.24")


def remove_what_killed_tests_left() -> None:
    """Remove the data of daemons whose tests have ended without doing so."""
    for data in cache_folder().glob(f"{DATA}*"):
        with contextlib.suppress(OSError, ValueError):
            if not Path(f"/proc/{int((data / OWNER).read_text(encoding='utf-8'))}").exists():
                _groups_removed(data)
                shutil.rmtree(data, ignore_errors=True)


# $1 is the unpacked packages, $2 the data's folder, $3 the control group. Loopback is down in a new network namespace.
# Sockets and locks of a daemon of the machine's own are not to be found under the new /run.
_START = """
set -eu
ip link set lo up
mount -t tmpfs tmpfs /run
exec dockerd --host "unix://$2/docker.sock" --data-root "$2/data" --exec-root /run/docker --pidfile /run/docker.pid \
  --storage-driver overlay2 --cgroup-parent "$3"
"""


@contextmanager
def _daemon(data: Path) -> Iterator[Docker]:
    (data / OWNER).write_text(str(os.getpid()), encoding="utf-8")
    environment = _environment(data)
    namespaces = ("--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")
    with (data / LOG).open("wb") as log:
        process = subprocess.Popen(
            # If the tests are killed, so is the daemon.
            ["setpriv", "--pdeathsig", "KILL", "unshare", *namespaces, "sh", "-c", _START]
            + ["sh", str(folder()), str(data), _group_of(data)],
            env={**os.environ, **environment, **_libraries()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    started = Docker(environment, ("nsenter", f"--net=/proc/{process.pid}/ns/net", "--"))
    try:
        _wait(started, process, data / LOG)
        yield started
    finally:
        _end(process, data)


def _environment(data: Path) -> dict[str, str]:
    return {
        "PATH": f"{folder()}/usr/bin:{folder()}/usr/sbin:{os.environ['PATH']}:/usr/sbin:/sbin",
        "DOCKER_HOST": f"unix://{data}/docker.sock",
        "DOCKER_CONFIG": str(folder() / "config"),
    }


def _libraries() -> dict[str, str]:
    """Where the daemon and the packet filter's programs find their libraries and modules."""
    found = [str(path) for pattern in ("lib/*-linux-gnu", "usr/lib/*-linux-gnu") for path in folder().glob(pattern)]
    modules = [str(path) for path in folder().glob("usr/lib/*/xtables")]
    return {"LD_LIBRARY_PATH": ":".join(found), "XTABLES_LIBDIR": ":".join(modules)}


def _wait(started: Docker, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not answers(started):
        if process.poll() is not None or time.monotonic() > deadline:
            lines = log.read_text("utf-8", "replace").strip().splitlines() or ["it said nothing"]
            raise CannotRun(f"the unpacked Docker engine does not start here: {lines[-1][:300]}")
        time.sleep(0.2)


def _end(process: subprocess.Popen[bytes], data: Path) -> None:
    """End the daemon and all that it started: its namespace of processes goes with its first one."""
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while (_is_mounted(data) or not _groups_removed(data)) and time.monotonic() < deadline:
        time.sleep(0.1)
    shutil.rmtree(data / "data", ignore_errors=True)


def _group_of(data: Path) -> str:
    """The control group that the containers of the daemon with these data are put below."""
    return f"wardround-{data.name.removeprefix(DATA)}"


def _groups_removed(data: Path) -> bool:
    """Remove the control groups of a daemon that has ended; false while one of its processes is still ending."""
    mounted = Path("/sys/fs/cgroup")
    for top in (mounted / _group_of(data), *mounted.glob(f"*/{_group_of(data)}")):
        with contextlib.suppress(FileNotFoundError):
            for group in (*sorted(top.rglob("*/"), reverse=True), top):
                with contextlib.suppress(OSError):
                    group.rmdir()
        if top.exists():
            return False
    return True


def _is_mounted(data: Path) -> bool:
    """Whether a process of the ended namespace still holds a mount, so that its files cannot be removed yet."""
    for path in Path("/proc").glob("[0-9]*/mountinfo"):
        with contextlib.suppress(OSError):
            if str(data) in path.read_text("utf-8", "replace"):
                return True
    return False


def main(_arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    try:
        print("docker: an engine answers" if answers(Docker({})) else fetch())
    except CannotRun as error:
        print(f"docker: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
