"""The page with a list of samples: what it is restricted to, how many there are, a page of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wardround.journal import Cell
from wardround.reports.numbers import number
from wardround.reports.viewer.filling import Coverage
from wardround.reports.viewer.filters import ORDERS, SCOPES, Filter, sought
from wardround.reports.viewer.finding import Line, Listed
from wardround.reports.viewer.frame import Site, badge, badges, choice, whole
from wardround.reports.viewer.outcomes import MARKS, OUTCOMES
from wardround.reports.viewer.shown import Pieces, attribute, marked, shown


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the list with what is read of it: pieces of the answer, or of what was found, and where that stands."""

    line: Line
    cell: Cell
    excerpt: Pieces
    where: str


def listing_page(
    site: Site,
    wanted: Filter,
    listed: Listed,
    rows: Sequence[Row],
    cells: Sequence[Cell],
    coverage: Coverage,
    remarks: Sequence[str],
) -> str:
    """The page as HTML."""
    body = "".join(
        (
            f"<h1>{number(listed.total)} {'sample' if listed.total == 1 else 'samples'}</h1>",
            "".join(f'<p class="warning" role="note">{shown(remark)}</p>' for remark in remarks),
            _covered(wanted, coverage),
            _form(site, wanted, cells),
            _counts(site, wanted, listed.counts),
            _rows(site, wanted, rows) if rows else '<p class="none">No sample is like this.</p>',
            _pager(site, wanted, listed),
        )
    )
    return whole(site, "Samples", body)


def _covered(wanted: Filter, coverage: Coverage) -> str:
    """What is still missing, while the journal is being read."""
    lines = []
    if not coverage.known:
        lines.append("The journal is being read.")
    elif coverage.listed < coverage.samples:
        lines.append(f"{number(coverage.listed)} of {number(coverage.samples)} samples are read so far.")
    if wanted.words and not coverage.complete:
        lines.append(f"The search knows {number(coverage.worded)} of {number(coverage.texts)} texts so far.")
    if wanted.words and not sought(wanted.words).expression:
        lines.append("The search has no letter or digit; only the names of samples were looked at.")
    said = " ".join(lines)
    return f'<p class="soft" role="status">{said} Reload the page to see more.</p>' if said else ""


def _form(site: Site, wanted: Filter, cells: Sequence[Cell]) -> str:
    def named(column: str) -> list[tuple[str, str]]:
        return [("", "all"), *((name, name) for name in dict.fromkeys(getattr(cell, column) for cell in cells))]

    outcomes = [("", "all"), *((name, name) for name in (*OUTCOMES, *MARKS))]
    return f"""<form class="filter" role="search" action="{site.base}/" method="get">
<div class="words">
<label>Search <input type="search" id="words" name="words" value="{attribute(wanted.words)}" maxlength="400"
 autocomplete="off" spellcheck="false" data-key="/" placeholder="words, &quot;a phrase&quot;, metf*"></label>
{choice("scope", "Where", SCOPES.items(), wanted.scope)}
</div>
<div>
{choice("model", "Model", named("model"), wanted.model)}
{choice("task", "Task", named("task"), wanted.task)}
{choice("arm", "Arm", named("arm"), wanted.arm)}
{choice("outcome", "Outcome", outcomes, wanted.outcome)}
{choice("order", "Order", [(name, name) for name in ORDERS], wanted.order)}
<fieldset><legend>Score in %</legend>
<label>from <input type="number" name="least" min="0" max="100" step="any" value="{attribute(wanted.least)}"></label>
<label>to <input type="number" name="most" min="0" max="100" step="any" value="{attribute(wanted.most)}"></label>
</fieldset>
<button>Show</button> <a href="{site.base}/">Clear</a>
</div>
</form>"""


def _counts(site: Site, wanted: Filter, counts: Mapping[str, int]) -> str:
    """The outcomes there are, each a link to its samples."""
    shown_counts = [(name, counts[name]) for name in (*OUTCOMES, *MARKS) if counts[name] or name == wanted.outcome]
    links = []
    for name, many in shown_counts:
        # The one that is chosen leads back to all.
        address = site.listing(wanted.but(outcome="" if name == wanted.outcome else name))
        current = ' aria-current="true"' if name == wanted.outcome else ""
        links.append(f'<li><a href="{address}"{current}>{badge(name)} {number(many)}</a></li>')
    return f'<nav aria-label="Outcomes"><ul class="counts">{"".join(links)}</ul></nav>'


def _rows(site: Site, wanted: Filter, rows: Sequence[Row]) -> str:
    return f'<ol class="rows">{"".join(_row(site, wanted, row) for row in rows)}</ol>'


def _row(site: Site, wanted: Filter, row: Row) -> str:
    line = row.line
    where = f'<span class="where">{row.where}:</span> ' if row.where else ""
    return (
        f'<li><a class="line" href="{site.sample(line.place, wanted)}">'
        f'<span class="name">{shown(line.name)}</span>'
        f'<span class="cell">{shown(row.cell.title)}</span></a>'
        f'<span class="badges">{badges(line)}</span>'
        f'<span class="excerpt" dir="auto">{where}{marked(row.excerpt)}</span></li>'
    )


def _pager(site: Site, wanted: Filter, listed: Listed) -> str:
    links = []
    if listed.more_before and listed.lines:
        before = site.listing(wanted, before=str(listed.lines[0].place))
        links.append(f'<a rel="prev" href="{before}" data-key="ArrowLeft">← Previous page</a>')
    if listed.more_after and listed.lines:
        after = site.listing(wanted, after=str(listed.lines[-1].place))
        links.append(f'<a rel="next" href="{after}" data-key="ArrowRight">Next page →</a>')
    return f'<nav class="pager" aria-label="Pages">{" ".join(links)}</nav>' if links else ""
