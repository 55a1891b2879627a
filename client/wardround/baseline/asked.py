"""What a client asks of the embedded server, checked: the bodies of OpenAI-style chat and text completions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wardround.baseline.constraints import Form, response_format, structured_outputs
from wardround.baseline.refusals import must
from wardround.baseline.rendered import turns_of

DEFAULT_MAX_TOKENS = 512
MOST_ALTERNATIVES = 20
_ROLES = ("system", "developer", "user", "assistant", "tool")
Turns = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A completion that is wanted.

    `messages` are (role, content) pairs as the baseline reads them, `prompt` the same as they were sent: for a text
    completion one pair, whose text may be the rendering of several turns. `limited`: the client said `max_tokens`
    itself. `logprobs` is the number of alternatives to tell for each token, None for no probabilities at all.
    `keeps_stop`: a stop string stays at the end of the answer. `counts_end`: the end of the answer is a token.
    """

    model: str
    messages: Turns
    prompt: Turns
    chat: bool
    max_tokens: int
    limited: bool = False
    stop: tuple[str, ...] = ()
    seed: int = 0
    stream: bool = False
    include_usage: bool = False
    logprobs: int | None = None
    form: Form | None = None
    keeps_stop: bool = False
    counts_end: bool = False


def read_chat(body: Any) -> Asked:
    """Read the body of /v1/chat/completions; raises `Refused`."""
    must(isinstance(body, dict), "The body must be a JSON object.")
    turns = turns_in(body)
    return _read(body, turns, turns, _chat_logprobs(body), chat=True)


def turns_in(body: dict[str, Any]) -> Turns:
    """The (role, content) pairs of a body's `messages`; raises `Refused`."""
    messages = body.get("messages")
    must(isinstance(messages, list) and messages, "'messages' must be a non-empty array.")
    return tuple([_message(message, place) for place, message in enumerate(messages or ())])


def read_completion(body: Any) -> Asked:
    """Read the body of /v1/completions; raises `Refused`."""
    must(isinstance(body, dict), "The body must be a JSON object.")
    prompt = body.get("prompt")
    must(isinstance(prompt, str), "'prompt' must be a string.")
    return _read(body, turns_of(str(prompt)), (("", str(prompt)),), _alternatives(body, "logprobs"), chat=False)


def _read(body: dict[str, Any], messages: Turns, prompt: Turns, logprobs: int | None, *, chat: bool) -> Asked:
    model = body.get("model")
    must(isinstance(model, str) and model != "", "'model' must be a string.")
    must(body.get("n") in (None, 1), "'n' must be 1.")
    limits = (body.get("max_completion_tokens"), body.get("max_tokens"))
    limit = next((limit for limit in limits if limit is not None), None)
    must(limit is None or (is_count(limit) and limit >= 1), "'max_tokens' must be an integer of at least 1.")
    seed = body.get("seed")
    must(seed is None or is_count(seed), "'seed' must be an integer.")
    options = body.get("stream_options") or {}
    must(isinstance(options, dict), "'stream_options' must be an object.")
    wanted = (response_format(body.get("response_format")), structured_outputs(body.get("structured_outputs")))
    must(None in wanted, "'response_format' and 'structured_outputs' exclude each other.")
    return Asked(
        model=str(model),
        messages=messages,
        prompt=prompt,
        chat=chat,
        max_tokens=DEFAULT_MAX_TOKENS if limit is None else int(limit),
        limited=limit is not None,
        stop=_stop(body.get("stop")),
        seed=int(seed or 0),
        stream=body.get("stream") is True,
        include_usage=options.get("include_usage") is True,
        logprobs=logprobs,
        form=wanted[0] or wanted[1],
    )


def _chat_logprobs(body: dict[str, Any]) -> int | None:
    wanted = body.get("logprobs")
    must(wanted is None or isinstance(wanted, bool), "'logprobs' must be true or false.", param="logprobs")
    alternatives = _alternatives(body, "top_logprobs")
    must(wanted or not alternatives, "'top_logprobs' needs 'logprobs' to be true.", param="top_logprobs")
    return (alternatives or 0) if wanted else None


def _alternatives(body: dict[str, Any], name: str) -> int | None:
    value = body.get(name)
    must(
        value is None or (is_count(value) and 0 <= value <= MOST_ALTERNATIVES),
        f"'{name}' must be an integer from 0 to {MOST_ALTERNATIVES}.",
        param=name,
    )
    return None if value is None else int(value)


def _stop(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    stops = [value] if isinstance(value, str) else value
    must(
        isinstance(stops, list) and len(stops) <= 4 and all(isinstance(stop, str) for stop in stops),
        "'stop' must be a string or an array of at most 4 strings.",
    )
    return tuple(stops)


def _message(message: Any, place: int) -> tuple[str, str]:
    if isinstance(message, dict) and isinstance(message.get("content"), str) and message.get("role") in _ROLES:
        # Nearly all of them; the complaints below need not be put into words for these.
        return "system" if message["role"] == "developer" else message["role"], message["content"]
    must(isinstance(message, dict), f"'messages.{place}' must be an object.")
    role, content = message.get("role"), message.get("content")
    must(role in _ROLES, f"'messages.{place}.role' must be one of {', '.join(_ROLES)}.")
    if isinstance(content, list):
        must(
            all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in content),
            f"'messages.{place}.content' may only hold text parts.",
        )
        content = "".join(part["text"] for part in content)
    must(isinstance(content, str), f"'messages.{place}.content' must be a string.")
    return ("system" if role == "developer" else str(role)), str(content)


def is_count(value: Any) -> bool:
    """Whether a JSON value is an integer (a truth value is none)."""
    return isinstance(value, int) and not isinstance(value, bool)
