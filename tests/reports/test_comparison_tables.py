"""Tables of comparisons: what they say, and names that do nothing in any of the four forms."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.browser.runs import HOSTILE
from tests.reports.made_runs import FAILED, add_answers, task_file, tell_study
from wardround.journal import Journal
from wardround.reports.comparing import Comparisons, compare_run
from wardround.reports.comparison_tables import (
    CSV_HEADER,
    as_csv,
    as_json,
    as_latex,
    as_markdown,
    latex,
    markdown,
    plain,
    points,
    probability,
    signed_interval,
    tables,
)

NAMES = [
    *HOSTILE,
    "=1+1",
    "-2",
    "a|b",
    "\\input{/etc/passwd}",
    "100%",
    "$x^2$",
    "_a_",
    "*a*",
    "[x][y]",
    "Ménière",
    "糖",
]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Comparisons]:
    with Journal.create(tmp_path / "run") as journal:
        add_answers(
            journal,
            task_file(tmp_path),
            {"bio": [1.0, 0.0, 0.0, None, FAILED], "general": [1.0, 1.0, 0.0, 1.0, 1.0], "third": [0.0] * 5},
        )
        tell_study(journal, pairs=[["bio", "general"], ["bio", "third"]])
        yield compare_run(journal, resamples=200)


def named(made: Comparisons, name: str) -> Comparisons:
    """The comparisons with another name for the first model of each pair."""
    comparisons = tuple(replace(one, first=replace(one.first, model=name)) for one in made.comparisons)
    return replace(made, comparisons=comparisons, standings=(), remarks=(f"remark on {name}",))


@pytest.mark.parametrize(
    ("share", "text"), [(0.0634, "+6.3"), (-0.004, "-0.4"), (0.0, "0.0"), (-0.0001, "0.0"), (1, "+100.0"), (None, "–")]
)
def test_points(share: float | None, text: str) -> None:
    assert points(share) == text


@pytest.mark.parametrize(
    ("p", "text"), [(0.012, "0.012"), (0.0004, "<0.001"), (0.0005, "0.001"), (1.0, "1"), (0.9996, "1"), (None, "–")]
)
def test_probabilities(p: float | None, text: str) -> None:
    assert probability(p) == text


def test_intervals_that_are_not_known_are_absent() -> None:
    assert signed_interval(-0.02, 0.041) == "-2.0 to +4.1"
    assert signed_interval(None, None) == "–"


def test_a_pair_as_a_table(made: Comparisons) -> None:
    first, second = tables(made)
    assert (first.title, second.title) == ("bio against general", "bio against third")
    (row,) = first.rows
    told = dict(zip(first.header, row, strict=True))
    assert told == {
        "task": "made",
        "arm": "closed-book",
        "metric": "score",
        "n (cases)": "4",
        "first %": "25.0",
        "second %": "75.0",
        # The later of the two columns of this name: all of the second could be read.
        "parsed %": "100.0",
        "difference": "-50.0",
        "95 % interval": told["95 % interval"],
        "p": "0.500",
        "p (Holm)": "1",
        "could see": "–",
        "win/tie/loss": "0/2/2",
        "left out": "1 failed",
        "verdict": "no difference shown; the study is too small to see any",
    }
    assert row[5] == "75.0"


def test_the_markdown_is_a_table_to_who_reads_markdown(made: Comparisons) -> None:
    html = MarkdownIt("commonmark").enable("table").render(as_markdown(made))
    assert html.count("<table>") == 3
    assert "<h2>bio against general</h2>" in html
    assert "<h2>Order of the models over the resamples</h2>" in html
    assert "INCOMPLETE" in html


class _Text(HTMLParser):
    """The text of a page and the names of its elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.elements: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.elements.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


OURS = {"h1", "h2", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_shown_by_markdown_as_they_are(made: Comparisons, name: str) -> None:
    # GitHub's Markdown makes links of bare addresses, too; `linkify` is not here, so those are looked for below.
    page = _Text(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(as_markdown(named(made, name))))
    assert page.elements <= OURS
    assert f"{plain(name)} against general".strip() in page.text


@settings(deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_one_cell_of_a_markdown_table(text: str) -> None:
    written = markdown(text)
    page = (
        MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(f"| a | b |\n| - | - |\n| x{written}y | z |")
    )
    read = _Text(page)
    assert read.elements <= OURS | {"table"}
    assert page.count("<td>") == 2
    assert f"x{plain(text)}y" in read.text
    assert not re.search(r"://|www\.|@", written)


@settings(deadline=None)
@given(st.text())
def test_latex_of_any_text_is_ascii_that_commands_nothing(text: str) -> None:
    written = latex(text)
    assert written.isascii()
    assert written.isprintable() or not written
    assert "--" not in latex("a--b")
    # Without our own commands and escaped signs nothing is left that TeX would act on.
    ours = (
        r"\\(?:textbackslash|textasciicircum|textasciitilde|textquoteleft|char34|leq|geq|times|cdot|ldots|ss|o|O|ae|AE)"
    )
    bare = re.sub(rf"{ours}(?![A-Za-z])|\\[`'^~=.\"rHvc]\{{[A-Za-z]\}}|\\[{{}}$&#%_]|\$[^$]*\$|[{{}}]", "", written)
    assert not re.search(r"[\\$&#%_^~]", bare), bare


def test_latex_has_a_row_a_comparison_and_as_many_cells_as_columns(made: Comparisons) -> None:
    for name in NAMES:
        written = as_latex(named(made, name))
        assert written.count("\\begin{tabular}") == written.count("\\end{tabular}") == 2
        for columns, body in re.findall(
            r"\\begin\{tabular\}\{((?:[lr]|p\{[^}]*\})+)\}\n(.*?)\\end\{tabular\}", written, re.S
        ):
            width = len(re.sub(r"\{[^}]*\}", "", columns))
            rows = [line for line in body.splitlines() if line != "\\hline"]
            assert all(len(re.split(r"(?<!\\) & ", line)) == width for line in rows)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("llama-3_8b", "llama-3\\_8b"),
        ("-6.2", "$-$6.2"),
        ("+1.0 to -2.0", "+1.0 to $-$2.0"),
        ("Ménière", "M\\'{e}ni\\`{e}re"),
        ("糖", "[U+7CD6]"),
        ("a--b", "a-{}-b"),
        ("50 %", "50 \\%"),
    ],
)
def test_latex_by_example(text: str, written: str) -> None:
    assert latex(text) == written


@pytest.mark.parametrize("name", NAMES)
def test_csv_gives_every_name_back_and_computes_nothing(made: Comparisons, name: str) -> None:
    header, *rows = csv.reader(io.StringIO(as_csv(named(made, name))))
    assert tuple(header) == CSV_HEADER
    assert len(rows) == len(made.comparisons)
    for row in rows:
        cells = dict(zip(header, row, strict=True))
        assert cells["first_model"].removeprefix("'") == plain(name)
        assert not cells["first_model"].startswith(("=", "+", "-", "@"))
        assert float(cells["difference"]) == made.comparisons[rows.index(row)].difference


@pytest.mark.parametrize("name", NAMES)
def test_json_gives_every_name_back_in_ascii(made: Comparisons, name: str) -> None:
    written = as_json(named(made, name))
    assert written.isascii()
    told = json.loads(written)
    assert told["comparisons"][0]["first"]["model"] == name


def test_json_has_the_fields_of_the_dataclasses(made: Comparisons) -> None:
    told = json.loads(as_json(made))
    (one, _), (theirs, _) = told["comparisons"], made.comparisons
    assert (one["difference"], one["p"], one["words"]) == (theirs.difference, theirs.p, theirs.words)
    assert (one["finding"], one["first"]["parse_rate"]) == ("no difference shown", 0.75)
    assert (told["family"], told["resamples"], told["margin"]) == (2, 200, 0.05)
    assert told["rankings"][0]["models"] == ["general", "bio", "third"]
