"""The marker of tests that need a Qdrant server."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "qdrant: needs a Qdrant server (WARDROUND_QDRANT=http://127.0.0.1:6333)")
