"""A run's samples and results as parquet and CSV, for whatever comes after."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wardround.errors import JournalError
from wardround.journal import Answered, Cell, Journal
from wardround.reports.results import results_of
from wardround.reports.usage import as_fields, usage_of

if TYPE_CHECKING:
    import pandas as pd


def export_run(journal: Journal, folder: Path, profile: str | None = None) -> list[Path]:
    """Write `samples` (one row a sample of a cell, with its scores) and `results`, as .parquet and .csv.

    A row of `results` has the fields of `as_json`, with what its cell took.

    The files hold what the journal holds, patients' text included, and are made 0600. Raises `JournalError`.
    """
    import pandas as pd

    samples = [
        _row(cell, answer, scores.get(answer.position, {}))
        for cell in journal.cells()
        for scores in [journal.scores(cell.id, profile or cell.profile)]
        for answer in journal.answers(cell.id)
    ]
    usage = usage_of(journal)
    results = [
        asdict(result) | as_fields(usage.cells[one.cell.id])
        for one in results_of(journal, profile)
        for result in one.results
    ]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        written = _write(pd.DataFrame(samples), folder, "samples")
        return written + _write(pd.DataFrame(results), folder, "results")
    except OSError as error:
        raise JournalError(f"{folder} cannot be written: {error.strerror or error}") from error


def _row(cell: Cell, answer: Answered, scores: dict[str, float | None]) -> dict[str, Any]:
    reply = answer.reply
    reference = answer.sample.reference
    return {
        "model": cell.model,
        "task": cell.task,
        "arm": cell.arm,
        "position": answer.position,
        "sample": answer.sample.id,
        "answer": reply.text if reply else None,
        "reasoning": reply.reasoning if reply else None,
        "reference": reference if isinstance(reference, str) else json.dumps(reference, ensure_ascii=False),
        "failure": answer.failure,
        "finish_reason": reply.finish_reason if reply else None,
        "prompt_tokens": reply.prompt_tokens if reply else None,
        "output_tokens": reply.output_tokens if reply else None,
        "ttft_s": _seconds(reply.sent_ns, reply.first_token_ns) if reply else None,
        "e2e_s": _seconds(reply.sent_ns, reply.done_ns) if reply else None,
        **{f"score.{metric}": value for metric, value in scores.items()},
    }


def _seconds(start_ns: int, end_ns: int | None) -> float | None:
    return None if end_ns is None else (end_ns - start_ns) / 1e9


def _write(frame: pd.DataFrame, folder: Path, name: str) -> list[Path]:
    parquet, table = folder / f"{name}.parquet", folder / f"{name}.csv"
    for path in (parquet, table):
        file_number = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
        # The mode above is for new files only.
        os.fchmod(file_number, 0o600)
        os.close(file_number)
    frame.to_parquet(parquet, index=False)
    # Every text is quoted: unquoted, a lone CR inside an answer would end its row.
    with table.open("w", encoding="utf-8", newline="") as file:
        frame.to_csv(file, index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return [parquet, table]
