"""Self-contained pages: one file, no network, nothing in it that runs, every text escaped.

A page's content security policy forbids scripts, fonts, frames and any address, so that even a fault in escaping could
load and send nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_STYLE = """
:root { color-scheme: light; --ink: #1a1c1f; --soft: #565b63; --line: #d5d9df; --paper: #fff; --shade: #f4f6f8; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; }
p, ul, ol { max-width: 46rem; }
.soft { color: var(--soft); }
.loud { border-left: 4px solid #d55e00; background: #fff4ec; padding: .6rem .9rem; margin: .6rem 0; max-width: 46rem; }
.verdict { font-size: 1.1rem; }
figure { margin: 1rem 0; }
figcaption { color: var(--soft); font-size: .9rem; max-width: 46rem; }
svg { display: block; width: 100%; height: auto; }
.wide { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding: .3rem 0; }
th, td { padding: .25rem .7rem .25rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { white-space: nowrap; }
td.number, th.number { text-align: right; white-space: nowrap; }
details { margin: .5rem 0; }
summary { cursor: pointer; color: #005a93; }
code, pre { font: .85rem/1.45 ui-monospace, monospace; background: var(--shade); }
pre { padding: .6rem .8rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
a { color: #005a93; }
:focus-visible { outline: 3px solid #0072b2; outline-offset: 2px; }
@media (max-width: 30rem) { body { font-size: 15px; } main { padding: 1rem .8rem 3rem; } }
@media print {
  main { max-width: none; padding: 0; }
  h2 { break-after: avoid; } figure, tr { break-inside: avoid; }
  details > *:not(summary) { display: block; } .wide { overflow: visible; }
}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def page(title: str, body: str) -> str:
    """A whole page around `body`, which is HTML already."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def text(value: str) -> str:
    """Text as text, whatever stands in it; control characters, which no page may hold, are shown as U+FFFD."""
    return escape("".join(one if one.isprintable() or one in "\n\t" else "\ufffd" for one in value), quote=True)


def heading(level: int, words: str, anchor: str = "") -> str:
    """A heading, with an anchor to link to."""
    mark = f' id="{text(anchor)}"' if anchor else ""
    return f"<h{level}{mark}>{text(words)}</h{level}>"


def paragraph(words: str, kind: str = "") -> str:
    """A paragraph; `kind` is "soft", "loud" or "verdict"."""
    return f'<p class="{kind}">{text(words)}</p>' if kind else f"<p>{text(words)}</p>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numeric: set[str], caption: str = "") -> str:
    """A table that scrolls sideways on a narrow screen; the first cell of a row names it."""
    kinds = [' class="number"' if name in numeric else "" for name in header]
    head = "".join(f'<th scope="col"{kind}>{text(name)}</th>' for name, kind in zip(header, kinds, strict=True))
    lines = []
    for row in rows:
        first, *others = row
        cells = "".join(f"<td{kind}>{text(cell)}</td>" for cell, kind in zip(others, kinds[1:], strict=True))
        lines.append(f'<tr><th scope="row"{kinds[0]}>{text(first)}</th>{cells}</tr>')
    named = f"<caption>{text(caption)}</caption>" if caption else ""
    label = text(caption or header[0] or "table")
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{label}">'
        f"<table>{named}<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def figure(svg: str, caption: str) -> str:
    """A figure with its caption; `svg` comes from `figures.as_svg`."""
    return f"<figure>{svg}<figcaption>{text(caption)}</figcaption></figure>"


def details(summary: str, body: str, *, shown: bool = False) -> str:
    """A part that is folded away until it is asked for; it is shown in print."""
    return f"<details{' open' if shown else ''}><summary>{text(summary)}</summary>{body}</details>"
