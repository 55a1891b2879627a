"""A model of one's own beside a hosted one: asked in one study, shown side by side, and no key left anywhere."""

from __future__ import annotations

import base64
import json
import os
import re
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import pytest

from tests.support import model_at, running_server, wardround, write_study

KEY = "planted/key+Zq7Wb2Xv9Lt4Ns6Rk8"
KEY_ENV = "HOSTED_API_KEY"
TTFT_S = 0.05
PRICES = {"local": {"hour": 2.0}, "hosted": {"input": 3.0, "output": 15.0}}
ATTESTED = "Zero retention, no training, no human review: verified by the data office on 2026-10-01."


def hosted_at(base_url: str, **fields: Any) -> dict[str, Any]:
    """The hosted model's row; it is reached under another name than the local one."""
    return {
        "name": "hosted",
        "served_as": "baseline-lead",
        "base_url": base_url.replace("127.0.0.1", "localhost"),
        "key_env": KEY_ENV,
        "price": PRICES["hosted"],
        "limits": {"concurrency": 8, "requests_per_minute": 60_000},
        "attestation": ATTESTED,
        "stream": True,
        **fields,
    }


@dataclass(frozen=True)
class Done:
    """A run as a process that has ended: all it could write to lies in `folder`."""

    folder: Path
    process: subprocess.CompletedProcess[str]

    def table(self, name: str) -> list[list[str]]:
        """The rows of the table below the line that begins with `name`, cell by cell."""
        lines = self.process.stdout.splitlines()
        start = next(number for number, line in enumerate(lines) if line.startswith(name))
        (header,) = [number for number, line in enumerate(lines[start:], start) if line.startswith("model ")][:1]
        edges = [match.span() for match in re.finditer("─+", lines[header + 1])]
        rows = lines[header + 2 :]
        end = rows.index("") if "" in rows else len(rows)
        return [[row[begin:stop].strip() for begin, stop in edges] for row in [lines[header], *rows[:end]]]


def run(folder: Path, *models: dict[str, Any], key: str = KEY, **fields: Any) -> Done:
    """Run a study of MedNLI and MeQSum with `key` in the environment, home and temporary folder inside `folder`."""
    for name in ("home", "tmp"):
        (folder / name).mkdir()
    surroundings = {**os.environ, "HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), KEY_ENV: key}
    study = write_study(folder / "study.yaml", models=list(models), tasks=["mednli", "meqsum"], **fields)
    return Done(folder, wardround("run", study, "--out", "run", "--attested", cwd=folder, env=surroundings))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The study carried out: the local server answers at once, the hosted one wants a key and takes its time."""
    serving = ("--api-key-env", KEY_ENV, "--ttft", str(TTFT_S), "--tpot", "0.001")
    with running_server() as local, running_server(*serving, env={**os.environ, KEY_ENV: KEY}) as hosted:
        row = model_at(local, "local", served_as="baseline-overlap", price=PRICES["local"])
        done = run(tmp_path_factory.mktemp("both"), row, hosted_at(hosted.base_url))
    assert done.process.returncode == 0, done.process.stderr
    return done


@pytest.fixture(scope="module")
def reported(both: Done) -> dict[tuple[str, str], dict[str, Any]]:
    """What `report --json` says of each cell's first metric."""
    shown = wardround("report", "run", "--json", cwd=both.folder)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in json.loads(shown.stdout):
        found.setdefault((row["model"], row["task"]), row)
    return found


@pytest.fixture(scope="module")
def replies(both: Done) -> pd.DataFrame:
    """The journal's replies, one row a request of a cell, with latencies in seconds."""
    query = (
        "SELECT DISTINCT cells.model, cells.task, replies.* FROM cells JOIN asks ON asks.cell = cells.id"
        " JOIN replies ON replies.request = asks.request"
    )
    with closing(sqlite3.connect(both.folder / "run" / "journal.sqlite")) as database:
        frame = pd.read_sql_query(query, database)
    frame["e2e"] = (frame["done_ns"] - frame["sent_ns"]) / 1e9
    frame["ttft"] = (frame["first_token_ns"] - frame["sent_ns"]) / 1e9
    return frame


CELLS = [(model, task) for model in ("local", "hosted") for task in ("mednli", "meqsum")]


def cell_of(replies: pd.DataFrame, model: str, task: str) -> pd.DataFrame:
    return replies[(replies["model"] == model) & (replies["task"] == task)]


def hours_of(replies: pd.DataFrame) -> float:
    """Hours in which a request was under way, each placed by the wall clock's time of its answer."""
    spans = replies.assign(begin=replies["answered_at"] - replies["e2e"]).sort_values("begin")
    reached = spans["answered_at"].cummax().shift(fill_value=float("-inf"))
    new = spans["answered_at"] - spans["begin"].clip(lower=reached)
    return float(new.clip(lower=0).sum()) / 3600


def cost_of(replies: pd.DataFrame, model: str) -> float:
    if model == "local":
        return 2.0 * hours_of(replies)
    return float((3.0 * replies["prompt_tokens"] + 15.0 * replies["output_tokens"]).sum()) / 1e6


@pytest.mark.parametrize(("model", "task"), CELLS)
def test_json_has_accuracy_latency_tokens_and_cost_of_each(
    both: Done, reported: Any, replies: pd.DataFrame, model: str, task: str
) -> None:
    row, own = reported[model, task], cell_of(replies, model, task)
    with closing(sqlite3.connect(both.folder / "run" / "journal.sqlite")) as database:
        (value,) = database.execute(
            "SELECT avg(value) FROM scores JOIN cells ON cells.id = cell WHERE model = ? AND task = ? AND metric = ?",
            (model, task, {"mednli": "accuracy", "meqsum": "rouge_l"}[task]),
        ).fetchone()
    assert row["value"] == pytest.approx(value)
    assert (row["requests"], row["requests_without_tokens"]) == (48, 0)
    assert (row["prompt_tokens"], row["output_tokens"]) == (own["prompt_tokens"].sum(), own["output_tokens"].sum())
    assert row["latency_p50_s"] == pytest.approx(own["e2e"].quantile(0.5))
    assert row["latency_p95_s"] == pytest.approx(own["e2e"].quantile(0.95))
    assert row["at_work_s"] == pytest.approx(3600 * hours_of(own), abs=1e-5)
    assert row["cost_usd"] == pytest.approx(cost_of(own, model), rel=1e-4)
    assert row["cost_per_1000_usd"] == pytest.approx(cost_of(own, model) / 48 * 1000, rel=1e-4)


def test_ttft_is_there_for_the_one_that_was_streamed(reported: Any, replies: pd.DataFrame) -> None:
    for task in ("mednli", "meqsum"):
        assert reported["local", task]["ttft_p50_s"] is None
        expected = cell_of(replies, "hosted", task)["ttft"].quantile(0.5)
        assert reported["hosted", task]["ttft_p50_s"] == pytest.approx(expected)


def test_the_slower_servers_latency_is_seen(reported: Any) -> None:
    for task in ("mednli", "meqsum"):
        assert reported["hosted", task]["ttft_p50_s"] >= TTFT_S
        assert reported["hosted", task]["latency_p50_s"] >= reported["hosted", task]["ttft_p50_s"]


def test_the_table_has_them_side_by_side(both: Done, reported: Any) -> None:
    header, *rows = both.table("What it took")
    assert header == [
        *("model", "task", "arm", "metric", "value", "requests", "p50 s", "p95 s", "TTFT s"),
        *("prompt tokens", "output tokens", "cost", "per 1,000"),
    ]
    shown = {(row[0], row[1]): row for row in rows}
    assert [*shown] == [
        *(("local", task) for task in ("mednli", "meqsum", "all tasks")),
        *(("hosted", task) for task in ("mednli", "meqsum", "all tasks")),
        ("all models", "all tasks"),
    ]
    for model, task in CELLS:
        row, figures = shown[model, task], reported[model, task]
        assert row[3:6] == [figures["metric"], f"{100 * figures['value']:.1f}", "48"]
        for cell, name in ((6, "latency_p50_s"), (7, "latency_p95_s")):
            assert float(row[cell]) == pytest.approx(figures[name], abs=0.006)
        assert row[9:11] == [f"{figures['prompt_tokens']:,}", f"{figures['output_tokens']:,}"]
        assert float(row[11].strip("$")) == pytest.approx(figures["cost_usd"], rel=0.06)
        assert float(row[12].strip("$")) == pytest.approx(figures["cost_per_1000_usd"], rel=0.06)


def test_each_model_has_its_total(both: Done, replies: pd.DataFrame) -> None:
    shown = {(row[0], row[1]): row for row in both.table("What it took")}
    total = 0.0
    for model in ("local", "hosted"):
        own = replies[replies["model"] == model]
        row, cost = shown[model, "all tasks"], cost_of(own, model)
        assert row[5] == "96"
        assert row[9:11] == [f"{own['prompt_tokens'].sum():,}", f"{own['output_tokens'].sum():,}"]
        assert float(row[11].strip("$")) == pytest.approx(cost, rel=0.06)
        total += cost
    row = shown["all models", "all tasks"]
    assert (row[5], row[9]) == ("192", f"{replies['prompt_tokens'].sum():,}")
    assert float(row[11].strip("$")) == pytest.approx(total, rel=0.06)


def test_an_hour_of_the_local_model_is_paid_once_for_tasks_asked_at_the_same_time(
    reported: Any, replies: pd.DataFrame
) -> None:
    own = replies[replies["model"] == "local"]
    cells = sum(reported["local", task]["at_work_s"] for task in ("mednli", "meqsum"))
    assert 3600 * hours_of(own) <= cells + 1e-5


def test_the_exported_results_have_the_costs(both: Done, reported: Any) -> None:
    assert wardround("export", "run", "--to", "export", cwd=both.folder).returncode == 0
    frame = pd.read_csv(both.folder / "export" / "results.csv")
    for (model, task), row in reported.items():
        (cost,) = set(frame[(frame["model"] == model) & (frame["task"] == task)]["cost_usd"])
        assert cost == pytest.approx(row["cost_usd"])


# The key.


def places_of(key: str, done: Done) -> list[str]:
    """Where `key` stands, as it is or encoded, in all that a run left behind and said."""
    forms = {key, quote(key), quote(key, safe="")}
    needles = [*(form.encode() for form in forms), *_base64_of(key.encode())]
    files = {str(path): path.read_bytes() for path in done.folder.rglob("*") if path.is_file()}
    assert any(name.endswith("journal.sqlite") for name in files)
    said = {"stdout": done.process.stdout.encode(), "stderr": done.process.stderr.encode()}
    return [name for name, content in {**files, **said}.items() if any(needle in content for needle in needles)]


def _base64_of(text: bytes) -> list[bytes]:
    """What stands in any base64 text that holds `text`, wherever in it: the groups of three bytes that are all of it."""
    found = []
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + text)
        found.append(encoded[4 if offset else 0 : len(encoded) // 4 * 4 - 4])
    return found


@pytest.mark.parametrize("offset", range(3))
def test_the_search_finds_a_key_in_plain_and_encoded(tmp_path: Path, offset: int) -> None:
    done = Done(tmp_path, subprocess.CompletedProcess([], 0, "", f"refused {quote(KEY, safe='')}"))
    (tmp_path / "journal.sqlite").write_bytes(b"\0" + KEY.encode() + b"\0")
    (tmp_path / "log").write_bytes(base64.b64encode(b"user:pw"[:offset] + KEY.encode() + b":x"))
    (tmp_path / "other").write_text("another key")
    assert {Path(place).name for place in places_of(KEY, done)} == {"journal.sqlite", "log", "stderr"}


def test_a_passing_run_leaves_no_key_behind(both: Done) -> None:
    assert places_of(KEY, both) == []


def test_a_run_with_a_wrong_key_fails_and_leaves_none_behind(tmp_path: Path) -> None:
    with running_server("--api-key-env", KEY_ENV, env={**os.environ, KEY_ENV: "the right one"}) as hosted:
        done = run(tmp_path, hosted_at(hosted.base_url))
    assert done.process.returncode == 1
    assert "HTTP 401" in done.process.stderr
    assert places_of(KEY, done) == []


class Repeating(BaseHTTPRequestHandler):
    """A server that knows its models, and refuses every question with the key it was given in its words."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(200, {"data": [{"id": "baseline-lead"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        given = self.headers["Authorization"]
        self._answer(401, {"error": {"message": f"Incorrect API key provided: {given}", "code": "invalid_api_key"}})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def repeating_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Repeating)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_repeats_the_key_does_not_get_it_into_the_journal(tmp_path: Path, stream: bool) -> None:
    with repeating_server() as base_url:
        done = run(tmp_path, hosted_at(base_url, stream=stream), attempts=1)
    assert done.process.returncode == 1
    with closing(sqlite3.connect(tmp_path / "run" / "journal.sqlite")) as database:
        (words,) = database.execute("SELECT DISTINCT words FROM failures").fetchone()
    assert "Incorrect API key provided" in words
    assert places_of(KEY, done) == []
