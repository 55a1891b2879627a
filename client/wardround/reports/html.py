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
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 64rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; overflow-wrap: break-word; }
h1 { font-size: 1.75rem; line-height: 1.2; font-weight: 650; margin: 0 0 .3rem; }
h2 { font-size: 1.25rem; line-height: 1.3; font-weight: 650; margin: 2.8rem 0 .6rem; padding-top: .9rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.02rem; font-weight: 650; margin: 1.6rem 0 .4rem; }
p, ul, ol { max-width: 46rem; margin: .5rem 0; }
li { margin: .2rem 0; }
.soft { color: var(--soft); }
.loud { border-left: 4px solid #d55e00; background: #fff4ec; padding: .6rem .9rem; margin: .6rem 0; max-width: 46rem; }
.verdict { font-size: 1.15rem; line-height: 1.45; margin: .8rem 0; }
.facts { display: flex; flex-wrap: wrap; gap: .5rem 2.2rem; margin: 1rem 0 .4rem; padding: 0; }
.facts div { min-width: 5rem; }
.facts dt { color: var(--soft); font-size: .82rem; }
.facts dd { margin: 0; font-variant-numeric: tabular-nums; }
.contents { margin: 1.2rem 0 0; font-size: .92rem; }
.contents ul { display: flex; flex-wrap: wrap; gap: .1rem 1.2rem; list-style: none; padding: 0; max-width: none; }
figure { margin: 1.1rem 0; }
.named { font-size: .9rem; font-weight: 600; margin: 1.2rem 0 .4rem; }
figcaption { color: var(--soft); font-size: .9rem; max-width: 46rem; margin-top: .4rem; }
svg { display: block; width: 100%; height: auto; }
svg.plot { width: auto; max-width: 100%; min-width: 48rem; margin-bottom: .5rem; }
.wide + .wide { margin-top: 1.2rem; }
.wide { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .88rem; line-height: 1.4; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding: .3rem 0; }
th, td { padding: .28rem .9rem .28rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { white-space: nowrap; font-weight: 600; }
thead th { color: var(--soft); font-weight: 500; border-bottom-color: #9aa1ab; }
tbody th { font-weight: 500; }
td.number, th.number { text-align: right; }
td { white-space: nowrap; }
td.long, th.long { white-space: normal; min-width: 18rem; overflow-wrap: anywhere; }
details { margin: .5rem 0; }
summary { cursor: pointer; color: #005a93; }
code, pre { font: .85rem/1.45 ui-monospace, monospace; background: var(--shade); }
pre { padding: .6rem .8rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
a { color: #005a93; }
:focus-visible { outline: 3px solid #0072b2; outline-offset: 2px; }
@media (max-width: 30rem) { body { font-size: 15px; } main { padding: 1.1rem .8rem 3rem; } }
@media print {
  @page { margin: 14mm; }
  body { font-size: 10.5pt; } main { max-width: none; padding: 0; }
  h1, h2, h3, .named, caption { break-after: avoid; } figure > .wide > svg, tr, li { break-inside: avoid; }
  svg.plot { min-width: 0; } .contents { display: none; }
  table { font-size: 6.5pt; } th, td { white-space: normal; padding: .15rem .35rem .15rem 0; }
  td.long, th.long { min-width: 8rem; }
  details::details-content { content-visibility: visible; display: block; height: auto; }
  details > *:not(summary) { display: block; } .wide { overflow: visible; }
  a { color: inherit; text-decoration: none; }
}
"""
_LONG = 40
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
    kinds = ["number" if name in numeric else "" for name in header]
    head = "".join(f'<th scope="col"{_class(kind)}>{text(name)}</th>' for name, kind in zip(header, kinds, strict=True))
    lines = []
    for row in rows:
        first, *others = [_cell(cell, kind) for cell, kind in zip(row, kinds, strict=True)]
        lines.append(f'<tr><th scope="row"{first}</th>{"".join(f"<td{cell}</td>" for cell in others)}</tr>')
    named = f"<caption>{text(caption)}</caption>" if caption else ""
    label = text(caption or header[0] or "table")
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{label}">'
        f"<table>{named}<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(words: str, kind: str) -> str:
    """A cell's attributes and text; what is long may be broken."""
    return f"{_class(kind or ('long' if len(words) > _LONG else ''))}>{text(words)}"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def figure(svg: str, caption: str) -> str:
    """A figure with its caption; `svg` comes from `figures.as_svg`."""
    return f"<figure>{svg}<figcaption>{text(caption)}</figcaption></figure>"


def plots(drawn: Sequence[tuple[str, str]], caption: str) -> str:
    """One figure of one or more plots, each with its name, that scroll sideways where there is no room to read them."""
    boxes = "".join(
        (f'<p class="named">{text(name)}</p>' if len(drawn) > 1 else "")
        + f'<div class="wide" role="region" tabindex="0" aria-label="{text(name)}">{svg}</div>'
        for name, svg in drawn
    )
    return f"<figure>{boxes}<figcaption>{text(caption)}</figcaption></figure>"


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """A few figures side by side, each below its name."""
    rows = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="facts">{rows}</dl>'


def bullets(lines: Sequence[str]) -> str:
    """A list of sentences."""
    return f"<ul>{''.join(f'<li>{text(line)}</li>' for line in lines)}</ul>"


def contents(links: Sequence[tuple[str, str]]) -> str:
    """Links to the page's own parts: (anchor, words)."""
    rows = "".join(f'<li><a href="#{text(anchor)}">{text(words)}</a></li>' for anchor, words in links)
    return f'<nav class="contents" aria-label="Contents"><ul>{rows}</ul></nav>'


def details(summary: str, body: str, *, shown: bool = False) -> str:
    """A part that is folded away until it is asked for; it is shown in print."""
    return f"<details{' open' if shown else ''}><summary>{text(summary)}</summary>{body}</details>"
