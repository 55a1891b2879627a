"""Drawings as SVG: shapes and words at places in pixels, every word escaped, the same bytes for the same calls.

The names of models, tasks and arms are written by others and of any length, and a page has dozens of them at places
that depend on each other. So these figures are laid out here, where a name is text and nothing else, and not by a
plotting library, which reads markup in labels and gives other bytes with every release.

Colours are those of `reports.figures`; whatever a colour says, a shape, a pattern or a number says as well.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from wardround.reports.figures import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY
from wardround.reports.html import text as escaped

# A figure's title and its `<svg>` element.
Plot = tuple[str, str]
INK, SOFT, FAINT, PAPER = "#1a1c1f", GREY, "#d5d9df", "#ffffff"
COLOURS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, BLACK)
SHAPES = ("circle", "square", "triangle", "diamond", "wedge", "plus", "cross")
FONT_PX = 12.5
# A letter's width in parts of the font's size, that of the widest system fonts: a label may seem too long, never be it.
_LETTER = 0.62
_HATCHES = {
    "slanted": '<path d="M-2 2l4-4M0 8l8-8M6 10l4-4" stroke="{colour}" stroke-width="2.2"/>',
    "dotted": '<circle cx="2" cy="2" r="1.4" fill="{colour}"/><circle cx="6" cy="6" r="1.4" fill="{colour}"/>',
    "upright": '<path d="M2 0v8M6 0v8" stroke="{colour}" stroke-width="1.6"/>',
    "crossed": '<path d="M0 0l8 8M8 0l-8 8" stroke="{colour}" stroke-width="1.1"/>',
}
HATCHES = tuple(_HATCHES)


class Drawing:
    """A figure that is drawn from back to front; `name` sets its identifiers apart from other figures' of the page."""

    def __init__(self, name: str, width: float, title: str, description: str) -> None:
        self.width = width
        self.title = title
        self._name = name
        self._description = description
        self._parts: list[str] = []
        self._patterns: dict[tuple[str, str], str] = {}

    def words(
        self,
        x: float,
        y: float,
        said: str,
        *,
        anchor: str = "start",
        colour: str = INK,
        bold: bool = False,
        size: float | None = None,
        hint: str = "",
    ) -> None:
        """Text whose baseline is at `y`; `hint` is the whole of what was shortened."""
        look = f' fill="{colour}"' if colour != INK else ""
        look += f' text-anchor="{anchor}"' if anchor != "start" else ""
        look += ' font-weight="600"' if bold else ""
        look += f' font-size="{_n(size)}"' if size else ""
        more = f"<title>{escaped(hint)}</title>" if hint and hint != said else ""
        self._parts.append(f'<text x="{_n(x)}" y="{_n(y)}"{look}>{more}{escaped(said)}</text>')

    def line(
        self, x1: float, y1: float, x2: float, y2: float, *, colour: str = FAINT, wide: float = 1, dash: str = ""
    ) -> None:
        """A line; `dash` as in SVG, "4 3"."""
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(
            f'<path d="M{_n(x1)} {_n(y1)}L{_n(x2)} {_n(y2)}" stroke="{colour}" stroke-width="{_n(wide)}"{dashed}/>'
        )

    def steps(self, points: Sequence[tuple[float, float]], *, colour: str, dash: str = "") -> None:
        """A line through points."""
        way = "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(f'<path d="M{way}" fill="none" stroke="{colour}" stroke-width="1.5"{dashed}/>')

    def arrow(self, x1: float, y1: float, x2: float, y2: float, *, colour: str = SOFT) -> None:
        """A thin arrow that ends short of its target, whose mark it must not hide; nothing between near points."""
        length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
        if length < 16:
            return
        over, down = (x2 - x1) / length, (y2 - y1) / length
        tip_x, tip_y = x2 - 8 * over, y2 - 8 * down
        back_x, back_y = tip_x - 7 * over, tip_y - 7 * down
        self.line(x1 + 6 * over, y1 + 6 * down, back_x, back_y, colour=colour)
        corners = [(tip_x, tip_y), (back_x - 3 * down, back_y + 3 * over), (back_x + 3 * down, back_y - 3 * over)]
        self._polygon(corners, f'fill="{colour}"')

    def box(
        self, x: float, y: float, width: float, height: float, fill: str, *, edge: str = "", hatch: str = ""
    ) -> None:
        """A rectangle, plain or with a hatch in the colour `fill` on white."""
        paint = f"url(#{self._hatch(hatch, fill)})" if hatch else fill
        border = f' stroke="{edge}"' if edge else ""
        self._parts.append(
            f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" fill="{paint}"{border}/>'
        )

    def mark(self, x: float, y: float, shape: str, colour: str, *, hollow: bool = False, size: float = 5) -> None:
        """A point of the shape named, `size` being half its width."""
        look = f'fill="{PAPER if hollow else colour}" stroke="{colour}" stroke-width="1.6"'
        if shape == "circle":
            self._parts.append(f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(size * 0.95)}" {look}/>')
        elif shape == "square":
            self._polygon(_turned(x, y, size * 0.85, ((-1, -1), (1, -1), (1, 1), (-1, 1))), look)
        elif shape == "triangle":
            self._polygon(_turned(x, y, size * 1.1, ((0, -1), (0.95, 0.75), (-0.95, 0.75))), look)
        elif shape == "wedge":
            self._polygon(_turned(x, y, size * 1.1, ((0, 1), (0.95, -0.75), (-0.95, -0.75))), look)
        elif shape == "diamond":
            self._polygon(_turned(x, y, size * 1.25, ((0, -1), (1, 0), (0, 1), (-1, 0))), look)
        else:
            self._strokes(x, y, size, shape, colour)

    def finished(self, height: float) -> Plot:
        """The whole, `height` pixels high, with its title; it shrinks with its column."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {_n(self.width)} {_n(height)}"'
            f' width="{_n(self.width)}" height="{_n(height)}" role="img" aria-label="{escaped(self.title)}"'
            f' font-family="system-ui, -apple-system, \'Segoe UI\', sans-serif" font-size="{FONT_PX}" fill="{INK}">'
            f"<title>{escaped(self.title)}</title><desc>{escaped(self._description)}</desc>"
        )
        defined = f"<defs>{''.join(self._patterns.values())}</defs>" if self._patterns else ""
        return self.title, f"{head}{defined}{''.join(self._parts)}</svg>"

    def _polygon(self, corners: Sequence[tuple[float, float]], look: str) -> None:
        points = " ".join(f"{_n(x)},{_n(y)}" for x, y in corners)
        self._parts.append(f'<polygon points="{points}" {look}/>')

    def _strokes(self, x: float, y: float, size: float, shape: str, colour: str) -> None:
        ends = ((-1, 0, 1, 0), (0, -1, 0, 1)) if shape == "plus" else ((-0.8, -0.8, 0.8, 0.8), (-0.8, 0.8, 0.8, -0.8))
        for left, top, right, bottom in ends:
            start, end = (x + size * left, y + size * top), (x + size * right, y + size * bottom)
            self.line(*start, *end, colour=colour, wide=2.4)

    def _hatch(self, kind: str, colour: str) -> str:
        """The identifier of a pattern, which is made when it is first used."""
        name = f"{self._name}-{kind}-{colour.lstrip('#')}"
        drawn = _HATCHES[kind].format(colour=colour)
        self._patterns[kind, colour] = (
            f'<pattern id="{name}" width="8" height="8" patternUnits="userSpaceOnUse">'
            f'<rect width="8" height="8" fill="{PAPER}"/>{drawn}</pattern>'
        )
        return name


def width_of(said: str, size: float = FONT_PX) -> float:
    """About how many pixels a text takes; wide letters (Chinese, Japanese, Korean) take two."""
    letters = sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in said)
    return letters * _LETTER * size


def fitted(said: str, width: float, size: float = FONT_PX) -> str:
    """A text that fits, its middle left out if need be: models of a family differ at both ends of their names."""
    if width_of(said, size) <= width:
        return said
    head, tail = said[: len(said) // 2], said[len(said) // 2 :]
    while head and width_of(f"{head}…{tail}", size) > width:
        head, tail = (head[:-1], tail) if len(head) >= len(tail) else (head, tail[1:])
    return f"{head.rstrip()}…{tail.lstrip()}"


def wrapped(said: str, width: float, lines: int, size: float = FONT_PX) -> list[str]:
    """A text on several lines, broken after blanks, underscores and hyphens; the last one is shortened if need be."""
    pieces = said.replace("_", "_\0").replace("-", "-\0").replace(" ", " \0").split("\0")
    found = [""]
    for piece in pieces:
        if found[-1] and len(found) < lines and width_of((found[-1] + piece).strip(), size) > width:
            found.append(piece)
        else:
            found[-1] += piece
    return [fitted(line.strip(), width, size) for line in found]


def _turned(x: float, y: float, size: float, corners: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(x + size * over, y + size * down) for over, down in corners]


def _n(value: float) -> str:
    """A number with a decimal where it needs one."""
    return f"{value:.1f}".removesuffix(".0")
