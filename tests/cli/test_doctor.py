from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support import Server, model_at, running_server, wardround, write_study
from tests.wire.raw_server import closed_port
from wardround.cli.app import app
from wardround.errors import WrongUse
from wardround.running.doctor import CHECKS

KEY = "sk-planted-0123456789abcdef"
WRONG_KEY = "sk-of-somebody-else-9876543210"


@pytest.fixture(scope="module")
def locked() -> Iterator[Server]:
    """A server that asks for a key."""
    with running_server("--api-key-env", "THE_KEY", env={**os.environ, "THE_KEY": KEY}) as running:
        yield running


def test_one_table_and_below_it_what_to_do_about_each_red_cell(server: Server, tmp_path: Path) -> None:
    models = [model_at(server, "baseline-lead", context=10_000_000)]
    done = wardround("doctor", "--study", write_study(tmp_path / "study.yaml", models=models), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    header, _, row, _, *below = done.stdout.splitlines()
    assert header.split() == ["model", "engine", *CHECKS]
    assert row.startswith("baseline-lead  wardround")
    assert len(re.findall(r"(?<=  )NO(?= |$)", row)) == 1
    assert below == ["baseline-lead · context: the row says 10,000,000 tokens: set `context: 131072`"]
    assert "\x1b" not in done.stdout
    assert done.stderr == f"examining baseline-lead at {server.base_url}\n"


def test_a_terminal_is_shown_green_and_red(server: Server) -> None:
    options = ["doctor", "baseline-lead", "--base-url", server.base_url]
    shown = CliRunner().invoke(app, options, color=True)
    assert "\x1b[32myes\x1b[0m" in shown.stdout
    failed = ["doctor", "ours", "--base-url", f"http://127.0.0.1:{closed_port()}/v1"]
    assert "\x1b[31mNO\x1b[0m" in CliRunner().invoke(app, failed, color=True).stdout


def test_json_has_every_check_with_state_and_cure(server: Server, tmp_path: Path) -> None:
    done = wardround("doctor", "baseline-lead", "--base-url", server.base_url, "--json", cwd=tmp_path)
    [one] = json.loads(done.stdout)
    assert list(one["findings"]) == list(CHECKS)
    assert one["findings"]["chat"] == {"state": "yes", "shown": "", "cure": ""}
    assert (one["model"], one["base_url"], one["usable"]) == ("baseline-lead", server.base_url, True)
    assert one["facts"]["engine"] == "wardround"


def test_a_dead_port_is_red_and_the_exit_code_1(tmp_path: Path) -> None:
    done = wardround("doctor", "ours", "--base-url", f"http://127.0.0.1:{closed_port()}/v1", cwd=tmp_path)
    assert done.returncode == 1
    assert "ours · reachable: " in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("options", [(), ("--json",), ("--wait", "5")])
def test_a_refused_key_stands_nowhere(locked: Server, tmp_path: Path, options: tuple[str, ...]) -> None:
    done = wardround(
        *("doctor", "baseline-lead", "--base-url", locked.base_url, "--key-env", "MY_KEY", *options),
        cwd=tmp_path,
        env={**os.environ, "MY_KEY": WRONG_KEY},
    )
    assert done.returncode == 1
    assert WRONG_KEY[:8] not in done.stdout + done.stderr
    if options != ("--wait", "5"):
        assert "MY_KEY is refused" in done.stdout


def test_the_right_key_is_enough(locked: Server, tmp_path: Path) -> None:
    done = wardround(
        *("doctor", "baseline-lead", "--base-url", locked.base_url, "--key-env", "MY_KEY"),
        cwd=tmp_path,
        env={**os.environ, "MY_KEY": KEY},
    )
    assert done.returncode == 0, done.stdout
    assert KEY[:8] not in done.stdout + done.stderr


def test_all_models_of_a_study_are_examined_but_for_its_embedded_baselines(server: Server, tmp_path: Path) -> None:
    models = [model_at(server, "baseline-lead"), model_at(server, "baseline-overlap")]
    study = write_study(tmp_path / "study.yaml", models=models, baselines=True)
    done = wardround("doctor", "--study", study, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    table, *_ = done.stdout.split("\n\n")
    assert [line.split()[0] for line in table.splitlines()[2:]] == ["baseline-lead", "baseline-overlap"]


def test_some_models_of_a_study_can_be_named(server: Server, tmp_path: Path) -> None:
    models = [model_at(server, "baseline-lead"), model_at(server, "baseline-overlap")]
    study = write_study(tmp_path / "study.yaml", models=models)
    done = wardround("doctor", "baseline-overlap", "--study", study, "--json", cwd=tmp_path)
    assert [one["model"] for one in json.loads(done.stdout)] == ["baseline-overlap"]


def test_replicas_are_told_apart_by_their_addresses(server: Server, locked: Server, tmp_path: Path) -> None:
    row = model_at(server, "baseline-lead", replicas=[locked.base_url])
    study = write_study(tmp_path / "study.yaml", models=[row])
    done = wardround("doctor", "--study", study, cwd=tmp_path)
    assert done.returncode == 1
    assert f"baseline-lead at {locked.base_url} · key: it asks for a key: set `key_env`" in done.stdout


def test_waiting_ends_with_a_line_for_each_model_that_answers(server: Server, tmp_path: Path) -> None:
    done = wardround("doctor", "baseline-lead", "--base-url", server.base_url, "--wait", "30", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"baseline-lead at {re.escape(server.base_url)} answers \(\d+\.\d s\)\n", done.stdout)


def test_waiting_lasts_until_the_server_is_up(tmp_path: Path) -> None:
    port = closed_port()
    command = [sys.executable, "-m", "wardround", "doctor", "baseline-lead", "--wait", "60"]
    command += ["--base-url", f"http://127.0.0.1:{port}/v1"]
    with (
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as waiting,
        running_server("--port", str(port)),
    ):
        said, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert " answers (" in said


def test_waiting_in_vain_is_exit_code_1_and_one_line(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{closed_port()}/v1"
    done = wardround("doctor", "ours", "--base-url", url, "--wait", "0.3", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"wardround: ours at {url} does not answer after 0.3 s: connect: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        ([], r"name a model, or give a study"),
        (["ours"], r"unknown model 'ours'.*base_url"),
        (["--study", "gone.yaml"], r"no study file gone\.yaml"),
        (["ours", "--study", "demo"], r"'ours' is none of the study's models: baseline-random"),
        (["--study", "demo", "--base-url", "http://127.0.0.1:1/v1"], r"stand in the study"),
        (["ours", "--base-url", "http://me:hunter2@127.0.0.1/v1"], r"must not hold user name"),
    ],
)
def test_wrong_use_says_what_to_do(arguments: list[str], pattern: str) -> None:
    refused = CliRunner().invoke(app, ["doctor", *arguments]).exception
    assert isinstance(refused, WrongUse)
    assert re.search(pattern, str(refused))
    assert "hunter2" not in str(refused)


def test_wrong_use_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = wardround("doctor", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("wardround: name a model")
    assert done.stderr.count("\n") == 1
