from __future__ import annotations

import datetime as dt
import email.utils
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.endpoints.exchange import KEY, UNHURRIED, bearer
from wardround.endpoints.dialects import failure_from, failure_inside, is_error, retry_after_s
from wardround.endpoints.replies import Failure, FailureKind

OPENAI_OVERFLOW = (
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens. "
    "Please reduce the length of the messages."
)
SGLANG_OVERFLOW = "The input (5012 tokens) is longer than the model's context length (4096 tokens)."
TGI_OVERFLOW = (
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. "
    "Given: 4000 `inputs` tokens and 512 `max_new_tokens`"
)
LLAMA_CPP_OVERFLOW = "request (5012 tokens) exceeds the available context size (4096 tokens), try increasing it"


LLAMA_CPP_PYTHON_REFUSAL = "[{'type': 'missing', 'loc': ('body', 'messages'), 'msg': 'Field required'}]"


def nested(message: str, kind: str, code: str | int | None) -> dict[str, Any]:
    """As OpenAI and vLLM say it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def flat(message: str, kind: str, code: int) -> dict[str, Any]:
    """As SGLang and older vLLM say it."""
    return {"object": "error", "message": message, "type": kind, "param": None, "code": code}


def failure(status: int, content: Any, **headers: str) -> Failure:
    """The failure that an answer in JSON means."""
    return failure_from(status, json.dumps(content).encode(), headers)


@pytest.mark.parametrize(
    ("status", "content", "kind", "retryable", "words"),
    [
        pytest.param(
            400,
            nested(OPENAI_OVERFLOW, "invalid_request_error", "context_length_exceeded"),
            "context_overflow",
            False,
            OPENAI_OVERFLOW,
            id="OpenAI: the context overflows",
        ),
        pytest.param(
            401,
            nested("Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
            "unauthorized",
            False,
            "Incorrect API key provided.",
            id="OpenAI: the key is wrong",
        ),
        pytest.param(
            404,
            nested("The model `x` does not exist.", "invalid_request_error", "model_not_found"),
            "unknown_model",
            False,
            "The model `x` does not exist.",
            id="OpenAI: no such model",
        ),
        pytest.param(
            403,
            nested("Project has no access to model `x`.", "invalid_request_error", "model_not_found"),
            "unauthorized",
            False,
            "Project has no access to model `x`.",
            id="OpenAI: no access to the model",
        ),
        pytest.param(
            429,
            nested("Rate limit reached.", "requests", "rate_limit_exceeded"),
            "rate_limit",
            True,
            "Rate limit reached.",
            id="OpenAI: too many requests",
        ),
        pytest.param(
            500,
            nested("The server had an error.", "server_error", None),
            "server_error",
            True,
            "The server had an error.",
            id="OpenAI: an error of the server",
        ),
        pytest.param(
            503,
            nested("The engine is currently overloaded.", "server_error", None),
            "overload",
            True,
            "The engine is currently overloaded.",
            id="OpenAI: overloaded",
        ),
        pytest.param(
            400,
            nested(OPENAI_OVERFLOW, "BadRequestError", 400),
            "context_overflow",
            False,
            OPENAI_OVERFLOW,
            id="vLLM: the context overflows",
        ),
        pytest.param(
            404,
            nested("The model `x` does not exist.", "NotFoundError", 404),
            "unknown_model",
            False,
            "The model `x` does not exist.",
            id="vLLM: no such model",
        ),
        pytest.param(
            400,
            nested("temperature must be non-negative, got -1.0.", "BadRequestError", 400),
            "bad_request",
            False,
            "temperature must be non-negative, got -1.0.",
            id="vLLM: a wrong parameter",
        ),
        pytest.param(
            401, {"error": "Unauthorized"}, "unauthorized", False, "Unauthorized", id="vLLM: the key is wrong"
        ),
        pytest.param(
            400,
            flat(SGLANG_OVERFLOW, "BadRequestError", 400),
            "context_overflow",
            False,
            SGLANG_OVERFLOW,
            id="SGLang: the context overflows",
        ),
        pytest.param(
            500,
            flat("The scheduler died.", "InternalServerError", 500),
            "server_error",
            True,
            "The scheduler died.",
            id="SGLang: an error of the server",
        ),
        pytest.param(
            422,
            {"error": TGI_OVERFLOW, "error_type": "validation"},
            "context_overflow",
            False,
            TGI_OVERFLOW,
            id="TGI: the context overflows",
        ),
        pytest.param(
            429,
            {"error": "Model is overloaded", "error_type": "overloaded"},
            "overload",
            True,
            "Model is overloaded",
            id="TGI: overloaded",
        ),
        pytest.param(
            422,
            {"error": "Input validation error: `temperature` must be positive", "error_type": "validation"},
            "bad_request",
            False,
            "Input validation error: `temperature` must be positive",
            id="TGI: a wrong parameter",
        ),
        pytest.param(
            400,
            {
                "error": {
                    "code": 400,
                    "message": LLAMA_CPP_OVERFLOW,
                    "type": "exceed_context_size_error",
                    "n_prompt_tokens": 5012,
                    "n_ctx": 4096,
                }
            },
            "context_overflow",
            False,
            LLAMA_CPP_OVERFLOW,
            id="llama.cpp: the context overflows",
        ),
        pytest.param(
            503,
            {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
            "overload",
            True,
            "Loading model",
            id="llama.cpp: the model is still being loaded",
        ),
        pytest.param(
            500,
            {"error": {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}},
            "context_overflow",
            False,
            "Context size has been exceeded.",
            id="llama.cpp: the context overflows on the way",
        ),
        pytest.param(
            500,
            nested("Too long.", "internal_server_error", "context_length_exceeded"),
            "context_overflow",
            False,
            "Too long.",
            id="llama-cpp-python: the context overflows, by its code alone",
        ),
        pytest.param(
            500,
            nested("Requested tokens (5012) exceed context window of 4096", "internal_server_error", None),
            "context_overflow",
            False,
            "Requested tokens (5012) exceed context window of 4096",
            id="llama-cpp-python: the context overflows, by its words alone",
        ),
        pytest.param(
            400,
            nested("The model `x` does not exist", "invalid_request_error", "model_not_found"),
            "unknown_model",
            False,
            "The model `x` does not exist",
            id="llama-cpp-python: no such model",
        ),
        pytest.param(
            500,
            nested(LLAMA_CPP_PYTHON_REFUSAL, "internal_server_error", None),
            "bad_request",
            False,
            LLAMA_CPP_PYTHON_REFUSAL,
            id="llama-cpp-python: a wrong parameter, for ever",
        ),
        pytest.param(
            500,
            nested("llama_decode returned -1", "internal_server_error", None),
            "server_error",
            True,
            "llama_decode returned -1",
            id="llama-cpp-python: an error of the server",
        ),
        pytest.param(
            401,
            {"error": {"code": 401, "message": "Invalid API Key", "type": "authentication_error"}},
            "unauthorized",
            False,
            "Invalid API Key",
            id="llama.cpp: the key is wrong",
        ),
        pytest.param(
            429,
            nested("You exceeded your current quota.", "insufficient_quota", "insufficient_quota"),
            "rate_limit",
            False,
            "You exceeded your current quota.",
            id="OpenAI: the quota is spent",
        ),
        pytest.param(
            503,
            {"error": {"message": "server busy, please try again", "type": "api_error", "param": None, "code": None}},
            "overload",
            True,
            "server busy, please try again",
            id="Ollama: overloaded",
        ),
        pytest.param(
            404,
            {"error": {"message": 'model "x" not found, try pulling it first', "type": "api_error", "code": None}},
            "unknown_model",
            False,
            'model "x" not found, try pulling it first',
            id="Ollama: no such model",
        ),
        pytest.param(
            503,
            nested("Too many queued requests.", "ServiceUnavailableError", 503),
            "overload",
            True,
            "Too many queued requests.",
            id="vLLM: overloaded",
        ),
        pytest.param(
            400,
            nested(
                "max_tokens=9000 cannot be greater than max_model_len=max_total_tokens=2048", "BadRequestError", 400
            ),
            "context_overflow",
            False,
            "max_tokens=9000 cannot be greater than max_model_len=max_total_tokens=2048",
            id="vLLM: more new tokens than the context has",
        ),
        pytest.param(
            503,
            flat("The request queue is full.", "ServiceUnavailable", 503),
            "overload",
            True,
            "The request queue is full.",
            id="SGLang: overloaded",
        ),
        pytest.param(
            424,
            {"error": "Request failed during generation: CUDA out of memory", "error_type": "generation"},
            "server_error",
            True,
            "Request failed during generation: CUDA out of memory",
            id="TGI: generation failed",
        ),
        pytest.param(401, None, "unauthorized", False, "HTTP 401", id="TGI: the key is wrong"),
        pytest.param(
            401,
            {"error": {"code": "401", "message": "Access denied due to invalid subscription key."}},
            "unauthorized",
            False,
            "Access denied due to invalid subscription key.",
            id="Azure: the key is wrong",
        ),
        pytest.param(
            401,
            {"statusCode": 401, "message": "Unauthorized. Access token is missing, invalid, or expired."},
            "unauthorized",
            False,
            "Unauthorized. Access token is missing, invalid, or expired.",
            id="Azure: the token is wrong",
        ),
        pytest.param(
            404,
            {"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}},
            "unknown_model",
            False,
            "The API deployment does not exist.",
            id="Azure: no such deployment",
        ),
        pytest.param(
            429,
            {"error": {"code": "429", "message": "Requests have exceeded the token rate limit."}},
            "rate_limit",
            True,
            "Requests have exceeded the token rate limit.",
            id="Azure: too many tokens",
        ),
        pytest.param(
            400,
            {
                "error": {
                    "message": "The response was filtered due to the prompt triggering the content management policy.",
                    "type": None,
                    "param": "prompt",
                    "code": "content_filter",
                    "status": 400,
                    "innererror": {"code": "ResponsibleAIPolicyViolation"},
                }
            },
            "content_filter",
            False,
            "The response was filtered due to the prompt triggering the content management policy.",
            id="Azure: the prompt was filtered",
        ),
        pytest.param(
            403,
            {"error": {"code": 403, "message": "The model requires moderation and your input was flagged."}},
            "content_filter",
            False,
            "The model requires moderation and your input was flagged.",
            id="OpenRouter: the prompt was filtered",
        ),
        pytest.param(404, {"detail": "Not Found"}, "bad_request", False, "Not Found", id="FastAPI: no such address"),
        pytest.param(
            422,
            {"detail": [{"loc": ["body", "messages"], "msg": "field required", "type": "value_error.missing"}]},
            "bad_request",
            False,
            '[{"loc": ["body", "messages"], "msg": "field required", "type": "value_error.missing"}]',
            id="FastAPI: a field is missing",
        ),
        pytest.param(
            500, {"code": 7, "oops": "ü"}, "server_error", True, '{"code": 7, "oops": "ü"}', id="an unknown shape"
        ),
        pytest.param(500, "busy", "server_error", True, "busy", id="a JSON string"),
        pytest.param(400, [1, 2], "bad_request", False, "[1, 2]", id="a JSON list"),
        pytest.param(502, 42, "server_error", True, "42", id="a JSON number"),
    ],
)
def test_each_engine_s_no_is_understood(
    status: int, content: Any, kind: FailureKind, retryable: bool, words: str
) -> None:
    assert failure(status, content) == Failure(kind=kind, words=words, status=status, retryable=retryable)


NO_TEMPLATE = (
    "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat template if the"
    " tokenizer does not define one."
)
ALTERNATE = "Conversation roles must alternate user/assistant/user/assistant/..."


@pytest.mark.parametrize(
    ("status", "content", "hint"),
    [
        pytest.param(400, nested(NO_TEMPLATE, "BadRequestError", 400), "`chat_template`", id="vLLM: none"),
        pytest.param(400, nested(ALTERNATE, "BadRequestError", 400), "`system: merge`", id="vLLM: no system role"),
        pytest.param(400, flat(ALTERNATE, "BadRequest", 400), "`system: merge`", id="SGLang: no system role"),
        pytest.param(
            422,
            {"error": "Template error: template not found", "error_type": "template_error"},
            "`chat_template`",
            id="TGI: none",
        ),
        pytest.param(
            500,
            nested(f"Jinja Exception: {ALTERNATE}", "server_error", 500),
            "`system: merge`",
            id="llama.cpp: no system role",
        ),
        pytest.param(
            500,
            {"detail": "Cannot use chat template functions because tokenizer.chat_template is not set"},
            "`chat_template`",
            id="transformers serve: none",
        ),
        pytest.param(
            400,
            nested("System role not supported", "BadRequestError", 400),
            "`system: merge`",
            id="Gemma: no system role",
        ),
    ],
)
def test_a_missing_or_unwilling_template_comes_with_its_cure(status: int, content: Any, hint: str) -> None:
    found = failure(status, content)
    assert (found.kind, found.retryable) == ("missing_template", False)
    assert hint in found.words.rpartition("; ")[2]


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("Unrecognized request argument supplied: add_generation_prompt", "`prefill: drop`"),
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            "`extra_body: {max_tokens: null, max_completion_tokens: N}`",
        ),
        (
            "Unsupported value: 'temperature' does not support 0.0 with this model.",
            "`extra_body: {temperature: null}`",
        ),
    ],
)
def test_a_field_that_a_hosted_model_refuses_comes_with_its_cure(message: str, hint: str) -> None:
    found = failure(400, nested(message, "invalid_request_error", "unsupported_value"))
    assert (found.kind, found.retryable) == ("bad_request", False)
    assert hint in found.words


def test_a_field_for_templates_that_is_refused_is_no_missing_template() -> None:
    found = failure(400, nested("Extra inputs are not permitted: chat_template_kwargs", "BadRequestError", 400))
    assert found.kind == "bad_request"


@pytest.mark.parametrize(
    ("content", "kind", "retryable"),
    [
        pytest.param({"error": "slow", "error_type": "overloaded"}, "overload", True, id="TGI: overloaded"),
        pytest.param(
            {"error": TGI_OVERFLOW, "error_type": "validation"}, "context_overflow", False, id="TGI: overflow"
        ),
        pytest.param({"error": "no", "error_type": "validation"}, "bad_request", False, id="TGI: a wrong parameter"),
        pytest.param({"error": "x", "error_type": "incomplete_generation"}, "server_error", True, id="TGI: broken off"),
        pytest.param({"error": {"message": "x", "code": 429}}, "rate_limit", True, id="OpenRouter: a limit on the way"),
        pytest.param(flat("No.", "BadRequestError", 400), "bad_request", False, id="SGLang: flat"),
        pytest.param(nested("No.", "BadRequestError", 400), "bad_request", False, id="vLLM: a wrong parameter"),
        pytest.param({"error": True}, "server_error", True, id="no words"),
    ],
)
def test_an_error_inside_a_success_is_understood(content: Any, kind: FailureKind, retryable: bool) -> None:
    assert is_error(content)
    found = failure_inside(content)
    assert (found.kind, found.retryable, found.status) == (kind, retryable, 200)


@pytest.mark.parametrize("content", [{}, {"error": None}, {"object": "chat.completion"}])
def test_what_holds_no_error_is_none(content: Any) -> None:
    assert not is_error(content)


@pytest.mark.parametrize("code", [None, "invalid_api_key"])
def test_a_key_is_gone_from_the_words_before_they_are_cut(code: str | None) -> None:
    body = json.dumps(nested("x" * 990 + KEY, "invalid_request_error", code)).encode()
    words = failure_from(401, body, {}, bearer(KEY).taken_out_of).words
    assert words.startswith("x" * 990)
    assert KEY[:4] not in words


def test_a_key_is_gone_however_the_json_writes_it() -> None:
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in KEY)
    body = b'{"error": "wrong key: %b"}' % escaped.encode()
    assert failure_from(401, body, {}, bearer(KEY).taken_out_of).words == "wrong key: [key]"


def test_a_key_that_is_a_word_of_the_error_does_not_change_its_kind() -> None:
    body = json.dumps({"error": TGI_OVERFLOW, "error_type": "validation"}).encode()
    assert failure_from(422, body, {}, bearer("must").taken_out_of).kind == "context_overflow"


def test_a_page_is_kept_as_words() -> None:
    page = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>nginx</body>\r\n</html>\r\n"
    expected = Failure("server_error", page.decode().strip(), status=502, retryable=True)
    assert failure_from(502, page, {"Content-Type": "text/html"}) == expected


@pytest.mark.parametrize("body", [b"", b"  \n", b'{"error": ""}', b'{"error": {"message": ""}}', b'{"detail": ""}'])
def test_an_answer_without_words_gets_its_status_for_words(body: bytes) -> None:
    assert failure_from(500, body, {}).words == "HTTP 500"


def test_bytes_that_are_no_utf8_are_replaced() -> None:
    assert failure_from(500, b"\xff bad", {}).words == "\ufffd bad"


def test_lone_surrogates_are_replaced() -> None:
    assert failure_from(500, b'{"error": "a\\ud800b"}', {}).words == "a\ufffdb"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"x" * 5000, id="text"),
        pytest.param(json.dumps({"error": "x" * 5000}).encode(), id="an object"),
        pytest.param(json.dumps({"detail": ["x" * 5000]}).encode(), id="a list in an object"),
        pytest.param(json.dumps("x" * 5000).encode(), id="a string"),
    ],
)
def test_long_words_are_cut_to_a_thousand_characters(body: bytes) -> None:
    assert len(failure_from(500, body, {}).words) == 1000


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (302, "bad_request", False),
        (400, "bad_request", False),
        (401, "unauthorized", False),
        (403, "unauthorized", False),
        (404, "bad_request", False),
        (405, "bad_request", False),
        (408, "timeout", True),
        (409, "bad_request", True),
        (413, "bad_request", False),
        (422, "bad_request", False),
        (425, "bad_request", True),
        (429, "rate_limit", True),
        (500, "server_error", True),
        (502, "server_error", True),
        (503, "overload", True),
        (504, "timeout", True),
        (529, "overload", True),
    ],
)
def test_without_words_the_status_decides(status: int, kind: FailureKind, retryable: bool) -> None:
    found = failure_from(status, b"", {})
    assert (found.kind, found.retryable, found.status) == (kind, retryable, status)


def test_a_rate_limit_that_mentions_the_context_is_still_a_rate_limit() -> None:
    found = failure(429, nested("Limit for long context window requests reached.", "tokens", "rate_limit_exceeded"))
    assert (found.kind, found.retryable) == ("rate_limit", True)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({"Retry-After": "7"}, 7.0, id="seconds"),
        pytest.param({"Retry-After": "0"}, 0.0, id="at once"),
        pytest.param({"Retry-After": "0.25"}, 0.25, id="a fraction"),
        pytest.param({"Retry-After": " 3 "}, 3.0, id="with blanks"),
        pytest.param({"Retry-After": "-5"}, 0.0, id="negative seconds"),
        pytest.param({"retry-after-ms": "1500"}, 1.5, id="milliseconds"),
        pytest.param({"retry-after-ms": "-1"}, 0.0, id="negative milliseconds"),
        pytest.param({"retry-after-ms": "250", "Retry-After": "9"}, 0.25, id="milliseconds go first"),
        pytest.param({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0, id="a date in the past"),
        pytest.param({"Retry-After": "Wed, 21 Oct 2015 07:28:00 -0000"}, 0.0, id="a date without a zone"),
        pytest.param({"Retry-After": "soon"}, None, id="garbage"),
        pytest.param({"Retry-After": ""}, None, id="nothing"),
        pytest.param({"Retry-After": "Wed, 99 Oct 2015"}, None, id="half a date"),
        pytest.param({"retry-after-ms": "soon"}, None, id="garbage for milliseconds"),
    ],
)
def test_the_wait_a_server_asks_for_is_read(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers) == wait_s


def test_a_date_to_come_is_the_time_until_then() -> None:
    until = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=90)
    wait_s = retry_after_s({"Retry-After": email.utils.format_datetime(until, usegmt=True)})
    assert wait_s is not None
    # The date has whole seconds only, and the machine that runs this may be busy.
    assert 60 <= wait_s <= 90


def test_the_failure_carries_the_wait() -> None:
    assert failure_from(429, b"", {"Retry-After": "2.5"}).retry_after_s == 2.5


KEYS = st.sampled_from(["error", "message", "code", "type", "error_type", "detail", "object"]) | st.text(max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
STATUSES = st.integers(100, 599)
HEADERS = st.dictionaries(st.sampled_from(["Retry-After", "retry-after-ms"]), st.text(max_size=20))


def check_keepable(found: Failure, status: int) -> None:
    """What the journal needs of any failure."""
    assert found.status == status
    assert found.words.encode()
    assert found.retry_after_s is None or found.retry_after_s >= 0


@UNHURRIED
@given(STATUSES, st.binary(), HEADERS)
def test_any_bytes_with_any_status_are_a_failure(status: int, body: bytes, headers: dict[str, str]) -> None:
    check_keepable(failure_from(status, body, headers), status)


@UNHURRIED
@given(STATUSES, JSON)
def test_any_json_with_any_status_is_a_failure(status: int, content: Any) -> None:
    check_keepable(failure(status, content), status)
