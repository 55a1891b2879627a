from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.runs import HOSTILE, Viewer, answer, choice_rows, failure, plan, reply, running_viewer, shown
from wardround.journal import Cell, Journal, Row
from wardround.running.marking import score_run
from wardround.task import Message, Prompt, Sample

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TEXTS = [*HOSTILE]
NAMES = ["alpha", "beta", "gamma", "delta", "epsilon"]
DOCUMENTS = "DOCUMENTS:\nDOCUMENT 1:\nThe creatinine rose.\n\nDOCUMENT 2:\nNo fever since Monday.\n\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two models, two arms of one task, hostile answers and a task whose metric is no count."""
    made = tmp_path_factory.mktemp("browser") / "ward 7"
    with Journal.create(made) as journal:
        small, large = plan(journal, "case_challenge", rows=choice_rows(NAMES, documents=DOCUMENTS))
        answer(journal, small, {
            0: "The correct answer is B: sepsis",
            1: "The correct answer is A: gout",
            2: reply("Who knows?", reasoning="Fever speaks for sepsis, " * 20, finish_reason="length"),
            3: failure("timeout", "no answer in 60 s"),
        })  # fmt: skip
        answer(journal, large, dict.fromkeys(range(5), "The correct answer is B: sepsis"))
        rows = [
            Row(Sample(f"hostile {number} {text}", {"question": text, "options": {"A": text, "B": "b"}}, "B"),
                Prompt((Message("user", f"{number} {text}"),)))
            for number, text in enumerate(TEXTS)
        ]  # fmt: skip
        hostile = plan(journal, "case_challenge", arm="<b>arm</b>", rows=rows)
        for cell in hostile:
            answer(journal, cell, {place: reply(text, reasoning=text) for place, text in enumerate(TEXTS)})
        meqsum, _ = plan(journal, "meqsum")
        first = next(iter(journal.answers(meqsum.id))).sample
        answer(journal, meqsum, {0: str(first.reference), 1: "zzz"})
        score_run(journal)
        journal.put_manifest({"tasks": {"case_challenge": {"sensitivity": "credentialed", "invented": False}}})
    return made


@pytest.fixture(scope="module")
def viewer(folder: Path) -> Iterator[Viewer]:
    with running_viewer(folder) as running:
        # Until everything is listed and can be found.
        while True:
            with urllib.request.urlopen(f"{running.address}?words=alpha", timeout=10) as listed:
                if b'role="status"' not in listed.read():
                    break
            time.sleep(0.05)
        yield running


@pytest.fixture
def at_list(page: Page, viewer: Viewer) -> Page:
    """The page at the whole list."""
    page.goto(viewer.address)
    return page


def until(page: Page, holds: Callable[[], bool]) -> None:
    """Reload until it holds: the viewer reads the journal while it answers."""
    for _ in range(100):
        if holds():
            return
        page.wait_for_timeout(50)
        page.reload()
    raise AssertionError("it did not come to hold")


def names(page: Page) -> list[str]:
    return page.locator(".line .name").all_inner_texts()


def title(page: Page) -> str:
    return page.locator("h1").inner_text()


def choose(page: Page, label: str, value: str) -> None:
    with page.expect_navigation():
        page.get_by_role("combobox", name=label, exact=True).select_option(value)


def press(page: Page, key: str) -> None:
    with page.expect_navigation():
        page.keyboard.press(key)


# The main paths.


def test_filters_narrow_the_list_and_stand_in_the_address(at_list: Page) -> None:
    choose(at_list, "Model", "small")
    choose(at_list, "Task", "case_challenge")
    choose(at_list, "Arm", "closed-book")
    assert names(at_list) == NAMES
    choose(at_list, "Outcome", "wrong")
    assert names(at_list) == ["beta"]
    assert at_list.url.endswith("?model=small&task=case_challenge&arm=closed-book&outcome=wrong")
    with at_list.expect_navigation():
        at_list.get_by_role("link", name="Clear").click()
    assert len(names(at_list)) > 5


def test_an_outcome_s_count_leads_to_its_samples_and_back(at_list: Page) -> None:
    counts = at_list.get_by_role("navigation", name="Outcomes")
    with at_list.expect_navigation():
        counts.get_by_role("link", name="failed").click()
    assert names(at_list) == ["delta"]
    assert "no answer in 60 s" in at_list.locator(".excerpt").inner_text()
    with at_list.expect_navigation():
        counts.get_by_role("link", name="failed").click()
    assert len(names(at_list)) > 5


def test_a_search_shows_where_it_found_the_words(at_list: Page) -> None:
    at_list.get_by_label("Search").fill('"speaks for sepsis"')
    press(at_list, "Enter")
    assert names(at_list) == ["gamma"]
    assert at_list.locator(".excerpt mark").first.inner_text() == "speaks for sepsis"
    assert at_list.locator(".excerpt .where").inner_text() == "reasoning:"


def test_scores_that_are_no_counts_are_found_by_their_range(at_list: Page) -> None:
    choose(at_list, "Task", "meqsum")
    choose(at_list, "Outcome", "scored")
    assert len(names(at_list)) == 2
    at_list.get_by_label("to", exact=True).fill("0")
    press(at_list, "Enter")
    assert len(names(at_list)) == 1
    assert "zzz" in at_list.locator(".excerpt").inner_text()


def test_pages_follow_each_other(at_list: Page) -> None:
    first = names(at_list)
    assert len(first) == 50
    press(at_list, "ArrowRight")
    assert not set(names(at_list)[:5]) & set(first[:5]) or names(at_list) != first
    with at_list.expect_navigation():
        at_list.get_by_role("link", name="Previous page").click()
    assert names(at_list) == first


def test_a_sample_shows_what_was_asked_and_answered(at_list: Page) -> None:
    at_list.goto(f"{at_list.url}?model=small&outcome=truncated")
    with at_list.expect_navigation():
        at_list.get_by_role("link", name="gamma").click()
    main = at_list.get_by_role("main")
    for words in (
        "Who knows?",
        "accuracy_lenient",
        "Answer shortly.",
        "What has the patient of gamma?",
        "case_challenge",
    ):
        assert main.get_by_text(words).first.is_visible(), words
    reasoning = at_list.get_by_text("Fever speaks for sepsis").first
    assert not reasoning.is_visible()
    at_list.get_by_text(re.compile(r"^Reasoning \(")).click()
    assert reasoning.is_visible()
    document = at_list.get_by_text("No fever since Monday.")
    assert not document.is_visible()
    at_list.get_by_text("DOCUMENT 2 (4 words)").click()
    assert document.is_visible()


def test_two_models_stand_side_by_side_with_what_differs_marked(at_list: Page) -> None:
    at_list.goto(f"{at_list.url}?model=small&outcome=wrong&task=case_challenge&arm=closed-book")
    with at_list.expect_navigation():
        at_list.get_by_role("link", name="beta").click()
    with at_list.expect_navigation():
        at_list.get_by_role("combobox", name="Beside it").select_option(label="large · closed-book")
    sides = at_list.locator(".sides.two > .side")
    marked = [side.locator("mark").all_inner_texts() for side in sides.all()]
    assert [[word.strip() for word in words] for words in marked] == [["A", "gout"], ["B", "sepsis"]]
    assert at_list.get_by_text("Both were asked with this prompt.").is_visible()


def test_a_link_leads_to_the_same_sample_in_another_window(at_list: Page, browser: Browser) -> None:
    at_list.goto(f"{at_list.url}?model=large&arm=closed-book&task=case_challenge&beside=1")
    with at_list.expect_navigation():
        at_list.get_by_role("link", name="epsilon").click()
    assert re.search(r"/sample/\d+/4\?", at_list.url)
    other = browser.new_page()
    other.goto(at_list.url)
    assert title(other) == title(at_list) == "epsilon"
    assert other.get_by_role("heading", name="large · case_challenge · closed-book").is_visible()
    other.close()


def test_a_run_that_holds_credentialed_text_says_so_on_every_page(at_list: Page) -> None:
    note = at_list.get_by_role("note")
    assert "credentialed data" in note.inner_text()
    with at_list.expect_navigation():
        at_list.locator("a.line").first.click()
    assert "credentialed data" in note.inner_text()


def test_what_a_run_writes_meanwhile_comes_with_a_reload(at_list: Page, folder: Path) -> None:
    at_list.goto(f"{at_list.url}?model=small&outcome=not+asked&task=meqsum")
    assert len(names(at_list)) > 1
    before = names(at_list)
    with Journal.open(folder) as journal:
        cell = next(cell for cell in journal.cells() if (cell.model, cell.task) == ("small", "meqsum"))
        position = next(one.position for one in journal.answers(cell.id) if one.failure == "not_asked")
        answer(journal, cell, {position: "What of quixotic words?"})
    until(at_list, lambda: len(names(at_list)) == len(before) - 1)
    address = at_list.url.split("?")[0]
    at_list.goto(f"{address}?words=quixotic&scope=answer")
    until(at_list, lambda: names(at_list) == before[:1])
    # Nobody scored it in the journal.
    assert at_list.locator(".badges").first.inner_text().startswith("scored")


# Keys.


def test_letters_and_arrows_step_through_the_samples_of_a_list(at_list: Page) -> None:
    at_list.goto(f"{at_list.url}?model=small&task=case_challenge&arm=closed-book")
    at_list.keyboard.press("j")
    at_list.keyboard.press("j")
    assert at_list.locator("a.line:focus .name").inner_text() == "beta"
    at_list.keyboard.press("ArrowUp")
    at_list.keyboard.press("ArrowDown")
    at_list.keyboard.press("k")
    assert at_list.locator("a.line:focus .name").inner_text() == "alpha"
    press(at_list, "Enter")
    seen = [title(at_list)]
    for key in ("j", "ArrowRight", "k", "ArrowLeft"):
        press(at_list, key)
        seen.append(title(at_list))
    assert seen == ["alpha", "beta", "gamma", "beta", "alpha"]
    press(at_list, "u")
    assert names(at_list) == NAMES


def test_keys_search_choose_and_help(at_list: Page) -> None:
    with at_list.expect_navigation():
        at_list.locator("a.line").first.click()
    at_list.keyboard.press("/")
    at_list.keyboard.type("jk?")
    assert at_list.get_by_label("Search").input_value() == "jk?"
    at_list.keyboard.press("Escape")
    at_list.keyboard.press("b")
    assert at_list.locator("select:focus").get_attribute("name") == "beside"
    at_list.locator("select:focus").blur()
    at_list.keyboard.press("?")
    help_ = at_list.get_by_role("dialog", name="Keys and words")
    assert help_.is_visible()
    at_list.keyboard.press("Escape")
    assert not help_.is_visible()


def test_letters_can_be_taken_from_the_keys(at_list: Page) -> None:
    at_list.keyboard.press("?")
    at_list.get_by_label("Letters and marks are keys").uncheck()
    at_list.keyboard.press("Escape")
    at_list.reload()
    at_list.keyboard.press("j")
    assert not at_list.locator("a.line:focus").count()
    at_list.get_by_role("button", name="Keys").click()
    at_list.get_by_label("Letters and marks are keys").check()
    at_list.keyboard.press("Escape")
    at_list.keyboard.press("j")
    assert at_list.locator("a.line:focus").count() == 1


# Text as text.


def test_a_hostile_answer_is_shown_as_text_alone_and_beside_another(page: Page, viewer: Viewer, folder: Path) -> None:
    left, right = hostile_cells(folder)
    for number, text in enumerate(TEXTS):
        for beside, blocks in (("", 2), (f"?beside={right.id}", 4)):
            page.goto(f"{viewer.address}sample/{left.id}/{number}{beside}")
            # The answer and the reasoning of each side, as the browser has them: nothing rendered, no blank lost.
            texts = page.locator(".sides > .side > .text, .sides > .side > details > .text")
            assert texts.evaluate_all("all => all.map((one) => one.textContent)") == [shown(text)] * blocks
            assert texts.evaluate_all("all => all.flatMap((one) => [...one.querySelectorAll(':not(.odd)')])") == []
            assert title(page) == f"hostile {number} {shown(text)}"
            assert_nothing_ran(page)


def test_hostile_answers_in_a_list_are_shown_as_text(page: Page, viewer: Viewer) -> None:
    page.goto(f"{viewer.address}?arm=%3Cb%3Earm%3C%2Fb%3E&model=small")
    excerpts = page.locator(".excerpt").evaluate_all("all => all.map((one) => one.textContent)")
    assert excerpts == [shown(text) for text in TEXTS]
    assert_nothing_ran(page)


def test_a_hostile_search_is_shown_as_text(page: Page, viewer: Viewer) -> None:
    page.goto(viewer.address)
    for text in TEXTS[:3]:
        page.get_by_label("Search").fill(text)
        press(page, "Enter")
        assert page.get_by_label("Search").input_value() == text
        assert_nothing_ran(page)


def hostile_cells(folder: Path) -> list[Cell]:
    with Journal.open(folder) as journal:
        return [cell for cell in journal.cells() if cell.arm == "<b>arm</b>"]


def assert_nothing_ran(page: Page) -> None:
    assert page.evaluate("window.hacked") is None
    assert page.title() != "hacked"
    assert page.locator("main :is(script, img, svg, b, iframe)").count() == 0
    assert page.locator("main a[href^='javascript'], main a[href*='0.0.0.0']").count() == 0


# For everyone, on any screen.


ADDRESSES = ("", "?words=sepsis&outcome=failed", "sample/1/2", "sample/1/3", "sample/1/1?beside=2&words=gout")


def unfold(page: Page) -> None:
    page.evaluate("() => document.querySelectorAll('details').forEach((one) => one.open = true)")


@pytest.mark.parametrize("address", ADDRESSES)
def test_nothing_keeps_people_from_reading(
    page: Page, viewer: Viewer, serious: Callable[[Page], list[str]], address: str
) -> None:
    page.goto(viewer.address + address)
    unfold(page)
    assert serious(page) == []


def test_nothing_in_the_help_keeps_people_from_reading(at_list: Page, serious: Callable[[Page], list[str]]) -> None:
    at_list.keyboard.press("?")
    assert serious(at_list) == []


def test_a_narrow_screen_needs_no_scrolling_sideways(
    page: Page, viewer: Viewer, serious: Callable[[Page], list[str]]
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for address in ADDRESSES:
        page.goto(viewer.address + address)
        unfold(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert serious(page) == []


def test_everything_works_without_the_script(viewer: Viewer, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(viewer.address)
    page.get_by_role("combobox", name="Outcome", exact=True).select_option("failed")
    with page.expect_navigation():
        page.get_by_role("button", name="Show").click()
    with page.expect_navigation():
        page.get_by_role("link", name="delta").click()
    assert title(page) == "delta"
    context.close()
