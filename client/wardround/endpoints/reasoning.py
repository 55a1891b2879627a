"""Reasoning that a model writes into its answer, taken out of it."""

from __future__ import annotations

import re
from typing import Literal

Style = Literal["auto", "final-response", "none"]

_OPEN, _CLOSE = "<think>", "</think>"
# As HuatuoGPT-o1 writes it; the answer may follow on the same line.
_FINAL = re.compile(r"^[ \t]*#{1,6}[ \t]*Final Response\b[ \t]*:?", re.M | re.I)


def split_answer(text: str, style: Style = "auto") -> tuple[str, str, bool]:
    """Split what a model wrote into its reasoning and its answer.

    Returns (reasoning, answer, closed): `closed` is False where the text may have been cut before any answer began.
    "auto" takes `<think>…</think>` off, "final-response" all above the last heading of that name, "none" nothing.
    """
    if style == "auto":
        return split_reasoning(text)
    return _split_at_heading(text) if style == "final-response" else ("", text, True)


def split_reasoning(text: str) -> tuple[str, str, bool]:
    """Split `<think>…</think>` off the front of an answer.

    Returns (reasoning, answer, closed). Chat templates that put the opening tag into the prompt leave only the
    closing one in the answer; an answer that is cut inside its reasoning has no answer part, and `closed` is
    False. Text without such tags comes back whole.
    """
    head = text.lstrip()
    if head.startswith(_OPEN):
        reasoning, closing, answer = head[len(_OPEN) :].partition(_CLOSE)
        return reasoning.strip(), answer.lstrip(), bool(closing)
    if _CLOSE in text and _OPEN not in text:
        reasoning, _, answer = text.partition(_CLOSE)
        return reasoning.strip(), answer.lstrip(), True
    return "", text, True


def _split_at_heading(text: str) -> tuple[str, str, bool]:
    """A text without the heading is all answer, unless the limit of new tokens cut it: only the caller knows that."""
    headings = list(_FINAL.finditer(text))
    if not headings:
        return "", text, False
    last = headings[-1]
    return text[: last.start()].strip(), text[last.end() :].strip(), True
