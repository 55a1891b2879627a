"""What requests took, read from a journal: tokens, times, and what is left to ask of a plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wardround.catalogue import Price
from wardround.journal.journal import Journal
from wardround.journal.records import FIRST, Asked, Row, asked_with, prompt_to_json, request_key, sha256


@dataclass(frozen=True, slots=True)
class Took:
    """What one answered request took.

    Token counts are the server's, None where it gave none. `e2e_ns` lies between the request's last byte and the
    answer's end, `ttft_ns` between it and the first piece of text (None if the answer was not streamed); both are of
    the attempt that was answered. `answered_at` is when the answer was written down, in seconds since 1970.
    `text_bytes` and `reasoning_bytes` are the lengths in UTF-8 of the answer and of the reasoning before it.
    """

    request: int
    prompt_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    e2e_ns: int
    ttft_ns: int | None
    answered_at: float
    text_bytes: int
    reasoning_bytes: int

    @property
    def counted(self) -> bool:
        """Whether the server gave the tokens of prompt and answer."""
        return self.prompt_tokens is not None and self.output_tokens is not None


# The columns of `Took`. As blobs: of a text, SQLite's length ends at the first NUL.
_TOOK = (
    "replies.request, prompt_tokens, output_tokens, cached_tokens, done_ns - sent_ns, first_token_ns - sent_ns,"
    " answered_at, length(CAST(text AS BLOB)), length(CAST(reasoning AS BLOB))"
)


def took_in_cell(journal: Journal, cell: int) -> list[Took]:
    """What each answered request of a cell took; a request that several of its samples ask stands once.

    The first questions of an arm of two steps are among them.
    """
    query = (
        f"SELECT {_TOOK} FROM replies WHERE request IN (SELECT request FROM asks WHERE cell = ?1"
        f" UNION SELECT json_extract(evidence, '$.{FIRST}') FROM asks WHERE cell = ?1) ORDER BY request"
    )
    return [Took(*row) for row in journal.read(query, (cell,))]


def took_by_model(journal: Journal) -> dict[str, list[Took]]:
    """What all answered requests of a run took, also those that its study no longer asks.

    A request that several models' rows share stands with the first of them.
    """
    found: dict[str, list[Took]] = {}
    query = f"SELECT requests.model, {_TOOK} FROM replies JOIN requests ON requests.id = replies.request"
    for model, *row in journal.read(query):
        found.setdefault(model, []).append(Took(*row))
    return found


def requests_of(journal: Journal, model: str) -> Iterator[tuple[int, str, str, str, int]]:
    """The requests of a model in the study's order, each once.

    (request, key, the prompt's hash, the parameters as JSON, the first cell that asks it)
    """
    rows = journal.read(
        "SELECT request, key, prompt, params, (SELECT id FROM cells WHERE cells.place = first) FROM"
        " (SELECT asks.request, key, prompt, params, min(cells.place) AS first, min(asks.position) AS position"
        "  FROM cells JOIN asks ON asks.cell = cells.id JOIN requests ON requests.id = asks.request"
        "  WHERE cells.model = ? AND cells.place IS NOT NULL GROUP BY asks.request)"
        " ORDER BY first, position",
        (model,),
    )
    yield from rows


def reply_to(journal: Journal, cell: Asked, row: Row) -> tuple[int, str] | None:
    """The request and the text of its reply, if a cell has asked this row's prompt before and was answered."""
    identity, params = asked_with(cell, row.max_tokens)
    key = request_key(identity, sha256(prompt_to_json(row.prompt)), params)
    query = "SELECT request, text FROM replies JOIN requests ON requests.id = request WHERE key = ?"
    for request, text in journal.read(query, (key,)):
        return int(request), str(text)
    return None


def answered_keys(journal: Journal) -> set[str]:
    """The keys of all requests that have a reply."""
    return {key for (key,) in journal.read("SELECT key FROM requests JOIN replies ON replies.request = requests.id")}


def keep_counts_of(earlier: Journal, journal: Journal) -> None:
    """Copy what `earlier` knows of token counts into `journal`, so that both make the same prompts fit alike."""
    query = "SELECT counter, name, hash, tokens FROM token_counts JOIN counters USING (counter)"
    with journal.transaction():
        for counter, name, digest, tokens in earlier.read(query):
            journal.keep_token_count(counter, name, digest, tokens)


def cost_usd(price: Price, prompt_tokens: int, output_tokens: int, at_work_s: float) -> float:
    """US dollars for so many tokens and so many seconds at work.

    cost = (prompt tokens × input + output tokens × output) / 1,000,000 + seconds / 3,600 × hour
    """
    tokens = prompt_tokens * price.input + output_tokens * price.output
    return tokens / 1_000_000 + at_work_s / 3600 * price.hour


def at_work_s(took: Sequence[Took]) -> float:
    """Seconds in which at least one of the requests was under way: the length of the union of their intervals.

    How long a request took is a difference on its own process's monotonic clock. Where it lies cannot be: the clocks
    of two processes, before and after a stop, may begin anywhere. So each interval ends at `answered_at`, on the one
    clock that all runs share; the wait for the disk, milliseconds, moves it but leaves its length alone.
    """
    total, reached = 0.0, float("-inf")
    for begin, end in sorted((one.answered_at - one.e2e_ns / 1e9, one.answered_at) for one in took):
        if end > reached:
            total += end - max(begin, reached)
            reached = end
    return total
