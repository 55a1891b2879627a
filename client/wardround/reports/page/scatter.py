"""Points by two values, numbered, with their names beside the plot, so that no label hides another."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from wardround.reports.figures import BLUE, GREEN, GREY, RED
from wardround.reports.page.drawing import FAINT, FONT_PX, INK, SOFT, Drawing, Plot, fitted, width_of
from wardround.reports.page.scales import Scale, around, ratios_around, tick_label

WIDTH, KEY_X = 960, 610
_PLOT, _TOP = (64, 580), 34.0
_LEAST_HIGH_PX, _KEY_LINE_PX = 340, 19
# Kind of model -> shape, colour, hollow: shapes differ, colours only help.
LOOKS = {
    "biomedical": ("circle", RED, False),
    "general": ("square", BLUE, False),
    "baseline": ("triangle", GREY, True),
    "other": ("diamond", GREEN, False),
}
# Where a number may stand beside its point, the nearest first: right and left, up and down, baseline's anchor.
_AROUND = tuple(
    (over * far, down * far + 4, anchor)
    for far in (1, 1.9)
    for over, down, anchor in (
        *((9, -9, "start"), (9, 9, "start"), (-9, -9, "end"), (-9, 9, "end")),
        *((0, -15, "middle"), (0, 15, "middle"), (11, 0, "start"), (-11, 0, "end")),
    )
)


@dataclass(frozen=True, slots=True)
class Point:
    """A model with its two values; `kind` is its group."""

    label: str
    x: float
    y: float
    kind: str


@dataclass(frozen=True, slots=True)
class Axes:
    """What stands on the two axes."""

    x: str
    y: str
    x_by_ratios: bool = False


def scatter_plot(
    name: str,
    title: str,
    description: str,
    axes: Axes,
    points: Sequence[Point],
    *,
    arrows: Sequence[tuple[str, str]] = (),
    front: Sequence[str] = (),
) -> Plot:
    """The plot; `arrows` lead from one label to another, `front` names the points of the front from left to right."""
    drawing = Drawing(name, WIDTH, title, description)
    kinds = [kind for kind in LOOKS if any(point.kind == kind for point in points)]
    key_px = _KEY_LINE_PX * (len(points) + len(kinds) + 2)
    bottom = _TOP + max(_LEAST_HIGH_PX, key_px - 30)
    xs = [point.x for point in points]
    across = (ratios_around if axes.x_by_ratios else around)(xs, *_PLOT)
    up = around([point.y for point in points], bottom, _TOP)
    _frame(drawing, axes, across, up, bottom)
    places = {point.label: (across(point.x), up(point.y)) for point in points}
    lines: list[tuple[float, float]] = []
    for one, other in arrows:
        if one in places and other in places:
            drawing.arrow(*places[one], *places[other])
            lines += _along(places[one], places[other])
    if len(front) > 1:
        drawing.steps(_staircase([places[label] for label in front]), colour=INK, dash="6 4")
    for point in points:
        shape, colour, hollow = LOOKS[point.kind]
        drawing.mark(*places[point.label], shape, colour, hollow=hollow)
    _number(drawing, [places[point.label] for point in points], lines)
    _key(drawing, points, kinds, set(front))
    return drawing.finished(bottom + 46)


def _frame(drawing: Drawing, axes: Axes, across: Scale, up: Scale, bottom: float) -> None:
    for tick in across.ticks:
        drawing.line(across(tick), _TOP, across(tick), bottom, colour=FAINT)
        drawing.words(across(tick), bottom + 17, tick_label(tick), anchor="middle", colour=SOFT)
    for tick in up.ticks:
        drawing.line(_PLOT[0], up(tick), _PLOT[1], up(tick), colour=FAINT)
        drawing.words(_PLOT[0] - 8, up(tick) + 4, tick_label(tick), anchor="end", colour=SOFT)
    drawing.words(_PLOT[1], bottom + 37, f"{axes.x} ▶", anchor="end")
    drawing.words(_PLOT[0] - 30, 17, f"▲ {axes.y}")


def _staircase(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Between two points of a front, what is known to be reachable is the one that does no worse on either axis."""
    way = [points[0]]
    for (before_x, before_y), (x, y) in itertools.pairwise(points):
        rising = y < before_y
        way += [(x, before_y) if rising else (before_x, y), (x, y)]
    return way


def _along(start: tuple[float, float], end: tuple[float, float]) -> list[tuple[float, float]]:
    """Places on a line, close enough to keep numbers off it."""
    steps = max(int(math.dist(start, end) / 5), 1)
    return [
        (start[0] + (end[0] - start[0]) * step / steps, start[1] + (end[1] - start[1]) * step / steps)
        for step in range(1, steps)
    ]


def _number(drawing: Drawing, places: Sequence[tuple[float, float]], lines: Sequence[tuple[float, float]]) -> None:
    """Each point's number beside it, where it covers least of other points, numbers and lines."""
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in places]
    taken += [(x - 2, y - 2, x + 2, y + 2) for x, y in lines]
    for number, (x, y) in enumerate(places, 1):
        width = width_of(str(number), 11.5)
        best: tuple[float, int] | None = None
        boxes = []
        for choice, (over, down, anchor) in enumerate(_AROUND):
            left = x + over - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
            boxes.append((left - 2, y + down - 11, left + width + 2, y + down + 2))
            covered = sum(_overlap(boxes[-1], other) for other in taken)
            if best is None or covered < best[0]:
                best = (covered, choice)
        if best is not None:
            over, down, anchor = _AROUND[best[1]]
            taken.append(boxes[best[1]])
            drawing.words(x + over, y + down, str(number), anchor=anchor, size=11.5)


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(wide, 0) * max(high, 0)


def _key(drawing: Drawing, points: Sequence[Point], kinds: Sequence[str], front: set[str]) -> None:
    y = _TOP + 4
    for kind in kinds:
        shape, colour, hollow = LOOKS[kind]
        drawing.mark(KEY_X + 6, y - 4, shape, colour, hollow=hollow)
        drawing.words(KEY_X + 20, y, f"{kind} model" if kind != "baseline" else "parameterless baseline", colour=SOFT)
        y += _KEY_LINE_PX
    y += 8
    for number, point in enumerate(points, 1):
        drawing.words(KEY_X + 14, y, str(number), anchor="end", colour=SOFT)
        on_front = point.label in front
        drawing.words(
            KEY_X + 20,
            y,
            fitted(point.label, WIDTH - KEY_X - 24, 13.3 if on_front else FONT_PX),
            bold=on_front,
            hint=point.label,
        )
        y += _KEY_LINE_PX
