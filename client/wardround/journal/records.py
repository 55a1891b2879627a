"""What goes into the journal and comes out of it, and how it is written there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import orjson

from wardround.endpoints.replies import Failure, Params, Reply
from wardround.task import Message, Prompt, Sample
from wardround.text import storable

# Made once: `json.dumps` would make one for every value.
_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode
# The key of what an ask notes that says which of several steps its sample still awaits.
AWAITS = "awaits"
# And the one that names the request of the step before.
FIRST = "first"
# Of a reply joined to an ask: that it answers the sample, and not a step before that.
ANSWERS = f"coalesce(json_extract(asks.evidence, '$.{AWAITS}'), '') = ''"


@dataclass(frozen=True, slots=True)
class Cell:
    """Model × task × arm, as asked under one profile. `task_file` and `settings` are what `load_task` takes."""

    id: int
    model: str
    task: str
    arm: str
    profile: str
    task_file: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """How progress lines and messages call it."""
        return f"{self.model} · {self.task} · {self.arm}"


@dataclass(frozen=True, slots=True)
class Asked:
    """A cell as it is planned: what asks it (`identity` is the endpoint's) and with which parameters.

    `task_file` and `settings` are what `load_task` finds the task by.
    """

    model: str
    task: str
    arm: str
    profile: str
    task_file: str
    params: Params
    identity: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """A sample with its prompt; `cut` says what evidence the prompt had to do without.

    `evidence` is what an arm chose to show, as plain JSON values (docs/retrieval.md). If it has `AWAITS`, the prompt is
    a first step: a reply to it does not answer the sample. `max_tokens` replaces the cell's limit of new tokens.
    """

    sample: Sample
    prompt: Prompt
    cut: tuple[str, ...] = ()
    evidence: Mapping[str, Any] | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended: the last reply or failure, the attempts it took, the failures on the way."""

    request: int
    last: Reply | Failure
    attempts: int
    earlier: tuple[tuple[int, Failure], ...] = ()


@dataclass(frozen=True, slots=True)
class Answered:
    """A sample of a cell with its reply, or with the kind of its last failure ("not_asked" if none)."""

    position: int
    sample: Sample
    reply: Reply | None
    failure: str | None
    cut: tuple[str, ...] = ()
    evidence: Mapping[str, Any] | None = None


def failure_row(request: int, attempt: int, final: bool, failure: Failure, now: float) -> tuple[Any, ...]:
    """A row of `failures`, less its id."""
    return (request, attempt, int(final), failure.kind, failure.status, failure.words, now)


def reply_row(outcome: Outcome, reply: Reply, now: float) -> tuple[Any, ...]:
    """A row of `replies`."""
    return (
        outcome.request,
        reply.text,
        reply.reasoning,
        reply.finish_reason,
        reply.prompt_tokens,
        reply.output_tokens,
        reply.scheduled_ns,
        reply.sent_ns,
        reply.first_token_ns,
        reply.done_ns,
        outcome.attempts,
        reply.fingerprint,
        reply.cached_tokens,
        reply.endpoint,
        None if reply.logprobs is None else canonical(dict(reply.logprobs)),
        now,
    )


def reply_from_row(row: Sequence[Any]) -> Reply:
    """And back: the columns from `text` to `logprobs`, less `attempts`."""
    *plain, logprobs = row
    return Reply(*[*plain, None if logprobs is None else json.loads(logprobs)])


def canonical(value: Any) -> str:
    """JSON that is the same for the same value, fit to be stored."""
    return storable(_encode(value))


def sha256(text: str) -> str:
    """The hash under which texts are kept once."""
    return hashlib.sha256(text.encode()).hexdigest()


def sample_to_json(sample: Sample) -> str:
    """A sample as it stands in `samples.body`."""
    return canonical({"id": sample.id, "inputs": sample.inputs, "reference": sample.reference})


def prompt_to_json(prompt: Prompt) -> str:
    """A prompt as it stands in `prompts.body`."""
    messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
    choices = {"choices": list(prompt.choices)} if prompt.choices else {}
    return canonical({"messages": messages, "prefill": prompt.prefill, **choices})


def prompt_from_json(body: str) -> Prompt:
    """And back."""
    content = orjson.loads(body)
    messages = tuple(Message(message["role"], message["content"]) for message in content["messages"])
    return Prompt(messages, content["prefill"], tuple(content.get("choices", ())))


def params_to_dict(params: Params) -> dict[str, Any]:
    """Parameters as they stand in `requests.params`."""
    return {
        "max_tokens": params.max_tokens,
        "temperature": params.temperature,
        "seed": params.seed,
        "stop": list(params.stop),
        "extra_body": dict(params.extra_body),
        "top_p": params.top_p,
        "template": params.template,
        "choose": params.choose,
    }


@lru_cache(maxsize=64)
def params_from_json(text: str) -> Params:
    """And back; a study has few, and they are not changed by anyone."""
    content = json.loads(text)
    return Params(**{**content, "stop": tuple(content["stop"])})


def asked_with(cell: Asked, max_tokens: int | None) -> tuple[str, str]:
    """A cell's endpoint and parameters as JSON, with its own limit of new tokens or another one."""
    params = cell.params if max_tokens is None else replace(cell.params, max_tokens=max_tokens)
    return canonical(dict(cell.identity)), canonical(params_to_dict(params))


def request_key(identity: str, prompt_hash: str, params: str) -> str:
    """The key under which a request is kept once."""
    return sha256(f"{identity}\n{prompt_hash}\n{params}")
