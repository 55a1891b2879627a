"""What all pages of the viewer have in common: the frame, links, and small pieces of HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from wardround.reports.numbers import percent
from wardround.reports.viewer.filters import Filter
from wardround.reports.viewer.finding import Line, Place
from wardround.reports.viewer.outcomes import MARKS, OUTCOMES
from wardround.reports.viewer.shown import attribute, shown

# Key, what it does; `viewer.js` presses what is marked with the key.
KEYS = (
    ("j, k", "next and previous sample; in a list, to the next and previous line"),
    ("→, ←", "the same for a sample; in a list, next and previous page"),
    ("Enter", "open the sample of the line"),
    ("/", "search"),
    ("u", "up to the list"),
    ("b", "choose what to show beside the sample"),
    ("?", "this help"),
)


@dataclass(frozen=True, slots=True)
class Site:
    """Where the viewer lives and what it shows: the path that every address begins with, the run's name, a warning."""

    base: str
    run: str
    warning: str

    def listing(self, wanted: Filter, **more: str) -> str:
        """The address of a list, for an attribute."""
        return _address(f"{self.base}/", {**wanted.query(), **more})

    def sample(self, place: Place, wanted: Filter, **more: str) -> str:
        """The address of a sample in a list, for an attribute."""
        return _address(f"{self.base}/sample/{place.cell}/{place.position}", {**wanted.query(), **more})


def _address(path: str, query: Mapping[str, str]) -> str:
    return attribute(f"{path}?{urlencode(query)}" if query else path)


def whole(site: Site, title: str, body: str) -> str:
    """A whole page around `body`, which is HTML already."""
    keys = "".join(f'<tr><th scope="row"><kbd>{key}</kbd></th><td>{what}</td></tr>' for key, what in KEYS)
    words = "".join(
        f'<tr><th scope="row">{badge(name)}</th><td>{what}</td></tr>' for name, what in (OUTCOMES | MARKS).items()
    )
    warning = f'<p class="warning" role="note">{shown(site.warning)}</p>' if site.warning else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{attribute(title)} · {attribute(site.run)}</title>
<link rel="stylesheet" href="{site.base}/viewer.css">
<link rel="icon" href="{site.base}/icon.svg">
<script src="{site.base}/viewer.js" defer></script>
</head>
<body>
<a class="skip" href="#main">To the content</a>
<header>
<p class="run"><a href="{site.base}/">{shown(site.run)}</a></p>
<button type="button" id="keys" data-key="?">Keys <kbd>?</kbd></button>
</header>
{warning}
<main id="main">
{body}
</main>
<dialog id="help" aria-labelledby="help-title">
<h2 id="help-title">Keys and words</h2>
<table><caption>Keys</caption>{keys}</table>
<p><label><input type="checkbox" id="letters" checked> Letters and marks are keys</label></p>
<table><caption>Outcomes</caption>{words}</table>
<form method="dialog"><button>Close</button></form>
</dialog>
</body>
</html>
"""


def hidden(values: Mapping[str, str]) -> str:
    """Values that a form sends along."""
    return "".join(
        f'<input type="hidden" name="{attribute(name)}" value="{attribute(value)}">' for name, value in values.items()
    )


def choice(name: str, label: str, options: Iterable[tuple[str, str]], chosen: str, key: str = "") -> str:
    """A labelled choice among (value, words); it sends its form when changed."""
    pressed = f' data-key="{key}"' if key else ""
    lines = "".join(
        f'<option value="{attribute(value)}"{" selected" if value == chosen else ""}>{attribute(words)}</option>'
        for value, words in options
    )
    return f'<label>{label} <select name="{name}" data-sends{pressed}>{lines}</select></label>'


def badges(line: Line) -> str:
    """What became of a sample: its outcome, its score where that says more, and what holds beside it."""
    value = f'<span class="value">{percent(line.value)}</span>' if line.outcome == "scored" else ""
    return badge(line.outcome) + value + "".join(badge(mark) for mark in MARKS if getattr(line, mark))


def badge(outcome: str) -> str:
    """An outcome or a mark, in a word that says itself what it means."""
    meaning = OUTCOMES.get(outcome) or MARKS.get(outcome, "")
    return f'<span class="badge {outcome.replace(" ", "-")}" title="{meaning}">{outcome}</span>'


def text_block(body: str, kind: str = "") -> str:
    """Text from outside, `body` being its HTML, as it stands: blanks and line ends kept."""
    return f'<div class="text {kind}" dir="auto">{body}</div>' if body else '<p class="soft">(no text)</p>'


def table(caption: str, of: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose cells are HTML already; the first of a row names it. It scrolls sideways where it is too wide.

    `of` tells it apart, for those who do not see where it stands, from the table of the sample beside it.
    """
    head = "".join(f'<th scope="col">{name}</th>' for name in header)
    lines = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for first, *cells in rows
    )
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{attribute(f"{caption}: {of}")}">'
        f"<table><caption>{attribute(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def folded(summary: str, body: str, *, unfolded: bool = False) -> str:
    """A part that is folded away; `body` is HTML already, `summary` is text."""
    return f"<details{' open' if unfolded else ''}><summary>{attribute(summary)}</summary>{body}</details>"
