"""Fetch axe-core, which looks for what keeps people from reading a page, for the browser tests; nothing is installed.

    python -m tests.browser.fetch

npm's client fetches the package from the registry that it is set up with; what comes is held against a pinned hash.
One file of it is put into `.engines/axe/` in the checkout, or where WARDROUND_ENGINES says.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.engines.fetch import cache_folder

VERSION = "4.14.1"
# As npm writes it: SHA-512 of the package, in base64.
INTEGRITY = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
FILE = "package/axe.min.js"
COMMAND_S = 120


class CannotFetch(Exception):
    """axe-core is not to be had here; the text is one line that says why."""


def axe_file() -> Path:
    """Where axe-core is or would be."""
    return cache_folder() / "axe" / f"axe-{VERSION}.min.js"


def fetch() -> Path:
    """Fetch axe-core unless it is there; returns its file. Raises `CannotFetch`."""
    wanted = axe_file()
    if wanted.exists():
        return wanted
    if shutil.which("npm") is None:
        raise CannotFetch("npm is not installed; install Node.js")
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", f"axe-core@{VERSION}", "--silent", "--pack-destination", folder]
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)
        packages = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(packages) != 1:
            raise CannotFetch(f"npm pack axe-core@{VERSION} failed: {' '.join(done.stderr.split())}")
        content = script_in(packages[0])
    wanted.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: another test run may look for it now.
    part = wanted.with_suffix(".part")
    part.write_bytes(content)
    part.replace(wanted)
    return wanted


def script_in(package: Path) -> bytes:
    """The script in a package that is the pinned one; raises `CannotFetch` if it is another."""
    found = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
    if found != INTEGRITY:
        raise CannotFetch(f"{package.name} is not the pinned one: its SHA-512 is {found}")
    with tarfile.open(package) as archive:
        member = archive.extractfile(FILE)
        if member is None:
            raise CannotFetch(f"{package.name} holds no {FILE}")
        return member.read()


if __name__ == "__main__":
    try:
        print(fetch())
    except CannotFetch as error:
        sys.exit(f"cannot fetch axe-core: {error}")
