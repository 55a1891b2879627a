from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Coroutine
from typing import Any

import orjson
import pytest
import uvloop

from tests.load.conftest import Certificate
from tests.load.trap_server import asking, trap_server
from tests.load.traps import TRAPS
from wardround.load.attack import Attack, Orders, Target

NAME = "events of a chunk each"


async def asked(port: int, name: str, requests: int = 1, **fields: Any) -> tuple[list[dict[str, Any]], int]:
    """The first records of a user who asks for a trap over TLS, again and again over one connection.

    And how many connections were opened besides the one that was opened beforehand.
    """
    start_ns = time.perf_counter_ns()
    given = {"timeout_s": 10.0, **fields}
    orders = Orders(
        target=Target("127.0.0.1", port, "openai-chat", name),
        payloads=[asking(NAME, port)],
        workloads=["w"],
        start_ns=start_ns,
        end_ns=start_ns + 10**12,
        connections=1,
        users=1,
        think_s=0.01,
        **given,
    )
    out = io.BytesIO()
    attack = Attack(orders, out)
    running = asyncio.create_task(attack.run())
    while attack.tally.succeeded + attack.tally.failed < requests:  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0.005)
    attack.stop()
    await running
    return [orjson.loads(line) for line in out.getvalue().splitlines()][:requests], attack.tally.opened_late


def run(test: Coroutine[Any, Any, tuple[list[dict[str, Any]], int]]) -> tuple[list[dict[str, Any]], int]:
    """On the event loop that the workers run on."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(test)


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Certificate) -> None:
    with trap_server(certificate.path, certificate.key) as port:
        (record,), _ = run(asked(port, "localhost"))
    assert (record["failure"], record["sent_ns"]) == ("connect", 0)


def test_a_certificate_for_another_name_is_refused(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
    with trap_server(certificate.path, certificate.key) as port:
        (record,), _ = run(asked(port, "other.example"))
    assert (record["failure"], record["sent_ns"]) == ("connect", 0)


def test_a_server_without_tls_is_a_failed_connection() -> None:
    with trap_server() as port:
        (record,), _ = run(asked(port, "localhost", timeout_s=0.2))
    assert record["failure"] == "connect"


def test_a_connection_over_tls_is_kept_for_the_next_request(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
    with trap_server(certificate.path, certificate.key) as port:
        records, opened_late = run(asked(port, "localhost", requests=3))
    assert len(records) == 3
    assert opened_late == 0
    assert {one["failure"] for one in records} == {""}
    assert {len(one["arrivals_us"]) for one in records} == {TRAPS[NAME].arrivals}
