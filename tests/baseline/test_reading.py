from __future__ import annotations

import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wardround.baseline.reading import Reading, read_prompt

# A busy machine is no fault of the code.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
ROLES = st.sampled_from(["system", "user", "assistant", "tool"])
# Words that make up prompts, so that hypothesis finds options, labels and headings and not only noise.
PARTS = st.sampled_from(
    ["A: ", "B) ", "(C) ", "D. ", "\n", "\t", " ", "YES", "NO", "MAYBE", ", ", " or ", "CASE:", "Note:\n", ".", "x"]
)
CONTENT = st.lists(PARTS | st.text(st.characters(), max_size=4), max_size=15).map("".join)


def read(case: str, system: str = "") -> Reading:
    """How a prompt of an instruction and one case is read."""
    return read_prompt([("system", system), ("user", case)])


@pytest.mark.parametrize(
    "case",
    [
        pytest.param("Which one?\nA: Aspirin\nB: Heparin", id="colon"),
        pytest.param("Which one?\nA. Aspirin\nB. Heparin", id="full stop"),
        pytest.param("Which one?\nA) Aspirin\nB) Heparin", id="bracket"),
        pytest.param("Which one?\n(A) Aspirin\n(B) Heparin", id="brackets"),
        pytest.param("Which one?\n  A:\tAspirin  \n\tB: Heparin\t", id="blanks around"),
        pytest.param("Which one?\n\nA: Aspirin\n\nB: Heparin\n", id="blank lines between"),
        pytest.param("A: Aspirin\nB: Heparin\nWhich one?", id="before the question"),
    ],
)
def test_lines_lettered_from_a_are_options(case: str) -> None:
    reading = read(case)
    assert reading.options == (("A", "Aspirin"), ("B", "Heparin"))
    assert reading.text == "Which one?"


@pytest.mark.parametrize(
    "case",
    [
        pytest.param("A: Aspirin", id="a lone one"),
        pytest.param("B: Aspirin\nC: Heparin", id="not from A"),
        pytest.param("A: Aspirin\nC: Heparin", id="with a gap"),
        pytest.param("a: Aspirin\nb: Heparin", id="small letters"),
        pytest.param("A Aspirin\nB Heparin", id="no mark after the letter"),
        pytest.param("A:Aspirin\nB:Heparin", id="no blank after the mark"),
        pytest.param("Given A: Aspirin and\nB: Heparin", id="inside a line"),
        pytest.param("A:\nB:", id="nothing after the mark"),
    ],
)
def test_other_lines_are_no_options(case: str) -> None:
    assert read(case).options == ()


def test_the_last_run_of_lettered_lines_counts() -> None:
    case = "Plan:\nA. Admit\nB. Bloods\n\nWhich drug?\nA: Aspirin\nB: Heparin\nC: None"
    assert read(case).options == (("A", "Aspirin"), ("B", "Heparin"), ("C", "None"))


def test_a_lone_a_after_the_options_does_not_undo_them() -> None:
    assert read("A: Aspirin\nB: Heparin\nA: is the first").options == (("A", "Aspirin"), ("B", "Heparin"))


def test_options_of_the_instructions_and_the_shots_are_not_the_case_s() -> None:
    messages = [("system", "A: x\nB: y"), ("user", "A: x\nB: y"), ("assistant", "A"), ("user", "Which one?")]
    assert read_prompt(messages).options == ()


@pytest.mark.parametrize(
    ("instruction", "labels"),
    [
        ("Answer with ENTAILMENT, NEUTRAL or CONTRADICTION.", ("ENTAILMENT", "NEUTRAL", "CONTRADICTION")),
        ("Answer with ENTAILMENT, NEUTRAL, or CONTRADICTION.", ("ENTAILMENT", "NEUTRAL", "CONTRADICTION")),
        ("Say YES or NOT.", ("YES", "NOT")),
        ("YES ,NOT\nor MAYBE", ("YES", "NOT", "MAYBE")),
        ("First YES or NOT, then LOW or HIGH.", ("YES", "NOT")),
        ("Say YES or YES.", ("YES",)),
    ],
)
def test_an_enumeration_of_upper_case_words_is_the_labels(instruction: str, labels: tuple[str, ...]) -> None:
    assert read("A case.", instruction).labels == labels


@pytest.mark.parametrize(
    "instruction",
    ["", "Answer yes or no.", "Say YES and NOT.", "ECG, MRI, CT", "Say A or B.", "Say NO or GO.", "YES orNOT"],
)
def test_other_words_are_no_labels(instruction: str) -> None:
    assert read("A case.", instruction).labels == ()


def test_labels_may_stand_in_the_case_itself() -> None:
    assert read("Is it benign? Say YES or NOT.").labels == ("YES", "NOT")


def test_the_instructions_labels_go_before_the_case_s() -> None:
    assert read("Say LOW or HIGH.", "Say YES or NOT.").labels == ("YES", "NOT")


def test_labels_in_a_worked_example_are_not_read() -> None:
    messages = [("user", "Say YES or NOT."), ("assistant", "LOW or HIGH"), ("user", "A case.")]
    assert read_prompt(messages).labels == ()


def test_what_may_be_answered_are_the_letters_of_the_options() -> None:
    assert read("A: Aspirin\nB: Heparin", "Say YES or NOT.").choices == ("A", "B")


def test_without_options_what_may_be_answered_are_the_labels() -> None:
    assert read("A case.", "Say YES or NOT.").choices == ("YES", "NOT")


def test_without_options_and_labels_nothing_is_given_to_choose() -> None:
    assert read("A case.").choices == ()


def test_earlier_assistant_turns_are_the_shots_in_their_order() -> None:
    messages = [("system", "s"), ("user", "1"), ("assistant", "one"), ("user", "2"), ("assistant", "two")]
    reading = read_prompt([*messages, ("user", "3")])
    assert (reading.text, reading.shots) == ("3", ("one", "two"))


def test_a_prefill_at_the_end_is_no_shot() -> None:
    reading = read_prompt([("user", "1"), ("assistant", "one"), ("user", "2"), ("assistant", "The answer is")])
    assert (reading.text, reading.shots) == ("2", ("one",))


def test_a_greeting_before_the_first_question_is_a_shot_as_any_assistant_turn() -> None:
    assert read_prompt([("assistant", "Hello."), ("user", "1")]).shots == ("Hello.",)


def test_a_prompt_without_a_user_has_no_case_and_no_shots() -> None:
    assert read_prompt([("system", "Say hello."), ("assistant", "Hello.")]) == Reading("", (), (), (), begun="Hello.")


def test_no_messages_are_an_empty_reading() -> None:
    assert read_prompt([]) == Reading("", (), (), ())


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("PREMISE:\nFever since May.\n\nHYPOTHESIS:\nShe is ill.", "Fever since May.\n\n\nShe is ill."),
        ("QUESTION: Is it benign?", "Is it benign?"),
        ("Patient's question:\nIs it benign?", "Is it benign?"),
        ("Note: he smokes.", "Note: he smokes."),
        ("He said:\nNo.", "No."),
        ("his words:\nNo.", "his words:\nNo."),
    ],
)
def test_headings_of_fields_are_left_out_of_the_text(case: str, text: str) -> None:
    assert read(case).text == text


@pytest.mark.parametrize(
    ("case", "sentences"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("One\nTwo\n\n  Three  ", ["One", "Two", "Three"]),
        ("A dose of 2.5 mg.", ["A dose of 2.5 mg."]),
        ("", []),
        (" \n ", []),
    ],
)
def test_sentences_end_with_a_mark_or_a_line(case: str, sentences: list[str]) -> None:
    assert read(case).sentences == sentences


@UNHURRIED
@given(st.lists(st.tuples(ROLES, CONTENT), max_size=6))
def test_any_prompt_is_read_into_parts_that_stand_in_it(messages: list[tuple[str, str]]) -> None:
    reading = read_prompt(messages)
    everything = "\n".join(content for _, content in messages)
    options = [text for _, text in reading.options]
    assert all(part and part in everything for part in [*options, *reading.labels])
    assert all(shot in everything for shot in reading.shots)
    assert [letter for letter, _ in reading.options] == list(string.ascii_uppercase[: len(options)])
    assert len(options) != 1
