"""MeQSum: shorten a consumer's health question to one question.

Paper: Ben Abacha and Demner-Fushman, "On the Summarization of Consumer Health Questions", ACL 2019.
Data: `MeQSum_ACL2019_BenAbacha_Demner-Fushman.xlsx`, 1,000 pairs, open, CC BY 4.0.
As a task of CLUE: Dada et al., arXiv 2404.04067; the code whose behaviour `clue-tgi-2024` and `clue-vllm-2025` repeat
is github.com/TIO-IKIM/CLUE, eval/eval_meqsum.py (438d355, 2de4314).

A row (invented):
    File "q1.txt", CHQ "Hello, my mother was told her thyroid is slow. She takes 50 of levothyroxine. Can she
    drink her coffee with it?", Summary "Can levothyroxine be taken with coffee?"
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wardround import Message, Metric, Prompt, Rules, Sample, Task
from wardround.rows import read_rows, text_of
from wardround.scoring import STOPS_2024, cut_self_prompting, rouge

INSTRUCTION = (
    "You help a medical information service. Rewrite the patient's message as one short, complete question "
    "that keeps what must be known to answer it. Write the question and nothing else."
)
PREFILL_2024 = "Question: "
SAMPLES = Path(__file__).parent / "samples"


def load(path: Path) -> list[Sample]:
    """Read the release's xlsx (or the same columns as CSV or JSON lines); the reference's blanks are folded."""
    samples = []
    for number, row in read_rows(path, ("CHQ", "Summary")):
        summary = text_of(path, number, row, "Summary")
        inputs = {"message": text_of(path, number, row, "CHQ"), "summary": summary}
        # 24 of the real summaries begin or end in blanks, others hold double or no-break ones; str.split folds all.
        samples.append(Sample(str(row.get("File") or f"row {number}"), inputs, " ".join(summary.split())))
    return samples


def _case(sample: Sample) -> str:
    return f"MESSAGE:\n{sample.inputs['message'].strip()}"


def _conversation(sample: Sample, shots: Sequence[Sample], answers: Sequence[str], prefill: str) -> Prompt:
    turns = [Message("system", INSTRUCTION)]
    for shot, answer in zip(shots, answers, strict=True):
        turns += [Message("user", _case(shot)), Message("assistant", prefill + answer)]
    return Prompt((*turns, Message("user", _case(sample))), prefill)


def prompt(sample: Sample, shots: Sequence[Sample]) -> Prompt:
    """The shots are worked turns; nothing is put into the model's mouth."""
    return _conversation(sample, shots, [shot.reference for shot in shots], "")


def prompt_2024(sample: Sample, shots: Sequence[Sample]) -> Prompt:
    """As the originals: each answer, the one to come included, begins with "Question: "."""
    return _conversation(sample, shots, [shot.inputs["summary"] for shot in shots], PREFILL_2024)


def prompt_2025(sample: Sample, shots: Sequence[Sample]) -> Prompt:
    """As the originals since they use vLLM's chat: summaries as the file has them, no prefill."""
    return _conversation(sample, shots, [shot.inputs["summary"] for shot in shots], "")


def _rouge_scores(answer: str, sample: Sample) -> dict[str, float | None]:
    scores = rouge(answer, sample.reference)
    return {
        "rouge_l": scores.rouge_l,
        "rouge1": scores.rouge1,
        "rouge2": scores.rouge2,
        "parsed": float(bool(answer.strip())),
    }


def score(answer: str, sample: Sample) -> dict[str, float | None]:
    """ROUGE F1 of the whole answer; an empty answer scores 0 and is counted as unparsed."""
    return _rouge_scores(answer, sample)


def score_2024(answer: str, sample: Sample) -> dict[str, float | None]:
    """As the originals: what a model writes once it begins to prompt itself is cut off first."""
    return _rouge_scores(cut_self_prompting(answer), sample)


def query(sample: Sample) -> str:
    """The message: what makes a worked example like it."""
    return str(sample.inputs["message"])


def pairs(sample: Sample) -> tuple[str, str]:
    """A summary and the message it is of: a search benchmark by the way."""
    return sample.reference, sample.inputs["message"]


METRICS = (Metric("rouge_l"), Metric("rouge1"), Metric("rouge2"), Metric("bertscore_f1", by_service=True))

task = Task(
    name="meqsum",
    title="MeQSum: consumer health questions, summarized",
    level=1,
    sensitivity="open",
    load=load,
    prompt=prompt,
    score=score,
    metrics=METRICS,
    shots=3,
    max_tokens=200,
    query=query,
    pairs=pairs,
    samples=SAMPLES / "meqsum.csv",
    training_samples=SAMPLES / "meqsum_train.csv",
    access="open: github.com/abachaa/MeQSum",
    licence="CC BY 4.0",
    profiles={
        "clue-tgi-2024": Rules(
            prompt=prompt_2024,
            score=score_2024,
            extract=cut_self_prompting,
            metrics=METRICS,
            shots=3,
            max_tokens=200,
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
