"""Stacked bars of counts, a line a bar: what became of the answers, in parts that add up to the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wardround.reports.figures import BLUE, GREY, ORANGE, PURPLE, RED
from wardround.reports.page.drawing import FAINT, INK, PAPER, SOFT, Drawing, Plot, fitted, width_of
from wardround.reports.page.scales import Scale

WIDTH = 960
BAR_PX, MOST_BARS = 25, 32
_LABELS_PX = 290
# Each part its colour and its hatch ("" is plain); the first is what is wanted.
PARTS = ((BLUE, ""), (RED, "slanted"), (ORANGE, "dotted"), (GREY, "upright"), (PURPLE, "crossed"))


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of counts, in the order of the parts; `beside` is a figure to stand before it."""

    label: str
    counts: tuple[int, ...]
    beside: str = ""


def stacked_bars(name: str, title: str, parts: Sequence[str], bars: Sequence[Bar], *, beside: str = "") -> list[Plot]:
    """The bars as shares of their own sums, in pieces that fit on a printed page each; `beside` heads that column."""
    pieces = [bars[start : start + MOST_BARS] for start in range(0, len(bars), MOST_BARS)]
    return [
        _drawn(
            f"{name}-{number}",
            title if len(pieces) == 1 else f"{title}, {number} of {len(pieces)}",
            parts,
            piece,
            beside,
        )
        for number, piece in enumerate(pieces, 1)
    ]


def _drawn(name: str, title: str, parts: Sequence[str], bars: Sequence[Bar], beside: str) -> Plot:
    said = "; ".join(
        f"{bar.label}: {f'{beside} {bar.beside}, ' if bar.beside else ''}"
        + ", ".join(f"{part} {count}" for part, count in zip(parts, bar.counts, strict=True))
        for bar in bars
    )
    drawing = Drawing(name, WIDTH, title, said)
    scale = Scale(0, 100, _LABELS_PX, WIDTH - 40)
    _legend(drawing, parts)
    drawing.words(_LABELS_PX - 10, 17, beside, anchor="end", colour=SOFT)
    y = 40.0
    for bar in bars:
        _bar(drawing, scale, y, bar)
        y += BAR_PX
    for tick in (0, 25, 50, 75, 100):
        drawing.line(scale(tick), y + 2, scale(tick), y + 7, colour=SOFT)
        drawing.words(scale(tick), y + 21, f"{tick} %", anchor="middle", colour=SOFT)
    return drawing.finished(y + 28)


def _legend(drawing: Drawing, parts: Sequence[str]) -> None:
    x = float(_LABELS_PX)
    for part, (colour, hatch) in zip(parts, PARTS, strict=False):
        drawing.box(x, 6, 18, 14, colour, hatch=hatch, edge=colour)
        drawing.words(x + 24, 17, part, colour=SOFT)
        x += 24 + width_of(part) + 18


def _bar(drawing: Drawing, scale: Scale, y: float, bar: Bar) -> None:
    drawing.words(0, y + 16, fitted(bar.label, _LABELS_PX - (64 if bar.beside else 14)), hint=bar.label)
    drawing.words(_LABELS_PX - 10, y + 16, bar.beside, anchor="end")
    whole = sum(bar.counts)
    if not whole:
        drawing.words(scale.start, y + 16, "no answer", colour=SOFT)
        return
    before = 0
    for count, (colour, hatch) in zip(bar.counts, PARTS, strict=False):
        left, right = scale(100 * before / whole), scale(100 * (before + count) / whole)
        before += count
        if count:
            drawing.box(left, y + 2, right - left, BAR_PX - 5, colour, hatch=hatch, edge=colour)
            _number(drawing, left, right, y, f"{100 * count / whole:.0f}", plain=not hatch)
    drawing.line(scale.start, y + 1, scale.start, y + BAR_PX - 2, colour=FAINT)


def _number(drawing: Drawing, left: float, right: float, y: float, number: str, *, plain: bool) -> None:
    """The share in its part, on white where the part is hatched; left out where the part is too narrow."""
    wide = width_of(number) + 8
    if right - left < wide + 2:
        return
    middle = (left + right) / 2
    if not plain:
        drawing.box(middle - wide / 2, y + 4, wide, BAR_PX - 9, PAPER)
    drawing.words(middle, y + 16, number, anchor="middle", colour=PAPER if plain else INK)
