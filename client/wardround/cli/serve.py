"""`wardround serve`: the embedded server."""

from __future__ import annotations

import ipaddress
import json
import os
from typing import Annotated, Any

import typer

from wardround.cli.loop import on_fast_loop
from wardround.errors import WrongUse

_SHARE = typer.Option(min=0.0, max=1.0)


def _seconds(words: str) -> Any:
    return typer.Option(min=0.0, metavar="SECONDS", help=words)


def _flag(name: str, words: str) -> Any:
    # Named, or there would be an option to say the contrary.
    return typer.Option(name, help=words)


def serve(
    host: Annotated[str, typer.Option(help="A loopback address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free port.")] = 8600,
    ttft: Annotated[float, _seconds("To the first token.")] = 0.0,
    tpot: Annotated[float, _seconds("For each further token.")] = 0.0,
    prefill_per_token: Annotated[float, _seconds("More to the first token for each of the prompt's.")] = 0.0,
    decode_slope: Annotated[float, _seconds("More for each token per other request at its tokens.")] = 0.0,
    prefix_cache: Annotated[int, typer.Option(min=0, metavar="TOKENS", help="Size of the prefix cache.")] = 0,
    slots: Annotated[int | None, typer.Option(min=1, help="Requests served at a time; the rest queue.")] = None,
    context: Annotated[int, typer.Option(min=1, help="Context limit in tokens.")] = 131_072,
    rpm: Annotated[int | None, typer.Option(min=1, help="Requests let in a minute.")] = None,
    tpm: Annotated[int | None, typer.Option(min=1, help="Tokens let in a minute: prompt and max_tokens.")] = None,
    window: Annotated[float, typer.Option(min=0.01, metavar="SECONDS", help="How long a minute is.")] = 60.0,
    fail_429: Annotated[float, _SHARE] = 0.0,
    fail_500: Annotated[float, _SHARE] = 0.0,
    cut: Annotated[float, _SHARE] = 0.0,
    slow: Annotated[float, _SHARE] = 0.0,
    filter_: Annotated[float, typer.Option("--filter", min=0.0, max=1.0)] = 0.0,
    retry_after: Annotated[float, _seconds("That a 429 asks to wait.")] = 1.0,
    slow_by: Annotated[float, _seconds("That a slow reply is late.")] = 5.0,
    seed: Annotated[int, typer.Option(help="Seed of the faults.")] = 0,
    no_system: Annotated[bool, _flag("--no-system", "Refuse system turns.")] = False,
    no_template: Annotated[bool, _flag("--no-template", "Refuse chats: the model has no template.")] = False,
    no_usage_in_stream: Annotated[bool, _flag("--no-usage-in-stream", "Leave the usage out of streams.")] = False,
    no_logprobs: Annotated[bool, _flag("--no-logprobs", "Give no log-probabilities.")] = False,
    ignore_constraints: Annotated[bool, _flag("--ignore-constraints", "Do not keep to the form asked for.")] = False,
    tgi_model: Annotated[str, typer.Option(help="The baseline at /generate.")] = "baseline-overlap",
    ground_truth: Annotated[int, typer.Option(min=0, help="Requests whose times are kept.")] = 10_000,
    api_key_env: Annotated[str | None, typer.Option(help="Variable with the key clients must send.")] = None,
    any_host: Annotated[
        bool, typer.Option("--any-host", help="Also bind to what is not loopback: inside a container.")
    ] = False,
    announce: Annotated[bool, _flag("--announce", "Print the address as one line of JSON.")] = False,
    until_stdin_closes: Annotated[bool, _flag("--until-stdin-closes", "Stop when standard input ends.")] = False,
) -> None:
    """Serve the baselines behind the APIs of real engines.

    OpenAI's /v1, Azure's /openai/deployments, TGI's /generate. On this machine only, with a latency model, limits and
    faults: --fail-429, --fail-500, --cut, --slow and --filter are shares of requests from 0 to 1. What the server saw
    is at /stats, /metrics and /ground-truth.

    Example: wardround serve --port 8600 --ttft 0.2 --tpot 0.02 --slots 16 --fail-429 0.1
    """
    from wardround.baseline import Behaviour, Faults, Latency, RateLimits, ServerOptions
    from wardround.baseline import serve as serve_until_stopped

    if not any_host:
        _must_be_loopback(host)
    _must_be_baseline(tgi_model)
    options = ServerOptions(
        latency=Latency(ttft, tpot, slots, prefill_per_token, decode_slope, prefix_cache),
        faults=Faults(fail_429, fail_500, cut, slow, retry_after, slow_by, seed, filter_),
        api_key=_key_from(api_key_env),
        context=context,
        limits=RateLimits(rpm, tpm, window),
        behaviour=Behaviour(
            not no_system, not no_template, not no_usage_in_stream, not no_logprobs, not ignore_constraints
        ),
        tgi_model=tgi_model,
        truths=ground_truth,
    )
    ready = _announce if announce else _tell
    on_fast_loop(serve_until_stopped(options, host=host, port=port, ready=ready, until_stdin_closes=until_stdin_closes))


def _announce(base_url: str) -> None:
    print(json.dumps({"base_url": base_url}), flush=True)


def _tell(base_url: str) -> None:
    print(f"serving on {base_url}; Ctrl-C stops", flush=True)


def _must_be_loopback(host: str) -> None:
    if host == "localhost":
        return
    try:
        fine = ipaddress.ip_address(host).is_loopback
    except ValueError:
        fine = False
    if not fine:
        raise WrongUse(f"the embedded server only binds to loopback, not to {host!r}; use 127.0.0.1 or ::1")


def _must_be_baseline(name: str) -> None:
    from wardround.baseline import BASELINES

    if name not in BASELINES:
        raise WrongUse(f"--tgi-model: {name!r} is no baseline; there are {', '.join(BASELINES)}")


def _key_from(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "")
    if not key:
        raise WrongUse(f"the environment variable {variable} named by --api-key-env is not set")
    return key
