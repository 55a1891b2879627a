"""From a study's models to endpoints that can be asked, each of them checked first."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from wardround.catalogue import EMBEDDED, Limits, Model
from wardround.endpoints import check_served, open_endpoint
from wardround.endpoints.limits import Gate, Gated, Limited
from wardround.endpoints.replicas import Replicas
from wardround.errors import CatalogueError, EndpointError
from wardround.running.embedded import embedded_server
from wardround.study import Study
from wardround.wire import Wire, WireError


@dataclass(frozen=True, slots=True)
class Opened:
    """What answers for a model. `server` names the queue that it shares with all models of the same base URL.

    Models with the same replicas share one, too; `concurrency` is the number of requests in flight over all of them.
    A model that has a server alone and one that has it among its replicas do not know of each other.
    """

    server: str
    endpoint: Gated
    concurrency: int


@asynccontextmanager
async def open_endpoints(
    study: Study, wire: Wire, templates: Mapping[str, str], note: Callable[[str], None] = lambda _line: None
) -> AsyncIterator[dict[str, Opened]]:
    """The endpoint of each model by its name, every one of them checked; the embedded server runs meanwhile.

    `templates`: the texts of the chat templates that prompts are rendered with here, by their SHA-256. `note` is told
    of replicas that cannot be reached, as long as the model has one that can.
    """
    async with contextlib.AsyncExitStack() as stack:
        embedded = None
        if any(model.base_url == EMBEDDED for model in study.models):
            embedded = await stack.enter_async_context(embedded_server())
        opening = _Opening(study, wire, templates, note)
        opened = {}
        for model in study.models:
            base_url = embedded if model.base_url == EMBEDDED else model.base_url
            if base_url is None:
                raise CatalogueError(f"model {model.name!r} has no endpoint: give `base_url`")
            opened[model.name] = await (opening.replicas(model) if model.replicas else opening.one(model, base_url))
        yield opened


@dataclass(frozen=True, slots=True)
class _Opening:
    """What the endpoints of a study have in common."""

    study: Study
    wire: Wire
    templates: Mapping[str, str]
    note: Callable[[str], None]

    async def one(self, model: Model, base_url: str) -> Opened:
        """The endpoint of a model with one server."""
        endpoint = self._limited(model, base_url, model.limits)
        await check_served(model, self.wire, base_url=base_url)
        return Opened(base_url, endpoint, self.study.concurrency)

    async def replicas(self, model: Model) -> Opened:
        """The endpoint of a model with several servers; raises `EndpointError` if none of them can be reached."""
        # Slots are shared by the replicas; that none of them gets more than its own is for its gate to see to.
        concurrency = min(model.limits.concurrency or self.study.concurrency, self.study.concurrency)
        limits = model.limits.model_copy(update={"concurrency": concurrency})
        endpoints = {url: self._limited(model, url, limits) for url in model.urls}
        left: dict[str, EndpointError] = {}
        for url in model.urls:
            try:
                await check_served(model, self.wire, base_url=url)
            except EndpointError as error:
                # One that answers, and not as it should, is no matter of waiting for it.
                if not isinstance(error.__cause__, WireError):
                    raise
                left[url] = error
        if len(left) == len(model.urls):
            raise next(iter(left.values()))
        for words in left.values():
            self.note(f"{words}; its other replicas are asked meanwhile")
        replicas = Replicas(endpoints, concurrency=concurrency, left=left)
        return Opened(" ".join(sorted(model.urls)), replicas, concurrency * len(model.urls))

    def _limited(self, model: Model, base_url: str, limits: Limits) -> Limited:
        gate = Gate(limits)
        endpoint = open_endpoint(
            model,
            self.wire,
            base_url=base_url,
            deadlines=self.study.deadlines,
            templates=self.templates,
            on_headers=gate.hear,
        )
        return Limited(endpoint, gate)
