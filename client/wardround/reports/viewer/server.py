"""The viewer's addresses on loopback, and who gets an answer.

Every path begins with a random token; without it there is nothing but a refusal. It stands in the path and not in a
cookie since browsers send the cookies of 127.0.0.1 to every port of it, so to other people's servers on this machine.
A request must name the address that the server is bound to: a foreign name that was made to resolve to 127.0.0.1 is
refused. No address writes anything. Pages run one script, the viewer's own, and can load nothing from anywhere else.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import sqlite3
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from wardround.errors import RunFailed, WardroundError
from wardround.reports.viewer.finding import Place
from wardround.reports.viewer.pages import Pages
from wardround.running.stopping import stopped_by_signals

HOST = "127.0.0.1"
# How long an answer on its way may take once the server is to end.
GRACE_S = 1.0
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "wardround",
}
ASSETS = {"viewer.css": "text/css", "viewer.js": "text/javascript", "icon.svg": "image/svg+xml"}
_LOG = logging.getLogger(__name__)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def serve_viewer(folder: Path, *, port: int, ready: Callable[[str], None]) -> None:
    """Show the run in `folder` until SIGINT or SIGTERM; `ready` is told the address. Port 0 takes a free one.

    Raises `JournalError` if there is no run, `RunFailed` if the port is taken.
    """
    token = secrets.token_urlsafe(24)
    pages = Pages.open(folder, f"/{token}")
    try:
        await _serve(pages, token, port, ready)
    finally:
        # In a thread: it waits for others.
        await asyncio.to_thread(pages.close)


async def _serve(pages: Pages, token: str, port: int, ready: Callable[[str], None]) -> None:
    guard = _Guard(token)
    app = web.Application(middlewares=[guard.check])
    app.on_response_prepare.append(_add_headers)
    app.add_routes(_routes(pages, token))
    # No access log: it would hold the token and what was searched for.
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=GRACE_S)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, HOST, port).start()
        except OSError as error:
            raise RunFailed(f"cannot listen on {HOST} port {port}: {error.strerror or error}") from error
        bound: int = runner.addresses[0][1]
        guard.port = bound
        with stopped_by_signals() as stop:
            ready(f"http://{HOST}:{bound}/{token}/")
            await stop.wait()
    finally:
        await runner.cleanup()


class _Guard:
    """Lets through who knows the token and names the right host."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self.port = 0

    @web.middleware
    async def check(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        hosts = request.headers.getall("Host", [])
        # A tunnel's end is called localhost; no name server is asked for that name.
        if hosts not in ([f"{HOST}:{self.port}"], [f"localhost:{self.port}"]):
            return _refusal(421, f"This server answers for {HOST}:{self.port} alone.")
        first = request.path.split("/")[1]
        if not hmac.compare_digest(first.encode("utf-8", "replace"), self._token):
            return _refusal(403, "Open the address that `wardround view` printed; it has the key to these pages in it.")
        try:
            return await handler(request)
        except web.HTTPException as refused:
            return _refusal(refused.status, refused.reason)
        except (WardroundError, sqlite3.Error) as error:
            return _refusal(500, f"The journal cannot be read: {error}")
        except Exception as error:
            # A fault of this program. Only where it lies is logged: its words may be a patient's.
            *_, last = traceback.extract_tb(error.__traceback__)
            _LOG.error("the viewer had an error: %s at %s:%s", type(error).__name__, last.filename, last.lineno)
            return _refusal(500, "The viewer had an error; the terminal says where.")


def _refusal(status: int, words: str) -> web.Response:
    return web.Response(status=status, text=f"{words}\n")


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def _routes(pages: Pages, token: str) -> list[web.RouteDef]:
    async def listing(request: web.Request) -> web.Response:
        return _page(await asyncio.to_thread(pages.listing, request.query))

    async def sample(request: web.Request) -> web.Response:
        place = Place.of(f"{request.match_info['cell']}.{request.match_info['position']}")
        made = None if place is None else await asyncio.to_thread(pages.sample, place, request.query)
        return _refusal(404, "The run has no such sample.") if made is None else _page(made)

    assets = {name: (Path(__file__).parent / name).read_text(encoding="utf-8") for name in ASSETS}

    async def asset(request: web.Request) -> web.Response:
        name = request.path.rpartition("/")[2]
        return web.Response(text=assets[name], content_type=ASSETS[name])

    return [
        web.get(f"/{token}/", listing),
        web.get(f"/{token}/sample/{{cell}}/{{position}}", sample),
        *(web.get(f"/{token}/{name}", asset) for name in ASSETS),
    ]


def _page(html: str) -> web.Response:
    # Lone surrogates cannot come out of the journal, but may stand in an address.
    return web.Response(body=html.encode("utf-8", "replace"), content_type="text/html", charset="utf-8")
