"""A browser for the tests, and what every page of this project must keep to.

The browser is the system's own Chromium, steered by Playwright. Where it, Playwright or axe-core is missing, tests that
need it are skipped with the command that installs it; with WARDROUND_BROWSER_REQUIRED=1 in the environment, as in CI,
they fail.

    page      a fresh page, 1280 × 900; a message on its console, an error in it or a request that leaves this machine
              fails the test
    serious   what axe-core finds in a page that keeps people from reading it
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.browser.fetch import axe_file

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
WAIT_MS = 10_000


def missing(words: str) -> None:
    """Skip the test, or fail it where a browser is required."""
    if os.environ.get("WARDROUND_BROWSER_REQUIRED") == "1":
        pytest.fail(words, pytrace=False)
    pytest.skip(words)


# A browser for each file of tests: while Playwright runs, this thread has an event loop, and other tests need their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("Playwright is not installed; install the test extra: pip install 'wardround[test]'")
    path = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if path is None:
        missing("there is no Chromium; install it, on Debian with: apt-get install chromium")
    # Chromium has no sandbox for root, as whom CI may run; it sees pages of this test run alone.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=options)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that may complain of nothing and ask nobody but this machine."""
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(WAIT_MS)
    opened = context.new_page()
    opened.on("console", lambda message: complaints.append(f"console: {message.text}"))
    opened.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    opened.on("request", lambda request: complaints.extend(_strange(request.url)))
    yield opened
    context.close()
    assert complaints == []


def _strange(address: str) -> list[str]:
    parts = urlsplit(address)
    local = parts.hostname == "127.0.0.1" or parts.scheme in ("file", "data", "about")
    return [] if local else [f"request: {address}"]


@pytest.fixture(scope="session")
def serious() -> Callable[[Page], list[str]]:
    """Finds, in a page as it stands, what axe-core calls serious or critical: "rule: the elements"."""
    file = axe_file()
    if not file.exists():
        missing("axe-core is not there; fetch it with: python -m tests.browser.fetch")
    script = file.read_text(encoding="utf-8")

    def found(page: Page) -> list[str]:
        page.evaluate(script)
        result = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        assert result["passes"], "axe-core looked at nothing"
        return [
            f"{one['id']}: {', '.join(str(node['target']) for node in one['nodes'])}"
            for one in result["violations"]
            if one["impact"] in ("serious", "critical")
        ]

    return found
