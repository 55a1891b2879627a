"""What is asked: tasks, samples, prompts, and how a task file is found and loaded.

A task file is one Python file that defines `task = Task(…)`. Shipped ones are loaded by name,
users' own by path, both in the same way.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from wardround.errors import TaskError, WardroundError
from wardround.shipped import shipped

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Role = Literal["system", "user", "assistant"]
Sensitivity = Literal["open", "licensed", "credentialed", "phi"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent to a model.

    `prefill` is the beginning of the assistant's turn that the model must continue; it is not part
    of the answer. `choices` are the only answers allowed, where an arm takes the answer from among them.
    """

    messages: tuple[Message, ...]
    prefill: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A text that a prompt may show as evidence; `id` tells it apart within its sample.

    `heading` is what a prompt puts above it, where it is a part of a document and not one of the sample's own.
    """

    id: str
    text: str
    heading: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One case of a task.

    `inputs` is what the prompt and the scorer may look at, `reference` the gold answer; both must be
    plain JSON values, since the journal keeps them. `cluster` names what samples have in common
    (the patient, the question repeated): intervals are resampled by it. `documents` are long texts for the
    prompt alone: the journal has them in the prompts, and scorers do not see them.
    """

    id: str
    inputs: Mapping[str, Any]
    reference: Any
    cluster: str | None = None
    documents: tuple[Document, ...] = ()


# Counts of how often each sample was drawn, shape (resamples, samples) -> one value a resample.
Statistic = Callable[["NDArray[np.float64]"], "NDArray[np.float64]"]
# The number of tokens of a text, by whatever counts for the model.
Count = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A prompt made to fit, and one line for each piece of evidence that was shortened or left out."""

    prompt: Prompt
    cut: tuple[str, ...]


Load = Callable[[Path], list[Sample]]
BuildPrompt = Callable[[Sample, Sequence[Sample]], Prompt]
Score = Callable[[str, Sample], dict[str, "float | None"]]
# (sample, shots, tokens there is room for, count) -> a prompt of at most so many tokens.
Fit = Callable[[Sample, Sequence[Sample], int, Count], Fitted]
# (sample, shots, documents or passages of them) -> the prompt that shows these and no others; all else is the same.
ShowEvidence = Callable[[Sample, Sequence[Sample], Sequence[Document]], Prompt]
# What is searched for, without options and anything else that tells the answer.
Query = Callable[[Sample], str]
# Where in the sample's documents the answer stands: by document, stretches of characters (start, end).
Gold = Callable[[Sample], Mapping[str, Sequence[tuple[int, int]]]]
BatchScore = Callable[[Sequence[str], Sequence[Sample]], Mapping[str, Statistic]]
# The answers among which a sample's right one is, as its score reads them: labels, or the options' letters.
Choices = Callable[[Sample], Sequence[str]]


@dataclass(frozen=True, slots=True)
class TwoStep:
    """How a task is done in two steps: the model names things, each is looked up, and it answers with what was found.

    `prompt` is the first question (worked examples of the task itself are not shown), `fit` shortens it, `max_tokens`
    bounds its answer. `named` reads the things off that answer, in their order. `pool` is what is looked through: the
    texts that are searched, under ids of which one may have several, with the heading that a prompt shows of it.
    `show` is the block of evidence that is put behind the task's own prompt: for each thing that was named the texts
    found for it. `gold` are the ids in the pool that are right, for scoring only.
    """

    prompt: BuildPrompt
    named: Callable[[str], Sequence[str]]
    max_tokens: int
    pool: Callable[[], Sequence[Document]]
    show: Callable[[Sequence[tuple[str, Sequence[Document]]]], str]
    gold: Callable[[Sample], Sequence[str]]
    fit: Fit | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """One column of the results.

    `kind` decides the interval: "proportion" (0 or 1 a sample: Wilson), "mean" (bootstrap of the mean)
    or "batch" (bootstrap of a statistic that sees all answers). `parsed` names the key of the score that
    says whether an answer could be read at all for this metric.

    `by_service`: the value comes of a service that is asked after the run (embeddings, a judge). Such a score is
    named after its source, "bertscore_f1[model]"; while there is none, the metric is absent, never 0.
    """

    name: str
    kind: Literal["proportion", "mean", "batch"] = "mean"
    parsed: str = "parsed"
    by_service: bool = False


_ASKING = ("shots", "max_tokens", "stop", "shots_from_head", "shuffled_by", "fit", "prompt_limit", "temperature")
_HOOKS = ("evidence", "query", "gold", "oracle_fit", "two_step")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a profile sets for a task: how it is asked and how its answers are scored.

    `shots_from_head`: the worked examples are the first `shots` samples of the evaluated file (as the
    originals do) even where a file of training samples is given. `first_counted_twice` repeats a defect of
    the published code: the first sample enters every mean twice. `shuffled_by` is the seed with which the
    evaluated file is shuffled before shots are taken from it. `fit` shortens a prompt that is too long for the
    model's context, or longer than `prompt_limit` tokens where a profile sets one. `extract` is the part of an answer
    that counts, for services that score it after the run. `temperature` is the profile's; None leaves it to the
    model's row. `choices` lists the answers among which a sample's is, for arms that choose by likelihood or form;
    `opening` is what stands in an answer before its choice.

    For arms with their own evidence: `evidence` builds the prompt from given documents or passages, `query` says what
    is searched for (by which worked examples are found, too), `gold` where the answer stands, for scoring and for
    oracles only. `oracle_fit` shortens like `fit` but packs the documents with the answer first, `two_step` says how
    the task is done in two steps, and `protocol` names the arm that the profile's own protocol is.
    """

    prompt: BuildPrompt
    score: Score
    metrics: tuple[Metric, ...]
    shots: int
    max_tokens: int
    stop: tuple[str, ...] = ()
    batch: BatchScore | None = None
    shots_from_head: bool = False
    first_counted_twice: bool = False
    shuffled_by: int | None = None
    fit: Fit | None = None
    prompt_limit: int | None = None
    extract: Callable[[str], str] | None = None
    temperature: float | None = None
    choices: Choices | None = None
    opening: str = ""
    evidence: ShowEvidence | None = None
    query: Query | None = None
    gold: Gold | None = None
    oracle_fit: Fit | None = None
    two_step: TwoStep | None = None
    protocol: Literal["full", "clue-oracle"] = "full"

    def asked_like(self, other: Rules) -> list[str]:
        """Name the settings in which the two ask differently: what rescoring cannot change."""
        differing = [name for name in _ASKING if getattr(self, name) != getattr(other, name)]
        return differing if self.prompt == other.prompt else ["prompt", *differing]


@dataclass(frozen=True, slots=True)
class Task:
    """A benchmark: loader, prompt and scorer, with the rules of the profile `strict`.

    Other profiles stand in `profiles` by name. `load(path)` raises `DataError` for a file it cannot read.
    `samples` and `training_samples` are the invented cases that come with the task file; they are used
    where a study names no data. `family` is the task whose score this one is a part of (LongHealth's T1, T2 and
    T3), itself if None. `takes_shots`: False where a worked example would give answers of other samples away. `pairs`
    gives a text of each sample and the longer one that it belongs to, for measuring how well a search finds that among
    those of all samples. `evidence`, `query`, `gold`, `oracle_fit` and `two_step` as in `Rules`; they hold in every
    profile.
    """

    name: str
    title: str
    level: int | None
    sensitivity: Sensitivity
    load: Load
    prompt: BuildPrompt
    score: Score
    metrics: tuple[Metric, ...]
    shots: int
    max_tokens: int
    samples: Path
    training_samples: Path | None = None
    stop: tuple[str, ...] = ()
    batch: BatchScore | None = None
    fit: Fit | None = None
    choices: Choices | None = None
    opening: str = ""
    evidence: ShowEvidence | None = None
    query: Query | None = None
    gold: Gold | None = None
    oracle_fit: Fit | None = None
    two_step: TwoStep | None = None
    pairs: Callable[[Sample], tuple[str, str]] | None = None
    family: str | None = None
    takes_shots: bool = True
    access: str = ""
    licence: str = ""
    profiles: Mapping[str, Rules] = field(default_factory=dict)
    path: Path | None = None
    reference: str = ""

    def rules(self, profile: str) -> Rules:
        """Return the rules of `profile`; `TaskError` if the task has none of that name."""
        if profile == "strict":
            rules = Rules(
                prompt=self.prompt,
                score=self.score,
                metrics=self.metrics,
                shots=self.shots,
                max_tokens=self.max_tokens,
                stop=self.stop,
                batch=self.batch,
                fit=self.fit,
                choices=self.choices,
                opening=self.opening,
            )
        elif profile in self.profiles:
            rules = self.profiles[profile]
        else:
            known = ", ".join(["strict", *self.profiles])
            raise TaskError(f"task {self.name} has no profile {profile!r}; it has: {known}")
        hooks = {name: getattr(self, name) for name in _HOOKS if getattr(rules, name) is None}
        return replace(rules, **hooks) if any(hooks.values()) else rules


def task_names() -> list[str]:
    """The names of the shipped task files, sorted."""
    return sorted(path.stem for path in shipped("tasks").glob("*.py"))


def load_task(reference: str | Path, settings: Mapping[str, Any] | None = None) -> Task:
    """Load one task: a shipped one by name ("mednli"), a user's own by path ("./mine.py").

    A file that holds several tasks takes the one that is named behind a colon: "longhealth:longhealth_t1".
    `settings` go to a file that is configured. Raises `TaskError` if there is no such task.
    """
    tasks = load_tasks(reference, settings)
    if len(tasks) > 1:
        names = ", ".join(f"{reference}:{task.name}" for task in tasks)
        raise TaskError(f"{reference} holds several tasks; name one: {names}")
    return tasks[0]


def load_tasks(reference: str | Path, settings: Mapping[str, Any] | None = None) -> list[Task]:
    """Load all tasks that `reference` names.

    A task file defines `task = Task(…)`, or `tasks = (Task(…), …)`, or `configure(settings) -> Task`. Raises
    `TaskError`.
    """
    file, wanted = _split(str(reference))
    path = _task_file(file)
    tasks = _tasks_in(path, settings)
    if wanted:
        tasks = [task for task in tasks if task.name == wanted]
        if not tasks:
            names = ", ".join(task.name for task in _tasks_in(path, settings))
            raise TaskError(f"{path} holds no task {wanted!r}; it holds: {names}")
    base = path.stem if path.parent == shipped("tasks") else str(path)
    several = len(_tasks_in(path, settings)) > 1
    return [replace(task, path=path, reference=f"{base}:{task.name}" if several else base) for task in tasks]


def _split(reference: str) -> tuple[str, str]:
    """File and task of "longhealth:longhealth_t1" and "./mine.py:second"; a drive letter is no separator."""
    if ".py:" in reference:
        file, _, wanted = reference.rpartition(":")
        return file, wanted
    if "/" in reference or "\\" in reference:
        return reference, ""
    file, _, wanted = reference.partition(":")
    return file, wanted


def _tasks_in(path: Path, settings: Mapping[str, Any] | None) -> list[Task]:
    module = _module(path)
    configure = getattr(module, "configure", None)
    if configure is not None:
        return [_configured(path, configure, dict(settings or {}))]
    if settings:
        raise TaskError(f"task file {path} takes no settings")
    found = getattr(module, "tasks", None) or (getattr(module, "task", None),)
    if not isinstance(found, tuple | list) or not all(isinstance(task, Task) for task in found):
        raise TaskError(f"{path} defines no `task = Task(…)`; see README.md, 'Add a task'")
    return list(found)


def _configured(path: Path, configure: Callable[[dict[str, Any]], Any], settings: dict[str, Any]) -> Task:
    try:
        task = configure(settings)
    except WardroundError:
        raise
    except Exception as error:
        raise TaskError(f"task file {path} fails on its settings: {_in_one_line(error)}") from error
    if not isinstance(task, Task):
        raise TaskError(f"configure(settings) of {path} returns no Task")
    return task


def _in_one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _module(path: Path) -> ModuleType:
    name = f"wardround_task_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TaskError(f"{path} is not a Python file; a task is one .py file that defines `task`")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up in sys.modules while the file is still being executed.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise TaskError(f"task file {path} fails on import: {_in_one_line(error)}") from error
    return module


def _task_file(name_or_path: str) -> Path:
    if name_or_path.endswith(".py") or "/" in name_or_path or "\\" in name_or_path:
        try:
            path = Path(name_or_path).expanduser().resolve()
            found = path.is_file()
        except (RuntimeError, OSError) as error:
            raise TaskError(f"{name_or_path!r} is no usable path: {error}") from error
        if not found:
            raise TaskError(f"there is no task file {path}")
        return path
    names = task_names()
    if name_or_path not in names:
        near = difflib.get_close_matches(name_or_path, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"shipped tasks: {', '.join(names)}"
        raise TaskError(f"unknown task {name_or_path!r}; {hint} (your own task is given by path: ./mine.py)")
    return shipped("tasks") / f"{name_or_path}.py"
