"""Problem Summary: list a patient's problems and diagnoses from parts of a progress note.

Paper: Gao et al., "Overview of the Problem List Summarization (ProbSum) 2023 Shared Task", BioNLP 2023.
Data: `BioNLP2023-1A-Test.csv` (237 notes) and `BioNLP2023-1A-Train.csv` from PhysioNet (credentialed access; the
notes derive from MIMIC-III).
As a task of CLUE: Dada et al., arXiv 2404.04067; the code whose behaviour the profiles repeat is
github.com/TIO-IKIM/CLUE, eval/eval_ProblemSummary.py: `clue-tgi-2024` at 6c119fe9d7a7ab3f0086bf63f01767eccfec0c23,
`clue-vllm-2025` at 2de4314cfaf2651a362a2df2ac8336ca0937ea52.

A row (invented):
    File ID "700101.txt", Subjectives "Asks for ice chips. Rigors stopped at 3 AM.", Objectives "Tmax 39.2, HR 96.",
    Assessment "71F with septic shock from ascending cholangitis.", Summary "septic shock; ascending cholangitis"
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wardround import Message, Metric, Prompt, Rules, Sample, Task
from wardround.errors import DataError
from wardround.rows import read_rows, text_of
from wardround.scoring import STOPS_2024, cut_self_prompting, rouge

INSTRUCTION = (
    "You read parts of the daily note on a patient in hospital. List the problems and diagnoses that the patient is "
    "treated for now, the gravest first, in short terms separated by commas. Write the list and nothing else."
)
PREFILL_2024 = "Diagnoses/Patient problems: "
# The columns of the test file and of the training file.
SUBJECTIVE = ("Subjectives", "Subjective Sections")
SAMPLES = Path(__file__).parent / "samples"


def load(path: Path) -> list[Sample]:
    """Read the release's CSV, in the layout of its test file or of its training file.

    A note may lack its subjective part or its assessment, but not both.
    """
    samples = []
    for number, row in read_rows(path, ("Assessment", "Summary")):
        subjective = next((column for column in SUBJECTIVE if column in row), None)
        if subjective is None:
            raise DataError(f"{path}: row {number} has no column {' or '.join(map(repr, SUBJECTIVE))}")
        summary = text_of(path, number, row, "Summary")
        problems = [" ".join(problem.split()) for problem in summary.split(";") if problem.strip()]
        if not problems:
            raise DataError(f"{path}: row {number}: 'Summary' names no problem; fill it in or take the row out")
        inputs = {
            "subjective": text_of(path, number, row, subjective, empty_is_fine=True),
            "assessment": text_of(path, number, row, "Assessment", empty_is_fine=True),
            "summary": summary,
        }
        if not (inputs["subjective"] + inputs["assessment"]).strip():
            raise DataError(f"{path}: row {number} has neither {subjective!r} nor 'Assessment'; take the row out")
        samples.append(Sample(str(row.get("File ID") or f"row {number}"), inputs, ", ".join(problems)))
    return samples


def _case(sample: Sample) -> str:
    parts = {"SUBJECTIVE": sample.inputs["subjective"].strip(), "ASSESSMENT": sample.inputs["assessment"].strip()}
    return "\n\n".join(f"{heading}:\n{text}" for heading, text in parts.items() if text)


def _conversation(sample: Sample, shots: Sequence[Sample], answers: Sequence[str], prefill: str = "") -> Prompt:
    turns = [Message("system", INSTRUCTION)]
    for shot, answer in zip(shots, answers, strict=True):
        turns += [Message("user", _case(shot)), Message("assistant", prefill + answer)]
    return Prompt((*turns, Message("user", _case(sample))), prefill)


def prompt(sample: Sample, shots: Sequence[Sample]) -> Prompt:
    """The shots are worked turns; nothing is put into the model's mouth."""
    return _conversation(sample, shots, [shot.reference for shot in shots])


def _as_in_file(shot: Sample) -> str:
    """As the originals show a summary: blanks stay as they stand, and a semicolon at the end becomes a comma."""
    summary: str = shot.inputs["summary"]
    return summary.replace(";", ", ")


def prompt_2024(sample: Sample, shots: Sequence[Sample]) -> Prompt:
    """As the originals: each answer, the one to come included, begins with "Diagnoses/Patient problems: "."""
    return _conversation(sample, shots, [_as_in_file(shot) for shot in shots], PREFILL_2024)


def prompt_2025(sample: Sample, shots: Sequence[Sample]) -> Prompt:
    """As the originals since 2025: the answers stand alone."""
    return _conversation(sample, shots, [_as_in_file(shot) for shot in shots])


def query(sample: Sample) -> str:
    """The parts of the note that the prompt shows: what makes a worked example like it."""
    return f"{sample.inputs['assessment']}\n{sample.inputs['subjective']}"


def score(answer: str, sample: Sample) -> dict[str, float | None]:
    """ROUGE F1 of the whole answer; an empty answer scores 0 and is counted as unparsed."""
    scores = rouge(answer, sample.reference)
    return {
        "rouge_l": scores.rouge_l,
        "rouge1": scores.rouge1,
        "rouge2": scores.rouge2,
        "parsed": float(bool(answer.strip())),
    }


def score_2024(answer: str, sample: Sample) -> dict[str, float | None]:
    """As the originals: Phi-3's end mark and what a model writes once it begins to prompt itself are cut off."""
    return score(_answer_2024(answer), sample)


def _answer_2024(answer: str) -> str:
    return cut_self_prompting(answer.split(" <|end|>")[0])


METRICS = (
    Metric("rouge_l"),
    Metric("rouge1"),
    Metric("rouge2"),
    Metric("bertscore_f1", by_service=True),
    Metric("concept_f1", by_service=True),
)

task = Task(
    name="problem_summary",
    title="Problem Summary: problems and diagnoses from a progress note",
    level=1,
    sensitivity="credentialed",
    load=load,
    prompt=prompt,
    score=score,
    metrics=METRICS,
    shots=3,
    # The 100 of 2024 cut the lists of models that explain a little; a dozen problems in long names take half of 256.
    max_tokens=256,
    query=query,
    samples=SAMPLES / "problem_summary.csv",
    training_samples=SAMPLES / "problem_summary_train.csv",
    access="PhysioNet, credentialed: physionet.org/content/bionlp-workshop-2023-task-1a",
    licence="PhysioNet Credentialed Health Data License 1.5.0",
    profiles={
        "clue-tgi-2024": Rules(
            prompt=prompt_2024,
            score=score_2024,
            extract=_answer_2024,
            metrics=METRICS,
            shots=3,
            max_tokens=100,
            shots_from_head=True,
            first_counted_twice=True,
            temperature=0.0,
            stop=STOPS_2024,
        ),
        "clue-vllm-2025": Rules(
            prompt=prompt_2025,
            score=score,
            metrics=METRICS,
            shots=3,
            max_tokens=512,
            shots_from_head=True,
            shuffled_by=1,
            temperature=1.0,
        ),
    },
)
