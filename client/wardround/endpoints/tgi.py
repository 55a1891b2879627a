"""The protocol `tgi`: the native /generate and /generate_stream of Text Generation Inference.

Requests and answers are the models of TGI's own Python client, `text-generation` (the extra `tgi`); they are sent over
this project's wire and not by that package's `AsyncClient`, which cannot keep a prompt in the house: it opens a
session of its own for every request, follows redirects, and looks the host up anew each time. It also asks the
server's root instead of /generate, and an error that is no JSON becomes a `KeyError`.

Prompts are text: rendered with a chat template here, or the turns' texts alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from text_generation.errors import ValidationError
from text_generation.types import (
    FinishReason,
    Grammar,
    GrammarType,
    Parameters,
    Request,
    Response,
    StreamResponse,
    Token,
)

from wardround.endpoints.choosing import LEAST_TOKENS_FOR_A_FORM, FirstTokens, answer_schema
from wardround.endpoints.door import CannotBeSent, Door, Written
from wardround.endpoints.openai_completions import with_extra
from wardround.endpoints.reading import STOPS_SENT, Said, Usage, count
from wardround.endpoints.replies import Params
from wardround.endpoints.templates import PLAIN
from wardround.task import Prompt

# The most that a server gives unless it is started with --max-top-n-tokens.
TOP_TOKENS = 5

_FINISH_REASONS = {
    FinishReason.Length: "length",
    FinishReason.EndOfSequenceToken: "stop",
    FinishReason.StopSequence: "stop",
}


class TextGeneration(Door):
    """A model that is asked at TGI's own address; the base URL is the server's root, /v1 or not."""

    def _written(self, prompt: Prompt, params: Params, streamed: bool) -> Written:
        text = self._text(prompt, params.template or PLAIN)
        try:
            request = Request(inputs=text, parameters=_parameters(prompt, params), stream=streamed)
        except ValidationError as error:
            raise CannotBeSent(str(error)) from error
        body = request.model_dump(mode="json", exclude_none=True)
        body["parameters"] = with_extra(body["parameters"], params)
        return Written("/generate_stream" if streamed else "/generate", body, _read, _read_piece)


def _parameters(prompt: Prompt, params: Params) -> Parameters:
    """What is asked for; raises `ValidationError` for what TGI would refuse.

    Greedy where the temperature is 0: TGI takes no temperature of 0, and no top_p of 1 at any.
    """
    sampling: dict[str, Any] = {}
    if params.temperature > 0:
        top_p = params.top_p if params.top_p is not None and params.top_p < 1 else None
        sampling = {"do_sample": True, "temperature": params.temperature, "top_p": top_p}
    max_new_tokens, stop = params.max_tokens, list(params.stop[:STOPS_SENT])
    top_n_tokens, grammar = None, None
    if params.choose == "logprobs":
        max_new_tokens, stop, top_n_tokens = 1, [], TOP_TOKENS
    elif params.choose == "structured":
        max_new_tokens, stop = max(max_new_tokens, LEAST_TOKENS_FOR_A_FORM), []
        grammar = Grammar(type=GrammarType.Json, value=answer_schema(prompt.choices))
    return Parameters(
        max_new_tokens=max_new_tokens,
        stop=stop,
        seed=params.seed,
        top_n_tokens=top_n_tokens,
        grammar=grammar,
        details=True,
        **sampling,
    )


def _read(content: Any, headers: Mapping[str, str]) -> Said:
    """Read a whole answer; the number of the prompt's tokens stands in a header alone."""
    answer = Response(**content)
    details = answer.details
    prompt_tokens = headers.get("x-prompt-tokens", "")
    return Said(
        text=answer.generated_text,
        finish_reason=_FINISH_REASONS[details.finish_reason],
        usage=Usage(count(int(prompt_tokens)) if prompt_tokens.isdecimal() else None, count(details.generated_tokens)),
        first_tokens=_likeliest(details.top_tokens[0], details.tokens) if details.top_tokens else None,
    )


def _read_piece(content: Any) -> Said:
    """Read one event: a token each, and with the last one the details."""
    answer = StreamResponse(**content)
    said = Said(
        # The marks that end an answer are tokens of the stream too.
        text="" if answer.token.special else answer.token.text,
        first_tokens=_likeliest(answer.top_tokens, [answer.token]) if answer.top_tokens else None,
    )
    if answer.details is not None:
        said.finish_reason = _FINISH_REASONS[answer.details.finish_reason]
        # The package's model does not know this field of newer servers.
        said.usage = Usage(count(content["details"].get("input_length")), count(answer.details.generated_tokens))
    return said


def _likeliest(ranked: Sequence[Token], drawn: Sequence[Token]) -> FirstTokens:
    """Text and logarithm of the first position's likeliest tokens, the drawn one among them."""
    tokens = {token.id: token for token in (*drawn[:1], *ranked)}
    return [(token.text, token.logprob) for token in tokens.values() if token.logprob is not None]
