"""From what a server says to a reply: the forms that OpenAI's protocol has for it, and what is done to every answer.

Whole answers, pieces of a stream and texts of all engines are read into one `Said`; what makes a reply of it (reasoning
split off, stop strings cut, a choice read) is the same for all protocols.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from wardround.catalogue import Model
from wardround.endpoints.choosing import (
    NO_LOGPROBS,
    FirstTokens,
    Form,
    answer_in,
    first_tokens,
    likeliest,
    likelihoods,
)
from wardround.endpoints.reasoning import split_answer
from wardround.endpoints.replies import Chunk, Failure, Params, Reply
from wardround.task import Prompt
from wardround.text import storable

# What reading an answer of the wrong shape raises.
MALFORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)

# OpenAI, vLLM, SGLang and TGI take no more; further ones are cut off here.
STOPS_SENT = 4


class Usage(NamedTuple):
    """Token counts of the server's own, None where it gives none; `cached` of the prompt's were in its cache."""

    prompt: int | None = None
    output: int | None = None
    cached: int | None = None


@dataclass(slots=True)
class Said:
    """What an answer says, or one piece of a streamed one; `first_tokens` is None where no likelihoods came.

    `repeats_prefill`: the server puts the beginning that it was given before what the model said.
    """

    text: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    fingerprint: str = ""
    first_tokens: FirstTokens | None = None
    repeats_prefill: bool = False


@dataclass(slots=True)
class Times:
    """When it happened, in `time.perf_counter_ns`."""

    scheduled_ns: int
    sent_ns: int = 0
    first_token_ns: int | None = None
    done_ns: int = 0


@dataclass(slots=True)
class Gathered:
    """The pieces of a streamed answer so far."""

    said: Said = field(default_factory=Said)
    texts: list[str] = field(default_factory=list)
    reasonings: list[str] = field(default_factory=list)
    first_token_ns: int | None = None

    def take(self, piece: Said, at_ns: int) -> Chunk | None:
        """Add a piece; returns its text if it carries any."""
        said = self.said
        said.usage = piece.usage or said.usage
        said.fingerprint = said.fingerprint or piece.fingerprint
        said.finish_reason = piece.finish_reason or said.finish_reason
        if not said.first_tokens and piece.first_tokens is not None:
            said.first_tokens = piece.first_tokens
        if not piece.text and not piece.reasoning:
            return None
        if self.first_token_ns is None:
            self.first_token_ns = at_ns
        self.texts.append(piece.text)
        self.reasonings.append(piece.reasoning)
        return Chunk(piece.text, piece.reasoning, at_ns)

    def whole(self) -> Said | Failure:
        """All that was said; a stream that ends without a finish reason is a broken one."""
        if self.said.finish_reason is None:
            words = f"the stream ended without a finish reason after {len(self.texts)} pieces"
            return Failure(kind="broken_stream", words=words, status=200, retryable=True)
        self.said.text = "".join(self.texts)
        self.said.reasoning = "".join(self.reasonings)
        return self.said


def read_message(content: Any) -> Said:
    """Read a whole chat completion; raises one of `MALFORMED`."""
    choice = content["choices"][0]
    message = choice["message"]
    said = _said(content, choice, message, "content")
    if "content" not in message and not said.reasoning:
        raise KeyError("content")
    said.repeats_prefill = _is_of_llama_cpp(content)
    return said


def read_text(content: Any) -> Said:
    """Read a whole text completion; raises one of `MALFORMED`."""
    choice = content["choices"][0]
    if "text" not in choice:
        raise KeyError("text")
    return _said(content, choice, choice, "text")


def read_message_piece(content: Any) -> Said:
    """Read one event of a streamed chat completion; raises one of `MALFORMED`."""
    choices = content.get("choices")
    if not choices:
        return Said(usage=_usage(content), fingerprint=_fingerprint(content))
    return _said(content, choices[0], choices[0].get("delta") or {}, "content")


def read_text_piece(content: Any) -> Said:
    """Read one event of a streamed text completion; raises one of `MALFORMED`."""
    choices = content.get("choices")
    if not choices:
        return Said(usage=_usage(content), fingerprint=_fingerprint(content))
    return _said(content, choices[0], choices[0], "text")


def _said(content: Any, choice: Any, holder: Any, key: Literal["content", "text"]) -> Said:
    reason = choice.get("finish_reason")
    logprobs = choice.get("logprobs")
    text = _text(holder, key)
    return Said(
        # What a model says instead of an answer is what it says.
        text=text or _text(holder, "refusal"),
        reasoning=_text(holder, "reasoning_content") or _text(holder, "reasoning"),
        finish_reason=reason if isinstance(reason, str) and reason else None,
        usage=_usage(content),
        fingerprint=_fingerprint(content),
        first_tokens=first_tokens(logprobs) if logprobs else None,
    )


def _text(holder: Mapping[str, Any], key: str) -> str:
    """A text, or the text parts of a list; raises `TypeError` for what is neither: it must not become ""."""
    value = holder.get(key)
    if isinstance(value, list):
        return "".join(str(part["text"]) for part in value if part.get("type", "text") == "text")
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{key} is no text")
    return value or ""


def _usage(content: Mapping[str, Any]) -> Usage | None:
    usage = content.get("usage")
    if not isinstance(usage, Mapping) or not usage:
        return None
    details, timings = usage.get("prompt_tokens_details"), content.get("timings")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else None
    if cached is None and isinstance(timings, Mapping):
        # llama.cpp's word for it.
        cached = timings.get("cache_n")
    return Usage(count(usage.get("prompt_tokens")), count(usage.get("completion_tokens")), count(cached))


def _is_of_llama_cpp(content: Mapping[str, Any]) -> bool:
    """Whether llama.cpp's server made a whole chat completion: nobody else signs one with these timings.

    It alone repeats a prefill, and only in answers that are not streamed (servers/engines/llamacpp.yaml, begun_answer).
    """
    timings = content.get("timings")
    return isinstance(timings, Mapping) and "predicted_n" in timings and "prompt_n" in timings


def count(value: Any) -> int | None:
    """A number of tokens, None for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None


def _fingerprint(content: Mapping[str, Any]) -> str:
    parts = (content.get("model"), content.get("system_fingerprint"))
    return storable(" ".join(part for part in parts if isinstance(part, str)))


def reply_of(
    said: Said, times: Times, *, prompt: Prompt, params: Params, model: Model, form: Form, endpoint: str
) -> Reply | Failure:
    """What was said as a reply, or as the failure that it is."""
    if said.finish_reason == "content_filter":
        words = "the provider's content filter withheld the answer, or the rest of it"
        return Failure(kind="content_filter", words=words, status=200)
    if said.repeats_prefill and model.prefill == "continue":
        # Once: what the model itself says again is its answer.
        said.text = said.text.removeprefix(prompt.prefill)
    if params.choose == "logprobs":
        return _chosen_by_likelihood(said, times, prompt, endpoint)
    # Only whole: a character may be cut into two pieces of a stream.
    written, answer, closed = split_answer(storable(said.text), model.reasoning)
    reasoning = "\n".join(part for part in (storable(said.reasoning), written) if part)
    if said.finish_reason == "length" and _cut_before_answer(answer, reasoning, closed, model):
        words = "the token limit was reached inside the reasoning, before any answer; raise max_tokens"
        return Failure(kind="cut_in_reasoning", words=words, status=200)
    if params.choose == "structured":
        chosen = answer_in(answer, prompt.choices, form)
        if chosen is None:
            return _form_ignored(said, answer)
        return _reply(said, times, chosen, reasoning, endpoint)
    stopped = cut_at_stop(answer, params.stop) if params.stop else answer
    if len(stopped) < len(answer):
        said.finish_reason = "stop"
    return _reply(said, times, stopped, reasoning, endpoint)


def _cut_before_answer(answer: str, reasoning: str, closed: bool, model: Model) -> bool:
    if model.reasoning == "final-response" and not closed:
        return True
    return not answer.strip() and bool(reasoning or not closed)


def cut_at_stop(text: str, stops: tuple[str, ...]) -> str:
    """`text` up to the first of the stop strings in it: engines take few of them, and TGI leaves them at the end."""
    places = [place for stop in stops if stop and (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else text


def _chosen_by_likelihood(said: Said, times: Times, prompt: Prompt, endpoint: str) -> Reply | Failure:
    if said.first_tokens is None:
        return Failure(kind="constraint_ignored", words=NO_LOGPROBS, status=200)
    logprobs = likelihoods(said.first_tokens, prompt.choices)
    chosen = likeliest(logprobs, prompt.choices)
    # Where none of the likely tokens begins a choice, the answer is what the model would have said: no choice.
    text = storable(said.text) if chosen is None else chosen
    return _reply(said, times, text, storable(said.reasoning), endpoint, logprobs)


def _form_ignored(said: Said, answer: str) -> Failure:
    if said.finish_reason == "length":
        words = "the token limit was reached before the form of the answer was whole; raise max_tokens"
    else:
        words = (
            "the server did not keep the answer to the choices: set `structured` in the model's row, or use an arm with"
            f" `choice: parse`; it answered: {answer[:200]}"
        )
    return Failure(kind="constraint_ignored", words=words, status=200)


def _reply(
    said: Said,
    times: Times,
    text: str,
    reasoning: str,
    endpoint: str,
    logprobs: Mapping[str, float] | None = None,
) -> Reply:
    usage = said.usage or Usage()
    return Reply(
        text=text,
        reasoning=reasoning,
        finish_reason=storable(said.finish_reason) if said.finish_reason else None,
        prompt_tokens=usage.prompt,
        output_tokens=usage.output,
        scheduled_ns=times.scheduled_ns,
        sent_ns=times.sent_ns,
        first_token_ns=times.first_token_ns,
        done_ns=times.done_ns,
        fingerprint=said.fingerprint,
        cached_tokens=usage.cached,
        endpoint=endpoint,
        logprobs=logprobs,
    )
