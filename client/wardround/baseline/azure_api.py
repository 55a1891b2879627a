"""Azure's way to the same chat completions: the model is a deployment in the address, and errors have shapes of their
own.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

from wardround.baseline.asked import Asked, read_chat
from wardround.baseline.completing import Answer
from wardround.baseline.http import Call, Headers, Whole
from wardround.baseline.openai_api import OpenAIDialect, refusal, retry_after
from wardround.baseline.openai_api import Written as ChatWritten
from wardround.baseline.refusals import Refused
from wardround.baseline.state import State

_SAFE: dict[str, Any] = {
    kind: {"filtered": False, "severity": "safe"} for kind in ("hate", "self_harm", "sexual", "violence")
}
_UNSAFE: dict[str, Any] = {**_SAFE, "self_harm": {"filtered": True, "severity": "medium"}}
_DENIED = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an"
    " active subscription and use a correct regional API endpoint for your resource."
)
_NO_DEPLOYMENT = (
    "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes,"
    " please wait a moment and try again."
)


class AzureDialect(OpenAIDialect):
    """How Azure OpenAI is asked, answers and refuses, for one deployment."""

    def __init__(self, state: State, deployment: str) -> None:
        super().__init__(state, self._read_for)
        self._deployment = deployment

    def _read_for(self, body: Any) -> Asked:
        # The address names the model; whatever the body calls it is not looked at.
        return read_chat({**body, "model": self._deployment} if isinstance(body, dict) else body)

    def write(self, answer: Answer) -> Written:
        """Put an answer into words."""
        return Written(answer)

    def refuse(self, refused: Refused, headers: Headers, call: Call) -> Whole:
        """Put a refusal into words."""
        headers = (*headers, *retry_after(refused))
        if refused.code == "model_not_found":
            return _error(404, "DeploymentNotFound", _NO_DEPLOYMENT, headers)
        if refused.status == 429:
            version = "".join(parse_qs(call.query).get("api-version", [])[:1])
            wait = "" if refused.retry_after_s is None else f" Please retry after {refused.retry_after_s:.0f} seconds."
            words = (
                f"Requests to the ChatCompletions_Create Operation under Azure OpenAI API version {version} have"
                f" exceeded {'token' if refused.kind == 'tokens' else 'call'} rate limit of your current OpenAI S0"
                f" pricing tier.{wait}"
            )
            return _error(429, "429", words, headers)
        if refused.code == "content_filter":
            error = {
                "message": refused.words,
                "type": None,
                "param": "prompt",
                "code": "content_filter",
                "status": 400,
                "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": _UNSAFE},
            }
            return Whole(400, json.dumps({"error": error}).encode(), headers)
        return refusal(refused, headers)


class Written(ChatWritten):
    """A chat completion with the findings of Azure's filters; in a stream a chunk of its own, without a choice."""

    def whole(self) -> bytes:
        """The body of an answer that is not streamed."""
        body = json.loads(super().whole())
        body["choices"][0]["content_filter_results"] = _SAFE
        body["prompt_filter_results"] = [{"prompt_index": 0, "content_filter_results": _SAFE}]
        return json.dumps(body).encode()

    def opening(self) -> bytes:
        """The findings about the prompt, then who speaks."""
        found = {
            "choices": [],
            "created": 0,
            "id": "",
            "model": "",
            "object": "",
            "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _SAFE}],
        }
        return f"data: {json.dumps(found)}\n\n".encode() + super().opening()


def denied() -> Whole:
    """What a wrong key gets."""
    return _error(401, "401", _DENIED)


def not_found() -> Whole:
    """What an address without an api-version gets."""
    return _error(404, "404", "Resource not found")


def _error(status: int, code: str, words: str, headers: Headers = ()) -> Whole:
    return Whole(status, json.dumps({"error": {"code": code, "message": words}}).encode(), headers)
