"""Figures as SVG for pages: the same bytes for the same numbers, readable in print and by colour-blind readers.

Colours are those of Okabe and Ito (2008), which all common kinds of colour vision tell apart; series differ in marker
or dash as well. Text stays text, so that it can be searched and read aloud. Each figure carries a title and a
description, and whoever shows one puts its numbers beside it as a table.
"""

from __future__ import annotations

import io
import re
import warnings
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, BLACK = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442", "#000000",
)  # fmt: skip
SERIES = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":")
GREY = "#5f6368"
WIDTH_IN = 7.2
_STYLE: Any = {
    "svg.hashsalt": "wardround",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "figure.constrained_layout.use": True,
}
_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def figure(height_in: float, *, rows: int = 1, columns: int = 1, share_x: bool = False) -> tuple[Figure, list[Axes]]:
    """An empty figure of the page's width with its axes, row by row."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        made = Figure(figsize=(WIDTH_IN, height_in))
        grid = made.subplots(rows, columns, squeeze=False, sharex=share_x)
    return made, list(grid.flat)


def as_svg(made: Figure, title: str, description: str) -> str:
    """The figure as an `<svg>` element for a page: as wide as its column, and named for those who cannot see it."""
    import matplotlib as mpl

    _as_plain_text(made)
    written = io.StringIO()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # The browser's fonts draw the text; that the one it is measured with lacks a letter does not matter.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        made.savefig(written, format="svg", metadata=_METADATA, transparent=True)
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, count=1, flags=re.S)
    head, body = svg.split(">", 1)
    box = re.search(r'viewBox="([^"]+)"', head)
    view = box.group(1) if box else f"0 0 {WIDTH_IN * 72:g} {WIDTH_IN * 36:g}"
    named = f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
    start = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{view}"'
    return f'{start} role="img" aria-label="{escape(title, quote=True)}">{named}{_own_ids(body, title).rstrip()}'


def _as_plain_text(made: Figure) -> None:
    """Names from outside are text: no formulas between dollar signs, no control characters, which SVG may not hold."""
    from matplotlib.text import Text

    for one in made.findobj(Text):
        if isinstance(one, Text):
            one.set_parse_math(False)
            said = one.get_text()
            if not said.isprintable():
                one.set_text("".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in said))


def _own_ids(body: str, title: str) -> str:
    """Identifiers that no other figure of the page has: matplotlib calls every first group `figure_1`."""
    mark = re.sub(r"\W+", "-", title.lower()).strip("-")[:40]
    body = re.sub(r'\bid="([^"]+)"', rf'id="{mark}--\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{mark}--\1)", body)
    return re.sub(r'href="#([^"]+)"', rf'href="#{mark}--\1"', body)
