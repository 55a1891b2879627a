"""Why a request is refused, before an API gives it a shape."""

from __future__ import annotations


class Refused(Exception):
    """A request that is not answered.

    `words` say why. `code` and `kind` are what the OpenAI-style APIs call the fault; a numeric `code` is vLLM's way.
    `retry_after_s`: when to come back, in seconds.
    """

    def __init__(
        self,
        words: str,
        *,
        status: int = 400,
        code: str | int | None = None,
        kind: str = "invalid_request_error",
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(words)
        self.words = words
        self.status = status
        self.code = code
        self.kind = kind
        self.param = param
        self.retry_after_s = retry_after_s


def must(holds: object, words: str, *, status: int = 400, param: str | None = None) -> None:
    """Refuse with `words` unless `holds`."""
    if not holds:
        raise Refused(words, status=status, param=param)
