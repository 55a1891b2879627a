"""The engines' files: what they must say, how their blanks are filled, and health checks that tell ready from not."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from tests.support import ROOT, Server
from wardround.catalogue import EngineName, first_complaint
from wardround.errors import CatalogueError
from wardround.serving.engines import ENGINES, KNOWN, Engine, Traits, describe, filled, find_engine, traits_table

HTTP_CHECKED: list[EngineName] = [name for name in ENGINES if find_engine(name).health.test[0] == "CMD"]


def raw(name: EngineName) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "servers" / "engines" / f"{name}.yaml").read_text("utf-8"))
    return content


def complaint(**fields: Any) -> str:
    with pytest.raises(ValidationError) as raised:
        Engine(**{**raw("vllm"), **fields})
    return first_complaint(raised.value)


def test_there_is_a_file_for_every_engine_and_no_other() -> None:
    assert {path.stem for path in (ROOT / "servers" / "engines").iterdir()} == set(KNOWN)


def told_of(name: str) -> list[tuple[str, str | None]]:
    """Each trait and remark of an engine, and the test that shows it."""
    engine = describe(name)
    traits = [(trait, one.test) for trait, one in engine.traits.known.items()]
    return traits + [(remark.name, remark.test) for remark in engine.remarks]


@pytest.mark.parametrize("name", KNOWN)
def test_an_engine_has_traits_and_no_two_remarks_of_one_name(name: str) -> None:
    assert describe(name).traits.known
    remarks = [remark.name for remark in describe(name).remarks]
    assert len(set(remarks)) == len(remarks)


@pytest.mark.parametrize("name", KNOWN)
def test_the_test_that_a_trait_names_exists(name: str) -> None:
    for trait, test in told_of(name):
        path, _, function = (test or "").partition("::")
        assert not test or f"def {function}(" in (ROOT / path).read_text(encoding="utf-8"), trait


@pytest.mark.parametrize("name", ["vllm", "llamacpp", "transformers"])
def test_every_trait_of_an_engine_that_the_tests_start_is_shown_by_one(name: str) -> None:
    # The tests' model is loaded before it can be asked, and which connections share a thread is up to chance.
    by_chance = ("loading", "shared-threads")
    assert [trait for trait, test in told_of(name) if not test and trait not in by_chance] == []


def test_the_engines_of_the_two_that_ci_starts_leave_no_trait_open() -> None:
    for name in ("vllm", "llamacpp"):
        assert set(describe(name).traits.known) == set(Traits.model_fields), name


@pytest.mark.parametrize(
    ("traits", "words"),
    [
        ({"seed": {"does": "sometimes", "says": "It may."}}, "traits.seed.does: Input should be 'honoured'"),
        ({"sed": {"does": "honoured", "says": "It is."}}, "traits.sed: unknown key"),
        ({"seed": {"does": "honoured", "says": "no sentence"}}, "traits.seed.says: String should match pattern"),
        (
            {"seed": {"does": "honoured", "says": "It is.", "test": "/x.py"}},
            "traits.seed.test: String should match",
        ),
    ],
)
def test_a_trait_is_one_that_is_known_with_a_word_that_is_known(traits: dict[str, Any], words: str) -> None:
    assert complaint(traits=traits).startswith(words)


def test_an_engine_that_compose_does_not_start_has_traits_all_the_same() -> None:
    engine = describe("transformers")
    assert engine.title == "transformers serve"
    assert not isinstance(engine, Engine)
    assert isinstance(describe("vllm"), Engine)


def test_an_engine_that_nobody_knows_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(CatalogueError, match="unknown engine 'vlm'; known: vllm, tgi"):
        describe("vlm")


def test_the_table_of_traits_has_a_column_for_each_engine_and_says_what_is_not_known() -> None:
    head, rows = traits_table()
    assert head == ("", *KNOWN)
    cells = {row[0]: dict(zip(KNOWN, row[1:], strict=True)) for row in rows}
    assert list(cells) == [trait.replace("_", " ") for trait in Traits.model_fields]
    assert (cells["begun answer"]["llamacpp"], cells["begun answer"]["vllm"]) == ("repeated", "continued")
    assert cells["seed"]["ollama"] == "?"


@pytest.mark.parametrize("image", ["vllm/vllm-openai", "vllm/vllm-openai:latest", "host:5000/vllm"])
def test_an_image_without_a_version_is_refused(image: str) -> None:
    assert complaint(image=image) == "image: must have a tag that names a version"


def test_a_question_that_is_not_answered_is_named() -> None:
    command = {key: value for key, value in raw("vllm")["command"].items() if key != "template"}
    assert complaint(command=command).startswith("command: says nothing of template")


def test_an_unknown_key_is_refused() -> None:
    assert complaint(imgae="x") == "imgae: unknown key"


def test_blanks_are_filled_and_what_compose_fills_is_left() -> None:
    assert filled("{name} ${NAME:-{name}}", {"name": "x"}) == "x ${NAME:-x}"


def test_a_blank_that_nothing_is_known_of_is_named() -> None:
    with pytest.raises(CatalogueError, match="'contxt'"):
        filled("{contxt}", {"context": "8192"})


def test_words_whose_blank_has_no_value_are_left_out_with_their_option() -> None:
    engine = Engine(**{**raw("vllm"), "command": {**dict.fromkeys(raw("vllm")["command"]), "template": ["-t", "{t}"]}})
    assert engine.words({"t": None}) == []
    assert engine.words({"t": "x.jinja"}) == ["-t", "x.jinja"]


@pytest.mark.parametrize("name", ENGINES)
def test_no_engine_sends_usage_reports(name: EngineName) -> None:
    engine = find_engine(name)
    privacy = {
        "vllm": engine.environment.get("VLLM_NO_USAGE_STATS") == "1",
        "tgi": engine.command.get("privacy") == ("--usage-stats", "off"),
        "sglang": engine.environment.get("DO_NOT_TRACK") == "1",
        "llamacpp": "--offline" in (engine.command.get("privacy") or ()),
        # It has none to be turned off.
        "ollama": True,
    }
    assert privacy[name]
    if "HF_HOME" in engine.environment:
        assert engine.environment["HF_HUB_DISABLE_TELEMETRY"] == "1"


def test_sampling_that_is_not_asked_for_is_never_the_repositorys() -> None:
    assert find_engine("vllm").command["sampling"] == ("--generation-config", "vllm")
    assert find_engine("sglang").command["sampling"] == ("--sampling-defaults", "openai")


def check(name: EngineName, port: int) -> int:
    """The exit code of an engine's health check, run here as compose would run it, against `port`."""
    _, program, *words = find_engine(name).health.test
    assert program in ("python3", "bash")
    words = [word.replace("8000", str(port)).replace("$$", "$") for word in words]
    program = sys.executable if program == "python3" else program
    return subprocess.run([program, *words], capture_output=True, timeout=30, check=False).returncode


def port_of(server: Server) -> int:
    return int(server.base_url.rpartition(":")[2].removesuffix("/v1"))


@contextmanager
def answering(status: str) -> Iterator[int]:
    """A port where every connection gets this status line."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("name", HTTP_CHECKED)
def test_a_server_that_is_ready_is_healthy(name: EngineName, server: Server) -> None:
    assert check(name, port_of(server)) == 0


@pytest.mark.parametrize("name", HTTP_CHECKED)
def test_a_server_that_is_still_loading_is_not(name: EngineName) -> None:
    with answering("503 Service Unavailable") as port:
        assert check(name, port) != 0


@pytest.mark.parametrize("name", HTTP_CHECKED)
def test_where_nothing_listens_nothing_is_healthy(name: EngineName) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert check(name, port) != 0


def test_the_embedded_server_speaks_of_itself_by_names_of_vllm(server: Server) -> None:
    import urllib.request

    with urllib.request.urlopen(server.base_url.removesuffix("/v1") + "/metrics", timeout=10) as answer:
        known = set(re.findall(r"^# TYPE (\S+)", answer.read().decode(), re.M))
    metrics = find_engine("vllm").metrics
    assert metrics is not None
    assert {metrics.running, metrics.waiting, metrics.cache_used, metrics.ttft, metrics.tokens} <= known
