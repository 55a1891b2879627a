"""The baselines: models without parameters, each defined in the one sentence of its docstring.

They answer from the prompt alone and always the same way, so that a table can hold them beside real models.
"""

from __future__ import annotations

import hashlib
import re
import statistics
from collections import Counter
from collections.abc import Callable, Sequence

from wardround.baseline.reading import Reading, read_prompt

_WORD = re.compile(r"[^\W_]+")
_ICD10 = re.compile(r"\b[A-Z][0-9][0-9A-Z](?:\.?[0-9A-Z]{1,4})?\b")
LEAD_WORDS = 16


def random_answer(reading: Reading, draw: int) -> str:
    """A label or option drawn uniformly; for free text a random sentence of the input."""
    candidates: Sequence[str] = reading.choices or reading.sentences or [""]
    return candidates[draw % len(candidates)]


def majority(reading: Reading, _draw: int) -> str:
    """The commonest answer among the prompt's worked examples; without any, the first label or option."""
    if reading.shots:
        return Counter(reading.shots).most_common(1)[0][0]
    return reading.choices[0] if reading.choices else ""


def lead(reading: Reading, _draw: int) -> str:
    """The first words of the input, as many as the worked examples' answers have at the median (else 16)."""
    lengths = [len(shot.split()) for shot in reading.shots]
    words = round(statistics.median(lengths)) if lengths else LEAD_WORDS
    return " ".join(reading.text.split()[: max(1, words)])


def overlap(reading: Reading, _draw: int) -> str:
    """The option, label or sentence of the input that shares most words with the (rest of the) input."""
    return max(_shared_words(reading), key=lambda scored: scored[1], default=("", 0))[0]


def _shared_words(reading: Reading) -> list[tuple[str, int]]:
    """Each option, label or sentence with the number of words it shares with the (rest of the) input."""
    if reading.options:
        case = _words(reading.text)
        return [(reading.named(letter), len(_words(text) & case)) for letter, text in reading.options]
    if reading.labels:
        case = _words(reading.text)
        return [(label, len(_words(label) & case)) for label in reading.labels]
    sentences = reading.sentences
    bags = [_words(sentence) for sentence in sentences]
    # In how many other sentences each word stands: one pass, also for letters of a thousand sentences.
    occurs = Counter(word for bag in bags for word in bag)
    return [
        (sentence, sum(1 for word in bag if occurs[word] > 1)) for sentence, bag in zip(sentences, bags, strict=True)
    ]


def frequent_codes(reading: Reading, _draw: int) -> str:
    """The commonest ICD-10 codes among the worked examples' answers; nothing where they hold none."""
    listed = [_ICD10.findall(shot.upper()) for shot in reading.shots]
    counts = Counter(code for codes in listed for code in codes)
    if not counts:
        return ""
    as_many = round(statistics.median(len(codes) for codes in listed))
    return ", ".join(code for code, _ in counts.most_common(max(1, as_many)))


def always_f(reading: Reading, _draw: int) -> str:
    """Option F wherever there is one (LongHealth's "cannot be answered"); nothing elsewhere."""
    return reading.named("F") if "F" in dict(reading.options) else ""


BASELINES: dict[str, Callable[[Reading, int], str]] = {
    "baseline-random": random_answer,
    "baseline-majority": majority,
    "baseline-lead": lead,
    "baseline-overlap": overlap,
    "baseline-frequent-codes": frequent_codes,
    "baseline-always-f": always_f,
}


def answer(model: str, messages: Sequence[tuple[str, str]], seed: int = 0) -> str:
    """What baseline `model` answers to (role, content) pairs; the same prompt and seed give the same answer.

    An answer that the assistant's turn has begun already is continued.
    """
    reading = read_prompt(messages)
    return reading.continued(said(model, reading, messages, seed))


def said(model: str, reading: Reading, messages: Sequence[tuple[str, str]], seed: int) -> str:
    """The baseline's answer to a prompt that was read, from its beginning."""
    content = "\x00".join([f"{role}\x01{text}" for role, text in messages])
    digest = hashlib.sha256(f"{seed}\x00{content}".encode("utf-8", "surrogatepass")).digest()
    return BASELINES[model](reading, int.from_bytes(digest[:8], "big"))


def ranking(model: str, reading: Reading) -> list[tuple[str, int]]:
    """What the baseline might have answered, each with a score of its own: the higher, the sooner.

    The overlap counts shared words, the majority worked examples; to the others all labels and options are alike.
    """
    if model == "baseline-overlap":
        return _shared_words(reading)
    if model == "baseline-majority":
        counts = Counter(reading.shots)
        return [(choice, counts[choice]) for choice in dict.fromkeys((*reading.choices, *reading.shots))]
    alike = reading.choices or (reading.sentences if model == "baseline-random" else ())
    return [(choice, 0) for choice in alike]


def _words(text: str) -> set[str]:
    return {word.casefold() for word in _WORD.findall(text)}
