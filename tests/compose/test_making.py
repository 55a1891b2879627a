"""What the lane is made of, with no engine: layers, overriding files, and what killed tests leave."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.compose import engine
from tests.compose.engine import CannotRun, Docker
from tests.compose.image import Layer, libraries_of
from tests.compose.project import Project, Reset

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="images are made on Linux")


def made(path: Path) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(path.read_bytes()))


def test_a_layer_holds_a_file_once_with_what_a_link_points_to(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("words", encoding="utf-8")
    (tmp_path / "link").symlink_to("real")
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        layer = Layer(tar)
        layer.add(tmp_path / "link", "/etc/thing")
        layer.add(tmp_path / "real", "etc/thing")
    with made(tmp_path / "root.tar") as tar:
        [entry] = tar.getmembers()
        content = tar.extractfile(entry)
        assert content is not None
        assert (entry.name, entry.isreg(), entry.uid, entry.uname) == ("etc/thing", True, 0, "root")
        assert content.read() == b"words"


def test_a_tree_leaves_out_what_is_not_wanted(tmp_path: Path) -> None:
    for name in ("a/one", "a/__pycache__/two"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        files = Layer(tar).add_tree(tmp_path / "a", Path("lib"), lambda path: "__pycache__" not in path.parts)
    assert files == [tmp_path / "a" / "one"]
    with made(tmp_path / "root.tar") as tar:
        assert tar.getnames() == ["lib/one"]


@linux
def test_the_libraries_of_a_program_are_those_that_it_is_loaded_with() -> None:
    program = Path(shutil.which("cat") or "/bin/cat").resolve()
    names = {path.name for path in libraries_of([program])}
    assert any(name.startswith("libc.") for name in names)
    assert any(name.startswith("ld-") for name in names)


def test_what_is_to_be_as_if_it_stood_nowhere_is_written_so(tmp_path: Path) -> None:
    Project(Docker({}), tmp_path, "base:1").use(tmp_path / "compose.yaml", {"one": {"deploy": Reset()}}, {"A": "1"})
    written = (tmp_path / "override.yaml").read_text(encoding="utf-8")
    assert "deploy: !reset" in written
    assert "PYTHON_IMAGE: base:1" in written
    assert (tmp_path / "env").read_text(encoding="utf-8") == "A=1\n"


@linux
def test_only_data_whose_tests_have_ended_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARDROUND_ENGINES", str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    for name, owner in (("mine", os.getpid()), ("theirs", ended.pid)):
        (tmp_path / f"{engine.DATA}{name}").mkdir()
        (tmp_path / f"{engine.DATA}{name}" / engine.OWNER).write_text(str(owner), encoding="utf-8")
    engine.remove_what_killed_tests_left()
    assert [path.name for path in tmp_path.iterdir()] == [f"{engine.DATA}mine"]


def test_an_engine_that_is_not_there_does_not_answer(tmp_path: Path) -> None:
    assert not engine.answers(Docker({"PATH": str(tmp_path)}))
    assert not engine.answers(Docker({"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"}))


def test_a_compose_that_is_missing_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    (tmp_path / "docker").chmod(0o755)
    with pytest.raises(CannotRun, match=r"missing or older than 2\.24"):
        engine.must_know_reset(Docker({"PATH": f"{tmp_path}:{os.environ['PATH']}"}))
