"""What a load test keeps of each request, in memory and as a line of a file."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from wardround.errors import RunFailed


# No slots: a record is written as its own dictionary, which takes half as long as to make another one.
@dataclass
class Record:
    """One request of a load test. Times are ns of one clock, 0 where the moment never came.

    `scheduled_ns`, `sent_ns`, `first_byte_ns`, `done_ns` as in `streams.Exchange`. `first_token_ns` is the first chunk
    that carried text, reasoning included, `first_answer_ns` the first one with text of the answer. `arrivals_us`: when
    each chunk with text came, in µs after `sent_ns`. `failure` is "" or the kind of failure, `words` what the server
    said of it. Token counts are the server's, None if it gave none.
    """

    number: int
    workload: str
    scheduled_ns: int
    sent_ns: int
    first_byte_ns: int
    first_token_ns: int
    first_answer_ns: int
    done_ns: int
    status: int
    failure: str
    words: str
    finish_reason: str
    prompt_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    arrivals_us: list[int] | array[int]

    @property
    def last_token_ns(self) -> int:
        """When the last chunk with text came, not before the first; 0 if none did."""
        # Arrivals are cut to whole µs, the first token's time is not.
        return max(self.first_token_ns, self.sent_ns + self.arrivals_us[-1] * 1000) if self.arrivals_us else 0


def to_line(record: Record) -> bytes:
    """A record as a line of JSON."""
    # Arrivals are a list in a worker, an array where they were read back: orjson knows the former alone.
    return orjson.dumps(vars(record), default=list, option=orjson.OPT_APPEND_NEWLINE)


def read_records(path: Path) -> Iterator[Record]:
    """The records of a file; a last line that a killed run left unfinished is passed over.

    Raises `RunFailed` for a file that holds something else.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                fields: dict[str, Any] = orjson.loads(line)
                # A tenth of a list's memory: a long test has millions of chunks.
                fields["arrivals_us"] = array("q", fields["arrivals_us"])
                yield Record(**fields)
            except (ValueError, TypeError) as error:
                raise RunFailed(f"{path}: line {number} is no record of a load test: {error}") from error
