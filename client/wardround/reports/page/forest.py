"""Differences as a forest plot: one line a difference, its interval, the line of no difference, the margin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wardround.reports.figures import BLUE, GREY, RED
from wardround.reports.page.drawing import FAINT, INK, PAPER, SOFT, Drawing, Plot, fitted, width_of
from wardround.reports.page.scales import Scale, round_ticks, tick_label

WIDTH = 960
LINE_PX, HEAD_PX = 21, 30
# So many lines fit on a printed page with their caption.
MOST_LINES = 34
_LABEL, _PLOT, _NUMBERS, _SAID = (0, 180), (190, 510), 677, 690
# Bold letters are wider; they fit where letters of this size would.
_BOLD_PX = 13.5
# Beyond so many points an interval is cut off with an arrow, or one uncertain line would flatten all others.
_MOST_POINTS = 60.0
_LOOKS = {"better": ("triangle", BLUE, False), "worse": ("wedge", RED, False), "none": ("circle", GREY, True)}


@dataclass(frozen=True, slots=True)
class ForestLine:
    """A difference in points: `kind` is "better", "worse" or "none"; `said` is the verdict; None where not known."""

    label: str
    value: float | None
    low: float | None
    high: float | None
    kind: str
    numbers: str
    said: str


@dataclass(frozen=True, slots=True)
class ForestGroup:
    """The lines of one pair under its name."""

    title: str
    lines: tuple[ForestLine, ...]


def forest_plots(
    name: str, title: str, groups: Sequence[ForestGroup], *, margin: float | None, sides: tuple[str, str]
) -> list[Plot]:
    """The plots, of at most a printed page each, all on one scale; `sides` say what left and right of zero mean."""
    half = _half_width(groups, margin)
    pages: list[list[ForestGroup]] = []
    for group in _split(groups):
        if not pages or sum(len(one.lines) + 1 for one in pages[-1]) + len(group.lines) + 1 > MOST_LINES:
            pages.append([])
        pages[-1].append(group)
    return [
        _plot(f"{name}-{number}", _numbered(title, number, len(pages)), page, half, margin, sides)
        for number, page in enumerate(pages, 1)
    ]


def _numbered(title: str, number: int, of: int) -> str:
    return title if of == 1 else f"{title}, {number} of {of}"


def _split(groups: Sequence[ForestGroup]) -> list[ForestGroup]:
    """Groups in pieces that fit on a page."""
    most = MOST_LINES - 1
    return [
        ForestGroup(group.title if not start else f"{group.title} (continued)", group.lines[start : start + most])
        for group in groups
        for start in range(0, len(group.lines), most)
    ]


def _half_width(groups: Sequence[ForestGroup], margin: float | None) -> float:
    """Points from zero to either end."""
    lines = [line for group in groups for line in group.lines]
    ends = [abs(one) for line in lines for one in (line.value, line.low, line.high) if one is not None]
    values = [abs(line.value) for line in lines if line.value is not None]
    widest = min(max([*ends, 1.2 * (margin or 0), 2.0]), max(_MOST_POINTS, *values, 0.0))
    return widest * 1.06


def _plot(
    name: str,
    title: str,
    groups: Sequence[ForestGroup],
    half: float,
    margin: float | None,
    sides: tuple[str, str],
) -> Plot:
    said = "; ".join(
        f"{group.title}: {line.label} {line.numbers}, {line.said}" for group in groups for line in group.lines
    )
    drawing = Drawing(name, WIDTH, title, said)
    scale = Scale(-half, half, *_PLOT)
    top = 40.0
    bottom = top + sum(HEAD_PX + LINE_PX * len(group.lines) for group in groups) + 6
    _frame(drawing, scale, top, bottom, margin, sides)
    y = top
    for group in groups:
        y += HEAD_PX
        shown = fitted(group.title, _SAID, _BOLD_PX)
        # White below it: the lines of the scale must not strike it through.
        drawing.box(_LABEL[0], y - 21, width_of(shown, _BOLD_PX), 17, PAPER)
        drawing.words(_LABEL[0], y - 8, shown, bold=True, hint=group.title)
        for line in group.lines:
            _draw_line(drawing, scale, y + LINE_PX / 2, line)
            y += LINE_PX
    return drawing.finished(bottom + 40)


def _frame(
    drawing: Drawing, scale: Scale, top: float, bottom: float, margin: float | None, sides: tuple[str, str]
) -> None:
    """Zero, margin, ticks and what the columns are."""
    for tick in round_ticks(scale.low, scale.high):
        drawing.line(scale(tick), top, scale(tick), bottom, colour=FAINT)
        drawing.words(scale(tick), bottom + 16, tick_label(tick), anchor="middle", colour=SOFT)
    drawing.line(scale(0), top, scale(0), bottom, colour=INK, wide=1.4)
    if margin is not None:
        drawing.line(scale(-margin), top, scale(-margin), bottom, colour=RED, wide=1.4, dash="5 4")
        drawing.words(scale(-margin), bottom + 32, f"margin {tick_label(-margin)}", anchor="middle", colour=SOFT)
    drawing.words(_PLOT[1], bottom + 32, "difference in points", anchor="end", colour=SOFT)
    drawing.words(scale(0) - 10, top - 12, f"◀ {sides[0]}", anchor="end", colour=SOFT)
    drawing.words(scale(0) + 10, top - 12, f"{sides[1]} ▶", colour=SOFT)
    drawing.words(_NUMBERS, top - 12, "95 % interval", anchor="end", colour=SOFT)
    drawing.words(_SAID, top - 12, "what it shows", colour=SOFT)


def _draw_line(drawing: Drawing, scale: Scale, y: float, line: ForestLine) -> None:
    shape, colour, hollow = _LOOKS[line.kind]
    drawing.words(_LABEL[0] + 12, y + 4, fitted(line.label, _LABEL[1] - 12), hint=line.label)
    drawing.words(_NUMBERS, y + 4, line.numbers, anchor="end")
    drawing.words(
        _SAID, y + 4, fitted(line.said, WIDTH - _SAID), colour=INK if line.kind != "none" else SOFT, hint=line.said
    )
    if line.low is not None and line.high is not None:
        drawing.line(scale(line.low), y, scale(line.high), y, colour=colour, wide=2)
        for end, side in ((line.low, -1), (line.high, 1)):
            if not scale.low <= end <= scale.high:
                drawing.words(scale(end) + 3 * side, y + 4, "◂" if side < 0 else "▸", anchor="middle", colour=colour)
            else:
                drawing.line(scale(end), y - 4, scale(end), y + 4, colour=colour, wide=1.4)
    if line.value is not None:
        drawing.mark(scale(line.value), y, shape, colour, hollow=hollow)
