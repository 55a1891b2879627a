"""What engines say of themselves, in the shapes in which they were recorded or are documented."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import Server
from tests.wire.raw_server import Asked, closed_port, http_answer, json_answer, raw_server
from wardround.catalogue import Model
from wardround.endpoints.probing import (
    LARGEST_ANSWER,
    LONGEST_TEXT,
    Listing,
    ServerFacts,
    facts_of,
    list_models,
)
from wardround.errors import EndpointError
from wardround.wire import Wire

KEY = "sk-planted-0123456789abcdef"
KEY_ENV = "WARDROUND_TEST_KEY"
NOT_FOUND = json_answer({"detail": "Not Found"}, 404)
TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"
HASH_OF_TEMPLATE = hashlib.sha256(TEMPLATE.encode()).hexdigest()


def listed(**card: Any) -> bytes:
    """A list of one model, "ours" unless the card has another id."""
    return json_answer({"object": "list", "data": [{"id": "ours", "object": "model", "created": 1, **card}]})


def probe(*answers: bytes, host: str = "127.0.0.1", path: str = "/v1", **row: Any) -> tuple[ServerFacts, list[Asked]]:
    """The facts that a server's answers make, given one after the other, and what it was asked."""

    async def main() -> tuple[ServerFacts, list[Asked]]:
        async with raw_server(*([answer] for answer in answers)) as server, Wire() as wire:
            base_url = server.url.replace("127.0.0.1", host) + path
            model = Model(**{"name": "ours", "base_url": base_url, **row})
            return await facts_of(model, wire, base_url=base_url), server.asked

    return asyncio.run(main())


def listing_of(base_url: str, **row: Any) -> Listing:
    async def main() -> Listing:
        async with Wire() as wire:
            return await list_models(Model(**{"name": "ours", "base_url": base_url, **row}), wire, base_url=base_url)

    return asyncio.run(main())


async def _listed_by(card: bytes, **row: Any) -> Listing:
    async with raw_server([card]) as server, Wire() as wire:
        base_url = f"{server.url}/v1"
        return await list_models(Model(**{"name": "ours", "base_url": base_url, **row}), wire, base_url=base_url)


def test_a_model_is_listed_under_each_of_its_names() -> None:
    listing = asyncio.run(_listed_by(listed(id="a-name", aliases=["a-name", "ours"])))
    assert listing.names == ("a-name", "ours")
    assert listing.serves


def targets(asked: list[Asked]) -> list[str]:
    return [f"{one.method} {one.target}" for one in asked]


def test_vllm_tells_version_weights_and_context() -> None:
    card = listed(owned_by="vllm", root="meta-llama/Llama-3.1-8B-Instruct", parent=None, max_model_len=2048)
    facts, asked = probe(card, json_answer({"version": "0.32.0"}), NOT_FOUND)
    assert facts == ServerFacts(
        engine="vllm", version="0.32.0", served="ours", root="meta-llama/Llama-3.1-8B-Instruct", context=2048
    )
    assert targets(asked) == ["GET /v1/models", "GET /version", "GET /tokenizer_info"]


def test_vllm_tells_its_chat_template_where_it_was_started_to() -> None:
    tokenizer = json_answer({"tokenizer_class": "LlamaTokenizer", "chat_template": TEMPLATE})
    facts, _ = probe(listed(owned_by="vllm"), json_answer({"version": "0.32.0"}), tokenizer)
    assert facts.template == HASH_OF_TEMPLATE


SGLANG = {
    "model_path": "Qwen/Qwen2.5-0.5B-Instruct",
    "revision": "7ae557604adf67be50417f59c2c2f167def9a775",
    "quantization": "fp8",
    "context_length": None,
    "version": "0.5.9",
    "weight_version": "default",
    "api_key": "sk-of-the-server-itself",
    "internal_states": [{"last_gen_throughput": 1.0}],
}


def test_sglang_tells_revision_and_quantization_and_its_api_key_is_left_where_it_is() -> None:
    facts, asked = probe(listed(owned_by="sglang", root="ours", max_model_len=32768), json_answer(SGLANG))
    assert facts == ServerFacts(
        engine="sglang",
        version="0.5.9",
        served="ours",
        root="Qwen/Qwen2.5-0.5B-Instruct",
        revision="7ae557604adf67be50417f59c2c2f167def9a775",
        quantization="fp8",
        context=32768,
    )
    assert targets(asked)[1:] == ["GET /server_info"]


def test_an_older_sglang_is_asked_under_the_older_name() -> None:
    facts, asked = probe(listed(owned_by="sglang"), NOT_FOUND, json_answer(SGLANG | {"context_length": 4096}))
    assert (facts.version, facts.context) == ("0.5.9", 4096)
    assert targets(asked)[1:] == ["GET /server_info", "GET /get_server_info"]


TGI = {
    "model_id": "mistralai/Mistral-7B-Instruct-v0.2",
    "model_sha": "3ad372fc79158a2148299e3318516c786aeded6c",
    "max_total_tokens": 4096,
    "router": "text-generation-router",
    "version": "3.3.5",
    "quantize": "bitsandbytes",
}
OF_TGI = ServerFacts(
    engine="tgi",
    version="3.3.5",
    served="mistralai/Mistral-7B-Instruct-v0.2",
    root="mistralai/Mistral-7B-Instruct-v0.2",
    revision="3ad372fc79158a2148299e3318516c786aeded6c",
    quantization="bitsandbytes",
    context=4096,
)


def test_tgi_tells_the_revision_of_its_weights_behind_its_openai_style_api() -> None:
    name = TGI["model_id"]
    facts, asked = probe(listed(id=name, owned_by=name), json_answer(TGI))
    assert facts == OF_TGI
    assert targets(asked) == ["GET /v1/models", "GET /info"]


@pytest.mark.parametrize("path", ["", "/v1"])
def test_tgi_tells_the_same_at_its_own_api(path: str) -> None:
    facts, asked = probe(json_answer(TGI), protocol="tgi", path=path)
    assert facts == OF_TGI
    assert targets(asked) == ["GET /info"]


def test_an_old_tgi_without_a_list_of_models_is_known_by_its_info() -> None:
    facts, asked = probe(NOT_FOUND, json_answer(TGI))
    assert facts == OF_TGI
    assert targets(asked) == ["GET /v1/models", "GET /info"]


def test_llama_cpp_tells_file_quantization_context_and_template() -> None:
    meta = {"n_ctx": 1024, "n_ctx_train": 2048, "n_params": 139200, "size": 556800, "ftype": "all F32"}
    models = json.dumps({"data": [{"id": "tiny.gguf", "owned_by": "llamacpp", "meta": meta}]}).encode()
    props = {
        "default_generation_settings": {"n_ctx": 1024},
        "total_slots": 2,
        "model_path": "tiny/tiny.gguf",
        "model_ftype": "all F32",
        "chat_template": TEMPLATE,
        "build_info": "b11669-Debian",
    }
    facts, asked = probe(http_answer(models, Server="llama.cpp"), json_answer(props))
    assert facts == ServerFacts(
        engine="llama.cpp",
        version="b11669-Debian",
        served="tiny.gguf",
        root="tiny/tiny.gguf",
        revision="139200 parameters, 556800 bytes",
        quantization="all F32",
        context=1024,
        template=HASH_OF_TEMPLATE,
    )
    assert targets(asked) == ["GET /v1/models", "GET /props"]


DIGEST = "365c0bd3c000a25d28ddbf732fe1c6add414de7275464c4e4d1c3b5fcb5d8ad1"


def ollama(name: str, *, loaded: bool) -> list[bytes]:
    running = [{"name": name, "model": name, "digest": DIGEST, "context_length": 4096}] if loaded else []
    return [
        json_answer({"version": "0.12.3"}),
        json_answer({"template": TEMPLATE, "details": {"quantization_level": "Q4_K_M", "parameter_size": "8.0B"}}),
        json_answer({"models": [{"name": "other:latest", "digest": "0"}, {"name": name, "digest": DIGEST}]}),
        json_answer({"models": running}),
    ]


def test_ollama_tells_digest_quantization_and_template_and_its_context_once_loaded() -> None:
    facts, asked = probe(listed(id="llama3:8b", owned_by="library"), *ollama("llama3:8b", loaded=True))
    assert facts == ServerFacts(
        engine="ollama",
        version="0.12.3",
        served="llama3:8b",
        revision=DIGEST,
        quantization="Q4_K_M",
        context=4096,
        template=HASH_OF_TEMPLATE,
    )
    assert targets(asked)[1:] == ["GET /api/version", "POST /api/show", "GET /api/tags", "GET /api/ps"]
    assert asked[2].json() == {"model": "llama3:8b"}


def test_the_context_of_a_model_that_ollama_has_not_loaded_is_unknown() -> None:
    facts, _ = probe(listed(id="llama3", owned_by="library"), *ollama("llama3:latest", loaded=False))
    assert (facts.context, facts.revision) == (None, DIGEST)


def test_ollama_is_known_also_where_another_owner_stands_by_the_model() -> None:
    facts, _ = probe(listed(id="u/m:7b", owned_by="u"), *ollama("u/m:7b", loaded=False))
    assert facts.engine == "ollama"


def test_the_embedded_server_names_itself_and_its_context(server: Server) -> None:
    async def main() -> ServerFacts:
        async with Wire() as wire:
            model = Model(name="baseline-lead", base_url=server.base_url)
            return await facts_of(model, wire, base_url=server.base_url)

    facts = asyncio.run(main())
    assert (facts.engine, facts.served, facts.context) == ("wardround", "baseline-lead", 131_072)


def test_of_an_engine_that_is_not_known_its_list_is_all() -> None:
    facts, asked = probe(listed(owned_by="somebody", context_length=8192), NOT_FOUND)
    assert facts == ServerFacts(served="ours", context=8192)
    assert targets(asked) == ["GET /v1/models", "GET /api/version"]


def test_a_server_outside_the_house_is_asked_for_its_list_alone() -> None:
    facts, asked = probe(listed(owned_by="vllm", root="r"), json_answer({"version": "1"}), host="0.0.0.0")
    assert facts == ServerFacts(engine="vllm", served="ours", root="r")
    assert targets(asked) == ["GET /v1/models"]


def test_azure_is_asked_nothing() -> None:
    facts, asked = probe(NOT_FOUND, protocol="azure-openai", api_version="2024-10-21", path="")
    assert facts == ServerFacts(engine="azure-openai", served="ours")
    assert asked == []


@pytest.mark.parametrize("answer", [json_answer({"error": "no"}, 500), json_answer({"error": "no"}, 401)])
def test_a_server_that_refuses_is_unknown_and_asked_nothing_more(answer: bytes) -> None:
    facts, asked = probe(answer)
    assert facts == ServerFacts()
    assert len(asked) == 1


def test_a_server_that_cannot_be_reached_is_unknown() -> None:
    async def main() -> ServerFacts:
        base_url = f"http://127.0.0.1:{closed_port()}/v1"
        async with Wire() as wire:
            return await facts_of(Model(name="ours", base_url=base_url), wire, base_url=base_url)

    assert asyncio.run(main()) == ServerFacts()


def test_every_probe_carries_the_key_and_nothing_that_is_kept_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)
    answers = listed(owned_by="vllm", root=f"r {KEY}"), json_answer({"version": KEY}), NOT_FOUND
    facts, asked = probe(*answers, key_env=KEY_ENV)
    assert {one.headers["authorization"] for one in asked} == {f"Bearer {KEY}"}
    assert KEY not in json.dumps(asdict(facts))
    assert facts.version == "[key]"


def test_a_part_of_the_key_that_a_server_shows_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)
    card = listed(owned_by="vllm", root=f"used with {KEY[:12]}...")
    facts, _ = probe(card, NOT_FOUND, NOT_FOUND, key_env=KEY_ENV)
    assert facts.root is not None
    assert KEY[:8] not in facts.root


def test_what_a_server_says_is_cut_and_kept_on_one_line() -> None:
    facts, _ = probe(listed(owned_by="vllm", root="a\nb\x1b[31m"), json_answer({"version": "9" * 10_000}), NOT_FOUND)
    assert facts.root == "a b\N{REPLACEMENT CHARACTER}[31m"
    assert facts.version == "9" * LONGEST_TEXT


def test_an_endless_answer_is_not_read_into_facts() -> None:
    version = json.dumps({"version": "1.0"}).encode() + b" " * LARGEST_ANSWER
    facts, _ = probe(listed(owned_by="vllm"), http_answer(version), NOT_FOUND)
    assert (facts.engine, facts.version) == ("vllm", None)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_FIELDS = (
    *("id", "owned_by", "root", "max_model_len", "meta", "version", "chat_template", "model_path", "revision"),
    *("model_id", "model_sha", "models", "details", "digest", "default_generation_settings", "quantization", "data"),
)
_OBJECTS = st.dictionaries(st.sampled_from(_FIELDS), _VALUES, max_size=6)
_OWNERS = st.sampled_from(["vllm", "sglang", "llamacpp", "library", "ours", "who"])


@settings(max_examples=60, deadline=None)
@given(card=_OBJECTS, owner=_OWNERS, then=_OBJECTS | _VALUES)
def test_whatever_a_server_answers_makes_facts_that_can_be_kept(card: dict[str, Any], owner: str, then: Any) -> None:
    facts, asked = probe(listed(**{**card, "id": "ours", "owned_by": owner}), json_answer(then))
    assert len(asked) <= 5
    texts = [value for value in asdict(facts).values() if isinstance(value, str)]
    assert all(len(text) <= LONGEST_TEXT and text.encode() and "\n" not in text for text in texts)
    assert facts.context is None or facts.context > 0


def test_a_list_says_whether_our_model_is_among_its_names(server: Server) -> None:
    ours = listing_of(server.base_url, served_as="baseline-lead")
    assert (ours.kind, ours.serves, len(ours.names)) == ("", True, 6)
    assert not listing_of(server.base_url, served_as="baseline-leads").serves


def test_what_keeps_a_list_from_coming_is_named() -> None:
    async def main(*answer: bytes) -> str:
        async with raw_server(answer) as server, Wire() as wire:
            model = Model(name="ours", base_url=server.base_url)
            return (await list_models(model, wire, base_url=server.base_url)).kind

    assert asyncio.run(main(json_answer({"error": "Unauthorized"}, 401))) == "unauthorized"
    assert asyncio.run(main(NOT_FOUND)) == "no_list"
    assert asyncio.run(main(json_answer(["a"]))) == "no_list"
    assert listing_of(f"http://127.0.0.1:{closed_port()}/v1").kind == "connect"


def test_an_absent_key_is_said_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_ENV, raising=False)
    with pytest.raises(EndpointError, match=KEY_ENV):
        probe(NOT_FOUND, key_env=KEY_ENV)
