"""An answer as tokens, with why it ended and how likely each token was."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from wardround.baseline.answerers import ranking, said
from wardround.baseline.asked import Asked
from wardround.baseline.reading import Reading, read_prompt
from wardround.text import TOKEN

# How TGI shows the token that ends an answer.
END = "</s>"
# What the answer given is worth against everything the baseline might have answered; the likeliest at every token.
ANSWER_SHARE = 0.6
REMEMBERED_LENGTH = 2000
# What is left at every token for all that was never considered, so that no token is certain.
UNHEARD_OF = 1e-4


@dataclass(frozen=True, slots=True)
class Generated:
    """`tokens` make up the answer; `ended`: the answer was over ("end"), cut at a stop string or at the limit."""

    text: str
    tokens: tuple[str, ...]
    ended: Literal["end", "stop", "length"]


@dataclass(frozen=True, slots=True)
class Step:
    """One token of an answer: its log-probability, and the likeliest tokens in its place with theirs."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...]


def count_tokens(text: str) -> int:
    """The number of tokens of a text: words and marks."""
    # Instructions and worked examples come again with every request.
    return _count_again(text) if len(text) <= REMEMBERED_LENGTH else len(TOKEN.findall(text))


@functools.lru_cache(maxsize=2048)
def _count_again(text: str) -> int:
    return len(TOKEN.findall(text))


def generate(asked: Asked) -> Generated:
    """The baseline's answer, in the form asked for, up to a stop string or the limit of new tokens."""
    reading = read_prompt(asked.messages)
    text = _told(asked, reading, said(asked.model, reading, asked.messages, asked.seed))
    ended: Literal["end", "stop", "length"] = "end"
    if asked.stop:
        # The first to be complete; of several that end together the longest.
        found = [(text.find(stop) + len(stop), -len(stop)) for stop in asked.stop if stop and stop in text]
        if found and not asked.keeps_stop:
            text, ended = text[: min(end + less for end, less in found)], "stop"
        elif found:
            text, ended = text[: min(found)[0]], "stop"
    tokens = tuple(TOKEN.findall(text))
    if asked.counts_end and ended == "end":
        tokens = (*tokens, END)
    if len(tokens) > asked.max_tokens:
        tokens, ended = tokens[: asked.max_tokens], "length"
        text = "".join(tokens)
    return Generated(text, tokens, ended)


def _told(asked: Asked, reading: Reading, answer: str) -> str:
    return reading.continued(answer) if asked.form is None else asked.form.fitted(answer, reading)


def likelihoods(asked: Asked, generated: Generated, alternatives: int) -> tuple[Step, ...]:
    """How likely each token of the answer was, with at most so many `alternatives`, its own among them.

    The answer has `ANSWER_SHARE`; whatever else the baseline might have said, the other labels and options above all,
    shares the rest by its own ranking. A token's probability is that of all texts that go on with it, given what was
    said so far.
    """
    alive = [(tuple(TOKEN.findall(text)), share) for text, share in _shares(asked)]
    steps = []
    for place, token in enumerate(generated.tokens):
        total = sum(share for _, share in alive)
        shares: dict[str, float] = {}
        for tokens, share in alive:
            coming = tokens[place] if place < len(tokens) else END
            shares[coming] = shares.get(coming, 0.0) + share / total
        if token not in shares:
            # A stop string cut this token off in its middle.
            shares = {token: 1.0}
        likeliest = sorted(shares.items(), key=lambda one: (-one[1], one[0]))[:alternatives]
        steps.append(Step(token, _log(shares[token]), tuple((one, _log(share)) for one, share in likeliest)))
        alive = [(tokens, share) for tokens, share in alive if place < len(tokens) and tokens[place] == token]
    return tuple(steps)


def prompt_likelihoods(tokens: Sequence[str]) -> list[float | None]:
    """How likely each token of a prompt was: by how often it stands in it; the first has nothing to go by."""
    counts = Counter(tokens)
    return [None if place == 0 else math.log(counts[token] / len(tokens)) for place, token in enumerate(tokens)]


def _shares(asked: Asked) -> list[tuple[str, float]]:
    """The answer and what it might have been, with their probabilities; as texts in the form asked for."""
    reading = read_prompt(asked.messages)
    answer = _told(asked, reading, said(asked.model, reading, asked.messages, asked.seed))
    scores: Counter[str] = Counter(asked.form.allowed if asked.form else ())
    for candidate, score in ranking(asked.model, reading):
        scores[_told(asked, reading, candidate)] += score + 1
    scores.pop(answer, None)
    total = scores.total()
    if not total:
        return [(answer, 1.0)]
    others = [(text, (1 - ANSWER_SHARE) * score / total) for text, score in scores.items()]
    return [(answer, ANSWER_SHARE), *others]


def _log(share: float) -> float:
    return math.log(share * (1 - UNHEARD_OF)) if share > 0 else math.log(UNHEARD_OF)
