"""How long scoring and reporting take: `python -m tests.benchmarks.scoring [--folder FOLDER] [--json FILE]`.

ROUGE of 1,000 pairs of 368 words, beside the package `rouge-score` (with --peers, in an environment of its own);
sets of codes of 1,000 letters; the paired bootstrap of 10,000 samples with 10,000 resamples; and `wardround report`,
the whole command, over a run of 125,000 samples that `tests.benchmarks.viewer` makes. All values and texts are invented.

Seconds are of the processor: on a shared machine those of the wall tell what others do. Of the report both are told.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.asking import PEERS, peer_python
from tests.benchmarks.figures import Figure, report
from tests.benchmarks.viewer import invented_run
from wardround.journal import JOURNAL_FILE

PAIRS, WORDS = 1000, 368
LETTERS, CODES = 1000, 15
SAMPLES = RESAMPLES = 10_000

PEER = """
import json, sys, time
from rouge_score import rouge_scorer
pairs = json.load(sys.stdin)
scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"])
begun = time.process_time()
values = [scorer.score(gold, said)["rougeL"].fmeasure for said, gold in pairs]
print(json.dumps([time.process_time() - begun, sum(values)]))
"""


def texts() -> list[tuple[str, str]]:
    """Pairs that share about half of their words, in about the same order."""
    draw = random.Random(1)
    words = [f"word{number}" for number in range(2000)]
    pairs = []
    for _ in range(PAIRS):
        gold = [draw.choice(words) for _ in range(WORDS)]
        said = [word if draw.random() < 0.5 else draw.choice(words) for word in gold]
        pairs.append((" ".join(said), " ".join(gold)))
    return pairs


def rouge_figure(peers: bool) -> Figure:
    """ROUGE-1, -2 and -L of all pairs."""
    from wardround.scoring import rouge

    pairs = texts()
    begun_s = time.process_time()
    total = sum([rouge(said, gold).rouge_l for said, gold in pairs])
    took_s = time.process_time() - begun_s
    name = f"ROUGE-1, -2, -L of {PAIRS:,} pairs of {WORDS} words"
    if not peers:
        return Figure(name, took_s, "s", goal=1.0)
    python = peer_python("rouge-score", "rouge-score")
    told = subprocess.run(
        [str(python), "-c", PEER], input=json.dumps(pairs).encode(), check=True, stdout=subprocess.PIPE
    ).stdout
    peer_s, peer_total = json.loads(told)
    if abs(total - peer_total) > 1e-9 * PAIRS:
        raise SystemExit(f"rouge-score says {peer_total}, we say {total}")
    return Figure(name, took_s, "s", "rouge-score", peer_s, 1.0)


def codes_figure() -> Figure:
    """Sets of codes at all levels."""
    from wardround.scoring.icd import _table, icd_scores

    draw = random.Random(2)
    # Reading the table is the import, which is not measured.
    table = sorted(_table().codes)
    letters = []
    for _ in range(LETTERS):
        gold = draw.sample(table, CODES)
        letters.append(([*gold[: CODES // 2], *draw.sample(table, CODES // 2)], gold))
    begun_s = time.process_time()
    for said, gold in letters:
        icd_scores(said, gold)
    return Figure(f"codes of {LETTERS:,} letters, {CODES} each", time.process_time() - begun_s, "s", goal=0.2)


def bootstrap_figure() -> Figure:
    """One pair of models, resampled together."""
    import numpy as np

    from wardround.scoring import mean_of
    from wardround.statistics import paired_bootstrap

    chance = np.random.default_rng(1)
    pair = (mean_of(chance.random(SAMPLES).tolist()), mean_of(chance.random(SAMPLES).tolist()))
    begun_s = time.process_time()
    paired_bootstrap([pair], np.ones(SAMPLES), resamples=RESAMPLES)
    took_s = time.process_time() - begun_s
    return Figure(f"paired bootstrap, {SAMPLES:,} samples × {RESAMPLES:,}", took_s, "s", goal=2.0)


def report_figures(folder: Path) -> list[Figure]:
    """`wardround report` over the run in `folder`, made if it is not there."""
    if not (folder / JOURNAL_FILE).exists():
        invented_run(folder)
    begun_s = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "wardround", "report", str(folder)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - begun_s
    if process.returncode:
        raise SystemExit("the report failed")
    peak_mb = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    return [
        Figure("report of 125,000 samples, of a core's time", usage.ru_utime + usage.ru_stime, "s", goal=10.0),
        Figure("report of 125,000 samples, wall", wall_s, "s"),
        Figure("report of 125,000 samples, peak memory", peak_mb, "MB"),
    ]


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the invented run is, or is made; a temporary one by default")
    parser.add_argument("--peers", action="store_true", help=f"also rouge-score, installed into {PEERS.name}/")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    figures = [rouge_figure(arguments.peers), codes_figure(), bootstrap_figure()]
    with tempfile.TemporaryDirectory() as temporary:
        figures += report_figures(arguments.folder or Path(temporary) / "run")
    return report(figures, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
