"""A heat map with its numbers in the cells: rows by columns, darker for higher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wardround.reports.figures import BLACK
from wardround.reports.page.drawing import FAINT, PAPER, SOFT, Drawing, Plot, fitted, wrapped

WIDTH = 960
ROW_PX, MOST_ROWS, MOST_COLUMNS = 25, 32, 10
_LABELS_PX, _HEAD_PX = 205, 11.5
# From nearly white to a deep blue: one hue, evenly darker, so that print and every eye keep the order.
_LIGHT, _DARK = (238, 244, 250), (8, 64, 129)


@dataclass(frozen=True, slots=True)
class HeatRow:
    """A row: `shades` from 0 to 1 (None: no value), `numbers` as they are written; `strong` ones are bold."""

    label: str
    shades: tuple[float | None, ...]
    numbers: tuple[str, ...]
    strong: tuple[bool, ...] = ()
    apart: bool = False


@dataclass(frozen=True, slots=True)
class HeatColumn:
    """A column: its name, and below it in small letters what is measured."""

    label: str
    below: str = ""


def heat_maps(name: str, title: str, columns: Sequence[HeatColumn], rows: Sequence[HeatRow]) -> list[Plot]:
    """The map, in pieces that fit on a printed page each."""
    blocks = [
        (range(across, min(across + MOST_COLUMNS, len(columns))), rows[down : down + MOST_ROWS])
        for across in range(0, len(columns), MOST_COLUMNS)
        for down in range(0, len(rows), MOST_ROWS)
    ]
    return [
        _map(f"{name}-{number}", title if len(blocks) == 1 else f"{title}, {number} of {len(blocks)}", columns, *block)
        for number, block in enumerate(blocks, 1)
    ]


def _map(name: str, title: str, columns: Sequence[HeatColumn], shown: range, rows: Sequence[HeatRow]) -> Plot:
    across = min((WIDTH - _LABELS_PX) / len(shown), 120)
    said = "; ".join(
        f"{row.label}: " + ", ".join(f"{columns[place].label} {row.numbers[place]}" for place in shown) for row in rows
    )
    drawing = Drawing(name, _LABELS_PX + across * len(shown), title, said)
    heads = [wrapped(columns[place].label, across - 4, 3, _HEAD_PX) for place in shown]
    belows = [wrapped(columns[place].below, across - 6, 2, 11) if columns[place].below else [] for place in shown]
    top = 16.0 * max(len(lines) for lines in heads) + 14.0 * max(len(lines) for lines in belows) + 8
    for number, place in enumerate(shown):
        middle, lines, small = _LABELS_PX + across * (number + 0.5), heads[number], belows[number]
        y = top - 8 - 14 * len(small) - 16 * (len(lines) - 1)
        for line, words in enumerate(lines):
            drawing.words(middle, y + 16 * line, words, anchor="middle", size=_HEAD_PX, hint=columns[place].label)
        for line, words in enumerate(small, 1):
            drawing.words(middle, y + 16 * (len(lines) - 1) + 14 * line, words, anchor="middle", colour=SOFT, size=11)
    y = top
    for row in rows:
        if row.apart:
            y += 8
        drawing.words(0, y + 17, fitted(row.label, _LABELS_PX - 10), hint=row.label)
        for number, place in enumerate(shown):
            strong = bool(row.strong) and row.strong[place]
            _cell(drawing, _LABELS_PX + across * number, y, across, row.shades[place], row.numbers[place], strong)
        y += ROW_PX
    return drawing.finished(y + 4)


def _cell(drawing: Drawing, x: float, y: float, across: float, shade: float | None, number: str, strong: bool) -> None:
    if shade is None:
        drawing.box(x + 1, y + 1, across - 2, ROW_PX - 2, FAINT, hatch="slanted")
        drawing.box(x + across / 2 - 10, y + 5, 20, ROW_PX - 10, PAPER)
        drawing.words(x + across / 2, y + 17, number, anchor="middle", colour=SOFT)
        return
    fill = _mixed(shade)
    drawing.box(x + 1, y + 1, across - 2, ROW_PX - 2, _hex(fill))
    words = PAPER if _contrast(fill, (255, 255, 255)) > _contrast(fill, (0, 0, 0)) else BLACK
    drawing.words(x + across / 2, y + 17, number, anchor="middle", colour=words, bold=strong)


def _mixed(shade: float) -> tuple[int, int, int]:
    red, green, blue = (round(low + (high - low) * shade) for low, high in zip(_LIGHT, _DARK, strict=True))
    return red, green, blue


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """The contrast of two colours as WCAG 2 defines it: 1 for none, 21 for black on white; 4.5 is wanted of text."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: tuple[int, int, int]) -> float:
    parts = [part / 255 for part in colour]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
