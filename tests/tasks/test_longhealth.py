"""LongHealth's three tasks: their samples, prompts, packing, file, and scores under every profile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wardround.baseline.reading import read_prompt
from wardround.errors import DataError
from wardround.running.budget import fitted as fitted_row
from wardround.scoring.options import REFUSALS
from wardround.task import Document, Fitted, Prompt, Sample, load_task, load_tasks

TASKS = {task.name.removeprefix("longhealth_"): task for task in load_tasks("longhealth")}
T1, T2, T3 = TASKS["t1"], TASKS["t2"], TASKS["t3"]
EVERY = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
PROFILES = ("strict", "clue-tgi-2024", "clue-vllm-2025")
CLUE = PROFILES[1:]
SAMPLES = {name: task.load(task.samples) for name, task in TASKS.items()}
ABSTENTION = "Question cannot be answered with provided documents"


def words(text: str) -> int:
    return len(text.split())


def question(correct: str = "5 mg", *, options: str = "15 mg|5 mg|2.5 mg|50 mg|none", **fields: Any) -> dict[str, Any]:
    """A row of the release's list of questions; the options stand as "a|b|c|d|e"."""
    answers = {f"answer_{letter}": text for letter, text in zip("abcde", options.split("|"), strict=True)}
    location = {"text_0": {"start": [0.1], "end": [0.2]}}
    return {"No": 0, "question": "Which dose?", **answers, "correct": correct, "answer_location": location, **fields}


def patient(*questions: dict[str, Any], texts: int = 3) -> dict[str, Any]:
    letters = {f"text_{number}": f"Letter {number}. The dose was 5 mg." for number in range(texts)}
    row = {"name": "N", "birthday": "1950-01-01", "diagnosis": "D", "texts": letters, "questions": list(questions)}
    return row


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def two_patients(path: Path, *questions: dict[str, Any]) -> Path:
    return write(path / "d.json", {"p1": patient(*(questions or [question()])), "p2": patient(question(), texts=12)})


def sample(task: str = "t1", gold: str = "B", **texts: str) -> Sample:
    """A sample whose right option is `gold`; `texts` change its options."""
    options = {"A": "15 mg", "B": "5 mg", "C": "2.5 mg", "D": "50 mg", "E": "none"} | texts
    if task != "t1":
        options["F"] = ABSTENTION
    reference = "F" if task == "t3" else gold
    golds = dict.fromkeys(["exact", "first_substring", "last_substring"], reference)
    inputs = {"question": "Which dose?", "options": options, "gold": golds, "answer_location": {}, "packing": []}
    return Sample("s", inputs, reference, "p")


def score(task: str, answer: str, profile: str = "strict", gold: str = "B") -> dict[str, float | None]:
    return TASKS[task].rules(profile).score(answer, sample(task, gold))


def user_turn(prompt: Prompt) -> str:
    return prompt.messages[-1].content


def fit(one: Sample, room: int) -> Fitted:
    assert T1.oracle_fit is not None
    return T1.oracle_fit(one, [], room, words)


def total_words(prompt: Prompt) -> int:
    return sum(words(message.content) for message in prompt.messages)


def shown(prompt: Prompt) -> list[str]:
    """The documents' texts as they stand in the prompt, in order."""
    evidence = user_turn(prompt).split("DOCUMENTS:\n", 1)[1].split("\n\nQUESTION:\n")[0]
    pieces = evidence.removesuffix("-" * 20).split("\n\n" + "-" * 20 + "\n\n")
    return [piece.split("\n", 1)[1].strip() for piece in pieces if piece.startswith("DOCUMENT ")]


@EVERY
def test_the_task_says_what_it_is(task: Any) -> None:
    assert (task.level, task.sensitivity, task.licence, task.family) == (2, "open", "Apache-2.0", "longhealth")
    assert load_task(f"longhealth:{task.name}").name == task.name


@EVERY
def test_no_shots_and_fifty_tokens_under_every_profile(task: Any) -> None:
    for profile in PROFILES:
        assert (task.rules(profile).shots, task.rules(profile).max_tokens) == (0, 50)


@EVERY
def test_four_invented_patients_of_fourteen_questions_asked_five_times(task: Any) -> None:
    samples = task.load(task.samples)
    assert len(samples) == 4 * 14 * 5
    assert len({one.id for one in samples}) == len(samples)
    assert Counter(one.cluster for one in samples) == {f"patient_0{number}": 70 for number in range(1, 5)}


@EVERY
def test_samples_are_plain_json(task: Any) -> None:
    for one in task.load(task.samples):
        assert json.loads(json.dumps([one.inputs, one.reference])) == [one.inputs, one.reference]


def test_ids_are_patient_question_and_repeat_and_a_head_holds_different_questions() -> None:
    ids = [one.id for one in SAMPLES["t1"]]
    assert ids[:2] == ["patient_01/0/1", "patient_01/1/1"]
    assert {"patient_01/0/5", "patient_04/13/5"} < set(ids)
    assert len({one.rpartition("/")[0] for one in ids[:56]}) == 56


def test_all_letters_are_right_somewhere_and_f_always_in_t3() -> None:
    for name in ("t1", "t2"):
        assert {one.reference for one in SAMPLES[name]} == set("ABCDE")
    assert {one.reference for one in SAMPLES["t3"]} == {"F"}


def test_t1_shows_all_documents_of_the_patient_and_no_others() -> None:
    for one in SAMPLES["t1"]:
        assert {document.id.split("/")[0] for document in one.documents} == {one.cluster}
        assert len(one.documents) == len({document.id for document in one.documents}) >= 6


def test_t2_shows_the_documents_with_the_answer_and_ten_of_other_patients() -> None:
    for one in SAMPLES["t2"]:
        own = {document.id for document in one.documents if document.id.startswith(f"{one.cluster}/")}
        assert own == set(one.inputs["answer_location"])
        assert len(one.documents) == len(own) + 10


def test_t3_shows_the_other_patients_documents_of_t2_alone() -> None:
    for present, absent in zip(SAMPLES["t2"], SAMPLES["t3"], strict=True):
        assert present.id == absent.id
        with_answer = set(present.inputs["answer_location"])
        assert {one.id for one in absent.documents} == {one.id for one in present.documents} - with_answer
        assert absent.inputs["answer_location"] == {}


def test_fewer_documents_of_others_than_ten_are_all_shown(tmp_path: Path) -> None:
    path = write(tmp_path / "d.json", {"p1": patient(question()), "p2": patient(question(), texts=4)})
    assert len(T3.load(path)[0].documents) == 4
    assert len(T2.load(path)[0].documents) == 5


def test_option_f_is_offered_in_t2_and_t3_only() -> None:
    assert list(SAMPLES["t1"][0].inputs["options"]) == list("ABCDE")
    for name in ("t2", "t3"):
        assert SAMPLES[name][0].inputs["options"]["F"] == ABSTENTION


@EVERY
def test_repeats_differ_in_the_order_of_documents(task: Any) -> None:
    orders: dict[str, set[tuple[str, ...]]] = {}
    for one in task.load(task.samples):
        orders.setdefault(one.id.rpartition("/")[0], set()).add(tuple(document.id for document in one.documents))
    assert all(len(different) >= 4 for different in orders.values())


def test_the_answers_place_among_the_documents_is_spread() -> None:
    places = Counter(
        place
        for one in SAMPLES["t1"]
        for place, document in enumerate(one.documents)
        if document.id in one.inputs["answer_location"]
    )
    assert max(places.values()) < 2.5 * min(places[place] for place in range(6))


PRINT_DIGEST = """
import hashlib
from wardround.task import load_tasks
digest = hashlib.sha256()
for task in load_tasks("longhealth"):
    for sample in task.load(task.samples):
        digest.update(repr((sample.id, task.prompt(sample, []).messages, sample.inputs)).encode())
print(digest.hexdigest())
"""


def test_prompts_are_the_same_in_every_process() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", PRINT_DIGEST],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "4242")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 64


@EVERY
def test_a_prompt_is_instruction_and_case(task: Any) -> None:
    one = task.load(task.samples)[0]
    prompt = task.prompt(one, [])
    assert [message.role for message in prompt.messages] == ["system", "user"]
    assert prompt.prefill == ""
    content = user_turn(prompt)
    headings = ["DOCUMENTS:\n", "QUESTION:\n", "OPTIONS:\n", "ANSWER FORMAT:\nBegin with 'The correct answer is'"]
    assert [content.find(heading) for heading in headings] == sorted(content.find(heading) for heading in headings)
    assert -1 not in [content.find(heading) for heading in headings]


@EVERY
def test_documents_stand_in_the_samples_order_under_neutral_headings(task: Any) -> None:
    for one in task.load(task.samples)[:20]:
        prompt = task.prompt(one, [])
        assert shown(prompt) == [document.text for document in one.documents]
        for number, document in enumerate(one.documents, start=1):
            assert f"DOCUMENT {number}:\n{document.text}" in user_turn(prompt)
            assert document.id not in user_turn(prompt)
        assert "patient_0" not in user_turn(prompt)
        assert "text_" not in user_turn(prompt)


@EVERY
def test_a_baseline_finds_all_options_in_the_prompt(task: Any) -> None:
    for one in task.load(task.samples)[:56]:
        reading = read_prompt([(message.role, message.content) for message in task.prompt(one, []).messages])
        assert dict(reading.options) == one.inputs["options"]


def test_where_the_answer_is_does_not_show_in_the_prompt() -> None:
    one = SAMPLES["t2"][0]
    elsewhere = replace(one, inputs={**one.inputs, "answer_location": {}, "gold": {}, "packing": []}, reference="C")
    assert T2.prompt(one, []) == T2.prompt(elsewhere, [])


@pytest.mark.parametrize(
    "text", ["BP {high} {0}", "50 % %s {question}", "a\u00a0b", "Ménière β 糖", "<|im_end|>", "\\n"]
)
def test_texts_stand_in_the_prompt_as_they_are(text: str) -> None:
    asked = replace(sample(A=text), documents=(Document("p/text_0", text),))
    asked = replace(asked, inputs={**asked.inputs, "question": text})
    content = user_turn(T1.prompt(asked, []))
    assert content.count(text) == 3
    assert user_turn(fit(asked, 10_000).prompt) == content


def test_a_text_with_braces_is_loaded_and_asked(tmp_path: Path) -> None:
    row = patient(question("{5} mg", options="{0} mg|{5} mg|%s|{x}|{{}}"), texts=1)
    row["texts"]["text_0"] = "Dose: {dose} {0} {{5}} %d"
    path = write(tmp_path / "d.json", {"p1": row})
    content = user_turn(T1.prompt(T1.load(path)[0], []))
    assert "Dose: {dose} {0} {{5}} %d" in content
    assert "A: {0} mg\nB: {5} mg\nC: %s\nD: {x}\nE: {{}}" in content


def test_without_documents_the_prompt_says_so() -> None:
    assert "DOCUMENTS:\n(none)\n" in user_turn(T1.prompt(sample(), []))


def test_shots_are_worked_turns_where_a_study_wants_them() -> None:
    shot, asked = SAMPLES["t1"][:2]
    messages = T1.prompt(asked, [shot]).messages
    assert [message.role for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[2].content == "The correct answer is B: 8 cm"


def test_other_documents_than_the_samples_own_can_be_shown() -> None:
    passage = Document("patient_01/text_0#3", "The lower edge lies at 8 cm.")
    one = replace(SAMPLES["t1"][0], documents=(passage,))
    assert shown(T1.prompt(one, [])) == [passage.text]
    assert shown(fit(one, 1_000).prompt) == [passage.text]


def test_a_prompt_that_fits_is_not_cut() -> None:
    one = SAMPLES["t1"][0]
    whole = T1.prompt(one, [])
    assert fit(one, total_words(whole) + 10) == Fitted(whole, ())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(list(TASKS)), st.integers(0, 279), st.integers(0, 6_500))
def test_a_fitted_prompt_has_at_most_the_room(name: str, place: int, room: int) -> None:
    one = SAMPLES[name][place]
    fitted = fit(one, room)
    bare = total_words(T1.prompt(replace(one, documents=()), []))
    assert total_words(fitted.prompt) <= max(room, bare)
    check_packing(one, fitted)


def check_packing(one: Sample, fitted: Fitted) -> None:
    """Order kept, answer first, at most one shortened, and every change in a line of its own."""
    by_id = {document.id: document.text for document in one.documents}
    lines = {line.split(" (")[0].split(":")[0]: line for line in fitted.cut}
    assert len(lines) == len(fitted.cut)
    kept = [name for name in by_id if ": left out, " not in lines.get(name, "")]
    order = one.inputs["packing"]
    assert set(kept) == set(order[: len(kept)])
    texts = shown(fitted.prompt)
    assert [by_id[name][: len(text)] for name, text in zip(kept, texts, strict=True)] == texts
    shortened = [name for name, text in zip(kept, texts, strict=True) if by_id[name] != text]
    assert shortened in ([], order[len(kept) - 1 : len(kept)])
    assert shortened == [name for name in kept if name in lines]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["t1", "t2"]), st.integers(0, 279), st.integers(800, 12_000), st.integers(1, 7))
def test_tokens_that_do_not_add_up_are_counted_as_a_whole(name: str, place: int, room: int, width: int) -> None:
    def tokens(text: str) -> int:
        # As with real tokenizers, the whole may have more or fewer than its parts.
        return len(text) // width + text.count("\n") + (len(text) > 5_000) * 7

    one = SAMPLES[name][place]
    assert T1.oracle_fit is not None
    fitted = T1.oracle_fit(one, [], room, tokens)
    assert sum(tokens(message.content) for message in fitted.prompt.messages) <= room or not shown(fitted.prompt)


def test_documents_with_the_answer_are_packed_before_all_others() -> None:
    for one in SAMPLES["t2"][:56]:
        holding = list(one.inputs["answer_location"])
        room = total_words(T2.prompt(replace(one, documents=()), [])) + 20
        room += sum(words(document.text) + 6 for document in one.documents if document.id in holding)
        texts = shown(fit(one, room).prompt)
        assert all(document.text in texts for document in one.documents if document.id in holding)
        assert len(texts) <= len(holding) + 1


def test_t1_packs_the_other_letters_in_their_order() -> None:
    packing = SAMPLES["t1"][13].inputs["packing"]
    assert packing == [f"patient_01/text_{number}" for number in (3, 4, 6, 0, 1, 2, 5)]


def test_each_cut_line_names_the_document_its_tokens_and_whether_it_holds_the_answer() -> None:
    documents = tuple(Document(f"p/text_{number}", "One two. Three four.") for number in range(3))
    asked = replace(sample(), documents=documents)
    location = {"p/text_1": {"start": [0.5], "end": [0.9]}}
    packing = ["p/text_1", "p/text_0", "p/text_2"]
    asked = replace(asked, inputs={**asked.inputs, "answer_location": location, "packing": packing})
    bare = total_words(T1.prompt(replace(asked, documents=()), []))
    assert fit(asked, bare + 3 + 4 + 3 + 3).cut == (
        "p/text_0: shortened from 4 to 2 tokens",
        "p/text_2: left out, 4 tokens",
    )
    assert fit(asked, bare + 3 + 1).cut == (
        "p/text_0: left out, 4 tokens",
        "p/text_1 (holds the answer): shortened from 4 to 1 tokens",
        "p/text_2: left out, 4 tokens",
    )


@pytest.mark.parametrize(
    ("text", "room", "left"),
    [
        ("One two three. Four five six. Seven.", 6, "One two three. Four five six."),
        ("One two three.\n\nFour five six.", 5, "One two three."),
        ("Seen by Dr. Vale today. He is well.", 4, "Seen by Dr. Vale"),
        ("Seen by Dr. Vale today. He is well.", 6, "Seen by Dr. Vale today."),
        ("one two three four five", 3, "one two three"),
        ("One two.\nThree four five six", 5, "One two."),
    ],
)
def test_a_document_is_shortened_at_a_sentences_or_lines_end_where_one_fits(text: str, room: int, left: str) -> None:
    asked = replace(sample(), documents=(Document("p/text_0", text),))
    bare = total_words(T1.prompt(replace(asked, documents=()), []))
    assert shown(fit(asked, bare + 3 + room).prompt) == [left]


def test_where_not_even_the_question_fits_all_documents_are_left_out() -> None:
    one = SAMPLES["t1"][0]
    fitted = fit(one, 10)
    assert shown(fitted.prompt) == []
    assert len(fitted.cut) == len(one.documents)


class CountsHalfWords:
    """Twice as many tokens as words, so that the samples exceed the originals' limit."""

    name = "half words"

    def count(self, text: str) -> int:
        return 2 * words(text)


@pytest.mark.parametrize(
    ("task", "profile", "is_cut"),
    [
        ("t2", "strict", False),
        ("t2", "clue-tgi-2024", True),
        ("t3", "clue-tgi-2024", True),
        ("t2", "clue-vllm-2025", False),
        ("t3", "clue-vllm-2025", False),
    ],
)
def test_the_limit_of_8140_tokens_binds_as_in_the_originals(task: str, profile: str, is_cut: bool) -> None:
    row = fitted_row(TASKS[task].rules(profile), SAMPLES[task][0], [], 32_000, CountsHalfWords())
    used = sum(CountsHalfWords().count(message.content) for message in row.prompt.messages)
    assert (used <= 8_140) == is_cut
    assert bool(row.cut) == is_cut


def test_t1_has_the_limit_in_both_of_the_originals_and_not_in_strict() -> None:
    limits = [T1.rules(profile).prompt_limit for profile in PROFILES]
    assert limits == [None, 8140, 8140]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("profile", PROFILES)
def test_room_is_kept_for_answer_and_template_under_every_profile(task: str, profile: str) -> None:
    context = 4_000
    row = fitted_row(TASKS[task].rules(profile), SAMPLES[task][0], [], context, CountsHalfWords())
    used = sum(CountsHalfWords().count(message.content) for message in row.prompt.messages)
    assert used + 50 + 32 <= context
    assert any(line.endswith("tokens") for line in row.cut)


@pytest.mark.parametrize("profile", CLUE)
def test_the_originals_temperature_is_set(profile: str) -> None:
    assert T1.rules(profile).temperature == {"clue-tgi-2024": 0.0, "clue-vllm-2025": 1.0}[profile]
    assert T1.rules("strict").temperature is None


@EVERY
def test_the_originals_neither_count_twice_nor_shuffle_nor_prefill_here(task: Any) -> None:
    for profile in CLUE:
        rules = task.rules(profile)
        assert not rules.first_counted_twice
        assert rules.shuffled_by is None
        assert rules.asked_like(task.rules("strict")) in (
            ["stop", "fit", "prompt_limit", "temperature"],
            ["fit", "prompt_limit", "temperature"],
            ["fit", "temperature"],
        )


def test_the_gold_letter_is_exact_under_strict_and_found_by_substring_in_the_originals(tmp_path: Path) -> None:
    path = two_patients(tmp_path, question("5 mg", options="15 mg|5 mg|2.5 mg|50 mg|none"))
    one = T1.load(path)[0]
    assert one.reference == "B"
    right = {
        profile: [letter for letter in "ABCDE" if is_right(profile, f"The correct answer is {letter}: x", one)]
        for profile in CLUE
    }
    assert right == {"clue-tgi-2024": ["C"], "clue-vllm-2025": ["A"]}
    strict = [letter for letter in "ABCDE" if is_right("strict", f"The correct answer is {letter}", one)]
    assert strict == ["B"]


def is_right(profile: str, answer: str, one: Sample) -> bool:
    return T1.rules(profile).score(answer, one)["accuracy"] == 1


def test_an_unclear_substring_costs_the_originals_the_right_answer_on_invented_samples() -> None:
    differing = {one.id for one in SAMPLES["t1"] if len(set(one.inputs["gold"].values())) > 1}
    assert len(differing) >= 5 * 5
    assert all(one.inputs["gold"]["exact"] == one.reference for one in SAMPLES["t1"])


def test_gold_ignores_blanks_under_strict_and_not_in_the_originals(tmp_path: Path) -> None:
    path = two_patients(tmp_path, question("5\u00a0mg ", options="15 mg| 5  mg|2.5 mg|50 mg|none"))
    one = T1.load(path)[0]
    assert one.reference == "B"
    assert one.inputs["gold"] == {"exact": "B", "first_substring": None, "last_substring": None}
    assert not is_right("clue-tgi-2024", "The correct answer is B: 5 mg", one)


@pytest.mark.parametrize(
    "answer", ["B", "The correct answer is B.", "Answer: B: 5 mg", "**B**", "the correct answer is B: x"]
)
def test_the_originals_read_no_other_form_and_ours_do(answer: str) -> None:
    for profile in CLUE:
        assert score("t1", answer, profile) == {"accuracy": 0, "parsed": 0}
    assert score("t1", answer)["accuracy_lenient"] == 1


@pytest.mark.parametrize("profile", CLUE)
def test_the_originals_take_the_first_verdict(profile: str) -> None:
    answer = "The correct answer is A: 15 mg. No: The correct answer is B: 5 mg."
    assert score("t1", answer, profile) == {"accuracy": 0, "parsed": 1}
    assert score("t1", answer, profile, gold="A") == {"accuracy": 1, "parsed": 1}
    assert score("t1", answer)["accuracy_lenient"] == 1


@pytest.mark.parametrize("profile", CLUE)
@pytest.mark.parametrize(("answer", "accuracy"), [("F", 1), ("B", 0), ("f", 0)])
def test_the_originals_want_f_on_t3(profile: str, answer: str, accuracy: float) -> None:
    assert score("t3", f"The correct answer is {answer}: x", profile)["accuracy"] == accuracy


@pytest.mark.parametrize("profile", PROFILES)
def test_an_answer_that_is_always_f_has_all_of_t3_and_nothing_of_t2(profile: str) -> None:
    answer = f"The correct answer is F: {ABSTENTION}"
    for name, accuracy in (("t2", 0.0), ("t3", 1.0)):
        rules = TASKS[name].rules(profile)
        assert {rules.score(answer, one)["accuracy"] for one in SAMPLES[name]} == {accuracy}


@pytest.mark.parametrize("profile", ["strict", "clue-vllm-2025"])
def test_the_asked_form_of_the_right_option_is_right_on_every_sample(profile: str) -> None:
    for name, task in TASKS.items():
        for one in SAMPLES[name]:
            gold = one.reference if profile == "strict" else one.inputs["gold"]["first_substring"]
            answer = f"The correct answer is {gold}: {one.inputs['options'][gold]}"
            assert task.rules(profile).score(answer, one)["accuracy"] == 1


def test_every_options_text_alone_is_read_as_that_option() -> None:
    for one in SAMPLES["t2"][:56]:
        for letter, text in one.inputs["options"].items():
            asked = replace(one, reference=letter)
            assert T2.score(text, asked)["accuracy_lenient"] == 1, (one.id, text)


def test_a_letter_in_a_sentence_is_right_only_under_the_lenient_reading() -> None:
    assert score("t1", "I would choose B because the letter says so.") == {
        "accuracy": 0,
        "accuracy_lenient": 1,
        "refused": 0,
        "parsed": 0,
        "parsed_lenient": 1,
        "answered": 1,
        "abstained": 0,
    }


def test_abstaining_though_the_answer_is_there_is_counted_on_t2() -> None:
    assert score("t2", "F")["false_abstention"] == 1
    assert score("t2", f"I think: {ABSTENTION}.")["false_abstention"] == 1
    assert score("t2", "B")["false_abstention"] == 0
    assert score("t2", "I cannot answer this.")["false_abstention"] == 0


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("F", "accuracy_lenient"),
        (f"The correct answer is F: {ABSTENTION}", "accuracy_lenient"),
        (ABSTENTION, "accuracy_lenient"),
        ("B: 5 mg", "hallucinated"),
        ("It was 5 mg.", "hallucinated"),
        ("I'm sorry, there is not enough information.", "refused"),
        ("", "refused"),
        ("A or B", "unparsed"),
        ("The patient was discharged.", "unparsed"),
    ],
)
def test_an_answer_on_t3_has_one_outcome(answer: str, outcome: str) -> None:
    scores = score("t3", answer)
    outcomes = ("accuracy_lenient", "hallucinated", "refused", "unparsed")
    assert {name: scores[name] for name in outcomes} == {name: float(name == outcome) for name in outcomes}


PIECES = st.sampled_from([*"ABCDEFG", "The correct answer is", "option", "5 mg", ABSTENTION, "or", ":", *REFUSALS])


@settings(max_examples=1_000, deadline=None)
@given(st.text(max_size=60) | st.lists(PIECES, max_size=8).map(" ".join))
def test_the_outcomes_on_t3_make_one_for_every_answer(answer: str) -> None:
    scores = score("t3", answer)
    outcomes = [scores[name] for name in ("accuracy_lenient", "hallucinated", "refused", "unparsed")]
    assert sum(value or 0 for value in outcomes) == 1
    assert (scores["accuracy"] or 0) <= (scores["accuracy_lenient"] or 0)


@EVERY
def test_every_metric_has_its_score_and_its_parse_flag(task: Any) -> None:
    name = task.name.removeprefix("longhealth_")
    for profile in PROFILES:
        scores = score(name, "B", profile)
        for metric in task.rules(profile).metrics:
            assert metric.name in scores
            assert metric.parsed in scores
    assert task.metrics[0].name == "accuracy"


def test_metrics_are_those_of_the_task() -> None:
    names = {name: [metric.name for metric in task.metrics] for name, task in TASKS.items()}
    assert names == {
        "t1": ["accuracy", "accuracy_lenient", "refused"],
        "t2": ["accuracy", "accuracy_lenient", "false_abstention"],
        "t3": ["accuracy", "accuracy_lenient", "hallucinated", "refused", "unparsed"],
    }


def test_a_file_in_the_layout_of_the_release_is_read(tmp_path: Path) -> None:
    content = {
        "patient_01": {**patient(question("none"), texts=2), "canaray-string": "LongHealth:0"},
        "patient_02": patient(question("15 mg")),
        "canaray-string": "LongHealth:0",
    }
    samples = T1.load(write(tmp_path / "benchmark_v5.json", content))
    assert [one.id for one in samples[:2]] == ["patient_01/0/1", "patient_02/0/1"]
    assert [one.reference for one in samples[:2]] == ["E", "A"]
    assert samples[0].inputs["answer_location"] == {"patient_01/text_0": {"start": [0.1], "end": [0.2]}}


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = two_patients(tmp_path)
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert len(T1.load(path)) == 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "must hold a JSON object of patients"),
        ({}, "holds no patient with questions"),
        ({"canaray-string": "x"}, "holds no patient with questions"),
        ({"p": patient()}, "holds no patient with questions"),
        ({"p": patient(question(), texts=0)}, "p has no texts"),
        ({"p": {**patient(question()), "texts": ["a"]}}, "p has no texts"),
        ({"p": {**patient(question()), "texts": {"text_0": " "}}}, "p: text_0 must be text and not empty"),
        ({"p": {**patient(question()), "questions": None}}, "p has no list of 'questions'"),
        ({"p": patient(question(), "?")}, "p, question 1 is not a JSON object"),  # type: ignore[arg-type]
        ({"p": patient(question(question=""))}, "p, question 0: 'question' must be text and not empty"),
        ({"p": patient(question(answer_c=5))}, "p, question 0: 'answer_c' must be text and not empty"),
        ({"p": patient(question(""))}, "p, question 0: 'correct' must be text and not empty"),
        ({"p": patient(question(answer_location=None))}, "p, question 0: 'answer_location' must name texts"),
        ({"p": patient(question(answer_location={"text_9": {}}))}, "of the patient: text_0, text_1, text_2"),
    ],
)
def test_a_fault_in_the_file_is_one_line_with_its_place(tmp_path: Path, content: Any, message: str) -> None:
    path = write(tmp_path / "d.json", content)
    with pytest.raises(DataError) as raised:
        T1.load(path)
    assert str(raised.value).startswith(f"{path}")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_question_without_one_right_option_is_listed_and_has_no_accuracy_under_strict(tmp_path: Path) -> None:
    ambiguous = question("5 mg", options="5 mg|15 mg|5  mg|50 mg|none")
    path = write(tmp_path / "d.json", {"p1": patient(question(), ambiguous), "p2": patient(question("x"))})
    unclear = [sample for sample in T1.load(path) if "unclear" in sample.inputs]
    assert {sample.id.rpartition("/")[0] for sample in unclear} == {"p1/1", "p2/0"}
    for sample in unclear:
        scores = T1.rules("strict").score("The correct answer is A: 5 mg", sample)
        assert (scores["accuracy"], scores["accuracy_lenient"]) == (None, None)


def test_the_originals_find_even_such_a_question_a_right_option(tmp_path: Path) -> None:
    path = write(tmp_path / "d.json", {"p1": patient(question("5 mg", options="5 mg|15 mg|5  mg|50 mg|none"))})
    sample = T1.load(path)[0]
    assert T1.rules("clue-vllm-2025").score("The correct answer is A: 5 mg", sample)["accuracy"] == 1.0
    assert T1.rules("clue-tgi-2024").score("The correct answer is B: 15 mg", sample)["accuracy"] == 1.0


def test_equal_options_that_are_both_wrong_are_no_fault(tmp_path: Path) -> None:
    path = two_patients(tmp_path, question("5 mg", options="none|5 mg|15 mg|50 mg|none"))
    assert T1.load(path)[0].reference == "B"


@pytest.mark.parametrize("text", ["{", "\ufffe", ""])
def test_a_file_that_is_no_json_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "d.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"d\.json cannot be read as JSON: [^\n]*$"):
        T1.load(path)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no data file"):
        T1.load(tmp_path / "none.json")


def test_t3_needs_a_second_patient(tmp_path: Path) -> None:
    path = write(tmp_path / "d.json", {"p1": patient(question())})
    assert len(T1.load(path)) == 5
    assert len(T2.load(path)[0].documents) == 1
    with pytest.raises(DataError, match="holds one patient only; longhealth_t3 needs documents of others"):
        T3.load(path)
