"""Answers to scores: pure functions, no file and no network."""

from wardround.scoring.choice import Choice, parse_choice
from wardround.scoring.clue import STOPS_2024, cut_self_prompting
from wardround.scoring.rouge import Rouge, ascii_tokens, rouge, unicode_tokens
from wardround.scoring.statistic import Sums, macro_f1, mean_of, ratio

__all__ = [
    "STOPS_2024",
    "Choice",
    "Rouge",
    "Sums",
    "ascii_tokens",
    "cut_self_prompting",
    "macro_f1",
    "mean_of",
    "parse_choice",
    "ratio",
    "rouge",
    "unicode_tokens",
]
