"""MedNLI: does a clinical hypothesis follow from a sentence of a note?

Paper: Romanov and Shivade, "Lessons from Natural Language Inference in the Clinical Domain", EMNLP 2018.
Data: `mli_{train,dev,test}_v1.jsonl` from PhysioNet (credentialed access; the text derives from MIMIC-III).
As a task of CLUE: Dada et al., arXiv 2404.04067; the code whose behaviour `clue-tgi-2024` and `clue-vllm-2025` repeat
is github.com/TIO-IKIM/CLUE, eval/eval_mednli.py (438d355, 2de4314).

A row (invented):
    {"pairID": "3f2a", "gold_label": "entailment",
     "sentence1": "Creatinine rose from 0.9 to 3.1 within two days.", "sentence2": "The patient has kidney injury."}
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from wardround import Message, Metric, Prompt, Rules, Sample, Task
from wardround.errors import DataError
from wardround.rows import read_rows, text_of
from wardround.scoring import STOPS_2024, cut_self_prompting, macro_f1, parse_choice
from wardround.task import Statistic

LABELS = ("ENTAILMENT", "NEUTRAL", "CONTRADICTION")
INSTRUCTION = (
    "You compare two statements about one patient. Decide whether the hypothesis follows from the premise. "
    "Answer with exactly one word: ENTAILMENT, NEUTRAL or CONTRADICTION."
)
SAMPLES = Path(__file__).parent / "samples"


def load(path: Path) -> list[Sample]:
    """Read the release's JSON lines; a row without `pairID` is named by its line."""
    samples = []
    for number, row in read_rows(path, ("gold_label", "sentence1", "sentence2")):
        label = text_of(path, number, row, "gold_label")
        if label.upper() not in LABELS:
            raise DataError(f"{path}: row {number}: gold_label {label!r} is none of {', '.join(LABELS).lower()}")
        inputs = {
            "premise": text_of(path, number, row, "sentence1"),
            "hypothesis": text_of(path, number, row, "sentence2"),
            "label": label,
        }
        # Three hypotheses share a premise: they are no independent cases.
        cluster = hashlib.sha256(inputs["premise"].encode("utf-8", "replace")).hexdigest()[:12]
        samples.append(Sample(str(row.get("pairID") or f"line {number}"), inputs, label.upper(), cluster))
    return samples


def _case(sample: Sample) -> str:
    return f"PREMISE:\n{sample.inputs['premise'].strip()}\n\nHYPOTHESIS:\n{sample.inputs['hypothesis'].strip()}"


def _conversation(sample: Sample, shots: Sequence[Sample], answers: Sequence[str]) -> Prompt:
    turns = [Message("system", INSTRUCTION)]
    for shot, answer in zip(shots, answers, strict=True):
        turns += [Message("user", _case(shot)), Message("assistant", answer)]
    return Prompt((*turns, Message("user", _case(sample))))


def prompt(sample: Sample, shots: Sequence[Sample]) -> Prompt:
    """The shots are worked turns whose answers are the labels the instruction asks for."""
    return _conversation(sample, shots, [shot.reference for shot in shots])


def prompt_2024(sample: Sample, shots: Sequence[Sample]) -> Prompt:
    """As the originals: the shots show the label as the file spells it, in lower case."""
    return _conversation(sample, shots, [shot.inputs["label"] for shot in shots])


def score(answer: str, sample: Sample) -> dict[str, float | None]:
    """Accuracy under the strict and the lenient reading; an unparsed answer is wrong and counted apart."""
    choice = parse_choice(answer, LABELS)
    return {
        "accuracy": float(choice.strict == sample.reference),
        "accuracy_lenient": float(choice.lenient == sample.reference),
        "parsed": float(choice.strict is not None),
        "parsed_lenient": float(choice.lenient is not None),
    }


def score_2024(answer: str, sample: Sample) -> dict[str, float | None]:
    """As `score_2025`, after what a model writes once it begins to prompt itself is cut off."""
    return score_2025(cut_self_prompting(answer), sample)


def score_2025(answer: str, sample: Sample) -> dict[str, float | None]:
    """Right if the gold label occurs exactly once in the answer, whatever else occurs."""
    said = answer.upper()
    return {
        "accuracy": float(said.count(sample.reference) == 1),
        "parsed": float(any(label in said for label in LABELS)),
    }


def query(sample: Sample) -> str:
    """Premise and hypothesis: what makes a worked example like it."""
    return f"{sample.inputs['premise']}\n{sample.inputs['hypothesis']}"


def choices(_sample: Sample) -> Sequence[str]:
    """The labels."""
    return LABELS


def batch(answers: Sequence[str], samples: Sequence[Sample]) -> Mapping[str, Statistic]:
    """Macro-F1 over the three labels, strict reading."""
    said = [parse_choice(answer, LABELS).strict for answer in answers]
    return {"macro_f1": macro_f1(said, [sample.reference for sample in samples], LABELS)}


task = Task(
    name="mednli",
    title="MedNLI: inference between clinical sentences",
    level=1,
    sensitivity="credentialed",
    load=load,
    prompt=prompt,
    score=score,
    batch=batch,
    metrics=(
        Metric("accuracy", "proportion"),
        Metric("macro_f1", "batch"),
        Metric("accuracy_lenient", "proportion", parsed="parsed_lenient"),
    ),
    shots=3,
    max_tokens=20,
    choices=choices,
    query=query,
    samples=SAMPLES / "mednli.jsonl",
    training_samples=SAMPLES / "mednli_train.jsonl",
    access="PhysioNet, credentialed: physionet.org/content/mednli",
    licence="PhysioNet Credentialed Health Data License 1.5.0",
    profiles={
        "clue-tgi-2024": Rules(
            prompt=prompt_2024,
            score=score_2024,
            metrics=(Metric("accuracy", "proportion"),),
            shots=3,
            max_tokens=20,
            shots_from_head=True,
            first_counted_twice=True,
            temperature=0.0,
            stop=STOPS_2024,
        ),
        "clue-vllm-2025": Rules(
            prompt=prompt_2024,
            score=score_2025,
            metrics=(Metric("accuracy", "proportion"),),
            shots=3,
            max_tokens=20,
            shots_from_head=True,
            shuffled_by=1,
            first_counted_twice=True,
            temperature=1.0,
        ),
    },
)
