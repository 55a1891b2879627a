"""How many tokens a text has for a model, by the best that can be had.

In this order: the model's own tokenizer file, the server's `/tokenize` (vLLM, llama.cpp and TGI answer it, each in
its own way), an estimate that is stated as one.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from yarl import URL

from wardround.catalogue import EMBEDDED, Model
from wardround.errors import CatalogueError, EndpointError
from wardround.text import TOKEN
from wardround.wire.address import is_address

# English prose has four to five bytes a token, lab values about three; rather too many tokens than too few.
BYTES_PER_TOKEN = 3
TOKENIZE_S = 60.0
# llama.cpp answers with every token: a million of them are less.
LARGEST_ANSWER = 32 * 1024 * 1024
ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class TokenCounter:
    """`name` says what counts: "tokenizer …", "server …", "words and marks" or "estimate: …"."""

    name: str
    count: Callable[[str], int]
    exact: bool


def estimate(text: str) -> int:
    """A number of tokens that a text rarely exceeds: its UTF-8 bytes divided by three, rounded up."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


def token_counter(
    model: Model, headers: dict[str, str] | None = None, pinned: Mapping[str, Sequence[str]] | None = None
) -> TokenCounter:
    """The counter for `model`; raises `CatalogueError` for a tokenizer file that cannot be used.

    `pinned` names hosts and the only addresses they may be reached at, as for `Wire`.
    """
    here = counter_without_server(model)
    if here.exact:
        return here
    by_server = _by_server(model, headers or {}, pinned or {})
    return TokenCounter(f"server {model.served_name}", by_server, True) if by_server is not None else here


def counter_without_server(model: Model) -> TokenCounter:
    """The best counter for `model` that asks nobody; raises `CatalogueError` for an unusable tokenizer file."""
    if model.tokenizer is not None:
        return TokenCounter(f"tokenizer {Path(model.tokenizer).name}", _by_file(Path(model.tokenizer)), True)
    if model.base_url == EMBEDDED:
        return TokenCounter("words and marks", lambda text: len(TOKEN.findall(text)), True)
    return TokenCounter(f"estimate: {BYTES_PER_TOKEN} bytes a token", estimate, False)


@cache
def _by_file(path: Path) -> Callable[[str], int]:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise CatalogueError("`tokenizer` needs the extra: pip install 'wardround[tokenizers]'") from error
    try:
        tokenizer: Any = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise CatalogueError(f"tokenizer file {path} cannot be used: {error}") from error
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _by_server(
    model: Model, headers: dict[str, str], pinned: Mapping[str, Sequence[str]]
) -> Callable[[str], int] | None:
    """The server's own count, if its `/tokenize` understands one of the three dialects; None if it has none."""
    import httpx
    from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

    root = (model.base_url or "").removesuffix("/v1")
    client = httpx.Client(trust_env=False, follow_redirects=False, timeout=TOKENIZE_S, headers=headers)
    # Read as the guard reads it: names beyond ASCII and in other case are pinned as yarl writes them.
    at = URL(root)
    host, url, extra = (at.raw_host or "").lower(), f"{root}/tokenize", {}
    if pinned and not (is_address(host) and host not in pinned):
        if host not in pinned:
            raise EndpointError(f"the host {host!r} was not checked, and nothing goes where that is so")
        # To the address that was checked, under the name that was asked for.
        client.headers["Host"] = at.host_port_subcomponent or host
        url, extra = str(at.with_host(pinned[host][0]) / "tokenize"), {"sni_hostname": host}

    @retry(
        retry=retry_if_exception_type(_Busy),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(0.2, max=10),
        reraise=True,
    )
    def ask(body: dict[str, Any]) -> Any:
        try:
            with client.stream("POST", url, json=body, extensions=extra) as answer:
                content = _read(answer.iter_bytes())
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _Busy(f"no tokens could be counted at {root}/tokenize: {error}") from error
        if answer.status_code != 501 and (answer.status_code in (408, 429) or answer.status_code >= 500):
            raise _Overloaded(f"no tokens could be counted at {root}/tokenize: HTTP {answer.status_code}")
        if answer.status_code != 200:
            raise _NotThisWay(f"{root}/tokenize answers HTTP {answer.status_code}")
        return json.loads(content)

    with ExitStack() as closing:
        closing.callback(client.close)
        for body, read in (vllm_dialect(model), llama_cpp_dialect(), tgi_dialect()):
            counted = _counted(ask, body, read)
            try:
                # A harmless word finds out which dialect the server speaks; a patient's text is sent only after that.
                if counted("fever") > 0:
                    # Its connection is kept for as long as the counter is.
                    weakref.finalize(counted, closing.pop_all().close)
                    return counted
            except (_NotThisWay, _Overloaded, ValueError, LookupError, TypeError):
                # Gateways answer 500 to what they do not know: a server that never says a number has none to give.
                continue
    return None


def _read(pieces: Iterable[bytes]) -> bytes:
    """A whole body; raises `_NotThisWay` for one that does not end in time to be an answer."""
    content = bytearray()
    for piece in pieces:
        content += piece
        if len(content) > LARGEST_ANSWER:
            raise _NotThisWay(f"/tokenize answers with more than {LARGEST_ANSWER >> 20} MiB")
    return bytes(content)


class _Busy(EndpointError):
    """The server could not be reached or was overloaded: worth another try."""


class _Overloaded(_Busy):
    """The server answered, but not with a number."""


class _NotThisWay(EndpointError):
    """The server does not understand this dialect, or has no `/tokenize`."""


def _counted(
    ask: Callable[[dict[str, Any]], Any], body: Callable[[str], dict[str, Any]], read: Callable[[Any], int]
) -> Callable[[str], int]:
    return lambda text: read(ask(body(text)))


# How a text is written into a request, and its number of tokens read from the answer.
Dialect = tuple[Callable[[str], dict[str, Any]], Callable[[Any], int]]


def vllm_dialect(model: Model) -> Dialect:
    """vLLM's `/tokenize`, which wants the model's name."""
    return (
        lambda text: {"model": model.served_name, "prompt": text, "add_special_tokens": False},
        lambda answer: int(answer["count"]),
    )


def llama_cpp_dialect() -> Dialect:
    """llama.cpp's `/tokenize`, which answers with the tokens."""
    return lambda text: {"content": text}, lambda answer: len(answer["tokens"])


def tgi_dialect() -> Dialect:
    """TGI's `/tokenize`, which answers with a list of tokens and their places."""
    return lambda text: {"inputs": text, "add_special_tokens": False}, lambda answer: len(answer[0:])
