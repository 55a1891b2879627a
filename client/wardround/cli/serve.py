"""`wardround serve`: the embedded server."""

from __future__ import annotations

import ipaddress
import json
import os
from typing import Annotated

import typer

from wardround.cli.loop import on_fast_loop
from wardround.errors import WrongUse

Share = typer.Option(min=0.0, max=1.0)


def serve(
    host: Annotated[str, typer.Option(help="A loopback address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free port.")] = 8600,
    ttft: Annotated[float, typer.Option(min=0.0, help="Seconds to the first token.")] = 0.0,
    tpot: Annotated[float, typer.Option(min=0.0, help="Seconds for each further token.")] = 0.0,
    slots: Annotated[int | None, typer.Option(min=1, help="Requests served at a time; the rest queue.")] = None,
    context: Annotated[int, typer.Option(min=1, help="Context limit in tokens.")] = 131_072,
    fail_429: Annotated[float, Share] = 0.0,
    fail_500: Annotated[float, Share] = 0.0,
    cut: Annotated[float, Share] = 0.0,
    slow: Annotated[float, Share] = 0.0,
    retry_after: Annotated[float, typer.Option(min=0.0, help="Seconds that a 429 asks to wait.")] = 1.0,
    slow_by: Annotated[float, typer.Option(min=0.0, help="Seconds that a slow reply is late.")] = 5.0,
    seed: Annotated[int, typer.Option(help="Seed of the faults.")] = 0,
    api_key_env: Annotated[
        str | None, typer.Option(help="Environment variable that holds the key clients must send.")
    ] = None,
    announce: Annotated[bool, typer.Option("--announce", help="Print the address as one line of JSON.")] = False,
    until_stdin_closes: Annotated[
        bool, typer.Option("--until-stdin-closes", help="Stop when standard input ends.")
    ] = False,
) -> None:
    """Serve the baselines behind an OpenAI-style API.

    On this machine only, with a latency model and faults: --fail-429, --fail-500, --cut and --slow are shares of
    requests from 0 to 1.

    Example: wardround serve --port 8600 --ttft 0.2 --tpot 0.02 --slots 16 --fail-429 0.1
    """
    from wardround.baseline import Faults, Latency, ServerOptions
    from wardround.baseline import serve as serve_until_stopped

    _must_be_loopback(host)

    def ready(base_url: str) -> None:
        line = json.dumps({"base_url": base_url}) if announce else f"serving on {base_url}; Ctrl-C stops"
        print(line, flush=True)

    options = ServerOptions(
        latency=Latency(ttft, tpot, slots),
        faults=Faults(fail_429, fail_500, cut, slow, retry_after, slow_by, seed),
        api_key=_key_from(api_key_env),
        context=context,
    )
    on_fast_loop(serve_until_stopped(options, host=host, port=port, ready=ready, until_stdin_closes=until_stdin_closes))


def _must_be_loopback(host: str) -> None:
    if host == "localhost":
        return
    try:
        fine = ipaddress.ip_address(host).is_loopback
    except ValueError:
        fine = False
    if not fine:
        raise WrongUse(f"the embedded server only binds to loopback, not to {host!r}; use 127.0.0.1 or ::1")


def _key_from(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "")
    if not key:
        raise WrongUse(f"the environment variable {variable} named by --api-key-env is not set")
    return key
