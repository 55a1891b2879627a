"""What papers printed for the same pairs, beside what this run found."""

from __future__ import annotations

from wardround.reports import html
from wardround.reports.numbers import percent
from wardround.reports.page.gathered import Gathered
from wardround.reports.page.pairs import pair_of
from wardround.reports.page.verdict import main_comparisons
from wardround.reports.page.wording import points

_NUMBERS = ("first %", "second %", "difference")
_HEADER = ("pair", "task", "metric", *(f"printed {name}" for name in _NUMBERS), *(f"our {name}" for name in _NUMBERS))


def published_part(run: Gathered) -> list[str]:
    """The published figures of the study's pairs; nothing where no paper has any."""
    rows: list[tuple[str, ...]] = []
    sources: dict[tuple[str, str], None] = {}
    for one in main_comparisons(run):
        for printed in one.published:
            sources[f"{printed.paper}, {printed.version}", printed.source_url] = None
            rows.append(
                (
                    *(pair_of(one), one.task, printed.metric),
                    *(percent(printed.first), percent(printed.second), points(printed.difference)),
                    *(percent(one.first.value), percent(one.second.value), points(one.difference)),
                    f"{printed.paper}, {printed.version}",
                )
            )
    if not rows:
        return []
    header = (*_HEADER, "source")
    named = "; ".join(f"{name}: {address}" for name, address in sources)
    return [
        html.heading(2, "Published figures of the same pairs", "published"),
        html.paragraph(
            "Their data, prompts and scoring are not ours: a difference in level says nothing, one in sign may."
        ),
        html.table(header, rows, {*_HEADER[3:]}, "Printed figures and ours, per cent and points"),
        html.paragraph(f"Sources: {named}", "soft"),
    ]
