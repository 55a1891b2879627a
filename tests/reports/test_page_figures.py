"""The figures of the page: places on axes, words that fit, marks that are told apart, and the front of the best."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.reports.figures import as_svg, figure
from wardround.reports.page.bars import Bar, stacked_bars
from wardround.reports.page.costs import pareto_front
from wardround.reports.page.dots import Dot, DotLine, dot_plots
from wardround.reports.page.drawing import SHAPES, Drawing, fitted, width_of, wrapped
from wardround.reports.page.forest import MOST_LINES, ForestGroup, ForestLine, forest_plots
from wardround.reports.page.heat import MOST_COLUMNS, HeatColumn, HeatRow, heat_maps
from wardround.reports.page.scales import Scale, around, log_ticks, ratios_around, round_ticks, tick_label
from wardround.reports.page.scatter import LOOKS, Axes, Point, scatter_plot
from wardround.reports.page.wording import in_words, listed, p_value, plural, points, points_interval

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)
SIDES = ("second higher", "first higher")


def line(value: float | None = 1.0, kind: str = "none", label: str = "mednli") -> ForestLine:
    low, high = (None, None) if value is None else (value - 2, value + 2)
    return ForestLine(label, value, low, high, kind, f"{value}", "said")


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>(?:<title>[^<]*</title>)?([^<]*)</text>", svg)


@given(st.lists(NUMBERS, min_size=1, max_size=9))
def test_a_scale_holds_all_its_values(values: list[float]) -> None:
    scale = around(values, 10, 500)
    assert scale.low <= min(values) <= max(values) <= scale.high
    assert all(10 <= scale(value) <= 500 for value in values)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=9))
def test_a_scale_of_ratios_holds_all_its_values_and_a_tick(values: list[float]) -> None:
    scale = ratios_around(values, 0, 100)
    assert all(0 <= scale(value) <= 100 for value in values)
    assert scale.ticks


@given(NUMBERS, st.floats(1e-6, 1e6))
def test_round_ticks_stand_on_the_axis_and_are_few(low: float, span: float) -> None:
    ticks = round_ticks(low, low + span)
    assert len(ticks) <= 12
    assert all(low - span * 1e-3 - 1e-6 <= tick <= low + span * 1.001 + 1e-6 for tick in ticks)


def test_values_beyond_an_axis_stand_at_its_end() -> None:
    scale = Scale(0, 10, 100, 200)
    assert (scale(-5), scale(5), scale(50)) == (100, 150, 200)


@pytest.mark.parametrize(
    ("low", "high", "ticks"), [(0.8, 12, [1, 2, 5, 10]), (1, 1e6, [1, 10, 100, 1e3, 1e4, 1e5, 1e6])]
)
def test_ticks_of_ratios_are_ones_twos_and_fives(low: float, high: float, ticks: list[float]) -> None:
    assert log_ticks(low, high) == ticks


@pytest.mark.parametrize(
    ("value", "label"), [(0.30000000000000004, "0.3"), (-5.0, "\u22125"), (1000, "1,000"), (0, "0")]
)
def test_a_tick_is_written_without_the_rounding_of_machines(value: float, label: str) -> None:
    assert tick_label(value) == label


@given(st.text(max_size=80), st.floats(30, 300))
def test_a_fitted_text_is_no_wider_than_its_room(said: str, width: float) -> None:
    assert width_of(fitted(said, width)) <= width or fitted(said, width) == "…"


def test_a_long_name_keeps_both_ends() -> None:
    shown = fitted("openbiollm-with-a-very-long-name-8b-instruct", 150)
    assert shown.startswith("openbi")
    assert shown.endswith("instruct")


@given(st.text(max_size=60), st.integers(1, 4))
def test_a_wrapped_text_has_no_more_lines_than_it_may(said: str, lines: int) -> None:
    assert 1 <= len(wrapped(said, 80, lines)) <= lines


def test_a_label_breaks_behind_its_underscore() -> None:
    assert wrapped("problem_summary", 70, 3) == ["problem_", "summary"]


@pytest.mark.parametrize("shape", SHAPES)
def test_each_mark_has_a_shape_of_its_own(shape: str) -> None:
    drawn = {}
    for one in SHAPES:
        drawing = Drawing("d", 100, "t", "d")
        drawing.mark(50, 50, one, "#000000")
        drawn[one] = drawing.finished(100)[1]
    assert [one for one in SHAPES if drawn[one] == drawn[shape]] == [shape]


@given(st.text(max_size=30))
def test_a_drawing_is_well_formed_whatever_its_words(said: str) -> None:
    drawing = Drawing("d", 100, f"t{said}", said)
    drawing.words(1, 2, said, hint=f"{said}!")
    ET.fromstring(drawing.finished(100)[1])


def test_better_and_worse_differ_in_shape_not_in_colour_alone() -> None:
    lines = tuple(line(kind=kind) for kind in ("better", "worse", "none"))
    ((_, svg),) = forest_plots("f", "t", [ForestGroup("a against b", lines)], margin=5, sides=SIDES)
    corners = [one.count(",") for one in re.findall(r'<polygon points="([^"]+)"', svg)]
    assert corners == [3, 3]
    assert svg.count("<circle") == 1


def test_a_forest_plot_has_one_scale_on_all_its_pages() -> None:
    groups = [ForestGroup(f"pair {place}", tuple(line(float(place)) for _ in range(12))) for place in range(9)]
    plots = forest_plots("f", "t", groups, margin=5, sides=SIDES)
    assert len(plots) > 1
    zeros = {re.findall(r'<path d="M([\d.]+) 40L\1 [\d.]+" stroke="#1a1c1f"', svg)[0] for _, svg in plots}
    assert len(zeros) == 1


def test_a_forest_plot_of_one_large_pair_is_cut_into_pages() -> None:
    group = ForestGroup("a against b", tuple(line() for _ in range(3 * MOST_LINES)))
    plots = forest_plots("f", "t", [group], margin=None, sides=SIDES)
    assert "".join(svg for _, svg in plots).count("<circle") == 3 * MOST_LINES
    assert max(svg.count("<circle") for _, svg in plots) <= MOST_LINES
    assert "a against b (continued)" in plots[1][1]


def test_a_comparison_without_a_value_has_its_line_and_no_mark() -> None:
    ((_, svg),) = forest_plots("f", "t", [ForestGroup("g", (line(None, label="gone"),))], margin=5, sides=SIDES)
    assert "gone" in texts(svg)
    assert "<circle" not in svg


def test_an_interval_that_is_too_wide_ends_in_an_arrow() -> None:
    wide = ForestLine("x", 0.0, -90.0, 95.0, "none", "0", "said")
    ((_, svg),) = forest_plots("f", "t", [ForestGroup("g", (wide, line()))], margin=5, sides=SIDES)
    assert {"◂", "▸"} <= set(texts(svg))


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("shade", [place / 20 for place in range(21)])
def test_numbers_in_cells_of_every_shade_can_be_read(shade: float) -> None:
    ((_, svg),) = heat_maps("h", "t", [HeatColumn("c")], [HeatRow("r", (shade,), ("50.0",))])
    fill = re.findall(r'<rect[^>]*fill="(#\w+)"', svg)[0]
    words = re.findall(r"<text([^>]*)>50.0", svg)[0]
    colour = re.search(r'fill="(#\w+)"', words)
    assert contrast(fill, colour[1] if colour else "#1a1c1f") >= 4.5


def test_an_absent_cell_is_hatched_not_pale() -> None:
    ((_, svg),) = heat_maps("h", "t", [HeatColumn("c")], [HeatRow("r", (None,), ("–",))])
    assert "<pattern" in svg
    assert "–" in texts(svg)


def test_a_heat_map_of_many_columns_comes_in_pieces_with_every_number_once() -> None:
    columns = [HeatColumn(f"c{place}") for place in range(2 * MOST_COLUMNS + 1)]
    numbers = tuple(f"{place}.5" for place in range(len(columns)))
    plots = heat_maps("h", "t", columns, [HeatRow("r", (0.5,) * len(columns), numbers)])
    shown = [one for _, svg in plots for one in texts(svg) if one in numbers]
    assert shown == list(numbers)


def test_parts_of_a_bar_are_told_apart_by_their_hatch() -> None:
    ((_, svg),) = stacked_bars("b", "t", ("a", "b", "c", "d"), [Bar("m", (1, 2, 3, 4))])
    assert len(re.findall(r"<pattern", svg)) == 3
    assert {"10", "20", "30", "40"} <= set(texts(svg))


def test_a_bar_without_an_answer_says_so() -> None:
    ((_, svg),) = stacked_bars("b", "t", ("a", "b"), [Bar("m", (0, 0))])
    assert "no answer" in texts(svg)


def test_a_dot_plot_without_bars_does_not_explain_them() -> None:
    lines = [DotLine("arm", "", None, (Dot(50, 40, 60),))]
    ((_, svg),) = dot_plots("d", "t", ["m"], lines, bar="hit rate")
    assert "hit rate" not in texts(svg)
    ((_, svg),) = dot_plots("d", "t", ["m"], [DotLine("arm", "", 30, (Dot(50, 40, 60),))], bar="hit rate")
    assert "hit rate" in texts(svg)


def test_a_dot_plot_of_many_arms_comes_in_pages_with_every_arm_once() -> None:
    lines = [DotLine(f"arm {place}", "", 30, (Dot(50, 40, 60),) * 7) for place in range(20)]
    plots = dot_plots("d", "t", [f"m{place}" for place in range(7)], lines, bar="hit rate")
    shown = [said for _, svg in plots for said in texts(svg) if said.startswith("arm ")]
    assert shown == [line.label for line in lines]
    assert all(float(re.findall(r'height="([\d.]+)"', svg)[0]) < 900 for _, svg in plots)


def test_every_kind_of_model_has_a_shape_of_its_own() -> None:
    assert len({shape for shape, _, _ in LOOKS.values()}) == len(LOOKS)


def test_numbers_of_points_that_coincide_stand_apart() -> None:
    points_ = [Point(f"m{place}", 50, 50, "general") for place in range(6)]
    _, svg = scatter_plot("s", "t", "d", Axes("x", "y"), points_)
    beside = re.findall(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*font-size="11.5"[^>]*>(\d)</text>', svg)
    assert len(beside) == 6
    assert len({(x, y) for x, y, _ in beside}) == 6


def test_a_point_that_another_beats_on_both_axes_is_not_on_the_front() -> None:
    points_ = [
        Point("cheap", 1, 50, ""),
        Point("good", 9, 90, ""),
        Point("beaten", 9.5, 80, ""),
        Point("mid", 4, 70, ""),
    ]
    assert pareto_front(points_, more_is_better=False) == ["cheap", "mid", "good"]


def test_where_more_is_better_the_front_falls_to_the_right() -> None:
    points_ = [Point("fast", 100, 50, ""), Point("good", 10, 90, ""), Point("beaten", 9, 60, "")]
    assert pareto_front(points_, more_is_better=True) == ["good", "fast"]


def test_equals_are_both_on_the_front() -> None:
    assert pareto_front([Point("a", 1, 2, ""), Point("b", 1, 2, "")], more_is_better=True) == ["a", "b"]


@pytest.mark.parametrize(
    ("share", "written"),
    [(0.032, "+3.2"), (-0.014, "\u22121.4"), (0.0, "0.0"), (-0.0004, "0.0"), (None, "–"), (1.0, "+100.0")],
)
def test_a_difference_has_its_sign(share: float | None, written: str) -> None:
    assert points(share) == written


def test_an_interval_of_which_an_end_is_unknown_is_absent() -> None:
    assert points_interval(-0.09, 0.026) == "[\u22129.0, +2.6]"
    assert points_interval(None, 0.026) == "–"


@pytest.mark.parametrize(("p", "written"), [(0.0004, "<0.001"), (0.0321, "0.032"), (1.0, "1.000"), (None, "–")])
def test_a_p_value_is_never_written_as_nothing(p: float | None, written: str) -> None:
    assert p_value(p) == written


@pytest.mark.parametrize("name", ["$\\frac$", "a$b$", "\x1b[31mred", "\u202etxt", "模型"])
def test_a_plotted_name_is_text_whatever_stands_in_it(name: str) -> None:
    made, (axes,) = figure(2.0)
    axes.plot([1, 2], [1, 2], label=name)
    axes.legend()
    root = ET.fromstring(as_svg(made, "t", "d"))
    shown = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "".join(one if one.isprintable() else "\ufffd" for one in name) in shown


def test_lists_and_counts_read_as_prose() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert (plural(1, "task"), plural(2, "task"), in_words(13)) == ("one task", "two tasks", "13")
