"""The protocol `azure-openai`, through the `openai` package (the extra `azure`).

The package knows Azure's addresses, its two kinds of keys and its versions; this project's wire carries what it sends,
so that the same holds as for every other door: no redirect, no proxy from the environment, the address that was
checked and no other, and nothing tried again behind the scheduler's back. Of the package's headers only those that are
named here go out: the others describe the machine, or come from environment variables of its own.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from typing import Any

import httpx2
import openai

from wardround.catalogue import Model
from wardround.endpoints.door import OnHeaders, Written, encoded
from wardround.endpoints.keys import Keys
from wardround.endpoints.openai_chat import OpenAIChat
from wardround.errors import EndpointError
from wardround.study import Deadlines
from wardround.wire import HttpAnswer, HttpStream, Wire, WireError

_Carry = Callable[[httpx2.Request], Awaitable[httpx2.Response]]
# What carries the request that this task is sending.
_carry: ContextVar[_Carry] = ContextVar("carry")
_SENT = frozenset({"content-type", "accept", "user-agent", "api-key", "authorization"})


class _OverTheWire(httpx2.AsyncBaseTransport):
    """Where the package believes the network to be."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await _carry.get()(request)


class AzureOpenAI(OpenAIChat):
    """A deployment of a resource; the base URL is the resource's address, the served name the deployment's."""

    def __init__(
        self,
        model: Model,
        wire: Wire,
        *,
        base_url: str,
        deadlines: Deadlines,
        keys: Keys | None = None,
        templates: Mapping[str, str] | None = None,
        on_headers: OnHeaders | None = None,
    ) -> None:
        super().__init__(
            model,
            wire,
            base_url=base_url,
            deadlines=deadlines,
            keys=keys,
            templates=templates,
            on_headers=on_headers,
        )
        own = {name.lower(): value for name, value in self._keys.headers.items()}
        self._sent = _SENT | own.keys()
        token = own.get("authorization", "").removeprefix("Bearer ")
        if not token and "api-key" not in own:
            raise EndpointError(f"model {model.name!r} needs a key for azure-openai: give `key_env` or `key_file`")
        self._package = openai.AsyncAzureOpenAI(
            azure_endpoint=base_url,
            api_version=model.api_version or "",
            # One of the two: where neither is given, the package looks into the environment for itself.
            api_key=None if token else own["api-key"],
            azure_ad_token=token or None,
            default_headers=dict(self._keys.headers),
            max_retries=0,
            http_client=httpx2.AsyncClient(transport=_OverTheWire(), trust_env=False, follow_redirects=False),
        )

    async def _post(self, written: Written) -> HttpAnswer:
        answers: list[HttpAnswer] = []

        async def carry(request: httpx2.Request) -> httpx2.Response:
            url, body, headers = await self._outgoing(request)
            answer = await self._wire.post(url, body, headers=headers, whole_s=self._deadlines.whole_s)
            answers.append(answer)
            return httpx2.Response(answer.status, content=answer.body)

        await self._send(written, carry)
        return answers[0]

    @asynccontextmanager
    async def _stream(self, written: Written) -> AsyncIterator[HttpStream]:
        async with AsyncExitStack() as stack:
            streams: list[HttpStream] = []

            async def carry(request: httpx2.Request) -> httpx2.Response:
                url, body, headers = await self._outgoing(request)
                opening = self._wire.stream(url, body, headers=headers, whole_s=self._deadlines.whole_s)
                streams.append(await stack.enter_async_context(opening))
                return httpx2.Response(streams[0].status, content=b"")

            await self._send(written, carry)
            yield streams[0]

    async def _outgoing(self, request: httpx2.Request) -> tuple[str, bytes, dict[str, str]]:
        headers = {name: value for name, value in request.headers.items() if name.lower() in self._sent}
        return str(request.url), await request.aread(), headers

    async def _send(self, written: Written, carry: _Carry) -> None:
        """Have the package send a request by `carry`, which keeps the answer; raises `WireError`."""
        # A lone surrogate is no text to the package's encoder.
        body = json.loads(encoded(written.body))
        chat = written.route == "/chat/completions"
        asking: Any = self._package.chat.completions if chat else self._package.completions
        asked = {name: body.pop(name) for name in ("model", "messages" if chat else "prompt")}
        carried = _carry.set(carry)
        try:
            async with asking.with_streaming_response.create(**asked, extra_body=body):
                pass
        except openai.APIStatusError:
            # A refusal is an answer too: it is read as every other door reads it.
            pass
        except openai.APIConnectionError as error:
            raise (error.__cause__ if isinstance(error.__cause__, WireError) else error) from error
        finally:
            _carry.reset(carried)
