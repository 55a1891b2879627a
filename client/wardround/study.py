"""A study: the set of cells a YAML file asks for."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from wardround.catalogue import Model, as_composed, baselines, first_complaint, resolve_model
from wardround.errors import CatalogueError, StudyError
from wardround.shipped import shipped
from wardround.sources import CorpusChoice as CorpusChoice
from wardround.sources import Qdrant as Qdrant
from wardround.sources import Retrieval as Retrieval
from wardround.sources import Service as Service
from wardround.task import Sensitivity

# The arms that show a task's cases as the task itself does.
ARMS = ("closed-book", "full", "clue-oracle")
Searched = Literal["bm25", "dense", "hybrid"]
Evidence = Literal[
    "own", "none", "full", "clue-oracle", "truncated", Searched, "oracle-spans", "random-passages", "two-step"
]
ShotsBy = Literal["fixed", "none", "random", "bm25", "dense"]
# Arms by one word.
_BY_WORD: dict[str, dict[str, str]] = {
    "closed-book": {"evidence": "none"},
    **{word: {"evidence": word} for word in ("full", "clue-oracle", "truncated", "bm25", "dense", "hybrid")},
    "oracle": {"evidence": "oracle-spans"},
    **{word: {"evidence": word} for word in ("oracle-spans", "random-passages", "two-step")},
    "zero-shot": {"shots_by": "none"},
    **{f"{word}-shots": {"shots_by": word} for word in ("random", "bm25", "dense")},
}
_UNBOUNDED = ("own", "none", "full")
_SEARCHED = ("bm25", "dense", "hybrid")
DEFAULT_BUDGET = 2000
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class Arm(BaseModel):
    """One way of building prompts and of reading an answer off the model.

    `evidence` is what a prompt shows of a case's documents: "own" what the task itself does under the study's profile;
    "none"; "full", all of them; "clue-oracle", the documents that hold the answer packed first, which is what the
    published protocol does and what no retriever knows; "truncated", as many as there is room for, in their order;
    "bm25", "dense", "hybrid" the passages found for the question; "oracle-spans" those with the answer; and
    "random-passages", the placebo. "two-step" asks the model first what is to be looked up, finds texts for each thing
    that it names (by words), at most `k` for each, and shows these behind the task's own prompt. All but the first
    three show at most `budget` tokens of evidence (2,000 unless said otherwise; "clue-oracle" has none unless it is
    given one), counted in each model's own tokens, and at most `k` passages. `rerank` puts what was found into the
    order of the study's reranking service. `corpus` names one of the study's corpora, which is searched instead of a
    case's documents, for tasks whose cases have none. An arm is for the tasks that have what it shows.

    `shots_by` chooses the worked examples: "fixed", the same for all; "none"; or for each sample those of the training
    file that are "random" (by `seed`) or nearest by "bm25" or "dense".

    `template` replaces the models' chat template: the name of a file in servers/templates/, a path, or "plain".
    `choice`: "parse" reads the choice off the written answer; "logprobs" takes the choice whose first token is the
    likeliest; "structured" has the server keep the answer to the choices. The latter two are for tasks with choices.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=_NAME)
    evidence: Evidence = "own"
    budget: int | None = Field(default=None, gt=0)
    k: int | None = Field(default=None, gt=0)
    rerank: bool = False
    corpus: str | None = None
    shots_by: ShotsBy = "fixed"
    seed: int = 0
    template: str | None = None
    choice: Literal["parse", "logprobs", "structured"] = "parse"

    @model_validator(mode="after")
    def _of_a_piece(self) -> Arm:
        if self.budget is not None and self.evidence in _UNBOUNDED:
            raise ValueError(f"budget: evidence {self.evidence!r} has none; 'truncated' is full up to one")
        if self.evidence == "two-step" and self.shots_by != "fixed":
            raise ValueError("shots_by: a two-step arm has the task's own worked examples")
        if self.k is not None and not self.shows_passages and self.evidence != "two-step":
            raise ValueError(f"k: evidence {self.evidence!r} shows no passages")
        if self.rerank and self.evidence not in _SEARCHED:
            raise ValueError(f"rerank: evidence {self.evidence!r} is not searched for")
        if self.corpus is not None and self.evidence not in (*_SEARCHED, "random-passages"):
            raise ValueError(f"corpus: evidence {self.evidence!r} shows nothing of one")
        return self

    @property
    def shows_passages(self) -> bool:
        """Whether its evidence are passages of documents, and not documents."""
        return self.evidence in (*_SEARCHED, "oracle-spans", "random-passages")

    @property
    def evidence_tokens(self) -> int | None:
        """How many tokens of evidence there may be; None if only the context bounds them."""
        if self.budget is None and (self.shows_passages or self.evidence in ("truncated", "two-step")):
            return DEFAULT_BUDGET
        return self.budget

    @property
    def embeds(self) -> bool:
        """Whether texts are embedded for it."""
        return self.evidence in ("dense", "hybrid") or self.shots_by == "dense"


def _arm(value: Any) -> Any:
    if isinstance(value, str):
        if value not in _BY_WORD:
            raise ValueError(
                f"unknown arm {value!r}; known: {', '.join(_BY_WORD)}; another one is a mapping with `name`"
            )
        return {"name": value, **_BY_WORD[value]}
    if isinstance(value, dict) and isinstance(value.get("name"), str) and value["name"] in _BY_WORD:
        return {**_BY_WORD[value["name"]], **value}
    return value


class Budget(BaseModel):
    """What a run may use up in all, resumed runs included: `usd` US dollars, `tokens` read and written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    usd: float | None = Field(default=None, gt=0)
    tokens: int | None = Field(default=None, gt=0)


class Deadlines(BaseModel):
    """How long to wait, in seconds: for a connection, for the first token of a stream, for all of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    connect_s: float = Field(default=10.0, gt=0)
    first_token_s: float = Field(default=120.0, gt=0)
    whole_s: float = Field(default=600.0, gt=0)


class TaskChoice(BaseModel):
    """A task of a study and the data it runs on.

    Without `data` the invented samples that come with the task are used. `training` is a file of further
    samples of which the worked examples are taken; without it they are the first ones of `data`, which are
    then left out of the evaluation. `label` tells two uses of one task apart in the tables. `settings` are for
    tasks that are configured (csv_task). `max_tokens` replaces the profile's limit of new tokens.
    `sensitivity` says that this data is more sensitive than the task's usual data; it can only raise it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    label: str | None = None
    data: Path | None = None
    training: Path | None = None
    limit: int | None = Field(default=None, gt=0)
    shots: int | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=None, gt=0)
    sensitivity: Sensitivity | None = None
    settings: dict[str, Any] = Field(default_factory=dict)


def _task_choice(value: Any) -> Any:
    return {"task": value} if isinstance(value, str) else value


class Study(BaseModel):
    """What a study file says. Paths in it are relative to the file.

    `concurrency` is the number of requests in flight at one server (one base URL), whatever number of
    models it serves. `attempts` counts the first one. Without `arms` each task has its own: "full" where its cases come
    with documents ("clue-oracle" where the profile's protocol is that one), "closed-book" elsewhere. `retrieval` says
    how its arms search, `corpora` what they search besides the cases' own documents. `base_url` is the endpoint of the
    models that have none of their own; without it the catalogue's models are asked where compose.yaml publishes them.
    `baselines` puts the embedded server's rows below the study's own models, so that every table has its floor.
    `pairs` names (biomedical, general) models; they are checked and recorded for a comparison. `budget` stops the
    asking before it is passed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: str = Field(pattern=_NAME)
    title: str = ""
    profile: str = "strict"
    models: tuple[Model, ...] = Field(min_length=1)
    tasks: tuple[Annotated[TaskChoice, BeforeValidator(_task_choice)], ...] = Field(min_length=1)
    arms: tuple[Annotated[Arm, BeforeValidator(_arm)], ...] = ()
    baselines: bool = True
    base_url: str | None = None
    pairs: tuple[tuple[str, str], ...] = ()
    concurrency: int = Field(default=32, ge=1, le=4096)
    attempts: int = Field(default=6, ge=1)
    deadlines: Deadlines = Deadlines()
    budget: Budget = Budget()
    retrieval: Retrieval = Retrieval()
    corpora: dict[Annotated[str, Field(pattern=_NAME)], CorpusChoice] = Field(default_factory=dict)
    seed: int | None = None

    @property
    def searched_corpora(self) -> dict[str, CorpusChoice]:
        """The corpora that an arm searches, by name."""
        named = {arm.corpus for arm in self.arms}
        return {name: corpus for name, corpus in self.corpora.items() if name in named}

    @field_validator("arms")
    @classmethod
    def _each_arm_once(cls, arms: tuple[Arm, ...]) -> tuple[Arm, ...]:
        _once([arm.name for arm in arms], "arm")
        return arms

    @model_validator(mode="after")
    def _searched_with_what_is_there(self) -> Study:
        for arm in self.arms:
            if arm.rerank and self.retrieval.rerank is None:
                raise ValueError(f"arms: {arm.name!r} reranks, and `retrieval` names no service for `rerank`")
            if arm.corpus is not None and arm.corpus not in self.corpora:
                known = ", ".join(self.corpora) or "none"
                raise ValueError(
                    f"arms: {arm.name!r} searches the corpus {arm.corpus!r}; the study's `corpora`: {known}"
                )
        return self

    @field_validator("models")
    @classmethod
    def _each_model_once(cls, models: tuple[Model, ...]) -> tuple[Model, ...]:
        _once([model.name for model in models], "model")
        for model in models:
            if model.base_url is None:
                raise ValueError(
                    f"model {model.name!r} has no endpoint: give `base_url` (for example http://127.0.0.1:8000/v1)"
                )
        return models

    @model_validator(mode="after")
    def _pairs_of_its_models(self) -> Study:
        names = {model.name for model in self.models}
        for pair in self.pairs:
            for name in pair:
                if name not in names:
                    raise ValueError(f"pairs: {name!r} is none of the study's models")
        return self

    @field_validator("tasks")
    @classmethod
    def _each_task_once(cls, tasks: tuple[TaskChoice, ...]) -> tuple[TaskChoice, ...]:
        _once([task.label or task.task for task in tasks], "task", cure="; give each its own `label`")
        return tasks


def _once(names: list[str], what: str, cure: str = "") -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{what} {name!r} stands twice{cure}")


def load_study(path: Path) -> Study:
    """Read a study file, or a shipped one by its bare name ("demo").

    Raises `StudyError` or `CatalogueError` with one line that says what to mend.
    """
    if not path.exists() and path.name == str(path):
        named = shipped("studies") / path.with_suffix(".yaml")
        path = named if named.is_file() else path
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        shipped_names = ", ".join(sorted(p.name for p in shipped("studies").glob("*.yaml")))
        raise StudyError(f"there is no study file {path}; shipped studies: {shipped_names}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"study file {path} cannot be read: {error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise StudyError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise StudyError(f"{path} holds no study: it must be a mapping with `study`, `models` and `tasks`")
    odd = next((key for key in raw if not isinstance(key, str)), None)
    if odd is not None:
        raise StudyError(f"{path}: {odd!r}: unknown key; keys are words")
    try:
        return Study(**_with_models(raw, path))
    except ValidationError as error:
        raise StudyError(f"{path}: {_with_hint(error)}") from error


def _with_models(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """Resolve catalogue names and make paths absolute, so that a study no longer depends on its file."""
    fields: dict[str, Any] = dict(raw)
    if isinstance(fields.get("models"), list):
        models = tuple(_model(row, path) for row in fields["models"])
        if fields.get("baselines", True) is not False:
            named = {model.name for model in models}
            models += tuple(row for row in baselines() if row.name not in named)
        base_url = fields.get("base_url")
        if isinstance(base_url, str):
            models = tuple(_at(model, base_url, path) for model in models)
        fields["models"] = tuple(as_composed(model) for model in models)
    if isinstance(fields.get("arms"), list):
        fields["arms"] = [_with_absolute_template(arm, "template", path.parent) for arm in fields["arms"]]
    if isinstance(fields.get("corpora"), dict):
        fields["corpora"] = {name: _with_absolute(one, path.parent, "path") for name, one in fields["corpora"].items()}
    if isinstance(fields.get("tasks"), list):
        fields["tasks"] = [_with_absolute_paths(_task_choice(task), path.parent) for task in fields["tasks"]]
    return fields


def _model(row: Any, path: Path) -> Model:
    if not isinstance(row, str | dict):
        raise StudyError(f"{path}: models: {row!r} is neither a name nor a mapping")
    if isinstance(row, dict):
        row = {**row}
        for key in ("tokenizer", "key_file"):
            if isinstance(row.get(key), str):
                row[key] = str(_absolute(path.parent, row[key]))
        row = _with_absolute_template(row, "chat_template", path.parent)
    try:
        return resolve_model(row)
    except CatalogueError as error:
        raise CatalogueError(f"{path}: {error}") from error


def _at(model: Model, base_url: str, path: Path) -> Model:
    if model.base_url is not None:
        return model
    try:
        # An attestation speaks of the endpoint that its row names, and of no other.
        return Model(**{**model.model_dump(), "base_url": base_url, "attestation": None})
    except ValidationError as error:
        raise StudyError(f"{path}: {first_complaint(error)}") from error


def _with_absolute_paths(task: Any, folder: Path) -> Any:
    if not isinstance(task, dict):
        return task
    fields = _with_absolute(task, folder, "data", "training")
    if isinstance(fields.get("task"), str) and ".py" in fields["task"]:
        fields["task"] = str(_absolute(folder, fields["task"]))
    return fields


def _with_absolute(row: Any, folder: Path, *keys: str) -> Any:
    if not isinstance(row, dict):
        return row
    return {
        key: _absolute(folder, value) if key in keys and isinstance(value, str) else value for key, value in row.items()
    }


def _with_absolute_template(row: Any, key: str, folder: Path) -> Any:
    """A template that is given by its path, and not by its name, lies beside the study."""
    if isinstance(row, dict) and isinstance(row.get(key), str) and ("/" in row[key] or row[key].endswith(".jinja")):
        return {**row, key: str(_absolute(folder, row[key]))}
    return row


def _absolute(folder: Path, named: str) -> Path:
    try:
        return (folder / Path(named).expanduser()).resolve()
    except (RuntimeError, OSError) as error:
        raise StudyError(f"{named!r} is no usable path: {error}") from error


def _with_hint(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    line = first_complaint(error)
    if fault["type"] != "extra_forbidden":
        return line
    owners: dict[str, type[BaseModel]] = {"tasks": TaskChoice, "deadlines": Deadlines, "arms": Arm, "budget": Budget}
    owners["corpora"] = CorpusChoice
    owners["retrieval"] = Retrieval
    if len(fault["loc"]) > 2 and fault["loc"][0] == "retrieval":
        owners["retrieval"] = Qdrant if fault["loc"][1] == "qdrant" else Service
    owner = owners.get(str(fault["loc"][0]), Study)
    known = list(owner.model_fields)
    near = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
    return f"{line}; did you mean {near[0]!r}?" if near else f"{line}; known keys: {', '.join(known)}"
