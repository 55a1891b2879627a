"""What ICD-10-CM codes are called: the texts through which a diagnosis is looked up."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Final

from wardround.task import Document

ABBREVIATIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ACS": "acute coronary syndrome",
        "AF": "atrial fibrillation",
        "AFIB": "atrial fibrillation",
        "AKI": "acute kidney injury",
        "ARF": "acute renal failure",
        "BPH": "benign prostatic hyperplasia",
        "CAD": "coronary artery disease",
        "CHF": "congestive heart failure",
        "CKD": "chronic kidney disease",
        "COPD": "chronic obstructive pulmonary disease",
        "CVA": "cerebral infarction",
        "DKA": "diabetes mellitus with ketoacidosis",
        "DM": "diabetes mellitus",
        "DM1": "type 1 diabetes mellitus",
        "DM2": "type 2 diabetes mellitus",
        "DVT": "deep vein thrombosis",
        "ESRD": "end stage renal disease",
        "GERD": "gastro-esophageal reflux disease",
        "GIB": "gastrointestinal hemorrhage",
        "HFPEF": "diastolic heart failure",
        "HFREF": "systolic heart failure",
        "HLD": "hyperlipidemia",
        "HTN": "hypertension",
        "IDA": "iron deficiency anemia",
        "MI": "myocardial infarction",
        "NSTEMI": "non-ST elevation myocardial infarction",
        "OA": "osteoarthritis",
        "OSA": "obstructive sleep apnea",
        "PE": "pulmonary embolism",
        "PNA": "pneumonia",
        "PUD": "peptic ulcer disease",
        "PVD": "peripheral vascular disease",
        "RA": "rheumatoid arthritis",
        "SBO": "small bowel obstruction",
        "SBP": "spontaneous bacterial peritonitis",
        "SLE": "systemic lupus erythematosus",
        "STEMI": "ST elevation myocardial infarction",
        "T1DM": "type 1 diabetes mellitus",
        "T2DM": "type 2 diabetes mellitus",
        "TIA": "transient cerebral ischemic attack",
        "UTI": "urinary tract infection",
    }
)
"""What letters shorten, by its usual meaning in a list of diagnoses; titles of codes have none of it."""

_WORD = re.compile(r"[^\W_]+")
# What a title says of what is not known, not there, or usual: a letter leaves it unsaid.
_UNSAID = re.compile(
    r"\([^)]*\)|\bwithout [^,;]*|, initial encounter.*|, not elsewhere classified|, [^,]*\bnot specified"
    r"|,? ?\b(?:part )?unspecified\b(?: (?:organism|type|site|side|cause|stage|eye|ear|trimester|severity))?",
    re.I,
)


def spelled_out(diagnosis: str) -> str:
    """The diagnosis with each abbreviation that the list has followed by what it stands for: "HTN hypertension"."""

    def with_meaning(match: re.Match[str]) -> str:
        word = match.group()
        # "ra" and "pe" may be pieces of something else; who abbreviates writes capitals, in part at least.
        meaning = None if word.islower() else ABBREVIATIONS.get(word.upper())
        return f"{word} {meaning}" if meaning else word

    return _WORD.sub(with_meaning, diagnosis)


@cache
def code_titles() -> tuple[Document, ...]:
    """All codes that can be billed, a text for each of their names, under ids without dots ("E119").

    The heading is what a prompt shows, "E11.9: Type 2 diabetes mellitus without complications". The texts are the
    title, the title without what letters leave unsaid ("Type 2 diabetes mellitus"), and what the tabular list says is
    included: each apart, since words count for less in a longer text, and "pneumonia" must find J18.9. Categories and
    other codes that have others below them are no diagnoses of a stay. Takes seconds once, for the table is read and
    every name looked up.
    """
    with warnings.catch_warnings():
        # It reads its data by functions that importlib.resources deprecates in Python 3.11 and 3.12.
        warnings.simplefilter("ignore", DeprecationWarning)
        import simple_icd_10_cm as tabular_list
    found = []
    for code in tabular_list.get_all_codes(with_dots=False):
        if "-" in code or code.isdecimal() or not tabular_list.is_leaf(code):
            continue
        title = tabular_list.get_description(code)
        bare = " ".join(_UNSAID.sub(" ", title).split())
        names = [title, bare, *tabular_list.get_inclusion_term(code), *tabular_list.get_includes(code)]
        dotted = f"{code[:3]}.{code[3:]}" if len(code) > 3 else code
        found += [Document(code, name, f"{dotted}: {title}") for name in dict.fromkeys(names) if name]
    return tuple(found)
