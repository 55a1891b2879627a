"""Tells how long the statistics of a table of pairs take, on one core, and how much memory.

    python tests/benchmarks/bootstrap.py [SAMPLES] [--resamples RESAMPLES] [--models MODELS]

Each step runs in a process of its own, whose peak is that of the numbers above an empty one's. Values are invented.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time

STEPS = (
    "nothing",
    "one pair",
    "all pairs",
    "all pairs, clustered",
    "all pairs, no sums",
    "macro-F1",
    "swaps",
    "mcnemar",
)


def run(step: str, samples: int, resamples: int, models: int) -> None:
    """Carry out one step, and print its seconds of processor and the process's peak in MB."""
    import numpy as np

    from wardround.scoring import macro_f1, mean_of
    from wardround.statistics import mcnemar, paired_bootstrap, rank_stability, resample, swap_tests
    from wardround.task import Statistic

    chance = np.random.default_rng(1)
    scores = [chance.random(samples).tolist() for _ in range(models)]
    right = [(chance.random(samples) < 0.65).astype(np.float64).tolist() for _ in range(models)]
    labels = [chance.choice(["E", "N", "C"], samples).tolist() for _ in range(models + 1)]
    means: list[Statistic] = [mean_of(values) for values in scores]
    f1s: list[Statistic] = [macro_f1(said, labels[0], ["E", "N", "C"]) for said in labels[1:]]
    weights, patients = np.ones(samples), [place // 20 for place in range(samples)]
    others = [(means[0], other) for other in means[1:]]
    begun_s = time.process_time()
    if step == "one pair":
        paired_bootstrap(others[:1], weights, resamples=resamples)
    elif step == "all pairs":
        paired_bootstrap(others, weights, resamples=resamples)
    elif step == "all pairs, clustered":
        rank_stability(resample(means, weights, patients, resamples=resamples), range(models))
    elif step == "all pairs, no sums":
        opaque: list[Statistic] = [lambda counts, mean=mean: mean(counts) for mean in means]  # type: ignore[misc]
        paired_bootstrap([(opaque[0], other) for other in opaque[1:]], weights, patients, resamples=resamples)
    elif step == "macro-F1":
        paired_bootstrap([(f1s[0], other) for other in f1s[1:]], weights, resamples=resamples)
    elif step == "swaps":
        swap_tests(others, weights, swaps=resamples)
    elif step == "mcnemar":
        for other in right[1:]:
            mcnemar(right[0], other)
            mcnemar(right[0], other, patients)
    seconds = time.process_time() - begun_s
    # In kB, but in bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


def main() -> int:
    """Run each step and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("samples", nargs="?", type=int, default=10_000)
    parser.add_argument("--resamples", type=int, default=10_000, help="resamples, and swaps")
    parser.add_argument("--models", type=int, default=9, help="the first against each other")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        run(options.step, options.samples, options.resamples, options.models)
        return 0
    sizes = [str(options.samples), "--resamples", str(options.resamples), "--models", str(options.models)]
    one_core = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    print(f"{options.samples:,} samples, {options.resamples:,} resamples, {options.models} models")
    empty_mb = 0.0
    for step in STEPS:
        command = [sys.executable, __file__, *sizes, "--step", step]
        told = subprocess.run(command, check=True, env=one_core, stdout=subprocess.PIPE, text=True).stdout
        seconds, peak_mb = map(float, told.split())
        empty_mb = empty_mb or peak_mb
        print(f"  {step:<22} {seconds:6.2f} s   {peak_mb - empty_mb:6.0f} MB above {empty_mb:.0f} MB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
