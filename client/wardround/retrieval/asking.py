"""Services that retrieval asks: JSON over HTTP with the key in a header, asked again where that may help.

The caller has asked the guard, and hands in the wire it pinned.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

from wardround.catalogue import Model
from wardround.endpoints.dialects import failure_from
from wardround.endpoints.keys import keys_of, without_secrets
from wardround.endpoints.replies import Failure, FailureKind
from wardround.endpoints.retries import ask_until_answered
from wardround.errors import EndpointError
from wardround.text import storable
from wardround.wire import HttpAnswer, Wire, WireError

CONCURRENCY = 4
ATTEMPTS = 6
WHOLE_S = 120.0
_KIND_OF_FAULT: dict[str, FailureKind] = {"connect": "connect", "timeout": "timeout", "broken": "broken_stream"}


class AskedService:
    """A service at `base_url`, asked up to `attempts` times; its faults are `EndpointError`s, one line without the key.

    `whole_s` bounds an answer, in seconds: an embedding model on a busy processor may take minutes for a batch.
    `row` has the key, and `what` says what is wanted of the service. `in_usual_words` turns the body of a refusal into
    one of the shapes that endpoints have, for services with a shape of their own.
    """

    def __init__(
        self,
        row: Model,
        base_url: str,
        wire: Wire,
        *,
        what: str,
        attempts: int,
        whole_s: float = WHOLE_S,
        in_usual_words: Callable[[bytes], bytes] = bytes,
    ) -> None:
        self._keys = keys_of(row)
        self._wire = wire
        self._base_url = base_url.rstrip("/")
        self._what = what
        self._attempts = attempts
        self._whole_s = whole_s
        self._in_usual_words = in_usual_words

    async def post(self, route: str, body: Mapping[str, Any], *, at_root: bool = False) -> Any:
        """POST `body` to base URL + `route`, or to the server's root; returns the parsed answer."""
        return await self._asked("POST", route, body, at_root=at_root)

    async def put(self, route: str, body: Mapping[str, Any]) -> Any:
        """The same with PUT."""
        return await self._asked("PUT", route, body)

    async def get(self, route: str) -> Any:
        """The parsed answer to a GET."""
        return await self._asked("GET", route, None)

    async def _asked(
        self,
        method: Literal["GET", "POST", "PUT"],
        route: str,
        body: Mapping[str, Any] | None,
        *,
        at_root: bool = False,
    ) -> Any:
        url = (self._base_url.removesuffix("/v1") if at_root else self._base_url) + route
        content = b"" if body is None else storable(json.dumps(body, ensure_ascii=False)).encode()

        async def ask() -> HttpAnswer | Failure:
            try:
                answer = await self._sent(method, url, content)
            except WireError as error:
                return Failure(kind=_KIND_OF_FAULT[error.fault], words=error.detail, retryable=True)
            if answer.status == 200:
                return answer
            said = self._in_usual_words(answer.body)
            return failure_from(answer.status, said, answer.headers, self._keys.taken_out_of)

        # Retries are written for replies of models, but look at failures only.
        outcome, _ = await ask_until_answered(cast(Any, ask), attempts=self._attempts)
        answer = cast(HttpAnswer | Failure, outcome)
        if isinstance(answer, Failure):
            status = f"HTTP {answer.status}: " if answer.status else ""
            raise self.error(f"{status}{answer.words}")
        try:
            return json.loads(answer.body)
        except (ValueError, RecursionError):
            raise self.error("its answer is not JSON") from None

    async def _sent(self, method: Literal["GET", "POST", "PUT"], url: str, content: bytes) -> HttpAnswer:
        headers = dict(self._keys.headers)
        if method == "GET":
            return await self._wire.get(url, headers=headers, whole_s=self._whole_s)
        send = self._wire.put if method == "PUT" else self._wire.post
        return await send(url, content, headers={"Content-Type": "application/json", **headers}, whole_s=self._whole_s)

    def error(self, words: str) -> EndpointError:
        """One line that names the service."""
        line = self._keys.taken_out_of(" ".join(words.split()))
        return EndpointError(f"no {self._what} from {without_secrets(self._base_url)}: {line}")
