"""Which address gets which answer."""

from __future__ import annotations

import functools
import hmac
import json
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote

from wardround import __version__
from wardround.baseline import azure_api, embeddings_api, openai_api, tgi_api
from wardround.baseline.answerers import BASELINES
from wardround.baseline.asked import turns_in
from wardround.baseline.completing import Dialect, complete, preparing
from wardround.baseline.http import Call, Malformed, Outcome, Whole
from wardround.baseline.metrics import CONTENT_TYPE, exposition
from wardround.baseline.refusals import Refused, must
from wardround.baseline.state import State
from wardround.text import TOKEN

_LOG = logging.getLogger(__name__)
Route = Callable[[Call], Outcome]
_DEPLOYMENTS = "/openai/deployments/"
_CHAT = "/chat/completions"


class Routes:
    """The server's addresses; calling it answers a request."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._key = (state.options.api_key or "").encode()
        self._deployments: dict[str, Route] = {}
        self._routes: dict[tuple[str, str], Route] = {
            ("POST", "/v1/chat/completions"): self._completing(openai_api.chat(state)),
            ("POST", "/v1/completions"): self._completing(openai_api.text(state)),
            ("POST", "/generate"): self._completing(tgi_api.TgiDialect(state, streamed=False)),
            ("POST", "/generate_stream"): self._completing(tgi_api.TgiDialect(state, streamed=True)),
            ("POST", "/"): self._completing(tgi_api.TgiDialect(state, streamed=None)),
            **embeddings_api.routes(),
            ("GET", "/v1/models"): self._models,
            ("POST", "/tokenize"): self._tokenize,
            ("GET", "/info"): lambda _: _json(tgi_api.info(state.options)),
            ("GET", "/version"): lambda _: _json({"version": __version__}),
            ("GET", "/health"): lambda _: _json({"status": "ok"}),
            ("GET", "/ping"): lambda _: _json({}),
            ("GET", "/stats"): self._stats,
            ("GET", "/ground-truth"): self._truths,
            ("GET", "/metrics"): lambda _: Whole(200, exposition(state).encode(), content_type=CONTENT_TYPE),
        }
        self._paths = {path for _, path in self._routes}

    def __call__(self, call: Call) -> Outcome:
        """Answer a request; whatever goes wrong is an answer too."""
        if self._key and (denied := self._denied(call)) is not None:
            return denied
        route = self._routes.get((call.method, call.path)) or self._other_route(call)
        try:
            return route(call)
        except Refused as refused:
            return openai_api.refusal(refused)
        except Exception:
            # A fault of this program. Only where it lies is logged: prompts are in no log.
            _LOG.exception("no answer to %s", call.path)
            return openai_api.refusal(Refused("The server had an error.", status=500, kind="server_error"))

    def _completing(self, dialect: Dialect) -> Route:
        prepare = preparing(dialect, self._state)
        return functools.partial(complete, state=self._state, dialect=dialect, prepare=prepare)

    def _other_route(self, call: Call) -> Route:
        """The route of an address that has a name in it, or was not written plainly."""
        path = unquote(call.path)
        method = "GET" if call.method == "HEAD" else call.method
        if (method, path) in self._routes:
            return self._routes[method, path]
        if method == "GET" and path.startswith("/v1/models/"):
            return functools.partial(self._model, path.removeprefix("/v1/models/"))
        if method == "POST" and path.startswith(_DEPLOYMENTS) and path.endswith(_CHAT):
            if not parse_qs(call.query).get("api-version"):
                return lambda _: azure_api.not_found()
            return self._deployment(path.removeprefix(_DEPLOYMENTS).removesuffix(_CHAT))
        return functools.partial(_no_such, status=405 if path in self._paths else 404)

    def _deployment(self, name: str) -> Route:
        if name not in BASELINES:
            # Not remembered: any number of names can be asked for.
            return self._completing(azure_api.AzureDialect(self._state, name))
        if name not in self._deployments:
            self._deployments[name] = self._completing(azure_api.AzureDialect(self._state, name))
        return self._deployments[name]

    def _denied(self, call: Call) -> Whole | None:
        """What a request without the right key gets, where one is needed."""
        path = unquote(call.path)
        if path != "/" and not path.startswith(("/v1/", "/openai/", "/generate", "/rerank")):
            return None
        given = call.headers.get("authorization", "").removeprefix("Bearer ")
        if path.startswith("/openai/"):
            given = call.headers.get("api-key", given)
        if hmac.compare_digest(given.encode("latin-1", "replace"), self._key):
            return None
        if path.startswith("/openai/"):
            return azure_api.denied()
        if not path.startswith("/v1/"):
            # TGI and text-embeddings-inference say nothing at all.
            return Whole(401, b"")
        wrong = Refused("Incorrect API key provided.", status=401, code="invalid_api_key")
        return openai_api.refusal(wrong)

    def _card(self, name: str) -> dict[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": self._state.started_at,
            "owned_by": "wardround",
            "root": name,
            "parent": None,
            "max_model_len": self._state.options.context,
        }

    def _models(self, _call: Call) -> Whole:
        return _json({"object": "list", "data": [self._card(name) for name in BASELINES]})

    def _model(self, name: str, _call: Call) -> Whole:
        if name not in BASELINES:
            words = f"The model `{name}` does not exist."
            raise Refused(words, status=404, code="model_not_found", param="model")
        return _json(self._card(name))

    def _stats(self, _call: Call) -> Whole:
        """What this server has seen: completion requests, answers by status (cut ones as "cut"), the most at a time."""
        state = self._state
        seen = {"requests": state.requests, "statuses": dict(state.statuses), "peak_in_flight": state.peak_in_flight}
        return _json(seen)

    def _truths(self, call: Call) -> Whole:
        """The server's own times, of all requests it remembers or of those named by `id`."""
        if self._state.truths is None:
            raise Refused("This server keeps no times; start it with --ground-truth.", status=404)
        found = self._state.truths.find(parse_qs(call.query).get("id", []))
        return _json({"clock": "CLOCK_MONOTONIC", "requests": [truth.told() for truth in found]})

    def _tokenize(self, call: Call) -> Whole:
        """The tokens of a text, in the words of the engine that the body belongs to."""
        try:
            body = json.loads(call.body)
        except (ValueError, RecursionError):
            body = None
        must(isinstance(body, dict), "The body must be a JSON object.")
        if isinstance(body.get("inputs"), str):
            return _json(tgi_api.tokenized(body["inputs"]))
        if isinstance(body.get("content"), str):
            ids = [tgi_api.token_id(token) for token in TOKEN.findall(body["content"])]
            return _json({"tokens": ids})
        if "messages" in body:
            prompt = [text for _, text in turns_in(body)]
        else:
            must(isinstance(body.get("prompt"), str), "'prompt' must be a string.")
            prompt = [body["prompt"]]
        ids = [tgi_api.token_id(token) for text in prompt for token in TOKEN.findall(text)]
        return _json({"count": len(ids), "max_model_len": self._state.options.context, "tokens": ids})


def malformed(fault: Malformed) -> Whole:
    """What gets an answer though it is no proper request."""
    if fault.path.startswith("/generate"):
        return tgi_api.refusal(fault.status, fault.words, "validation")
    return openai_api.refusal(Refused(fault.words, status=fault.status))


def _json(content: Any) -> Whole:
    return Whole(200, json.dumps(content).encode())


def _no_such(call: Call, status: int) -> Whole:
    raise Refused(f"Invalid URL ({call.method} {unquote(call.path)})", status=status)
