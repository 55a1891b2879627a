"""Pairs, intervals and tests: pure functions over arrays. Shares are of 1, p-values two-sided, intervals of 95 %."""

from wardround.statistics.families import holm
from wardround.statistics.intervals import bootstrap, percentiles, value_of, wilson
from wardround.statistics.pairs import (
    FEW_DISCORDANT,
    Difference,
    Tally,
    contrast,
    difference,
    difference_in_differences,
    few_discordant,
    paired_bootstrap,
    tally,
)
from wardround.statistics.permutations import SWAPS, mcnemar, swap_tests
from wardround.statistics.power import design_effect, detectable_mean, detectable_share
from wardround.statistics.ranks import Ranks, rank_stability
from wardround.statistics.resampling import RESAMPLES, Resampled, resample
from wardround.statistics.verdicts import FEWEST_CASES, Finding, Verdict, non_inferior, verdict

__all__ = [
    "FEWEST_CASES",
    "FEW_DISCORDANT",
    "RESAMPLES",
    "SWAPS",
    "Difference",
    "Finding",
    "Ranks",
    "Resampled",
    "Tally",
    "Verdict",
    "bootstrap",
    "contrast",
    "design_effect",
    "detectable_mean",
    "detectable_share",
    "difference",
    "difference_in_differences",
    "few_discordant",
    "holm",
    "mcnemar",
    "non_inferior",
    "paired_bootstrap",
    "percentiles",
    "rank_stability",
    "resample",
    "swap_tests",
    "tally",
    "value_of",
    "verdict",
    "wilson",
]
