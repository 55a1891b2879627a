"""Choosing among a prompt's choices: by the likelihood of the first token, or by a form the server keeps to."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

# (token, natural logarithm of its probability), the likeliest tokens of one position.
FirstTokens = Sequence[tuple[str, float]]
# How the server was asked for a choice: as the only value of a JSON object, or as the bare words.
Form = Literal["json", "words"]

TOP_TOKENS = 20
# A JSON object around a short answer; a task's own limit may be for one letter.
LEAST_TOKENS_FOR_A_FORM = 64

NO_LOGPROBS = (
    "the server gives no log-probabilities; use an arm with `choice: parse` or `structured` for it, or an engine that"
    " has them (vLLM, SGLang, llama.cpp, TGI)"
)


def likelihoods(tokens: Iterable[tuple[str, float]], choices: Sequence[str]) -> dict[str, float]:
    """The logarithm of each choice's probability, read off the likeliest first tokens.

    A token counts for a choice that it equals, or for the only one that it begins, blanks around it and its case
    disregarded. ln p(choice) = ln Σ exp(ln p(token)) over its tokens, at most 0. A choice without a token is absent.
    """
    folded = {choice: choice.strip().casefold() for choice in choices}
    found: dict[str, float] = {}
    for token, logprob in tokens:
        choice = _meant(token.strip().casefold(), folded)
        if choice is None or not math.isfinite(logprob):
            continue
        found[choice] = min(0.0, _log_of_sum(found[choice], logprob) if choice in found else logprob)
    return found


def _meant(token: str, folded: Mapping[str, str]) -> str | None:
    """The choice that a token stands for: the one it equals, else the only one it begins; None if there is none."""
    if not token:
        return None
    equal = [choice for choice, words in folded.items() if words == token]
    begun = equal or [choice for choice, words in folded.items() if words.startswith(token)]
    return begun[0] if len(begun) == 1 else None


def _log_of_sum(one: float, other: float) -> float:
    """ln(exp(one) + exp(other)) without underflow."""
    return max(one, other) + math.log1p(math.exp(-abs(one - other)))


def likeliest(logprobs: Mapping[str, float], choices: Sequence[str]) -> str | None:
    """The likeliest of the choices, the first of them in a tie; None if none has a likelihood."""
    known = [choice for choice in choices if choice in logprobs]
    return max(known, key=logprobs.__getitem__) if known else None


def first_tokens(logprobs: Any) -> list[tuple[str, float]] | None:
    """The likeliest tokens of the first position, from the two forms in which engines give `logprobs`.

    Chat: {"content": [{token, logprob, top_logprobs: [{token, logprob}]}]}, which llama.cpp uses for text too; text:
    {"tokens": […], "token_logprobs": […], "top_logprobs": [{token: logprob}]}. None where there is neither, [] for an
    answer that has no first token.
    """
    if not isinstance(logprobs, Mapping):
        return None
    content, tops = logprobs.get("content"), logprobs.get("top_logprobs")
    if isinstance(content, list):
        return _of_position(content[0]) if content else []
    if not isinstance(tops, list):
        return None
    if not tops or not isinstance(tops[0], Mapping):
        return []
    drawn = zip(_list(logprobs, "tokens"), _list(logprobs, "token_logprobs"), strict=False)
    return _well_formed(tops[0].items(), next(drawn, (None, None)))


def _of_position(position: Any) -> list[tuple[str, float]]:
    if not isinstance(position, Mapping):
        return []
    ranked = [one for one in _list(position, "top_logprobs") if isinstance(one, Mapping)]
    return _well_formed([_pair(one) for one in ranked], _pair(position))


def _pair(holder: Mapping[str, Any]) -> tuple[Any, Any]:
    return holder.get("token"), holder.get("logprob")


def _well_formed(ranked: Iterable[tuple[Any, Any]], drawn: tuple[Any, Any]) -> list[tuple[str, float]]:
    """The pairs that are such, and the token that was drawn if it is not among the likeliest."""
    pairs = [(token, float(value)) for token, value in ranked if isinstance(token, str) and _is_logprob(value)]
    token, value = drawn
    if isinstance(token, str) and _is_logprob(value) and token not in (known for known, _ in pairs):
        pairs.append((token, float(value)))
    return pairs


def _list(holder: Mapping[str, Any], key: str) -> list[Any]:
    value = holder.get(key)
    return value if isinstance(value, list) else []


def _is_logprob(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e6 < value < 1e6


def answer_schema(choices: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of {"answer": one of the choices}."""
    return {
        "type": "object",
        "properties": {"answer": {"type": "string", "enum": list(dict.fromkeys(choices))}},
        "required": ["answer"],
        "additionalProperties": False,
    }


def answer_in(text: str, choices: Sequence[str], form: Form) -> str | None:
    """The choice that a text in the form asked for holds; None if it does not keep to the form."""
    answer: Any = text
    if form == "json":
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            return None
        answer = content.get("answer") if isinstance(content, dict) else None
    if not isinstance(answer, str):
        return None
    return next((choice for choice in choices if choice.strip() == answer.strip()), None)
