"""Limits in whole runs: what the servers counted, and what the journal says of who was in flight when."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.running.rounds import at_once, carry_out, rows
from tests.support import model_at, running_server, write_study

BOTH = ["mednli", "meqsum"]
# Thirty requests in any second.
THIRTY_A_SECOND = ("--rpm", "30", "--window", "1")


def spans_of(folder: Path, model: str) -> list[tuple[int, int]]:
    query = "SELECT sent_ns, done_ns FROM replies JOIN requests ON requests.id = request WHERE model = "
    return [(int(sent), int(done)) for sent, done in rows(folder, f"{query}'{model}'")]


def test_a_run_that_knows_its_servers_limit_is_never_refused(tmp_path: Path) -> None:
    with running_server(*THIRTY_A_SECOND) as server:
        models = [model_at(server, limits={"requests_per_minute": 1200})]
        summary, _ = carry_out(tmp_path, models=models, attempts=1)
        statuses = server.stats()["statuses"]
    assert summary.complete
    assert statuses == {"200": 48}


def test_one_that_does_not_is_refused(tmp_path: Path) -> None:
    with running_server(*THIRTY_A_SECOND) as server:
        summary, _ = carry_out(tmp_path, models=[model_at(server)], attempts=1, concurrency=48)
        assert server.stats()["statuses"]["429"] > 5
    assert not summary.complete


def test_and_yet_it_waits_where_the_server_says_that_nothing_remains(tmp_path: Path) -> None:
    with running_server(*THIRTY_A_SECOND) as server:
        # One at a time, so that none is on its way when the server says so.
        summary, _ = carry_out(tmp_path, models=[model_at(server)], attempts=1, concurrency=1)
        assert server.stats()["statuses"] == {"200": 48}
    assert summary.complete


def test_each_row_at_one_server_keeps_its_own_limits_and_holds_up_no_other(tmp_path: Path) -> None:
    with running_server("--ttft", "0.02") as server:
        models = [
            model_at(server, "baseline-lead", limits={"concurrency": 1}),
            model_at(server, "baseline-overlap", limits={"concurrency": 5}),
            model_at(server, "baseline-majority"),
        ]
        summary, _ = carry_out(tmp_path, models=models, concurrency=12)
    assert summary.complete
    one, five, free = (spans_of(tmp_path, name) for name in ("baseline-lead", "baseline-overlap", "baseline-majority"))
    assert (at_once(one), at_once(five)) == (1, 5)
    assert at_once(free) > 5
    assert at_once(one + five + free) <= 12
    assert max(done for _, done in free) < max(done for _, done in one)


def test_a_row_that_is_let_through_slowly_holds_up_no_other_at_the_same_server(tmp_path: Path) -> None:
    with running_server() as server:
        models = [
            model_at(server, "baseline-lead", limits={"requests_per_minute": 1200}),
            model_at(server, "baseline-overlap"),
        ]
        summary, _ = carry_out(tmp_path, models=models, concurrency=4)
    assert summary.complete
    slow, free = (spans_of(tmp_path, name) for name in ("baseline-lead", "baseline-overlap"))
    assert max(done for _, done in free) < max(sent for sent, _ in slow)


def test_what_is_limited_by_nothing_is_asked_in_the_study_s_order_over_all_models(tmp_path: Path) -> None:
    with running_server() as server:
        models = [model_at(server, name) for name in ("baseline-lead", "baseline-overlap", "baseline-majority")]
        tasks = [{"task": task, "limit": 8} for task in BOTH]
        carry_out(tmp_path, models=models, tasks=tasks, concurrency=1)
    planned = rows(
        tmp_path,
        # Hypotheses on one premise follow one another.
        "SELECT request FROM (SELECT request, place, position, min(position) OVER (PARTITION BY cell, cluster) AS first"
        " FROM asks JOIN cells ON cells.id = cell JOIN samples ON samples.id = asks.sample)"
        " ORDER BY place, first, position",
    )
    assert rows(tmp_path, "SELECT request FROM replies ORDER BY sent_ns") == planned


def test_a_study_s_concurrency_bounds_a_row_that_allows_more(tmp_path: Path) -> None:
    with running_server("--ttft", "0.02") as server:
        models = [model_at(server, limits={"concurrency": 40})]
        carry_out(tmp_path, models=models, concurrency=3)
    assert at_once(spans_of(tmp_path, "baseline-majority")) == 3


def test_an_adaptive_row_finds_what_its_server_carries(tmp_path: Path) -> None:
    with running_server("--ttft", "0.03", "--slots", "4") as server:
        models = [model_at(server, limits={"adaptive": True})]
        summary, _ = carry_out(tmp_path, models=models, tasks=BOTH, concurrency=32)
    assert summary.complete
    assert 5 <= at_once(spans_of(tmp_path, "baseline-majority")) <= 16


def test_an_adaptive_row_gives_way_to_a_server_that_refuses(tmp_path: Path) -> None:
    with running_server("--ttft", "0.02", "--fail-429", "0.3", "--retry-after", "0.01") as server:
        models = [model_at(server, limits={"adaptive": True})]
        summary, _ = carry_out(tmp_path, models=models, concurrency=32, attempts=20)
    assert summary.complete
    assert at_once(spans_of(tmp_path, "baseline-majority")) <= 8


@pytest.mark.parametrize("limits", [{}, {"concurrency": 2}])
def test_a_run_that_rests_at_its_servers_wish_can_be_stopped(tmp_path: Path, limits: dict[str, int]) -> None:
    with running_server("--fail-429", "1", "--retry-after", "60") as server:
        study = write_study(tmp_path / "study.yaml", models=[model_at(server, limits=limits)], concurrency=4)
        command = [sys.executable, "-m", "wardround", "run", str(study), "--out", str(tmp_path / "run")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 20
            while not server.stats()["statuses"].get("429"):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
        assert server.stats()["requests"] <= 4
    assert "stopped:" in err
    assert "Traceback" not in err
