from __future__ import annotations

import json
import math
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import text_generation
from text_generation.errors import OverloadedError, ValidationError
from text_generation.types import FinishReason

from tests.support import Server, running_server, wardround
from wardround import __version__

CASE = "She fell, and her left hip hurts. Which one?"
OPTIONS = "She takes warfarin. Which drug thins the blood?\nA: Aspirin\nB: The drug warfarin\nC: Insulin"
KEY_ENV = "WARDROUND_TEST_KEY"
# TGI's own client is of an earlier pydantic's time.
pytestmark = pytest.mark.filterwarnings("ignore:The .dict. method is deprecated:DeprecationWarning")


def root_of(server: Server) -> str:
    return server.base_url.removesuffix("/v1")


def post(server: Server, path: str, body: Any, **headers: str) -> tuple[int, Any, bytes]:
    """Status, headers and body of an answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = urllib.request.Request(root_of(server) + path, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(sent, timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def generated(server: Server, inputs: str = CASE, **parameters: Any) -> dict[str, Any]:
    status, _, body = post(server, "/generate", {"inputs": inputs, "parameters": parameters})
    assert status == 200, body
    content: dict[str, Any] = json.loads(body)
    return content


@pytest.fixture(scope="module")
def lead_server() -> Iterator[Server]:
    """Its one model says the prompt's first words."""
    with running_server("--tgi-model", "baseline-lead", "--context", "200") as running:
        yield running


@pytest.fixture
def client(lead_server: Server) -> text_generation.Client:
    # The package asks at the server's root.
    return text_generation.Client(root_of(lead_server))


def test_tgi_s_own_client_is_answered(client: text_generation.Client) -> None:
    answer = client.generate(CASE, max_new_tokens=50)
    assert answer.generated_text == CASE
    assert answer.details.finish_reason == FinishReason.EndOfSequenceToken
    # Twelve words and marks, and the end.
    assert answer.details.generated_tokens == 13
    assert [(token.text, token.special) for token in answer.details.tokens][-2:] == [("?", False), ("</s>", True)]
    assert (answer.details.seed, answer.details.prefill) == (None, [])


def test_tgi_s_own_client_reads_a_stream(lead_server: Server) -> None:
    client = text_generation.Client(root_of(lead_server))
    events = list(client.generate_stream(CASE, max_new_tokens=50))
    assert "".join(event.token.text for event in events if not event.token.special) == CASE
    assert [event.generated_text for event in events] == [None] * 12 + [CASE]
    assert events[-1].details is not None
    assert events[-1].details.finish_reason == FinishReason.EndOfSequenceToken


def test_at_the_root_an_answer_is_a_list_and_begins_with_its_prompt(server: Server) -> None:
    status, _, body = post(server, "/", {"inputs": OPTIONS})
    assert (status, json.loads(body)) == (200, [{"generated_text": f"{OPTIONS}B"}])
    _, _, body = post(server, "/", {"inputs": OPTIONS, "parameters": {"return_full_text": False}})
    assert json.loads(body) == [{"generated_text": "B"}]


def test_at_the_root_the_body_says_whether_to_stream(server: Server) -> None:
    body = {"inputs": OPTIONS, "stream": True, "parameters": {"return_full_text": False}}
    assert post(server, "/", body)[2].startswith(b'data:{"index":1,')
    assert post(server, "/", {"inputs": "", "stream": True})[::2][0] == 200
    assert post(server, "/", {"inputs": ""})[0] == 422


def test_a_stream_s_events_are_written_as_tgi_writes_them(lead_server: Server) -> None:
    body = {"inputs": "She fell.", "parameters": {"max_new_tokens": 50, "details": True}}
    status, headers, content = post(lead_server, "/generate_stream", body)
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    blocks = content.decode().removesuffix("\n\n").split("\n\n")
    assert all(block.startswith("data:{") for block in blocks)
    events = [json.loads(block.removeprefix("data:")) for block in blocks]
    assert [event["index"] for event in events] == [1, 2, 3, 4]
    assert [event["token"]["text"] for event in events] == ["She", " fell", ".", "</s>"]
    assert [event["details"] for event in events[:-1]] == [None] * 3
    assert events[-1]["details"] == {
        "finish_reason": "eos_token",
        "generated_tokens": 4,
        "seed": None,
        "input_length": 3,
    }


def test_an_answer_over_the_limit_ends_with_length(client: text_generation.Client) -> None:
    answer = client.generate(CASE, max_new_tokens=3)
    assert (answer.generated_text, answer.details.finish_reason) == ("She fell,", FinishReason.Length)
    assert answer.details.generated_tokens == 3


def test_a_stop_string_stays_at_the_answer_s_end(client: text_generation.Client) -> None:
    answer = client.generate(CASE, max_new_tokens=50, stop_sequences=["hip", "left"])
    assert (answer.generated_text, answer.details.finish_reason) == (
        "She fell, and her left",
        FinishReason.StopSequence,
    )


def test_a_begun_answer_can_be_given_with_its_prompt(client: text_generation.Client) -> None:
    assert client.generate(CASE, max_new_tokens=3, return_full_text=True).generated_text == f"{CASE}She fell,"


def test_a_long_prompt_can_be_cut_at_its_beginning(client: text_generation.Client) -> None:
    assert client.generate(CASE, max_new_tokens=50, truncate=3).generated_text == "Which one?"


def test_the_prompt_s_tokens_are_told_where_they_are_asked_for(client: text_generation.Client) -> None:
    prefill = client.generate("fell and fell", decoder_input_details=True).details.prefill
    assert [token.text for token in prefill] == ["fell", " and", " fell"]
    assert prefill[0].logprob is None
    assert all(token.logprob is not None and token.logprob < 0 for token in prefill[1:])


def test_the_likeliest_tokens_are_told_where_they_are_asked_for(server: Server) -> None:
    details = generated(server, OPTIONS, max_new_tokens=1, top_n_tokens=2, details=True)["details"]
    (top,) = details["top_tokens"]
    assert [token["text"] for token in top] == ["B", "A"]
    assert math.exp(top[0]["logprob"]) == pytest.approx(0.6, abs=1e-3)
    assert details["tokens"] == [top[0]]


def test_a_token_has_the_same_id_everywhere(server: Server) -> None:
    token = generated(server, OPTIONS, max_new_tokens=1, details=True)["details"]["tokens"][0]
    _, _, body = post(server, "/tokenize", {"inputs": "B"})
    assert json.loads(body)[0]["id"] == token["id"]


def test_details_are_told_only_where_they_are_asked_for(server: Server) -> None:
    assert generated(server, OPTIONS) == {"generated_text": "B"}


def test_the_seed_is_told_only_where_something_is_drawn(server: Server) -> None:
    assert generated(server, OPTIONS, details=True, seed=7)["details"]["seed"] is None
    assert generated(server, OPTIONS, details=True, seed=7, do_sample=True)["details"]["seed"] == 7


def test_the_headers_of_a_whole_answer_count_its_tokens(lead_server: Server) -> None:
    _, headers, _ = post(lead_server, "/generate", {"inputs": CASE})
    assert (headers["x-prompt-tokens"], headers["x-generated-tokens"]) == ("12", "13")


def test_a_grammar_is_kept_to(server: Server) -> None:
    schema = {"type": "object", "properties": {"answer": {"type": "string", "enum": ["A", "B", "C"]}}}
    for value in (schema, json.dumps(schema)):
        kept = generated(server, OPTIONS, grammar={"type": "json", "value": value})["generated_text"]
        assert json.loads(kept) == {"answer": "B"}
    named = {"type": "json_schema", "value": {"name": "answer", "schema": schema}}
    assert json.loads(generated(server, OPTIONS, grammar=named)["generated_text"]) == {"answer": "B"}
    assert generated(server, OPTIONS, grammar={"type": "regex", "value": "(A|C)"})["generated_text"] == "A"


def test_a_rendered_chat_gets_the_answer_of_the_chat(server: Server) -> None:
    rendered = f"<|im_start|>user\n{OPTIONS}<|im_end|>\n<|im_start|>assistant\n"
    assert generated(server, rendered) == {"generated_text": "B"}


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"top_p": 1.0}, "`top_p` must be > 0.0 and < 1.0"),
        ({"typical_p": 0}, "`typical_p` must be > 0.0 and < 1.0"),
        ({"temperature": 0}, "`temperature` must be strictly positive"),
        ({"top_k": 0}, "`top_k` must be strictly positive"),
        ({"repetition_penalty": 0}, "`repetition_penalty` must be strictly positive"),
        ({"frequency_penalty": 3}, "`frequency_penalty` must be >= -2.0 and <= 2.0"),
        ({"max_new_tokens": 0}, "`max_new_tokens` must be strictly positive"),
        ({"max_new_tokens": 189}, "`inputs` tokens + `max_new_tokens` must be <= 200. Given: 12 `inputs` tokens and 189 `max_new_tokens`"),
        ({"stop": list("abcde")}, "`stop` supports up to 4 stop sequences. Given: 5"),
        ({"stop": "abc"}, "`stop` must be a list of strings"),
        ({"best_of": 2, "do_sample": True}, "`best_of` != 1 is not allowed for this endpoint"),
        ({"top_n_tokens": 6}, "`top_n_tokens` must be >= 0 and <= 5. Given: 6"),
        ({"truncate": 0}, "`truncate` must be strictly positive"),
        ({"seed": -1}, "`seed` must not be negative"),
        ({"temperature": "hot"}, "`temperature` must be a number"),
        ({"max_new_tokens": 1.5}, "`max_new_tokens` must be an integer"),
        ({"grammar": {"type": "regex", "value": "[A-E]"}}, "grammar is not valid: Unsupported pattern: only alternatives like (YES|NO) can be kept to here."),
        ({"grammar": {"type": "lark", "value": "x"}}, "grammar is not valid: grammar is not supported"),
        ({"grammar": "x"}, "grammar is not supported"),
    ],
)  # fmt: skip
def test_wrong_parameters_are_refused_as_tgi_refuses_them(
    lead_server: Server, parameters: dict[str, Any], words: str
) -> None:
    status, _, body = post(lead_server, "/generate", {"inputs": CASE, "parameters": parameters})
    assert status == 422
    assert json.loads(body) == {"error": f"Input validation error: {words}", "error_type": "validation"}


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", {"inputs": 7}, {"inputs": ""}, {"inputs": "x", "parameters": 7}])
def test_a_wrong_body_is_refused_as_tgi_refuses_it(lead_server: Server, body: Any) -> None:
    status, _, content = post(lead_server, "/generate", body)
    assert (status, json.loads(content)["error_type"]) == (422, "validation")


def test_a_stream_that_is_refused_says_so_inside_a_success(lead_server: Server) -> None:
    body = {"inputs": CASE, "parameters": {"top_p": 1.0}}
    status, headers, content = post(lead_server, "/generate_stream", body)
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    event = json.loads(content.removeprefix(b"data:"))
    assert event == {"error": "Input validation error: `top_p` must be > 0.0 and < 1.0", "error_type": "validation"}


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"decoder_input_details": True}, "`decoder_input_details` == true is not supported when streaming tokens"),
        ({"best_of": 2}, "`best_of` != 1 is not supported when streaming tokens"),
    ],
)
def test_some_things_cannot_be_had_in_a_stream(lead_server: Server, parameters: dict[str, Any], words: str) -> None:
    _, _, content = post(lead_server, "/generate_stream", {"inputs": CASE, "parameters": parameters})
    assert json.loads(content.removeprefix(b"data:"))["error"] == f"Input validation error: {words}"


def test_its_own_client_takes_the_errors_for_what_they_are(lead_server: Server) -> None:
    with pytest.raises(ValidationError, match="must be <= 200"):
        text_generation.Client(root_of(lead_server)).generate(CASE, max_new_tokens=500)


def test_an_overloaded_server_says_so() -> None:
    with running_server("--fail-429", "1") as server:
        with pytest.raises(OverloadedError, match="Model is overloaded"):
            text_generation.Client(root_of(server)).generate(CASE)
        assert post(server, "/generate", {"inputs": CASE})[0] == 429
        assert b'"overloaded"' in post(server, "/generate_stream", {"inputs": CASE})[2]
        assert server.stats()["statuses"] == {"429": 3}


def test_a_broken_server_says_so() -> None:
    with running_server("--fail-500", "1") as server:
        status, _, body = post(server, "/generate", {"inputs": CASE})
        assert (status, json.loads(body)["error_type"]) == (500, "incomplete_generation")


def test_a_wrong_key_gets_no_word() -> None:
    with running_server("--api-key-env", KEY_ENV, env={**os.environ, KEY_ENV: "right"}) as server:
        assert post(server, "/generate", {"inputs": CASE})[::2] == (401, b"")
        assert post(server, "/generate_stream", {"inputs": CASE}, Authorization="Bearer wrong")[::2] == (401, b"")
        assert post(server, "/generate", {"inputs": CASE}, Authorization="Bearer right")[0] == 200


def test_info_tells_of_the_one_model(lead_server: Server) -> None:
    with urllib.request.urlopen(root_of(lead_server) + "/info", timeout=20) as answer:
        info = json.load(answer)
    assert (info["model_id"], info["max_total_tokens"], info["version"]) == ("baseline-lead", 200, __version__)
    assert len(info["model_sha"]) == 40
    assert (info["max_stop_sequences"], info["max_input_tokens"]) == (4, 199)


def test_the_one_model_must_be_a_baseline(tmp_path: Any) -> None:
    ended = wardround("serve", "--tgi-model", "gpt-4", "--port", "0", cwd=tmp_path)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "'gpt-4' is no baseline" in ended.stderr


@pytest.mark.parametrize(
    ("body", "count"),
    [
        pytest.param({"inputs": "She fell.", "add_special_tokens": False}, lambda answer: len(answer), id="TGI"),
        pytest.param({"content": "She fell."}, lambda answer: len(answer["tokens"]), id="llama.cpp"),
        pytest.param({"prompt": "She fell."}, lambda answer: answer["count"], id="vLLM"),
        pytest.param({"messages": [{"role": "user", "content": "She fell."}]}, lambda answer: answer["count"], id="vLLM's chat"),
    ],
)  # fmt: skip
def test_tokens_are_counted_in_every_engine_s_words(server: Server, body: Any, count: Any) -> None:
    status, _, content = post(server, "/tokenize", body)
    assert (status, count(json.loads(content))) == (200, 3)


def test_tgi_is_told_where_each_token_stands(server: Server) -> None:
    tokens = json.loads(post(server, "/tokenize", {"inputs": "She fell."})[2])
    assert [(token["text"], token["start"], token["stop"]) for token in tokens] == [
        ("She", 0, 3),
        (" fell", 3, 8),
        (".", 8, 9),
    ]


@pytest.mark.parametrize("body", [b"", b"[]", {}, {"prompt": 7}, {"inputs": None}, {"messages": []}])
def test_tokens_of_nothing_are_a_bad_request(server: Server, body: Any) -> None:
    assert post(server, "/tokenize", body)[0] == 400
