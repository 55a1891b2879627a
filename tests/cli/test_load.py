from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.support import Server, model_at, running_server, wardround, write_study
from tests.wire.raw_server import closed_port
from wardround.cli.app import app
from wardround.errors import WardroundError

ROOT = Path(__file__).parents[2]
KEY = "sk-planted-0123456789abcdef"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Eight slots, 50 ms to the first token: 160 requests a second at the most."""
    with running_server("--ttft", "0.05", "--tpot", "0.002", "--slots", "8") as running:
        yield running


def loaded(server: Server, *options: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return wardround("load", "baseline-lead", "--base-url", server.base_url, *options, cwd=cwd)


def result_of(cwd: Path, name: str = "out.json") -> dict[str, Any]:
    (result,) = json.loads((cwd / name).read_bytes())
    assert isinstance(result, dict)
    return result


def test_a_server_is_loaded_with_a_tasks_prompts_and_measured(server: Server, tmp_path: Path) -> None:
    options = ["--task", "meqsum", "--rate", "20", "--duration", "3", "--slo", "ttft=2s,e2e=5s"]
    done = loaded(server, *options, "--json", "out.json", "--html", "out.html", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = result_of(tmp_path)
    measured = result["measured"]
    # Three seconds less a tenth of warm-up at twenty a second.
    assert (measured["requests"], measured["failures"]) == (54, {})
    assert measured["goodput_per_s"] == pytest.approx(20)
    assert measured["ttft"]["percentiles_s"]["50"] >= 0.05
    assert measured["output_tokens"] > 0
    assert result["server"]["running_max"] >= 1
    assert "TTFT, user's" in done.stdout
    assert "goodput" in done.stdout
    assert "54 requests in 2.7 s (second 0.3 to 3; 0.3 s of warm-up and 0 s of the end cut)" in done.stdout
    assert (tmp_path / "out.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_what_a_load_test_leaves_is_for_its_owner_alone(server: Server, tmp_path: Path) -> None:
    assert loaded(server, "--rate", "5", "--duration", "1", "--out", "run", cwd=tmp_path).returncode == 0
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "run").iterdir()} == {0o600}
    assert b"PREMISE" not in b"".join(path.read_bytes() for path in (tmp_path / "run").iterdir())


def test_users_wait_for_their_answers(server: Server, tmp_path: Path) -> None:
    done = loaded(server, "--users", "3", "--duration", "2", "--json", "out.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = result_of(tmp_path)
    assert result["server"]["running_max"] <= 3
    assert result["measured"]["ttft_user"] is None


def test_a_mix_has_its_shares(server: Server, tmp_path: Path) -> None:
    options = ["--task", "mednli:3", "--task", "longhealth_t1:1", "--rate", "40", "--duration", "3", "--out", "run"]
    done = loaded(server, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "run" / "records-0.jsonl").read_text().splitlines()
    tasks = [json.loads(line)["workload"] for line in lines]
    assert len(tasks) == 120
    assert 70 <= tasks.count("mednli") <= 110


def test_two_workers_share_the_arrivals(server: Server, tmp_path: Path) -> None:
    done = loaded(server, "--rate", "30", "--duration", "2", "--workers", "2", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    each = [len((tmp_path / "run" / f"records-{n}.jsonl").read_text().splitlines()) for n in (0, 1)]
    assert each == [30, 30]


def test_a_sweep_finds_the_knee(tmp_path: Path) -> None:
    options = ["--sweep", "--rate", "5", "--to-rate", "80", "--duration", "3", "--slo", "ttft=700ms"]
    with running_server("--ttft", "0.2", "--slots", "4") as slow:
        done = loaded(slow, *options, "--json", "out.json", "--html", "out.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    knee = result_of(tmp_path)["knee"]
    # Four slots of 0.2 s carry 20 a second; a window of three seconds forgives some more than that.
    assert 14 <= knee["carried_rps"] <= 28
    assert "knee:" in done.stdout


def test_ctrl_c_keeps_what_there_is(server: Server, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "wardround", "load", "baseline-lead", "--base-url", server.base_url]
    options = ["--rate", "20", "--duration", "60", "--warmup", "0", "--out", "run"]
    with subprocess.Popen(
        [*command, *options], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        path = tmp_path / "run" / "records-0.jsonl"
        while not path.exists() or path.stat().st_size < 3000:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        shown, _ = running.communicate(timeout=30)
    assert b"STOPPED EARLY" in shown
    assert running.returncode == 1
    assert json.loads((tmp_path / "run" / "result.json").read_bytes())["measured"]["requests"] > 5


def test_a_run_is_replayed_at_its_own_pace(server: Server, tmp_path: Path) -> None:
    study = write_study(tmp_path / "study.yaml", models=[model_at(server, "baseline-lead")], tasks=["mednli"])
    assert wardround("run", study, "--out", "asked", cwd=tmp_path).returncode == 0
    done = loaded(server, "--replay", "asked", "--warmup", "0", "--json", "out.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = result_of(tmp_path)
    assert result["about"]["requests_sent"] == 48
    assert result["about"]["repeated_prompts"] == 0


def test_a_task_file_is_loaded_by_its_path_and_a_file_of_several_tasks_by_its_name(
    server: Server, tmp_path: Path
) -> None:
    for options, titles in (
        (["--task", str(ROOT / "tasks" / "mednli.py")], "mednli"),
        (["--task", "longhealth"], "longhealth_t1 33 %, longhealth_t2 33 %, longhealth_t3 33 %"),
        (["--task", "longhealth:longhealth_t2:0.5", "--task", "mednli:0.5"], "longhealth_t2 50 %, mednli 50 %"),
    ):
        done = loaded(server, *options, "--rate", "5", "--duration", "1", "--json", "out.json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert result_of(tmp_path)["about"]["workload"] == titles


def test_two_servers_that_know_their_model_by_one_name_have_a_folder_each(server: Server, tmp_path: Path) -> None:
    urls = [server.base_url, server.base_url]
    options = ["--served-as", "baseline-lead", "--rate", "5", "--duration", "1", "--at-once", "--out", "runs"]
    done = wardround("load", *urls, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    kept = sorted(path.parent.name for path in tmp_path.glob("runs/*/result.json"))
    assert kept == ["baseline-lead", "baseline-lead-2"]
    for name in kept:
        assert len((tmp_path / "runs" / name / "records-0.jsonl").read_bytes().splitlines()) == 5


def test_a_sweep_goes_no_higher_than_the_models_limit(server: Server, tmp_path: Path) -> None:
    model = model_at(server, "baseline-lead", limits={"requests_per_minute": 600})
    study = write_study(tmp_path / "study.yaml", models=[model])
    options = ["--study", str(study), "--sweep", "--rate", "8", "--duration", "1", "--json", "out.json"]
    done = wardround("load", "baseline-lead", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert max(step["rate_rps"] for step in result_of(tmp_path)["steps"]) == 10


def test_two_tests_are_compared(server: Server, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert loaded(server, "--rate", "20", "--duration", "2", "--out", name, cwd=tmp_path).returncode == 0
    done = wardround("load", "compare", "one", "two", "--html", "c.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "baseline-lead (2) − baseline-lead" in done.stdout
    assert (tmp_path / "c.html").exists()


def test_the_cost_stands_beside_the_throughput(server: Server, tmp_path: Path) -> None:
    price = {"input": 1.0, "output": 2.0, "hour": 3.6}
    study = write_study(tmp_path / "study.yaml", models=[model_at(server, "baseline-lead", price=price)])
    options: list[str | Path] = ["--study", study, "--rate", "10", "--duration", "2", "--json", "out.json"]
    done = wardround("load", "baseline-lead", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = result_of(tmp_path)
    measured, cost = result["measured"], result["cost"]
    per_request = (
        (measured["prompt_tokens"] * 1.0 + measured["output_tokens"] * 2.0)
        / 1e6
        / (measured["requests_per_s"] * measured["window_s"])
    )
    assert cost["usd_per_1000_requests"] == pytest.approx(
        1000 * (per_request + 3.6 / 3600 / measured["requests_per_s"]), rel=1e-6
    )


def test_the_key_is_sent_and_is_in_no_file(tmp_path: Path) -> None:
    environment = {**os.environ, "OUR_KEY": KEY}
    with running_server("--api-key-env", "OUR_KEY", env=environment) as server:
        options = ["--key-env", "OUR_KEY", "--rate", "5", "--duration", "1", "--json", "o.json", "--html", "o.html"]
        command = ["load", "baseline-lead", "--base-url", server.base_url, *options, "--out", "run"]
        done = wardround(*command, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY.encode() not in written + done.stdout.encode() + done.stderr.encode()


def test_patients_text_is_not_sent_out_of_the_house(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Mr. A. has fever."}\n')
    command = ["load", "m", "--base-url", "http://0.0.0.0:9/v1", "--served-as", "m", "--prompts", "prompts.jsonl"]
    done = wardround(*command, cwd=tmp_path)
    assert done.returncode != 0
    assert "phi data does not go to model 'm'" in done.stderr


def test_what_is_known_of_data_cannot_be_talked_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("q,a,b,right\nFever?,yes,no,A\nCough?,yes,no,B\n")
    settings = {"question": "q", "options": ["a", "b"], "reference": "right", "metric": "choice", "sensitivity": "phi"}
    task = {"task": "csv_task", "data": "q.csv", "settings": settings}
    study = write_study(tmp_path / "study.yaml", models=[model_at(server, "baseline-lead")], tasks=[task])
    asked = wardround("run", study, "--out", "asked", cwd=tmp_path)
    for options, by in ((["--study", str(study)], "the study"), (["--replay", "asked"], "asked")):
        done = loaded(server, *options, "--sensitivity", "open", cwd=tmp_path)
        assert done.returncode == 2
        assert f"{by} says of this data that it is phi" in done.stderr
        assert loaded(server, *options, "--sensitivity", "phi", "--duration", "1", cwd=tmp_path).returncode == 0
    assert asked.returncode == 0, asked.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--slo", "fast"], "ttft=500ms"),
        (["--shape", "zigzag"], "none of constant, poisson"),
        (["--shape", "ramp", "--rate", "1"], "needs --to-rate"),
        (["--shape", "closed"], "needs --users"),
        (["--shape", "trace"], "needs times"),
        (["--rate", "0"], "must be above 0"),
        (["--shape", "gamma", "--burstiness", "0"], "burstiness"),
        (["--synthetic", "many"], "512,128,50"),
        (["--synthetic", "9,9", "--task", "mednli"], "give one of"),
        (["--task", "no_such_task"], "unknown task"),
        (["--task", "mednli:-1"], "must be above 0"),
        (["--sensitivity", "secret"], "none of open"),
        (["--duration", "1", "--warmup", "2"], "nothing is left"),
        (["--prompts", "nowhere.jsonl"], "cannot be read"),
        (["--replay", "nowhere"], "holds no run"),
    ],
)
def test_wrong_use_gets_one_line_before_anything_is_sent(
    server: Server, tmp_path: Path, options: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = server.stats()["requests"]
    # In this process: starting another one for each wrong option would cost the suite half a minute.
    done = CliRunner().invoke(app, ["load", "baseline-lead", "--base-url", server.base_url, *options])
    assert isinstance(done.exception, WardroundError)
    assert words in str(done.exception)
    assert "\n" not in str(done.exception)
    assert server.stats()["requests"] == before


def test_a_server_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{closed_port()}/v1"
    done = wardround("load", "baseline-lead", "--base-url", url, "--rate", "1", cwd=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"wardround: no server for model .*\n", done.stderr)


def test_a_folder_with_files_is_not_written_into(server: Server, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    done = loaded(server, "--rate", "5", "--duration", "1", "--out", "run", cwd=tmp_path)
    assert done.returncode == 2
    assert "holds files" in done.stderr
