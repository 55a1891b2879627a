"""A prompt to be read: one part a turn, worked examples and documents folded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from wardround.reports.numbers import counted
from wardround.reports.viewer.frame import folded, text_block
from wardround.reports.viewer.shown import attribute, found_in, marked
from wardround.task import Message, Prompt

# The line with which tasks head a document, and the ones that come after the last document.
_DOCUMENT = re.compile(r"^(?:DOCUMENT|PASSAGE|EXCERPT) \d+[^\n]*:[ \t]*$", re.MULTILINE)
_AFTER = re.compile(r"^(?:QUESTION|OPTIONS|TASK|ANSWER FORMAT):[ \t]*$", re.MULTILINE)


def prompt_parts(prompt: Prompt, words: Sequence[str]) -> str:
    """The turns as HTML; those between the system's and the last are folded, and so are documents.

    A part in which a word of the search stands is unfolded.
    """
    system = [one for one in prompt.messages if one.role == "system"]
    others = [one for one in prompt.messages if one.role != "system"]
    examples, last = others[:-1], others[-1:]
    parts = [_turn(one, words) for one in system]
    if examples:
        body = "".join(_turn(one, words) for one in examples)
        parts.append(folded(f"Earlier turns ({len(examples)})", body, unfolded=_holds(body)))
    parts += [_turn(one, words) for one in last]
    if prompt.prefill:
        parts.append(f"<h3>beginning of the answer, given</h3>{text_block(marked(found_in(prompt.prefill, words)))}")
    if prompt.choices:
        parts.append(f"<p>Allowed answers: {attribute(', '.join(prompt.choices))}</p>")
    return "".join(parts)


def _turn(message: Message, words: Sequence[str]) -> str:
    return f"<h3>{attribute(message.role)}</h3>" + "".join(
        _document(piece, words) if is_document else text_block(marked(found_in(piece, words)))
        for piece, is_document in pieces(message.content)
    )


def _document(text: str, words: Sequence[str]) -> str:
    heading, _, rest = text.partition("\n")
    body = text_block(marked(found_in(rest, words)))
    return folded(f"{heading.strip(' :')} ({counted(len(rest.split()), 'word')})", body, unfolded=_holds(body))


def _holds(body: str) -> bool:
    return "<mark>" in body


def pieces(content: str) -> Iterator[tuple[str, bool]]:
    """A turn cut where its documents begin and end: (text, whether it is a document). Nothing is left out."""
    starts = [match.start() for match in _DOCUMENT.finditer(content)]
    if not starts:
        yield content, False
        return
    if starts[0]:
        yield content[: starts[0]], False
    for start, end in zip(starts, [*starts[1:], len(content)], strict=True):
        after = _AFTER.search(content, start) if end == len(content) else None
        border = after.start() if after else end
        yield content[start:border], True
        if border < end:
            yield content[border:end], False
