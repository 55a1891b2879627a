"""How long the page of a run of 125,000 samples takes, and how large it is.

    python -m tests.benchmarks.page [--folder DIR] [--json FILE]

The run is that of `tests.benchmarks.viewer`: 5 models × 5 arms × 5,000 samples of three tasks; here its manifest names
two pairs, groups and prices, and its arms note what they showed, so that the page has something to show in nearly every
part. Beside the time of the whole stands the time of reading the results alone, which no page can do without. One
process on one core makes it: on a machine that does other things as well, the processor's time is what the page costs.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.figures import Figure, report
from tests.benchmarks.viewer import ARMS, MODELS, TASKS, invented_run
from wardround.journal import JOURNAL_FILE, Journal
from wardround.reports.page import write_page
from wardround.reports.results import results_of

SAMPLES = 125_000
MOST_S, MOST_MB = 30.0, 5.0
_GROUPS = ("biomedical", "general", "biomedical", "general", "other")
_NOTED = {"evidence": "bm25", "tokens": 900, "k": 5, "third": 1}
# Two in three prompts of LongHealth hold the answer.
_SHOWN = (
    "UPDATE asks SET evidence = ? WHERE (position % 3 > 0) = ?"
    " AND cell IN (SELECT id FROM cells WHERE task = 'longhealth_t1')"
)
_EVIDENCE = ("none", "random-passages", "bm25", "full", "oracle-spans")


def named_run(folder: Path) -> Path:
    """The invented run in `folder`, made if it is not there, with a manifest as a real study leaves it."""
    if not (folder / JOURNAL_FILE).exists():
        invented_run(folder)
    models = [
        {
            "name": f"model-{place}",
            "group": _GROUPS[place],
            "base_url": f"http://10.0.0.{place}:8000/v1",
            "price": {"input": 0.1 * (place + 1), "output": 0.4, "hour": 0.0},
        }
        for place in range(MODELS)
    ]
    arms = [{"name": f"arm-{place}", "evidence": _EVIDENCE[place], "budget": 2000} for place in range(ARMS)]
    study = {"study": "invented", "title": "An invented run of 125,000 samples", "profile": "strict"}
    pairs = [["model-0", "model-1"], ["model-2", "model-3"]]
    tasks = {task: {"data": f"{task}.jsonl", "samples": samples} for task, _, samples, _ in TASKS}
    with Journal.open(folder) as journal, journal.transaction():
        journal.write(_SHOWN, [(json.dumps({**_NOTED, "hit": hit}), hit) for hit in (0.0, 1.0)])
        journal.put_manifest({"study": {**study, "models": models, "arms": arms, "pairs": pairs}, "tasks": tasks})
    return folder


def measured(folder: Path) -> list[Figure]:
    """The figures of one page."""
    with Journal.open(folder) as journal:
        samples = sum(asked for asked, _ in journal.progress().values())
        if samples != SAMPLES:
            raise SystemExit(f"{folder} holds {samples:,} samples; name another folder")
        begun = time.perf_counter()
        results_of(journal)
        reading_s = time.perf_counter() - begun
        file = folder / "report.html"
        begun, worked = time.perf_counter(), time.process_time()
        write_page(journal, file)
        page_s, worked_s = time.perf_counter() - begun, time.process_time() - worked
        size_mb = file.stat().st_size / 1e6
        first = file.read_bytes()
        write_page(journal, file)
        differing = float(file.read_bytes() != first)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        Figure("page of 125,000 samples", page_s, "s", "reading the results alone", reading_s, goal=MOST_S),
        Figure("the same, processor time", worked_s, "s", goal=MOST_S),
        Figure("its size", size_mb, "MB", goal=MOST_MB),
        Figure("made twice: pages that differ", differing, "", goal=0),
        Figure("peak memory", peak_mb, "MB"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, help="Where the invented run is, or is made; a temporary one by default."
    )
    parser.add_argument("--json", type=Path, help="Write the figures as JSON.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        return report(measured(named_run(arguments.folder or Path(temporary) / "run")), arguments.json)


if __name__ == "__main__":
    sys.exit(main())
