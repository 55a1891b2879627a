"""Keys: read where a model's row says they lie, sent in headers, and taken out of all that a server says.

A server that refuses a key likes to repeat it: whole, cut short, or with its middle masked ("sk-ab***xyz"). All three
are taken out: the whole value, any beginning or end of it of at least `SHORTEST_PART` characters, and a beginning or
end of at least two characters that stands beside a mask. Answers stay as they are: a key travels in a header, and no
model reads those.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from wardround.catalogue import Model
from wardround.errors import EndpointError

SHORTEST_PART = 8
LONGEST_SHOWN = 64
TAKEN_OUT = "[key]"

_MASK = re.compile(r"[*•]{2,}|…|\.{3,}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class Keys:
    """What a model's requests carry besides their body: `headers`, and the `secrets` among their values."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def taken_out_of(self, words: str) -> str:
        """`words` with "[key]" wherever one of the secrets, or a telling part of one, stood."""
        for secret in self.secrets:
            words = words.replace(secret, TAKEN_OUT)
        for secret in self.secrets:
            if len(secret) >= SHORTEST_PART:
                words = _without_parts(_without_masked(words, secret), secret)
        return words


def without_secrets(url: str) -> str:
    """The URL without user-info, query and fragment, where people put keys."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def keys_of(model: Model) -> Keys:
    """Read the model's key and headers; raises `EndpointError` if one is absent or cannot be one."""
    key = _key_of(model)
    secrets = [key] if key else []
    headers = _carrying(model, key) if key else {}
    for name, value in model.headers.items():
        _add(headers, name, value, model)
    for name, variable in model.headers_env.items():
        value = os.environ.get(variable, "").strip()
        if not value:
            raise EndpointError(
                f"model {model.name!r} needs a value for its header {name}: set the environment variable {variable}"
            )
        _add(headers, name, value, model)
        # "Bearer abc…": what a server repeats is mostly the second word alone.
        secrets += [value, *(word for word in value.split() if len(word) >= SHORTEST_PART and word != value)]
    return Keys(headers, tuple(sorted(dict.fromkeys(secrets), key=len, reverse=True)))


def _key_of(model: Model) -> str | None:
    if model.key_env is not None:
        key = os.environ.get(model.key_env, "").strip()
        if not key:
            raise EndpointError(f"model {model.name!r} needs a key: set the environment variable {model.key_env}")
        return _checked(key, f"the environment variable {model.key_env}")
    if model.key_file is not None:
        key = _first_line(model.key_file, model.name)
        if not key:
            raise EndpointError(f"model {model.name!r} needs a key: the first line of {model.key_file} is empty")
        return _checked(key, f"the file {model.key_file}")
    return None


def _first_line(path: Path, name: str) -> str:
    try:
        with path.expanduser().open(encoding="utf-8") as file:
            return file.readline().strip()
    except (OSError, UnicodeDecodeError, RuntimeError) as error:
        words = error.strerror if isinstance(error, OSError) and error.strerror else "it is no text"
        raise EndpointError(f"model {name!r} needs a key: {path} cannot be read ({words})") from None


def _checked(key: str, where: str) -> str:
    if not key.isascii() or not key.isprintable() or " " in key:
        raise EndpointError(f"the key in {where} holds characters no key has")
    return key


def _carrying(model: Model, key: str) -> dict[str, str]:
    """The header for the key. Azure knows two: keys of its own, and tokens of its directory (JSON web tokens)."""
    if model.protocol == "azure-openai" and not is_web_token(key):
        return {"api-key": key}
    return {"Authorization": f"Bearer {key}"}


def is_web_token(key: str) -> bool:
    """Whether a key is a JSON web token (RFC 7519): three parts, of which the first is an object in base64."""
    return key.startswith("eyJ") and key.count(".") == 2


def _add(headers: dict[str, str], name: str, value: str, model: Model) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise EndpointError(f"model {model.name!r}: {name!r} is no name of a header")
    if not value.isprintable() or not value.isascii():
        raise EndpointError(f"model {model.name!r}: the header {name} holds characters no header has")
    if name.lower() in (known.lower() for known in headers):
        raise EndpointError(f"model {model.name!r}: the header {name} stands twice")
    headers[name] = value


def _without_parts(words: str, secret: str) -> str:
    """Take out beginnings and ends of a secret; each place is looked at once, however long the secret is."""
    for begin, end in reversed(list(_parts(words, secret))):
        words = words[:begin] + TAKEN_OUT + words[end:]
    return words


def _parts(words: str, secret: str) -> Iterator[tuple[int, int]]:
    done = 0
    while True:
        head = words.find(secret[:SHORTEST_PART], done)
        tail = words.find(secret[-SHORTEST_PART:], done)
        if head < 0 and tail < 0:
            return
        if tail < 0 or 0 <= head <= tail:
            begin, end = head, head + SHORTEST_PART
            while end < len(words) and end - begin < len(secret) and words[end] == secret[end - begin]:
                end += 1
        else:
            begin, end = tail, tail + SHORTEST_PART
            while begin > done and end - begin < len(secret) and words[begin - 1] == secret[begin - end - 1]:
                begin -= 1
        yield begin, end
        done = end


def _without_masked(words: str, secret: str) -> str:
    """Take out "sk-ab***xyz" and its like where what is shown is the secret's own."""
    kept: list[str] = []
    done = 0
    for mask in _MASK.finditer(words):
        if mask.start() < done:
            continue
        shown = _longest(secret, lambda length: words.endswith(secret[:length], done, mask.start()))  # noqa: B023
        last = _longest(secret, lambda length: words.startswith(secret[-length:], mask.end()))  # noqa: B023
        if shown or last:
            kept += [words[done : mask.start() - shown], TAKEN_OUT]
            done = mask.end() + last
    return "".join([*kept, words[done:]])


def _longest(secret: str, fits: Callable[[int], bool]) -> int:
    """The greatest length of a part of the secret that fits, 0 if not even two characters do."""
    return next((length for length in range(min(len(secret), LONGEST_SHOWN), 1, -1) if fits(length)), 0)
