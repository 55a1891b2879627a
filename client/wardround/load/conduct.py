"""A load test from beginning to end: guard, door, payloads, workers, the server's metrics, the result.

What is sent is what the model's door would send for the same prompts, streamed, with the same keys; where patients'
text may go is decided by the same guard, and the connections go to the addresses that it checked.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import platform
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

import wardround
from wardround.catalogue import EMBEDDED, Model
from wardround.endpoints import check_served
from wardround.endpoints.door import CannotBeSent, Door
from wardround.endpoints.guard import addresses_of, permit, resolve
from wardround.endpoints.keys import keys_of, without_secrets
from wardround.endpoints.opening import open_endpoint
from wardround.endpoints.templates import TemplateRefusal
from wardround.errors import CatalogueError, WrongUse
from wardround.load.attack import Orders, Target
from wardround.load.crew import Attacked, Live, attack
from wardround.load.measures import Measured, Slo, Window, measure
from wardround.load.result import LoadResult, by_second, cost_of, window_of
from wardround.load.scrape import Scraped, scraping, summarised
from wardround.load.shape import Shape
from wardround.load.sweep import Step, Sweep, find_knee
from wardround.load.workloads import Workload
from wardround.running.asking import allow_connections
from wardround.running.embedded import embedded_server
from wardround.study import Deadlines
from wardround.task import Sensitivity
from wardround.wire import Wire

CONNECTIONS_AT_MOST = 4096
# Between two rates of a sweep the server gets time to empty its queue.
REST_S = 1.0


@dataclass(frozen=True, slots=True)
class Conditions:
    """How a test is carried out.

    `warmup_s` and `rampdown_s` are cut off the measured window at its ends; `metrics_urls` are read besides the
    server's own /metrics (an exporter for GPUs). `cores`: what the workers keep to; None leaves the choice to `crew`.
    """

    seed: int = 0
    workers: int = 1
    warmup_s: float = 0.0
    rampdown_s: float = 0.0
    timeout_s: float = 600.0
    connections: int | None = None
    slo: Slo = field(default_factory=Slo)
    attested: bool = False
    sensitivity: Sensitivity = "open"
    metrics_urls: tuple[str, ...] = ()
    cores: tuple[int, ...] | None = None


class Range:
    """A model's server made ready to be shot at: checked, permitted, with everything that will be sent written out."""

    def __init__(self, model: Model, wire: Wire, target: Target, base_url: str, payloads: Sequence[bytes]) -> None:
        self.model = model
        self.wire = wire
        self.target = target
        self.base_url = base_url
        self.payloads = payloads


@asynccontextmanager
async def made_ready(model: Model, workload: Workload, conditions: Conditions) -> AsyncIterator[Range]:
    """Permit the model's server, look for it, and write the requests; after `check_allowed`.

    Raises `GuardError` or `EndpointError` with one line. The embedded server runs meanwhile, if the row asks for it.
    """
    allowed = permit(model, conditions.sensitivity, attested=conditions.attested)
    async with contextlib.AsyncExitStack() as stack:
        base_url = model.base_url
        if base_url == EMBEDDED:
            base_url = await stack.enter_async_context(embedded_server())
        assert base_url is not None
        wire = await stack.enter_async_context(Wire(pinned=addresses_of([allowed])))
        await check_served(model, wire, base_url=base_url)
        parts = urlsplit(base_url)
        host = parts.hostname or ""
        address = (allowed.addresses or tuple(await asyncio.to_thread(resolve, host)))[0]
        tls = parts.scheme == "https"
        target = Target(address, parts.port or (443 if tls else 80), model.protocol, host if tls else None)
        templates = dict(workload.templates)
        door = open_endpoint(model, wire, base_url=base_url, deadlines=Deadlines(), templates=templates)
        assert isinstance(door, Door)
        yield Range(model, wire, target, base_url, payloads_of(door, workload))


def payloads_of(door: Door, workload: Workload) -> list[bytes]:
    """Each request of a workload as the bytes of an HTTP request, streamed; `WrongUse` for one that cannot be sent."""
    payloads = []
    for asked in workload.asked:
        try:
            url, headers, body = door.request(asked.prompt, asked.params)
        except (TemplateRefusal, CannotBeSent) as error:
            raise WrongUse(f"a prompt of {asked.workload} cannot be sent: {error}") from error
        parts = urlsplit(url)
        lines = [f"POST {parts.path or '/'} HTTP/1.1", f"Host: {parts.netloc}", "Accept: text/event-stream"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}", "", ""]
        payloads.append("\r\n".join(lines).encode("latin-1") + body)
    return payloads


async def load_test(
    model: Model,
    workload: Workload,
    shape: Shape,
    folder: Path,
    conditions: Conditions,
    *,
    on_live: Callable[[Live], None] = lambda _live: None,
    stop: asyncio.Event | None = None,
) -> LoadResult:
    """Load a model's server in one shape; the raw records go to `folder` meanwhile, the result is returned.

    Raises what `made_ready` raises, and `WrongUse` for a shape that the model's limits or the conditions do not allow.
    """
    check_allowed(model, shape, conditions)
    async with made_ready(model, workload, conditions) as ready:
        return await _shot(ready, workload, shape, folder, conditions, on_live, stop)


async def sweep(
    model: Model,
    workload: Workload,
    shape: Shape,
    folder: Path,
    conditions: Conditions,
    *,
    highest_rps: float,
    on_live: Callable[[Live], None] = lambda _live: None,
    on_step: Callable[[Step], None] = lambda _step: None,
    stop: asyncio.Event | None = None,
) -> LoadResult:
    """Look for the highest rate that a model's server carries, from the shape's rate upwards.

    Each rate is held for the shape's duration. The result is that of the highest rate carried, or of the first if none
    was, with all steps beside it; each step's raw records lie in a folder of its own.
    """
    check_allowed(model, shape, conditions)
    if model.limits.requests_per_minute:
        highest_rps = min(highest_rps, model.limits.requests_per_minute / 60)
    tried: dict[float, LoadResult] = {}
    async with made_ready(model, workload, conditions) as ready:

        async def attempt(rate_rps: float) -> Measured:
            if tried:
                await asyncio.sleep(REST_S)
                if stop is not None and stop.is_set():
                    raise _Stopped
            step = folder / f"rate-{len(tried) + 1:02d}"
            step.mkdir(mode=0o700)
            at_rate = Shape(shape.kind, shape.duration_s, rate_rps=rate_rps, burstiness=shape.burstiness)
            result, measured = await _shoot(ready, workload, at_rate, step, conditions, on_live, stop)
            tried[rate_rps] = result
            if stop is not None and stop.is_set():
                raise _Stopped
            return measured

        steps: list[Step] = []

        def heard(step: Step) -> None:
            steps.append(step)
            on_step(step)

        try:
            found = await find_knee(
                attempt, conditions.slo, first_rps=shape.rate_rps, highest_rps=highest_rps, on_step=heard
            )
        except _Stopped:
            carried = [one.rate_rps for one in steps if one.carried]
            refused = [one.rate_rps for one in steps if not one.carried]
            found = Sweep(tuple(steps), max(carried, default=None), min(refused, default=None))
    best = tried[found.carried_rps if found.carried_rps is not None else next(iter(tried))]
    return LoadResult(
        about=best.about | {"sweep_to_rps": highest_rps},
        slo=best.slo,
        window=best.window,
        measured=best.measured,
        server=best.server,
        cost=best.cost,
        seconds=best.seconds,
        steps=[_plain(asdict(one)) for one in found.steps],
        knee={"carried_rps": found.carried_rps, "refused_rps": found.refused_rps},
    )


class _Stopped(Exception):
    """The user has stopped a sweep."""


async def _shot(
    ready: Range,
    workload: Workload,
    shape: Shape,
    folder: Path,
    conditions: Conditions,
    on_live: Callable[[Live], None],
    stop: asyncio.Event | None,
) -> LoadResult:
    result, _ = await _shoot(ready, workload, shape, folder, conditions, on_live, stop)
    return result


async def _shoot(
    ready: Range,
    workload: Workload,
    shape: Shape,
    folder: Path,
    conditions: Conditions,
    on_live: Callable[[Live], None],
    stop: asyncio.Event | None,
) -> tuple[LoadResult, Measured]:
    arrivals = shape.arrivals(conditions.seed)
    span_s = shape.duration_s if shape.kind != "trace" else max(arrivals, default=0.0) + 0.001
    connections = conditions.connections or _connections(shape)
    allow_connections(connections)
    orders = Orders(
        target=ready.target,
        payloads=ready.payloads,
        workloads=[asked.workload for asked in workload.asked],
        order=workload.order,
        start_ns=0,
        end_ns=int(span_s * 1e9),
        timeout_s=conditions.timeout_s,
        connections=connections,
        arrivals_ns=[(int(at_s * 1e9), number) for number, at_s in enumerate(arrivals)],
        users=shape.users if shape.kind == "closed" else 0,
        think_s=shape.think_s,
    )
    urls = [_metrics_url(ready.base_url), *conditions.metrics_urls]
    async with scraping(ready.wire, urls, keys_of(ready.model).headers) as scraped:
        attacked = await attack(
            orders, folder, workers=conditions.workers, cores=conditions.cores, on_live=on_live, stop=stop
        )
    window = _window(attacked, span_s, conditions)
    measured = measure(
        attacked.records,
        window,
        slo=conditions.slo,
        closed=shape.kind == "closed",
        client_cpu_s=attacked.cpu_s,
    )
    return _result(ready, workload, shape, conditions, attacked, window, measured, scraped), measured


def _window(attacked: Attacked, span_s: float, conditions: Conditions) -> Window:
    to_s = span_s - conditions.rampdown_s
    if attacked.stopped and attacked.records:
        # What was due after the stop was never sent; the last one sent ends the window.
        last_s = (attacked.records[-1].scheduled_ns - attacked.start_ns) / 1e9 + 1e-3
        to_s = min(to_s, last_s)
    to_s = max(to_s, conditions.warmup_s + 1e-3)
    return Window(attacked.start_ns + int(conditions.warmup_s * 1e9), attacked.start_ns + int(to_s * 1e9))


def _result(
    ready: Range,
    workload: Workload,
    shape: Shape,
    conditions: Conditions,
    attacked: Attacked,
    window: Window,
    measured: Measured,
    scraped: Sequence[Scraped],
) -> LoadResult:
    model = ready.model
    server = summarised(scraped, window)
    cost = cost_of(model.price, measured)
    sent = len(attacked.records)
    about = {
        "model": model.name,
        "served_as": model.served_name,
        "base_url": EMBEDDED if model.base_url == EMBEDDED else without_secrets(ready.base_url),
        "protocol": model.protocol,
        "shape": shape.title,
        "workload": workload.title,
        "requests_sent": sent,
        "distinct_prompts": len(workload.asked),
        "repeated_prompts": workload.repeats(sent),
        "seed": conditions.seed,
        "workers": conditions.workers,
        "connections_opened_late": attacked.opened_late,
        "stopped": attacked.stopped,
        "start_ns": attacked.start_ns,
        "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "wardround": wardround.__version__,
        "python": platform.python_version(),
        "client": platform.platform(),
    }
    return LoadResult(
        about=about,
        slo=conditions.slo,
        window=window_of(window, attacked.start_ns, conditions.warmup_s, conditions.rampdown_s),
        measured=_plain(asdict(measured)),
        server=None if server is None else _plain(asdict(server)),
        cost=None if cost is None else _plain(asdict(cost)),
        seconds=[_plain(asdict(one)) for one in by_second(attacked.records, attacked.start_ns)],
    )


def _plain(value: Any) -> Any:
    """As it comes back from the file: keys are words."""
    return orjson.loads(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS))


def _metrics_url(base_url: str) -> str:
    return base_url.removesuffix("/v1") + "/metrics"


def _connections(shape: Shape) -> int:
    if shape.kind == "closed":
        return shape.users
    # An answer takes a few seconds; what is not enough is opened as it is needed, and said.
    expected = 32 if math.isinf(shape.highest_rps) else math.ceil(shape.highest_rps * 4)
    return min(CONNECTIONS_AT_MOST, max(32, expected))


def check_allowed(model: Model, shape: Shape, conditions: Conditions) -> None:
    """Raises `WrongUse` for a shape that is not allowed, `CatalogueError` for a row to which nothing can be sent."""
    if model.base_url is None:
        raise CatalogueError(f"model {model.name!r} has no endpoint: give --base-url")
    if model.protocol == "azure-openai":
        # Its addresses are made by its package, which sends by itself.
        raise CatalogueError(f"model {model.name!r}: load tests do not speak {model.protocol}")
    shape.arrivals(conditions.seed)
    limits = model.limits
    if limits.requests_per_minute and shape.highest_rps * 60 > limits.requests_per_minute:
        raise WrongUse(
            f"{shape.highest_rps:g} requests/s is above model {model.name!r}'s limit of {limits.requests_per_minute}"
            " requests a minute; lower the rate"
        )
    if limits.concurrency and shape.users > limits.concurrency:
        raise WrongUse(f"{shape.users} users are above model {model.name!r}'s limit of {limits.concurrency} at a time")
    if shape.kind == "closed" and shape.users < 1:
        raise WrongUse("a closed loop needs --users")
    if conditions.warmup_s + conditions.rampdown_s >= shape.duration_s and shape.kind != "trace":
        raise WrongUse(
            f"nothing is left of {shape.duration_s:g} s after {conditions.warmup_s:g} s of warm-up and"
            f" {conditions.rampdown_s:g} s at the end; give a longer --duration"
        )
