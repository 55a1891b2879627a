"""The errors of the engines as they were recorded, through every door behind which they stand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.endpoints.exchange import KEY, ask
from tests.wire.raw_server import http_answer, json_answer
from wardround.endpoints import OpenAIChat, OpenAICompletions
from wardround.endpoints.azure_openai import AzureOpenAI
from wardround.endpoints.door import Door
from wardround.endpoints.keys import Keys
from wardround.endpoints.tgi import TextGeneration

OPENAI: tuple[type[Door], ...] = (OpenAIChat, OpenAICompletions)
TGI: tuple[type[Door], ...] = (*OPENAI, TextGeneration)


def nested(message: str, kind: str, code: str | int | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def flat(message: str, kind: str, code: int) -> dict[str, Any]:
    return {"object": "error", "message": message, "type": kind, "param": None, "code": code}


def tgi_says(message: str, kind: str) -> dict[str, Any]:
    return {"error": message, "error_type": kind}


NO_TEMPLATE = (
    "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat template"
)
ALTERNATE = "Conversation roles must alternate user/assistant/user/assistant/..."
RECORDED: dict[str, tuple[tuple[type[Door], ...], int, Any, str, bool]] = {
    "vLLM, overflow": (
        OPENAI,
        400,
        nested(
            "This model's maximum context length is 2048 tokens. However, you requested 3000", "BadRequestError", 400
        ),
        "context_overflow",
        False,
    ),
    "vLLM, unknown model": (
        OPENAI,
        404,
        nested("The model `x` does not exist.", "NotFoundError", 404),
        "unknown_model",
        False,
    ),
    "vLLM, missing template": (
        (OpenAIChat,),
        400,
        nested(NO_TEMPLATE, "BadRequestError", 400),
        "missing_template",
        False,
    ),
    "vLLM, overload": (OPENAI, 503, nested("Queue is full", "ServiceUnavailable", 503), "overload", True),
    "vLLM, bad key": (OPENAI, 401, {"error": "Unauthorized"}, "unauthorized", False),
    "SGLang, overflow": (
        OPENAI,
        400,
        flat("The input is longer than the model's context length", "BadRequestError", 400),
        "context_overflow",
        False,
    ),
    "SGLang, unwilling template": (
        (OpenAIChat,),
        400,
        flat(ALTERNATE, "BadRequestError", 400),
        "missing_template",
        False,
    ),
    "SGLang, overload": (OPENAI, 503, flat("The request queue is full.", "ServiceUnavailable", 503), "overload", True),
    "SGLang, bad key": (OPENAI, 401, {"error": "Unauthorized"}, "unauthorized", False),
    "TGI, overflow": (
        TGI,
        422,
        tgi_says("Input validation error: `inputs` must have less than 1024 tokens. Given: 2000", "validation"),
        "context_overflow",
        False,
    ),
    "TGI, missing template": (
        (OpenAIChat,),
        422,
        tgi_says("Template error: template not found", "template_error"),
        "missing_template",
        False,
    ),
    "TGI, overload": (TGI, 429, tgi_says("Model is overloaded", "overloaded"), "overload", True),
    "TGI, bad key": (TGI, 401, None, "unauthorized", False),
    "llama.cpp, overflow": (
        OPENAI,
        400,
        {
            "error": {
                "code": 400,
                "message": "request exceeds the available context size",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 5012,
                "n_ctx": 4096,
            }
        },
        "context_overflow",
        False,
    ),
    "llama.cpp, unwilling template": (
        (OpenAIChat,),
        500,
        nested(f"Jinja Exception: {ALTERNATE}", "server_error", 500),
        "missing_template",
        False,
    ),
    "llama.cpp, loading": (OPENAI, 503, nested("Loading model", "unavailable_error", 503), "overload", True),
    "llama.cpp, bad key": (OPENAI, 401, nested("Invalid API Key", "authentication_error", 401), "unauthorized", False),
    "llama-cpp-python, overflow": (
        OPENAI,
        400,
        nested("Too long.", "invalid_request_error", "context_length_exceeded"),
        "context_overflow",
        False,
    ),
    "llama-cpp-python, a wrong field": (
        OPENAI,
        500,
        nested("[{'type': 'missing', 'loc': ('body', 'x')}]", "internal_server_error", None),
        "bad_request",
        False,
    ),
    "Ollama, unknown model": (
        OPENAI,
        404,
        nested('model "x" not found, try pulling it first', "api_error", None),
        "unknown_model",
        False,
    ),
    "Ollama, overload": (
        OPENAI,
        503,
        nested("server busy, please try again.", "api_error", None),
        "overload",
        True,
    ),
    "OpenAI, overflow": (
        (*OPENAI, AzureOpenAI),
        400,
        nested("Too long.", "invalid_request_error", "context_length_exceeded"),
        "context_overflow",
        False,
    ),
    "OpenAI, unknown model": (
        OPENAI,
        404,
        nested("The model `x` does not exist", "invalid_request_error", "model_not_found"),
        "unknown_model",
        False,
    ),
    "OpenAI, rate limit": (
        OPENAI,
        429,
        nested("Rate limit reached", "requests", "rate_limit_exceeded"),
        "rate_limit",
        True,
    ),
    "OpenAI, quota": (
        OPENAI,
        429,
        nested("You exceeded your quota", "insufficient_quota", "insufficient_quota"),
        "rate_limit",
        False,
    ),
    "OpenAI, overload": (OPENAI, 503, nested("The engine is overloaded", "server_error", None), "overload", True),
    "OpenAI, bad key": (
        OPENAI,
        401,
        nested("Incorrect API key provided", "invalid_request_error", "invalid_api_key"),
        "unauthorized",
        False,
    ),
    "Azure, unknown deployment": (
        (AzureOpenAI,),
        404,
        {"error": {"code": "DeploymentNotFound", "message": "No such."}},
        "unknown_model",
        False,
    ),
    "Azure, rate limit": ((AzureOpenAI,), 429, {"error": {"code": "429", "message": "Slow."}}, "rate_limit", True),
    "Azure, content filter": (
        (AzureOpenAI,),
        400,
        {"error": {"code": "content_filter", "message": "Filtered."}},
        "content_filter",
        False,
    ),
    "Azure, bad key": ((AzureOpenAI,), 401, {"error": {"code": "401", "message": "No."}}, "unauthorized", False),
}
PROTOCOLS: dict[type[Door], str] = {
    OpenAIChat: "openai-chat",
    OpenAICompletions: "openai-completions",
    TextGeneration: "tgi",
    AzureOpenAI: "azure-openai",
}
CASES = [
    pytest.param(
        door, status, content, kind, retryable, streamed, id=f"{name}, {PROTOCOLS[door]}{streamed * ', streamed'}"
    )
    for name, (doors, status, content, kind, retryable) in RECORDED.items()
    for door in doors
    for streamed in (False, True)
]


@pytest.mark.parametrize(("door", "status", "content", "kind", "retryable", "streamed"), CASES)
def test_what_an_engine_refuses_is_the_same_failure_through_every_door(
    door: type[Door], status: int, content: Any, kind: str, retryable: bool, streamed: bool
) -> None:
    class WithKey(door):  # type: ignore[valid-type,misc]
        def __init__(self, *arguments: Any, keys: Any, **options: Any) -> None:
            super().__init__(*arguments, keys=Keys({"api-key": KEY}, (KEY,)), **options)

    answer = http_answer(b"", status) if content is None else json_answer(content, status)
    row: dict[str, Any] = {"protocol": PROTOCOLS[door], "api_version": "2024-10-21", "stream": streamed}
    exchange = ask(answer, door=WithKey, **row)
    assert (exchange.failure.kind, exchange.failure.retryable, exchange.failure.status) == (kind, retryable, status)
    assert len(exchange.asked) == 1
