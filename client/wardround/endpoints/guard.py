"""The guard: patients' text goes to an address of one's own house, or nowhere, unless its owner said otherwise.

Text of `credentialed` and `phi` data may be sent to loopback and private addresses. Anywhere else needs two things: an
`attestation` in the model's row (who verified that nothing is kept, trained on or read, and when) and the user's own
word on the command line. PhysioNet's rule of 24 September 2025 is the measure.

A host is resolved once, and the connection goes to the addresses that were checked: a name that resolves to something
else a moment later gets nothing. Redirects and proxies from the environment are refused by `wire`.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from yarl import URL

from wardround.catalogue import EMBEDDED, Model
from wardround.errors import EndpointError, GuardError
from wardround.task import Sensitivity

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str], Sequence[str]]

GUARDED: frozenset[Sensitivity] = frozenset({"credentialed", "phi"})
_OPEN_FIRST: tuple[Sensitivity, ...] = ("open", "licensed", "credentialed", "phi")

# Not `is_private`, which also has link-local addresses (where clouds keep their metadata services) and test networks.
_HOUSE = [
    ipaddress.ip_network(network)
    for network in ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
]
# What inet_aton takes for an address though no person writes it so: 2130706433, 0x7f.1, 0177.0.0.1.
_ODD_NUMBER = re.compile(r"(?:0x[0-9a-f]*|\d+)(?:\.(?:0x[0-9a-f]*|\d+))*\.?", re.I)


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to send data of a sensitivity to a model's server; goes into the run's manifest.

    `trust` says why: "embedded", "own house" (loopback or private), "attested", or "not guarded" (open or licensed
    data). `addresses` are those that were checked and are the only ones to be connected to; none if any will do.
    """

    model: str
    sensitivity: Sensitivity
    trust: str
    host: str = ""
    addresses: tuple[str, ...] = ()
    attestation: str = ""


def addresses_of(permits: Sequence[Permit]) -> dict[str, tuple[str, ...]]:
    """The addresses that were checked, by host; raises `GuardError` if two checks of one host found different ones."""
    found: dict[str, tuple[str, ...]] = {}
    for one in permits:
        if one.addresses and found.setdefault(one.host, one.addresses) != one.addresses:
            raise GuardError(f"the host {one.host!r} changed its address between two look-ups; give the address itself")
    return found


def most_sensitive(kinds: Sequence[Sensitivity]) -> Sensitivity:
    """The most sensitive of several; "open" if there is none."""
    return max(kinds, key=_OPEN_FIRST.index, default="open")


def resolve(host: str) -> list[str]:
    """All addresses of a host; raises `EndpointError` if it has none."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise EndpointError(f"the host {host!r} cannot be resolved: {error}") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def permits_for(model: Model, sensitivity: Sensitivity, *, attested: bool, resolve: Resolve = resolve) -> list[Permit]:
    """Leave to send data of `sensitivity` to `model`, one permit for each of its servers, replicas included.

    Raises `GuardError` if there is none for one of them. `attested`: the user said on the command line that the
    attestation in the model's row holds for this data.
    """
    if model.base_url == EMBEDDED:
        return [Permit(model.name, sensitivity, "embedded")]
    if sensitivity not in GUARDED:
        return [Permit(model.name, sensitivity, "not guarded")]
    return [_permit_at(url, model, sensitivity, attested, resolve) for url in model.urls or ("",)]


def permit(model: Model, sensitivity: Sensitivity, *, attested: bool, resolve: Resolve = resolve) -> Permit:
    """The permit for the first of the model's servers; raises `GuardError` if one of them all may not be sent to."""
    return permits_for(model, sensitivity, attested=attested, resolve=resolve)[0]


def _permit_at(base_url: str, model: Model, sensitivity: Sensitivity, attested: bool, resolve: Resolve) -> Permit:
    # The connector's own parser: what is checked must be what is connected to.
    host = (URL(base_url).raw_host or "").lower()
    addresses = tuple(_checked_addresses(host, resolve))
    outside = [address for address in addresses if not in_the_house(address)]
    if not outside:
        return Permit(model.name, sensitivity, "own house", host, addresses)
    if model.attestation and attested:
        return Permit(model.name, sensitivity, "attested", host, addresses, model.attestation)
    missing = "pass --attested" if model.attestation else "its row has no `attestation`; write one and pass --attested"
    raise GuardError(
        f"{sensitivity} data does not go to model {model.name!r}: {host} is {outside[0]}, no loopback or private"
        f" address; serve it in your own house, or, if its terms were verified, {missing}"
    )


def in_the_house(address: str) -> bool:
    """Whether an address is loopback or private, IPv4 inside IPv6 looked at as what it is."""
    try:
        parsed: Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.teredo or parsed.sixtofour:
            # Routed through the world, whatever address is written inside.
            return False
        parsed = parsed.ipv4_mapped or parsed
    return any(parsed.version == network.version and parsed in network for network in _HOUSE)


def _checked_addresses(host: str, resolve: Resolve) -> Sequence[str]:
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        pass
    if not host or not host.isascii() or _ODD_NUMBER.fullmatch(host):
        raise GuardError(f"{host!r} is no name and no address as people write it; write it in full")
    addresses = resolve(host)
    if not addresses:
        raise EndpointError(f"the host {host!r} has no address")
    return addresses
