"""Whole runs over real servers, each in a process of its own."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support import Server, model_at, running_server, wardround, write_study

BOTH = ["mednli", "meqsum"]
SAMPLES_OF_BOTH = 96


def replies_in(run: Path) -> int:
    if not (run / "journal.sqlite").exists():
        return 0
    database = sqlite3.connect(f"file:{run / 'journal.sqlite'}?mode=ro", uri=True)
    try:
        (count,) = database.execute("SELECT count(*) FROM replies").fetchone()
        return int(count)
    except sqlite3.OperationalError:
        return 0
    finally:
        database.close()


def start_and_wait_for(replies: int, study: Path, run: Path) -> subprocess.Popen[str]:
    """Start a run and return when it has journaled so many replies."""
    command = [sys.executable, "-m", "wardround", "run", str(study), "--out", str(run)]
    process = subprocess.Popen(command, cwd=study.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while replies_in(run) < replies:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


def rows_of(run: Path) -> list[dict[str, Any]]:
    shown = wardround("report", run, "--json", cwd=run.parent)
    assert shown.returncode == 0, shown.stderr
    rows: list[dict[str, Any]] = json.loads(shown.stdout)
    return rows


def two_models(server: Server) -> list[dict[str, Any]]:
    return [model_at(server, "baseline-lead"), model_at(server, "baseline-overlap")]


def scores_of(run: Path) -> list[dict[str, Any]]:
    """A run's table without what it took, which is another every time."""
    kept = ("model", "task", "arm", "metric", "value", "ci_low", "ci_high", "n", "parsed", "failed")
    return [{name: row[name] for name in kept} for row in rows_of(run)]


def test_a_study_is_asked_scored_and_printed(server: Server, tmp_path: Path) -> None:
    study = write_study(tmp_path / "study.yaml", models=two_models(server), tasks=BOTH)
    done = wardround("run", study, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "192 samples asked: 192 answered, 0 failed" in done.stdout
    assert "baseline-overlap" in done.stdout
    assert "done: baseline-lead · mednli · closed-book" in done.stderr
    assert rows_of(tmp_path / "reports" / "test")[0].keys() >= {
        *("model", "task", "arm", "profile", "metric", "value", "ci_low", "ci_high", "n", "parsed", "failed")
    }


def test_streamed_answers_score_like_whole_ones(server: Server, tmp_path: Path) -> None:
    for name, stream in (("whole", False), ("streamed", True)):
        models = [model_at(server, "baseline-overlap", stream=stream)]
        study = write_study(tmp_path / f"{name}.yaml", models=models, tasks=BOTH)
        assert wardround("run", study, "--out", name, cwd=tmp_path).returncode == 0
    assert scores_of(tmp_path / "whole") == scores_of(tmp_path / "streamed")
    database = sqlite3.connect(tmp_path / "streamed" / "journal.sqlite")
    wrong = database.execute(
        "SELECT count(*) FROM replies WHERE first_token_ns IS NULL OR NOT (scheduled_ns <= sent_ns"
        " AND sent_ns <= first_token_ns AND first_token_ns <= done_ns) OR output_tokens IS NULL"
    ).fetchone()
    database.close()
    assert wrong == (0,)


def test_the_embedded_server_is_started_for_a_run_and_stopped(tmp_path: Path) -> None:
    done = wardround("run", write_study(tmp_path / "study.yaml"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in listed.splitlines() if "--until-stdin-closes" in line and str(tmp_path) in line]


def test_kill_9_loses_no_counted_reply_and_repeats_at_most_the_concurrency(tmp_path: Path) -> None:
    with running_server("--ttft", "0.02") as server:
        study = write_study(tmp_path / "study.yaml", models=two_models(server), tasks=BOTH, concurrency=8)
        process = start_and_wait_for(60, study, tmp_path / "run")
        process.kill()
        process.communicate()
        kept = replies_in(tmp_path / "run")
        assert 60 <= kept < 2 * SAMPLES_OF_BOTH
        done = wardround("run", study, "--out", "run", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"{kept} answered before" in done.stderr
        assert replies_in(tmp_path / "run") == 2 * SAMPLES_OF_BOTH
        assert server.stats()["requests"] - 2 * SAMPLES_OF_BOTH <= 8


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_keeps_its_replies_says_so_and_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    with running_server("--ttft", "0.05") as server:
        study = write_study(tmp_path / "study.yaml", models=two_models(server), tasks=BOTH, concurrency=4)
        process = start_and_wait_for(20, study, tmp_path / "run")
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        assert process.returncode == 1
        assert "Traceback" not in err
        assert "stopped:" in err.splitlines()[-1]
        assert out.startswith("INCOMPLETE:")
        assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 0
        assert server.stats()["requests"] - 2 * SAMPLES_OF_BOTH <= 4


def test_the_same_command_again_asks_nothing_and_prints_the_same_table(tmp_path: Path) -> None:
    with running_server() as server:
        study = write_study(tmp_path / "study.yaml", models=two_models(server), tasks=BOTH)
        first = wardround("run", study, cwd=tmp_path)
        asked = server.stats()["requests"]
        second = wardround("run", study, cwd=tmp_path)
        assert first.stdout == second.stdout
        assert server.stats()["requests"] == asked == 192


def test_under_faults_every_sample_ends_as_a_reply_or_a_named_failure(tmp_path: Path) -> None:
    faults = ("--fail-429", "0.1", "--fail-500", "0.1", "--cut", "0.05", "--retry-after", "0.01", "--seed", "1")
    with running_server(*faults) as server:
        study = write_study(tmp_path / "study.yaml", models=two_models(server), tasks=BOTH, concurrency=64, attempts=2)
        done = wardround("run", study, "--out", "run", cwd=tmp_path)
    assert done.returncode == 1
    database = sqlite3.connect(tmp_path / "run" / "journal.sqlite")
    replied = {row[0] for row in database.execute("SELECT request FROM replies")}
    failed = dict(database.execute("SELECT request, kind FROM failures WHERE final").fetchall())
    requests = {row[0] for row in database.execute("SELECT id FROM requests")}
    scored = database.execute(
        "SELECT count(DISTINCT cell * 1000 + position) FROM scores WHERE metric != 'parsed'"
    ).fetchone()[0]
    database.close()
    assert replied | failed.keys() == requests
    assert not replied & failed.keys()
    assert failed, "two attempts at a quarter of faults must leave some"
    assert set(failed.values()) <= {"rate_limit", "server_error", "broken_stream"}
    assert scored == len(replied)
    assert all(row["n"] + row["failed"] == 48 for row in rows_of(tmp_path / "run") if row["metric"] != "bertscore_f1")


@pytest.mark.parametrize("stream", [False, True])
def test_with_the_usual_attempts_the_same_faults_cost_no_sample(tmp_path: Path, stream: bool) -> None:
    faults = ("--fail-429", "0.1", "--fail-500", "0.1", "--cut", "0.05", "--retry-after", "0.01", "--seed", "2")
    with running_server(*faults) as server:
        models = [model_at(server, "baseline-overlap", stream=stream)]
        study = write_study(tmp_path / "study.yaml", models=models, attempts=12, concurrency=48)
        done = wardround("run", study, "--out", "run", cwd=tmp_path)
        statuses = server.stats()["statuses"]
    assert done.returncode == 0, done.stderr
    assert statuses["429"]
    assert statuses["500"]
    assert statuses["cut"]


def test_only_what_has_no_reply_is_asked_again(tmp_path: Path) -> None:
    with running_server("--fail-500", "0.5", "--seed", "3") as server:
        study = write_study(tmp_path / "study.yaml", models=[model_at(server)], attempts=1)
        assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 1
        missing = 48 - replies_in(tmp_path / "run")
        before = server.stats()["requests"]
        wardround("run", study, "--out", "run", cwd=tmp_path)
        assert server.stats()["requests"] - before == missing


def test_identical_questions_are_asked_once_and_scored_each(tmp_path: Path) -> None:
    row = {"gold_label": "neutral", "sentence1": "Fever of 39 °C.", "sentence2": "The patient coughs."}
    data = tmp_path / "twins.jsonl"
    data.write_text("\n".join(json.dumps({"pairID": str(number), **row}) for number in range(10)))
    with running_server() as server:
        tasks = [{"task": "mednli", "data": "twins.jsonl", "shots": 0}]
        study = write_study(tmp_path / "study.yaml", models=[model_at(server)], tasks=tasks)
        assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 0
        assert server.stats()["requests"] == 1
    assert rows_of(tmp_path / "run")[0]["n"] == 10


def test_a_server_that_dies_in_mid_run_is_named_and_the_run_completes_after_its_return(tmp_path: Path) -> None:
    with running_server("--ttft", "0.05") as server:
        port = server.base_url.split(":")[2].removesuffix("/v1")
        study = write_study(tmp_path / "study.yaml", models=two_models(server), tasks=BOTH, concurrency=4, attempts=1)
        process = start_and_wait_for(20, study, tmp_path / "run")
        server.process.kill()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out.startswith("INCOMPLETE:")
    assert "stopped answering" in err
    assert "connect" in out.splitlines()[0]
    with running_server("--port", port):
        done = wardround("run", study, "--out", "run", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert replies_in(tmp_path / "run") == 2 * SAMPLES_OF_BOTH


def test_several_servers_are_asked_at_the_same_time(tmp_path: Path) -> None:
    with running_server("--ttft", "0.2") as one, running_server("--ttft", "0.2") as other:
        models = [model_at(one, "baseline-lead"), model_at(other, "baseline-overlap")]
        study = write_study(tmp_path / "study.yaml", models=models, concurrency=8)
        assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 0
    database = sqlite3.connect(tmp_path / "run" / "journal.sqlite")
    spans = database.execute(
        "SELECT min(sent_ns), max(done_ns) FROM replies JOIN requests ON requests.id = request GROUP BY model"
    ).fetchall()
    database.close()
    (start_a, end_a), (start_b, end_b) = spans
    assert max(start_a, start_b) < min(end_a, end_b)


def test_no_tail_between_tasks_the_second_begins_before_the_first_has_ended(tmp_path: Path) -> None:
    with running_server("--ttft", "0.05") as server:
        study = write_study(tmp_path / "study.yaml", models=[model_at(server)], tasks=BOTH, concurrency=32)
        assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 0
    database = sqlite3.connect(tmp_path / "run" / "journal.sqlite")
    spans = database.execute(
        "SELECT min(sent_ns), max(done_ns) FROM cells JOIN asks ON asks.cell = cells.id"
        " JOIN replies ON replies.request = asks.request GROUP BY cells.id ORDER BY cells.place"
    ).fetchall()
    database.close()
    assert spans[1][0] < spans[0][1]


def test_a_model_added_to_the_study_is_asked_and_the_others_are_not(tmp_path: Path) -> None:
    with running_server() as server:
        study = write_study(tmp_path / "study.yaml", models=[model_at(server, "baseline-lead")])
        assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 0
        write_study(study, models=two_models(server))
        assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 0
        assert server.stats()["requests"] == 96
    assert {row["model"] for row in rows_of(tmp_path / "run")} == {"baseline-lead", "baseline-overlap"}


def test_rescoring_needs_no_server_and_says_what_it_cannot_change(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study.yaml", tasks=BOTH)
    assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 0
    done = wardround("score", "run", "--profile", "clue-tgi-2024", cwd=tmp_path)
    assert done.returncode == 0
    assert "asked under strict, scored under clue-tgi-2024" in done.stderr
    rows = json.loads(wardround("report", "run", "--profile", "clue-tgi-2024", "--json", cwd=tmp_path).stdout)
    assert {row["profile"] for row in rows} == {"clue-tgi-2024"}
    # 48 samples, the first of them counted twice, as the published code did.
    assert {row["n"] for row in rows if row["metric"] != "bertscore_f1"} == {49}
    assert {row["profile"] for row in rows_of(tmp_path / "run")} == {"strict"}


def test_the_published_denominator_comes_of_1422_rows(tmp_path: Path) -> None:
    data = tmp_path / "mli_test_v1.jsonl"
    rows = (
        {"pairID": str(n), "gold_label": "neutral", "sentence1": f"Weight {n} kg.", "sentence2": "Coughs."}
        for n in range(1422)
    )
    data.write_text("\n".join(json.dumps(row) for row in rows))
    tasks = [{"task": "mednli", "data": "mli_test_v1.jsonl"}]
    study = write_study(tmp_path / "study.yaml", tasks=tasks, profile="clue-tgi-2024")
    assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 0
    assert [row["n"] for row in rows_of(tmp_path / "run")] == [1420]
    write_study(study, tasks=tasks)
    assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 0
    assert {row["n"] for row in rows_of(tmp_path / "run")} == {1419}


def test_an_export_holds_every_sample_and_its_scores_follow_from_it(tmp_path: Path) -> None:
    import pandas as pd
    from rouge_score.rouge_scorer import RougeScorer

    study = write_study(tmp_path / "study.yaml", models=["baseline-lead"], tasks=["meqsum"])
    assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 0
    done = wardround("export", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "run" / "export"
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    csv, parquet = pd.read_csv(folder / "samples.csv"), pd.read_parquet(folder / "samples.parquet")
    assert list(csv["answer"]) == list(parquet["answer"])
    scorer = RougeScorer(["rougeL"])
    values = [
        scorer.score(reference, answer)["rougeL"].fmeasure
        for reference, answer in zip(csv["reference"], csv["answer"], strict=True)
    ]
    shown = next(row for row in rows_of(tmp_path / "run") if row["metric"] == "rouge_l")
    assert shown["value"] == pytest.approx(sum(values) / len(values), abs=1e-9)


def test_an_answer_with_odd_line_ends_comes_back_from_the_csv_as_it_was(tmp_path: Path) -> None:
    import pandas as pd

    text = "first\rsecond\r\nthird\n=4"
    row = {"File": "1", "CHQ": text, "Summary": "Why?"}
    (tmp_path / "odd.jsonl").write_text(json.dumps(row))
    tasks = [{"task": "meqsum", "data": "odd.jsonl", "shots": 0}]
    study = write_study(tmp_path / "study.yaml", models=["baseline-random"], tasks=tasks)
    assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 0
    assert wardround("export", "run", cwd=tmp_path).returncode == 0
    csv = pd.read_csv(tmp_path / "run" / "export" / "samples.csv")
    parquet = pd.read_parquet(tmp_path / "run" / "export" / "samples.parquet")
    assert list(csv["answer"]) == list(parquet["answer"])
    assert len(csv) == 1


def test_two_runs_into_one_folder_are_kept_apart(tmp_path: Path) -> None:
    with running_server("--ttft", "0.1") as server:
        study = write_study(tmp_path / "study.yaml", models=two_models(server), tasks=BOTH, concurrency=2)
        process = start_and_wait_for(1, study, tmp_path / "run")
        second = wardround("run", study, "--out", "run", cwd=tmp_path)
        process.kill()
        process.communicate()
    assert second.returncode == 1
    assert "another run is writing" in second.stderr


def test_the_run_leaves_nothing_that_others_can_read(tmp_path: Path) -> None:
    assert wardround("run", write_study(tmp_path / "study.yaml"), "--out", "run", cwd=tmp_path).returncode == 0
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "run").iterdir()} == {0o600}
