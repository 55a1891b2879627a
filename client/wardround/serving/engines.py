"""The engines that serve models: servers/engines/*.yaml, one file an engine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from wardround.catalogue import EngineName, first_complaint
from wardround.errors import CatalogueError
from wardround.shipped import shipped

ENGINES: tuple[EngineName, ...] = get_args(EngineName)

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


class Trait(BaseModel):
    """What an engine does otherwise than others, and the test that shows it (a path below tests/)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    says: str
    test: str | None = None


class Engine(BaseModel):
    """An engine's image and how it is started.

    `command` holds the words of its command line by what they say, with blanks such as {context}; null where the engine
    has no words for it. Values of `environment` may have blanks, too. `api_key_env` is the variable from which it reads
    the key that clients must send. `cache` is the folder of what it compiles. `slots` is the number of requests it
    serves side by side where that is fixed. `files: gguf` says that it reads NAME.gguf from a folder of the user's and
    loads no weights from Hugging Face.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
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
    traits: tuple[Trait, ...] = ()

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
    path = shipped("servers") / "engines" / f"{name}.yaml"
    try:
        return Engine(**yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise CatalogueError(f"{path}: {first_complaint(error)}") from error
    except (OSError, yaml.YAMLError, TypeError) as error:
        raise CatalogueError(f"{path} describes no engine: {' '.join(str(error).split())}") from error
