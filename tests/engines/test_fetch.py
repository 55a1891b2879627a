"""The fetching of engines, as far as it needs no network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines.fetch import STAMP, is_fetched
from tests.support import ROOT


def fetch(engine: str, cache: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.engines.fetch", engine],
        cwd=ROOT,
        env={**os.environ, "WARDROUND_ENGINES": str(cache), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_unknown_engine_is_wrong_use(tmp_path: Path) -> None:
    assert fetch("llama-sever", tmp_path).returncode == 2


def test_a_machine_without_debians_tools_gets_one_line_and_an_untouched_cache(tmp_path: Path) -> None:
    done = fetch("llama-server", tmp_path / "cache", PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == "llama-server: this needs a Debian system: apt-get or dpkg-deb is not there\n"
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_pip_cannot_find_is_said_in_one_line(tmp_path: Path) -> None:
    nowhere = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    done = fetch("vllm", tmp_path / "cache", **nowhere)
    assert done.returncode == 1
    assert done.stderr.startswith("vllm: PyTorch could not be installed: ERROR: No matching distribution found")
    assert done.stderr.count("\n") == 1
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    "content", ["", "{", json.dumps({"wanted": {"suite": "sarge"}})], ids=["empty", "cut", "other"]
)
def test_a_stamp_of_something_else_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setenv("WARDROUND_ENGINES", str(tmp_path))
    (tmp_path / "llama-server").mkdir()
    assert not is_fetched("llama-server")
    (tmp_path / "llama-server" / STAMP).write_text(content, encoding="utf-8")
    assert not is_fetched("llama-server")
