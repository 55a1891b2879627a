"""Comparisons as Markdown, CSV, LaTeX and JSON.

Names of models, tasks, arms and metrics are written by others: each form escapes them so that they are shown as they
are and do nothing. Tables for people have per cent and points; CSV and JSON have shares from 0 to 1.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from wardround.reports.comparison import Comparison, Comparisons, PublishedPair, Ranking, Standing
from wardround.reports.numbers import ABSENT, counted, number, percent

_FIRST = ("task", "arm", "metric", "n (cases)", "first %", "parsed %", "second %", "parsed %")
_REST = ("difference", "95 % interval", "p", "p (Holm)", "could see", "win/tie/loss")
_TEXT = {"task", "arm", "model", "metric", "left out", "published", "verdict"}


@dataclass(frozen=True, slots=True)
class Table:
    """One pair's comparisons as text: a title, what stands below, and cells that are not yet escaped."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    below: tuple[str, ...]


def tables(made: Comparisons) -> list[Table]:
    """A table a pair, in the order of the pairs."""
    of_pairs: dict[tuple[str, str, str], list[Comparison]] = {}
    for one in made.comparisons:
        names = (one.first.model, one.second.model) if one.kind == "models" else (one.first.arm, one.second.arm)
        of_pairs.setdefault((one.kind, *names), []).append(one)
    return [_table(*key, ones, made.standings) for key, ones in of_pairs.items()]


def _table(kind: str, first: str, second: str, ones: Sequence[Comparison], standings: Sequence[Standing]) -> Table:
    left_out = any(one.unpaired or one.failed for one in ones)
    published = any(one.published for one in ones)
    extra = (*(("left out",) if left_out else ()), *(("published",) if published else ()))
    second_column = "arm" if kind == "models" else "model"
    header = (*(second_column if name == "arm" else name for name in _FIRST), *_REST, *extra, "verdict")
    rows = tuple(
        (
            *_start(one),
            *(([_left_out(one)]) if left_out else ()),
            *((["; ".join(map(_figures, one.published)) or ABSENT]) if published else ()),
            one.words,
        )
        for one in ones
    )
    below = [_said(one) for one in standings if _belongs(one, kind, first, second)]
    sources = dict.fromkeys(f"{one.metric}: {one.paper}, {one.version}" for each in ones for one in each.published)
    if sources:
        below.append(f"published figures (their data, their prompts): {'; '.join(sources)}")
    title = f"{first} against {second}" if kind == "models" else f"arm {first} against arm {second}"
    return Table(title, header, rows, tuple(below))


def _belongs(one: Standing, kind: str, first: str, second: str) -> bool:
    names = (one.first_model, one.second_model) if kind == "models" else (one.first_arm, one.second_arm)
    return one.kind == kind and names == (first, second) and one.tasks > 1


def _start(one: Comparison) -> tuple[str, ...]:
    tally = one.tally
    return (
        one.task,
        one.first.arm if one.kind == "models" else one.first.model,
        one.metric,
        f"{one.n:,} ({one.clusters:,})" if one.clustered else f"{one.n:,}",
        percent(one.first.value),
        percent(one.first.parse_rate),
        percent(one.second.value),
        percent(one.second.parse_rate),
        points(one.difference),
        signed_interval(one.low, one.high),
        probability(one.p),
        probability(one.p_adjusted),
        percent(one.detectable),
        f"{tally.wins:,}/{tally.ties:,}/{tally.losses:,}" if tally else ABSENT,
    )


def points(share: float | None) -> str:
    """A difference in points with its sign: "+6.3", "-0.4", "0.0"."""
    if share is None:
        return ABSENT
    written = f"{100 * share:+.1f}"
    return "0.0" if float(written) == 0 else written


def signed_interval(low: float | None, high: float | None) -> str:
    """A difference's interval in points: "-2.0 to +4.1"."""
    return ABSENT if low is None or high is None else f"{points(low)} to {points(high)}"


def probability(p: float | None) -> str:
    """A p-value: "0.012", "<0.001", "1"."""
    if p is None:
        return ABSENT
    if p < 0.0005:
        return "<0.001"
    return f"{p:.3f}" if p < 0.9995 else "1"


def _left_out(one: Comparison) -> str:
    parts = [f"{many:,} {what}" for many, what in ((one.failed, "failed"), (one.unpaired, "unpaired")) if many]
    return ", ".join(parts) or ABSENT


def _figures(one: PublishedPair) -> str:
    return f"{percent(one.first)} against {percent(one.second)} ({points(one.difference)})"


def _said(one: Standing) -> str:
    """A pair over its tasks: "closed-book, 6 tasks: higher 1, equal 0, lower 5; shown better 0, worse 3 …"."""
    where = one.first_model if one.kind == "arms" else one.first_arm
    return (
        f"{where}, {counted(one.tasks, 'task')}: higher in {one.higher}, equal in {one.equal}, lower in {one.lower};"
        f" shown to be better in {one.better}, worse in {one.worse}, no worse by the margin in {one.non_inferior}"
    )


def facts(made: Comparisons) -> list[str]:
    """What holds for all tables, a line each."""
    return [
        f"study: {made.study or ABSENT}; profile: {', '.join(made.profiles)}",
        f"difference: first less second, in points; intervals of 95 % from {number(made.resamples)} paired resamples"
        f" of whole cases, seed {made.seed}",
        f"p (Holm): adjusted over {counted(made.family, 'test')}; could see: the difference in points that would be"
        " called one with a probability of 80 %",
        f"margin of non-inferiority: {100 * made.margin:g} points; where it is kept the error is 2.5 % a comparison",
        *made.remarks,
    ]


def as_markdown(made: Comparisons) -> str:
    """A section a pair with its table (GitHub's form), then how sure the order of the models is."""
    lines = ["# Comparisons", "", *(f"- {markdown(line)}" for line in facts(made))]
    for one in tables(made):
        lines += ["", f"## {markdown(one.title)}", "", *_markdown_table(one.header, one.rows)]
        lines += ["", *(f"- {markdown(line)}" for line in one.below)] if one.below else []
    ranked = [ranking for ranking in made.rankings if len(ranking.models) > 2]
    if ranked:
        header = ("task", "arm", "metric", "model", "n", "value %", "first in % of resamples", "before the next %")
        rows = [row for ranking in ranked for row in _rank_rows(ranking)]
        lines += ["", "## Order of the models over the resamples", "", *_markdown_table(header, rows)]
    return "\n".join(lines) + "\n"


def _rank_rows(one: Ranking) -> list[tuple[str, ...]]:
    return [
        (
            *((one.task, one.arm, one.metric) if place == 0 else ("", "", "")),
            model,
            f"{one.n[place]:,}",
            percent(one.values[place]),
            percent(one.ranks[place][0]),
            percent(one.before[place][place + 1] if place + 1 < len(one.models) else None),
        )
        for place, model in enumerate(one.models)
    ]


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rules = [":--" if name in _TEXT else "--:" for name in header]
    return [
        f"| {' | '.join(cells)} |"
        for cells in (header, rules, *([markdown(cell) for cell in row] for row in rows))
    ]  # fmt: skip


def plain(text: str) -> str:
    """Text on one line and without what steers a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def markdown(text: str) -> str:
    """Text that every Markdown shows as it is: no markup, no table cell, no HTML, no link made of an address."""
    shown = plain(text)
    shown = re.sub(r"[\\`*\[\]~|#!$]", r"\\\g<0>", shown)
    # Between letters it marks nothing, and names are full of it.
    shown = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", shown)
    shown = shown.replace("&", "&amp;").replace(">", "&gt;").replace("@", "&#64;").replace("://", "&#58;//")
    # Before anything else it begins no tag: "<0.001".
    shown = re.sub(r"<(?![0-9])", "&lt;", shown)
    return re.sub(r"(?i)www\.", lambda found: f"{found[0][:-1]}&#46;", shown)


def as_latex(made: Comparisons) -> str:
    """A `table` environment a pair, to be put into a document; compiles without any package.

    Rules are `\\hline`; with booktabs they may be replaced by its own. Letters with accents are written as commands,
    and what TeX's own fonts lack as its code point, "[U+7CD6]".
    """
    lines = [f"% {_comment(line)}" for line in facts(made)]
    for one in tables(made):
        widths = "".join("l" if name in _TEXT - {"verdict"} else "p{0.2\\textwidth}" if name == "verdict" else "r"
                         for name in one.header)  # fmt: skip
        caption = ". ".join(latex(part) for part in (one.title, *one.below))
        lines += [
            "",
            "\\begin{table}",
            f"\\caption{{{caption}}}",
            "\\scriptsize\\setlength{\\tabcolsep}{3pt}",
            f"\\begin{{tabular}}{{{widths}}}",
            "\\hline",
            _latex_row(one.header),
            "\\hline",
            *(_latex_row(row) for row in one.rows),
            "\\hline",
            "\\end{tabular}",
            "\\end{table}",
        ]
    return "\n".join(lines) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    # A bracket behind \\ would be read as a length, and one at a row's beginning stands behind \\.
    return f"{' & '.join(f'{{{latex(cell)}}}' for cell in cells)} \\\\"


_LATEX = {
    "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "$": "\\$", "&": "\\&", "#": "\\#", "%": "\\%", "_": "\\_",
    "^": "\\textasciicircum{}", "~": "\\textasciitilde{}", "<": "$<$", ">": "$>$", "|": "$|$", '"': "{\\char34}",
    "`": "\\textquoteleft{}", "–": "--", "—": "---", "−": "$-$", "≤": "$\\leq$", "≥": "$\\geq$",
    "×": "$\\times$", "·": "$\\cdot$", "…": "\\ldots{}", "’": "'",
    "ß": "\\ss{}", "ø": "\\o{}", "Ø": "\\O{}", "æ": "\\ae{}", "Æ": "\\AE{}",
}  # fmt: skip
_ACCENTS = {
    "\u0300": "\\`", "\u0301": "\\'", "\u0302": "\\^", "\u0303": "\\~", "\u0304": "\\=", "\u0307": "\\.",
    "\u0308": '\\"', "\u030a": "\\r", "\u030b": "\\H", "\u030c": "\\v", "\u0327": "\\c",
}  # fmt: skip


def latex(text: str) -> str:
    """Text that TeX sets as it is, on one line, in ASCII; what it has no letter for as "[U+7CD6]"."""
    # Two hyphens, commas or apostrophes would become another sign; a number's hyphen is a minus.
    apart = re.sub(r"([-,'])(?=\1)", "\\1\0", plain(text))
    signed = re.sub(r"(?<![\w.\0-])-(?=[0-9])", "−", apart)
    return "".join("{}" if letter == "\0" else _latex_letter(letter) for letter in signed)


def _latex_letter(letter: str) -> str:
    if letter in _LATEX:
        return _LATEX[letter]
    if letter.isascii():
        return letter
    base, *marks = list(unicodedata.normalize("NFD", letter))
    if base.isascii() and base.isalpha() and len(marks) == 1 and marks[0] in _ACCENTS:
        return f"{_ACCENTS[marks[0]]}{{{base}}}"
    return f"[U+{ord(letter):04X}]"


def _comment(text: str) -> str:
    return plain(text)


def as_json(made: Comparisons) -> str:
    """Everything, names as in the dataclasses; shares from 0 to 1, null where undefined. ASCII only."""
    fields = asdict(made)
    for one, written in zip(made.comparisons, fields["comparisons"], strict=True):
        written["finding"] = str(one.finding)
        del written["verdict"]
        for side, dataclass_side in (("first", one.first), ("second", one.second)):
            written[side]["parse_rate"] = dataclass_side.parse_rate
        for figures, pair in zip(written["published"], one.published, strict=True):
            figures["difference"] = pair.difference
    return json.dumps(fields, indent=2, allow_nan=False)


CSV_HEADER = (
    *("kind", "task", "task_name", "level", "metric", "profile", "first_model", "first_arm", "second_model"),
    *("second_arm", "n", "clusters", "unpaired", "failed", "first", "first_parsed", "second", "second_parsed"),
    *("difference", "low", "high", "standard_error", "test", "p", "p_holm", "detectable", "detectable_alone"),
    *("wins", "ties", "losses", "finding", "verdict", "published"),
)


def as_csv(made: Comparisons) -> str:
    """A row a comparison, in shares from 0 to 1; all texts quoted.

    A text that a spreadsheet would compute (it begins with =, +, - or @) has an apostrophe before it.
    """
    written = io.StringIO()
    rows = csv.writer(written, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    rows.writerow(CSV_HEADER)
    for one in made.comparisons:
        tally = one.tally
        rows.writerow(
            [
                *(_cell(text) for text in (one.kind, one.task, one.task_name)),
                one.level,
                *(_cell(text) for text in (one.metric, one.profile, one.first.model, one.first.arm)),
                *(_cell(text) for text in (one.second.model, one.second.arm)),
                *(one.n, one.clusters, one.unpaired, one.failed),
                *(one.first.value, one.first.parse_rate, one.second.value, one.second.parse_rate),
                *(one.difference, one.low, one.high, one.standard_error),
                one.test,
                *(one.p, one.p_adjusted, one.detectable, one.detectable_alone),
                *((tally.wins, tally.ties, tally.losses) if tally else (None, None, None)),
                *(str(one.finding), _cell(one.words)),
                _cell("; ".join(f"{_figures(each)}: {each.paper}" for each in one.published)),
            ]
        )
    return written.getvalue()


def _cell(text: str) -> str:
    shown = plain(text)
    return f"'{shown}" if shown[:1] in ("=", "+", "-", "@") else shown
