"""A prompt as a baseline reads it: it knows what stands in the prompt and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# "A: …", "B) …", "(C) …" at the beginning of a line.
_OPTION = re.compile(r"^[ \t]{0,8}\(?([A-Z])[.):][ \t]+(\S.*)$", re.M)
# The end of an enumeration of upper-case words, "… or CONTRADICTION", and what stands before it.
_LAST_LABEL = re.compile(r"\bor\s{1,3}([A-Z]{3,40})\b")
_LABELS_BEFORE = re.compile(r"(?:\b[A-Z]{3,40}\s{0,3},\s{0,3})*\b[A-Z]{3,40}\s{0,3},?\s{1,3}$")
_LOOK_BACK = 400
_IN_FULL = "The correct answer is"
# "Now answer with one of these and nothing else: A, B, C" takes that back.
_ALONE = "and nothing else"
# The heading of a field, "QUESTION:" or "Patient's question:".
_HEADING = re.compile(r"^[ \t]*[A-Z][\w' ]{0,40}:[ \t]*$|^[ \t]*[A-Z][A-Z0-9_ ]{1,40}:[ \t]*", re.M)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True, slots=True)
class Reading:
    """The parts of a prompt.

    `text` is the case itself without field headings; `options` are (letter, text) pairs; `labels` the words
    that the instructions enumerate; `shots` the answers of the worked examples; `in_full` says that an option is to be
    named as "The correct answer is B: text". `begun` is what the answer begins with already (prefill).
    """

    text: str
    options: tuple[tuple[str, str], ...]
    labels: tuple[str, ...]
    shots: tuple[str, ...]
    in_full: bool = False
    begun: str = ""

    @property
    def choices(self) -> tuple[str, ...]:
        """What may be answered: option letters, else labels, else nothing is given."""
        return tuple(self.named(letter) for letter, _ in self.options) or self.labels

    def named(self, letter: str) -> str:
        """An option as the prompt wants it named."""
        return f"The correct answer is {letter}: {dict(self.options)[letter]}" if self.in_full else letter

    def continued(self, answer: str) -> str:
        """What is left to say of `answer` after the words that it begins with already, if it begins with them."""
        begun = self.begun.rstrip()
        if not begun or not answer.startswith(begun):
            return answer
        left = answer[len(begun) :]
        return left if begun == self.begun else left.lstrip()

    @property
    def sentences(self) -> list[str]:
        """The case's sentences, blanks stripped, empty ones left out."""
        return [piece.strip() for piece in _SENTENCE_END.split(self.text) if piece.strip()]


def read_prompt(messages: Sequence[tuple[str, str]]) -> Reading:
    """Read (role, content) pairs: the last user turn is the case, earlier assistant turns are the shots.

    An assistant turn at the very end is the beginning of the answer (prefill), not a worked example.
    """
    last_user = max((place for place, (role, _) in enumerate(messages) if role == "user"), default=None)
    case = "" if last_user is None else messages[last_user][1]
    shots = tuple(
        content for place, (role, content) in enumerate(messages) if role == "assistant" and place < (last_user or 0)
    )
    instructions = "\n".join(content for role, content in messages if role == "system") + "\n" + case
    return Reading(
        text=_HEADING.sub("", _OPTION.sub("", case)).strip(),
        options=_lettered(case),
        labels=_enumerated(instructions),
        shots=shots,
        in_full=_IN_FULL in instructions and _ALONE not in instructions,
        begun=messages[-1][1] if messages and messages[-1][0] == "assistant" else "",
    )


def _enumerated(instructions: str) -> tuple[str, ...]:
    """The words of the first enumeration like "ENTAILMENT, NEUTRAL or CONTRADICTION"."""
    for last in _LAST_LABEL.finditer(instructions):
        before = _LABELS_BEFORE.search(instructions[max(0, last.start() - _LOOK_BACK) : last.start()])
        if before:
            return tuple(dict.fromkeys([*re.findall(r"[A-Z]{3,}", before.group(0)), last.group(1)]))
    return ()


def _lettered(case: str) -> tuple[tuple[str, str], ...]:
    """The last run of lines lettered A, B, C …; a lone "A." in a note is no option."""
    run: list[tuple[str, str]] = []
    best: list[tuple[str, str]] = []
    for letter, line in _OPTION.findall(case):
        text = line.rstrip()
        if letter == "A":
            run = [(letter, text)]
        elif run and ord(letter) == ord(run[-1][0]) + 1:
            run.append((letter, text))
        if len(run) >= 2:
            best = run
    return tuple(best)
