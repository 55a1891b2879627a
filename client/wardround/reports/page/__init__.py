"""A run as a page to share: one file that asks no network and runs no script, the verdict first.

    gathered    what a page is made of, read from the run once
    verdict, pairs, models, levels, costs, arms, abstaining, failures, beside, method      the page's parts
    forest, heat, scatter, bars, dots      figures, of plain values
    drawing, scales, wording      shapes and words as SVG, axes, numbers and lists as they are written

The page holds figures about answers and none of the samples' text, so that it may be shown where the data may not. The
same run gives the same bytes.
"""

from wardround.reports.page.whole import run_page, write_page

__all__ = ["run_page", "write_page"]
