"""Asking: one class per protocol, all with `ask(prompt, params) -> Reply | Failure`."""

from wardround.endpoints.openai_chat import OpenAIChat
from wardround.endpoints.openai_completions import OpenAICompletions
from wardround.endpoints.opening import check_served, identity, open_endpoint
from wardround.endpoints.replies import Chunk, Failure, FailureKind, Params, Reply
from wardround.endpoints.retries import ask_until_answered

__all__ = [
    "Chunk",
    "Failure",
    "FailureKind",
    "OpenAIChat",
    "OpenAICompletions",
    "Params",
    "Reply",
    "ask_until_answered",
    "check_served",
    "identity",
    "open_endpoint",
]
