"""Runs against a server whose weights change behind one address."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support import wardround, write_study
from wardround.errors import EndpointError
from wardround.journal import Journal
from wardround.reports.servers import who_answered
from wardround.running import RunSummary, run_study
from wardround.running.progress import LineProgress
from wardround.study import load_study

SAMPLES = 6


class Engine(ThreadingHTTPServer):
    """A server that speaks as vLLM does and can be made another from one request to the next."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Speaking)
        self.root = "our/llama"
        self.version = "0.32.0"
        self.context = 2048
        self.fingerprint: str | None = "fp-1"
        self.answers_left = 10_000
        self.answered = 0
        # What it becomes once so many answers are given.
        self.then: tuple[int, dict[str, Any]] | None = None
        self.instead: dict[str, Any] | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def chat(self) -> tuple[int, dict[str, Any]]:
        if self.instead is not None:
            return 200, self.instead
        if self.answers_left <= 0:
            return 400, {"error": {"message": "no more", "type": "BadRequestError", "code": 400}}
        self.answers_left -= 1
        self.answered += 1
        if self.then is not None and self.answered >= self.then[0]:
            vars(self).update(self.then[1])
        message = {"role": "assistant", "content": "NEUTRAL"}
        return 200, {
            "model": "ours",
            "system_fingerprint": self.fingerprint,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 1},
        }


class _Speaking(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body in one packet: two would wait 40 ms for each other.
    wbufsize = 65_536
    server: Engine

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        engine = self.server
        card = {"id": "ours", "owned_by": "vllm", "root": engine.root, "max_model_len": engine.context}
        known = {"/v1/models": {"object": "list", "data": [card]}, "/version": {"version": engine.version}}
        content = known.get(self.path)
        self._say(404 if content is None else 200, content or {"detail": "Not Found"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._say(*self.server.chat())

    def _say(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def engine() -> Iterator[Engine]:
    running = Engine()
    # Connections that a run leaves open are no reason to wait for their threads.
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def study_of(engine: Engine, tmp_path: Path, **fields: Any) -> Path:
    fields = {"models": [{"name": "ours", "base_url": engine.base_url}], "attempts": 1, "concurrency": 1, **fields}
    return write_study(tmp_path / "study.yaml", tasks=[{"task": "mednli", "limit": SAMPLES}], **fields)


def run(engine: Engine, tmp_path: Path, *, mixed: bool = False, **fields: Any) -> tuple[RunSummary, str]:
    """Run or go on; the summary and the progress lines."""
    study = load_study(study_of(engine, tmp_path, **fields))
    said = io.StringIO()
    summary = asyncio.run(run_study(study, tmp_path / "run", progress=LineProgress(said), mixed=mixed))
    return summary, said.getvalue()


def half_a_run(engine: Engine, tmp_path: Path) -> None:
    """A run of which half the samples are answered."""
    engine.answers_left = SAMPLES // 2
    summary, _ = run(engine, tmp_path)
    assert summary.answered == SAMPLES // 2
    engine.answers_left = 10_000


def kept(tmp_path: Path) -> list[dict[str, Any]]:
    with Journal.open(tmp_path / "run") as journal:
        return [facts for _, _, facts in journal.servers()]


def lines_below(tmp_path: Path) -> list[str]:
    with Journal.open(tmp_path / "run") as journal:
        return who_answered(journal)


def test_a_run_keeps_who_answered_at_its_start_and_at_its_end(engine: Engine, tmp_path: Path) -> None:
    summary, _ = run(engine, tmp_path)
    first, last = kept(tmp_path)
    assert (first["occasion"], first["answered"], last["occasion"], last["answered"]) == ("start", 0, "end", SAMPLES)
    assert (first["engine"], first["version"], first["root"], first["context"]) == ("vllm", "0.32.0", "our/llama", 2048)
    assert summary.complaints == ()


def test_who_answered_stands_below_the_table(engine: Engine, tmp_path: Path) -> None:
    done = wardround("run", study_of(engine, tmp_path), "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    header, _, line = done.stdout.split("\n\n")[-1].strip().splitlines()
    assert header.split("  ")[0] == "who answered"
    assert line.split() == ["ours", engine.base_url, "vllm", "0.32.0", "ours", "our/llama", "2,048"]
    assert line in wardround("report", "run", cwd=tmp_path).stdout


def test_earlier_answers_of_other_weights_are_refused_before_anything_is_asked(engine: Engine, tmp_path: Path) -> None:
    half_a_run(engine, tmp_path)
    engine.root = "their/qwen"
    before = engine.answered
    message = (
        f"model 'ours' at {engine.base_url} answered as weights our/llama and is now weights their/qwen: earlier answers"
        " are another model's; start a new run with --out, or pass --mixed to go on"
    )
    # Twice: what was refused must not be taken for what was there.
    for _ in range(2):
        with pytest.raises(EndpointError) as caught:
            run(engine, tmp_path)
        assert str(caught.value) == message
    assert engine.answered == before
    assert {facts["root"] for facts in kept(tmp_path)} == {"our/llama"}


def test_the_refusal_is_one_line_and_mixed_goes_on(engine: Engine, tmp_path: Path) -> None:
    half_a_run(engine, tmp_path)
    engine.root = "their/qwen"
    study = study_of(engine, tmp_path)
    refused = wardround("run", study, "--out", "run", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.count("\n") == 1
    assert refused.stderr.startswith("wardround: model 'ours' at ")
    mixed = wardround("run", study, "--out", "run", "--mixed", cwd=tmp_path)
    assert mixed.returncode == 0, mixed.stderr
    assert f"{SAMPLES} samples asked: {SAMPLES} answered" in mixed.stdout
    assert "its answers are mixed" in mixed.stderr.splitlines()[-1]


def test_mixed_answers_stay_on_record(engine: Engine, tmp_path: Path) -> None:
    half_a_run(engine, tmp_path)
    engine.root = "their/qwen"
    summary, said = run(engine, tmp_path, mixed=True)
    complaint = (
        f"model 'ours' at {engine.base_url} changed between runs: it answered as weights our/llama and then as weights"
        " their/qwen; its answers are mixed"
    )
    assert summary.complaints == (complaint,)
    assert "is now weights their/qwen: its answers are mixed" in said
    one, other = lines_below(tmp_path)[2:]
    assert "our/llama" in one
    assert "changed" not in one
    assert "their/qwen" in other
    assert other.endswith("changed between runs")
    # Nothing is left to ask, and the table is of two models' answers all the same.
    assert run(engine, tmp_path)[0].complaints == (complaint,)


def test_a_change_during_the_run_is_complained_of(engine: Engine, tmp_path: Path) -> None:
    engine.then = (2, {"root": "their/qwen"})
    summary, _ = run(engine, tmp_path)
    assert summary.complete
    [complaint] = summary.complaints
    assert "changed during the run: it answered as weights our/llama and then as weights their/qwen" in complaint
    assert lines_below(tmp_path)[-1].endswith("changed during the run")


def test_a_new_version_or_context_is_a_note_and_no_refusal(engine: Engine, tmp_path: Path) -> None:
    half_a_run(engine, tmp_path)
    engine.version, engine.context = "0.33.0", 4096
    summary, said = run(engine, tmp_path)
    assert (
        f"model 'ours' at {engine.base_url}: version 0.32.0, context 2048 before, version 0.33.0, context 4096 now"
        in said
    )
    assert summary.complete
    assert summary.complaints == ()
    assert len(lines_below(tmp_path)) == 3


def test_a_new_version_during_the_run_is_a_note(engine: Engine, tmp_path: Path) -> None:
    engine.then = (2, {"version": "0.33.0"})
    _, said = run(engine, tmp_path)
    assert "version 0.32.0 before, version 0.33.0 now" in said


def test_a_server_that_says_less_than_before_is_no_other(engine: Engine, tmp_path: Path) -> None:
    half_a_run(engine, tmp_path)
    engine.root = ""
    assert run(engine, tmp_path)[0].complaints == ()
    with Journal.open(tmp_path / "run") as journal:
        assert "our/llama" in who_answered(journal)[-1]


def test_what_was_said_before_the_silence_is_still_held_against_it(engine: Engine, tmp_path: Path) -> None:
    half_a_run(engine, tmp_path)
    engine.root, engine.answers_left = "", 1
    run(engine, tmp_path)
    engine.root, engine.answers_left = "their/qwen", 100
    with pytest.raises(EndpointError, match="answered as weights our/llama"):
        run(engine, tmp_path)


def test_before_anything_was_answered_another_model_may_take_the_place(engine: Engine, tmp_path: Path) -> None:
    engine.answers_left = 0
    assert run(engine, tmp_path)[0].answered == 0
    engine.answers_left, engine.root = 100, "their/qwen"
    summary, _ = run(engine, tmp_path)
    assert summary.complaints == ()
    assert "our/llama" not in "\n".join(lines_below(tmp_path))


def test_several_fingerprints_among_the_replies_are_complained_of(engine: Engine, tmp_path: Path) -> None:
    engine.then = (2, {"fingerprint": "fp-2"})
    summary, _ = run(engine, tmp_path)
    assert summary.complaints == ("model 'ours' answered under 2 fingerprints: 'ours fp-2' (5), 'ours fp-1' (1)",)


def test_replicas_that_are_not_alike_are_refused(engine: Engine, tmp_path: Path) -> None:
    other = Engine()
    other.root = "their/qwen"
    thread = threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    models = [{"name": "ours", "base_url": engine.base_url, "replicas": [other.base_url]}]
    with pytest.raises(EndpointError) as caught:
        run(engine, tmp_path, models=models)
    summary, _ = run(engine, tmp_path, models=models, mixed=True)
    other.shutdown()
    other.server_close()
    thread.join()
    assert str(caught.value) == (
        f"the servers of model 'ours' are not alike: {engine.base_url} is weights our/llama, {other.base_url} is weights"
        " their/qwen; serve the same weights, or pass --mixed to go on"
    )
    assert any("has servers that are not alike" in line for line in summary.complaints)


def test_a_model_that_moves_to_another_address_starts_its_record_anew(engine: Engine, tmp_path: Path) -> None:
    half_a_run(engine, tmp_path)
    moved = engine.base_url.replace("127.0.0.1", "localhost")
    engine.root = "their/qwen"
    summary, _ = run(engine, tmp_path, models=[{"name": "ours", "base_url": moved}])
    assert summary.complete
    assert summary.complaints == ()
    [line] = lines_below(tmp_path)[2:]
    assert moved in line


def test_an_error_text_is_never_an_answer(engine: Engine, tmp_path: Path) -> None:
    engine.instead = {"error": {"message": "The answer is NEUTRAL.", "code": 500}}
    summary, _ = run(engine, tmp_path)
    assert summary.answered == 0
    with Journal.open(tmp_path / "run") as journal:
        [cell] = journal.cells()
        assert {one.failure for one in journal.answers(cell.id)} == {"server_error"}


def test_the_embedded_server_is_the_runs_own_and_not_recorded(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path / "study.yaml", tasks=[{"task": "mednli", "limit": 2}]))
    asyncio.run(run_study(study, tmp_path / "run", progress=LineProgress(io.StringIO())))
    assert kept(tmp_path) == []
    assert lines_below(tmp_path) == []
