"""Forms that an answer can be made to take: one of several choices, or a JSON object that holds the answer.

The baseline's own answer is brought into the form: the choice that it names, or else the one that shares most words
with it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from wardround.baseline.reading import Reading
from wardround.baseline.refusals import Refused, must

ANSWER = "answer"
_WORD = re.compile(r"[^\W_]+")
# What a pattern may hold besides alternatives: nothing that means more than itself.
_PLAIN = re.compile(r"(?:[^\\.^$*+?{}\[\]|()]|\\[^\w\s]|\\ )+")
_REGEX_CHOICE = re.compile(r"\^?(?:\((?:\?:)?(?P<inner>[^()]*)\)|(?P<bare>[^()]*))\$?")


@dataclass(frozen=True, slots=True)
class Choice:
    """The answer is one of `choices`, and nothing else."""

    choices: tuple[str, ...]

    @property
    def allowed(self) -> tuple[str, ...]:
        """All texts that the answer may be."""
        return self.choices

    def fitted(self, text: str, reading: Reading) -> str:
        """The choice that `text` means."""
        return _closest(text, self.choices, reading)


@dataclass(frozen=True, slots=True)
class JsonObject:
    """The answer is an object; `properties` are (name, choices), without choices any text.

    The property `holder` holds the answer; others have their first choice, or nothing.
    """

    properties: tuple[tuple[str, tuple[str, ...] | None], ...]
    holder: str

    @property
    def allowed(self) -> tuple[str, ...]:
        """All texts that the answer may be; none if they cannot be listed."""
        choices = dict(self.properties)[self.holder]
        return tuple(self._written(choice) for choice in choices or ())

    def fitted(self, text: str, reading: Reading) -> str:
        """The object that says what `text` means."""
        choices = dict(self.properties)[self.holder]
        return self._written(text if choices is None else _closest(text, choices, reading))

    def _written(self, value: str) -> str:
        content = {name: value if name == self.holder else (choices or ("",))[0] for name, choices in self.properties}
        return json.dumps(content, ensure_ascii=False)


Form = Choice | JsonObject
ANY_OBJECT = JsonObject(((ANSWER, None),), ANSWER)


def response_format(value: Any) -> Form | None:
    """Read OpenAI's `response_format`; raises `Refused` for a kind or schema that is not supported."""
    if value is None:
        return None
    param = "response_format"
    must(isinstance(value, dict), "'response_format' must be an object.", param=param)
    kind = value.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return ANY_OBJECT
    must(kind == "json_schema", "'response_format.type' must be text, json_object or json_schema.", param=param)
    named = value.get("json_schema")
    must(isinstance(named, dict), "'response_format.json_schema' must be an object.", param=param)
    return schema(named.get("schema"), param)


def structured_outputs(value: Any) -> Form | None:
    """Read vLLM's `structured_outputs`: `choice`, `json`, or a `regex` that lists alternatives; raises `Refused`."""
    if value is None:
        return None
    param = "structured_outputs"
    must(isinstance(value, dict), "'structured_outputs' must be an object.", param=param)
    asked = {key: wanted for key, wanted in value.items() if wanted is not None}
    kinds = asked.keys() & {"choice", "json", "regex", "json_object", "grammar", "structural_tag"}
    must(len(kinds) == 1, "'structured_outputs' must hold exactly one kind of constraint.", param=param)
    if "choice" in kinds:
        return Choice(_texts(asked["choice"], "'structured_outputs.choice'", param))
    if "json" in kinds:
        return schema(asked["json"], param)
    if "regex" in kinds:
        return regex(asked["regex"], param)
    must(asked.get("json_object") is True, "'structured_outputs' may hold choice, json or regex here.", param=param)
    return ANY_OBJECT


def schema(value: Any, param: str | None = None) -> Form:
    """Read a JSON schema, as an object or as text.

    Supported: a string with `enum`, and an object whose properties are strings, with or without `enum`. The answer goes
    into the property "answer", or the only one. Raises `Refused`.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise Refused("The schema is no JSON.", param=param) from None
    must(isinstance(value, dict), "The schema must be an object.", param=param)
    if "enum" in value and "properties" not in value:
        return Choice(tuple(json.dumps(one, ensure_ascii=False) for one in _texts(value["enum"], "'enum'", param)))
    properties = value.get("properties")
    must(
        value.get("type", "object") == "object" and isinstance(properties, dict) and properties,
        "Unsupported schema: only an object with string properties, or a string's enum, can be kept to here.",
        param=param,
    )
    definitions = value.get("$defs", value.get("definitions", {}))
    read = tuple((str(name), _property(name, one, definitions, param)) for name, one in properties.items())
    names = [name for name, _ in read]
    must(
        ANSWER in names or len(names) == 1,
        f"Unsupported schema: of several properties one must be called {ANSWER!r}.",
        param=param,
    )
    return JsonObject(read, ANSWER if ANSWER in names else names[0])


def regex(pattern: Any, param: str | None = None) -> Choice:
    """Read a pattern of plain alternatives, "(YES|NO)"; raises `Refused` for one that is more."""
    whole = _REGEX_CHOICE.fullmatch(pattern) if isinstance(pattern, str) else None
    alternatives = ((whole["inner"] if whole["bare"] is None else whole["bare"]) or "").split("|") if whole else [""]
    must(
        all(_PLAIN.fullmatch(one) for one in alternatives),
        "Unsupported pattern: only alternatives like (YES|NO) can be kept to here.",
        param=param,
    )
    return Choice(tuple(dict.fromkeys(re.sub(r"\\(.)", r"\1", one) for one in alternatives)))


def _property(name: str, value: Any, definitions: Any, param: str | None) -> tuple[str, ...] | None:
    if isinstance(value, dict) and isinstance(value.get("$ref"), str) and isinstance(definitions, dict):
        value = definitions.get(value["$ref"].rpartition("/")[2])
    fine = isinstance(value, dict) and (value.get("type", "string") == "string")
    must(fine, f"Unsupported schema: the property {name!r} is no string.", param=param)
    if "const" in value:
        return _texts([value["const"]], f"'{name}.const'", param)
    return _texts(value["enum"], f"'{name}.enum'", param) if "enum" in value else None


def _texts(value: Any, what: str, param: str | None) -> tuple[str, ...]:
    must(
        isinstance(value, list) and value and all(isinstance(one, str) for one in value),
        f"{what} must be a non-empty array of strings.",
        param=param,
    )
    return tuple(dict.fromkeys(value))


def _closest(text: str, choices: tuple[str, ...], reading: Reading) -> str:
    """The choice that `text` is, or names first, or shares most words with; the first of equals."""
    said = text.strip()
    for same in (said.__eq__, lambda choice: choice.casefold() == said.casefold()):
        for choice in choices:
            if same(choice):
                return choice
    # The letter of an option stands for its text, and an option for its letter.
    letters = dict(reading.options)
    for letter, wording in reading.options:
        if said in (letter, wording, reading.named(letter)):
            for choice in choices:
                if choice in (letter, wording):
                    return choice
    for flags, shortest in ((re.NOFLAG, 1), (re.I, 2)):
        named = [
            (found.start(), -len(choice), place)
            for place, choice in enumerate(choices)
            if len(choice) >= shortest
            and (found := re.search(rf"(?<!\w){re.escape(choice)}(?!\w)", said, flags)) is not None
        ]
        if named:
            return choices[min(named)[2]]
    words = _words(f"{said} {letters.get(said, '')}")
    return max(choices, key=lambda choice: len(_words(choice) & words))


def _words(text: str) -> set[str]:
    return {word.casefold() for word in _WORD.findall(text)}
