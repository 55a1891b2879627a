"""What the connection does with servers that are odd, slow, hostile or behind TLS."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.raw_server import (
    NEVER_S,
    STREAM_HEAD,
    Answer,
    Then,
    chunk,
    closed_port,
    http_answer,
    http_head,
    json_answer,
    raw_server,
)
from wardround.wire import HttpAnswer, Wire, WireError, client
from wardround.wire.connection import MOST_HEAD_BYTES, MOST_UNREAD_BYTES, Headers

FINE = [json_answer({"fine": True})]


def posted(*answers: Answer, path: str = "/", **headers: str) -> tuple[HttpAnswer, dict[str, str]]:
    """What one POST brings, and the headers that the server read."""

    async def main() -> tuple[HttpAnswer, dict[str, str]]:
        async with raw_server(*answers) as server, Wire() as wire:
            answer = await wire.post(server.url + path, b"{}", headers=headers, whole_s=20.0)
            return answer, server.asked[0].headers

    return asyncio.run(main())


def fault(*answers: Answer, **headers: str) -> WireError:
    """The error that a POST ends with."""
    with pytest.raises(WireError) as caught:
        posted(*answers, **headers)
    return caught.value


def test_an_answer_that_nobody_asked_for_is_not_given_to_the_next_request() -> None:
    async def main() -> tuple[bytes, int]:
        both = [http_answer(b"mine") + http_answer(b"smuggled")]
        async with raw_server(both, [http_answer(b"yours")]) as server, Wire() as wire:
            first = await wire.post(server.url, b"{}", headers={}, whole_s=20.0)
            assert first.body == b"mine"
            second = await wire.post(server.url, b"{}", headers={}, whole_s=20.0)
            return second.body, server.connections

    assert asyncio.run(main()) == (b"yours", 2)


def test_an_interim_answer_is_passed_over() -> None:
    answer, _ = posted([b"HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\n" + http_answer(b"whole")])
    assert (answer.status, answer.body, "x-early" in answer.headers) == (200, b"whole", False)


def test_a_body_without_a_length_ends_with_its_connection() -> None:
    answer, _ = posted([http_head(Content_Type="text/plain") + b"all ", 0.02, b"of it", Then.HANG_UP])
    assert answer.body == b"all of it"


def test_an_answer_without_a_body_is_whole() -> None:
    answer, _ = posted([http_head(204)])
    assert (answer.status, answer.body) == (204, b"")


def test_a_head_without_end_is_the_fault_broken() -> None:
    error = fault([b"HTTP/1.1 200 So\r\nX-Long: " + b"x" * (MOST_HEAD_BYTES + 300_000), NEVER_S])
    assert (error.fault, error.detail) == ("broken", "the answer's head has more than 64 KiB")


def test_a_body_that_is_too_large_is_the_fault_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MOST_BODY_BYTES", 1000)
    endless: Answer = [http_head(Transfer_Encoding="chunked") + chunk(b"x" * 800), chunk(b"x" * 800), NEVER_S]
    error = fault(endless)
    assert (error.fault, error.detail) == ("broken", "the answer has more than 1,000 bytes")


def test_an_encoding_that_nobody_asked_for_is_the_fault_broken() -> None:
    error = fault([http_answer(b"\x1f\x8b", Content_Encoding="gzip")])
    assert (error.fault, error.detail) == ("broken", "the answer comes encoded as 'gzip', which nobody asked for")


def test_a_switch_to_another_protocol_is_the_fault_broken() -> None:
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    assert fault([head + b"\x81\x02hi", NEVER_S]).fault == "broken"


def test_a_line_break_in_a_header_is_not_sent_and_its_value_not_repeated() -> None:
    error = fault(FINE, Authorization="Bearer sk-1\r\nX-Other: 2")
    assert error.fault == "connect"
    assert "sk-1" not in error.detail


def test_a_login_in_the_url_is_sent_as_its_header() -> None:
    async def main() -> str:
        async with raw_server(FINE) as server, Wire() as wire:
            url = server.url.replace("http://", "http://ward:p%40ss@")
            await wire.get(url, headers={}, whole_s=20.0)
            return server.asked[0].headers["authorization"]

    assert asyncio.run(main()) == "Basic " + b64encode(b"ward:p@ss").decode()


def test_a_url_that_leads_nowhere_is_not_repeated_in_the_error() -> None:
    async def main() -> WireError:
        async with Wire() as wire:
            with pytest.raises(WireError) as caught:
                await wire.get("ftp://user:secret@files/x", headers={}, whole_s=20.0)
        return caught.value

    error = asyncio.run(main())
    assert (error.fault, "secret" in error.detail) == ("connect", False)


def test_nothing_but_plain_bodies_is_asked_for_and_the_client_says_who_it_is() -> None:
    _, sent = posted(FINE)
    assert sent["accept-encoding"] == "identity"
    assert sent["user-agent"] == "wardround"


def test_headers_of_the_asker_replace_those_of_the_client() -> None:
    async def main() -> dict[str, str]:
        async with raw_server(FINE) as server, Wire() as wire:
            await wire.post(server.url, b"{}", headers={"user-agent": "another"}, whole_s=20.0)
            return server.asked[0].headers

    assert asyncio.run(main())["user-agent"] == "another"


def test_a_path_with_letters_beyond_ascii_is_escaped() -> None:
    async def main() -> str:
        async with raw_server(FINE) as server, Wire() as wire:
            await wire.get(f"{server.url}/größe?x=ä", headers={}, whole_s=20.0)
            return server.asked[0].target

    assert asyncio.run(main()) == "/gr%C3%B6%C3%9Fe?x=%C3%A4"


def test_a_name_that_was_not_pinned_is_not_looked_up_where_others_are() -> None:
    async def main() -> WireError:
        async with Wire(pinned={"ward.invalid": ["127.0.0.1"]}) as wire:
            with pytest.raises(WireError) as caught:
                await wire.get("http://localhost:1/", headers={}, whole_s=20.0)
        return caught.value

    error = asyncio.run(main())
    assert error.fault == "connect"
    assert "was not checked" in error.detail


def test_a_pinned_name_is_reached_at_its_address_alone() -> None:
    async def main() -> str:
        async with raw_server(FINE) as server:
            port = server.url.rpartition(":")[2]
            async with Wire(pinned={"ward.invalid": ["127.0.0.1"]}) as wire:
                await wire.get(f"http://Ward.invalid:{port}/", headers={}, whole_s=20.0)
            return server.asked[0].headers["host"].partition(":")[0]

    assert asyncio.run(main()) == "ward.invalid"


def test_the_next_of_a_hosts_addresses_is_tried() -> None:
    async def main() -> int:
        async with raw_server(FINE) as server:
            port = server.url.rpartition(":")[2]
            async with Wire(pinned={"ward.invalid": ["127.0.0.2", "127.0.0.1"]}) as wire:
                return (await wire.get(f"http://ward.invalid:{port}/", headers={}, whole_s=20.0)).status

    assert asyncio.run(main()) == 200


def test_a_stream_that_nobody_reads_is_not_read_from_the_kernel_either() -> None:
    async def main() -> tuple[int, int]:
        piece = b"data: " + b"x" * 100_000 + b"\n\n"
        answer = [STREAM_HEAD, *[chunk(piece)] * 100, chunk(b"")]
        async with (
            raw_server(answer) as server,
            Wire() as wire,
            wire.stream(server.url, b"{}", headers={}, whole_s=20.0) as stream,
        ):
            await asyncio.sleep(0.3)
            unread = stream._incoming.unread
            whole = sum([len(event.data) async for event, _ in stream.events()])
        return unread, whole

    unread, whole = asyncio.run(main())
    assert whole == 100 * 100_000
    # What one reading from the kernel brings comes on top.
    assert unread <= MOST_UNREAD_BYTES + 300_000


def test_a_cancelled_request_gives_its_connection_up() -> None:
    async def main() -> int:
        async with raw_server([0.2, *FINE], FINE) as server, Wire() as wire:
            asking = asyncio.create_task(wire.post(server.url, b"{}", headers={}, whole_s=20.0))
            await asyncio.sleep(0.05)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            answer = await wire.post(server.url, b"{}", headers={}, whole_s=20.0)
            assert answer.body == b'{"fine": true}'
            return server.connections

    assert asyncio.run(main()) == 2


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost that signs itself, with its key in the same file."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    made = subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", "-", "-out", "-"),
        ],
        check=True,
        capture_output=True,
    )
    path.write_bytes(made.stdout)
    return path


async def over_tls(certificate: Path, host: str) -> bytes:
    """A GET from a server with that certificate, reached under `host`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http_answer(b"secret enough"))
        await writer.drain()
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = listener.sockets[0].getsockname()[1]
    try:
        async with Wire() as wire:
            return (await wire.get(f"https://{host}:{port}/", headers={}, whole_s=20.0)).body
    finally:
        listener.close()


def test_a_server_with_a_trusted_certificate_is_asked_over_tls(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert asyncio.run(over_tls(certificate, "localhost")) == b"secret enough"


def test_a_certificate_that_nobody_vouches_for_is_the_fault_connect(certificate: Path) -> None:
    with pytest.raises(WireError, match=r"(?i)certificate") as caught:
        asyncio.run(over_tls(certificate, "localhost"))
    assert caught.value.fault == "connect"


def test_a_certificate_of_another_host_is_the_fault_connect(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with pytest.raises(WireError, match=r"(?i)certificate") as caught:
        asyncio.run(over_tls(certificate, "127.0.0.1"))
    assert caught.value.fault == "connect"


def test_headers_are_found_in_any_case_and_the_first_of_a_name_counts() -> None:
    answer, _ = posted([b"HTTP/1.1 200 So\r\nRetry-After: 1\r\nretry-after: 9\r\nContent-Length: 0\r\n\r\n"])
    assert isinstance(answer.headers, Headers)
    assert (answer.headers["RETRY-AFTER"], answer.headers.get("Retry-after"), "none" in answer.headers) == (
        "1",
        "1",
        False,
    )


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(1, 60), max_size=8))
def test_a_chunked_body_is_the_same_however_it_is_cut(body: bytes, cuts: list[int]) -> None:
    whole = http_head(Transfer_Encoding="chunked") + (chunk(body) if body else b"") + chunk(b"")
    pieces: list[bytes | float | Then] = []
    for length in cuts:
        pieces += [whole[:length], 0.0]
        whole = whole[length:]
    answer, _ = posted([*pieces, whole])
    assert answer.body == body


def test_trailers_without_end_are_the_fault_broken() -> None:
    trailers = b"0\r\nX-Long: " + b"x" * (MOST_HEAD_BYTES + 300_000)
    error = fault([http_head(Transfer_Encoding="chunked") + chunk(b"a") + trailers, NEVER_S])
    assert (error.fault, error.detail) == ("broken", "the answer's head has more than 64 KiB")


def test_an_address_that_swallows_everything_leaves_the_next_its_share_of_the_time() -> None:
    async def main() -> tuple[int, str]:
        with socket.create_server(("127.0.0.2", 0), backlog=0) as full:
            port = full.getsockname()[1]
            # What is waiting fills the queue of the one that never accepts.
            waiting = [socket.socket() for _ in range(3)]
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(("127.0.0.2", port))
            server = await asyncio.start_server(_fine, "127.0.0.1", port)
            async with server, Wire(pinned={"ward.invalid": ["127.0.0.2", "127.0.0.1"]}, connect_s=1.0) as wire:
                status = (await wire.get(f"http://ward.invalid:{port}/", headers={}, whole_s=20.0)).status
                first = wire._addresses._pinned["ward.invalid"][0]
            for one in waiting:
                one.close()
        return status, first

    # The one that took the connection is tried first from then on.
    assert asyncio.run(main()) == (200, "127.0.0.1")


async def _fine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(FINE[0])
    await writer.drain()
    writer.close()


def test_a_connection_with_an_unsent_rest_of_a_request_is_not_used_again() -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"PUT" in head:
                writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
                # Nothing more is read of it until the test has ended.
                await over.wait()
            else:
                writer.write(FINE[0])
                await writer.drain()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    over = asyncio.Event()

    async def main() -> list[int]:
        server = await asyncio.start_server(early, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with Wire() as wire:
            large = await wire.put(url, b"x" * 30_000_000, headers={}, whole_s=20.0)
            small = await wire.post(url, b"{}", headers={}, whole_s=20.0)
        over.set()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.05)
        return [large.status, small.status]

    assert asyncio.run(main()) == [413, 200]


@pytest.mark.parametrize("host", ["a..b", ".a.b", "a" * 64 + ".b"])
def test_a_name_that_no_host_has_is_the_fault_connect(host: str) -> None:
    async def main() -> WireError:
        async with Wire() as wire:
            with pytest.raises(WireError) as caught:
                await wire.get(f"http://{host}:1/", headers={}, whole_s=20.0)
        return caught.value

    assert asyncio.run(main()).fault == "connect"


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding"])
def test_the_length_of_a_request_is_not_for_its_headers_to_say(name: str) -> None:
    assert "take them out of `headers`" in fault(FINE, **{name: "1"}).detail


def test_a_host_header_of_the_asker_is_the_only_one() -> None:
    _, headers = posted(FINE, host="other.invalid")
    assert headers["host"] == "other.invalid"


def test_an_address_that_refuses_is_forgotten() -> None:
    async def main() -> dict[tuple[str, int], object]:
        async with Wire() as wire:
            with pytest.raises(WireError):
                await wire.get(f"http://localhost:{closed_port()}/", headers={}, whole_s=20.0)
            return dict(wire._addresses._found)

    assert asyncio.run(main()) == {}
