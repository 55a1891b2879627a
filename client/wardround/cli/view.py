"""`wardround view`: a run's samples in the browser."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from wardround.cli.loop import on_fast_loop


def view(
    run: Annotated[Path, typer.Argument(help="A run's folder, for example reports/demo.", metavar="RUN")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0 takes a free one.")] = 0,
    open_: Annotated[bool, typer.Option("--open", help="Also open the browser.")] = False,
) -> None:
    """Look at a run's samples in the browser: filter, search, and read them one by one or side by side.

    Prints an address on this machine that works while the command runs, for whoever has it; Ctrl-C ends it. The run may
    still be writing. Nothing is ever written to it, and nothing leaves this machine.

    Example: wardround view reports/demo
    """
    import webbrowser

    from wardround.reports.viewer import serve_viewer

    with contextlib.ExitStack() as ending:

        def ready(address: str) -> None:
            print(f"{address}  (Ctrl-C ends it)", flush=True)
            if open_:
                webbrowser.open(ending.enter_context(_leading_to(address)))

        on_fast_loop(serve_viewer(run, port=port, ready=ready))


@contextlib.contextmanager
def _leading_to(address: str) -> Iterator[str]:
    """The address of a page that leads to `address` and that only the user can read.

    A browser is started with what it is to open on its command line, where other users of this machine see it: with
    the address itself they would have the key.
    """
    import html
    import tempfile

    with tempfile.TemporaryDirectory(prefix="wardround-") as folder:
        page = Path(folder) / "view.html"
        number = os.open(page, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
        with os.fdopen(number, "w", encoding="utf-8") as file:
            there = html.escape(address, quote=True)
            file.write(
                f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
                f'<meta http-equiv="refresh" content="0; url={there}"><title>wardround</title>'
                f'<a href="{there}">To the run</a></html>\n'
            )
        yield page.as_uri()
