"""The doctor's checks against a server that can be made to lack any one thing, and against real ones."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from tests.support import Server, running_server
from tests.wire.raw_server import closed_port, json_answer, raw_server
from wardround.catalogue import Model, Protocol
from wardround.errors import CatalogueError, EndpointError
from wardround.running.doctor import CHECKS, Examination, Finding, examine, wait_for
from wardround.study import Deadlines

KEY = "sk-planted-0123456789abcdef"
KEY_ENV = "WARDROUND_TEST_KEY"
NUMBERS = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
]
TOKENS = [f"{number}, " for number in NUMBERS * 4]
AT_ONCE = Deadlines(connect_s=2, first_token_s=5, whole_s=5)


class Engine:
    """An OpenAI-style server that speaks as vLLM does and whose every ability can be taken away."""

    def __init__(self, *lacks: str, name: str = "ours", key: str = "") -> None:
        self.lacks = set(lacks)
        self.name = name
        self.key = key
        self.asked: list[dict[str, Any]] = []
        self.draws = itertools.count()
        self.loads_until = 0

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/models", self.models)
        app.router.add_get("/version", self.version)
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/tokenize", self.tokenize)
        return app

    def refused(self, request: web.Request) -> web.Response | None:
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            said = request.headers.get("Authorization", "nothing")
            return web.json_response({"error": {"message": f"Incorrect API key provided: {said}"}}, status=401)
        return None

    async def models(self, request: web.Request) -> web.Response:
        card = {"id": self.name, "owned_by": "vllm", "root": "our/llama", "max_model_len": 2048}
        cards = [] if "list" in self.lacks else [card]
        return self.refused(request) or web.json_response({"object": "list", "data": cards})

    async def version(self, _request: web.Request) -> web.Response:
        return web.json_response({"version": "0.32.0"})

    async def tokenize(self, request: web.Request) -> web.Response:
        if "tokenize" in self.lacks:
            raise web.HTTPNotFound
        return web.json_response({"count": len((await request.json())["prompt"].split())})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        refused = self.refused(request)
        if refused is not None:
            return refused
        body = await request.json()
        self.asked.append(body)
        if len(self.asked) <= self.loads_until:
            return web.json_response({"error": {"message": "Loading model", "code": 503}}, status=503)
        if "seed survived" in self.lacks and "seed" in body and request.transport is not None:
            request.transport.abort()
        words = self.refusal(body)
        if words is not None:
            return web.json_response({"error": {"message": words, "type": "BadRequestError", "code": 400}}, status=400)
        text, finish_reason = self.answer(body)
        if body.get("stream"):
            return await self.stream(request, text, finish_reason)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
        if body.get("logprobs") and "logprobs" not in self.lacks:
            top = [{"token": "A", "logprob": -0.1}, {"token": "B", "logprob": -2.5}]
            choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
        usage = {"prompt_tokens": 9, "completion_tokens": len(text.split())}
        return web.json_response({"model": self.name, "choices": [choice], "usage": usage})

    def refusal(self, body: dict[str, Any]) -> str | None:
        roles = [message["role"] for message in body["messages"]]
        if "template" in self.lacks:
            return "default chat template is no longer allowed, so you must provide a chat template"
        if "system" in self.lacks and "system" in roles:
            return "Conversation roles must alternate user/assistant/user/assistant/..."
        if "prefill accepted" in self.lacks and roles[-1] == "assistant":
            return "Cannot set `continue_final_message` to True"
        if "seed accepted" in self.lacks and "seed" in body:
            return "seed is not supported"
        if "stream" in self.lacks and body.get("stream"):
            return "stream is not supported"
        if "temperature 0" in self.lacks and body["temperature"] == 0:
            return "temperature must be above 0"
        return None

    def answer(self, body: dict[str, Any]) -> tuple[str, str]:
        form = body.get("response_format") or body.get("structured_outputs")
        if form and "structured" not in self.lacks:
            return self.kept_to(form), "stop"
        start = 0
        if body["temperature"] > 0:
            start = next(self.draws) if "seed" in self.lacks else body.get("seed", 0) % 7
        elif "greedy" in self.lacks:
            start = next(self.draws)
        text = "".join(TOKENS[start:])
        last = body["messages"][-1]
        if last["role"] == "assistant" and "prefill" not in self.lacks and text.startswith(last["content"]):
            text = text[len(last["content"]) :]
        if "words" in self.lacks:
            text = ""
        end, finish_reason = len("".join(TOKENS[: body["max_tokens"]])), "length"
        for stop in body.get("stop", []) if "stop" not in self.lacks else []:
            if 0 <= text.find(stop) < end:
                end, finish_reason = text.find(stop), "stop"
        return text[:end], finish_reason

    def kept_to(self, form: dict[str, Any]) -> str:
        if "choice" in form:
            return str(form["choice"][0])
        schema = form["json_schema"]["schema"] if "json_schema" in form else form["json"]
        ((name, field),) = schema["properties"].items()
        return json.dumps({name: field["enum"][0]})

    async def stream(self, request: web.Request, text: str, finish_reason: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        usage = {} if "usage" in self.lacks else {"usage": {"prompt_tokens": 9, "completion_tokens": 5}}
        frames: list[dict[str, Any]] = [
            {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": finish_reason}]},
            {"choices": [], **usage},
        ]
        for frame in frames:
            await response.write(f"data: {json.dumps(frame)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response


@asynccontextmanager
async def served(engine: Engine) -> AsyncIterator[str]:
    runner = web.AppRunner(engine.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def examined(engine: Engine, **row: Any) -> Examination:
    async def main() -> Examination:
        async with served(engine) as base_url:
            [one] = await examine([Model(**{"name": "ours", "base_url": base_url, **row})], deadlines=AT_ONCE)
            return one

    return asyncio.run(main())


def examined_at(*models: Model) -> list[Examination]:
    return asyncio.run(examine(models, deadlines=AT_ONCE))


def states(one: Examination) -> dict[str, str]:
    return {name: finding.state for name, finding in one.findings.items()}


@pytest.fixture(scope="module")
def sound() -> Examination:
    """A server that lacks nothing, examined."""
    return examined(Engine(), context=1024)


def test_a_server_that_lacks_nothing_is_green_everywhere(sound: Examination) -> None:
    assert states(sound) == {**dict.fromkeys(CHECKS, "yes"), "key": "none", "TTFT": "none", "E2E": "none"}
    assert all(finding.cure == "" for finding in sound.findings.values())
    assert sound.usable


def test_times_context_and_what_counts_tokens_stand_in_their_cells(sound: Examination) -> None:
    assert sound.findings["TTFT"].shown.endswith(" s")
    assert sound.findings["E2E"].shown.endswith(" s")
    assert sound.findings["context"].shown == "2,048"
    assert sound.findings["tokens"].shown == "server"


def test_it_is_told_who_answers(sound: Examination) -> None:
    assert (sound.facts.engine, sound.facts.version, sound.serves) == ("vllm", "0.32.0", ("ours",))


@pytest.mark.parametrize(
    ("lacking", "cell", "cure"),
    [
        ("system", "system", "no system role: set `system: merge`"),
        ("greedy", "greedy", "two greedy answers differ"),
        ("stop", "stop", "stop strings are ignored"),
        ("prefill", "prefill", "set `prefill: drop`"),
        ("prefill accepted", "prefill", "a begun answer is refused: set `prefill: drop`"),
        ("usage", "usage", "a stream has no token counts"),
        ("stream", "usage", "streaming fails: set `stream: false`"),
        ("logprobs", "logprobs", "no arm with `choice: logprobs`"),
        ("structured", "structured", "set `structured: structured_outputs` (vLLM)"),
        ("seed", "seed", "the same seed draws different answers"),
        ("seed accepted", "seed", "a seed is refused: leave `seed` out of the study"),
        ("seed survived", "seed", "the server broke off at a seed: leave `seed` out of the study"),
    ],
)
def test_what_a_server_lacks_is_red_and_has_its_cure(lacking: str, cell: str, cure: str) -> None:
    one = examined(Engine(lacking), context=1024)
    assert [name for name, finding in one.findings.items() if finding.state == "no"] == [cell]
    assert cure in one.findings[cell].cure
    assert one.usable


def test_a_server_without_a_template_is_unusable_and_told_of_the_shipped_ones() -> None:
    one = examined(Engine("template"))
    assert (one.findings["chat"].state, one.findings["template"].state) == ("no", "no")
    assert "set `chat_template:` to one of servers/templates/" in one.findings["template"].cure
    assert not one.usable
    assert states(one)["stop"] == "none"


def test_answers_too_short_to_tell_are_unclear_and_not_red() -> None:
    one = examined(Engine("words"))
    assert {name: states(one)[name] for name in ("greedy", "stop", "prefill", "seed")} == {
        "greedy": "none",
        "stop": "unclear",
        "prefill": "unclear",
        "seed": "none",
    }


def test_a_model_that_refuses_temperature_0_is_asked_at_its_own() -> None:
    one = examined(Engine("temperature 0"), temperature=1.0)
    assert states(one)["chat"] == "yes"
    assert "set the row's `temperature`" in one.findings["greedy"].cure


def test_what_a_row_does_without_is_not_asked_for() -> None:
    engine = Engine("system", "prefill accepted")
    one = examined(engine, system="merge", prefill="drop")
    assert (states(one)["system"], states(one)["prefill"]) == ("none", "none")
    assert {message["role"] for body in engine.asked for message in body["messages"]} == {"user"}


def test_a_row_that_expects_more_context_than_there_is_is_told_the_number() -> None:
    one = examined(Engine(), context=8192)
    assert one.findings["context"] == Finding("no", "2,048", "the row says 8,192 tokens: set `context: 2048`")


def test_without_a_route_that_counts_tokens_are_estimated() -> None:
    assert examined(Engine("tokenize")).findings["tokens"] == Finding("none", "estimate")


def test_a_tokenizer_file_that_is_not_there_is_red(tmp_path: Any) -> None:
    one = examined(Engine(), tokenizer=str(tmp_path / "tokenizer.json"))
    assert states(one)["tokens"] == "no"


def test_another_name_is_told_and_nothing_further_is_asked() -> None:
    engine = Engine(name="our/llama-3-8b-instruct")
    one = examined(engine, served_as="our/llama-3-8b")
    hint = "does not serve 'our/llama-3-8b'; did you mean 'our/llama-3-8b-instruct'? (set `served_as`)"
    assert one.findings["served"] == Finding("no", cure=hint)
    assert engine.asked == []
    assert not one.usable


def test_an_empty_list_says_nothing_of_what_is_served() -> None:
    one = examined(Engine("list"))
    assert (states(one)["served"], states(one)["chat"]) == ("none", "yes")
    assert one.usable


def test_nobody_at_a_port_is_unreachable() -> None:
    [one] = examined_at(Model(name="ours", base_url=f"http://127.0.0.1:{closed_port()}/v1"))
    assert states(one) == {**dict.fromkeys(CHECKS, "none"), "reachable": "no"}
    assert "start the server, or mend `base_url`" in one.findings["reachable"].cure


def test_a_wrong_key_is_red_and_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)
    one = examined(Engine(key="sk-another"), key_env=KEY_ENV)
    assert (states(one)["reachable"], states(one)["key"]) == ("yes", "no")
    assert f"the key in {KEY_ENV} is refused" in one.findings["key"].cure
    assert KEY[:8] not in repr(one)
    assert not one.usable


def test_the_right_key_is_green(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)
    assert states(examined(Engine(key=KEY), key_env=KEY_ENV))["key"] == "yes"


def test_a_server_that_asks_for_a_key_says_how_to_give_one() -> None:
    assert "it asks for a key: set `key_env`" in examined(Engine(key=KEY)).findings["key"].cure


def test_a_servers_words_steer_no_terminal() -> None:
    async def main() -> list[Examination]:
        words = "Loading\x1b[2J model"
        answer = json_answer({"error": {"message": words}}, 500)
        async with raw_server([json_answer({"data": [{"id": "ours"}]})], [answer]) as server:
            return await examine([Model(name="ours", base_url=server.base_url)], deadlines=AT_ONCE)

    [one] = asyncio.run(main())
    assert "Loading\N{REPLACEMENT CHARACTER}[2J model" in one.findings["chat"].cure


def test_a_key_that_is_not_set_is_red_and_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_ENV, raising=False)
    engine = Engine()
    one = examined(engine, key_env=KEY_ENV)
    assert f"set the environment variable {KEY_ENV}" in one.findings["key"].cure
    assert engine.asked == []


def test_every_replica_is_examined_by_itself() -> None:
    async def main() -> list[Examination]:
        async with served(Engine()) as one, served(Engine("stop")) as other:
            return await examine([Model(name="ours", base_url=one, replicas=(other,))], deadlines=AT_ONCE)

    first, second = asyncio.run(main())
    assert (states(first)["stop"], states(second)["stop"]) == ("yes", "no")
    assert first.base_url != second.base_url


def test_the_embedded_server_of_a_row_is_started_for_it() -> None:
    [one] = examined_at(Model(name="baseline-lead", base_url="embedded"))
    assert one.usable
    assert one.facts.engine == "wardround"


def test_a_model_without_an_endpoint_is_wrong_use() -> None:
    with pytest.raises(CatalogueError, match="no endpoint"):
        examined_at(Model(name="ours"))


def test_a_small_context_and_a_key_of_a_real_server_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)
    options = ("--api-key-env", KEY_ENV, "--context", "300", "--ttft", "0.05")
    with running_server(*options) as server:
        row = Model(name="baseline-lead", base_url=server.base_url, key_env=KEY_ENV, context=4096)
        [one] = examined_at(row)
    found = states(one)
    assert [found[name] for name in ("reachable", "key", "served", "chat", "stop", "seed")] == ["yes"] * 6
    assert one.findings["context"].cure == "the row says 4,096 tokens: set `context: 300`"
    assert float(one.findings["TTFT"].shown.split()[0]) >= 0.05


@pytest.mark.parametrize("protocol", ["openai-completions", "tgi"])
def test_doors_that_send_text_are_examined_alike(server: Server, protocol: Protocol) -> None:
    if protocol == "tgi":
        pytest.importorskip("text_generation")
    # /generate has one model, whatever it is asked for.
    name = "baseline-overlap" if protocol == "tgi" else "baseline-lead"
    [one] = examined_at(Model(name=name, base_url=server.base_url, protocol=protocol))
    found = states(one)
    assert [found[name] for name in ("reachable", "served", "chat", "greedy", "usage", "seed")] == ["yes"] * 6
    assert (one.findings["template"].shown, found["system"], found["prefill"]) == ("plain", "none", "none")


def waited(engine: Engine, wait_s: float, **row: Any) -> tuple[list[str], list[str]]:
    """What was said of those that came up, and of those that did not."""

    async def main() -> tuple[list[str], list[str]]:
        said: list[str] = []
        async with served(engine) as base_url:
            model = Model(**{"name": "ours", "base_url": base_url, **row})
            return said, await wait_for([model], wait_s, say=said.append, deadlines=AT_ONCE)

    return asyncio.run(main())


def test_a_server_that_is_still_loading_is_waited_for() -> None:
    engine = Engine()
    engine.loads_until = 2
    said, late = waited(engine, 30)
    assert late == []
    assert len(said) == 1
    assert " answers (" in said[0]
    assert len(engine.asked) == 3


def test_a_server_that_does_not_come_up_is_given_up_with_its_last_words() -> None:
    engine = Engine()
    engine.loads_until = 1000
    said, late = waited(engine, 0.4)
    assert said == []
    [line] = late
    assert "does not answer after 0.4 s: overload: HTTP 503: Loading model" in line


def test_a_refused_key_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)
    begun_s = time.monotonic()
    _, [line] = waited(Engine(key="sk-another"), 300, key_env=KEY_ENV)
    assert time.monotonic() - begun_s < 300
    assert "refuses: unauthorized: HTTP 401" in line
    assert KEY[:8] not in line


def test_a_key_that_is_not_set_ends_the_wait_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_ENV, raising=False)
    with pytest.raises(EndpointError, match=KEY_ENV):
        waited(Engine(), 300, key_env=KEY_ENV)


def test_those_that_answer_are_told_while_others_are_waited_for() -> None:
    async def main() -> tuple[Sequence[str], Sequence[str]]:
        said: list[str] = []
        async with served(Engine()) as base_url:
            dead = f"http://127.0.0.1:{closed_port()}/v1"
            models = [Model(name="dead", base_url=dead), Model(name="ours", base_url=base_url)]
            return said, await wait_for(models, 0.5, say=said.append, deadlines=AT_ONCE)

    said, late = asyncio.run(main())
    assert [line.split()[0] for line in said] == ["ours"]
    assert [line.split()[0] for line in late] == ["dead"]
