from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from wardround.reports.figures import BLUE, as_svg, figure

SVG = "{http://www.w3.org/2000/svg}"


def drawn(title: str = "Wait against rate", label: str = "x") -> str:
    made, (axes,) = figure(2.0)
    axes.plot([1, 2, 3], [3, 1, 2], color=BLUE, marker="o", label=label)
    axes.set_title(title)
    axes.legend()
    return as_svg(made, title, "Three points.")


def test_the_same_numbers_give_the_same_bytes() -> None:
    assert drawn() == drawn()


def test_a_figure_is_well_formed_and_says_what_it_shows() -> None:
    root = ET.fromstring(drawn())
    assert root.tag == f"{SVG}svg"
    assert (root[0].tag, root[0].text) == (f"{SVG}title", "Wait against rate")
    assert root[1].text == "Three points."
    assert "width" not in root.attrib


def test_markup_in_a_title_or_a_label_stays_text() -> None:
    svg = drawn('<script>alert("1")</script>', "<img onerror=x>")
    assert "<script" not in svg
    assert "<img" not in svg
    ET.fromstring(svg)


def test_text_stays_text() -> None:
    assert "Wait against rate</text>" in drawn()


def test_two_figures_of_a_page_share_no_identifier_and_refer_to_their_own() -> None:
    one, other = drawn("One"), drawn("Other")
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (one, other)]
    assert not ids[0] & ids[1]
    assert set(re.findall(r"url\(#([^)]+)\)", one)) <= ids[0]


def test_nothing_in_a_figure_names_a_place_to_fetch_from() -> None:
    assert set(re.findall(r"https?://[^\"' >]+", drawn())) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
