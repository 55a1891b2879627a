"""Asking what compose has published, from within the network where it is published."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.compose.engine import Docker

_GET = """
import sys, urllib.error, urllib.request
headers = {"Authorization": "Bearer " + sys.argv[2]} if len(sys.argv) > 2 else {}
ask = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
try:
    answer = ask(urllib.request.Request(sys.argv[1], headers=headers), timeout=20)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status)
print(answer.read().decode())
"""


def get(docker: Docker, address: str, *key: str) -> tuple[int, str]:
    """The status and the body of GET `address`, with a key if one is given."""
    done = docker.run(sys.executable, "-c", _GET, address, *key, timeout_s=60)
    assert done.returncode == 0, done.stderr
    status, _, body = done.stdout.partition("\n")
    return int(status), body


def study_over(docker: Docker, study: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`wardround run` of a study, with what it asks among the published ports, into the folder `run` beside it."""
    command = (sys.executable, "-m", "wardround", "run", study, "--out", study.parent / "run")
    return docker.run(*command, folder=study.parent, environment=environment, timeout_s=300)


def listening(docker: Docker, port: int) -> set[str]:
    """The addresses at which something listens on `port`, read from the kernel's own table."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        # A process of its own: /proc/net is that of whoever reads it.
        for line in docker.run("cat", table).stdout.splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, _, number = local.partition(":")
            if int(number, 16) == port and state == "0A":
                found.add(_readable(address))
    return found


def _readable(address: str) -> str:
    if len(address) > 8:
        return "::" if int(address, 16) == 0 else address
    # The kernel writes the four bytes as the machine's own integer.
    return ".".join(str(byte) for byte in int(address, 16).to_bytes(4, sys.byteorder))
