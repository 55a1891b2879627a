"""From a study's models to endpoints that can be asked, each of them checked first."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from wardround.catalogue import EMBEDDED
from wardround.endpoints import check_served, open_endpoint
from wardround.endpoints.replies import Endpoint
from wardround.errors import CatalogueError
from wardround.running.embedded import embedded_server
from wardround.study import Study
from wardround.wire import Wire


@asynccontextmanager
async def open_endpoints(
    study: Study, wire: Wire, templates: Mapping[str, str]
) -> AsyncIterator[dict[str, tuple[str, Endpoint]]]:
    """Model name -> (base URL, endpoint), every one of them checked; the embedded server runs meanwhile.

    `templates`: the texts of the chat templates that prompts are rendered with here, by their SHA-256.
    """
    async with contextlib.AsyncExitStack() as stack:
        embedded = None
        if any(model.base_url == EMBEDDED for model in study.models):
            embedded = await stack.enter_async_context(embedded_server())
        endpoints: dict[str, tuple[str, Endpoint]] = {}
        for model in study.models:
            base_url = embedded if model.base_url == EMBEDDED else model.base_url
            if base_url is None:
                raise CatalogueError(f"model {model.name!r} has no endpoint: give `base_url`")
            endpoint = open_endpoint(model, wire, base_url=base_url, deadlines=study.deadlines, templates=templates)
            await check_served(model, wire, base_url=base_url)
            endpoints[model.name] = (base_url, endpoint)
        yield endpoints
