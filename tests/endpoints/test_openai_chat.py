from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.endpoints.exchange import (
    FINE,
    KEY,
    PATIENT,
    PROMPT,
    ROLE,
    UNHURRIED,
    USAGE,
    USAGE_ONLY,
    ask,
    ask_either,
    ask_streamed,
    completion,
    either_way,
    piece,
)
from tests.support import Server
from tests.wire.raw_server import (
    LAST_CHUNK,
    NEVER_S,
    STREAM_HEAD,
    Answer,
    Then,
    chunk,
    closed_port,
    event,
    event_stream,
    http_answer,
    http_head,
    json_answer,
    raw_server,
)
from wardround.catalogue import Model
from wardround.endpoints import Failure, OpenAIChat, Params, Reply
from wardround.endpoints.keys import Keys
from wardround.study import Deadlines
from wardround.task import Message, Prompt
from wardround.wire import Wire


def test_the_question_goes_to_chat_completions_as_json() -> None:
    [asked] = ask(FINE).asked
    assert (asked.method, asked.target) == ("POST", "/v1/chat/completions")
    assert asked.headers["content-type"] == "application/json"


def test_without_options_nothing_but_the_necessary_is_sent() -> None:
    assert ask(FINE).sent == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Answer briefly."},
            {"role": "user", "content": "Is aspirin an NSAID?"},
        ],
        "max_tokens": 20,
        "temperature": 0.0,
    }


def test_the_model_is_asked_for_by_the_name_the_server_knows() -> None:
    assert ask(FINE, served_as="org/m-7b").sent["model"] == "org/m-7b"


def test_seed_stop_and_temperature_are_sent() -> None:
    sent = ask(FINE, params=Params(max_tokens=5, temperature=0.5, seed=0, stop=("\n", "###"))).sent
    assert (sent["max_tokens"], sent["temperature"], sent["seed"], sent["stop"]) == (5, 0.5, 0, ["\n", "###"])


def test_extra_body_is_sent_and_goes_before_the_rest() -> None:
    extra = {"chat_template_kwargs": {"enable_thinking": False}, "temperature": 1.0}
    sent = ask(FINE, params=Params(max_tokens=5, extra_body=extra)).sent
    assert (sent["chat_template_kwargs"], sent["temperature"]) == ({"enable_thinking": False}, 1.0)


def test_letters_beyond_ascii_arrive_as_they_are() -> None:
    [asked] = ask(FINE, prompt=Prompt((Message("user", "37 °C, 体温"),))).asked
    assert asked.json()["messages"][0]["content"] == "37 °C, 体温"
    assert "37 °C, 体温".encode() in asked.body


def test_a_prefill_is_sent_as_the_last_assistant_message_to_be_continued() -> None:
    sent = ask(FINE, prompt=Prompt(PROMPT.messages, prefill="The answer is"), prefill="continue").sent
    assert sent["messages"][-1] == {"role": "assistant", "content": "The answer is"}
    assert len(sent["messages"]) == 3
    assert (sent["continue_final_message"], sent["add_generation_prompt"]) == (True, False)


def test_a_prefill_is_left_out_for_servers_that_refuse_it() -> None:
    with_prefill = ask(FINE, prompt=Prompt(PROMPT.messages, prefill="The answer is"), prefill="drop").sent
    assert with_prefill == ask(FINE, prefill="drop").sent


def test_a_stream_is_asked_for_with_its_usage() -> None:
    sent = ask_streamed({"content": "Yes."}).sent
    assert (sent["stream"], sent["stream_options"]) == (True, {"include_usage": True})


def test_whoever_listens_to_the_pieces_gets_a_stream() -> None:
    exchange = ask(event_stream(ROLE, piece({"content": "Yes."}, "stop")), listen=True)
    assert exchange.sent["stream"] is True


def test_the_key_is_sent_as_a_bearer_token() -> None:
    [asked] = ask(FINE, key=KEY).asked
    assert asked.headers["authorization"] == f"Bearer {KEY}"


def test_without_a_key_none_is_sent() -> None:
    [asked] = ask(FINE).asked
    assert "authorization" not in asked.headers


@either_way
def test_text_finish_reason_and_usage_are_read(streamed: bool) -> None:
    reply = ask_either(streamed, {"content": "Yes."}).reply
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("Yes.", "", "stop")
    assert (reply.prompt_tokens, reply.output_tokens) == (11, 2)


def test_the_pieces_of_a_stream_are_joined() -> None:
    reply = ask_streamed({"content": "Yes"}, {"content": ", it"}, {}, {"content": " is."}).reply
    assert reply.text == "Yes, it is."


def test_the_pieces_are_handed_on_as_they_come() -> None:
    exchange = ask_streamed({"reasoning_content": "Hm."}, {"content": "Yes"}, {"content": "."}, listen=True)
    assert [(one.text, one.reasoning) for one in exchange.chunks] == [("", "Hm."), ("Yes", ""), (".", "")]
    times_ns = [one.at_ns for one in exchange.chunks]
    assert times_ns == sorted(times_ns)
    assert exchange.reply.first_token_ns == times_ns[0]


@either_way
def test_null_content_is_an_empty_text(streamed: bool) -> None:
    assert ask_either(streamed, {"content": None}).reply.text == ""


def test_missing_content_is_a_bad_reply_and_no_empty_answer() -> None:
    assert ask_either(False, {}).failure.kind == "bad_reply"


def test_a_stream_may_end_without_having_said_anything() -> None:
    assert ask_either(True, {}).reply.text == ""


@either_way
@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_in_a_field_of_its_own_is_kept_apart(streamed: bool, name: str) -> None:
    reply = ask_either(streamed, {name: "An NSAID inhibits COX.", "content": "Yes."}).reply
    assert (reply.text, reply.reasoning) == ("Yes.", "An NSAID inhibits COX.")


@either_way
def test_reasoning_written_into_the_content_is_kept_apart(streamed: bool) -> None:
    reply = ask_either(streamed, {"content": "<think>\nIt inhibits COX.\n</think>\n\nYes."}).reply
    assert (reply.text, reply.reasoning) == ("Yes.", "It inhibits COX.")


@either_way
def test_reasoning_whose_opening_tag_stood_in_the_prompt_is_kept_apart(streamed: bool) -> None:
    reply = ask_either(streamed, {"content": "It inhibits COX.</think>Yes."}).reply
    assert (reply.text, reply.reasoning) == ("Yes.", "It inhibits COX.")


@either_way
def test_reasoning_in_both_places_is_kept_together(streamed: bool) -> None:
    reply = ask_either(streamed, {"reasoning": "First.", "content": "<think>Then.</think>Yes."}).reply
    assert (reply.text, reply.reasoning) == ("Yes.", "First.\nThen.")


def test_a_tag_cut_across_pieces_is_still_a_tag() -> None:
    reply = ask_streamed(*({"content": letter} for letter in "<think>Hm.</think>Yes.")).reply
    assert (reply.text, reply.reasoning) == ("Yes.", "Hm.")


@either_way
def test_a_tag_inside_the_answer_is_part_of_the_answer(streamed: bool) -> None:
    assert ask_either(streamed, {"content": "Write <think> first."}).reply.text == "Write <think> first."


@either_way
@pytest.mark.parametrize(
    "message",
    [
        pytest.param({"content": "<think>It inhibits"}, id="in the content"),
        pytest.param({"content": "<think>"}, id="right after the tag"),
        pytest.param({"content": "<think>It inhibits COX.</think>"}, id="right before the answer"),
        pytest.param({"content": None, "reasoning_content": "It inhibits"}, id="in a field of its own"),
    ],
)
def test_an_answer_cut_inside_its_reasoning_is_a_failure(streamed: bool, message: Mapping[str, Any]) -> None:
    failure = ask_either(streamed, message, finish_reason="length").failure
    assert (failure.kind, failure.retryable) == ("cut_in_reasoning", False)
    assert "max_tokens" in failure.words


@either_way
def test_an_answer_cut_after_its_reasoning_is_a_reply(streamed: bool) -> None:
    reply = ask_either(streamed, {"content": "<think>Hm.</think>Yes, it"}, finish_reason="length").reply
    assert (reply.text, reply.finish_reason) == ("Yes, it", "length")


@either_way
def test_an_empty_answer_cut_without_any_reasoning_is_a_reply(streamed: bool) -> None:
    assert ask_either(streamed, {"content": ""}, finish_reason="length").reply.text == ""


@either_way
def test_lone_surrogates_are_made_storable(streamed: bool) -> None:
    reply = ask_either(streamed, {"content": "a\ud800b", "reasoning": "\udfff"}).reply
    assert (reply.text, reply.reasoning) == ("a\ufffdb", "\ufffd")


def test_escaped_pairs_of_surrogates_are_the_letters_they_mean() -> None:
    assert ask(http_answer(rb'{"choices": [{"message": {"content": "\ud83d\ude00"}}]}')).reply.text == "😀"


@either_way
def test_the_fingerprint_is_what_the_server_says_of_itself(streamed: bool) -> None:
    content = {"model": "m-2026", "system_fingerprint": "fp_1\ud800"}
    if streamed:
        reply = ask(event_stream(piece({"content": "a"}, "stop", **content)), stream=True).reply
    else:
        reply = ask(json_answer(completion({"content": "a"}, **content))).reply
    assert reply.fingerprint == "m-2026 fp_1\ufffd"


def test_a_server_that_counts_no_tokens_is_not_counted_for() -> None:
    reply = ask(json_answer(completion({"content": "a b"}, usage=None))).reply
    assert (reply.prompt_tokens, reply.output_tokens) == (None, None)


def test_a_stream_without_usage_has_no_counts() -> None:
    reply = ask(event_stream(piece({"content": "a"}, "stop", usage=None)), stream=True).reply
    assert (reply.prompt_tokens, reply.output_tokens) == (None, None)


def test_usage_may_come_with_every_piece_and_the_last_counts() -> None:
    pieces = [piece({"content": "a"}, usage={"prompt_tokens": 5, "completion_tokens": 1})]
    pieces += [piece({"content": "b"}, "stop", usage={"prompt_tokens": 5, "completion_tokens": 2})]
    assert ask(event_stream(*pieces), stream=True).reply.output_tokens == 2


def test_a_whole_answer_without_finish_reason_is_a_reply() -> None:
    assert ask(json_answer(completion({"content": "Yes."}, None))).reply.finish_reason is None


def test_comments_in_the_stream_are_no_pieces() -> None:
    stream = STREAM_HEAD + chunk(b": OPENROUTER PROCESSING\n\n") + event(piece({"content": "a"}, "stop"))
    assert ask(stream + event(b"[DONE]") + LAST_CHUNK, stream=True).reply.text == "a"


def test_a_stream_without_done_that_ends_with_a_finish_reason_is_a_reply() -> None:
    stream = STREAM_HEAD + event(piece({"content": "a"}, "stop")) + LAST_CHUNK
    assert ask(stream, stream=True).reply.text == "a"


def test_a_stream_that_ends_without_its_last_blank_line_is_a_reply() -> None:
    last = b"data: " + json.dumps(piece({"content": "a"}, "stop")).encode()
    assert ask(STREAM_HEAD + chunk(last) + LAST_CHUNK, stream=True).reply.text == "a"


def test_a_whole_reply_has_no_time_of_a_first_token() -> None:
    reply = ask(0.05, FINE).reply
    assert reply.first_token_ns is None
    assert reply.scheduled_ns <= reply.sent_ns <= reply.done_ns - 0.04e9


def test_the_first_token_of_a_stream_lies_between_sending_and_the_end() -> None:
    begin, middle, end = event(ROLE), event(piece({"content": "a"})), event(piece({"content": "b"}, "stop"))
    steps = (STREAM_HEAD + begin, 0.1, middle, 0.1, end + event(b"[DONE]") + LAST_CHUNK)
    reply = ask(*steps, stream=True).reply
    assert reply.first_token_ns is not None
    # The first event only names the role: it is no token.
    assert reply.first_token_ns - reply.sent_ns >= 0.09e9
    assert reply.done_ns - reply.first_token_ns >= 0.09e9


def test_reasoning_is_a_first_token_too() -> None:
    begin, end = event(piece({"reasoning_content": "Hm."})), event(piece({"content": "a"}, "stop"))
    reply = ask(STREAM_HEAD + begin, 0.1, end + event(b"[DONE]") + LAST_CHUNK, stream=True).reply
    assert reply.first_token_ns is not None
    assert reply.done_ns - reply.first_token_ns >= 0.09e9


def test_a_stream_without_any_text_has_no_first_token() -> None:
    assert ask_streamed().reply.first_token_ns is None


def test_the_scheduled_time_is_the_caller_s_if_it_gives_one() -> None:
    async def main() -> Reply | Failure:
        async with raw_server([FINE]) as server, Wire() as wire:
            model = Model(name="m", base_url=server.base_url)
            endpoint = OpenAIChat(model, wire, base_url=server.base_url, deadlines=PATIENT)
            return await endpoint.ask(PROMPT, Params(max_tokens=5), scheduled_ns=17)

    reply = asyncio.run(main())
    assert isinstance(reply, Reply)
    assert reply.scheduled_ns == 17


def test_streams_in_a_row_use_one_connection() -> None:
    async def main() -> int:
        # The end of the body comes late, as from a server that flushes after every piece.
        begin = STREAM_HEAD + event(piece({"content": "a"}, "stop")) + event(b"[DONE]")
        async with raw_server([begin, 0.01, LAST_CHUNK]) as server, Wire() as wire:
            model = Model(name="m", base_url=server.base_url, stream=True)
            endpoint = OpenAIChat(model, wire, base_url=server.base_url, deadlines=PATIENT)
            for _ in range(5):
                assert isinstance(await endpoint.ask(PROMPT, Params(max_tokens=5)), Reply)
            return server.connections

    assert asyncio.run(main()) == 1


@either_way
def test_an_error_status_is_the_failure_it_means(streamed: bool) -> None:
    refusal = json_answer({"error": {"message": "Slow down."}}, 429, Retry_After="3")
    failure = ask(refusal, stream=streamed).failure
    assert failure == Failure("rate_limit", "Slow down.", status=429, retryable=True, retry_after_s=3.0)


@either_way
def test_a_redirect_is_a_failure_and_the_prompt_goes_nowhere_else(streamed: bool) -> None:
    exchange = ask(http_answer(b"", 307, Location="/v1/elsewhere"), stream=streamed)
    assert (exchange.failure.kind, exchange.failure.status, len(exchange.asked)) == ("bad_request", 307, 1)


def test_an_error_inside_a_200_is_a_failure() -> None:
    failure = ask(json_answer({"error": {"message": "CUDA out of memory"}})).failure
    assert failure == Failure("server_error", "CUDA out of memory", status=200, retryable=True)


def test_an_error_inside_a_stream_is_a_failure_whatever_came_before() -> None:
    stream = event_stream(ROLE, piece({"content": "Yes"}), {"error": {"message": "CUDA out of memory"}})
    failure = ask(stream, stream=True).failure
    assert failure == Failure("server_error", "CUDA out of memory", status=200, retryable=True)


def test_a_named_error_event_is_a_failure() -> None:
    named = chunk(b'event: error\ndata: {"error": "Request failed during generation", "error_type": "generation"}\n\n')
    failure = ask(STREAM_HEAD + named + LAST_CHUNK, stream=True).failure
    assert (failure.kind, failure.words) == ("server_error", "Request failed during generation")


@pytest.mark.parametrize(
    "tail",
    [pytest.param(event(b"[DONE]") + LAST_CHUNK, id="with DONE"), pytest.param(LAST_CHUNK, id="without DONE")],
)
def test_a_stream_that_ends_without_finish_reason_is_broken(tail: bytes) -> None:
    failure = ask(STREAM_HEAD + event(ROLE) + event(piece({"content": "Yes"})) + tail, stream=True).failure
    assert (failure.kind, failure.retryable) == ("broken_stream", True)
    assert "finish reason after 1 pieces" in failure.words


def test_an_empty_stream_is_broken() -> None:
    assert ask(STREAM_HEAD + LAST_CHUNK, stream=True).failure.kind == "broken_stream"


def test_a_stream_that_is_hung_up_on_is_broken() -> None:
    failure = ask(STREAM_HEAD + event(piece({"content": "Yes"})), 0.02, Then.HANG_UP, stream=True).failure
    assert (failure.kind, failure.retryable) == ("broken_stream", True)


def test_a_whole_answer_that_breaks_off_is_broken() -> None:
    failure = ask(http_head(Content_Length=1000) + b'{"choices"', Then.HANG_UP).failure
    assert (failure.kind, failure.retryable) == ("broken_stream", True)


@either_way
def test_a_page_with_status_200_is_a_bad_reply(streamed: bool) -> None:
    page = http_answer(b"<html>Please log in</html>", content_type="text/html")
    failure = ask(page, stream=streamed).failure
    assert (failure.kind, failure.status) == ("bad_reply", 200)
    assert "<html>Please log in</html>" in failure.words


def test_a_whole_answer_where_a_stream_was_asked_for_is_a_bad_reply() -> None:
    assert ask(FINE, stream=True).failure.kind == "bad_reply"


NO_COMPLETIONS = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"\xff\xfe\xff", id="no text"),
    pytest.param(b'{"choices": [{"mess', id="half of it"),
    pytest.param(b"null", id="null"),
    pytest.param(b"7", id="a number"),
    pytest.param(b'"error"', id="a string"),
    pytest.param(b'["error"]', id="a list"),
    pytest.param(b'{"choices": 7}', id="choices that are none"),
    pytest.param(b'{"choices": [7]}', id="a choice that is none"),
    pytest.param(b'{"choices": {"0": {}}}', id="an object of choices"),
]


@pytest.mark.parametrize("body", NO_COMPLETIONS)
def test_a_body_that_is_no_completion_is_a_bad_reply(body: bytes) -> None:
    assert ask(http_answer(body)).failure.kind == "bad_reply"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({}, id="no choices"),
        pytest.param({"choices": []}, id="empty choices"),
        pytest.param({"choices": [{}]}, id="no message"),
        pytest.param({"choices": [{"message": None}]}, id="null as message"),
        pytest.param({"choices": [{"message": "Yes."}]}, id="a string as message"),
    ],
)
def test_a_completion_without_a_message_is_a_bad_reply(content: Any) -> None:
    assert ask(json_answer(content)).failure.kind == "bad_reply"


@pytest.mark.parametrize("data", [parameters for parameters in NO_COMPLETIONS if parameters.id != "nothing"])
def test_an_event_that_is_no_completion_is_a_bad_reply(data: bytes) -> None:
    assert ask(STREAM_HEAD + event(data) + LAST_CHUNK, stream=True).failure.kind == "bad_reply"


@either_way
def test_a_server_that_is_not_there_is_the_failure_connect(streamed: bool) -> None:
    async def main() -> Reply | Failure:
        async with Wire() as wire:
            base_url = f"http://127.0.0.1:{closed_port()}/v1"
            model = Model(name="m", base_url=base_url, stream=streamed)
            endpoint = OpenAIChat(model, wire, base_url=base_url, deadlines=PATIENT)
            return await endpoint.ask(PROMPT, Params(max_tokens=5))

    failure = asyncio.run(main())
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.retryable, failure.status) == ("connect", True, None)


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((NEVER_S,), id="no head"),
        pytest.param((STREAM_HEAD, NEVER_S), id="no event"),
        pytest.param((STREAM_HEAD + event(ROLE) + event(USAGE_ONLY), NEVER_S), id="no event with text"),
    ],
)
def test_a_first_token_that_does_not_come_in_time_is_a_timeout(steps: Answer) -> None:
    failure = ask(*steps, stream=True, deadlines=Deadlines(first_token_s=0.2, whole_s=20.0)).failure
    assert failure == Failure("timeout", "no first token within 0.2 s", retryable=True)


def test_after_the_first_token_its_deadline_no_longer_counts() -> None:
    begin, end = event(piece({"content": "a"})), event(piece({"content": "b"}, "stop")) + event(b"[DONE]")
    steps = (STREAM_HEAD + begin, 1.1, end + LAST_CHUNK)
    exchange = ask(*steps, stream=True, deadlines=Deadlines(first_token_s=1.0, whole_s=20.0))
    assert exchange.reply.text == "ab"


def test_the_deadline_for_the_first_token_is_not_for_whole_answers() -> None:
    assert ask(0.3, FINE, deadlines=Deadlines(first_token_s=0.1, whole_s=20.0)).reply.text == "Yes."


@either_way
def test_an_answer_that_is_not_whole_in_time_is_a_timeout(streamed: bool) -> None:
    head = STREAM_HEAD + event(piece({"content": "a"})) if streamed else http_head(Content_Length=9) + b"{"
    failure = ask(head, NEVER_S, stream=streamed, deadlines=Deadlines(first_token_s=20.0, whole_s=0.3)).failure
    assert failure == Failure("timeout", "no whole answer within 0.3 s", retryable=True)


def test_a_whole_deadline_below_that_of_the_first_token_is_the_one_that_counts() -> None:
    failure = ask(NEVER_S, stream=True, deadlines=Deadlines(first_token_s=20.0, whole_s=0.2)).failure
    assert failure.words == "no whole answer within 0.2 s"


def test_a_server_that_does_not_close_after_done_is_not_waited_for() -> None:
    stream = STREAM_HEAD + event(piece({"content": "a"}, "stop")) + event(b"[DONE]")
    assert ask(stream, NEVER_S, stream=True).reply.text == "a"


@either_way
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(json_answer({"error": {"message": f"Incorrect API key: {KEY}."}}, 401), id="in a refusal"),
        pytest.param(http_answer(f"<p>Bearer {KEY}</p>".encode(), 403, "text/html"), id="in a page"),
        pytest.param(json_answer({"detail": [{"authorization": f"Bearer {KEY}"}]}, 422), id="in an object"),
        pytest.param(http_answer(f"denied: {KEY}".encode(), 200, "text/plain"), id="in a bad reply"),
        pytest.param(json_answer({"error": f"{KEY} {KEY}"}, 500), id="twice"),
    ],
)
def test_a_key_that_the_server_repeats_is_not_in_the_failure(streamed: bool, answer: bytes) -> None:
    failure = ask(answer, key=KEY, stream=streamed).failure
    assert KEY not in repr(failure)
    assert "[key]" in failure.words


def test_a_key_that_the_server_repeats_inside_a_200_is_not_in_the_failure() -> None:
    failure = ask(json_answer({"error": {"message": f"quota of {KEY} spent"}}), key=KEY).failure
    assert failure.words == "quota of [key] spent"


@pytest.mark.parametrize("data", [{"error": {"message": f"{KEY} expired"}}, f"{KEY} expired".encode()])
def test_a_key_that_the_server_repeats_inside_a_stream_is_not_in_the_failure(data: Any) -> None:
    failure = ask(event_stream(data), stream=True, key=KEY).failure
    assert failure.words.endswith("[key] expired")


def test_a_failure_without_its_key_keeps_the_rest() -> None:
    failure = ask(json_answer({"error": {"message": f"{KEY}: slow down"}}, 429, Retry_After="2"), key=KEY).failure
    assert failure == Failure("rate_limit", "[key]: slow down", status=429, retryable=True, retry_after_s=2.0)


def ask_embedded(server: Server, *, stream: bool, **params: Any) -> Reply | Failure:
    async def main() -> Reply | Failure:
        async with Wire() as wire:
            model = Model(name="baseline-lead", base_url=server.base_url, stream=stream)
            endpoint = OpenAIChat(model, wire, base_url=server.base_url, deadlines=PATIENT)
            return await endpoint.ask(PROMPT, Params(**{"max_tokens": 20, **params}))

    return asyncio.run(main())


@pytest.mark.parametrize("params", [{}, {"max_tokens": 2}, {"stop": ("aspirin",)}], ids=["all", "cut", "stopped"])
def test_whole_and_streamed_replies_of_a_server_are_the_same(server: Server, params: dict[str, Any]) -> None:
    whole = ask_embedded(server, stream=False, **params)
    streamed = ask_embedded(server, stream=True, **params)
    assert isinstance(whole, Reply)
    assert isinstance(streamed, Reply)
    for name in ("text", "reasoning", "finish_reason", "prompt_tokens", "output_tokens", "fingerprint"):
        assert getattr(whole, name) == getattr(streamed, name), name
    assert whole.prompt_tokens is not None


def test_a_whole_reply_of_a_server_has_no_first_token(server: Server) -> None:
    reply = ask_embedded(server, stream=False)
    assert isinstance(reply, Reply)
    assert reply.first_token_ns is None


def test_a_streamed_reply_of_a_server_has_a_first_token(server: Server) -> None:
    reply = ask_embedded(server, stream=True)
    assert isinstance(reply, Reply)
    assert reply.first_token_ns is not None
    assert reply.sent_ns < reply.first_token_ns <= reply.done_ns


def test_a_server_that_overflows_says_so_in_a_failure(server: Server) -> None:
    failure = ask_embedded(server, stream=False, max_tokens=1_000_000)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.retryable) == ("context_overflow", False)


VALUES: st.SearchStrategy[Any] = st.sampled_from([None, "", "Yes.", "<think>Hm.", "\ud800", 7, True, [], ["a"], {}])
MESSAGES = st.dictionaries(st.sampled_from(["role", "content", "reasoning", "reasoning_content"]), VALUES, max_size=3)
CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "message": MESSAGES | VALUES,
        "delta": MESSAGES | VALUES,
        "finish_reason": st.sampled_from(["stop", None]),
    },
)
COMPLETIONS = st.fixed_dictionaries(
    {}, optional={"choices": st.lists(CHOICES | VALUES, max_size=2) | VALUES, "model": VALUES, "error": VALUES}
)


@settings(UNHURRIED, max_examples=60)
@given(st.lists(COMPLETIONS | VALUES, min_size=1, max_size=4), st.booleans())
def test_any_json_for_an_answer_is_a_reply_or_a_failure(contents: list[Any], streamed: bool) -> None:
    answer = event_stream(*contents) if streamed else json_answer(contents[0])
    outcome = ask(answer, stream=streamed).outcome
    said = outcome.text if isinstance(outcome, Reply) else outcome.words
    assert re.search("[\ud800-\udfff]", said) is None


def test_a_character_cut_into_two_pieces_of_a_stream_is_whole_again() -> None:
    pieces = [piece({"content": "\ud83d"}), piece({"content": "\ude00"}, "stop")]
    assert ask(event_stream(*pieces), stream=True).reply.text == "😀"


@either_way
def test_a_null_error_is_no_error(streamed: bool) -> None:
    if streamed:
        reply = ask(event_stream(piece({"content": "a"}, "stop", error=None)), stream=True).reply
    else:
        reply = ask(json_answer(completion({"content": "a"}, error=None))).reply
    assert reply.text == "a"


def test_a_usage_that_is_no_object_counts_nothing() -> None:
    reply = ask(json_answer(completion({"content": "a"}, usage=["x"]))).reply
    assert (reply.text, reply.prompt_tokens) == ("a", None)


def test_json_nested_too_deeply_is_a_bad_reply() -> None:
    assert ask(http_answer(b"[" * 200_000)).failure.kind == "bad_reply"
    assert ask(http_answer(b"[" * 200_000, 500)).failure.kind == "server_error"


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "yes"}, {"type": "text", "text": " indeed"}]
    assert ask(json_answer(completion({"content": parts}))).reply.text == "yes indeed"


def test_an_overflow_inside_a_stream_is_one_and_final() -> None:
    error = json.dumps({"error": {"message": "maximum context length is 8 tokens", "code": 400}}).encode()
    failure = ask(event_stream(error), stream=True).failure
    assert (failure.kind, failure.retryable) == ("context_overflow", False)


def test_a_key_across_the_end_of_what_is_kept_leaves_nothing_of_itself() -> None:
    body = json.dumps({"error": {"message": "x" * 990 + KEY}}).encode()
    assert KEY[:8] not in ask(http_answer(body, 401), key=KEY).failure.words


def test_top_p_is_sent_where_the_row_has_one() -> None:
    assert ask(FINE, params=Params(max_tokens=5, top_p=0.9)).sent["top_p"] == 0.9


def test_null_in_extra_body_takes_a_field_out() -> None:
    extra = {"max_tokens": None, "max_completion_tokens": 400, "temperature": None}
    sent = ask(FINE, params=Params(max_tokens=5, extra_body=extra)).sent
    assert sorted(sent) == ["max_completion_tokens", "messages", "model"]


STOPS = ("1", "2", "3", "4", "5")


def test_no_more_than_four_stop_strings_are_sent() -> None:
    assert ask(FINE, params=Params(max_tokens=5, stop=STOPS)).sent["stop"] == ["1", "2", "3", "4"]


@either_way
@pytest.mark.parametrize(
    ("text", "left"),
    [
        pytest.param("Yes.5 No.", "Yes.", id="one that was not sent"),
        pytest.param("Yes.1", "Yes.", id="one that the engine left at the end"),
        pytest.param("Yes.5 No.4", "Yes.", id="the first of two"),
        pytest.param("5", "", id="all of it"),
    ],
)
def test_an_answer_ends_at_its_first_stop_string(streamed: bool, text: str, left: str) -> None:
    params = Params(max_tokens=5, stop=STOPS)
    if streamed:
        reply = ask_streamed({"content": text}, finish_reason="length", params=params).reply
    else:
        reply = ask(json_answer(completion({"content": text}, "length")), params=params).reply
    assert (reply.text, reply.finish_reason) == (left, "stop")


def test_an_answer_without_a_stop_string_keeps_its_finish_reason() -> None:
    reply = ask(json_answer(completion({"content": "Yes"}, "length")), params=Params(max_tokens=5, stop=STOPS)).reply
    assert (reply.text, reply.finish_reason) == ("Yes", "length")


def test_a_stop_string_inside_the_reasoning_does_not_end_the_answer() -> None:
    answer = json_answer(completion({"content": "<think>1 or 2?</think>Yes."}))
    reply = ask(answer, params=Params(max_tokens=50, stop=STOPS)).reply
    assert (reply.text, reply.reasoning) == ("Yes.", "1 or 2?")


@either_way
def test_an_answer_that_a_content_filter_cut_is_no_answer(streamed: bool) -> None:
    failure = ask_either(streamed, {"content": "Aspirin is"}, finish_reason="content_filter").failure
    assert (failure.kind, failure.retryable) == ("content_filter", False)


def test_what_a_model_says_instead_of_an_answer_is_what_it_says() -> None:
    assert ask(json_answer(completion({"content": None, "refusal": "I cannot."}))).reply.text == "I cannot."


@pytest.mark.parametrize(
    ("fields", "cached"),
    [
        pytest.param({}, None, id="unsaid"),
        pytest.param({"usage": {**USAGE, "prompt_tokens_details": {"cached_tokens": 8}}}, 8, id="OpenAI, vLLM"),
        pytest.param({"usage": {**USAGE, "prompt_tokens_details": None}}, None, id="null"),
        pytest.param({"timings": {"cache_n": 7, "prompt_n": 4}}, 7, id="llama.cpp"),
        pytest.param({"usage": {**USAGE, "prompt_tokens_details": {"cached_tokens": "8"}}}, None, id="no number"),
    ],
)
def test_the_cached_part_of_the_prompt_is_read(fields: dict[str, Any], cached: int | None) -> None:
    assert ask(json_answer(completion({"content": "a"}, **fields))).reply.cached_tokens == cached


def test_a_reply_names_who_answered_without_secrets() -> None:
    async def main() -> tuple[Reply | Failure, str]:
        async with raw_server([FINE]) as server, Wire() as wire:
            base_url = server.base_url.replace("http://", "http://nurse:hunter2@")
            endpoint = OpenAIChat(Model(name="m"), wire, base_url=base_url, deadlines=PATIENT)
            return await endpoint.ask(PROMPT, Params(max_tokens=5)), server.base_url

    reply, base_url = asyncio.run(main())
    assert isinstance(reply, Reply)
    assert reply.endpoint == base_url


@either_way
def test_the_headers_of_an_answer_are_told(streamed: bool) -> None:
    if streamed:
        head = http_head(Content_Type="text/event-stream", x_ratelimit_remaining_requests=7)
        exchange = ask(head + b'data: {"choices": []}\n\n', Then.HANG_UP, stream=True)
    else:
        exchange = ask(json_answer(completion({"content": "a"}), x_ratelimit_remaining_requests="7"))
    [headers] = exchange.headers
    assert headers["X-RateLimit-Remaining-Requests"] == "7"


@either_way
def test_the_headers_of_a_refusal_are_told(streamed: bool) -> None:
    [headers] = ask(json_answer({"error": "no"}, 429, Retry_After="3"), stream=streamed).headers
    assert headers["Retry-After"] == "3"


def test_without_an_answer_no_headers_are_told() -> None:
    assert ask(Then.HANG_UP).headers == []


@pytest.mark.parametrize("shown", [f"{KEY[:8]}***************{KEY[-4:]}", KEY[:12], KEY[-9:]])
def test_a_key_that_the_server_repeats_in_part_is_not_in_the_failure(shown: str) -> None:
    answer = json_answer({"error": {"message": f"Incorrect API key provided: {shown}. See the docs."}}, 401)
    assert ask(answer, key=KEY).failure.words == "Incorrect API key provided: [key]. See the docs."


def test_the_row_s_own_headers_are_sent() -> None:
    async def main() -> Mapping[str, str]:
        async with raw_server([FINE]) as server, Wire() as wire:
            keys = Keys({"X-Title": "Ward 3"})
            endpoint = OpenAIChat(Model(name="m"), wire, base_url=server.base_url, keys=keys, deadlines=PATIENT)
            await endpoint.ask(PROMPT, Params(max_tokens=5))
            return server.asked[0].headers

    assert asyncio.run(main())["x-title"] == "Ward 3"
