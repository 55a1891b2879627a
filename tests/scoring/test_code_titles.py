"""The codes' titles, through which diagnoses are looked up, and abbreviations spelled out."""

from __future__ import annotations

import pytest

from wardround.retrieval import Lexical
from wardround.scoring.code_titles import ABBREVIATIONS, code_titles, spelled_out


@pytest.fixture(scope="module")
def searched() -> Lexical:
    return Lexical([text.text for text in code_titles()])


def found(searched: Lexical, diagnosis: str) -> list[str]:
    return list(dict.fromkeys(code_titles()[place].id for place, _ in searched.search(diagnosis, 64)))[:8]


def test_every_code_that_can_be_billed_has_its_title_and_none_other_is_there() -> None:
    headings = {text.id: text.heading for text in code_titles()}
    assert headings["E119"] == "E11.9: Type 2 diabetes mellitus without complications"
    assert headings["I10"] == "I10: Essential (primary) hypertension"
    assert {"E11", "I10-I1A", "9"}.isdisjoint(headings)
    assert len(headings) > 70_000


def test_a_code_stands_under_each_of_its_names() -> None:
    names = [text.text for text in code_titles() if text.id == "I10"]
    assert names[:3] == ["Essential (primary) hypertension", "Essential hypertension", "high blood pressure"]


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ("HTN", "HTN hypertension"),
        ("T2DM, uncontrolled", "T2DM type 2 diabetes mellitus, uncontrolled"),
        ("acute PE of right lung", "acute PE pulmonary embolism of right lung"),
        ("Afib", "Afib atrial fibrillation"),
        ("pe and ra in lower case stay", "pe and ra in lower case stay"),
        ("hypertension", "hypertension"),
        ("", ""),
    ],
)
def test_an_abbreviation_is_followed_by_what_it_stands_for(written: str, spelled: str) -> None:
    assert spelled_out(written) == spelled


@pytest.mark.parametrize(
    ("diagnosis", "code"),
    [
        ("pneumonia", "J189"),
        ("hypertension", "I10"),
        ("Type 2 diabetes mellitus", "E119"),
        ("Urinary tract infection", "N390"),
        ("HTN", "I10"),
        ("AKI", "N179"),
        ("GERD", "K219"),
        ("fracture of one rib, left side", "S2232XA"),
    ],
)
def test_a_bare_diagnosis_finds_the_code_that_it_means(searched: Lexical, diagnosis: str, code: str) -> None:
    assert code in found(searched, spelled_out(diagnosis))


def test_what_abbreviations_stand_for_can_be_found_and_the_commonest_themselves_cannot(searched: Lexical) -> None:
    assert all(found(searched, meaning) for meaning in ABBREVIATIONS.values())
    assert not any(found(searched, short) for short in ("HTN", "T2DM", "AKI"))
