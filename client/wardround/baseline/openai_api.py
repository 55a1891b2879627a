"""The OpenAI-style API: chat and text completions, whole or as a stream of chunks, and its errors."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

from wardround.baseline.asked import Asked, read_chat, read_completion
from wardround.baseline.completing import Answer
from wardround.baseline.generating import Step, likelihoods
from wardround.baseline.http import Call, Headers, Whole
from wardround.baseline.refusals import Refused
from wardround.baseline.state import FINGERPRINT, State

# Without blanks, and ASCII only, as most servers send it.
_compact = json.JSONEncoder(separators=(",", ":")).encode


class OpenAIDialect:
    """How OpenAI and its many followers are asked, answer and refuse."""

    def __init__(self, state: State, read: Callable[[Any], Asked]) -> None:
        self._read = read
        self._behaviour = state.options.behaviour

    def read(self, body: Any) -> Asked:
        """Read a request's body; raises `Refused`."""
        if not self._behaviour.constraints and isinstance(body, dict):
            body = {key: value for key, value in body.items() if key not in ("response_format", "structured_outputs")}
        return self._read(body)

    def write(self, answer: Answer) -> Written:
        """Put an answer into words."""
        return Written(answer)

    def overflow(self, asked: Asked, prompt_tokens: int, context: int) -> Refused:
        """What is said to a request that is too long for the context."""
        return Refused(
            f"This model's maximum context length is {context} tokens. However, you requested"
            f" {prompt_tokens + asked.max_tokens} tokens ({prompt_tokens} in the messages, {asked.max_tokens} in"
            " the completion).",
            code="context_length_exceeded",
            param="messages" if asked.chat else "prompt",
        )

    def refuse(self, refused: Refused, headers: Headers, call: Call) -> Whole:
        """Put a refusal into words."""
        return refusal(refused, headers)


def chat(state: State) -> OpenAIDialect:
    """The dialect of /v1/chat/completions."""
    return OpenAIDialect(state, read_chat)


def text(state: State) -> OpenAIDialect:
    """The dialect of /v1/completions."""
    return OpenAIDialect(state, read_completion)


def refusal(refused: Refused, headers: Headers = ()) -> Whole:
    """An error in OpenAI's shape."""
    error = {"message": refused.words, "type": refused.kind, "param": refused.param, "code": refused.code}
    return Whole(refused.status, json.dumps({"error": error}).encode(), (*headers, *retry_after(refused)))


def retry_after(refused: Refused) -> Headers:
    """The header that says when to come back."""
    if refused.retry_after_s is None:
        return ()
    # Rounded up: whoever comes back then is let in.
    return (("Retry-After", f"{-(-refused.retry_after_s * 1000 // 1) / 1000:g}"),)


class Written:
    """An answer as a completion object, or as the chunks of one.

    What all chunks of a stream have in common is put into words once.
    """

    headers: Headers = ()

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._asked = answer.prepared.asked
        self._generated = answer.prepared.generated
        self._steps: tuple[Step, ...] | None = None
        if self._asked.logprobs is not None and answer.behaviour.logprobs:
            self._steps = likelihoods(self._asked, self._generated, self._asked.logprobs)
        wants_usage = self._asked.include_usage and answer.behaviour.usage_in_stream
        self._after = ',"usage":null}\n\n' if wants_usage else "}\n\n"
        self._wants_usage = wants_usage

    def whole(self) -> bytes:
        """The body of an answer that is not streamed."""
        text = _compact(self._generated.text)
        said = f'"message":{{"role":"assistant","content":{text}}}' if self._asked.chat else f'"text":{text}'
        choice = f'{{"index":0,{said},"logprobs":{self._logprobs(0, None)},"finish_reason":"{self._reason}"}}'
        kind = "chat.completion" if self._asked.chat else "text_completion"
        return f'{self._head(kind)}"choices":[{choice}],"usage":{self._usage()}}}'.encode()

    def opening(self) -> bytes:
        """The chunk that only says who speaks; a text completion has none."""
        if not self._asked.chat:
            return b""
        return self._chunk('"delta":{"role":"assistant","content":""}', "null", "null")

    def token(self, number: int) -> bytes:
        """The chunk of token `number` (from 0)."""
        text = _compact(self._generated.tokens[number])
        said = f'"delta":{{"content":{text}}}' if self._asked.chat else f'"text":{text}'
        return self._chunk(said, self._logprobs(number, number + 1), "null")

    def ending(self) -> bytes:
        """The chunk that says why it ends, the usage if it was asked for, and the end mark."""
        last = self._chunk('"delta":{}' if self._asked.chat else '"text":""', "null", f'"{self._reason}"')
        usage = f'{self._stream_head}"choices":[],"usage":{self._usage()}}}\n\n' if self._wants_usage else ""
        return last + usage.encode() + b"data: [DONE]\n\n"

    def _chunk(self, said: str, logprobs: str, reason: str) -> bytes:
        choice = f'"choices":[{{"index":0,{said},"logprobs":{logprobs},"finish_reason":{reason}}}]'
        return f"{self._stream_head}{choice}{self._after}".encode()

    @functools.cached_property
    def _stream_head(self) -> str:
        return "data: " + self._head("chat.completion.chunk" if self._asked.chat else "text_completion")

    def _head(self, kind: str) -> str:
        answer = self._answer
        return (
            f'{{"id":"{answer.id}","object":"{kind}","created":{answer.created_s},"model":"{self._asked.model}",'
            f'"system_fingerprint":"{FINGERPRINT}",'
        )

    @property
    def _reason(self) -> str:
        return "length" if self._generated.ended == "length" else "stop"

    def _usage(self) -> str:
        read, new = self._answer.prepared.prompt_tokens, len(self._generated.tokens)
        cached = self._answer.cached_tokens
        details = "" if cached is None else f',"prompt_tokens_details":{{"cached_tokens":{cached}}}'
        return f'{{"prompt_tokens":{read},"completion_tokens":{new},"total_tokens":{read + new}{details}}}'

    def _logprobs(self, start: int, stop: int | None) -> str:
        """The probabilities of some of the tokens, as the API at hand writes them."""
        if self._steps is None:
            return "null"
        steps = self._steps[start:stop]
        if self._asked.chat:
            content = [
                {**_token(step.token, step.logprob), "top_logprobs": [_token(*one) for one in step.top]}
                for step in steps
            ]
            return _compact({"content": content, "refusal": None})
        offset = sum(len(text) for _, text in self._asked.prompt) + sum(len(one.token) for one in self._steps[:start])
        offsets = []
        for step in steps:
            offsets.append(offset)
            offset += len(step.token)
        return _compact(
            {
                "tokens": [step.token for step in steps],
                "token_logprobs": [step.logprob for step in steps],
                "top_logprobs": [dict(step.top) for step in steps] if self._asked.logprobs else None,
                "text_offset": offsets,
            }
        )


def _token(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode("utf-8", "surrogatepass"))}
