"""What an examination finds: one cell a check, and what to do about a red one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from wardround.endpoints.probing import ServerFacts
from wardround.endpoints.replies import Failure, FailureKind

State = Literal["yes", "no", "unclear", "none"]

# In the order in which they are made and shown.
CHECKS = (
    "reachable",
    "key",
    "served",
    "chat",
    "template",
    "system",
    "greedy",
    "stop",
    "prefill",
    "usage",
    "logprobs",
    "structured",
    "tokens",
    "context",
    "TTFT",
    "E2E",
    "seed",
)
# A model that lacks one of these cannot be asked at all.
ESSENTIAL = ("reachable", "key", "served", "chat")
# These say that the moment was wrong, and nothing of what the server can do.
_PASSING: frozenset[FailureKind] = frozenset({"connect", "timeout", "rate_limit", "overload", "broken_stream"})
LONGEST_WORDS = 200


@dataclass(frozen=True, slots=True)
class Finding:
    """One cell: "yes", "no", "unclear", or "none" where there is nothing to find.

    `shown` stands in the cell instead of the plain word; `cure` says what to do, "" if nothing.
    """

    state: State = "none"
    shown: str = ""
    cure: str = ""


YES = Finding("yes")
NOTHING = Finding()


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found out about one model at one address; `findings` has all of `CHECKS`."""

    model: str
    base_url: str
    findings: Mapping[str, Finding]
    serves: tuple[str, ...] = ()
    facts: ServerFacts = field(default_factory=ServerFacts)

    @property
    def usable(self) -> bool:
        """Whether the model can be asked at all."""
        return all(self.findings[name].state != "no" for name in ESSENTIAL)


def no(cure: str) -> Finding:
    """A red cell."""
    return Finding("no", cure=cure)


def of_failure(failure: Failure, cure: str) -> Finding:
    """Red with `cure` for what the server does not do, unclear for what went wrong just now."""
    words = said(failure)
    if failure.kind in _PASSING:
        return Finding("unclear", cure=f"could not be found out ({words}); ask again")
    return no(f"{cure} ({words})")


def said(failure: Failure) -> str:
    """A failure in one short line."""
    status = f"HTTP {failure.status}: " if failure.status and failure.status != 200 else ""
    return f"{failure.kind.replace('_', ' ')}: {status}{shortened(failure.words)}"


def shortened(words: str) -> str:
    """One line of at most 200 characters that steers no terminal."""
    line = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in " ".join(words.split())
    )
    return line if len(line) <= LONGEST_WORDS else line[: LONGEST_WORDS - 1] + "…"
