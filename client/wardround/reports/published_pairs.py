"""What papers printed for the two models of a pair, found by the models' names on Hugging Face."""

from __future__ import annotations

from functools import cache

from wardround.reports.comparison import PublishedPair
from wardround.reports.published import OUR_NAMES, SITE_2024_06_26, PublishedRow, published_rows


def published_pairs(models: tuple[str, str], task: str, metric: str) -> tuple[PublishedPair, ...]:
    """The figures of `models` for our `task` and `metric`, or for "Level 1" and "mean"; one a paper and version.

    Only where a paper has a figure for one of them at least. Names are compared without regard to case; misprints and
    the papers' older sets are left out, as in `published_beside`.
    """
    figures = _figures().get((task, metric), {})
    found = []
    for rows in figures.values():
        first, second = (rows.get(model.lower()) for model in models)
        row = first or second
        if row is not None:
            found.append(
                PublishedPair(
                    paper=row.paper,
                    version=row.version,
                    metric=f"{row.task}, {row.metric}",
                    first=first.value / 100 if first else None,
                    second=second.value / 100 if second else None,
                    source_url=row.source_url,
                )
            )
    return tuple(found)


@cache
def _figures() -> dict[tuple[str, str], dict[tuple[str, str, str], dict[str, PublishedRow]]]:
    """By our task and metric: by paper, version and the paper's task: by model."""
    found: dict[tuple[str, str], dict[tuple[str, str, str], dict[str, PublishedRow]]] = {}
    for row in published_rows():
        ours = OUR_NAMES.get((row.task, row.metric))
        if row.task in ("Level 1", "Level 2") and row.metric == "average score":
            ours = (row.task, "mean")
        current = row.version == SITE_2024_06_26 or not row.paper.startswith("Dada")
        if ours is not None and row.hf_id and current and not row.misprinted:
            version = (row.paper, row.version, row.task)
            found.setdefault(ours, {}).setdefault(version, {})[row.hf_id.lower()] = row
    return found
