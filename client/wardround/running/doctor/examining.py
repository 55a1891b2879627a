"""An examination: the checks in their order, each only where those before it leave something to find."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from wardround.catalogue import EMBEDDED, Model
from wardround.endpoints import Failure, Reply, open_endpoint
from wardround.endpoints.keys import Keys, keys_of
from wardround.endpoints.opening import without_secrets
from wardround.endpoints.probing import Listing, ServerFacts, facts_of, list_models
from wardround.endpoints.templates import PLAIN, read_template
from wardround.errors import CatalogueError, EndpointError
from wardround.running.doctor import checks
from wardround.running.doctor.checks import Asking
from wardround.running.doctor.findings import CHECKS, NOTHING, YES, Examination, Finding, no, said, shortened
from wardround.running.embedded import embedded_server
from wardround.shipped import shipped
from wardround.study import Deadlines
from wardround.wire import Wire

# A short question is answered soon or something is wrong.
DEADLINES = Deadlines(connect_s=5.0, first_token_s=60.0, whole_s=120.0)
NAMES_SHOWN = 8


async def examine(
    models: Sequence[Model], *, deadlines: Deadlines = DEADLINES, say: Callable[[str], None] = lambda _line: None
) -> list[Examination]:
    """Examine every address of every model; `say` is told of each as it begins.

    Servers are examined side by side, the models of one server one after the other: nothing else of ours is on its way
    when its latency is measured. Raises `CatalogueError` for a row that cannot be used, and nothing for a server.
    """
    for model in models:
        _template_of(model)
    async with addresses_of(models) as addresses, Wire(connect_s=deadlines.connect_s) as wire:
        by_server: dict[str, list[int]] = {}
        for place, (_, base_url) in enumerate(addresses):
            by_server.setdefault(base_url, []).append(place)
        found: dict[int, Examination] = {}

        async def examine_server(places: Sequence[int]) -> None:
            for place in places:
                model, base_url = addresses[place]
                say(f"examining {model.name} at {without_secrets(base_url)}")
                found[place] = await _examine(model, wire, base_url, deadlines)

        await asyncio.gather(*map(examine_server, by_server.values()))
        return [found[place] for place in range(len(addresses))]


@asynccontextmanager
async def addresses_of(models: Sequence[Model]) -> AsyncIterator[list[tuple[Model, str]]]:
    """Every (model, base URL), the embedded server started if one is its; raises `CatalogueError`."""
    async with contextlib.AsyncExitStack() as stack:
        embedded = ""
        if any(model.base_url == EMBEDDED for model in models):
            embedded = await stack.enter_async_context(embedded_server())
        addresses = []
        for model in models:
            if not model.urls:
                raise CatalogueError(f"model {model.name!r} has no endpoint: give --base-url, or `base_url` in its row")
            addresses += [(model, embedded if url == EMBEDDED else url) for url in model.urls]
        yield addresses


def asking_at(model: Model, wire: Wire, base_url: str, deadlines: Deadlines) -> Asking:
    """How `model` is asked at `base_url`; raises `EndpointError` for an absent key, `CatalogueError` for a template."""
    template, texts = _template_of(model)
    endpoint = open_endpoint(model, wire, base_url=base_url, deadlines=deadlines, templates=texts)
    return Asking(model, endpoint, template)


def _template_of(model: Model) -> tuple[str | None, dict[str, str]]:
    """What renders the prompts, as `Params.template` has it, and its text by its hash; raises `CatalogueError`."""
    if model.chat_template not in (None, PLAIN):
        read = read_template(str(model.chat_template))
        return read.sha256, {read.sha256: read.text}
    text_is_sent = model.protocol in ("openai-completions", "tgi")
    return PLAIN if text_is_sent or model.chat_template == PLAIN else None, {}


async def _examine(model: Model, wire: Wire, base_url: str, deadlines: Deadlines) -> Examination:
    found: dict[str, Finding] = dict.fromkeys(CHECKS, NOTHING)
    one = Examination(model.name, without_secrets(base_url), found)
    try:
        keys = keys_of(model)
    except EndpointError as error:
        found["key"] = no(str(error))
        return one
    try:
        asking = asking_at(model, wire, base_url, deadlines)
    except EndpointError as error:
        # A package that the protocol needs is not installed.
        found["chat"] = no(str(error))
        return one
    if model.protocol != "azure-openai":
        # Azure lists what may be deployed, not what is.
        listing = await list_models(model, wire, base_url=base_url)
        found |= _of_listing(model, listing, has_key=bool(keys.secrets))
        one = replace(one, serves=listing.names)
    if one.usable:
        chat = await asking.ask_as_studies_do()
        found |= _of_chat(model, chat, asking)
        if checks.answers(chat):
            found["key"] = YES if keys.secrets else NOTHING
            # Only now, since Ollama knows its context once it has loaded the model.
            facts = await facts_of(model, wire, base_url=base_url)
            found |= await _of_what_it_can(asking, facts, wire, base_url)
            one = replace(one, facts=facts)
    return replace(one, findings={name: _without_keys(found[name], keys) for name in CHECKS})


def _of_listing(model: Model, listing: Listing, *, has_key: bool) -> dict[str, Finding]:
    words = shortened(listing.words)
    if listing.kind in ("connect", "timeout", "broken_stream"):
        return {"reachable": no(f"{words}; start the server, or mend `base_url`")}
    if listing.kind == "unauthorized":
        return {"reachable": YES, "key": _key_refused(model, words)}
    found = {"reachable": YES, "key": YES if has_key else NOTHING}
    if listing.kind not in ("", "no_list"):
        return found | {"served": Finding("unclear", cure=f"could not be found out ({words}); ask again")}
    # A server without a list is taken at its word, and so is one whose list is empty (transformers serve).
    if listing.kind == "no_list" or not listing.names:
        return found
    if listing.serves:
        return found | {"served": YES}
    near = difflib.get_close_matches(model.served_name, listing.names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"it serves: {', '.join(listing.names[:NAMES_SHOWN])}"
    return found | {"served": no(f"does not serve {model.served_name!r}; {hint} (set `served_as`)")}


def _key_refused(model: Model, words: str) -> Finding:
    where = model.key_env or model.key_file
    cure = f"the key in {where} is refused" if where else "it asks for a key: set `key_env`"
    return no(f"{cure} ({words})")


def _of_chat(model: Model, chat: Reply | Failure, asking: Asking) -> dict[str, Finding]:
    if not isinstance(chat, Failure) or chat.kind == "cut_in_reasoning":
        return {"reachable": YES, "chat": YES, "template": checks.template(asking)}
    words = said(chat)
    if chat.kind == "connect":
        return {"reachable": no(f"{words}; start the server, or mend `base_url`")}
    if chat.kind == "unauthorized":
        return {"reachable": YES, "key": _key_refused(model, words)}
    if chat.kind == "unknown_model":
        return {"reachable": YES, "served": no(f"does not serve {model.served_name!r}; set `served_as` ({words})")}
    if chat.kind == "missing_template":
        known = ", ".join(sorted(path.stem for path in (shipped("servers") / "templates").glob("*.jinja")))
        cure = f"no chat template: set `chat_template:` to one of servers/templates/ ({known or 'none'}), or to a path"
        return {"chat": no(words), "template": no(cure)}
    return {"chat": no(f"{words}; look at the server's log, and at `protocol` and `extra_body` in the row")}


async def _of_what_it_can(asking: Asking, facts: ServerFacts, wire: Wire, base_url: str) -> Mapping[str, Finding]:
    first = await asking.ask(checks.COUNTING)
    second = await asking.ask(checks.COUNTING)
    return {
        "system": await checks.system_role(asking),
        "greedy": checks.greedy(first, second),
        "stop": await checks.stop_honoured(asking, first),
        "prefill": await checks.prefill_continued(asking, first),
        "logprobs": await checks.logprobs(asking),
        "structured": await checks.structured(asking),
        "tokens": await checks.tokens(asking, wire, base_url),
        "context": checks.context(asking, facts),
        **await checks.streamed(asking),
        # Last: there are servers that die of it.
        "seed": await checks.seed(asking),
    }


def _without_keys(finding: Finding, keys: Keys) -> Finding:
    return replace(finding, cure=" ".join(keys.taken_out_of(finding.cure).split()))
