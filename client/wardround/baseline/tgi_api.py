"""TGI's native API: /generate and /generate_stream as version 3 of text-generation-inference answers them.

It serves one model, so the request names none. The end of an answer is a token of its own there, a stop string stays
at the answer's end, and a stream that is refused is an event inside an answer whose status says success.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wardround import __version__
from wardround.baseline.asked import Asked, is_count
from wardround.baseline.completing import Answer
from wardround.baseline.constraints import Form, regex, schema
from wardround.baseline.generating import END, Step, likelihoods, prompt_likelihoods
from wardround.baseline.http import Call, Headers, Outcome, Streamed, Whole
from wardround.baseline.openai_api import retry_after
from wardround.baseline.refusals import Refused, must
from wardround.baseline.rendered import turns_of
from wardround.baseline.state import FINGERPRINT, ServerOptions, State
from wardround.text import TOKEN

DEFAULT_NEW_TOKENS = 1024
MOST_STOPS = 4
MOST_ALTERNATIVES = 5
_REASONS = {"end": "eos_token", "stop": "stop_sequence", "length": "length"}
_compact = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class TgiAsked(Asked):
    """A generation that is wanted through TGI's own API, with what is to be told besides the text."""

    details: bool
    input_details: bool
    top_tokens: int
    full_text: bool
    sampled: bool
    listed: bool


class TgiDialect:
    """How TGI is asked, answers and refuses.

    `streamed`: at /generate_stream. None: at the root, where the body's `stream` decides, a whole answer is the only
    one of a list, and the prompt stands before the answer unless that is declined.
    """

    def __init__(self, state: State, *, streamed: bool | None) -> None:
        self._options = state.options
        self._streamed = streamed

    def read(self, body: Any) -> TgiAsked:
        """Read a request's body; raises `Refused`."""
        _valid(isinstance(body, dict) and isinstance(body.get("inputs"), str), "missing field `inputs`")
        parameters = body.get("parameters") or {}
        _valid(isinstance(parameters, dict), "`parameters` must be an object")
        at_root = self._streamed is None
        streamed = body.get("stream") is True if at_root else bool(self._streamed)
        _check(parameters, streamed=streamed)
        full_text = parameters.get("return_full_text")
        inputs: str = body["inputs"]
        _valid(inputs, "`inputs` cannot be empty")
        if parameters.get("truncate") is not None:
            inputs = "".join(TOKEN.findall(inputs)[-parameters["truncate"] :])
        top_tokens = parameters.get("top_n_tokens") or 0
        return TgiAsked(
            model=self._options.tgi_model,
            messages=turns_of(inputs),
            prompt=(("", inputs),),
            chat=False,
            max_tokens=self._new_tokens(parameters, inputs),
            limited=parameters.get("max_new_tokens") is not None,
            stop=tuple(parameters.get("stop") or ()),
            seed=parameters.get("seed") or 0,
            stream=streamed,
            logprobs=top_tokens,
            form=_form(parameters.get("grammar")) if self._options.behaviour.constraints else None,
            keeps_stop=True,
            counts_end=True,
            details=bool(parameters.get("details") or parameters.get("decoder_input_details")),
            input_details=bool(parameters.get("decoder_input_details")),
            top_tokens=top_tokens,
            full_text=at_root if full_text is None else bool(full_text),
            listed=at_root,
            sampled=bool(
                parameters.get("do_sample")
                or any(parameters.get(name) is not None for name in ("temperature", "top_k", "top_p", "typical_p"))
            ),
        )

    def _new_tokens(self, parameters: dict[str, Any], inputs: str) -> int:
        asked = parameters.get("max_new_tokens")
        room = self._options.context - len(TOKEN.findall(inputs))
        return int(asked) if asked is not None else max(1, min(DEFAULT_NEW_TOKENS, room))

    def write(self, answer: Answer) -> Written:
        """Put an answer into words."""
        return Written(answer)

    def overflow(self, asked: Asked, prompt_tokens: int, context: int) -> Refused:
        """What is said to a request that is too long for the context."""
        return Refused(
            f"`inputs` tokens + `max_new_tokens` must be <= {context}. Given: {prompt_tokens} `inputs` tokens and"
            f" {asked.max_tokens} `max_new_tokens`",
            status=422,
        )

    def refuse(self, refused: Refused, headers: Headers, call: Call) -> Outcome:
        """Put a refusal into words."""
        status, words, kind = 422, f"Input validation error: {refused.words}", "validation"
        if refused.status == 429:
            status, words, kind = 429, "Model is overloaded", "overloaded"
        elif refused.status >= 500:
            status, words, kind = 500, "Incomplete generation", "incomplete_generation"
        whole = refusal(status, words, kind, (*headers, *retry_after(refused)))
        return Streamed(b"data:%b\n\n" % whole.body, whole.headers) if self._streams(call) else whole

    def _streams(self, call: Call) -> bool:
        if self._streamed is not None:
            return self._streamed
        try:
            return json.loads(call.body).get("stream") is True
        except (ValueError, AttributeError, RecursionError):
            return False


class Written:
    """An answer as TGI writes it."""

    def __init__(self, answer: Answer) -> None:
        asked = answer.prepared.asked
        assert isinstance(asked, TgiAsked)
        self._answer = answer
        self._asked = asked
        self._generated = answer.prepared.generated
        self.headers: Headers = (
            ("x-compute-type", "cpu"),
            ("x-compute-characters", str(len(asked.prompt[0][1]))),
            # Only an answer that is not streamed knows them when its headers are sent.
            *(() if asked.stream else (("x-prompt-tokens", str(answer.prepared.prompt_tokens)),)),
            *(() if asked.stream else (("x-generated-tokens", str(len(self._generated.tokens))),)),
        )
        self._steps: tuple[Step, ...] = ()
        if asked.details or asked.stream:
            self._steps = likelihoods(asked, self._generated, asked.top_tokens)

    def whole(self) -> bytes:
        """The body of an answer that is not streamed."""
        body: dict[str, Any] = {"generated_text": self._text}
        if self._asked.details:
            details = self._details() | {
                "prefill": _prefill(self._asked.prompt[0][1]) if self._asked.input_details else [],
                "tokens": [_token(step.token, step.logprob) for step in self._steps],
            }
            if self._asked.top_tokens:
                details["top_tokens"] = [_top(step) for step in self._steps]
            body["details"] = details
        return _compact([body] if self._asked.listed else body).encode()

    def opening(self) -> bytes:
        """Nothing comes before the first token."""
        return b""

    def token(self, number: int) -> bytes:
        """The event of token `number` (from 0); the last one holds all of the text."""
        step = self._steps[number]
        last = number == len(self._steps) - 1
        event: dict[str, Any] = {"index": number + 1, "token": _token(step.token, step.logprob)}
        if self._asked.top_tokens:
            event["top_tokens"] = _top(step)
        event["generated_text"] = self._text if last else None
        event["details"] = None
        if last and self._asked.details:
            event["details"] = self._details() | {"input_length": self._answer.prepared.prompt_tokens}
        return f"data:{_compact(event)}\n\n".encode()

    def ending(self) -> bytes:
        """Nothing comes after the last token."""
        return b""

    @property
    def _text(self) -> str:
        return (self._asked.prompt[0][1] if self._asked.full_text else "") + self._generated.text

    def _details(self) -> dict[str, Any]:
        return {
            "finish_reason": _REASONS[self._generated.ended],
            "generated_tokens": len(self._generated.tokens),
            "seed": self._asked.seed if self._asked.sampled else None,
        }


def refusal(status: int, words: str, kind: str, headers: Headers = ()) -> Whole:
    """An error in TGI's shape."""
    return Whole(status, json.dumps({"error": words, "error_type": kind}).encode(), headers)


def info(options: ServerOptions) -> dict[str, Any]:
    """What /info tells of the server and its model."""
    return {
        "model_id": options.tgi_model,
        "model_sha": hashlib.sha1(f"{FINGERPRINT}/{options.tgi_model}".encode(), usedforsecurity=False).hexdigest(),
        "model_pipeline_tag": "text-generation",
        "max_concurrent_requests": options.latency.slots or 128,
        "max_best_of": 1,
        "max_stop_sequences": MOST_STOPS,
        "max_input_tokens": options.context - 1,
        "max_total_tokens": options.context,
        "validation_workers": 1,
        "max_client_batch_size": 1,
        "router": "wardround",
        "version": __version__,
        "sha": None,
        "docker_label": None,
    }


def tokenized(text: str) -> list[dict[str, Any]]:
    """What /tokenize tells of a text."""
    return [
        {"id": token_id(match.group()), "text": match.group(), "start": match.start(), "stop": match.end()}
        for match in TOKEN.finditer(text)
    ]


def token_id(token: str) -> int:
    """A number for a token: the same one in every server, though two tokens may rarely share one."""
    return zlib.crc32(token.encode("utf-8", "surrogatepass")) & 0x7FFFFFFF


def _token(token: str, logprob: float) -> dict[str, Any]:
    return {"id": token_id(token), "text": token, "logprob": logprob, "special": token == END}


def _top(step: Step) -> list[dict[str, Any]]:
    return [_token(*one) for one in step.top]


def _prefill(inputs: str) -> list[dict[str, Any]]:
    tokens = TOKEN.findall(inputs)
    chances: Sequence[float | None] = prompt_likelihoods(tokens)
    return [
        {"id": token_id(token), "text": token, "logprob": chance} for token, chance in zip(tokens, chances, strict=True)
    ]


def _valid(holds: object, words: str) -> None:
    must(holds, words, status=422)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check(parameters: dict[str, Any], *, streamed: bool) -> None:
    """Refuse what TGI refuses."""
    given = {name: value for name, value in parameters.items() if value is not None}
    for name in ("temperature", "repetition_penalty", "frequency_penalty", "top_p", "typical_p"):
        _valid(_is_number(given.get(name, 1)), f"`{name}` must be a number")
    for name in ("best_of", "top_k", "max_new_tokens", "truncate", "seed", "top_n_tokens"):
        _valid(is_count(given.get(name, 1)), f"`{name}` must be an integer")
    best_of = given.get("best_of", 1)
    if streamed:
        _valid(best_of == 1, "`best_of` != 1 is not supported when streaming tokens")
        _valid(
            not given.get("decoder_input_details"),
            "`decoder_input_details` == true is not supported when streaming tokens",
        )
    _valid(best_of == 1, "`best_of` != 1 is not allowed for this endpoint")
    for name in ("temperature", "repetition_penalty", "top_k", "max_new_tokens"):
        _valid(given.get(name, 1) > 0, f"`{name}` must be strictly positive")
    _valid(-2 <= given.get("frequency_penalty", 0) <= 2, "`frequency_penalty` must be >= -2.0 and <= 2.0")
    for name in ("top_p", "typical_p"):
        _valid(0 < given.get(name, 0.5) < 1, f"`{name}` must be > 0.0 and < 1.0")
    stops = given.get("stop", [])
    _valid(isinstance(stops, list) and all(isinstance(stop, str) for stop in stops), "`stop` must be a list of strings")
    _valid(len(stops) <= MOST_STOPS, f"`stop` supports up to {MOST_STOPS} stop sequences. Given: {len(stops)}")
    _valid(given.get("seed", 0) >= 0, "`seed` must not be negative")
    top = given.get("top_n_tokens", 0)
    _valid(0 <= top <= MOST_ALTERNATIVES, f"`top_n_tokens` must be >= 0 and <= {MOST_ALTERNATIVES}. Given: {top}")
    _valid(given.get("truncate", 1) > 0, "`truncate` must be strictly positive")


def _form(grammar: Any) -> Form | None:
    if grammar is None:
        return None
    _valid(isinstance(grammar, dict) and "value" in grammar, "grammar is not supported")
    kind, value = grammar.get("type"), grammar["value"]
    try:
        if kind == "regex":
            return regex(value)
        if kind == "json_schema" and isinstance(value, dict):
            value = value.get("schema")
        _valid(kind in ("json", "json_schema"), "grammar is not supported")
        return schema(value)
    except Refused as refused:
        raise Refused(f"grammar is not valid: {refused.words}", status=422) from None
