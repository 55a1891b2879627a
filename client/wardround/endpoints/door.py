"""What all protocols have in common: a request is written, sent whole or as a stream, read, and made a reply.

A protocol's own module says how its requests are written and its answers read; sending, deadlines, clock readings,
errors and the keeping of keys are here, once.
"""

from __future__ import annotations

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import orjson

from wardround.catalogue import Model
from wardround.endpoints.choosing import Form
from wardround.endpoints.dialects import failure_from, failure_inside, is_error, kept_words
from wardround.endpoints.keys import Keys, without_secrets
from wardround.endpoints.reading import MALFORMED, Gathered, Said, Times, reply_of
from wardround.endpoints.replies import Chunk, Failure, FailureKind, Params, Reply
from wardround.endpoints.templates import TemplateRefusal, Texts, merged
from wardround.study import Deadlines
from wardround.task import Message, Prompt
from wardround.text import storable
from wardround.wire import HttpAnswer, HttpStream, Wire, WireError

OnHeaders = Callable[[Mapping[str, str]], None]

_KIND_OF_FAULT: dict[str, FailureKind] = {
    "connect": "connect",
    "timeout": "timeout",
    "broken": "broken_stream",
}
_DRAIN_S = 0.5
# Made once: `json.dumps` would make one for every request. Bodies are built here and hold no circles.
_json = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode
_SHOWN_OF_UNREADABLE = 200


class CannotBeSent(Exception):
    """A request that its protocol has no way to say; the text says why."""


@dataclass(slots=True)
class Written:
    """A request as it is sent, and how what comes back is read.

    `route` is appended to the door's URL. `read` gets the parsed answer and its headers, `read_piece` the parsed data
    of one event; both may raise what reading a wrong shape raises. `form` is the one the server was asked to keep a
    choice to.
    """

    route: str
    body: dict[str, Any]
    read: Callable[[Any, Mapping[str, str]], Said]
    read_piece: Callable[[Any], Said]
    form: Form = "json"


class Door(ABC):
    """One model behind one base URL. Keys are sent in headers and appear nowhere else.

    `templates` are the texts of chat templates by their SHA-256. `on_headers` is told the headers of every answer,
    refusals included.
    """

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
        self._model = model
        self._wire = wire
        self._root = base_url
        self._shown = without_secrets(base_url)
        self._deadlines = deadlines
        self._keys = keys or Keys()
        self._texts = Texts(templates)
        self._on_headers = on_headers
        self._headers = {"Content-Type": "application/json", **self._keys.headers}

    async def ask(
        self,
        prompt: Prompt,
        params: Params,
        *,
        scheduled_ns: int | None = None,
        on_chunk: Callable[[Chunk], None] | None = None,
    ) -> Reply | Failure:
        """Ask once. The answer is streamed if the model's row says so or `on_chunk` wants the pieces.

        The pieces are what the server says; stop strings are cut from the reply alone.
        """
        times = Times(time.perf_counter_ns() if scheduled_ns is None else scheduled_ns)
        streamed = self._model.stream or on_chunk is not None
        try:
            written = self._written(prompt, params, streamed)
            if streamed:
                said = await self._ask_streamed(written, times, on_chunk)
            else:
                said = await self._ask_whole(written, times)
            if isinstance(said, Failure):
                return said
            return reply_of(
                said,
                times,
                prompt=prompt,
                params=params,
                model=self._model,
                form=written.form,
                endpoint=self._shown,
            )
        except WireError as error:
            words = self._keys.taken_out_of(error.detail)
            return Failure(kind=_KIND_OF_FAULT[error.fault], words=words, retryable=True)
        except TemplateRefusal as refusal:
            return Failure(kind="missing_template", words=storable(str(refusal)))
        except CannotBeSent as error:
            return Failure(kind="bad_request", words=storable(str(error)))
        except Exception as error:
            # The last line of defence: whatever one answer does to its reader, the others must not be lost.
            return Failure(kind="bad_reply", words=f"unreadable: {type(error).__name__}", retryable=True)

    def request(self, prompt: Prompt, params: Params) -> tuple[str, Mapping[str, str], bytes]:
        """A streamed request as it would be sent: URL, headers (with keys) and body; for who sends it himself.

        Raises `TemplateRefusal` if the prompt cannot be rendered.
        """
        written = self._written(prompt, params, True)
        return self._root + written.route, self._headers, encoded(written.body)

    @abstractmethod
    def _written(self, prompt: Prompt, params: Params, streamed: bool) -> Written:
        """The request; raises `TemplateRefusal` if the prompt cannot be rendered, or `CannotBeSent`."""

    def _turns(self, prompt: Prompt) -> tuple[Message, ...]:
        """The prompt's turns as the model's row wants them."""
        return merged(prompt.messages) if self._model.system == "merge" else prompt.messages

    def _prefill(self, prompt: Prompt) -> str:
        return prompt.prefill if self._model.prefill == "continue" else ""

    def _text(self, prompt: Prompt, template: str) -> str:
        """The prompt as one text, the beginning of the answer included; raises `TemplateRefusal`."""
        return self._texts.text_of(self._turns(prompt), template, self._prefill(prompt))

    async def _post(self, written: Written) -> HttpAnswer:
        """Send and read the whole answer; raises `WireError`."""
        url, body = self._root + written.route, encoded(written.body)
        return await self._wire.post(url, body, headers=self._headers, whole_s=self._deadlines.whole_s)

    def _stream(self, written: Written) -> AbstractAsyncContextManager[HttpStream]:
        """Send and hand the answer out as it comes; raises `WireError`."""
        url, body = self._root + written.route, encoded(written.body)
        return self._wire.stream(url, body, headers=self._headers, whole_s=self._deadlines.whole_s)

    async def _ask_whole(self, written: Written, times: Times) -> Said | Failure:
        answer = await self._post(written)
        times.sent_ns, times.done_ns = answer.sent_ns, answer.done_ns
        if self._on_headers:
            self._on_headers(answer.headers)
        if answer.status != 200:
            return self._refusal(answer.status, answer.body, answer.headers)
        try:
            content = decoded(answer.body)
            if is_error(content):
                return failure_inside(content, self._keys.taken_out_of)
            return written.read(content, answer.headers)
        except MALFORMED:
            return self._unreadable(answer.body)

    async def _ask_streamed(
        self, written: Written, times: Times, on_chunk: Callable[[Chunk], None] | None
    ) -> Said | Failure:
        first_token = asyncio.timeout(self._deadlines.first_token_s)
        gathered = Gathered()
        try:
            async with first_token, self._stream(written) as stream:
                times.sent_ns = stream.sent_ns
                if self._on_headers:
                    self._on_headers(stream.headers)
                if stream.status != 200:
                    return self._refusal(stream.status, await stream.body(), stream.headers)
                if not stream.is_event_stream:
                    return self._unreadable(await stream.body())
                async for event, at_ns in stream.events():
                    times.done_ns = at_ns
                    if event.data == b"[DONE]":
                        # Left unread, the last empty chunk would cost the connection its reuse.
                        await stream.drain(_DRAIN_S)
                        break
                    piece = self._read_event(written, event.data)
                    if isinstance(piece, Failure):
                        return piece
                    chunk = gathered.take(piece, at_ns)
                    if chunk is None:
                        continue
                    if first_token.when() is not None:
                        first_token.reschedule(None)
                    if on_chunk:
                        on_chunk(chunk)
        except (TimeoutError, WireError) as error:
            if first_token.expired():
                words = f"no first token within {self._deadlines.first_token_s:g} s"
                return Failure(kind="timeout", words=words, retryable=True)
            if isinstance(error, WireError):
                raise
            raise WireError("timeout", "no whole answer in time") from error
        times.first_token_ns = gathered.first_token_ns
        return gathered.whole()

    def _read_event(self, written: Written, data: bytes) -> Said | Failure:
        try:
            content = decoded(data)
            if is_error(content):
                return failure_inside(content, self._keys.taken_out_of)
            return written.read_piece(content)
        except MALFORMED:
            return self._unreadable(data)

    def _refusal(self, status: int, body: bytes, headers: Mapping[str, str]) -> Failure:
        return failure_from(status, body, headers, self._keys.taken_out_of)

    def _unreadable(self, body: bytes) -> Failure:
        shown = kept_words(body.decode("utf-8", "replace"), self._keys.taken_out_of)[:_SHOWN_OF_UNREADABLE]
        return Failure(kind="bad_reply", words=f"not a completion: {shown}", status=200, retryable=True)


def encoded(body: Mapping[str, Any]) -> bytes:
    """A body as it goes over the wire: JSON in UTF-8, letters as they are."""
    try:
        return orjson.dumps(body)
    except TypeError:
        # What orjson has no bytes for: lone surrogates, and numbers of more than 64 bits.
        return storable(_json(body)).encode()


def decoded(data: bytes) -> Any:
    """JSON from a server; raises `ValueError` for what is none. Lone surrogates, NaN and the like are let pass."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data)
