"""Case challenges: what is wrong with this patient, or what should be done next?

For the challenges of the New England Journal of Medicine and JAMA, and for any set of the same shape. Paper: Dorfner
et al., arXiv 2408.13833, JAMIA 32(6):1015 (2025).
Data: the journals' cases are under the publishers' copyright, so whoever may read them supplies them; what comes with
this file is invented. JSON lines (also JSON, CSV, TSV, xlsx) with `question`, `opa` … `opj` (two to ten options, no
gaps) and `answer_idx`: the letter, or the option's exact text. A number is refused, since nothing tells whether it
counts from 0 or from 1. An `id` is taken where there is one; `explanation`, `source` and `link` may be there and
never reach a prompt.

The paper's prompts, temperature, answer parser and numbers of cases could not be found. The profiles
`clue-tgi-2024` and `clue-vllm-2025` of this task are therefore our own, by analogy with LongHealth, whose form of
answer and of options is the same: its parser and its cap, greedy in 2024 and temperature 1.0 in 2025. They repeat
no published figure. LongHealth's parser:
github.com/TIO-IKIM/CLUE/blob/438d355ceb50157a2c9a0448fbfc3004f31a13a5/eval/eval_LongHealth.py

A study's arms can show passages of a corpus that the user brings before the case; it is searched for the question
without its options.

A row (invented):
    {"question": "A 30-year-old baker wheezes at work and is well on holidays. Which test comes first?",
     "opa": "Bronchoscopy", "opb": "Serial peak flow at work and at home", "opc": "Sweat test", "answer_idx": "B"}
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wardround import Message, Metric, Prompt, Rules, Sample, Task
from wardround.errors import DataError
from wardround.rows import Row, read_rows, text_of
from wardround.scoring import STOPS_2024
from wardround.scoring.options import parse_option, parse_option_clue
from wardround.task import Document

LETTERS = "ABCDEFGHIJ"
INSTRUCTION = (
    "You solve clinical case challenges. Read the case and choose the one best option. Answer in one line of the "
    'form "The correct answer is X: text", where X is the letter of the option you choose and text is its wording.'
)
# Room for the six words before the letter and for a long option behind it. An option whose end is cut off is read
# all the same, so more would only pay for reasoning that was not asked for. It is also LongHealth's cap.
MAX_TOKENS = 50
SAMPLES = Path(__file__).parent / "samples"


def load(path: Path) -> list[Sample]:
    """Read the cases; a row without `id` is named by its place."""
    samples = []
    for number, row in read_rows(path, ("question", "opa", "opb", "answer_idx")):
        options = _options(path, number, row)
        inputs = {"question": text_of(path, number, row, "question"), "options": options}
        name = text_of(path, number, row, "id", empty_is_fine=True).strip() or f"row {number}"
        samples.append(Sample(name, inputs, _letter(path, number, row, options)))
    return samples


def _options(path: Path, number: int, row: Row) -> dict[str, str]:
    """Letters to texts; the cells behind the last option may be empty or missing, those before it may not."""
    beyond = [column for column in "klmnopqrstuvwxyz" if row.get(f"op{column}")]
    if beyond:
        raise DataError(f"{path}: row {number} has an option op{beyond[0]}; there may be ten, opa to opj")
    columns = [f"op{letter.lower()}" for letter in LETTERS]
    texts = [" ".join(text_of(path, number, row, column, empty_is_fine=True).split()) for column in columns]
    while texts and not texts[-1]:
        texts.pop()
    if len(texts) < 2:
        raise DataError(f"{path}: row {number} has {len(texts)} option(s); at least opa and opb must be filled in")
    options = dict(zip(LETTERS, texts, strict=False))
    for letter, text in options.items():
        if not text:
            raise DataError(
                f"{path}: row {number}: op{letter.lower()} is empty though a later option is not; leave no gap"
            )
        if texts.count(text) > 1:
            raise DataError(f"{path}: row {number}: two options are {text!r}; each needs a text of its own")
    return options


def _letter(path: Path, number: int, row: Row, options: dict[str, str]) -> str:
    """The right option's letter, of a letter in either case or of the option's text."""
    said = " ".join(text_of(path, number, row, "answer_idx").split())
    letters, place = f"{min(options)} to {max(options)}", said.removesuffix(".0")
    by_text = {letter for letter, text in options.items() if text == said}
    # Where the options are small numbers themselves, one of them could be meant as well as its place.
    if place.isdecimal() and (not by_text or (len(place) < 3 and int(place) <= len(options))):
        raise DataError(
            f"{path}: row {number}: answer_idx {said!r} is a number, and whether it counts from 0 or from 1 cannot"
            f" be known; give the letter, {letters}"
        )
    meant = by_text | {said.upper()} & options.keys()
    if len(meant) > 1:
        raise DataError(
            f"{path}: row {number}: answer_idx {said!r} is one option's letter and another one's text; give the letter"
        )
    if not meant:
        raise DataError(
            f"{path}: row {number}: answer_idx {said!r} is no letter from {letters} and no option's exact text"
        )
    return meant.pop()


def _case(sample: Sample) -> str:
    options = "\n".join(f"{letter}: {text}" for letter, text in sample.inputs["options"].items())
    return f"QUESTION:\n{sample.inputs['question'].strip()}\n\nOPTIONS:\n{options}"


def _answer(sample: Sample) -> str:
    return f"The correct answer is {sample.reference}: {sample.inputs['options'][sample.reference]}"


def prompt(sample: Sample, shots: Sequence[Sample]) -> Prompt:
    """The case with its lettered options; shots, where a study asks for any, are worked turns."""
    return evidence(sample, shots, ())


def evidence(sample: Sample, shots: Sequence[Sample], documents: Sequence[Document]) -> Prompt:
    """The same prompt with passages of a corpus before the case; without any it is the task's own."""
    turns = [Message("system", INSTRUCTION)]
    for shot in shots:
        turns += [Message("user", _case(shot)), Message("assistant", _answer(shot))]
    shown = "\n\n".join(f"{document.heading or document.id}:\n{document.text}" for document in documents)
    return Prompt((*turns, Message("user", f"DOCUMENTS:\n{shown}\n\n{_case(sample)}" if shown else _case(sample))))


def query(sample: Sample) -> str:
    """The question, without options."""
    return str(sample.inputs["question"])


def score(answer: str, sample: Sample) -> dict[str, float | None]:
    """Accuracy under the strict and the lenient reading, and whether the answer declines.

    An unparsed answer is wrong. Neither an option nor a refusal: also unparsed for `refused`.
    """
    option = parse_option(answer, sample.inputs["options"])
    return {
        "accuracy": float(option.strict == sample.reference),
        "accuracy_lenient": float(option.lenient == sample.reference),
        "refused": float(option.refused),
        "parsed": float(option.strict is not None),
        "parsed_lenient": float(option.lenient is not None),
        "parsed_refused": float(option.lenient is not None or option.refused),
    }


def choices(sample: Sample) -> Sequence[str]:
    """The letters of the case's options."""
    return tuple(sample.inputs["options"])


def score_clue(answer: str, sample: Sample) -> dict[str, float | None]:
    """Right if LongHealth's parser finds the right letter; any other form of answer is wrong."""
    letter = parse_option_clue(answer)
    return {"accuracy": float(letter == sample.reference), "parsed": float(letter is not None)}


def _like_longhealth(temperature: float) -> Rules:
    return Rules(
        prompt=prompt,
        score=score_clue,
        metrics=(Metric("accuracy", "proportion"),),
        shots=0,
        max_tokens=50,
        temperature=temperature,
        stop=STOPS_2024 if temperature == 0.0 else (),
    )


task = Task(
    name="case_challenge",
    title="Case challenges: diagnosis and next step (NEJM, JAMA or your own)",
    level=None,
    sensitivity="licensed",
    load=load,
    prompt=prompt,
    score=score,
    metrics=(
        Metric("accuracy", "proportion"),
        Metric("accuracy_lenient", "proportion", parsed="parsed_lenient"),
        Metric("refused", "proportion", parsed="parsed_refused"),
    ),
    shots=0,
    max_tokens=MAX_TOKENS,
    choices=choices,
    evidence=evidence,
    query=query,
    opening="The correct answer is",
    samples=SAMPLES / "case_challenge.jsonl",
    access="your own copy: the journals' cases are not shipped",
    licence="publishers' copyright (NEJM, JAMA)",
    profiles={"clue-tgi-2024": _like_longhealth(0.0), "clue-vllm-2025": _like_longhealth(1.0)},
)
