"""Dry runs: what they reckon, that they ask nobody, and that they leave nothing behind."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import Server, model_at, running_server, wardround, write_study
from wardround import load_task
from wardround.endpoints import Reply
from wardround.endpoints.tokens import estimate as tokens_of
from wardround.errors import StudyError
from wardround.journal import Journal, Outcome
from wardround.running.budget import TOKENS_A_PROMPT, TOKENS_A_TURN
from wardround.running.estimate import TOKENS_OF_A_CHOICE, ModelEstimate, RunEstimate, estimate_run
from wardround.study import load_study

NOWHERE = "http://127.0.0.1:9/v1"
LETTERS = [{"task": "longhealth:longhealth_t1", "limit": 10}]


def reckoned(tmp_path: Path, **fields: Any) -> RunEstimate:
    return estimate_run(load_study(write_study(tmp_path / "study.yaml", **fields)), tmp_path / "run")


def of_one(tmp_path: Path, fields: dict[str, Any] | None = None, **study: Any) -> ModelEstimate:
    """The estimate of a study's only model, a row with `fields` at an address where nobody listens."""
    model = {"name": "m", "base_url": NOWHERE, **(fields or {})}
    (one,) = reckoned(tmp_path, **{"models": [model], **study}).models
    return one


def questions(tmp_path: Path, *rows: tuple[str, str]) -> list[dict[str, Any]]:
    """A task of consumer questions with (question, summary) rows, without worked examples."""
    lines = [{"File": str(number), "CHQ": asked, "Summary": short} for number, (asked, short) in enumerate(rows)]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return [{"task": "meqsum", "data": "questions.jsonl", "shots": 0}]


def answer(run: Path, seconds: float, *, limit: int, tokens: tuple[int, int] = (100, 10)) -> None:
    """Give the first `limit` requests that wait in `run` an answer that took so long."""
    with Journal.open(run) as journal:
        reply = Reply("yes", "", "stop", *tokens, 0, 0, None, round(seconds * 1e9), "")
        journal.record([Outcome(request, reply, 1) for request, _, _ in journal.pending()[:limit]])


def planned(tmp_path: Path, **fields: Any) -> Path:
    """A run folder as a run leaves it that found no server."""
    study = write_study(tmp_path / "study.yaml", **fields)
    done = wardround("run", study, "--out", tmp_path / "run", cwd=tmp_path)
    assert "no server for model" in done.stderr, done.stderr
    return tmp_path / "run"


# What is asked.


def test_equal_questions_are_one_request(tmp_path: Path) -> None:
    tasks = questions(tmp_path, ("Why?", "Why?"), ("Why?", "Why so?"), ("How?", "How?"))
    assert of_one(tmp_path, tasks=tasks).requests == 2


def test_what_has_an_answer_is_not_reckoned_again(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"models": [{"name": "m", "base_url": NOWHERE}]}
    run = planned(tmp_path, **fields)
    whole = of_one(tmp_path)
    answer(run, 1.0, limit=48)
    rest = of_one(tmp_path, tasks=["mednli", "meqsum"])
    assert (whole.requests, whole.answered, whole.prompt_tokens > 0) == (48, 0, True)
    assert (rest.requests, rest.answered) == (96, 48)
    alone = of_one(tmp_path, tasks=["meqsum"])
    assert (rest.prompt_tokens, rest.new_tokens) == (alone.prompt_tokens, alone.new_tokens)


def test_prompts_that_a_server_made_fit_are_known_again_without_it(tmp_path: Path) -> None:
    with running_server() as server:
        fields: dict[str, Any] = {"models": [model_at(server, context=2048)], "tasks": LETTERS}
        study = write_study(tmp_path / "study.yaml", **fields)
        assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 0
    (one,) = reckoned(tmp_path, **fields).models
    assert (one.requests, one.answered, one.time_s) == (10, 10, 0.0)


def test_what_two_tasks_of_a_model_share_is_one_request(tmp_path: Path) -> None:
    tasks = ["mednli", {"task": "mednli", "label": "again"}]
    assert of_one(tmp_path, tasks=tasks).requests == 48


# Tokens.


def test_prompts_are_counted_as_texts_and_what_templates_add(tmp_path: Path) -> None:
    (choice,) = questions(tmp_path, ("My knee hurts. Why?", "Why does my knee hurt?"))
    task = load_task("meqsum")
    prompt = task.prompt(task.load(tmp_path / "questions.jsonl")[0], ())
    texts = sum(tokens_of(message.content) for message in prompt.messages)
    one = of_one(tmp_path, tasks=[choice])
    assert one.prompt_tokens == texts + TOKENS_A_PROMPT + TOKENS_A_TURN * len(prompt.messages)
    assert one.counted_by == "estimate: 3 bytes a token"


def test_the_embedded_servers_prompts_are_counted_as_it_counts_them(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study.yaml", tasks=["mednli", "meqsum"])
    (one,) = estimate_run(load_study(study), tmp_path / "run").models
    assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 0
    database = sqlite3.connect(tmp_path / "run" / "journal.sqlite")
    (counted,) = database.execute("SELECT sum(prompt_tokens) FROM replies").fetchone()
    marks = database.execute(
        f"SELECT sum({TOKENS_A_PROMPT} + {TOKENS_A_TURN} * json_array_length(body, '$.messages'))"
        " FROM requests JOIN prompts ON hash = prompt"
    ).fetchone()[0]
    database.close()
    assert one.prompt_tokens - marks == counted


def test_a_tokenizer_file_counts_where_there_is_one(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    tasks = questions(tmp_path, ("Why?", "one two three four"))
    one = of_one(tmp_path, {"tokenizer": "tokenizer.json"}, tasks=tasks)
    assert (one.counted_by, one.new_tokens) == ("tokenizer tokenizer.json", 4)


def test_an_answer_is_expected_to_be_as_long_as_the_references_at_the_mean(tmp_path: Path) -> None:
    tasks = questions(tmp_path, ("Why?", "a" * 30), ("How?", "a" * 60))
    assert of_one(tmp_path, tasks=tasks).new_tokens == 2 * 15


def test_no_more_is_expected_than_is_granted(tmp_path: Path) -> None:
    (choice,) = questions(tmp_path, ("Why?", "a" * 3000))
    one = of_one(tmp_path, tasks=[{**choice, "max_tokens": 40}])
    assert (one.new_tokens, one.most_new_tokens) == (40, 40)


def test_one_of_several_choices_is_short_whatever_the_limit(tmp_path: Path) -> None:
    one = of_one(tmp_path, tasks=[{"task": "mednli", "max_tokens": 500}])
    assert (one.new_tokens, one.most_new_tokens) == (48 * TOKENS_OF_A_CHOICE, 48 * 500)


def test_a_choice_by_likelihood_is_one_token(tmp_path: Path) -> None:
    assert of_one(tmp_path, arms=[{"name": "likeliest", "choice": "logprobs"}]).new_tokens == 48


def test_a_row_that_grants_more_is_believed(tmp_path: Path) -> None:
    assert of_one(tmp_path, {"extra_body": {"max_tokens": 300}}).most_new_tokens == 48 * 300


def test_a_reasoning_model_is_expected_to_use_what_it_is_granted_for_it(tmp_path: Path) -> None:
    one = of_one(tmp_path, {"reasoning_tokens": 1000})
    assert one.new_tokens == 48 * (1000 + TOKENS_OF_A_CHOICE)
    assert one.most_new_tokens == 48 * (1000 + 20)


# Money.


def test_the_cost_is_of_prompt_and_new_tokens(tmp_path: Path) -> None:
    one = of_one(tmp_path, {"price": {"input": 3, "output": 15}})
    assert one.cost_usd == pytest.approx((3 * one.prompt_tokens + 15 * one.new_tokens) / 1e6)
    assert one.most_cost_usd == pytest.approx((3 * one.prompt_tokens + 15 * one.most_new_tokens) / 1e6)


def test_a_price_by_the_hour_is_reckoned_on_the_time_and_has_no_most(tmp_path: Path) -> None:
    one = of_one(tmp_path, {"price": {"hour": 2}, "limits": {"requests_per_minute": 4}})
    assert one.time_s == pytest.approx(12 * 60)
    assert one.cost_usd == pytest.approx(0.4)
    assert one.most_cost_usd is None


def test_a_price_by_the_hour_without_a_time_gives_no_cost(tmp_path: Path) -> None:
    assert of_one(tmp_path, {"price": {"hour": 2}}).cost_usd is None


def test_without_a_price_there_is_no_cost_and_the_embedded_server_is_free(tmp_path: Path) -> None:
    whole = reckoned(tmp_path, models=[{"name": "m", "base_url": NOWHERE}, "baseline-lead"])
    assert [one.cost_usd for one in whole.models] == [None, 0.0]
    assert (whole.cost_usd, whole.asked) == (None, [whole.models[0]])


# Time.


def test_time_comes_of_the_limit_that_binds(tmp_path: Path) -> None:
    by_requests = of_one(tmp_path, {"limits": {"requests_per_minute": 6, "tokens_per_minute": 10**9}})
    assert by_requests.time_s == pytest.approx(480)
    assert by_requests.time_by == "its limit of requests"
    by_tokens = of_one(tmp_path, {"limits": {"requests_per_minute": 6, "tokens_per_minute": 100}})
    tokens = by_tokens.prompt_tokens + by_tokens.new_tokens
    assert by_tokens.time_s == pytest.approx(0.6 * tokens)
    assert by_tokens.time_by == "its limit of tokens"


def test_without_limits_and_earlier_answers_no_time_is_told(tmp_path: Path) -> None:
    one = of_one(tmp_path)
    assert (one.time_s, one.time_by) == (None, "unknown: no limit and no earlier run")


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [({}, 38 * 3 / 4), ({"concurrency": 2}, 38 * 3 / 2), ({"concurrency": 100}, 38 * 3 / 4)],
)
def test_earlier_answers_tell_the_time_by_their_mean_and_the_concurrency(
    tmp_path: Path, limits: dict[str, int], seconds: float
) -> None:
    run = planned(tmp_path, models=[{"name": "m", "base_url": NOWHERE}])
    answer(run, 2.0, limit=5)
    answer(run, 4.0, limit=5)
    one = of_one(tmp_path, {"limits": limits}, concurrency=4)
    assert one.time_s == pytest.approx(seconds)
    assert one.time_by == "its earlier answers"


def test_no_more_run_at_once_than_there_are(tmp_path: Path) -> None:
    run = planned(tmp_path, models=[{"name": "m", "base_url": NOWHERE}])
    answer(run, 2.0, limit=46)
    assert of_one(tmp_path, concurrency=32).time_s == pytest.approx(2.0)


def test_models_of_one_server_take_turns_and_servers_do_not(tmp_path: Path) -> None:
    limits = {"requests_per_minute": 48}
    models = [
        {"name": "a", "base_url": NOWHERE, "limits": limits},
        {"name": "b", "base_url": NOWHERE, "limits": limits},
        {"name": "c", "base_url": "http://127.0.0.2:9/v1", "limits": limits},
    ]
    assert reckoned(tmp_path, models=models).time_s == pytest.approx(120)


def test_replicas_share_the_requests_and_each_has_the_limits(tmp_path: Path) -> None:
    fields = {"replicas": ["http://127.0.0.2:9/v1"], "limits": {"requests_per_minute": 6}}
    assert of_one(tmp_path, fields).time_s == pytest.approx(240)


# Earlier runs and the budget.


def test_what_earlier_runs_spent_is_told(tmp_path: Path) -> None:
    price = {"input": 3.0, "output": 15.0}
    fields: dict[str, Any] = {"models": [{"name": "m", "base_url": NOWHERE, "price": price}]}
    answer(planned(tmp_path, **fields), 1.0, limit=10, tokens=(1000, 100))
    whole = reckoned(tmp_path, **fields)
    assert whole.spent_tokens == 11_000
    assert whole.spent_usd == pytest.approx(10 * (3000 + 1500) / 1e6)


def test_what_a_run_refuses_for_its_budget_a_dry_run_refuses(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="has no `price`"):
        of_one(tmp_path, budget={"usd": 5})


def test_a_budget_that_would_be_passed_is_a_line_and_no_failure(tmp_path: Path) -> None:
    models = [{"name": "m", "base_url": NOWHERE, "price": {"input": 1000}}]
    study = write_study(tmp_path / "study.yaml", models=models, budget={"usd": 5, "tokens": 100})
    done = wardround("run", study, "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (one,) = estimate_run(load_study(study), tmp_path).models
    assert done.stdout.splitlines()[-2:] == [
        f"expected ${one.cost_usd:.2f} is above the budget of $5.00",
        f"expected {one.prompt_tokens + one.new_tokens:,} tokens is above the budget of 100",
    ]


# Nothing is asked, and nothing stays.


@contextmanager
def listener() -> Iterator[tuple[int, list[str]]]:
    """A port, and who came."""
    came: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def listen() -> None:
            while True:
                try:
                    connection, address = listening.accept()
                except OSError:
                    return
                came.append(str(address))
                connection.close()

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield listening.getsockname()[1], came
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_no_server_is_spoken_to_not_even_to_count(tmp_path: Path) -> None:
    with listener() as (port, came):
        models = [{"name": "m", "base_url": f"http://127.0.0.1:{port}/v1", "context": 2048, "key_env": "NO_SUCH_KEY"}]
        study = write_study(tmp_path / "study.yaml", models=models, tasks=LETTERS)
        done = wardround("run", study, "--dry-run", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert came == []
        # A run of the same study does come, if only to count.
        write_study(study, models=[{**models[0], "key_env": None}], tasks=LETTERS)
        command = [sys.executable, "-m", "wardround", "run", str(study)]
        with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 30
            while not came and time.monotonic() < deadline:
                time.sleep(0.01)
            process.kill()
        assert came


def test_a_dry_run_leaves_no_file_and_an_earlier_run_as_it_was(server: Server, tmp_path: Path) -> None:
    study = write_study(tmp_path / "study.yaml", models=[model_at(server)])
    assert wardround("run", study, "--out", "run", cwd=tmp_path).returncode == 0
    (tmp_path / "tmp").mkdir()
    before = contents(tmp_path)
    for options in (["--out", "run"], []):
        done = wardround("run", study, "--dry-run", *options, cwd=tmp_path, env=environment(tmp_path / "tmp"))
        assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == before


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
    }


def environment(temporary: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(temporary)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_dry_run_that_is_stopped_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\n"
        "from pathlib import Path\n"
        "from wardround import Message, Metric, Prompt, Sample, Task\n"
        "def load(path): return [Sample(str(n), {}, 'YES') for n in range(2)]\n"
        "def prompt(sample, shots):\n"
        "    time.sleep(60)\n"
        "    return Prompt((Message('user', 'x'),))\n"
        "def score(answer, sample): return {'accuracy': 0.0, 'parsed': 1.0}\n"
        "task = Task(name='slow', title='', level=None, sensitivity='open', load=load, prompt=prompt, score=score,\n"
        "            metrics=(Metric('accuracy'),), shots=0, max_tokens=5, samples=Path(__file__))\n"
    )
    study = write_study(tmp_path / "study.yaml", tasks=["./slow.py"])
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-m", "wardround", "run", str(study), "--dry-run"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(temporary), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not list(temporary.glob("*/journal.sqlite-wal")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (folder,) = temporary.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    process.send_signal(number)
    assert process.wait(timeout=30) != 0
    assert list(temporary.iterdir()) == []
