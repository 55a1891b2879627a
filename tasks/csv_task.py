"""A table of your own as a task, without code: CSV, TSV, JSON lines, JSON or xlsx.

A study names the table and says what its columns are (invented):
    tasks:
      - task: csv_task
        data: ward_questions.xlsx
        settings:
          question: question             # column with the question (must be said)
          reference: answer              # column with the right answer (must be said)
          metric: choice                 # choice, labels, rouge or exact (must be said)
          sensitivity: phi               # open, licensed, credentialed or phi (must be said: where may the text go?)
          options: [a, b, c, d]          # for choice: a column each, or one that holds a JSON list or "x | y | z"
          context: [history, findings]   # columns shown before the question, each under its own heading
          instruction: You know gout.    # what the model is told; how to answer is added to it
          id: case                       # column with a name for each row; else its place
          cluster: patient               # column with what rows have in common; intervals are resampled by it
          shots: 0                       # worked examples, from `training` or the head of the table
          max_tokens: 50                 # else 50 for choice, 32 for labels, 64 for exact, 512 for rouge
          name: ward_questions           # what the tables call it
          title: Questions of our ward
Two more: `labels: [BENIGN, MALIGNANT]` with `metric: labels` (in capitals if the baselines are to read them), and
`unicode: true` with `metric: rouge`, which counts words of every script; its metrics are then "rouge_l[unicode]" ….

Metrics: choice gives accuracy, accuracy_lenient and refused, the reference being the option's letter or its exact
text; labels gives accuracy, macro_f1 and accuracy_lenient; rouge gives ROUGE-L, 1 and 2; exact says whether the answer
is the reference but for blanks and case, and `contains` whether the reference stands in it as whole words and numbers.
Access and licence are the table's own. Without settings the invented table that comes with this file is read, of which
a row is:
    question "Which drops are to blame?", option_a "Latanoprost", option_b "Timolol", answer "B"
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from wardround import Message, Metric, Prompt, Sample, Task
from wardround.catalogue import first_complaint
from wardround.errors import DataError, TaskError
from wardround.rows import Row, read_rows, text_of
from wardround.scoring import ascii_tokens, macro_f1, parse_choice, rouge, unicode_tokens
from wardround.scoring.options import parse_option
from wardround.task import BatchScore, Choices, Document, Score, Sensitivity, Statistic

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
INSTRUCTION = "You answer questions about medicine and about patients."
SAMPLES = Path(__file__).parent / "samples" / "csv_task.csv"
# A letter and its option, a label, a short fact, a paragraph. As in the other tasks, a cut answer still counts.
MAX_TOKENS = {"choice": 50, "labels": 32, "exact": 64, "rouge": 512}
WORDS = {"metric": "choice, labels, rouge or exact", "sensitivity": "open, licensed, credentialed or phi"}


def _texts(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple):
        raise ValueError("must be a text or a list of texts")
    for text in texts:
        # YAML reads yes, no and 1 as something else than text.
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{text!r} is no text; put it into quotes")
    folded = [text.casefold() for text in texts]
    for text in texts:
        if folded.count(text.casefold()) > 1:
            raise ValueError(f"{text!r} stands twice")
    return tuple(texts)


Column = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]


class Settings(BaseModel):
    """What the columns of a table are, and how the answers are scored; see the top of this file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="csv_task", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    title: str = ""
    instruction: str = INSTRUCTION
    question: Column
    context: Texts = ()
    options: Texts = ()
    reference: Column
    metric: Literal["choice", "labels", "rouge", "exact"]
    labels: Texts = ()
    id: Column | None = None
    cluster: Column | None = None
    sensitivity: Sensitivity
    shots: int = Field(default=0, ge=0)
    max_tokens: int | None = Field(default=None, gt=0)
    unicode: bool = False

    @model_validator(mode="after")
    def _go_together(self) -> Settings:
        if bool(self.options) != (self.metric == "choice"):
            raise ValueError("options: needed with `metric: choice`, and of no use without it")
        if len(self.options) > len(LETTERS):
            raise ValueError(f"options: {len(self.options)} columns; there may be {len(LETTERS)}")
        if (len(self.labels) > 1) != (self.metric == "labels") or len(self.labels) == 1:
            raise ValueError("labels: two or more are needed with `metric: labels`, and none without it")
        if self.unicode and self.metric != "rouge":
            raise ValueError("unicode: of use with `metric: rouge` alone")
        if self.reference in (self.question, *self.context, *self.options):
            raise ValueError(f"reference: column {self.reference!r} would stand in the prompt")
        headings = ["QUESTION", "OPTIONS", *map(_heading, self.context)]
        for column in self.context:
            if headings.count(_heading(column)) > 1:
                raise ValueError(f"context: the heading of column {column!r} is already taken; rename it")
        return self

    def columns(self) -> list[tuple[str, str]]:
        """(setting, column) of every column that is named."""
        several = [("context", column) for column in self.context] + [("options", column) for column in self.options]
        single = [
            ("question", self.question),
            ("reference", self.reference),
            ("id", self.id),
            ("cluster", self.cluster),
        ]
        return [(setting, column) for setting, column in [*single, *several] if column is not None]


def _heading(column: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", column)).upper() or column


def configure(settings: Mapping[str, Any]) -> Task:
    """The task that `settings` describe; `TaskError` with one line if they cannot be carried out."""
    try:
        return _task(Settings.model_validate(dict(settings)) if settings else SHIPPED)
    except ValidationError as error:
        raise TaskError(_complaint(error)) from error


def _complaint(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    known = list(Settings.model_fields)
    name = str(fault["loc"][0]) if fault["loc"] else ""
    line = first_complaint(error)
    if fault["type"] == "missing" and name in WORDS:
        line = f"{line} (say {WORDS[name]})"
    near = difflib.get_close_matches(name, known, n=1) if fault["type"] == "extra_forbidden" else []
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return " ".join(f"csv_task: settings: {line}{hint}; known settings: {', '.join(known)}".split())


def _load(settings: Settings, path: Path) -> list[Sample]:
    rows = list(read_rows(path))
    there = dict.fromkeys(column for _, row in rows for column in row)
    for setting, column in settings.columns():
        if column not in there:
            cure = "; this is the shipped table, name your own as `data`" if path == SAMPLES else ""
            raise DataError(
                f"{path} has no column {column!r} (setting {setting!r}); it has: {', '.join(there) or 'none'}{cure}"
            )
    return [_sample(settings, path, number, row) for number, row in rows]


def _sample(settings: Settings, path: Path, number: int, row: Row) -> Sample:
    inputs: dict[str, Any] = {"question": text_of(path, number, row, settings.question).strip()}
    reference = text_of(path, number, row, settings.reference).strip()
    if settings.metric == "choice":
        inputs["options"] = _options(settings, path, number, row)
        reference = _letter(settings, path, number, reference, inputs["options"])
    if settings.metric == "labels":
        reference = _label(settings, path, number, reference)
    context = [
        (_heading(column), text_of(path, number, row, column, empty_is_fine=True)) for column in settings.context
    ]
    return Sample(
        id=text_of(path, number, row, settings.id).strip() if settings.id else f"row {number}",
        inputs=inputs,
        reference=reference,
        cluster=_cluster(settings, path, number, row),
        documents=tuple(Document(heading, text.strip()) for heading, text in context if text.strip()),
    )


def _cluster(settings: Settings, path: Path, number: int, row: Row) -> str | None:
    if settings.cluster is None:
        return None
    return text_of(path, number, row, settings.cluster, empty_is_fine=True).strip() or None


def _label(settings: Settings, path: Path, number: int, said: str) -> str:
    for label in settings.labels:
        if said.casefold() == label.casefold():
            return label
    raise DataError(
        f"{path}: row {number}: column {settings.reference!r} {said!r} is none of the labels"
        f" {', '.join(settings.labels)}"
    )


def _options(settings: Settings, path: Path, number: int, row: Row) -> dict[str, str]:
    """Letters to texts; only behind the last option may cells be empty."""
    if len(settings.options) > 1:
        cells = [text_of(path, number, row, column, empty_is_fine=True) for column in settings.options]
    else:
        cells = _listed(path, number, row, settings.options[0])
    texts = [" ".join(cell.split()) for cell in cells]
    while texts and not texts[-1]:
        texts.pop()
    if not 2 <= len(texts) <= len(LETTERS):
        raise DataError(
            f"{path}: row {number} has {len(texts)} option(s) in {', '.join(settings.options)};"
            f" there must be 2 to {len(LETTERS)}"
        )
    options = dict(zip(LETTERS, texts, strict=False))
    for letter, text in options.items():
        if not text:
            raise DataError(f"{path}: row {number}: option {letter} is empty though a later one is not; leave no gap")
        if texts.count(text) > 1:
            raise DataError(f"{path}: row {number}: two options are {text!r}; each needs a text of its own")
    return options


def _listed(path: Path, number: int, row: Row, column: str) -> list[str]:
    """The options in one cell: a list, a JSON list, or texts with "|" between them."""
    cell = row.get(column)
    if isinstance(cell, str):
        try:
            decoded = json.loads(cell)
        except ValueError:
            decoded = None
        cell = decoded if isinstance(decoded, list) else cell.split("|")
    if not isinstance(cell, list) or not all(type(item) in (str, int, float) for item in cell):
        raise DataError(
            f'{path}: row {number}: column {column!r} must hold a JSON list of texts or "x | y | z", not {cell!r}'
        )
    return [str(item) for item in cell]


def _letter(settings: Settings, path: Path, number: int, said: str, options: Mapping[str, str]) -> str:
    """The right option's letter, of a letter in either case or of the option's text."""
    where, letters = f"{path}: row {number}: column {settings.reference!r}", f"{min(options)} to {max(options)}"
    folded, place = " ".join(said.split()), said.removesuffix(".0")
    by_text = {letter for letter, text in options.items() if text == folded}
    # Where the options are small numbers themselves, one of them could be meant as well as its place.
    if place.isdecimal() and (not by_text or (len(place) < 3 and int(place) <= len(options))):
        raise DataError(
            f"{where}: {said!r} is a number, and whether it counts from 0 or from 1 cannot be known; give the"
            f" letter, {letters}"
        )
    meant = by_text | {folded.upper()} & options.keys()
    if len(meant) > 1:
        raise DataError(f"{where}: {said!r} is one option's letter and another one's text; give the letter")
    if not meant:
        raise DataError(f"{where}: {said!r} is no letter from {letters} and no option's exact text")
    return meant.pop()


def _how_to_answer(settings: Settings) -> str:
    if settings.metric == "choice":
        return (
            'Answer in one line of the form "The correct answer is X: text", where X is the letter of the option you'
            " choose and text is its wording."
        )
    if settings.metric == "labels":
        return f"Answer with exactly one of these: {', '.join(settings.labels[:-1])} or {settings.labels[-1]}."
    return "Write the answer and nothing else."


def _case(sample: Sample) -> str:
    parts = [f"{document.id}:\n{document.text}" for document in sample.documents]
    parts.append(f"QUESTION:\n{sample.inputs['question']}")
    if "options" in sample.inputs:
        options = "\n".join(f"{letter}: {text}" for letter, text in sample.inputs["options"].items())
        parts.append(f"OPTIONS:\n{options}")
    return "\n\n".join(parts)


def _answer(sample: Sample) -> str:
    if "options" in sample.inputs:
        return f"The correct answer is {sample.reference}: {sample.inputs['options'][sample.reference]}"
    return str(sample.reference)


def _prompt(settings: Settings, sample: Sample, shots: Sequence[Sample]) -> Prompt:
    turns = [Message("system", f"{settings.instruction.strip()} {_how_to_answer(settings)}".strip())]
    for shot in shots:
        turns += [Message("user", _case(shot)), Message("assistant", _answer(shot))]
    return Prompt((*turns, Message("user", _case(sample))))


def _letters(sample: Sample) -> Sequence[str]:
    return tuple(sample.inputs["options"])


def _labels(labels: tuple[str, ...], _sample: Sample) -> Sequence[str]:
    return labels


def _score_choice(answer: str, sample: Sample) -> dict[str, float | None]:
    option = parse_option(answer, sample.inputs["options"])
    return {
        "accuracy": float(option.strict == sample.reference),
        "accuracy_lenient": float(option.lenient == sample.reference),
        "refused": float(option.refused),
        "parsed": float(option.strict is not None),
        "parsed_lenient": float(option.lenient is not None),
        "parsed_refused": float(option.lenient is not None or option.refused),
    }


def _score_label(labels: tuple[str, ...], answer: str, sample: Sample) -> dict[str, float | None]:
    choice = parse_choice(answer, labels)
    return {
        "accuracy": float(choice.strict == sample.reference),
        "accuracy_lenient": float(choice.lenient == sample.reference),
        "parsed": float(choice.strict is not None),
        "parsed_lenient": float(choice.lenient is not None),
    }


def _macro_f1(labels: tuple[str, ...], answers: Sequence[str], samples: Sequence[Sample]) -> Mapping[str, Statistic]:
    said = [parse_choice(answer, labels).strict for answer in answers]
    return {"macro_f1": macro_f1(said, [sample.reference for sample in samples], labels)}


def _score_rouge(suffix: str, answer: str, sample: Sample) -> dict[str, float | None]:
    scores = rouge(answer, sample.reference, unicode_tokens if suffix else ascii_tokens)
    return {
        f"rouge_l{suffix}": scores.rouge_l,
        f"rouge1{suffix}": scores.rouge1,
        f"rouge2{suffix}": scores.rouge2,
        "parsed": float(bool(answer.strip())),
    }


def _score_exact(answer: str, sample: Sample) -> dict[str, float | None]:
    said, gold = (" ".join(text.split()).casefold() for text in (answer, sample.reference))
    # "5 mg" is neither in "15 mg" nor in "2.5 mg".
    whole = rf"(?<![^\W_])(?<!\d[.,]){re.escape(gold)}(?![^\W_])(?![.,]\d)"
    return {
        "exact": float(said == gold),
        "contains": float(said == gold or re.search(whole, said) is not None),
        "parsed": float(bool(said)),
    }


def _scoring(settings: Settings) -> tuple[Score, BatchScore | None, tuple[Metric, ...]]:
    lenient = Metric("accuracy_lenient", "proportion", parsed="parsed_lenient")
    if settings.metric == "choice":
        refused = Metric("refused", "proportion", parsed="parsed_refused")
        return _score_choice, None, (Metric("accuracy", "proportion"), lenient, refused)
    if settings.metric == "labels":
        metrics = (Metric("accuracy", "proportion"), Metric("macro_f1", "batch"), lenient)
        return partial(_score_label, settings.labels), partial(_macro_f1, settings.labels), metrics
    if settings.metric == "exact":
        return _score_exact, None, (Metric("exact", "proportion"), Metric("contains", "proportion"))
    suffix = "[unicode]" if settings.unicode else ""
    names = ("rouge_l", "rouge1", "rouge2")
    return partial(_score_rouge, suffix), None, tuple(Metric(f"{name}{suffix}") for name in names)


def _choices(settings: Settings) -> Choices | None:
    if settings.metric == "choice":
        return _letters
    return partial(_labels, settings.labels) if settings.metric == "labels" else None


# The same settings give the very same functions: rules are compared by them.
@cache
def _task(settings: Settings) -> Task:
    score, batch, metrics = _scoring(settings)
    return Task(
        name=settings.name,
        title=settings.title or "A table of your own, described in the study",
        level=None,
        sensitivity=settings.sensitivity,
        load=partial(_load, settings),
        prompt=partial(_prompt, settings),
        score=score,
        batch=batch,
        metrics=metrics,
        shots=settings.shots,
        max_tokens=settings.max_tokens or MAX_TOKENS[settings.metric],
        choices=_choices(settings),
        opening="The correct answer is" if settings.metric == "choice" else "",
        samples=SAMPLES,
        access="your own table",
        licence="the table's own",
    )


SHIPPED = Settings(
    question="question",
    options=("option_a", "option_b", "option_c", "option_d"),
    reference="answer",
    metric="choice",
    sensitivity="open",
)
