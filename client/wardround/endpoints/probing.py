"""Who answers: what a server says of itself, its engine and the weights behind a model.

Every engine tells something else, at an address of its own. The list of models comes first; what it says of its owner
decides which further question is worth asking. A server outside the house is asked for its list and nothing else. All
answers are untrusted: bounded in size, only known fields are read, and of those only short texts and numbers (SGLang's
answer holds its API key). What could not be learnt is None, and never an error.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from yarl import URL

from wardround.catalogue import Model
from wardround.endpoints.dialects import failure_from, names_on
from wardround.endpoints.guard import in_the_house, resolve
from wardround.endpoints.keys import TAKEN_OUT, keys_of
from wardround.endpoints.replies import FailureKind
from wardround.endpoints.tokens import llama_cpp_dialect, tgi_dialect, vllm_dialect
from wardround.errors import EndpointError
from wardround.text import storable
from wardround.wire import HttpAnswer, Wire, WireError

UNKNOWN = "unknown"
PROBE_S = 15.0
LARGEST_ANSWER = 8 * 1024 * 1024
LONGEST_TEXT = 200
WORD = "fever"
_NO_SUCH_ROUTE = (404, 405, 501)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server says of itself; None where it does not say.

    `engine` is the serving software ("vllm", "llama.cpp", …; "unknown"), `version` its own. `served` is the model's
    name there, `root` what stands behind that name (a Hugging Face id, a path), `revision` which state of it,
    `quantization` how its weights are kept. `context` is in tokens, prompt and answer together. `template` is the
    SHA-256 of its chat template.
    """

    engine: str = UNKNOWN
    version: str | None = None
    served: str | None = None
    root: str | None = None
    revision: str | None = None
    quantization: str | None = None
    context: int | None = None
    template: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """A server's answer to the question which models it has.

    `kind` and `words` say why there is no list: a kind of failure, or "no_list" for a server that has no such route.
    `names` are the models' names there, `serves` whether the one asked for is among them, `card` what the server says
    of it, `software` the Server header.
    """

    kind: FailureKind | Literal["", "no_list"] = ""
    words: str = ""
    names: tuple[str, ...] = ()
    serves: bool = False
    card: Mapping[str, Any] | None = None
    software: str = ""


async def list_models(model: Model, wire: Wire, *, base_url: str) -> Listing:
    """Ask for {base_url}/models, or the one model of TGI's own API; raises `EndpointError` only for an absent key."""
    asked = _Asked(model, wire, base_url)
    url = f"{asked.root}/info" if model.protocol == "tgi" else f"{base_url}/models"
    try:
        answer = await wire.get(url, headers=asked.keys.headers, whole_s=PROBE_S)
    except WireError as error:
        return Listing("broken_stream" if error.fault == "broken" else error.fault, error.detail)
    software = _text(answer.headers.get("Server")) or ""
    if answer.status in _NO_SUCH_ROUTE:
        return Listing("no_list", f"HTTP {answer.status}", software=software)
    if answer.status != 200:
        failure = failure_from(answer.status, answer.body, {}, asked.keys.taken_out_of)
        return Listing(failure.kind, f"HTTP {answer.status}: {failure.words}", software=software)
    cards = _cards(asked.without_secrets(answer.body))
    if cards is None:
        return Listing("no_list", "its answer is no list of models", software=software)
    named = next((card for card in cards if model.served_name in names_on(card)), None)
    return Listing(
        names=tuple(asked.keys.taken_out_of(_text(name) or "") for card in cards for name in names_on(card)),
        serves=named is not None,
        # llama.cpp answers under whatever name it is asked for, with the one model that it has.
        card=named or (cards[0] if len(cards) == 1 else None),
        software=software,
    )


async def facts_of(model: Model, wire: Wire, *, base_url: str) -> ServerFacts:
    """Ask the server at `base_url` who answers for `model` there, in one to five small requests without any prompt.

    Raises `EndpointError` only if the model's key is absent.
    """
    if model.protocol == "azure-openai":
        return ServerFacts(engine="azure-openai", served=model.served_name)
    asked = _Asked(model, wire, base_url)
    listing = await list_models(model, wire, base_url=base_url)
    if listing.kind not in ("", "no_list"):
        return ServerFacts()
    facts = _from_card(listing)
    if asked.model.protocol != "tgi" and await _in_the_house(base_url):
        facts = await _ASKERS.get(facts.engine, _of_an_unknown)(asked, facts, listing)
    # Whole keys are out already; servers also like to show a part of one.
    clean: dict[str, Any] = {
        name: asked.keys.taken_out_of(value) if isinstance(value, str) else value
        for name, value in asdict(facts).items()
    }
    return ServerFacts(**clean)


async def counts_tokens(model: Model, wire: Wire, *, base_url: str) -> bool:
    """Whether the server at `base_url` says how many tokens a word has, in any dialect that `tokens` speaks.

    Raises `EndpointError` only if the model's key is absent.
    """
    asked = _Asked(model, wire, base_url)
    for body, read in (vllm_dialect(model), llama_cpp_dialect(), tgi_dialect()):
        answer = await asked.posted("/tokenize", body(WORD))
        try:
            if answer is not None and read(answer) > 0:
                return True
        except (LookupError, TypeError, ValueError, AttributeError):
            continue
    return False


class _Asked:
    """A server and the way to ask it: the headers that carry the key, and no key in an answer."""

    def __init__(self, model: Model, wire: Wire, base_url: str) -> None:
        self.model = model
        self.root = base_url.removesuffix("/v1")
        self.keys = keys_of(model)
        self._wire = wire

    def without_secrets(self, body: bytes) -> bytes:
        for secret in self.keys.secrets:
            body = body.replace(secret.encode(), TAKEN_OUT.encode())
        return body

    async def get(self, route: str) -> Mapping[str, Any]:
        """The JSON object that stands there, {} if none does."""
        asking = self._wire.get(self.root + route, headers=self.keys.headers, whole_s=PROBE_S)
        return _mapping(await self._content(asking))

    async def posted(self, route: str, content: Mapping[str, Any]) -> Any:
        """The JSON that answers `content` there, None if none does."""
        body, headers = json.dumps(content).encode(), {**self.keys.headers, "Content-Type": "application/json"}
        return await self._content(self._wire.post(self.root + route, body, headers=headers, whole_s=PROBE_S))

    async def _content(self, asking: Awaitable[HttpAnswer]) -> Any:
        try:
            answer = await asking
        except WireError:
            return None
        return _parsed(self.without_secrets(answer.body)) if answer.status == 200 else None


def _from_card(listing: Listing) -> ServerFacts:
    """What the list of models tells by itself; `max_model_len` is vLLM's word, the others those of hosted APIs."""
    card = listing.card or {}
    if "model_id" in card:
        return _from_info(card)
    owner = card.get("owned_by")
    engine = _ENGINE_OF_OWNER.get(owner, UNKNOWN) if isinstance(owner, str) else UNKNOWN
    if listing.software.lower().startswith("llama.cpp"):
        engine = "llama.cpp"
    return ServerFacts(
        engine=engine,
        served=_text(card.get("id")),
        root=_text(card.get("root")),
        context=_count(card.get("max_model_len"))
        or _count(card.get("context_length"))
        or _count(card.get("context_window")),
    )


async def _of_vllm(asked: _Asked, facts: ServerFacts, _listing: Listing) -> ServerFacts:
    version = await asked.get("/version")
    # Only where it was started with --enable-tokenizer-info-endpoint.
    tokenizer = await asked.get("/tokenizer_info")
    return replace(
        facts, version=_text(version.get("version")), template=_hash_of_template(tokenizer.get("chat_template"))
    )


async def _of_sglang(asked: _Asked, facts: ServerFacts, _listing: Listing) -> ServerFacts:
    info = await asked.get("/server_info") or await asked.get("/get_server_info")
    version_of_weights = _text(info.get("weight_version"))
    return replace(
        facts,
        version=_text(info.get("version")),
        root=_text(info.get("model_path")) or facts.root,
        revision=_text(info.get("revision")) or (version_of_weights if version_of_weights != "default" else None),
        quantization=_text(info.get("quantization")),
        context=_count(info.get("context_length")) or facts.context,
    )


async def _of_tgi(asked: _Asked, facts: ServerFacts, listing: Listing) -> ServerFacts:
    told = _from_info(await asked.get("/info"))
    if told.root is None:
        return facts
    return replace(told, served=facts.served or told.root)


def _from_info(info: Mapping[str, Any]) -> ServerFacts:
    """What TGI says at /info; who else speaks its language names itself as the router."""
    router, root = _text(info.get("router")), _text(info.get("model_id"))
    return ServerFacts(
        engine="tgi" if router is None or router.startswith("text-generation") else router,
        version=_text(info.get("version")),
        served=root,
        root=root,
        revision=_text(info.get("model_sha")),
        quantization=_text(info.get("quantize")) or _text(info.get("quantization")),
        context=_count(info.get("max_total_tokens")),
    )


async def _of_llama_cpp(asked: _Asked, facts: ServerFacts, listing: Listing) -> ServerFacts:
    meta = _mapping((listing.card or {}).get("meta"))
    props = await asked.get("/props")
    parameters, size_bytes = _count(meta.get("n_params")), _count(meta.get("size"))
    # It knows no revision; another file under the same name shows in these two numbers.
    revision = f"{parameters} parameters, {size_bytes} bytes" if parameters and size_bytes else None
    settings = _mapping(props.get("default_generation_settings"))
    return replace(
        facts,
        version=_text(props.get("build_info")),
        root=_text(props.get("model_path")),
        revision=revision,
        quantization=_text(props.get("model_ftype")) or _text(meta.get("ftype")),
        context=_count(settings.get("n_ctx")) or _count(meta.get("n_ctx")),
        template=_hash_of_template(props.get("chat_template")),
    )


async def _of_ollama(asked: _Asked, facts: ServerFacts, _listing: Listing) -> ServerFacts:
    version = _text((await asked.get("/api/version")).get("version"))
    if version is None:
        return replace(facts, engine=UNKNOWN)
    name = facts.served or asked.model.served_name
    shown = _mapping(await asked.posted("/api/show", {"model": name}))
    stored = _named(await asked.get("/api/tags"), name)
    # Its context is a matter of how the model was loaded, and unknown until it is.
    loaded = _named(await asked.get("/api/ps"), name)
    return replace(
        facts,
        engine="ollama",
        version=version,
        revision=_text(stored.get("digest")),
        quantization=_text(_mapping(shown.get("details")).get("quantization_level")),
        context=_count(loaded.get("context_length")),
        template=_hash_of_template(shown.get("template")),
    )


async def _of_wardround(asked: _Asked, facts: ServerFacts, _listing: Listing) -> ServerFacts:
    return replace(facts, version=_text((await asked.get("/version")).get("version")))


async def _as_it_is(_asked: _Asked, facts: ServerFacts, _listing: Listing) -> ServerFacts:
    return facts


async def _of_an_unknown(asked: _Asked, facts: ServerFacts, listing: Listing) -> ServerFacts:
    """TGI names a model as its own owner, and had no list before version 2.3; Ollama names its registry's users."""
    owner = (listing.card or {}).get("owned_by")
    if listing.kind == "no_list" or (owner is not None and owner == facts.served):
        return await _of_tgi(asked, facts, listing)
    return await _of_ollama(asked, facts, listing)


_ENGINE_OF_OWNER = {
    "vllm": "vllm",
    "sglang": "sglang",
    "llamacpp": "llama.cpp",
    "library": "ollama",
    "me": "llama-cpp-python",
    "wardround": "wardround",
}
_ASKERS: dict[str, Callable[[_Asked, ServerFacts, Listing], Awaitable[ServerFacts]]] = {
    "vllm": _of_vllm,
    "sglang": _of_sglang,
    "llama.cpp": _of_llama_cpp,
    "ollama": _of_ollama,
    "llama-cpp-python": _as_it_is,
    "wardround": _of_wardround,
}


async def _in_the_house(base_url: str) -> bool:
    try:
        addresses = await asyncio.to_thread(resolve, URL(base_url).raw_host or "")
    except (EndpointError, ValueError):
        return False
    return bool(addresses) and all(in_the_house(address) for address in addresses)


def _cards(body: bytes) -> list[Mapping[str, Any]] | None:
    content = _mapping(_parsed(body))
    if _text(content.get("model_id")):
        return [{**content, "id": content["model_id"]}]
    rows = content.get("data")
    if not isinstance(rows, list):
        return None
    return [row for row in rows if isinstance(row, Mapping) and _text(row.get("id"))]


def _named(listed: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Ollama's row of a model; a name without a tag means the tag "latest"."""
    rows = listed.get("models")
    wanted = name if ":" in name else f"{name}:latest"
    found = (row for row in rows if isinstance(row, Mapping)) if isinstance(rows, list) else ()
    return next((row for row in found if row.get("name") == wanted or row.get("model") == wanted), {})


def _parsed(body: bytes) -> Any:
    if len(body) > LARGEST_ANSWER:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    """A short text on one line, None for anything else."""
    if not isinstance(value, str):
        return None
    line = " ".join(storable(value[:LONGEST_TEXT]).split())
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line) or None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53 else None


def _hash_of_template(value: Any) -> str | None:
    return hashlib.sha256(storable(value).encode()).hexdigest() if isinstance(value, str) and value else None
