"""Several series over the same lines, as points with intervals beside an open bar: arms by accuracy and hit rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wardround.reports.page.drawing import COLOURS, FAINT, SHAPES, SOFT, Drawing, Plot, fitted, width_of
from wardround.reports.page.scales import Scale

WIDTH = 960
MOST_SERIES = len(SHAPES)
_LABELS_PX, _LANE_PX, _LEAST_LINE_PX = 260, 12, 34
_PAGE_PX = 760
_BAR = "#e3e7ec"


@dataclass(frozen=True, slots=True)
class Dot:
    """A point in per cent with its interval; None where not known."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class DotLine:
    """A line: a share in per cent behind it as a bar (None: none is known), and a point of each series."""

    label: str
    below: str
    bar: float | None
    dots: tuple[Dot, ...]


def dot_plots(name: str, title: str, series: Sequence[str], lines: Sequence[DotLine], *, bar: str) -> list[Plot]:
    """The lines, in pieces that fit on a printed page each; `bar` says what the bars are."""
    high = max(_LEAST_LINE_PX, _LANE_PX * len(series) + 10)
    most = _PAGE_PX // high
    pieces = [lines[start : start + most] for start in range(0, len(lines), most)]
    bar = bar if any(line.bar is not None for line in lines) else ""
    return [
        _drawn(
            f"{name}-{number}", title if len(pieces) == 1 else f"{title}, {number} of {len(pieces)}", series, piece, bar
        )
        for number, piece in enumerate(pieces, 1)
    ]


def _drawn(name: str, title: str, series: Sequence[str], lines: Sequence[DotLine], bar: str) -> Plot:
    said = "; ".join(
        f"{line.label}: "
        + ("" if line.bar is None else f"{bar} {line.bar:.1f}, ")
        + ", ".join(
            f"{one} {'–' if dot.value is None else f'{dot.value:.1f}'}"
            for one, dot in zip(series, line.dots, strict=True)
        )
        for line in lines
    )
    drawing = Drawing(name, WIDTH, title, said)
    scale = Scale(0, 100, _LABELS_PX, WIDTH - 40)
    high = max(_LEAST_LINE_PX, _LANE_PX * len(series) + 10)
    top = _legend(drawing, series, bar)
    bottom = top + high * len(lines)
    for tick in (0, 25, 50, 75, 100):
        drawing.line(scale(tick), top, scale(tick), bottom, colour=FAINT)
        drawing.words(scale(tick), bottom + 18, f"{tick} %", anchor="middle", colour=SOFT)
    for number, line in enumerate(lines):
        _line(drawing, scale, top + high * number, high, line)
    return drawing.finished(bottom + 26)


def _legend(drawing: Drawing, series: Sequence[str], bar: str) -> float:
    """What the bar (unless it is "") and the marks are, on as many lines as it takes; returns where they end."""
    x, y = float(_LABELS_PX), 17.0
    if bar:
        drawing.box(x, y - 11, 18, 14, _BAR, edge=SOFT)
        drawing.words(x + 24, y, bar, colour=SOFT)
        x += 24 + width_of(bar) + 20
    for place, one in enumerate(series):
        shown = fitted(one, 260)
        wide = 16 + width_of(shown) + 20
        if x + wide > WIDTH:
            x, y = float(_LABELS_PX), y + 20
        drawing.mark(x + 6, y - 4, SHAPES[place], COLOURS[place])
        drawing.words(x + 16, y, shown, hint=one)
        x += wide
    return y + 16


def _line(drawing: Drawing, scale: Scale, y: float, high: float, line: DotLine) -> None:
    middle = y + high / 2
    drawing.line(0, y, scale.end, y)
    drawing.words(0, middle + (-2 if line.below else 4), fitted(line.label, _LABELS_PX - 14), hint=line.label)
    if line.below:
        drawing.words(0, middle + 12, fitted(line.below, _LABELS_PX - 14, 11), colour=SOFT, size=11, hint=line.below)
    if line.bar is not None:
        drawing.box(scale(0), y + 3, scale(line.bar) - scale(0), high - 6, _BAR, edge=SOFT)
    lanes = [y + high / 2 + _LANE_PX * (place - (len(line.dots) - 1) / 2) for place in range(len(line.dots))]
    for place, (dot, lane) in enumerate(zip(line.dots, lanes, strict=True)):
        if dot.value is None:
            continue
        if dot.low is not None and dot.high is not None:
            drawing.line(scale(dot.low), lane, scale(dot.high), lane, colour=COLOURS[place], wide=1.5)
        drawing.mark(scale(dot.value), lane, SHAPES[place], COLOURS[place], size=4.5)
