"""Turns read back out of a text that a chat template rendered.

A model knows turns by the marks of its template; so that a rendered prompt is answered like the chat it was made of,
the baselines know the marks of the common templates. A text without any is one user turn.
"""

from __future__ import annotations

import re

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "model": "assistant",
    "tool": "tool",
    "ipython": "tool",
}
_NAMED = r"(system|developer|user|assistant|model|tool|ipython)"
# Where a turn begins, and whose it is: Llama 3, Llama 4, ChatML, Gemma, Phi-3 and Zephyr, DeepSeek.
_NAMED_MARKS = (
    rf"<\|start_header_id\|>{_NAMED}<\|end_header_id\|>"
    rf"|<\|header_start\|>{_NAMED}<\|header_end\|>"
    rf"|<\|im_start\|>{_NAMED}(?=\n|$)"
    rf"|<start_of_turn>{_NAMED}(?=\n|$)"
    r"|<\|(system|user|assistant)\|>"
    r"|<｜(System|User|Assistant)｜>"
)
# Llama 2 and Mistral name nobody: what stands after the mark is his.
_WHOSE = {
    "[INST]": "user",
    "[/INST]": "assistant",
    "<<SYS>>": "system",
    "<</SYS>>": "user",
    "[SYSTEM_PROMPT]": "system",
    "[/SYSTEM_PROMPT]": "user",
}
_MARK = re.compile("|".join((_NAMED_MARKS, *(f"({re.escape(mark)})" for mark in _WHOSE))))
# The words of Alpaca, Vicuna and their kin.
_WORDY = re.compile(
    r"^(?i:#{2,3} (System|Instruction|Input|User|Human|Response|Assistant|Answer):?[ \t]*$)"
    r"|(?:^|(?<=[\s>]))(SYSTEM|USER|HUMAN|ASSISTANT):",
    re.M,
)
_WORDY_ROLES = {
    "system": "system",
    "instruction": "user",
    "input": "user",
    "user": "user",
    "human": "user",
    "response": "assistant",
    "assistant": "assistant",
    "answer": "assistant",
}
# Where a turn, or the text, ends; and what may stand before the first turn.
_END = re.compile(
    r"<\|eot_id\|>|<\|eot\|>|<\|eom_id\|>|<\|end_of_text\|>|<\|im_end\|>|<end_of_turn>|<\|end\|>|<\|endoftext\|>"
    r"|</s>|<eos>|<｜end▁of▁sentence｜>"
)
_BEGIN = re.compile(r"<\|begin_of_text\|>|<s>|<bos>|<｜begin▁of▁sentence｜>")
Turns = tuple[tuple[str, str], ...]


def turns_of(text: str) -> Turns:
    """The (role, content) pairs of a prompt; an assistant's turn at its end that says something is a prefill."""
    if "<" in text or "[" in text:
        marks = [(_role(match), match.start(), match.end()) for match in _MARK.finditer(text)]
        if marks:
            return _between(text, marks)
    marks = _wordy(text)
    return _between(text, marks) if marks else (("user", text),)


def _role(match: re.Match[str]) -> str:
    found = match.group(match.lastindex or 0)
    return _WHOSE.get(found) or _ROLES[found.lower()]


def _wordy(text: str) -> list[tuple[str, int, int]]:
    if ":" not in text and "###" not in text:
        return []
    marks = [
        (_WORDY_ROLES[match.group(match.lastindex or 0).lower()], match.start(), match.end())
        for match in _WORDY.finditer(text)
    ]
    roles = {role for role, _, _ in marks}
    # The answer is to come last: a note with a heading "User:" somewhere is no conversation.
    return marks if roles >= {"user", "assistant"} and marks[-1][0] == "assistant" else []


def _between(text: str, marks: list[tuple[str, int, int]]) -> Turns:
    before = _BEGIN.sub("", text[: marks[0][1]]).strip()
    turns = [("system", before)] if before else []
    ends = [start for _, start, _ in marks[1:]] + [len(text)]
    for place, ((role, _, start), end) in enumerate(zip(marks, ends, strict=True)):
        content = text[start:end]
        over = _END.search(content)
        if over:
            content = content[: over.start()]
        is_prefill = place == len(marks) - 1 and role == "assistant" and not over
        # A prefill ends where the model goes on: the blank at its end belongs to it.
        content = content.lstrip() if is_prefill else content.strip()
        if not content:
            continue
        if turns and turns[-1][0] == role == "user":
            # Alpaca's instruction and input are one turn.
            turns[-1] = ("user", f"{turns[-1][1]}\n\n{content}")
        else:
            turns.append((role, content))
    return tuple(turns)
