"""Chat templates: read from servers/templates/ or a path, and rendered as transformers and the engines render them.

Source of the rendering's rules: transformers' `apply_chat_template` (Jinja in an immutable sandbox, `trim_blocks`,
`lstrip_blocks`, loop controls, `raise_exception`, `strftime_now`, `tojson` without escapes).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from wardround.errors import CatalogueError
from wardround.shipped import shipped
from wardround.task import Message

if TYPE_CHECKING:
    import jinja2

# Turns simply joined: for base models, which know no turns.
PLAIN = "plain"

# What templates write that ask for today's date: the day on which Llama 3.1's writes itself where it can ask nobody.
# The true date would make another prompt of the same request every day.
_TODAY = dt.datetime(2024, 7, 26)
# Shows where a template puts an assistant's words: of the private use area, and in no mark of any template.
_HERE = "\ue000answer\ue001"


class TemplateRefusal(Exception):
    """A template that is not there, or that does not take the conversation; its text says why."""


@dataclass(frozen=True, slots=True)
class Template:
    """A chat template: the name it is called by, its Jinja text, and the SHA-256 of the text."""

    name: str
    text: str
    sha256: str


def read_template(reference: str) -> Template:
    """The template called `reference` in servers/templates/, or at the path `reference`; raises `CatalogueError`."""
    import jinja2

    folder = shipped("servers") / "templates"
    path = folder / f"{reference}.jinja"
    if reference.endswith(".jinja") or "/" in reference or "\\" in reference:
        path = Path(reference).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, RuntimeError) as error:
        known = ", ".join(sorted(one.stem for one in folder.glob("*.jinja")))
        raise CatalogueError(f"no chat template {reference!r} ({error}); shipped: {known}; or give a path") from error
    try:
        compiled(text)
    except jinja2.TemplateError as error:
        line = getattr(error, "lineno", None)
        where = f"{path}:{line}" if line else str(path)
        raise CatalogueError(f"chat template {where} does not parse: {_in_one_line(error)}") from error
    return Template(path.stem, text, hashlib.sha256(text.encode()).hexdigest())


@cache
def compiled(text: str) -> jinja2.Template:
    """A template ready to be rendered; raises `jinja2.TemplateError`."""
    return _environment().from_string(text)


@cache
def _environment() -> jinja2.Environment:
    from jinja2 import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(words: Any) -> NoReturn:
        raise TemplateError(str(words))

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = _TODAY.strftime
    environment.filters["tojson"] = _tojson
    return environment


def _tojson(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


class Texts:
    """Turns rendered into one text; `templates` are the texts of the chat templates by their SHA-256."""

    def __init__(self, templates: Mapping[str, str] | None = None) -> None:
        self._templates = templates or {}

    def text_of(self, turns: Sequence[Message], template: str, prefill: str = "") -> str:
        """The text up to where the model goes on: after `prefill`, the beginning of its answer.

        A prefill stands where the template puts an assistant's words, and is not trimmed. Raises `TemplateRefusal`.
        """
        if template == PLAIN:
            return plain_text(turns) + prefill
        text = self._templates.get(template)
        if text is None:
            raise TemplateRefusal(f"there is no chat template with the SHA-256 {template[:12]}…")
        if not prefill:
            return _rendered(text, turns, asking=True)
        rendered = _rendered(text, (*turns, Message("assistant", _HERE)), asking=False)
        before, found, _ = rendered.rpartition(_HERE)
        if not found:
            raise TemplateRefusal("the chat template leaves out the beginning of the answer; set `prefill: drop`")
        return before + prefill


def _rendered(text: str, turns: Sequence[Message], *, asking: bool) -> str:
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    try:
        # The engines put the mark of the beginning before a text by themselves; a second one would spoil it. The
        # shipped templates write all other marks out, so that no tokenizer is needed to know them.
        return compiled(text).render(messages=messages, add_generation_prompt=asking, bos_token="", eos_token="")
    except Exception as error:  # a template is a program: it can fail in any way
        raise TemplateRefusal(f"the chat template refuses the prompt: {_in_one_line(error)}") from error


def plain_text(turns: Sequence[Message]) -> str:
    """The turns' texts, each ended by a blank line: the answer is what comes next, as after worked examples."""
    return "".join(f"{turn.content}\n\n" for turn in turns)


def merged(turns: Sequence[Message]) -> tuple[Message, ...]:
    """The same conversation without a system role: its words stand at the head of the first user turn."""
    system = "\n\n".join(turn.content for turn in turns if turn.role == "system")
    others = [turn for turn in turns if turn.role != "system"]
    if not system:
        return tuple(others)
    first = next((place for place, turn in enumerate(others) if turn.role == "user"), None)
    if first is None:
        return (Message("user", system), *others)
    others[first] = replace(others[first], content=f"{system}\n\n{others[first].content}")
    return tuple(others)


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
