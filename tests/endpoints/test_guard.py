from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support import Server
from wardround.catalogue import Model, resolve_model
from wardround.endpoints.guard import Permit, addresses_of, in_the_house, most_sensitive, permit, permits_for
from wardround.errors import GuardError
from wardround.task import Sensitivity
from wardround.wire import Wire, WireError

ATTESTED = "Zero retention, no training, no human review: verified by the data office on 2026-10-01."


def model(base_url: str, **fields: Any) -> Model:
    return Model(name="m", base_url=base_url, **fields)


def no_lookup(host: str) -> Sequence[str]:
    raise AssertionError(f"{host} was looked up")


def leave(
    base_url: str, *addresses: str, sensitivity: Sensitivity = "credentialed", attested: bool = False, **fields: Any
) -> Permit:
    resolve = (lambda _: list(addresses)) if addresses else no_lookup
    return permit(model(base_url, **fields), sensitivity, attested=attested, resolve=resolve)


@pytest.mark.parametrize(
    ("address", "house"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("10.1.2.3", True),
        ("172.16.0.1", True),
        ("172.31.255.255", True),
        ("192.168.1.1", True),
        ("fd12::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.1", True),
        ("172.32.0.1", False),
        ("8.8.8.8", False),
        ("0.0.0.0", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("192.0.2.1", False),
        ("198.18.0.1", False),
        ("224.0.0.1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("2001:4860:4860::8888", False),
        ("::ffff:8.8.8.8", False),
        ("2002:0808:0808::1", False),
        ("2002:0a00:0001::1", False),
        ("64:ff9b::8.8.8.8", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
        ("not an address", False),
    ],
)
def test_loopback_and_private_addresses_are_the_house_and_nothing_else(address: str, house: bool) -> None:
    assert in_the_house(address) is house


def test_credentialed_text_may_go_to_a_name_that_is_private() -> None:
    allowed = leave("http://gpu.hospital.example:8000/v1", "10.0.0.7")
    assert (allowed.trust, allowed.host, allowed.addresses) == ("own house", "gpu.hospital.example", ("10.0.0.7",))


@pytest.mark.parametrize("sensitivity", ["credentialed", "phi"])
@pytest.mark.parametrize(
    "addresses", [("8.8.8.8",), ("10.0.0.7", "8.8.8.8"), ("::ffff:8.8.8.8",), ("169.254.169.254",)]
)
def test_a_name_with_any_address_outside_gets_nothing(sensitivity: Sensitivity, addresses: tuple[str, ...]) -> None:
    with pytest.raises(GuardError, match="does not go to model 'm'"):
        leave("https://api.example.org/v1", *addresses, sensitivity=sensitivity)


@pytest.mark.parametrize("host", ["8.8.8.8", "[2001:4860:4860::8888]", "[::ffff:8.8.8.8]"])
def test_an_address_outside_gets_nothing(host: str) -> None:
    with pytest.raises(GuardError, match="no loopback or private"):
        leave(f"http://{host}:8000/v1")


@pytest.mark.parametrize("host", ["2130706433", "134744072", "0x7f.1", "0177.0.0.1", "127.1", "0x08080808", "8.8.8.8."])
def test_an_address_written_as_no_person_does_is_refused_without_a_lookup(host: str) -> None:
    with pytest.raises(GuardError, match="write it in full"):
        leave(f"http://{host}:8000/v1")


def test_user_info_cannot_hide_the_host() -> None:
    with pytest.raises(ValueError, match="user name"):
        model("http://127.0.0.1@8.8.8.8/v1")


def test_an_attestation_alone_is_not_enough_and_neither_is_the_users_word() -> None:
    with pytest.raises(GuardError, match="pass --attested"):
        leave("https://api.example.org/v1", "8.8.8.8", attestation=ATTESTED)
    with pytest.raises(GuardError, match="has no `attestation`"):
        leave("https://api.example.org/v1", "8.8.8.8", attested=True)


def test_both_together_are_and_are_recorded() -> None:
    allowed = leave("https://api.example.org/v1", "8.8.8.8", attestation=ATTESTED, attested=True)
    assert (allowed.trust, allowed.addresses, allowed.attestation) == ("attested", ("8.8.8.8",), ATTESTED)


@pytest.mark.parametrize("sensitivity", ["open", "licensed"])
def test_open_data_is_not_guarded(sensitivity: Sensitivity) -> None:
    assert leave("https://api.example.org/v1", sensitivity=sensitivity).trust == "not guarded"


def test_the_embedded_server_is_of_the_house() -> None:
    assert leave("embedded", sensitivity="phi").trust == "embedded"


def look_up(host: str) -> Sequence[str]:
    return {"gpu1.example": ["10.0.0.7"], "gpu2.example": ["10.0.0.8"], "api.example": ["8.8.8.8"]}[host]


def replicated(*others: str, **fields: Any) -> Model:
    return model("http://gpu1.example:8000/v1", replicas=tuple(f"http://{host}/v1" for host in others), **fields)


def test_each_replica_has_its_own_permit_and_all_their_addresses_are_pinned() -> None:
    row = replicated("gpu2.example:8000", "gpu1.example:8001", "127.0.0.1:8002")
    allowed = permits_for(row, "phi", attested=False, resolve=look_up)
    assert [(one.trust, one.host) for one in allowed] == [
        ("own house", host) for host in ("gpu1.example", "gpu2.example", "gpu1.example", "127.0.0.1")
    ]
    assert addresses_of(allowed) == {
        "gpu1.example": ("10.0.0.7",),
        "gpu2.example": ("10.0.0.8",),
        "127.0.0.1": ("127.0.0.1",),
    }


@pytest.mark.parametrize("others", [("api.example",), ("gpu2.example", "api.example"), ("8.8.8.8",), ("0.0.0.0:9",)])
@pytest.mark.parametrize("check", [permit, permits_for])
def test_one_replica_outside_keeps_the_text_from_all(others: tuple[str, ...], check: Any) -> None:
    with pytest.raises(GuardError, match="does not go to model 'm'"):
        check(replicated(*others), "credentialed", attested=False, resolve=look_up)


def test_an_attestation_covers_the_replicas_that_are_outside() -> None:
    row = replicated("api.example", attestation=ATTESTED)
    allowed = permits_for(row, "phi", attested=True, resolve=look_up)
    assert [one.trust for one in allowed] == ["own house", "attested"]


def test_where_nothing_is_guarded_one_permit_says_so_for_all_replicas() -> None:
    [allowed] = permits_for(replicated("api.example"), "open", attested=False, resolve=no_lookup)
    assert allowed.trust == "not guarded"


def test_the_most_sensitive_data_decides() -> None:
    assert most_sensitive(["open", "phi", "licensed"]) == "phi"
    assert most_sensitive(["licensed", "credentialed"]) == "credentialed"
    assert most_sensitive([]) == "open"


@pytest.mark.parametrize("host", ["faß.example", "müller.example", "🯱27.0.0.1"])
def test_what_is_looked_up_is_the_name_that_is_connected_to(host: str) -> None:
    looked_up: list[str] = []

    def resolve(name: str) -> list[str]:
        looked_up.append(name)
        return ["10.0.0.7"]

    try:
        allowed = permit(model(f"http://{host}:8000/v1"), "phi", attested=False, resolve=resolve)
    except GuardError:
        return
    assert allowed.host.isascii()
    assert looked_up in ([allowed.host], [])


def test_where_a_host_is_pinned_no_other_name_is_resolved(server: Server) -> None:
    port = server.base_url.split(":")[2].removesuffix("/v1")

    async def main() -> None:
        async with Wire(pinned={"gpu.hospital.example": ["127.0.0.1"]}) as wire:
            await wire.get(f"http://localhost:{port}/v1/models", headers={}, whole_s=5)

    with pytest.raises(WireError):
        asyncio.run(main())


def test_two_look_ups_of_a_host_that_differ_are_refused() -> None:
    first, second = leave("http://gpu.example/v1", "10.0.0.7"), leave("http://gpu.example/v1", "10.0.0.8")
    assert addresses_of([first, first]) == {"gpu.example": ("10.0.0.7",)}
    with pytest.raises(GuardError, match="changed its address"):
        addresses_of([first, second])


def test_an_attestation_does_not_follow_its_row_to_another_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    row = model("https://verified.example/v1", attestation=ATTESTED)
    monkeypatch.setattr("wardround.catalogue.catalogue", lambda: {"m": row})
    assert resolve_model("m").attestation == ATTESTED
    assert resolve_model({"name": "m", "served_as": "x"}).attestation == ATTESTED
    assert resolve_model({"name": "m", "base_url": "https://other.example/v1"}).attestation is None


def test_a_pinned_name_is_reached_at_the_address_that_was_checked(server: Server) -> None:
    port = server.base_url.split(":")[2].removesuffix("/v1")

    async def main() -> int:
        async with Wire(pinned={"gpu.hospital.example": ["127.0.0.1"]}) as wire:
            answer = await wire.get(f"http://GPU.hospital.example:{port}/v1/models", headers={}, whole_s=5)
            return answer.status

    assert asyncio.run(main()) == 200
