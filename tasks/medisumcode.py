"""MeDiSumCode: the ICD-10 codes of a stay in hospital from its discharge letter.

Paper: Dada et al., "CLUE", arXiv 2404.04067. Data: built by the user from MIMIC-IV and MIMIC-IV-Note (PhysioNet,
credentialed access), which have the letters and the codes of the stays. The code whose behaviour the profiles
repeat is github.com/TIO-IKIM/CLUE, eval/eval_MeDiSumCode.py and eval/utils.py: `clue-tgi-2024` at
438d355ceb50157a2c9a0448fbfc3004f31a13a5, `clue-vllm-2025` at 2de4314cfaf2651a362a2df2ac8336ca0937ea52.

The originals' reference is the codes in the order of the file, duplicates (of ICD-9 codes that map to one ICD-10
code) included; ours is each code once. Theirs has only codes that the table of 2022 knew.

A row (invented; `source` says where a code comes from; the letter is cut here):
    {"note_id": "19000012-DS-1", "hadm_id": "29000012", "text": "Service: MEDICINE\\nChief Complaint:\\nBelly pain…",
     "codes": [{"code": "K8520", "source": "icd10"}, {"code": "F1020", "source": "icd10"}]}
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wardround import Message, Metric, Prompt, Rules, Sample, Task
from wardround.errors import DataError
from wardround.letters import cell, cut_to_fit, patient_of
from wardround.rows import Row, read_rows
from wardround.scoring import STOPS_2024, cut_self_prompting
from wardround.scoring.code_titles import code_titles, spelled_out
from wardround.scoring.icd import find_codes, find_codes_2024, icd_scores, icd_scores_2024, micro_f1
from wardround.task import BuildPrompt, Count, Document, Fit, Fitted, Statistic, TwoStep

TASK = (
    "You code the diagnoses of stays in hospital. Read the discharge letter and list the ICD-10-CM codes of all "
    "diagnoses of the stay, the principal one first."
)
INSTRUCTION = f"{TASK} Write the codes and nothing else, each with its dot, separated by commas: A00.1, B15.9."
# The originals' shots show codes without dots.
INSTRUCTION_CLUE = f"{TASK} Write the codes and nothing else, separated by commas."
BEGINNING_CLUE = "ICD-10 Codes: "
CODES = ("codes", "icd_codes")
_SHAPE = re.compile(r"[A-Z][0-9A][0-9A-Z]{1,5}")
SAMPLES = Path(__file__).parent / "samples"


def load(path: Path) -> list[Sample]:
    """Read letters with their codes: JSON lines, JSON, or CSV with the codes in one cell.

    Codes may be `{"code": …}` objects, a list of strings, or a text in which blanks, commas or semicolons stand
    between them; dots and case do not matter.
    """
    samples = []
    for number, row in read_rows(path):
        letter = cell(path, number, row, ["text"])
        if letter is None:
            raise DataError(f"{path}: row {number} has no 'text', or an empty one; it has: {', '.join(row)}")
        codes = _codes(path, number, row)
        note, stay = cell(path, number, row, ["note_id"]), cell(path, number, row, ["hadm_id"])
        patient = cell(path, number, row, ["subject_id"]) or (note and patient_of(note))
        name = note or stay or f"row {number}"
        inputs = {"note_id": note, "hadm_id": stay, "codes": codes}
        documents = (Document(name, letter),)
        samples.append(Sample(name, inputs, list(dict.fromkeys(codes)), patient or None, documents))
    return samples


def _codes(path: Path, number: int, row: Row) -> list[str]:
    """The codes as the row lists them, without dots, in upper case, duplicates included; never none."""
    by_name = {str(name).strip().casefold(): value for name, value in row.items()}
    listed: Any = next((by_name[name] for name in CODES if by_name.get(name)), None)
    if listed is None:
        raise DataError(f"{path}: row {number} has no codes; give it 'codes' or take the row out")
    parts = re.split(r"[\s,;]+", listed) if isinstance(listed, str) else listed
    if not isinstance(parts, list):
        raise DataError(f"{path}: row {number}: 'codes' must be a list or a text, not {listed!r}")
    codes = []
    for part in parts:
        value = part.get("code") if isinstance(part, dict) else part
        code = value.strip().upper().replace(".", "") if isinstance(value, str) else None
        if code == "":
            continue
        if code is None or not _SHAPE.fullmatch(code):
            raise DataError(f"{path}: row {number}: {value!r} is no ICD-10-CM code; map other codes or take it out")
        codes.append(code)
    if not codes:
        raise DataError(f"{path}: row {number} has no codes; give it 'codes' or take the row out")
    return codes


def _letter(sample: Sample) -> str:
    return "\n\n".join(document.text for document in sample.documents)


def _case(sample: Sample) -> str:
    return f"LETTER:\n{_letter(sample).strip()}"


def _dotted(code: str) -> str:
    return f"{code[:3]}.{code[3:]}" if len(code) > 3 else code


def _conversation(
    instruction: str, sample: Sample, shots: Sequence[Sample], answers: Sequence[str], prefill: str = ""
) -> Prompt:
    turns = [Message("system", instruction)]
    for shot, answer in zip(shots, answers, strict=True):
        turns += [Message("user", _case(shot)), Message("assistant", answer)]
    return Prompt((*turns, Message("user", _case(sample))), prefill)


def prompt(sample: Sample, shots: Sequence[Sample]) -> Prompt:
    """The shots are worked turns, their codes dotted: "I10, E11.9"."""
    answers = [", ".join(map(_dotted, shot.reference)) for shot in shots]
    return _conversation(INSTRUCTION, sample, shots, answers)


def _clue_answers(shots: Sequence[Sample]) -> list[str]:
    return [BEGINNING_CLUE + ", ".join(shot.inputs["codes"]) for shot in shots]


def prompt_2024(sample: Sample, shots: Sequence[Sample]) -> Prompt:
    """As the originals: codes as the file lists them, after "ICD-10 Codes: ", which the answer must continue."""
    return _conversation(INSTRUCTION_CLUE, sample, shots, _clue_answers(shots), BEGINNING_CLUE)


def prompt_2025(sample: Sample, shots: Sequence[Sample]) -> Prompt:
    """As the originals since 2025: the shots still begin so, but nothing is put into the model's mouth."""
    return _conversation(INSTRUCTION_CLUE, sample, shots, _clue_answers(shots))


def _with_letter(sample: Sample, letter: str) -> Sample:
    return replace(sample, documents=(Document(sample.documents[0].id, letter),))


def _fit(build: BuildPrompt) -> Fit:
    """Shorten the letters of prompts built by `build`, see `cut_to_fit`."""

    def fit(sample: Sample, shots: Sequence[Sample], room: int, count: Count) -> Fitted:
        def built(letter: str, examples: Sequence[str]) -> Prompt:
            shown = [_with_letter(shot, example) for shot, example in zip(shots, examples, strict=False)]
            return build(_with_letter(sample, letter), shown)

        def size(letter: str, examples: Sequence[str]) -> int:
            made = built(letter, examples)
            return sum(count(message.content) for message in made.messages) + count(made.prefill)

        cut = cut_to_fit(_letter(sample), [_letter(shot) for shot in shots], room, count, size)
        return Fitted(built(cut.letter, cut.shots), cut.lines)

    return fit


def score(answer: str, sample: Sample) -> dict[str, float | None]:
    """Codes said against codes of the stay, both as sets; an answer without any code is unparsed.

    Such an answer has an F1 of 0; the share of its codes that are valid is undefined.
    """
    said = find_codes(answer)
    return {**icd_scores(said, sample.reference), "parsed": float(bool(said))}


def _score_clue(answer: str, sample: Sample) -> dict[str, float | None]:
    """As the originals since 2025: duplicates count, and an answer without codes has none that are valid."""
    said = find_codes_2024(answer)
    return {**icd_scores_2024(said, sample.inputs["codes"]), "parsed": float(bool(said))}


def score_2024(answer: str, sample: Sample) -> dict[str, float | None]:
    """As the originals: what a model writes once it begins to prompt itself is cut off first."""
    return _score_clue(cut_self_prompting(answer), sample)


def batch(answers: Sequence[str], samples: Sequence[Sample]) -> Mapping[str, Statistic]:
    """F1 over the codes of all letters together."""
    said, gold = [find_codes(answer) for answer in answers], [sample.reference for sample in samples]
    return {
        "micro_exact_f1": micro_f1(said, gold, "exact"),
        "micro_category_f1": micro_f1(said, gold, "category"),
    }


# In two steps: the model names the diagnoses, the codes' titles are looked through for each, it chooses from these.
LISTING = (
    "You read discharge letters for those who code them. List all diagnoses of the stay, the principal one first: also "
    "chronic and past conditions that matter, complications, causes of injuries, allergies and what devices or drugs "
    "the patient depends on. Write each on a line of its own that begins with '- ', in the formal words of a "
    "classification, with side, stage, type and cause where the letter gives them. Spell every abbreviation out. Write "
    "no codes and nothing else."
)
LETTER_LISTED = (
    "Chief Complaint:\nBurning on urination\n\nPast Medical History:\nHTN, T2DM, penicillin allergy\n\nDischarge "
    "Diagnosis:\nUTI with E. coli; AKI, resolved"
)
LISTED = (
    "- Urinary tract infection, site not specified\n- Escherichia coli as the cause of diseases classified elsewhere\n"
    "- Acute kidney failure, unspecified\n- Essential (primary) hypertension\n"
    "- Type 2 diabetes mellitus without complications\n- Allergy status to penicillin"
)
CANDIDATES = (
    "CANDIDATE CODES (found by the words of diagnoses that you named; take those that fit, and leave the others; where "
    "none fits, give the code that you know):"
)
# "1. ", "- ", "* ", "• " before a diagnosis.
_BULLET = re.compile(r"^\s*(?:[-*•–]+|\(?\d{1,2}[.):])\s*")


def list_diagnoses(sample: Sample, _shots: Sequence[Sample]) -> Prompt:
    """The first of two steps, with an invented worked example of its own."""
    worked = (Message("user", f"LETTER:\n{LETTER_LISTED}"), Message("assistant", LISTED))
    return Prompt((Message("system", LISTING), *worked, Message("user", _case(sample))))


def named_diagnoses(answer: str) -> list[str]:
    """The diagnoses that an answer lists, a line or a part between semicolons each, abbreviations followed by words.

    Headings ("Secondary diagnoses:") are none, and what comes twice comes once.
    """
    found: dict[str, str] = {}
    for part in re.split(r"[\n;]+", answer):
        name = " ".join(_BULLET.sub("", part).split()).strip(" *_.")
        if name and not name.endswith(":"):
            found.setdefault(name.casefold(), spelled_out(name))
    return list(found.values())


def show_candidates(found: Sequence[tuple[str, Sequence[Document]]]) -> str:
    """The codes found for each diagnosis, under its name."""
    lists = ["\n".join([name, *(f"- {code.heading}" for code in codes)]) for name, codes in found]
    return "\n\n".join([CANDIDATES, *lists])


METRICS_CLUE = (Metric("exact_f1"), Metric("category_f1"), Metric("valid_codes"))

task = Task(
    name="medisumcode",
    title="MeDiSumCode: ICD-10 codes from discharge letters",
    level=2,
    sensitivity="credentialed",
    load=load,
    prompt=prompt,
    score=score,
    batch=batch,
    metrics=(
        Metric("exact_f1"),
        Metric("category_f1"),
        Metric("chapter_f1"),
        Metric("hierarchical_f1"),
        Metric("valid_codes"),
        Metric("billable_codes"),
        Metric("micro_exact_f1", "batch"),
        Metric("micro_category_f1", "batch"),
    ),
    shots=1,
    # A stay of MIMIC-IV can have 39 codes, of four to six tokens each: more than the 200 tokens of 2024.
    max_tokens=512,
    samples=SAMPLES / "medisumcode.jsonl",
    training_samples=SAMPLES / "medisumcode_train.jsonl",
    fit=_fit(prompt),
    two_step=TwoStep(
        prompt=list_diagnoses,
        named=named_diagnoses,
        max_tokens=512,
        pool=code_titles,
        show=show_candidates,
        gold=lambda sample: sample.reference,
        fit=_fit(list_diagnoses),
    ),
    access="PhysioNet, credentialed: physionet.org/content/mimiciv and mimic-iv-note; built from both",
    licence="PhysioNet Credentialed Health Data License 1.5.0",
    profiles={
        # The originals cut Llama 3's prompts to 7,992 tokens, from the front: the instruction went first. Here the
        # letters are shortened, to whatever context a model has.
        "clue-tgi-2024": Rules(
            prompt=prompt_2024,
            score=score_2024,
            metrics=METRICS_CLUE,
            shots=1,
            max_tokens=200,
            fit=_fit(prompt_2024),
            shots_from_head=True,
            first_counted_twice=True,
            temperature=0.0,
            stop=STOPS_2024,
        ),
        "clue-vllm-2025": Rules(
            prompt=prompt_2025,
            score=_score_clue,
            metrics=METRICS_CLUE,
            shots=1,
            max_tokens=512,
            fit=_fit(prompt_2025),
            shots_from_head=True,
            first_counted_twice=True,
            shuffled_by=1,
            temperature=1.0,
        ),
    },
)
