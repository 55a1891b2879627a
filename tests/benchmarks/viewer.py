"""How long the viewer's lists take on a run of 125,000 samples: python -m tests.benchmarks.viewer [--folder DIR]

    index     from opening the run until every sample is listed, and until every word can be found
    filter    a page of the list under each filter, as HTML: the slowest of several turns counts, while the index is
              still being made and once it is whole
    sample    a sample's page, with its neighbours under the filter

The run is invented: 5 models × 5 arms × 5,000 samples of MedNLI, MeQSum and LongHealth, 25,000 prompts of 60 to 1,500
words, answers with and without reasoning, failures, truncated and unparsed answers. A filter that takes more than
300 ms once the index is whole ends with exit code 1.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from wardround.journal import JOURNAL_FILE, Journal
from wardround.journal.records import sha256
from wardround.reports.viewer.filters import Filter
from wardround.reports.viewer.finding import Place
from wardround.reports.viewer.pages import Pages

MOST_MS = 300
# Between two pages while the index is being made: a reader who clicks twice a second.
PAUSE_S = 0.5
MODELS, ARMS = 5, 5
# Task, its file, samples, words of a prompt.
TASKS = (
    ("mednli", "mednli", 1500, 60),
    ("meqsum", "meqsum", 1500, 120),
    ("longhealth_t1", "longhealth:longhealth_t1", 2000, 1500),
)
COMMON = [
    "fever",
    "cough",
    "metformin",
    "stroke",
    "renal",
    "failure",
    "discharge",
    "admission",
    "dose",
    "patient",
    "history",
]
PARAMS = json.dumps({
    "max_tokens": 64, "temperature": 0.0, "seed": 1, "stop": [], "extra_body": {}, "top_p": None, "template": None,
    "choose": "parse",
})  # fmt: skip


class Words:
    """Draws texts whose words are distributed roughly as in a language."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._words = COMMON + [_spelled(rank) for rank in range(1, 30_000)]
        self._weights = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(self._words))))

    def text(self, words: int) -> str:
        return " ".join(self._draw.choices(self._words, cum_weights=self._weights, k=words))


def _spelled(rank: int) -> str:
    letters = ""
    while rank:
        rank, left = divmod(rank, 20)
        letters += "bcdfghklmnprtvwaeiou"[left] + "ao"[left % 2]
    return letters + "n"


def invented_run(folder: Path, *, seed: int = 5) -> Path:
    """Make the run described above in `folder`; returns it."""
    with Journal.create(folder) as journal:
        journal.put_manifest({"tasks": {}, "last_started_at": "2026-01-01T00:00:00Z", "study": {"study": "invented"}})
    database = sqlite3.connect(folder / JOURNAL_FILE)
    words, draw = Words(seed), random.Random(seed)
    place = 0
    for task, file, samples, length in TASKS:
        ids = list(_enter_samples(database, words, task, samples))
        for arm in range(ARMS):
            prompts = list(_enter_prompts(database, words, samples, length))
            for model in range(MODELS):
                cell = database.execute(
                    "INSERT INTO cells (model, task, arm, profile, task_file, settings, digest, place)"
                    " VALUES (?, ?, ?, 'strict', ?, '{}', '', ?)",
                    (f"model-{model}", task, f"arm-{arm}", file, place),
                ).lastrowid
                place += 1
                _enter_cell(database, words, draw, task, int(cell or 0), ids, prompts)
        database.commit()
    database.close()
    return folder


def _enter_samples(database: sqlite3.Connection, words: Words, task: str, samples: int) -> Iterator[int]:
    for number in range(samples):
        reference = words.text(12) if task == "meqsum" else "NEUTRAL" if task == "mednli" else "B"
        body = json.dumps({"id": f"{task}/{number}", "inputs": {"question": words.text(10)}, "reference": reference})
        row = (task, sha256(body), f"{task}/{number}", f"patient {number // 20}", body)
        yield int(
            database.execute(
                "INSERT INTO samples (task, hash, sample, cluster, body) VALUES (?, ?, ?, ?, ?)", row
            ).lastrowid
            or 0
        )


def _enter_prompts(database: sqlite3.Connection, words: Words, samples: int, length: int) -> Iterator[str]:
    for _ in range(samples):
        text = words.text(length)
        body = json.dumps({"messages": [{"role": "user", "content": text}], "prefill": ""})
        digest = sha256(body)
        database.execute("INSERT INTO prompts VALUES (?, ?)", (digest, body))
        yield digest


def _enter_cell(
    database: sqlite3.Connection,
    words: Words,
    draw: random.Random,
    task: str,
    cell: int,
    samples: list[int],
    prompts: list[str],
) -> None:
    asks, replies, failures, scores = [], [], [], []
    for position, (sample, prompt) in enumerate(zip(samples, prompts, strict=True)):
        row = (sha256(f"{cell} {position}"), f"model {cell}", prompt, PARAMS)
        request = database.execute(
            "INSERT INTO requests (key, model, prompt, params) VALUES (?, ?, ?, ?)", row
        ).lastrowid
        asks.append((cell, position, sample, request, "[]" if draw.random() < 0.05 else None))
        chance = draw.random()
        if chance < 0.01:
            continue
        if chance < 0.03:
            failures.append((request, 3, 1, "timeout" if chance < 0.02 else "content_filter", None, "no answer", 1.7e9))
            continue
        text, reasoning = words.text(draw.randint(1, 60)), words.text(200) if chance > 0.9 else ""
        cut = "length" if chance < 0.06 else "stop"
        took_ns = draw.randint(10**8, 10**10)
        replies.append(
            (
                request,
                text,
                reasoning,
                cut,
                500,
                40,
                0,
                10**6,
                None,
                took_ns,
                1,
                "m",
                None,
                "http://127.0.0.1/v1",
                1.7e9,
            )
        )
        value = draw.random() if task == "meqsum" else float(draw.random() < 0.6)
        parsed = 0.0 if chance < 0.08 else 1.0
        metric = "rouge_l" if task == "meqsum" else "accuracy"
        scores += [(cell, "strict", position, metric, value * parsed), (cell, "strict", position, "parsed", parsed)]
        scores += [(cell, "strict", position, f"other_{number}", value) for number in range(3)]
    database.executemany("INSERT INTO asks (cell, position, sample, request, cut) VALUES (?, ?, ?, ?, ?)", asks)
    database.executemany(
        "INSERT INTO replies (request, text, reasoning, finish_reason, prompt_tokens, output_tokens, scheduled_ns, sent_ns,"
        " first_token_ns, done_ns, attempts, fingerprint, cached_tokens, endpoint, answered_at)"
        f" VALUES ({', '.join('?' * 15)})",
        replies,
    )
    database.executemany(
        "INSERT INTO failures (request, attempt, final, kind, status, words, failed_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        failures,
    )
    database.executemany("INSERT INTO scores VALUES (?, ?, ?, ?, ?)", scores)


FILTERS = {
    "everything": Filter(),
    "one model": Filter(model="model-3"),
    "task and arm": Filter(task="longhealth_t1", arm="arm-2"),
    "wrong": Filter(outcome="wrong"),
    "wrong of one cell": Filter(model="model-1", task="mednli", arm="arm-4", outcome="wrong"),
    "truncated": Filter(outcome="truncated"),
    "failed": Filter(outcome="failed"),
    "ROUGE-L from 30 to 40": Filter(task="meqsum", least="30", most="40"),
    "lowest score first": Filter(order="lowest score"),
    "slowest first, right": Filter(order="slowest", outcome="right"),
    "a word in every prompt": Filter(words="fever"),
    "the same in answers": Filter(words="fever", scope="answer"),
    "a rare word": Filter(words=_spelled(29_990)),
    "two common words": Filter(words="fever stroke"),
    "a phrase": Filter(words='"renal failure"'),
    "the beginning of words": Filter(words="met*"),
    "a word and all the rest": Filter(
        model="model-2", task="longhealth_t1", arm="arm-1", outcome="wrong", words="dose", order="slowest"
    ),
}


STEPS = ("everything", "slowest first, right", "a word in every prompt")


def measured(pages: Pages, turns: int, pause_s: float = 0.0) -> dict[str, float]:
    """Milliseconds for a page under each filter, at its slowest; each turn is another page, far down the list."""
    taken: dict[str, float] = {}
    for name, wanted in FILTERS.items():
        for turn in range(turns):
            query = wanted.query() if turn == 0 else {**wanted.query(), "after": str(Place(60 // turn, 700))}
            time.sleep(pause_s)
            begun = time.perf_counter()
            page = pages.listing(query)
            taken[name] = max(taken.get(name, 0.0), (time.perf_counter() - begun) * 1000)
            assert "</html>" in page
    for name in STEPS:
        time.sleep(pause_s)
        begun = time.perf_counter()
        sample = pages.sample(Place(30, 500), FILTERS[name].query())
        taken[f"sample: {name}"] = (time.perf_counter() - begun) * 1000
        assert sample is not None
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, help="Where the invented run is, or is made; a temporary one by default."
    )
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary) / "run"
        if not (folder / JOURNAL_FILE).exists():
            begun = time.perf_counter()
            invented_run(folder)
            print(f"the run was made in {time.perf_counter() - begun:.0f} s")
        print(f"journal: {(folder / JOURNAL_FILE).stat().st_size / 1e6:,.0f} MB, {os.cpu_count()} cores")
        return _measure(folder, arguments.turns)


def _measure(folder: Path, turns: int) -> int:
    begun = time.perf_counter()
    pages = Pages.open(folder, "")
    try:
        while pages.coverage.listed < 125_000:
            time.sleep(0.05)
        print(f"every sample is listed after {time.perf_counter() - begun:.1f} s")
        during: dict[str, float] = {}
        while not pages.coverage.complete:
            for name, took_ms in measured(pages, 1, PAUSE_S).items():
                during[name] = max(during.get(name, 0.0), took_ms)
        print(
            f"every word can be found after {time.perf_counter() - begun:.1f} s, with a filter asked every half second"
        )
        after = measured(pages, turns)
    finally:
        pages.close()
    print(f"{'milliseconds, at the slowest':32} {'meanwhile':>10} {'afterwards':>10}")
    for name, took_ms in after.items():
        print(f"{name:32} {during.get(name, 0.0):10.0f} {took_ms:10.0f}")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")
    return int(max(after.values()) > MOST_MS)


if __name__ == "__main__":
    sys.exit(main())
