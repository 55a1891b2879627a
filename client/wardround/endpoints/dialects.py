"""How the engines say no: their error bodies, read into one set of failures.

OpenAI, Azure and vLLM nest an object under `error`, TGI puts a string there, SGLang answers flat with `message`,
FastAPI servers (transformers serve) with `detail`, proxies with plain text or a page.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from wardround.endpoints.replies import Failure, FailureKind
from wardround.text import storable

_OVERFLOW = re.compile(
    r"context[ _](length|size|window)|token.{0,60}must be <=|less than \d+ tokens|exceed_context|max_model_len"
    r"|maximum model length",
    re.I | re.S,
)
# vLLM and transformers without a template, TGI's error type, llama.cpp's engine for them; templates without a role.
_TEMPLATE = re.compile(
    r"chat[_ ]template(?!_)|template (error|not found)|jinja exception|roles must alternate"
    r"|system role (is )?not supported",
    re.I,
)
_FILTERED = re.compile(r"content management policy|input was flagged|flagged as potentially violating", re.I)
_FILTER_CODES = frozenset({"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"})
_OVERLOAD_CODES = frozenset({"overloaded", "overloaded_error"})
_UNKNOWN_MODEL_CODES = frozenset({"model_not_found", "DeploymentNotFound"})
# llama-cpp-python wraps whatever it refuses in a 500; the same request is refused again for ever.
_REFUSED_WITH_500 = re.compile(r"validation errors?\b|'loc': \(", re.I)
_RETRYABLE_STATUS = {408, 409, 425, 429}
_WORDS_AT_MOST = 1000
# Keys are looked for in no more than this: what is kept is a twentieth of it.
_LOOKED_AT = 20_000

# What to do where the server's words alone do not say it to someone who knows the catalogue.
_HINTS = (
    (re.compile(r"roles must alternate|system role", re.I), "set `system: merge` in the model's row"),
    (_TEMPLATE, "name a `chat_template` in the model's row: prompts are then rendered here"),
    (re.compile(r"continue_final_message|add_generation_prompt", re.I), "set `prefill: drop` in the model's row"),
    (
        re.compile(r"max_completion_tokens' instead", re.I),
        "set `extra_body: {max_tokens: null, max_completion_tokens: N}` in the model's row",
    ),
    (
        re.compile(r"'temperature' does not support|unsupported parameter: 'temperature'", re.I),
        "set `extra_body: {temperature: null}` in the model's row",
    ),
)
_HINTED: frozenset[FailureKind] = frozenset({"missing_template", "bad_request"})
_FINAL: frozenset[FailureKind] = frozenset(
    {"context_overflow", "unknown_model", "unauthorized", "missing_template", "content_filter"}
)

Redact = Callable[[str], str]


def as_it_is(words: str) -> str:
    """What is done to the words of a server that was told no secret."""
    return words


def failure_from(status: int, body: bytes, headers: Mapping[str, str], redact: Redact = as_it_is) -> Failure:
    """Read an answer that is not a success into the failure it means; `redact` takes secrets out of its words."""
    said, code = _said(body)
    kind, retryable = _judged(status, said, code)
    return Failure(
        kind=kind,
        words=_with_hint(kind, kept_words(said, redact)) or f"HTTP {status}",
        status=status,
        retryable=retryable,
        retry_after_s=retry_after_s(headers),
    )


def failure_inside(content: Mapping[str, Any], redact: Redact = as_it_is) -> Failure:
    """Read an error that came inside an answer or a stream whose status said success."""
    error = content.get("error")
    code = error.get("code") if isinstance(error, Mapping) else content.get("code")
    status = int(code) if isinstance(code, int | str) and str(code).isdecimal() and 400 <= int(code) < 600 else 500
    said, named = _words_of(content)
    kind, retryable = _judged(status, said, named)
    return Failure(kind, _with_hint(kind, kept_words(said, redact)) or "an error inside a 200 answer", 200, retryable)


def is_error(content: Mapping[str, Any]) -> bool:
    """Whether a body that came with status 200 is an error all the same."""
    return bool(content.get("error")) or content.get("object") == "error"


def kept_words(said: str, redact: Redact = as_it_is) -> str:
    """As much of a server's words as a failure keeps, secrets taken out before they can be cut in two."""
    return redact(storable(said[:_LOOKED_AT])).strip()[:_WORDS_AT_MOST]


def _said(body: bytes) -> tuple[str, str]:
    """What an error body says and its code or type, each "" where absent."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace"), ""
    if isinstance(content, dict):
        return _words_of(content)
    return "" if content is None else str(content), ""


def _words_of(content: Mapping[str, Any]) -> tuple[str, str]:
    """The same for an object that was parsed already."""
    error = content.get("error")
    if isinstance(error, Mapping):
        words, code = error.get("message"), _code(error)
    elif isinstance(error, str):
        words, code = error, content.get("error_type")
    elif "message" in content:
        words, code = content["message"], _code(content)
    else:
        words, code = content.get("detail", content), None
    text = words if isinstance(words, str) else "" if words is None else json.dumps(words, ensure_ascii=False)
    return text, "" if code is None else str(code)


def _code(error: Mapping[str, Any]) -> Any:
    """The code that names the fault; engines that put the HTTP status there name it in `type`."""
    code = error.get("code")
    return code if isinstance(code, str) and code else error.get("type") or code


def _judged(status: int, said: str, code: str) -> tuple[FailureKind, bool]:
    """The kind of failure, and whether asking again may mend it."""
    kind = _kind(status, said[:_LOOKED_AT], code)
    transient = status in _RETRYABLE_STATUS or (status >= 500 and kind != "bad_request") or kind == "server_error"
    # A quota that is spent says 429 like a limit that passes.
    return kind, transient and kind not in _FINAL and code != "insufficient_quota"


def _kind(status: int, words: str, code: str) -> FailureKind:
    if _OVERFLOW.search(code) or (status in (400, 413, 422, 500) and _OVERFLOW.search(words)):
        return "context_overflow"
    if code == "template_error" or (status in (400, 404, 422, 500) and _TEMPLATE.search(words)):
        return "missing_template"
    if code in _FILTER_CODES or (status in (400, 403) and _FILTERED.search(words)):
        return "content_filter"
    if code in _OVERLOAD_CODES or status in (503, 529):
        return "overload"
    if status == 429:
        return "rate_limit"
    if status in (401, 403):
        return "unauthorized"
    if code in _UNKNOWN_MODEL_CODES or (status == 404 and "model" in words.lower()):
        return "unknown_model"
    if status in (408, 504):
        return "timeout"
    if code == "validation" or (code == "internal_server_error" and _REFUSED_WITH_500.search(words)):
        return "bad_request"
    # TGI says 424 of itself where generation failed.
    return "server_error" if status >= 500 or code == "generation" else "bad_request"


def _with_hint(kind: FailureKind, words: str) -> str:
    if kind not in _HINTED:
        return words
    hint = next((hint for pattern, hint in _HINTS if pattern.search(words)), None)
    return words if hint is None else f"{words.rstrip('.')}; {hint}"


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The wait the server asks for, in seconds: `retry-after-ms`, or `Retry-After` in seconds or as a date."""
    milliseconds = headers.get("retry-after-ms")
    if milliseconds is not None:
        try:
            return max(0.0, float(milliseconds) / 1000)
        except ValueError:
            return None
    value = headers.get("Retry-After")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        until = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=dt.UTC)
    return max(0.0, (until - dt.datetime.now(dt.UTC)).total_seconds())


def names_on(card: Mapping[str, Any]) -> tuple[str, ...]:
    """The names under which a server answers for a model of its list: the listed one first."""
    listed = str(card["id"])
    others = card.get("aliases")
    # llama.cpp lists of several names the first in the alphabet; Ollama lists the tag and answers without it.
    aliases = [one for one in others if isinstance(one, str)] if isinstance(others, list) else []
    untagged = [listed.removesuffix(":latest")] if listed.endswith(":latest") else []
    return tuple(dict.fromkeys([listed, *aliases, *untagged]))
