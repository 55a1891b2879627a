from __future__ import annotations

import os

# Before NumPy is imported: its threads spin, and on two busy cores they cost more than they bring.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from collections.abc import Iterator

import pytest

from tests.support import Server, running_server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One embedded server without latency or faults, for all tests that only need one to talk to."""
    with running_server() as running:
        yield running
