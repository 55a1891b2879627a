"""The protocol `openai-completions`: POST {base_url}/completions with one text, streamed or not.

For base models, and for every model whose prompts are rendered here: with a chat template of the model's row or of an
arm, or as the turns' texts alone. Spoken by vLLM, SGLang, TGI, llama.cpp, Ollama and the embedded server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wardround.endpoints.choosing import LEAST_TOKENS_FOR_A_FORM, TOP_TOKENS
from wardround.endpoints.door import Door, Written
from wardround.endpoints.reading import STOPS_SENT, Said, read_text, read_text_piece
from wardround.endpoints.replies import Params
from wardround.endpoints.templates import PLAIN
from wardround.task import Prompt


class OpenAICompletions(Door):
    """A model that is asked with text alone."""

    def _written(self, prompt: Prompt, params: Params, streamed: bool) -> Written:
        return text_request(
            self._model.served_name, self._text(prompt, params.template or PLAIN), prompt, params, streamed
        )


def text_request(served_name: str, text: str, prompt: Prompt, params: Params, streamed: bool) -> Written:
    """The request for the continuation of `text`."""
    body: dict[str, Any] = {"model": served_name, "prompt": text, **options(params, streamed)}
    if params.choose == "logprobs":
        body["logprobs"] = TOP_TOKENS
    elif params.choose == "structured":
        # vLLM's field; a response_format is for chat. Engines that do not know it show that by their answers.
        body["structured_outputs"] = {"choice": list(dict.fromkeys(prompt.choices))}
    return Written("/completions", with_extra(body, params), _read_text, read_text_piece, form="words")


def _read_text(content: Any, _headers: Mapping[str, str]) -> Said:
    return read_text(content)


def options(params: Params, streamed: bool) -> dict[str, Any]:
    """The fields that text and chat have in common.

    A choice by likelihood takes one token; one in a form has room for the form, and no stop string may cut it.
    """
    body: dict[str, Any] = {"max_tokens": params.max_tokens, "temperature": params.temperature}
    if params.choose == "logprobs":
        body["max_tokens"] = 1
    elif params.choose == "structured":
        body["max_tokens"] = max(params.max_tokens, LEAST_TOKENS_FOR_A_FORM)
    elif params.stop:
        body["stop"] = list(params.stop[:STOPS_SENT])
    if params.top_p is not None:
        body["top_p"] = params.top_p
    if params.seed is not None:
        body["seed"] = params.seed
    if streamed:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def with_extra(body: dict[str, Any], params: Params) -> dict[str, Any]:
    """The body with the row's own fields, which go before all others; null takes a field out."""
    if not params.extra_body:
        return body
    return {name: value for name, value in (body | dict(params.extra_body)).items() if value is not None}
