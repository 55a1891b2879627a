"""A dry run: what a study would ask, and what that may take in tokens, money and time. Nothing is asked.

The study is planned as for a run, into a journal that is thrown away, and no server is spoken to: where a model's row
has no tokenizer file, tokens are estimated. What has a reply in the run folder already is left out, as a run would.

    prompt tokens      the texts' tokens, and what chat templates add to turns and prompts (`running.budget`)
    new tokens         as many as the samples' references have at the mean, or few where the answer is one of several
                       choices; besides them all that the row grants for reasoning; never above the limit
    new tokens at most the limits of new tokens of all requests
    cost               tokens × price, and the expected time × the price of an hour; at most: with most new tokens,
                       and absent for a price by the hour, since a run has no longest time
    time               the longest of: requests ÷ requests a minute, tokens ÷ tokens a minute, and, where an earlier run
                       of the folder has the model's answers, requests × their mean latency ÷ concurrency; limits and
                       concurrency are those of one server, times the model's servers
"""

from __future__ import annotations

import contextlib
import json
import math
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from wardround.catalogue import EMBEDDED, Model, Price
from wardround.endpoints import Params
from wardround.endpoints.tokens import TokenCounter, counter_without_server
from wardround.journal import JOURNAL_FILE, Cell, Journal
from wardround.journal.records import params_from_json
from wardround.journal.usage import Took, answered_keys, cost_usd, keep_counts_of, requests_of, took_by_model
from wardround.running.budget import TOKENS_A_PROMPT, TOKENS_A_TURN
from wardround.running.planning import Prepared, plan, prepare
from wardround.running.spending import check_prices
from wardround.running.stand_ins import stand_ins
from wardround.study import Budget, Study
from wardround.task import Prompt

# "The correct answer is B: diverticulitis of the sigmoid colon" has about so many.
TOKENS_OF_A_CHOICE = 16


@dataclass(frozen=True, slots=True)
class ModelEstimate:
    """What is still to be asked of a model, and what that may take.

    `requests` are the study's, equal ones once, `answered` of them have a reply already; all else is of the rest.
    `server` is the same for models that take turns. `counted_by` says what counted the prompts' tokens. Money in US
    dollars: `cost_usd` is None where the row has no `price` or, with a price by the hour, where the time is not known;
    `charged_usd` is for the tokens alone, which is what a budget counts. `time_s` is in seconds, None where nothing
    tells it, `time_by` what told it.
    """

    model: str
    server: str
    price: Price | None
    counted_by: str
    requests: int
    answered: int
    prompt_tokens: int
    new_tokens: int
    most_new_tokens: int
    cost_usd: float | None
    most_cost_usd: float | None
    charged_usd: float
    most_charged_usd: float
    time_s: float | None
    time_by: str

    @property
    def embedded(self) -> bool:
        """Whether the run's own server answers for it, at no cost."""
        return self.server == EMBEDDED


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """The estimates of a study's models, its budget, and what the answers of earlier runs of the folder used up of it.

    Sums leave out the embedded server's rows. `stand_ins` says in what the prompts reckoned with are not the run's.
    """

    models: tuple[ModelEstimate, ...]
    budget: Budget
    spent_usd: float
    spent_tokens: int
    stand_ins: tuple[str, ...] = ()

    @property
    def asked(self) -> list[ModelEstimate]:
        """The models that a server of their own answers for."""
        return [one for one in self.models if not one.embedded]

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(one.prompt_tokens for one in self.asked)

    @property
    def new_tokens(self) -> int:
        """New tokens expected of all."""
        return sum(one.new_tokens for one in self.asked)

    @property
    def most_new_tokens(self) -> int:
        """New tokens that all are granted."""
        return sum(one.most_new_tokens for one in self.asked)

    @property
    def cost_usd(self) -> float | None:
        """What the models with a price are expected to cost; None if there is none."""
        return _sum([one.cost_usd for one in self.asked])

    @property
    def most_cost_usd(self) -> float | None:
        """What the models with a price may cost at most; None if there is none, or if one of them has no bound."""
        priced = [one.most_cost_usd for one in self.asked if one.price]
        return None if None in priced else _sum(priced)

    @property
    def charged_usd(self) -> float:
        """What of the expected cost a budget counts: all but what is paid by the hour."""
        return sum(one.charged_usd for one in self.asked)

    @property
    def most_charged_usd(self) -> float:
        """What a budget counts if every answer is as long as it may be."""
        return sum(one.most_charged_usd for one in self.asked)

    @property
    def time_s(self) -> float | None:
        """Seconds expected for those whose time is known; servers are asked side by side, models of one in turn."""
        servers: dict[str, float] = {}
        for one in self.asked:
            if one.time_s is not None:
                servers[one.server] = servers.get(one.server, 0.0) + one.time_s
        return max(servers.values(), default=None)


def estimate_run(study: Study, folder: Path) -> RunEstimate:
    """What `run_study(study, folder)` would ask now, and what that may take.

    Reads the study's data and, where `folder` holds a run, its journal; writes nothing that stays. Raises what
    planning raises: `TaskError`, `DataError`, `StudyError`, `CatalogueError`.
    """
    check_prices(study)
    prepared = [one for choice in study.tasks for one in prepare(choice, study.profile)]
    with contextlib.ExitStack() as stack:
        journal = stack.enter_context(Journal.create(stack.enter_context(_scratch())))
        before = _Before()
        if (folder / JOURNAL_FILE).is_file():
            earlier = stack.enter_context(Journal.open(folder))
            keep_counts_of(earlier, journal)
            before = _Before(frozenset(answered_keys(earlier)), took_by_model(earlier))
        plan(study, journal, prepared, {}, None)
        planned = _Planned(study, journal, prepared)
        models = tuple(_estimated(study, model, planned, before) for model in study.models)
    asked = [model for model in study.models if model.base_url != EMBEDDED]
    return RunEstimate(
        models=models,
        budget=study.budget,
        spent_usd=sum(_spent_usd(model, before.took.get(model.name, [])) for model in asked),
        spent_tokens=sum(_tokens(took) for model in asked for took in before.took.get(model.name, [])),
        stand_ins=tuple(stand_ins(study, prepared)),
    )


@dataclass(frozen=True, slots=True)
class _Before:
    """What an earlier run of the folder has: the keys of answered requests, and what each model's took."""

    keys: frozenset[str] = frozenset()
    took: Mapping[str, Sequence[Took]] = field(default_factory=dict)


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder, 0700, that goes with the block: it holds patients' text, so a signal must not leave it behind."""
    kept = {}
    for name in ("SIGTERM", "SIGHUP"):
        # No SIGHUP on Windows, and outside the main thread signals are another's affair.
        with contextlib.suppress(AttributeError, ValueError):
            number = getattr(signal, name)
            kept[number] = signal.signal(number, _leave)
    try:
        with tempfile.TemporaryDirectory(prefix="wardround-") as folder:
            yield Path(folder)
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


class _Planned:
    """A plan's requests with their sizes; models that count alike share the counts of their prompts."""

    def __init__(self, study: Study, journal: Journal, prepared: Sequence[Prepared]) -> None:
        self._journal = journal
        self._prepared = {one.label: one for one in prepared}
        self._choosing = {arm.name: arm.choice for arm in study.arms}
        self._cells = {cell.id: cell for cell in journal.cells()}
        self._limits: dict[str, int] = {}
        self._sizes: dict[tuple[str, str], int] = {}

    def requests(self, model: Model, counter: TokenCounter) -> Iterator[tuple[str, int, int, int]]:
        """The requests of a model: (key, prompt tokens, new tokens expected, new tokens at most)."""
        counts_as = model.tokenizer or counter.name
        expected: dict[int, int] = {}
        for request, key, prompt_hash, params_json, cell in requests_of(self._journal, model.name):
            if params_json not in self._limits:
                self._limits[params_json] = _granted(params_from_json(params_json))
            if (counts_as, prompt_hash) not in self._sizes:
                prompt, _ = self._journal.request(request)
                self._sizes[counts_as, prompt_hash] = _prompt_tokens(prompt, counter)
            if cell not in expected:
                expected[cell] = self._answer_tokens(self._cells[cell], counter) + model.reasoning_tokens
            limit = self._limits[params_json]
            yield key, self._sizes[counts_as, prompt_hash], min(expected[cell], limit), limit

    def _answer_tokens(self, cell: Cell, counter: TokenCounter) -> int:
        one = self._prepared[cell.task]
        if one.rules.choices is not None:
            return 1 if self._choosing.get(cell.arm) == "logprobs" else TOKENS_OF_A_CHOICE
        references = [_text(sample.reference) for sample in one.samples if sample.reference is not None]
        return math.ceil(fmean(counter.count(text) for text in references)) if references else 0


def _granted(params: Params) -> int:
    """The limit of new tokens that is sent: a row's own fields of the request go over the task's limit."""
    own = [params.extra_body.get(name) for name in ("max_tokens", "max_completion_tokens", "max_new_tokens")]
    return max([params.max_tokens, *(one for one in own if isinstance(one, int))])


def _text(reference: object) -> str:
    return reference if isinstance(reference, str) else json.dumps(reference, ensure_ascii=False)


def _prompt_tokens(prompt: Prompt, counter: TokenCounter) -> int:
    texts = [*(message.content for message in prompt.messages), prompt.prefill]
    marks = TOKENS_A_PROMPT + TOKENS_A_TURN * len(prompt.messages)
    return marks + sum(counter.count(text) for text in texts if text)


def _estimated(study: Study, model: Model, planned: _Planned, before: _Before) -> ModelEstimate:
    counter = counter_without_server(model)
    requests, left = 0, []
    for key, *sizes in planned.requests(model, counter):
        requests += 1
        if key not in before.keys:
            left.append(sizes)
    prompt, new, most = (sum(column) for column in zip(*left, strict=True)) if left else (0, 0, 0)
    time_s, time_by = _time(study, model, len(left), prompt + new, before.took.get(model.name, []))
    return ModelEstimate(
        model=model.name,
        server=" ".join(sorted(model.urls)),
        price=model.price,
        counted_by=counter.name,
        requests=requests,
        answered=requests - len(left),
        prompt_tokens=prompt,
        new_tokens=new,
        most_new_tokens=most,
        cost_usd=_cost_usd(model, prompt, new, time_s),
        most_cost_usd=_cost_usd(model, prompt, most, None if left else 0.0),
        charged_usd=cost_usd(model.price or Price(), prompt, new, 0.0),
        most_charged_usd=cost_usd(model.price or Price(), prompt, most, 0.0),
        time_s=time_s,
        time_by=time_by,
    )


def _time(study: Study, model: Model, requests: int, tokens: int, took: Sequence[Took]) -> tuple[float | None, str]:
    """Seconds for so many requests and tokens, and what tells them."""
    if not requests:
        return 0.0, "nothing is left to ask"
    if model.base_url == EMBEDDED:
        return None, "embedded: as fast as this machine"
    limits, servers = model.limits, len(model.urls)
    known: list[tuple[float, str]] = []
    if limits.requests_per_minute:
        known.append((60 * requests / (servers * limits.requests_per_minute), "its limit of requests"))
    if limits.tokens_per_minute:
        known.append((60 * tokens / (servers * limits.tokens_per_minute), "its limit of tokens"))
    if took:
        at_once = min(requests, servers * min(limits.concurrency or study.concurrency, study.concurrency))
        known.append((requests * fmean(one.e2e_ns for one in took) / 1e9 / at_once, "its earlier answers"))
    return max(known, default=(None, "unknown: no limit and no earlier run"), key=lambda one: one[0] or 0.0)


def _cost_usd(model: Model, prompt: int, new: int, time_s: float | None) -> float | None:
    if model.base_url == EMBEDDED:
        return 0.0
    if model.price is None or (model.price.hour and time_s is None):
        return None
    return cost_usd(model.price, prompt, new, time_s or 0.0)


def _spent_usd(model: Model, took: Sequence[Took]) -> float:
    prompt, output = sum(one.prompt_tokens or 0 for one in took), sum(one.output_tokens or 0 for one in took)
    return cost_usd(model.price or Price(), prompt, output, 0.0)


def _tokens(took: Took) -> int:
    return (took.prompt_tokens or 0) + (took.output_tokens or 0)


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
