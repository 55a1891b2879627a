"""From a row of the catalogue to an endpoint that can be asked."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

from wardround.catalogue import EMBEDDED, Model
from wardround.endpoints.dialects import failure_from
from wardround.endpoints.openai_chat import OpenAIChat
from wardround.endpoints.replies import Endpoint
from wardround.errors import EndpointError
from wardround.study import Deadlines
from wardround.wire import Wire, WireError

PROBE_S = 15.0


def open_endpoint(
    model: Model, wire: Wire, *, base_url: str, deadlines: Deadlines, templates: Mapping[str, str] | None = None
) -> Endpoint:
    """Return the endpoint of `model` at `base_url`; raises `EndpointError` if its key is absent.

    `templates`: the texts of the chat templates that prompts may be rendered with here, by their SHA-256.
    """
    return OpenAIChat(model, wire, base_url=base_url, key=_key_of(model), deadlines=deadlines)


def auth_headers(model: Model) -> dict[str, str]:
    """The headers that carry the model's key; raises `EndpointError` if it is absent."""
    key = _key_of(model)
    return {"Authorization": f"Bearer {key}"} if key else {}


def identity(model: Model) -> dict[str, str]:
    """What distinguishes this endpoint's replies from another's; part of every request's key.

    The embedded server gets a new port in every run and is the same all the same.
    """
    return {
        "protocol": model.protocol,
        "base_url": EMBEDDED if model.base_url == EMBEDDED else without_secrets(model.base_url or ""),
        "model": model.served_name,
        "prefill": model.prefill,
    }


def without_secrets(url: str) -> str:
    """The URL without user-info, query and fragment, where people put keys."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


async def check_served(model: Model, wire: Wire, *, base_url: str) -> None:
    """Ask the server for its models before anything else is sent to it.

    Raises `EndpointError` with one line if it is unreachable, refuses the key, or does not serve the model. A
    server that has no `/models` is taken at its word.
    """
    url = f"{base_url}/models"
    key = _key_of(model)
    headers = auth_headers(model)
    shown = without_secrets(base_url)
    try:
        answer = await wire.get(url, headers=headers, whole_s=PROBE_S)
    except WireError as error:
        raise EndpointError(
            f"no server for model {model.name!r} at {shown}: {error.detail}; start it, or mend `base_url`"
        ) from error
    if answer.status in (404, 405, 501):
        return
    if answer.status != 200:
        body = answer.body.replace(key.encode(), b"[key]") if key else answer.body
        words = failure_from(answer.status, body, {}).words
        raise EndpointError(f"{shown} answers HTTP {answer.status} for model {model.name!r}: {words}")
    names = _served_names(answer.body)
    if names is not None and model.served_name not in names:
        near = difflib.get_close_matches(model.served_name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it serves: {', '.join(names[:8]) or 'nothing'}"
        raise EndpointError(f"{shown} does not serve {model.served_name!r}; {hint} (set `served_as`)")


def _served_names(body: bytes) -> list[str] | None:
    try:
        return [str(row["id"]) for row in json.loads(body)["data"]]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


def _key_of(model: Model) -> str | None:
    if model.key_env is None:
        return None
    key = os.environ.get(model.key_env, "").strip()
    if not key:
        raise EndpointError(f"model {model.name!r} needs a key: set the environment variable {model.key_env}")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise EndpointError(f"the key in the environment variable {model.key_env} holds characters no key has")
    return key
