"""The catalogue of models: `servers/models.yaml`, and the rows a study adds or changes."""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator

from wardround.errors import CatalogueError
from wardround.shipped import shipped

EMBEDDED = "embedded"
# Every command reads the catalogue, and LibYAML does so in a tenth of the time. Not for files of users: where these are
# nested too deep it takes the process down.
_FastLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# What is written in a row goes into journals; these headers carry secrets by their nature.
SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "api-key", "x-api-key", "cookie"})

Protocol = Literal["openai-chat", "openai-completions", "tgi", "azure-openai"]


class Price(BaseModel):
    """What a model costs, in US dollars: `input` and `output` per million tokens read and written, `hour` per hour.

    `hour` is for servers of one's own (all GPUs of the model together): it is reckoned on the time in which the model
    was at work.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(default=0.0, ge=0)
    output: float = Field(default=0.0, ge=0)
    hour: float = Field(default=0.0, ge=0)


class Limits(BaseModel):
    """What each of a model's base URLs may be asked at most; None leaves it to the study or sets no limit.

    `concurrency` is never above the study's.

    `adaptive`: start with few requests in flight, add while the latency holds, and halve at HTTP 429 and 503, never
    above `concurrency`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    concurrency: int | None = Field(default=None, ge=1, le=4096)
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    adaptive: bool = False


EngineName = Literal["vllm", "tgi", "sglang", "llamacpp", "ollama"]


class Weights(BaseModel):
    """How a model's weights are served on GPUs of one's own; the repository's name is the row's `served_as`.

    `port` is the loopback port that compose.yaml publishes and that a study asks if nothing else is said. `revision` is
    the repository's commit, or a branch where no commit is known for sure. `parameters` are billions, all experts and
    embeddings counted. `layers`, `heads`, `kv_heads` and `head_size` are the configuration's; `windowed_layers` of the
    layers remember the last `window` tokens only. `context` is the number of tokens the engine is started with, the
    row's own if it is absent. `gated`: whether the licence must be accepted with an account before the download; None
    where that is not known. `arguments` are further words of the command line, by engine.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    port: int = Field(ge=1024, le=65535)
    revision: str = Field(default="main", pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")
    parameters: float = Field(gt=0)
    layers: int = Field(gt=0)
    heads: int = Field(gt=0)
    kv_heads: int = Field(gt=0)
    head_size: int = Field(gt=0)
    windowed_layers: int = Field(default=0, ge=0)
    window: int | None = Field(default=None, gt=0)
    context: int | None = Field(default=None, gt=0)
    licence: str | None = None
    gated: bool | None = None
    dtype: Literal["auto", "bfloat16", "float16"] = "auto"
    quantization: Literal["fp8"] | None = None
    engine: EngineName = "vllm"
    arguments: dict[EngineName, tuple[str, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _of_one_piece(self) -> Weights:
        if self.heads % self.kv_heads:
            raise ValueError("heads must be a multiple of kv_heads")
        if self.windowed_layers > self.layers or bool(self.windowed_layers) != bool(self.window):
            raise ValueError("windowed_layers: some of the layers, and with a window")
        return self


class Model(BaseModel):
    """A row of the catalogue: a model, its traits, and the endpoint that answers for it.

    The endpoint. `base_url` is the API's root up to and including `/v1` (for `tgi` the server's root, for
    `azure-openai` the resource's address), or "embedded": then a run starts the embedded server for itself and stops it
    afterwards. `replicas` are the base URLs of further servers of the same model. `key_env` names the environment
    variable, `key_file` the file that holds the key; the key itself never stands in a study. `headers` go with every
    request, those of `headers_env` with values from environment variables. `extra_body` adds fields to every request.
    `api_version` is Azure's. `attestation` says who verified, and when, that the endpoint keeps, trains on and shows
    people nothing of what it is sent. `limits` and `price` are the endpoint's.

    The traits. `system`: "merge" puts a system prompt at the head of the first user turn, for templates that refuse the
    role. `chat_template` is the name of a file in servers/templates/ (or a path): prompts are then rendered here and
    sent as text; "plain" joins the turns' texts, for base models. `prefill` says what to do where a profile begins the
    assistant's turn: "continue" sends it the way vLLM, SGLang and the embedded server understand, "drop" leaves it out
    for servers that refuse it (hosted APIs mostly do). `stop` strings end an answer besides those of the task.
    `reasoning`: "auto" takes `<think>` parts and the fields that engines have for it out of the answer,
    "final-response" what stands above the last `## Final Response`, "none" nothing. `reasoning_tokens` are added to
    every task's limit of new tokens. `structured` names the field by which the server is asked to keep to an answer's
    form. `context` is the number of tokens that prompt and answer may have together; `tokenizer` is the path of the
    model's tokenizer.json, for counting where the server cannot.

    `serving` says how the model is served on GPUs of one's own, for `wardround compose`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    title: str = ""
    group: Literal["biomedical", "general", "baseline", "other"] = "other"
    protocol: Protocol = "openai-chat"
    base_url: str | None = None
    replicas: tuple[str, ...] = ()
    served_as: str | None = None
    key_env: str | None = None
    key_file: Path | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    headers_env: dict[str, str] = Field(default_factory=dict)
    api_version: str | None = None
    stream: bool = False
    system: Literal["own", "merge"] = "own"
    chat_template: str | None = None
    prefill: Literal["continue", "drop"] = "continue"
    stop: tuple[str, ...] = ()
    reasoning: Literal["auto", "final-response", "none"] = "auto"
    reasoning_tokens: int = Field(default=0, ge=0)
    structured: Literal["response_format", "structured_outputs"] = "response_format"
    temperature: float = Field(default=0.0, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    extra_body: dict[str, JsonValue] = Field(default_factory=dict)
    counterparts: tuple[str, ...] = ()
    context: int | None = Field(default=None, gt=0)
    attestation: str | None = Field(default=None, min_length=10)
    tokenizer: str | None = None
    limits: Limits = Limits()
    price: Price | None = None
    serving: Weights | None = None

    @field_validator("base_url")
    @classmethod
    def _an_http_url(cls, value: str | None) -> str | None:
        return value if value is None or value == EMBEDDED else _usable_url(value)

    @field_validator("replicas")
    @classmethod
    def _http_urls(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if EMBEDDED in values:
            raise ValueError("the embedded server has no replicas")
        return tuple(_usable_url(value) for value in values)

    @field_validator("headers")
    @classmethod
    def _no_secrets(cls, values: dict[str, str]) -> dict[str, str]:
        secret = next((name for name in values if name.lower() in SECRET_HEADERS), None)
        if secret is not None:
            raise ValueError(f"{secret} holds a secret; name its variable in headers_env, or a key's in key_env")
        return values

    @model_validator(mode="after")
    def _one_of_each(self) -> Model:
        if self.key_env and self.key_file:
            raise ValueError("give key_env or key_file, not both")
        if len(set(self.urls)) < len(self.urls):
            raise ValueError("replicas: an address stands twice")
        if self.replicas and (self.base_url is None or self.base_url == EMBEDDED):
            raise ValueError("replicas: give the first address as base_url")
        if self.protocol == "azure-openai" and not self.api_version:
            raise ValueError("api_version: azure-openai needs one, for example 2024-10-21")
        if self.serving and not (self.serving.context or self.context):
            raise ValueError("serving.context: with how many tokens is the engine started?")
        return self

    @property
    def served_name(self) -> str:
        """The name the server knows the model by."""
        return self.served_as or self.name

    @property
    def urls(self) -> tuple[str, ...]:
        """The base URLs of all its servers, none if it has no endpoint."""
        return (self.base_url, *self.replicas) if self.base_url else ()

    @property
    def served_context(self) -> int | None:
        """Tokens for prompt and answer together with which compose.yaml starts its engine."""
        return (self.serving.context or self.context) if self.serving else None


def as_composed(model: Model) -> Model:
    """The model at the address where compose.yaml publishes it, unless it has an endpoint or is not served there.

    Its context is no larger than the engine's. An attestation speaks of the endpoint that its row names, and of no
    other.
    """
    if model.base_url is not None or model.serving is None or model.served_context is None:
        return model
    context = min(model.context or model.served_context, model.served_context)
    address = f"http://127.0.0.1:{model.serving.port}/v1"
    return model.model_copy(update={"base_url": address, "context": context, "attestation": None})


def _usable_url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("must be an http:// or https:// URL up to and including /v1, or 'embedded'")
    try:
        parts = urlsplit(value)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("is no usable URL")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must not hold user name, password or query; a key belongs in the variable of key_env")
    return value.rstrip("/")


@cache
def catalogue() -> dict[str, Model]:
    """The shipped models by name; raises `CatalogueError` for a file that does not parse."""
    path = shipped("servers") / "models.yaml"
    try:
        rows = yaml.load(path.read_text(encoding="utf-8"), Loader=_FastLoader)["models"]
        models = [Model(**row) for row in rows]
    except ValidationError as error:
        raise CatalogueError(f"{path}: {first_complaint(error)}") from error
    except (OSError, yaml.YAMLError, LookupError, TypeError) as error:
        raise CatalogueError(f"{path} holds no catalogue: {' '.join(str(error).split())}") from error
    return {model.name: model for model in models}


def baselines() -> list[Model]:
    """The rows of the embedded server's baselines, in the catalogue's order."""
    return [model for model in catalogue().values() if model.group == "baseline"]


def find_model(name: str) -> Model:
    """The catalogue's row called `name`; raises `CatalogueError` with the nearest name otherwise."""
    models = catalogue()
    if name not in models:
        near = difflib.get_close_matches(name, models, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "see `wardround models`"
        raise CatalogueError(
            f"unknown model {name!r}; {hint} (a model that is not in the catalogue needs `name` and `base_url`)"
        )
    return models[name]


def resolve_model(row: str | dict[str, Any]) -> Model:
    """A model from a study: a catalogue name, or fields that complete or replace a catalogue row.

    Raises `CatalogueError` for an unknown name without `base_url`, or a field that does not parse.
    """
    if isinstance(row, str):
        return find_model(row)
    name = row.get("name")
    if not isinstance(name, str):
        raise CatalogueError("a model needs a `name`")
    known = catalogue().get(name)
    if known is None and "base_url" not in row:
        return find_model(name)
    fields = {**(known.model_dump(exclude_unset=True) if known else {}), **row}
    if known is not None and "attestation" not in row:
        moved = row.get("base_url", known.base_url) != known.base_url
        if moved or tuple(row.get("replicas") or ()) != known.replicas:
            # An attestation speaks of the endpoints that its row names, and of no other.
            fields.pop("attestation", None)
    unknown = [str(key) for key in fields if key not in Model.model_fields]
    if unknown:
        near = difflib.get_close_matches(unknown[0], Model.model_fields, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(Model.model_fields)}"
        raise CatalogueError(f"model {name!r}: {unknown[0]}: unknown key; {hint}")
    try:
        return Model(**fields)
    except ValidationError as error:
        raise CatalogueError(f"model {name!r}: {first_complaint(error)}") from error


def first_complaint(error: ValidationError) -> str:
    """The first fault pydantic found, as one line: where it is, what is wrong, what would be right."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        message = "unknown key"
    elif fault["type"] == "missing":
        message = "missing"
    return f"{where}: {message}" if where else message
