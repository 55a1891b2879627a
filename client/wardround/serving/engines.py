"""The engines that serve models: servers/engines/*.yaml, one file an engine.

What compose starts is an `Engine`. An engine that is asked and not started from here has a file with its traits alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Generic, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from wardround.catalogue import EngineName, first_complaint
from wardround.errors import CatalogueError
from wardround.shipped import shipped

ENGINES: tuple[EngineName, ...] = get_args(EngineName)
KNOWN = (*ENGINES, "transformers")
"""The engines whose traits are told, those that compose does not start among them."""

PORT = 8000
"""Where every engine listens in its container."""

# What every engine must say of itself, if only that it has no words for it (null).
_QUESTIONS = (
    "weights",
    "listen",
    "names",
    "context",
    "memory",
    "parallel",
    "dtype",
    "quantization",
    "prefix_caching",
    "template",
    "sampling",
)
# {name}, but not compose's own ${NAME}, which is left for compose to fill in.
_BLANK = re.compile(r"(?<!\$)\{(\w+)\}")


class Health(BaseModel):
    """How to see that an engine can be asked: its HTTP `path`, and the `test` that compose runs in the container."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    test: tuple[str, ...] = Field(min_length=1)


class Metrics(BaseModel):
    """The names of an engine's metrics, absent where it has none.

    `running` and `waiting` are requests, `cache_used` a share from 0 to 1 of the KV cache, `prefix_hits` and
    `prefix_queries` tokens, `ttft` and `itl` histograms in seconds, `tokens` a counter of generated ones.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    running: str
    waiting: str
    cache_used: str | None = None
    prefix_hits: str | None = None
    prefix_queries: str | None = None
    ttft: str | None = None
    itl: str | None = None
    preemptions: str | None = None
    tokens: str | None = None


Does = TypeVar("Does", bound=str)


class Trait(BaseModel, Generic[Does]):
    """What an engine does where engines differ: a word for it, a sentence, and the test that shows it on the engine.

    `test` is "tests/….py::test_…" from the checkout's root; None where the engine was not at hand, and the sentence is
    what its documents and its users say.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    does: Does
    says: str = Field(pattern=r"\.$")
    test: str | None = Field(default=None, pattern=r"^tests/[\w/]+\.py::test_\w+$")


class Remark(BaseModel):
    """What there is to know of one engine alone; `test` as a trait's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    says: str = Field(pattern=r"\.$")
    test: str | None = Field(default=None, pattern=r"^tests/[\w/]+\.py::test_\w+$")


class Traits(BaseModel):
    """What an engine does where engines differ; None where that is not known.

    - `other_model`: a request for a model that it does not serve
    - `model_list`: what it answers at /v1/models; "tagged": names with more behind them than a request needs
    - `no_template`: a chat with a model that has no chat template
    - `begun_answer`: an answer whose beginning is sent along
    - `long_prompt`: a prompt beyond the context
    - `long_limit`: a limit of new tokens beyond the context
    - `overload`: more requests than it has places for
    - `stop_strings`: in chats
    - `seed`: at a temperature above 0
    - `choice_in_text`: `structured_outputs` with a `choice` at /v1/completions
    - `token_counts`: whether /tokenize tells the number of a text's tokens
    - `prefix_cache`: by what a prompt's beginning is kept, where its answers tell how much was found
    - `errors`: where an error's words stand: `{"error": {…}}`, `{"error": "…"}`, `{"message": …}`, `{"detail": …}`
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    other_model: Trait[Literal["refused", "served"]] | None = None
    model_list: Trait[Literal["whole", "tagged", "empty"]] | None = None
    no_template: Trait[Literal["refused", "made up"]] | None = None
    begun_answer: Trait[Literal["continued", "repeated", "refused"]] | None = None
    long_prompt: Trait[Literal["refused", "cut", "answered"]] | None = None
    long_limit: Trait[Literal["refused", "taken"]] | None = None
    overload: Trait[Literal["waits", "refused"]] | None = None
    stop_strings: Trait[Literal["honoured", "ignored"]] | None = None
    seed: Trait[Literal["honoured", "fatal on a CPU"]] | None = None
    choice_in_text: Trait[Literal["kept", "ignored"]] | None = None
    token_counts: Trait[Literal["told", "none"]] | None = None
    prefix_cache: Trait[Literal["tokens", "blocks"]] | None = None
    errors: Trait[Literal["object", "string", "flat", "detail"]] | None = None

    @property
    def known(self) -> dict[str, Trait[str]]:
        """The traits that are known, by their names."""
        traits = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: trait for name, trait in traits.items() if trait is not None}


class Described(BaseModel):
    """An engine's name and what is known of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    traits: Traits = Traits()
    remarks: tuple[Remark, ...] = ()


Told = TypeVar("Told", bound=Described)


class Engine(Described):
    """An engine's image and how it is started.

    `command` holds the words of its command line by what they say, with blanks such as {context}; null where the engine
    has no words for it. Values of `environment` may have blanks, too. `api_key_env` is the variable from which it reads
    the key that clients must send. `cache` is the folder of what it compiles. `slots` is the number of requests it
    serves side by side where that is fixed. `files: gguf` says that it reads NAME.gguf from a folder of the user's and
    loads no weights from Hugging Face.
    """

    image: str
    entrypoint: tuple[str, ...]
    command: dict[str, tuple[str, ...] | None]
    environment: dict[str, str]
    api_key_env: str | None
    cache: str | None
    ipc: Literal["host"] | None
    shm_size: str | None = None
    slots: int = Field(default=1, ge=1)
    files: Literal["gguf"] | None = None
    health: Health
    metrics: Metrics | None

    @field_validator("image")
    @classmethod
    def _pinned(cls, image: str) -> str:
        name, _, tag = image.rpartition(":")
        if not name or "/" in tag or not any(letter.isdigit() for letter in tag):
            raise ValueError("must have a tag that names a version")
        return image

    @field_validator("command")
    @classmethod
    def _all_answered(cls, command: dict[str, tuple[str, ...] | None]) -> dict[str, tuple[str, ...] | None]:
        missing = [question for question in _QUESTIONS if question not in command]
        if missing:
            raise ValueError(f"says nothing of {', '.join(missing)}; null where the engine has no words for it")
        return command

    def words(self, values: Mapping[str, str | None]) -> list[str]:
        """The command line with its blanks filled in; what has a blank without a value is left out."""
        lines = [line for line in self.command.values() if line]
        return [filled(word, values) for line in lines if _known(line, values) for word in line]

    def variables(self, values: Mapping[str, str | None]) -> dict[str, str]:
        """Those variables of the environment that are not the same for all models, filled in."""
        return {name: filled(text, values) for name, text in self.environment.items() if _BLANK.search(text)}

    @property
    def common_variables(self) -> dict[str, str]:
        """Those variables of the environment that are the same for all models."""
        return {name: text for name, text in self.environment.items() if not _BLANK.search(text)}


def filled(text: str, values: Mapping[str, str | None]) -> str:
    """`text` with its blanks filled in; raises `CatalogueError` for a blank that nothing is known of."""

    def value(blank: re.Match[str]) -> str:
        if blank[1] not in values:
            raise CatalogueError(f"{text!r}: there is no value called {blank[1]!r}; there are {', '.join(values)}")
        return values[blank[1]] or ""

    return _BLANK.sub(value, text)


def _known(line: tuple[str, ...], values: Mapping[str, str | None]) -> bool:
    blanks = [blank for word in line for blank in _BLANK.findall(word)]
    return all(values.get(blank, "") is not None for blank in blanks)


@cache
def find_engine(name: EngineName) -> Engine:
    """The engine called `name`; raises `CatalogueError` if its file is missing or does not parse."""
    return _read(name, Engine)


@cache
def describe(name: str) -> Described:
    """What is known of one of the `KNOWN` engines; raises `CatalogueError` for another, or a file that is at fault."""
    if name not in KNOWN:
        raise CatalogueError(f"unknown engine {name!r}; known: {', '.join(KNOWN)}")
    return next((find_engine(engine) for engine in ENGINES if engine == name), None) or _read(name, Described)


def traits_table() -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and rows: what each engine does, a row for each trait; "?" where that is not known."""
    known = {name: describe(name).traits.known for name in KNOWN}
    rows = [
        (trait.replace("_", " "), *(traits[trait].does if trait in traits else "?" for traits in known.values()))
        for trait in Traits.model_fields
    ]
    return ("", *KNOWN), rows


def _read(name: str, kind: type[Told]) -> Told:
    path = shipped("servers") / "engines" / f"{name}.yaml"
    try:
        return kind(**yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise CatalogueError(f"{path}: {first_complaint(error)}") from error
    except (OSError, yaml.YAMLError, TypeError) as error:
        raise CatalogueError(f"{path} describes no engine: {' '.join(str(error).split())}") from error
