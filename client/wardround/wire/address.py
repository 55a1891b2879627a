"""Where a URL's requests go: its host and port, the addresses behind the host, and the head that they begin with.

URLs are read by yarl, as the guard reads them: what was checked is what is connected to.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wardround.wire.connection import WireError

LOOKED_UP_FOR_S = 300.0
_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OWN = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "wardround"}


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart; `login` is the value of the header that its user-info stands for, or ""."""

    secure: bool
    host: str
    port: int
    shown_host: str
    path: str
    login: str


def target_of(url: str) -> Target:
    """Raises `WireError` for a URL that leads nowhere; its words do not repeat it, since it may hold keys."""
    from yarl import URL

    try:
        parsed = URL(url)
        scheme, host, port = parsed.scheme, parsed.raw_host, parsed.port
    except ValueError:
        raise WireError("connect", "[URL] is no address") from None
    if scheme not in ("http", "https") or not host or not port:
        raise WireError("connect", "[URL] is no address of http or https")
    usual = port == (443 if scheme == "https" else 80)
    bracketed = f"[{host}]" if ":" in host else host
    login = ""
    if parsed.user is not None or parsed.password is not None:
        # As in RFC 7617, in UTF-8.
        login = "Basic " + base64.b64encode(f"{parsed.user or ''}:{parsed.password or ''}".encode()).decode()
    shown_host = bracketed if usual else f"{bracketed}:{port}"
    return Target(scheme == "https", host, port, shown_host, parsed.raw_path_qs or "/", login)


def head_of(method: str, target: Target, headers: Mapping[str, str]) -> bytes:
    """Request line and headers, less the body's length and the last line; raises `WireError` for what is no header."""
    given = {name.lower() for name in headers}
    if given & {"content-length", "transfer-encoding"}:
        raise WireError("connect", "the length of a request is not for its headers to say; take them out of `headers`")
    own = {"Host": target.shown_host, **_OWN}
    sent = {name: value for name, value in own.items() if name.lower() not in given}
    if target.login and "authorization" not in given:
        sent["Authorization"] = target.login
    sent |= headers
    for name, value in sent.items():
        # A line break in a value would begin a header, or a request, of its own.
        if not _NAME.fullmatch(name) or _FORBIDDEN.search(value):
            raise WireError("connect", "a header holds characters that no header has")
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return f"{method} {target.path} HTTP/1.1\r\n{lines}".encode("utf-8", "surrogateescape")


class Addresses:
    """The addresses of hosts: those that were pinned and, where any is, of no other name; else the system's."""

    def __init__(self, pinned: Mapping[str, Sequence[str]]) -> None:
        self._pinned = {host.lower(): tuple(addresses) for host, addresses in pinned.items()}
        self._found: dict[tuple[str, int], tuple[tuple[str, ...], float]] = {}

    async def of(self, host: str, port: int) -> Sequence[str]:
        """The host's addresses, best first; raises `OSError`."""
        pinned = self._pinned.get(host.lower())
        if pinned is not None:
            return pinned
        if is_address(host):
            return (host,)
        if self._pinned:
            raise OSError(f"the host {host!r} was not checked, and nothing goes where that is so")
        loop = asyncio.get_running_loop()
        known, until_s = self._found.get((host, port), ((), 0.0))
        if not known or loop.time() >= until_s:
            try:
                entries = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except UnicodeError as error:
                raise OSError(f"{host!r} is no name of a host") from error
            known = tuple(dict.fromkeys(str(entry[4][0]) for entry in entries))
            self._found[host, port] = known, loop.time() + LOOKED_UP_FOR_S
        return known

    def prefer(self, host: str, port: int, address: str) -> None:
        """`address` took a connection: it is tried first from now on."""
        known, until_s = self._found.get((host, port), ((), 0.0))
        if address in known[1:]:
            self._found[host, port] = (address, *(one for one in known if one != address)), until_s
        pinned = self._pinned.get(host.lower(), ())
        if address in pinned[1:]:
            self._pinned[host.lower()] = (address, *(one for one in pinned if one != address))

    def forget(self, host: str, port: int) -> None:
        """No address took a connection: the name may have another by now. What was pinned stays."""
        self._found.pop((host, port), None)


def is_address(host: str) -> bool:
    """Whether a host is written as an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
