"""LongHealth: multiple-choice questions on long hospital records of fictional patients, in three tasks.

Paper: Adams et al., "LongHealth: A Question Answering Benchmark with Long Clinical Documents", arXiv 2401.14490.
Data: `benchmark_v5.json`, 20 fictional patients with 20 questions each, open, Apache-2.0.
As tasks of CLUE: Dada et al., arXiv 2404.04067; the code whose behaviour the profiles repeat is, for 2024,
github.com/TIO-IKIM/CLUE/blob/438d355ceb50157a2c9a0448fbfc3004f31a13a5/eval/eval_LongHealth.py and, for 2025,
github.com/TIO-IKIM/CLUE/blob/9d6a8af2857bbbe698a0bf037a035b7d90d3caab/eval/eval_LongHealth.py.

- T1 shows the patient's own documents, in five orders a question.
- T2 shows the documents that hold the answer among up to ten of other patients, and offers option F, that the
  question cannot be answered.
- T3 shows the same other patients' documents alone: F is always right, any other letter is a hallucinated answer.

An answer that is always F has 1 on T3 and 0 on T2, so the two belong side by side.

Where the documents do not fit, the published protocol packs those with the answer first. That is an oracle: it knows
what no retriever knows. It is the arm "clue-oracle", which the profiles of the originals have for their own; under
`strict` documents are packed in the order in which they are shown.

A patient (invented):
    {"patient_01": {"name": "Ida Quist", "birthday": "1950-02-11", "diagnosis": "Gout", "texts": {"text_0": "…"},
     "questions": [{"No": 0, "question": "Which dose of allopurinol does Ms. Quist take?", "answer_a": "100 mg",
     "answer_b": "300 mg", "answer_c": "50 mg", "answer_d": "200 mg", "answer_e": "None", "correct": "300 mg",
     "answer_location": {"text_0": {"start": [0.41], "end": [0.43]}}}]}}
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from wardround import Message, Metric, Prompt, Rules, Sample, Task
from wardround.errors import DataError
from wardround.retrieval.packing import cut_lines, packed
from wardround.scoring import STOPS_2024
from wardround.scoring.options import parse_option, parse_option_clue
from wardround.task import Count, Document, Fitted, Score

Which = Literal["T1", "T2", "T3"]

LETTERS = "ABCDE"
ABSTAIN = "F"
ABSTENTION = "Question cannot be answered with provided documents"
REPEATS = 5
DISTRACTORS = 10
PROMPT_LIMIT = 8140
MAX_TOKENS = 50
SAMPLES = Path(__file__).parent / "samples"

INSTRUCTION = (
    "You help physicians to find facts in hospital records. You get documents, a question and lettered options, of "
    "which exactly one is right. Decide by what the documents say, and answer in a single sentence."
)
FORMAT = "Begin with 'The correct answer is', then the letter, a colon and the option's text."
RULE = "-" * 20


@dataclass(frozen=True, slots=True)
class _Question:
    """A question of one patient, checked; `place` counts from 0 in the patient's list."""

    patient: str
    place: int
    text: str
    options: dict[str, str]
    gold: dict[str, str | None]
    location: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Patient:
    id: str
    documents: tuple[Document, ...]
    questions: tuple[_Question, ...]


def load(path: Path, which: Which) -> list[Sample]:
    """Read `benchmark_v5.json`; five samples a question, with ids "patient_01/0/1" (patient, question, repeat).

    All questions come once before any is repeated, so that a study's `limit` takes different ones. Documents are
    drawn and shuffled by (patient, question, repeat) alone: the originals do so unseeded, in every version. T2 and
    T3 draw the same other patients' documents. Raises `DataError`.
    """
    patients = _read(path)
    if which == "T3" and len(patients) == 1:
        raise DataError(f"{path} holds one patient only; longhealth_t3 needs documents of others, add a patient")
    everyone = [document for patient in patients for document in patient.documents]
    return [
        _sample(which, patient, question, repeat, everyone)
        for repeat in range(1, REPEATS + 1)
        for patient in patients
        for question in patient.questions
    ]


def _sample(which: Which, patient: _Patient, question: _Question, repeat: int, everyone: Sequence[Document]) -> Sample:
    identifier = f"{patient.id}/{question.place}/{repeat}"
    seed = hashlib.sha256(f"{patient.id}\n{question.place}\n{repeat}".encode()).digest()
    draw = random.Random(int.from_bytes(seed, "big"))
    with_answer = [one for one in patient.documents if one.id in question.location]
    if which == "T1":
        packing = with_answer + [one for one in patient.documents if one not in with_answer]
    else:
        own = {document.id for document in patient.documents}
        others = _shuffled([one for one in everyone if one.id not in own], draw)[:DISTRACTORS]
        packing = others if which == "T3" else with_answer + others
    options, gold = question.options, question.gold
    if which != "T1":
        options = {**options, ABSTAIN: ABSTENTION}
    if which == "T3":
        gold = dict.fromkeys(gold, ABSTAIN)
    inputs = {
        "question": question.text,
        "options": options,
        "gold": gold,
        "answer_location": {} if which == "T3" else question.location,
        "packing": [document.id for document in packing],
    }
    if gold["exact"] is None:
        inputs["unclear"] = "no single option equals 'correct'"
    # The order in which documents are shown must not depend on where the answer stands.
    shown = list(patient.documents) if which == "T1" else sorted(packing, key=lambda one: one.id)
    return Sample(identifier, inputs, gold["exact"], patient.id, tuple(_shuffled(shown, draw)))


def _shuffled(documents: Sequence[Document], draw: random.Random) -> list[Document]:
    # random() gives the same numbers in every version of Python, shuffle() need not.
    keys = [draw.random() for _ in documents]
    return [documents[place] for place in sorted(range(len(documents)), key=keys.__getitem__)]


def _read(path: Path) -> list[_Patient]:
    if not path.is_file():
        raise DataError(f"there is no data file {path}")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a JSON object of patients, as benchmark_v5.json does")
    # A key like "canaray-string", which marks the file for those who look for leaks, holds no patient.
    rows = {name: row for name, row in content.items() if isinstance(row, dict)}
    patients = [_patient(path, name, row) for name, row in rows.items()]
    if not any(patient.questions for patient in patients):
        raise DataError(f"{path} holds no patient with questions")
    return patients


def _patient(path: Path, name: str, row: Mapping[str, Any]) -> _Patient:
    texts, questions = row.get("texts"), row.get("questions")
    if not isinstance(texts, dict) or not texts:
        raise DataError(f"{path}: {name} has no texts; they stand in 'texts' as text_0, text_1, …")
    if not isinstance(questions, list):
        raise DataError(f"{path}: {name} has no list of 'questions'")
    for text_id, text in texts.items():
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"{path}: {name}: {text_id} must be text and not empty")
    documents = tuple(Document(f"{name}/{text_id}", text.strip()) for text_id, text in texts.items())
    return _Patient(
        name, documents, tuple(_question(path, name, place, each, texts) for place, each in enumerate(questions))
    )


def _question(path: Path, patient: str, place: int, row: Any, texts: Mapping[str, str]) -> _Question:
    where = f"{path}: {patient}, question {place}"
    if not isinstance(row, dict):
        raise DataError(f"{where} is not a JSON object")
    names = [f"answer_{letter.lower()}" for letter in LETTERS]
    for name in ("question", *names, "correct"):
        value = row.get(name)
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{where}: {name!r} must be text and not empty")
    location = row.get("answer_location")
    if not isinstance(location, dict) or not set(location) <= set(texts):
        raise DataError(f"{where}: 'answer_location' must name texts of the patient: {', '.join(texts)}")
    options = {letter: _folded(row[name]) for letter, name in zip(LETTERS, names, strict=True)}
    exact = [letter for letter, text in options.items() if text == _folded(row["correct"])]
    # The originals look through the options in the order of the file, and at their texts as they stand.
    within = [name[-1].upper() for name in row if name in names and row["correct"] in row[name]]
    gold = {
        "exact": exact[0] if len(exact) == 1 else None,
        "last_substring": within[-1] if within else None,
        "first_substring": within[0] if within else None,
    }
    by_document = {f"{patient}/{text_id}": spans for text_id, spans in location.items()}
    return _Question(patient, place, " ".join(row["question"].split()), options, gold, by_document)


def _folded(text: str) -> str:
    return " ".join(text.split())


def _case(sample: Sample, documents: Sequence[Document]) -> str:
    """The user's turn; no name of a file or patient, which would tell which documents belong together."""
    shown = [
        f"{document.heading or f'DOCUMENT {number}'}:\n{document.text}"
        for number, document in enumerate(documents, start=1)
    ]
    options = "\n".join(f"{letter}: {text}" for letter, text in sample.inputs["options"].items())
    evidence = f"\n\n{RULE}\n\n".join(shown) or "(none)"
    return (
        f"DOCUMENTS:\n{evidence}\n\n{RULE}\n\nQUESTION:\n{sample.inputs['question']}\n\nOPTIONS:\n{options}\n\n"
        f"ANSWER FORMAT:\n{FORMAT}"
    )


def _conversation(sample: Sample, shots: Sequence[Sample], documents: Sequence[Document]) -> Prompt:
    turns = [Message("system", INSTRUCTION)]
    for shot in shots:
        answer = f"The correct answer is {shot.reference}: {shot.inputs['options'][shot.reference]}"
        turns += [Message("user", _case(shot, shot.documents)), Message("assistant", answer)]
    return Prompt((*turns, Message("user", _case(sample, documents))))


def prompt(sample: Sample, shots: Sequence[Sample]) -> Prompt:
    """All documents in the sample's order, the question, its options and the form of the answer."""
    return _conversation(sample, shots, sample.documents)


def evidence(sample: Sample, shots: Sequence[Sample], documents: Sequence[Document]) -> Prompt:
    """The same prompt with other documents, or passages of them, or none."""
    return _conversation(sample, shots, documents)


def query(sample: Sample) -> str:
    """The question, without options."""
    return str(sample.inputs["question"])


def gold(sample: Sample) -> dict[str, list[tuple[int, int]]]:
    """The stretches of characters that hold the answer, of the shares of a text's length that the file gives."""
    found: dict[str, list[tuple[int, int]]] = {}
    for document in sample.documents:
        location = sample.inputs["answer_location"].get(document.id)
        if not isinstance(location, dict):
            continue
        starts, ends = (location.get(name) or [] for name in ("start", "end"))
        length = len(document.text)
        found[document.id] = [
            (max(0, int(start * length)), min(length, math.ceil(end * length)))
            for start, end in zip(starts, ends, strict=False)
            if isinstance(start, int | float) and isinstance(end, int | float)
        ]
    return {document: spans for document, spans in found.items() if spans}


def fit(sample: Sample, shots: Sequence[Sample], room_tokens: int, count: Count) -> Fitted:
    """The prompt with as many documents as there is room for, in their order.

    The first document that does not fit is shortened, the rest is left out. Where not even the question fits, the
    prompt has no documents and is still too long.
    """
    return _fitted(sample, shots, room_tokens, count, [document.id for document in sample.documents])


def oracle_fit(sample: Sample, shots: Sequence[Sample], room_tokens: int, count: Count) -> Fitted:
    """The same, with the documents that hold the answer packed first; what stays keeps the sample's order."""
    return _fitted(sample, shots, room_tokens, count, sample.inputs["packing"])


def _fitted(sample: Sample, shots: Sequence[Sample], room_tokens: int, count: Count, packing: Sequence[str]) -> Fitted:
    left = room_tokens - _tokens(_conversation(sample, shots, ()), count)
    heading = count(f"\n\n{RULE}\n\nDOCUMENT 10:\n")
    while True:
        kept = packed(sample.documents, packing, left, heading, count)
        fitted = _conversation(sample, shots, [kept[one.id] for one in sample.documents if one.id in kept])
        excess = _tokens(fitted, count) - room_tokens
        if excess <= 0 or not kept:
            cut = cut_lines(sample.documents, kept, sample.inputs["answer_location"], count)
            return Fitted(fitted, tuple(cut))
        # Texts can be worth more tokens joined than apart.
        left -= excess


def _tokens(prompt: Prompt, count: Count) -> int:
    return sum(count(message.content) for message in prompt.messages)


def score(answer: str, sample: Sample, which: Which) -> dict[str, float | None]:
    """Both readings against the option whose text is the right one; an unparsed answer is wrong.

    A question of which no one option is the right one has no accuracy here; the originals find it one.

    `refused`: declined or empty, and no option named. T2 has `false_abstention`, F although the answer is there.
    T3 has `hallucinated`, a letter other than F: with `accuracy_lenient`, `refused` and `unparsed` it makes 1.
    """
    said = parse_option(answer, sample.inputs["options"])
    known = sample.reference is not None
    scores: dict[str, float | None] = {
        "accuracy": float(said.strict == sample.reference) if known else None,
        "accuracy_lenient": float(said.lenient == sample.reference) if known else None,
        "refused": float(said.refused),
        "parsed": float(said.strict is not None),
        "parsed_lenient": float(said.lenient is not None),
        "answered": 1.0,
        "abstained": float(said.refused or said.lenient == ABSTAIN),
    }
    if which == "T2":
        scores["false_abstention"] = float(said.lenient == ABSTAIN)
    if which == "T3":
        scores["hallucinated"] = float(said.lenient not in (None, ABSTAIN))
        scores["unparsed"] = float(said.lenient is None and not said.refused)
    return scores


def choices(sample: Sample) -> Sequence[str]:
    """The letters of the sample's options."""
    return tuple(sample.inputs["options"])


def score_clue(answer: str, sample: Sample, gold: str) -> dict[str, float | None]:
    """As the originals: the first "The correct answer is X:", against a gold letter found by substring."""
    said = parse_option_clue(answer)
    return {
        "accuracy": float(said is not None and said == sample.inputs["gold"][gold]),
        "parsed": float(said is not None),
    }


def _proportions(*names: str) -> tuple[Metric, ...]:
    """Every answer has its place among the refused, hallucinated and unparsed; only letters need be parsed."""
    parsed = {"accuracy": "parsed", "accuracy_lenient": "parsed_lenient", "false_abstention": "parsed_lenient"}
    return tuple(Metric(name, "proportion", parsed=parsed.get(name, "answered")) for name in names)


METRICS: dict[Which, tuple[Metric, ...]] = {
    "T1": _proportions("accuracy", "accuracy_lenient", "refused"),
    "T2": _proportions("accuracy", "accuracy_lenient", "false_abstention"),
    "T3": _proportions("accuracy", "accuracy_lenient", "hallucinated", "refused", "unparsed"),
}
SCORE_2024: Score = partial(score_clue, gold="last_substring")
SCORE_2025: Score = partial(score_clue, gold="first_substring")
TITLES: dict[Which, str] = {
    "T1": "LongHealth, task 1: the patient's own documents",
    "T2": "LongHealth, task 2: the answer among other patients' documents",
    "T3": "LongHealth, task 3: other patients' documents only",
}


def _clue_rules(scoring: Score, temperature: float, prompt_limit: int | None) -> Rules:
    # Neither version of this evaluation counts its first sample twice or shuffles the file.
    return Rules(
        prompt=prompt,
        score=scoring,
        metrics=(Metric("accuracy", "proportion"),),
        shots=0,
        max_tokens=MAX_TOKENS,
        fit=oracle_fit,
        protocol="clue-oracle",
        prompt_limit=prompt_limit,
        temperature=temperature,
        stop=STOPS_2024 if temperature == 0.0 else (),
    )


def _task(which: Which) -> Task:
    loading: Callable[[Path], list[Sample]] = partial(load, which=which)
    return Task(
        name=f"longhealth_{which.lower()}",
        title=TITLES[which],
        level=2,
        sensitivity="open",
        load=loading,
        prompt=prompt,
        score=partial(score, which=which),
        metrics=METRICS[which],
        shots=0,
        max_tokens=MAX_TOKENS,
        samples=SAMPLES / "longhealth.json",
        fit=fit,
        evidence=evidence,
        query=query,
        gold=gold,
        oracle_fit=oracle_fit,
        choices=choices,
        opening="The correct answer is",
        family="longhealth",
        takes_shots=False,
        access="open, fictional patients: github.com/kbressem/LongHealth, data/benchmark_v5.json",
        licence="Apache-2.0",
        profiles={
            "clue-tgi-2024": _clue_rules(SCORE_2024, 0.0, PROMPT_LIMIT),
            # In 2025 the limit is the user's for T1 alone; T2 and T3 fill the model's context.
            "clue-vllm-2025": _clue_rules(SCORE_2025, 1.0, PROMPT_LIMIT if which == "T1" else None),
        },
    )


longhealth_t1, longhealth_t2, longhealth_t3 = _task("T1"), _task("T2"), _task("T3")
tasks = (longhealth_t1, longhealth_t2, longhealth_t3)
