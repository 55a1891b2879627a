"""From a row of the catalogue to an endpoint that can be asked."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

from wardround.catalogue import EMBEDDED, Model
from wardround.endpoints.dialects import failure_from, names_on
from wardround.endpoints.door import Door, OnHeaders
from wardround.endpoints.keys import keys_of
from wardround.endpoints.keys import without_secrets as without_secrets
from wardround.endpoints.openai_chat import OpenAIChat
from wardround.endpoints.openai_completions import OpenAICompletions
from wardround.endpoints.replies import Endpoint
from wardround.errors import EndpointError
from wardround.study import Deadlines
from wardround.wire import Wire, WireError

PROBE_S = 15.0
_NO_SUCH_ROUTE = (404, 405, 501)
# Traits that change what is sent or how an answer is split; at its default each is what it was before it could be set.
_TRAITS = ("system", "reasoning", "structured", "api_version", "headers")


def open_endpoint(
    model: Model,
    wire: Wire,
    *,
    base_url: str,
    deadlines: Deadlines,
    templates: Mapping[str, str] | None = None,
    on_headers: OnHeaders | None = None,
) -> Endpoint:
    """Return the endpoint of `model` at `base_url`.

    `templates`: the texts of the chat templates that prompts may be rendered with here, by their SHA-256.
    `on_headers` is told the headers of every answer. Raises `EndpointError` if a key is absent, or the package that
    the protocol needs.
    """
    return _door_of(model)(
        model,
        wire,
        base_url=_root(model, base_url),
        deadlines=deadlines,
        keys=keys_of(model),
        templates=templates,
        on_headers=on_headers,
    )


def _door_of(model: Model) -> type[Door]:
    match model.protocol:
        case "openai-chat":
            return OpenAIChat
        case "openai-completions":
            return OpenAICompletions
        case "tgi":
            return _needing("tgi")
        case "azure-openai":
            return _needing("azure")


def _needing(extra: str) -> type[Door]:
    try:
        if extra == "tgi":
            from wardround.endpoints.tgi import TextGeneration

            return TextGeneration
        from wardround.endpoints.azure_openai import AzureOpenAI
    except ImportError as error:
        raise EndpointError(f"this protocol needs: pip install 'wardround[{extra}]' ({error})") from error
    return AzureOpenAI


def _root(model: Model, base_url: str) -> str:
    """TGI serves both its own API, at its root, and OpenAI's below /v1: a row may name either."""
    return base_url.removesuffix("/v1") if model.protocol == "tgi" else base_url


def auth_headers(model: Model) -> dict[str, str]:
    """The headers that go with every request, the key's among them; raises `EndpointError` if one is absent."""
    return dict(keys_of(model).headers)


def identity(model: Model) -> dict[str, str]:
    """What distinguishes this endpoint's replies from another's; part of every request's key.

    The embedded server gets a new port in every run and is the same all the same. Traits stand in it only where they
    are not the default's.
    """
    traits = {name: getattr(model, name) for name in _TRAITS if getattr(model, name) != _default(name)}
    return {
        "protocol": model.protocol,
        "base_url": EMBEDDED if model.base_url == EMBEDDED else without_secrets(model.base_url or ""),
        "model": model.served_name,
        "prefill": model.prefill,
        **{
            name: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            for name, value in traits.items()
        },
    }


def _default(name: str) -> Any:
    return Model.model_fields[name].get_default(call_default_factory=True)


async def check_served(model: Model, wire: Wire, *, base_url: str) -> None:
    """Ask the server for its models before anything else is sent to it.

    Raises `EndpointError` with one line if it is unreachable, refuses the key, or does not serve the model. A server
    that has no list of models, or an empty one (transformers serve), is taken at its word, and so is Azure, whose lists
    name no deployment.
    """
    keys = keys_of(model)
    if model.protocol == "azure-openai":
        return
    root = _root(model, base_url)
    shown = without_secrets(root)
    route, read = ("/info", _served_by_tgi) if model.protocol == "tgi" else ("/models", _served_names)
    try:
        answer = await wire.get(root + route, headers=keys.headers, whole_s=PROBE_S)
    except WireError as error:
        raise EndpointError(
            f"no server for model {model.name!r} at {shown}: {error.detail}; start it, or mend `base_url`"
        ) from error
    if answer.status in _NO_SUCH_ROUTE:
        return
    if answer.status != 200:
        words = failure_from(answer.status, answer.body, {}, keys.taken_out_of).words
        raise EndpointError(f"{shown} answers HTTP {answer.status} for model {model.name!r}: {words}")
    names = read(answer.body)
    if names and model.served_name not in names:
        near = difflib.get_close_matches(model.served_name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it serves: {', '.join(names[:8])}"
        raise EndpointError(f"{shown} does not serve {model.served_name!r}; {hint} (set `served_as`)")


def _served_names(body: bytes) -> list[str] | None:
    try:
        return [name for card in json.loads(body)["data"] for name in names_on(card)]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _served_by_tgi(body: bytes) -> list[str] | None:
    """The one model of a TGI server."""
    try:
        name = json.loads(body)["model_id"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return [name] if isinstance(name, str) else None
