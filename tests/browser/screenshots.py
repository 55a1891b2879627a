"""Make the pictures in docs/images/ from a run, with the system's Chromium: the top of its page,
its pairs, and the viewer with two models side by side.

python -m tests.browser.screenshots RUN [--to docs/images]
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import CHROMIUM
from tests.browser.runs import running_viewer
from wardround.journal import Cell, Journal
from wardround.reports.page import write_page

SIZE = {"width": 1280, "height": 860}
# A README is read before anything is fetched on purpose.
MOST_BYTES = 150_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--to", type=Path, default=Path("docs/images"))
    arguments = parser.parse_args()
    arguments.to.mkdir(parents=True, exist_ok=True)
    path = next(found for name in CHROMIUM if (found := shutil.which(name)))
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)  # type: ignore[arg-type]
        with Journal.open(arguments.run) as journal:
            page.goto(write_page(journal, Path(folder) / "page.html").as_uri())
            cells = journal.cells()
        keep(page, arguments.to / "page.png")
        page.evaluate("() => document.querySelector('#pairs').scrollIntoView()")
        keep(page, arguments.to / "page-figures.png")
        with running_viewer(arguments.run) as viewer:
            page.goto(viewer.address)
            while page.locator('[role="status"]').count():
                page.wait_for_timeout(200)
                page.reload()
            page.goto(f"{viewer.address}{side_by_side(cells)}")
            keep(page, arguments.to / "viewer.png")
        browser.close()


def side_by_side(cells: Sequence[Cell]) -> str:
    """The address of a sample with the answers of two models beside each other, in free text where the run has some."""
    first = next((cell for cell in cells if cell.task == "meqsum"), cells[0])
    others = [cell for cell in cells if (cell.task, cell.arm) == (first.task, first.arm) and cell.id != first.id]
    return f"sample/{first.id}/0?beside={others[-3].id}" if len(others) > 2 else f"sample/{first.id}/0"


def keep(page: Page, file: Path) -> None:
    """The window as a PNG of few colours, as flat pages have."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, optimize=True)
    size = file.stat().st_size
    if size > MOST_BYTES:
        raise SystemExit(f"{file} has {size:,} bytes, more than {MOST_BYTES:,}")
    print(f"{file}: {size:,} bytes")


if __name__ == "__main__":
    main()
