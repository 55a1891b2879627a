"""A completion from the request to its answer, whatever API it was asked through."""

from __future__ import annotations

import asyncio
import functools
import json
import re
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from wardround.baseline.answerers import BASELINES
from wardround.baseline.asked import Asked
from wardround.baseline.generating import Generated, count_tokens, generate
from wardround.baseline.http import Call, Cut, Headers, Outcome, Streamed, Whole
from wardround.baseline.latency import Passage
from wardround.baseline.refusals import Refused
from wardround.baseline.state import Behaviour, State
from wardround.baseline.truth import Truth

# Requests up to this size are remembered with their answers: both depend on the body alone.
REMEMBERED_BYTES = 8 * 1024
REMEMBERED = 512
# What is repeated in a header must fit into one.
_CLIENT_ID = re.compile(r"[!-~]{1,200}")
NO_SYSTEM = "Conversation roles must alternate user/assistant/user/assistant/..."
NO_TEMPLATE = (
    "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat template if the"
    " tokenizer does not define one."
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What can be said of a request before any time has passed."""

    asked: Asked
    generated: Generated
    prompt_tokens: int


@dataclass(slots=True)
class Answer:
    """What an API writes down as its answer."""

    id: str
    prepared: Prepared
    behaviour: Behaviour
    created_s: int
    cached_tokens: int | None = None


class Written(Protocol):
    """An answer in an API's words: all of it, or the events of a stream."""

    headers: Headers

    def whole(self) -> bytes:
        """The body of an answer that is not streamed."""
        ...

    def opening(self) -> bytes:
        """What a stream begins with, before any token."""
        ...

    def token(self, number: int) -> bytes:
        """Token `number` (from 0)."""
        ...

    def ending(self) -> bytes:
        """What a stream ends with."""
        ...


class Dialect(Protocol):
    """One API: how it is asked, how it answers, how it refuses."""

    def read(self, body: Any) -> Asked:
        """Read a request's body; raises `Refused`."""
        ...

    def write(self, answer: Answer) -> Written:
        """Put an answer into words."""
        ...

    def overflow(self, asked: Asked, prompt_tokens: int, context: int) -> Refused:
        """What is said to a request that is too long for the context."""
        ...

    def refuse(self, refused: Refused, headers: Headers, call: Call) -> Outcome:
        """Put a refusal into words."""
        ...


Prepare = Callable[[bytes], Prepared]


def preparing(dialect: Dialect, state: State) -> Prepare:
    """What reads bodies for `dialect`, and remembers small ones."""
    prepare = functools.partial(_prepare, dialect, state)
    remembering = functools.lru_cache(maxsize=REMEMBERED)(prepare)
    return lambda body: (remembering if len(body) <= REMEMBERED_BYTES else prepare)(body)


def _prepare(dialect: Dialect, state: State, body: bytes) -> Prepared:
    """Read a request and answer it; raises `Refused`."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused("We could not parse the JSON body of your request.") from None
    asked = dialect.read(content)
    options = state.options
    if asked.model not in BASELINES:
        words = f"The model `{asked.model}` does not exist."
        raise Refused(words, status=404, code="model_not_found", param="model")
    if asked.chat and not options.behaviour.template:
        raise Refused(NO_TEMPLATE, code=400, kind="BadRequestError")
    if asked.chat and not options.behaviour.system and any(role == "system" for role, _ in asked.messages):
        raise Refused(NO_SYSTEM, code=400, kind="BadRequestError")
    prompt_tokens = sum([count_tokens(text) for _, text in asked.prompt])
    if prompt_tokens + asked.max_tokens > options.context:
        raise dialect.overflow(asked, prompt_tokens, options.context)
    return Prepared(asked, generate(asked), prompt_tokens)


def complete(call: Call, state: State, dialect: Dialect, prepare: Prepare) -> Outcome:
    """Answer a request for a completion, or refuse it."""
    state.requests += 1
    identity = f"cmpl-{state.requests}"
    client_id = call.headers.get("x-request-id", "")
    if client_id and not _CLIENT_ID.fullmatch(client_id):
        client_id = ""
    headers = [("x-request-id", client_id or identity)]
    slow = cut = False
    try:
        prepared = prepare(call.body)
        if state.meter is not None:
            _within_limits(state, prepared, headers)
        if state.options.faults.any:
            slow, cut = _chance(state)
    except Refused as refused:
        state.statuses[str(refused.status)] += 1
        return dialect.refuse(refused, headers, call)
    except Exception:
        state.statuses["500"] += 1
        raise
    asked = prepared.asked
    answer = Answer(identity, prepared, state.options.behaviour, int(time.time()))
    truth = Truth(identity, client_id, call.received_ns, prepared.prompt_tokens, streamed=asked.stream)
    written = dialect.write(answer)
    job = _Job(state, written, answer, truth, (*headers, *written.headers), slow, cut)
    if state.options.latency.instant and not slow:
        return job.at_once()
    return Streamed(job.stream(), job.headers) if asked.stream else job.whole


def _within_limits(state: State, prepared: Prepared, headers: list[tuple[str, str]]) -> None:
    """Count the request against the limits and tell what is left; raises `Refused`."""
    assert state.meter is not None
    now_s = time.monotonic()
    tokens = prepared.prompt_tokens + (prepared.asked.max_tokens if prepared.asked.limited else 0)
    try:
        state.meter.let_in(prepared.asked.model, tokens, now_s)
    finally:
        headers += state.meter.headers(now_s)


def _chance(state: State) -> tuple[bool, bool]:
    """Whether the answer is to be slow, and whether cut off; raises `Refused` for what fails at once."""
    faults = state.options.faults
    fault = faults.draw(state.chance.random())
    if fault == "429":
        raise Refused(
            "Rate limit reached.",
            status=429,
            code="rate_limit_exceeded",
            kind="requests",
            retry_after_s=faults.retry_after_s,
        )
    if fault == "500":
        words = "The server had an error while processing your request."
        raise Refused(words, status=500, kind="server_error")
    if fault == "filter":
        raise Refused(
            "The response was filtered due to the prompt triggering the content management policy. Please modify your"
            " prompt and retry.",
            code="content_filter",
            param="prompt",
        )
    return fault == "slow", fault == "cut"


@dataclass(slots=True)
class _Job:
    """One answer on its way out."""

    state: State
    written: Written
    answer: Answer
    truth: Truth
    headers: Headers
    slow: bool
    cut: bool
    tokens: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = self.answer.prepared.generated.tokens
        self.truth.output_tokens = len(self.tokens)

    def at_once(self) -> Outcome:
        """The answer where nothing takes any time."""
        state, truth = self.state, self.truth
        state.peak_in_flight = max(state.peak_in_flight, state.in_flight + 1)
        if state.engine.cache:
            # No time is saved, but it is told what could have been.
            passage = Passage(state.engine, self.answer.prepared.asked.prompt, truth.prompt_tokens, truth.received_ns)
            passage.look_up()
            passage.keep()
            self._cached(passage.cached_tokens)
        if not self.answer.prepared.asked.stream:
            self._first_token_is_ready()
            made = Whole(200, self.written.whole(), self.headers, cut=self.cut)
            self._over()
            return made
        kept = len(self.tokens) // 2 if self.cut else len(self.tokens)
        pieces = [self.written.opening(), *map(self.written.token, range(kept))]
        if not self.cut:
            pieces.append(self.written.ending())
        truth.token_ns.extend([time.perf_counter_ns()] * kept)
        self._over()
        return Streamed(b"".join(pieces), self.headers, cut=self.cut)

    async def whole(self) -> Whole:
        """The answer in one piece, once its last token would have come."""
        self.state.enter()
        try:
            async with await self._begun() as passage:
                await passage.read_prompt()
                self._cached(passage.cached_tokens)
                self._first_token_is_ready()
                if len(self.tokens) > 1:
                    await passage.next_tokens(len(self.tokens) - 1)
            made = Whole(200, self.written.whole(), self.headers, cut=self.cut)
            self._over()
            return made
        finally:
            self.state.leave()

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The answer's events, each when its token is due."""
        self.state.enter()
        truth = self.truth
        try:
            async with await self._begun() as passage:
                opening = self.written.opening()
                if opening:
                    yield opening
                await passage.read_prompt()
                self._cached(passage.cached_tokens)
                for number in range(len(self.tokens)):
                    if number:
                        await passage.next_token()
                    if self.cut and number >= len(self.tokens) // 2:
                        self._over()
                        raise Cut
                    # Whoever writes it comes back for more only when the piece was handed to the kernel.
                    yield self.written.token(number)
                    truth.token_ns.append(time.perf_counter_ns())
                if self.cut:
                    self._over()
                    raise Cut
            yield self.written.ending()
            self._over()
        finally:
            self.state.leave()

    async def _begun(self) -> Passage:
        start_ns = self.truth.received_ns
        if self.slow:
            await asyncio.sleep(self.state.options.faults.slow_s)
            start_ns = time.perf_counter_ns()
        return Passage(self.state.engine, self.answer.prepared.asked.prompt, self.truth.prompt_tokens, start_ns)

    def _first_token_is_ready(self) -> None:
        if self.tokens:
            self.truth.first_token_ns = time.perf_counter_ns()

    def _cached(self, tokens: int) -> None:
        if self.state.engine.cache:
            self.answer.cached_tokens = self.truth.cached_tokens = tokens

    def _over(self) -> None:
        """The answer is given, to its end or to where it is cut."""
        state, truth = self.state, self.truth
        truth.done_ns = time.perf_counter_ns()
        if truth.token_ns:
            truth.first_token_ns = truth.token_ns[0]
        state.statuses["cut" if self.cut else "200"] += 1
        if state.truths is not None:
            state.truths.keep(truth)
        if not self.cut:
            state.done(truth, "length" if self.answer.prepared.generated.ended == "length" else "stop")
