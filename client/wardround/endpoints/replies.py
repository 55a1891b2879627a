"""What is asked of an endpoint and what comes back: plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from wardround.task import Prompt

FailureKind = Literal[
    "connect",
    "timeout",
    "rate_limit",
    "overload",
    "server_error",
    "broken_stream",
    "context_overflow",
    "unknown_model",
    "unauthorized",
    "missing_template",
    "content_filter",
    "bad_request",
    "bad_reply",
    "cut_in_reasoning",
    "constraint_ignored",
]
# How a choice is read off the model: from its words, from its first token's likelihood, or kept to by the server.
Choosing = Literal["parse", "logprobs", "structured"]


@dataclass(frozen=True, slots=True)
class Params:
    """How an answer is generated. `max_tokens` new tokens at most; `temperature` 0 is greedy.

    `template` is the SHA-256 of the chat template that the prompt is rendered with here, "plain" for turns simply
    joined, None where the server renders. `choose` says how one of the prompt's choices is come by.
    """

    max_tokens: int
    temperature: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    top_p: float | None = None
    template: str | None = None
    choose: Choosing = "parse"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered.

    Times are `time.perf_counter_ns` readings: `scheduled_ns` when the request's turn came, `sent_ns` when the
    last byte of the answered attempt was handed over, `first_token_ns` the first piece of text (None when the
    answer was not streamed), `done_ns` its end. Token counts are the server's own, None if it gave none.
    `cached_tokens` of the prompt's tokens were in the server's prefix cache, if it says so.
    `reasoning` is kept apart and never scored. `fingerprint` is what the server says of itself: the model name
    it answered with and its system fingerprint. `endpoint` is the base URL that answered. `logprobs` are the natural
    logarithms of the choices' probabilities, where the choice was made by them; a choice that is not among the
    likeliest tokens is absent.
    """

    text: str
    reasoning: str
    finish_reason: str | None
    prompt_tokens: int | None
    output_tokens: int | None
    scheduled_ns: int
    sent_ns: int
    first_token_ns: int | None
    done_ns: int
    fingerprint: str
    cached_tokens: int | None = None
    endpoint: str = ""
    logprobs: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that got no reply, and why.

    `words` is what the server or the network said; `retry_after_s` what the server asked for, in seconds.
    """

    kind: FailureKind
    words: str
    status: int | None = None
    retryable: bool = False
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a streamed answer: text of the answer or of the reasoning, and when it was read."""

    text: str
    reasoning: str
    at_ns: int


class Endpoint(Protocol):
    """Whatever can be asked: a protocol's own class, or one that adds limits or replicas to it."""

    async def ask(
        self,
        prompt: Prompt,
        params: Params,
        *,
        scheduled_ns: int | None = None,
        on_chunk: Callable[[Chunk], None] | None = None,
    ) -> Reply | Failure:
        """Ask once; `on_chunk` is told of each piece of a streamed answer. Raises nothing that one answer can cause."""
        ...
