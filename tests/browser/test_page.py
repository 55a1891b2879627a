"""The page of a run in a browser: opened as a file, read by everybody, on a telephone and on paper."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.reports.page_run import made_run
from wardround.journal import Journal
from wardround.reports.page import write_page

if TYPE_CHECKING:
    from playwright.sync_api import Page

TELEPHONE = {"width": 390, "height": 844}
# A sheet of A4 between its margins, in CSS pixels.
PAPER = {"width": 688, "height": 1000}
NAMES = {
    "<script>window.hacked = 1</script>": ("biomedical", 0.5),
    '<img src="x" onerror="window.hacked = 1">': ("general", 0.9),
    "[click](javascript:window.hacked=1) ![pixel](http://0.0.0.0/pixel.png)": ("other", 0.7),
    "\x1b[31mred\x1b[0m \x1b]8;;http://0.0.0.0\x07link\x1b]8;;\x07 " + "long-" * 30: ("baseline", 0.3),
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page as a file."""
    folder = made_run(tmp_path_factory.mktemp("page") / "run")
    with Journal.open(folder) as journal:
        return write_page(journal, folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page whose models, tasks and arms have hostile names."""
    first, second, *_ = NAMES
    labels = {"mednli": "</title><svg onload='window.hacked = 1'>", "bm25": "<b>arm</b>", "full": "a&lt;b&amp;c"}
    folder = made_run(tmp_path_factory.mktemp("hostile") / "run", models=NAMES, pairs=[(first, second)], labels=labels)
    with Journal.open(folder) as journal:
        return write_page(journal, folder / "report.html").as_uri()


def text_of(page: Page) -> str:
    return str(page.evaluate("() => document.body.textContent"))


def test_the_page_opens_as_a_file_with_its_verdict_and_no_complaint(page: Page, address: str) -> None:
    page.goto(address)
    assert page.title() == "A made study"
    assert page.locator("h2").first.inner_text() == "What the run shows"
    assert page.locator("li", has_text="bio-8b against plain-8b").is_visible()


def test_a_link_of_the_contents_leads_to_its_part(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_role("link", name="Failures").click()
    assert page.locator("#failures").bounding_box()["y"] < 900  # type: ignore[index]
    assert page.url.endswith("#failures")


def test_a_figure_opens_the_numbers_behind_it_by_keyboard(page: Page, address: str) -> None:
    page.goto(address)
    summary = page.locator("#models ~ details > summary").first
    table = page.locator("#models ~ details table").first
    assert not table.is_visible()
    summary.focus()
    page.keyboard.press("Enter")
    assert table.is_visible()


def test_hostile_names_are_shown_as_text(page: Page, hostile: str) -> None:
    page.goto(hostile)
    assert page.evaluate("() => window.hacked") is None
    assert page.locator("script, img, b, main svg svg, a[href^=javascript]").count() == 0
    said = text_of(page)
    for name in list(NAMES)[:3]:
        assert name in said
    assert "\ufffd[31mred\ufffd[0m" in said
    assert "</title><svg onload='window.hacked = 1'>" in said
    assert "a&lt;b&amp;c" in said


def test_a_hostile_name_in_a_figure_is_text_too(page: Page, hostile: str) -> None:
    page.goto(hostile)
    hints = page.locator("svg.plot text").evaluate_all("all => all.map(one => one.textContent)")
    assert any("<script>window.hacked = 1</script>" in hint for hint in hints)


@pytest.mark.parametrize("opened", [False, True], ids=["folded", "unfolded"])
def test_nothing_keeps_people_from_reading_the_page(
    page: Page, address: str, serious: Callable[[Page], list[str]], opened: bool
) -> None:
    page.goto(address)
    page.evaluate("opened => document.querySelectorAll('details').forEach(one => { one.open = opened })", opened)
    assert serious(page) == []


@pytest.mark.parametrize("which", ["address", "hostile"])
def test_a_telephone_scrolls_figures_and_tables_but_never_the_page(
    page: Page, which: str, request: pytest.FixtureRequest
) -> None:
    page.set_viewport_size(TELEPHONE)  # type: ignore[arg-type]
    page.goto(request.getfixturevalue(which))
    page.evaluate("() => document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= TELEPHONE["width"]
    boxes = page.locator(".wide").evaluate_all(
        "all => all.map(one => [one.scrollWidth > one.clientWidth, one.tabIndex])"
    )
    assert any(scrolls for scrolls, _ in boxes)
    assert all(tab_index == 0 for _, tab_index in boxes)


def test_a_scrolling_box_moves_by_keyboard(page: Page, address: str) -> None:
    page.set_viewport_size(TELEPHONE)  # type: ignore[arg-type]
    page.goto(address)
    box = page.locator("#pairs ~ figure .wide").first
    box.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('#pairs ~ figure .wide').scrollLeft > 0")


def test_on_paper_every_table_is_there_and_no_figure_is_cut(page: Page, address: str) -> None:
    page.set_viewport_size(PAPER)  # type: ignore[arg-type]
    page.goto(address)
    page.emulate_media(media="print")
    tables = page.locator("table")
    heights = tables.evaluate_all(
        "all => all.map(one => one.checkVisibility() ? one.getBoundingClientRect().height : 0)"
    )
    assert (
        tables.evaluate_all("all => Math.max(...all.map(one => one.getBoundingClientRect().right))") <= PAPER["width"]
    )
    assert len(heights) > 10
    assert min(heights) > 0
    figures = page.locator("svg.plot").evaluate_all("all => all.map(one => one.getBoundingClientRect().toJSON())")
    # In the other media they would be wider than the sheet; a figure higher than the sheet would be cut in two.
    assert all(one["right"] <= PAPER["width"] and one["height"] <= PAPER["height"] for one in figures)
    assert all(one["width"] > 0 for one in figures)


def test_words_in_figures_stand_within_them_and_off_each_other(page: Page, hostile: str) -> None:
    page.goto(hostile)
    page.evaluate("() => document.querySelectorAll('details').forEach(one => { one.open = true })")
    outside, over = page.evaluate(
        """() => {
            const outside = [], over = [];
            for (const svg of document.querySelectorAll('svg.plot')) {
                const frame = svg.getBoundingClientRect();
                const words = [...svg.querySelectorAll('text')].filter(one => one.textContent.trim());
                const boxes = words.map(one => one.getBoundingClientRect());
                boxes.forEach((box, i) => {
                    if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1)
                        outside.push(words[i].textContent);
                    boxes.slice(i + 1).forEach((other, j) => {
                        const wide = Math.min(box.right, other.right) - Math.max(box.left, other.left);
                        const high = Math.min(box.bottom, other.bottom) - Math.max(box.top, other.top);
                        if (wide > 2 && high > 5) over.push([words[i].textContent, words[i + 1 + j].textContent]);
                    });
                });
            }
            return [outside, over];
        }"""
    )
    assert outside == []
    assert over == []


def test_the_page_has_no_look_of_its_own_from_elsewhere(page: Page, address: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    assert asked == [address]


def test_the_run_of_the_page_is_not_needed(page: Page, address: str, tmp_path: Path) -> None:
    from urllib.parse import unquote, urlsplit

    moved = tmp_path / "sent by mail.html"
    moved.write_bytes(Path(unquote(urlsplit(address).path)).read_bytes())
    page.goto(moved.as_uri())
    assert page.locator("svg.plot").count() > 5
