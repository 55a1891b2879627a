"""A model with several servers, in whole runs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.running.rounds import at_once, carry_out, rows
from tests.running.test_run import replies_in, start_and_wait_for
from tests.support import Server, running_server, wardround, write_study
from tests.wire.raw_server import closed_port
from wardround.catalogue import Limits
from wardround.endpoints import Failure, Params, Reply
from wardround.endpoints.limits import Gate, Limited
from wardround.endpoints.replicas import Replicas
from wardround.errors import EndpointError
from wardround.journal import Journal
from wardround.running.queues import GONE_AFTER, Request, ServerQueue
from wardround.running.spending import Spending
from wardround.study import load_study
from wardround.task import Prompt

BOTH = ["mednli", "meqsum"]
ELSEWHERE = "http://0.0.0.0:9/v1"


class Never:
    """Not to be asked."""

    async def ask(self, *_: object, **__: object) -> Reply | Failure:
        raise AssertionError


# Cases of several long records: twelve questions on each, one record after the other.
FAMILIES = """
from pathlib import Path
from wardround import Message, Metric, Prompt, Sample, Task
def load(path):
    return [Sample(f"{record}/{number}", {"record": record, "number": number}, "YES", record)
            for record in ("ada", "bob", "cyd", "dee", "eve", "fay") for number in range(12)]
def prompt(sample, shots):
    record, number = sample.inputs["record"], sample.inputs["number"]
    return Prompt((Message("user", f"{record} " * 2000 + f"Question {number}?"),))
def score(answer, sample): return {"accuracy": 0.0, "parsed": 1.0}
task = Task(name="families", title="", level=None, sensitivity="open", load=load, prompt=prompt, score=score,
            metrics=(Metric("accuracy", "proportion"),), shots=0, max_tokens=5, samples=Path(__file__))
"""


def model_at(first: Server | str, *others: Server | str, **fields: Any) -> dict[str, Any]:
    urls = [one if isinstance(one, str) else one.base_url for one in (first, *others)]
    return {"name": "m", "served_as": "baseline-lead", "base_url": urls[0], "replicas": urls[1:], **fields}


def unreachable() -> str:
    return f"http://127.0.0.1:{closed_port()}/v1"


def test_two_replicas_share_a_run_about_evenly_and_the_journal_says_who_answered(tmp_path: Path) -> None:
    with running_server("--ttft", "0.01") as one, running_server("--ttft", "0.01") as other:
        summary, _ = carry_out(tmp_path, models=[model_at(one, other)], tasks=BOTH, concurrency=4)
        counted = {server.base_url: server.stats()["requests"] for server in (one, other)}
    assert summary.complete
    assert sum(counted.values()) == 96
    assert min(counted.values()) >= 32
    assert dict(rows(tmp_path, "SELECT endpoint, count(*) FROM replies GROUP BY endpoint")) == counted


def test_the_concurrency_is_that_of_each_replica(tmp_path: Path) -> None:
    with running_server("--ttft", "0.02") as one, running_server("--ttft", "0.02") as other:
        carry_out(tmp_path, models=[model_at(one, other, limits={"concurrency": 3})], concurrency=8)
    spans: dict[str, list[tuple[int, int]]] = {}
    for endpoint, sent_ns, done_ns in rows(tmp_path, "SELECT endpoint, sent_ns, done_ns FROM replies"):
        spans.setdefault(endpoint, []).append((sent_ns, done_ns))
    assert [at_once(one) for one in spans.values()] == [3, 3]


def test_prompts_that_begin_alike_stay_with_one_replica_though_both_are_busy(tmp_path: Path) -> None:
    (tmp_path / "families.py").write_text(FAMILIES)
    with running_server("--ttft", "0.01") as one, running_server("--ttft", "0.01") as other:
        summary, _ = carry_out(tmp_path, models=[model_at(one, other)], tasks=["./families.py"], concurrency=2)
    assert summary.complete
    went = rows(
        tmp_path,
        "SELECT samples.cluster, replies.endpoint FROM asks JOIN samples ON samples.id = asks.sample"
        " JOIN replies USING (request)",
    )
    per_record = {record: Counter(where for name, where in went if name == record) for record, _ in went}
    together = sum(max(counts.values()) for counts in per_record.values())
    assert together >= 0.85 * 72
    # And yet neither was left idle.
    assert min(Counter(where for _, where in went).values()) >= 20


def test_a_replica_that_is_killed_in_mid_run_costs_no_sample(tmp_path: Path) -> None:
    with running_server("--ttft", "0.02") as one, running_server("--ttft", "0.02") as other:
        study = write_study(tmp_path / "study.yaml", models=[model_at(one, other)], tasks=BOTH, concurrency=3)
        process = start_and_wait_for(20, study, tmp_path / "run")
        one.process.kill()
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert "stopped answering" not in err
    assert "96 samples asked: 96 answered, 0 failed" in out


def test_after_kill_9_no_more_than_what_was_in_flight_is_asked_again(tmp_path: Path) -> None:
    with running_server("--ttft", "0.02") as one, running_server("--ttft", "0.02") as other:
        study = write_study(tmp_path / "study.yaml", models=[model_at(one, other)], tasks=BOTH, concurrency=3)
        process = start_and_wait_for(30, study, tmp_path / "run")
        process.kill()
        process.communicate()
        kept = replies_in(tmp_path / "run")
        done = wardround("run", study, "--out", "run", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"{kept} answered before" in done.stderr
        assert one.stats()["requests"] + other.stats()["requests"] - 96 <= 6


def test_a_replica_that_cannot_be_reached_is_noted_and_the_others_are_asked(tmp_path: Path) -> None:
    gone = unreachable()
    with running_server("--ttft", "0.01") as server:
        summary, noted = carry_out(tmp_path, models=[model_at(gone, server)], attempts=1, concurrency=4)
        assert server.stats()["requests"] == 48
    assert summary.complete
    assert at_once(rows(tmp_path, "SELECT sent_ns, done_ns FROM replies")) == 4
    assert [line for line in noted if gone in line and line.endswith("its other replicas are asked meanwhile")]


def test_where_none_can_be_reached_nothing_is_asked(tmp_path: Path) -> None:
    first = unreachable()
    with pytest.raises(EndpointError, match=f"no server for model 'm' at {first}"):
        carry_out(tmp_path, models=[model_at(first, unreachable())])


def test_a_replica_that_does_not_serve_the_model_is_an_error(tmp_path: Path) -> None:
    with running_server() as server:
        with pytest.raises(EndpointError, match="does not serve 'nobody'"):
            carry_out(tmp_path, models=[model_at(unreachable(), server, served_as="nobody")])
        assert server.stats()["requests"] == 0


def test_failed_connections_are_no_sign_that_a_model_is_gone_while_one_of_its_replicas_is_left(tmp_path: Path) -> None:
    limited = {url: Limited(Never(), Gate(Limits())) for url in ("one", "other")}
    failed = Failure("connect", "refused", retryable=True)
    with Journal.create(tmp_path / "run") as journal:
        spending = Spending(load_study(write_study(tmp_path / "study.yaml")), journal)
    for left, gone in (["one"], False), (["one", "other"], True):
        queue = ServerQueue("both", spending)
        request = Request(1, [], 0, "m", Replicas(limited, concurrency=2, left=left), Prompt(()), Params(1))
        for _ in range(GONE_AFTER):
            assert not queue.gone
            queue.note(request, failed)
        assert queue.gone is gone


def test_where_all_replicas_die_the_run_says_so_and_is_completed_after_their_return(tmp_path: Path) -> None:
    with running_server("--ttft", "0.05") as one, running_server("--ttft", "0.05") as other:
        ports = [server.base_url.split(":")[2].removesuffix("/v1") for server in (one, other)]
        study = write_study(
            tmp_path / "study.yaml", models=[model_at(one, other)], tasks=BOTH, concurrency=3, attempts=1
        )
        process = start_and_wait_for(10, study, tmp_path / "run")
        one.process.kill()
        other.process.kill()
        out, err = process.communicate(timeout=60)
        assert process.returncode == 1
        assert out.startswith("INCOMPLETE:")
        assert "stopped answering" in err
    with running_server("--port", ports[1]):
        done = wardround("run", study, "--out", "run", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert replies_in(tmp_path / "run") == 96


def test_two_models_with_the_same_replicas_share_their_slots(tmp_path: Path) -> None:
    with running_server("--ttft", "0.02") as one, running_server("--ttft", "0.02") as other:
        models = [model_at(one, other), {**model_at(other, one), "name": "n", "served_as": "baseline-overlap"}]
        summary, _ = carry_out(tmp_path, models=models, concurrency=2)
    assert summary.complete
    assert at_once(rows(tmp_path, "SELECT sent_ns, done_ns FROM replies")) == 4


def test_credentialed_text_does_not_go_where_one_replica_is_outside(tmp_path: Path) -> None:
    row = {"gold_label": "neutral", "sentence1": "SECRETFEVER of 39 °C.", "sentence2": "The patient coughs."}
    (tmp_path / "mine.jsonl").write_text(json.dumps(row))
    with running_server() as server:
        tasks = [{"task": "mednli", "data": "mine.jsonl", "shots": 0}]
        study = write_study(tmp_path / "study.yaml", models=[model_at(server, ELSEWHERE)], tasks=tasks)
        done = wardround("run", study, "--out", "run", cwd=tmp_path)
        assert server.stats()["requests"] == 0
    assert done.returncode == 1
    assert "credentialed data does not go to model 'm': 0.0.0.0 is 0.0.0.0" in done.stderr


def test_the_addresses_of_all_replicas_are_checked_and_recorded(tmp_path: Path) -> None:
    row = {"gold_label": "neutral", "sentence1": "Fever of 39 °C.", "sentence2": "The patient coughs."}
    (tmp_path / "mine.jsonl").write_text(json.dumps(row))
    tasks = [{"task": "mednli", "data": "mine.jsonl", "shots": 0}]
    with running_server() as one, running_server() as other:
        named = other.base_url.replace("127.0.0.1", "localhost")
        summary, _ = carry_out(tmp_path, models=[model_at(one, named)], tasks=tasks)
    assert summary.complete
    [(guard,)] = rows(tmp_path, "SELECT value FROM manifest WHERE key = 'guard'")
    assert [(one["host"], one["trust"]) for one in json.loads(guard)] == [
        ("127.0.0.1", "own house"),
        ("localhost", "own house"),
    ]
