"""MeDiSumCode's two steps: the first question, how its answer is read, and how candidates are shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.tasks.test_medisumcode import STAY
from wardround.task import Document, load_task

TASK = load_task("medisumcode")
STEPS = TASK.two_step
assert STEPS is not None


def test_the_first_question_shows_the_letter_and_no_code() -> None:
    assert STEPS is not None
    system, letter, listed, case = STEPS.prompt(STAY, ()).messages
    assert (system.role, letter.role, listed.role, case.role) == ("system", "user", "assistant", "user")
    assert case.content == f"LETTER:\n{STAY.documents[0].text.strip()}"
    assert "E11" not in system.content + listed.content


def test_all_profiles_have_the_same_steps() -> None:
    assert {TASK.rules(profile).two_step for profile in ("strict", "clue-tgi-2024", "clue-vllm-2025")} == {STEPS}


def test_an_answer_is_read_line_by_line_without_bullets_headings_and_repetitions() -> None:
    assert STEPS is not None
    answer = "Primary diagnosis:\n1. Sepsis\n2) **Pneumonia**\n- HTN; sepsis\n\n• Type 2 diabetes\n(3) AKI."
    expected = ["Sepsis", "Pneumonia", "HTN hypertension", "Type 2 diabetes", "AKI acute kidney injury"]
    assert STEPS.named(answer) == expected
    assert STEPS.named("") == []
    assert STEPS.named("- \n\n") == []


@given(st.text())
def test_any_answer_can_be_read_and_no_diagnosis_is_empty_or_of_two_lines(answer: str) -> None:
    assert STEPS is not None
    named = STEPS.named(answer)
    assert all(name.strip() and "\n" not in name for name in named)


def test_candidates_stand_under_the_diagnosis_that_they_were_found_for() -> None:
    assert STEPS is not None
    codes = [Document("I10", "x", "I10: Essential hypertension"), Document("I150", "x", "I15.0: Renovascular")]
    *_, block = STEPS.show([("HTN", codes)]).split("\n\n")
    assert block == "HTN\n- I10: Essential hypertension\n- I15.0: Renovascular"


def test_the_stays_codes_are_what_the_candidates_are_measured_by() -> None:
    assert STEPS is not None
    assert list(STEPS.gold(STAY)) == ["E119", "I10"]
