from __future__ import annotations

import contextlib
import http.client
import signal
import sqlite3
import stat
import string
import subprocess
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.browser.runs import (
    HOSTILE,
    Viewer,
    answer,
    choice_rows,
    failure,
    plan,
    reply,
    running_viewer,
    shown,
)
from tests.support import wardround
from wardround.cli.view import _leading_to
from wardround.endpoints import Failure, Reply
from wardround.errors import JournalError
from wardround.journal import JOURNAL_FILE, Cell, Journal, Row
from wardround.reports.viewer import index as index_module
from wardround.reports.viewer.filling import Filling
from wardround.reports.viewer.filters import Filter, sought
from wardround.reports.viewer.finding import Finding, Line, Place
from wardround.reports.viewer.index import Index
from wardround.reports.viewer.outcomes import OUTCOMES
from wardround.reports.viewer.pages import Pages
from wardround.reports.viewer.prompts import pieces
from wardround.reports.viewer.reading import open_for_reading, seen
from wardround.reports.viewer.shown import attribute, differing, excerpt, found_in
from wardround.reports.viewer.shown import shown as as_html
from wardround.running.marking import score_run
from wardround.task import Message, Prompt, Sample

# Text as it may come: any characters, those that trip pages up more often than others.
TEXTS = st.text(st.one_of(st.characters(), st.sampled_from("<>&\"'\x00\x1b\r\u202e\u200b\xa0 ab")), max_size=60)


class Parsed(HTMLParser):
    """What a browser would make of HTML: its text and its elements."""

    def __init__(self, body: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.elements: list[str] = []
        self.feed(body)
        self.close()

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)


# Text as text.


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_as_text(text: str) -> None:
    parsed = Parsed(as_html(text))
    assert parsed.text == shown(text)
    assert set(parsed.elements) <= {"span"}


@given(TEXTS)
def test_no_text_becomes_an_element_or_keeps_a_character_without_shape(text: str) -> None:
    parsed = Parsed(as_html(text))
    assert set(parsed.elements) <= {"span"}
    assert all(letter.isprintable() or letter in "\n\t" or letter.isspace() for letter in parsed.text)
    assert not set(parsed.text) & set("\r\x1b\x00\u2028\u202e\u200b")
    assert not set(attribute(text)) & set("<>\"'")


@pytest.mark.parametrize(
    "text", ["plain", "a\tb\nc", "Zürich 7.2 %", "narrow\u202fblank and\xa0one", "日本語 العربية 👩"]
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert as_html(text) == text


def test_words_are_marked_at_their_beginnings_and_in_either_case() -> None:
    marked = [text for text, is_marked in found_in("Metformin, no metforminum, not dimetformin", ["metf"]) if is_marked]
    assert marked == ["Metf", "metf"]


def test_a_phrase_is_marked_over_blanks_and_marks() -> None:
    assert ("chest\n pain", True) in found_in("no chest\n pain", ["chest pain"])


@given(TEXTS, st.lists(TEXTS, max_size=3))
def test_marking_leaves_nothing_out(text: str, words: list[str]) -> None:
    assert "".join(piece for piece, _ in found_in(text, words)) == text


def test_what_differs_between_two_texts_is_marked_word_by_word() -> None:
    pair = differing("The answer is B: sepsis.", "The answer is C: stroke.")
    assert pair == (
        [("The answer is", False), (" B", True), (":", False), (" sepsis", True), (".", False)],
        [("The answer is", False), (" C", True), (":", False), (" stroke", True), (".", False)],
    )


@given(TEXTS, TEXTS)
def test_comparing_leaves_nothing_out(left: str, right: str) -> None:
    pair = differing(left, right)
    assert pair is not None
    assert ["".join(text for text, _ in side) for side in pair] == [left, right]


def test_texts_too_long_to_compare_are_not_compared() -> None:
    assert differing("a " * 20_001, "a") is None


def test_an_excerpt_shows_where_a_word_was_found() -> None:
    text = " ".join(["nothing"] * 100) + " fever and chills " + " ".join(["nothing"] * 100)
    made = list(excerpt(text, ["fever"], 60))
    assert ("fever", True) in made
    assert made[0][0] == "… "
    assert made[-1][0] == " …"


@given(TEXTS)
def test_cutting_a_turn_into_documents_leaves_nothing_out(text: str) -> None:
    content = f"DOCUMENTS:\nDOCUMENT 1:\n{text}\nDOCUMENT 2, EXCERPT (last date before it: 1.2.2020):\nend\n\nQUESTION:\n{text}"
    assert "".join(piece for piece, _ in pieces(content)) == content
    assert sum(is_document for _, is_document in pieces(content)) >= 2


# What is searched for, and addresses.


@pytest.mark.parametrize(
    ("words", "expression"),
    [
        ("fever", '"fever"'),
        ("fever  stroke", '"fever" "stroke"'),
        ('"chest pain" dose', '"chest pain" "dose"'),
        ("metf*", '"metf"*'),
        ("me*", '"me"'),
        ('unclosed "chest pa', '"unclosed" "chest pa"'),
        ('a"b', '"a""b"'),
        ("NEAR(a b) OR c:d", '"NEAR(a" "b)" "OR" "c:d"'),
        ("*** _ <>", ""),
    ],
)
def test_a_search_is_made_of_words_and_never_of_syntax(words: str, expression: str) -> None:
    assert sought(words).expression == expression


@given(TEXTS)
def test_whatever_is_typed_can_be_searched(words: str) -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE VIRTUAL TABLE texts USING fts5(body)")
        expression = sought(Filter.of({"words": words}).words).expression
        if expression:
            database.execute("SELECT * FROM texts WHERE texts MATCH ?", (expression,)).fetchall()


def test_a_filter_comes_back_from_its_address() -> None:
    wanted = Filter("m", "t", "a", "not asked", '"chest pain"', "prompt", "12.5", "60", "slowest")
    assert Filter.of(wanted.query()) == wanted
    assert Filter().query() == {}


def test_what_an_address_says_wrongly_is_left_out() -> None:
    assert Filter.of({"outcome": "x", "scope": "y", "order": "z; DROP", "least": "nan", "most": "many"}) == Filter()


@pytest.mark.parametrize("text", ["", "1", "1.", ".2", "1.2.3", "-1.2", "1.x", "١.2", "1.99999999999999999999"])
def test_what_names_no_place_is_no_place(text: str) -> None:
    assert Place.of(text) is None


# The index over a run.


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal.create(tmp_path / "run") as created:
        yield created


class Looked:
    """An index filled to the end by this thread, and asked."""

    def __init__(self, journal: Journal) -> None:
        self.index = Index(journal.folder)
        self.filling = Filling(self.index)
        self.finding = Finding(self.index)
        self.look()

    def look(self) -> None:
        """Take in what is new."""
        if self.filling.changed():
            for piece in self.filling.pieces():
                self.filling.list_piece(piece)
        while self.filling.take_words():
            pass

    def lines(self, **wanted: str) -> list[Line]:
        return [*self.finding.page(Filter(**wanted), 1000).lines]

    def names(self, **wanted: str) -> list[str]:
        return [line.name for line in self.lines(**wanted)]


@contextlib.contextmanager
def looking_at(journal: Journal) -> Iterator[Looked]:
    looked = Looked(journal)
    try:
        yield looked
    finally:
        looked.index.close()


def filled(journal: Journal) -> tuple[Cell, Cell]:
    """Case challenges asked of two models; of the first model's, every outcome is another."""
    names = ("right", "wrong", "unparsed", "declined", "filtered", "failed", "not asked", "cut", "empty")
    small, large = plan(journal, "case_challenge", rows=choice_rows(names))
    said: dict[int, str | Reply | Failure] = {
        0: "The correct answer is B: sepsis",
        1: "The correct answer is A: gout",
        2: "It could be anything.",
        3: "I cannot answer this question.",
        4: failure("content_filter", "withheld"),
        5: failure("timeout", "no answer in 60 s"),
        7: reply("The correct answer is B: sepsis", finish_reason="length"),
        8: reply(" \n"),
    }
    answer(journal, small, said)
    score_run(journal)
    return small, large


def test_every_sample_has_its_outcome(journal: Journal) -> None:
    filled(journal)
    with looking_at(journal) as looked:
        outcomes = {line.name: line.outcome for line in looked.lines(model="small")}
    assert outcomes == {
        "right": "right",
        "wrong": "wrong",
        "unparsed": "unparsed",
        "declined": "refused",
        "filtered": "refused",
        "failed": "failed",
        "not asked": "not asked",
        "cut": "right",
        "empty": "refused",
    }


@pytest.mark.parametrize(
    ("outcome", "names"),
    [
        ("right", ["right", "cut"]),
        ("wrong", ["wrong"]),
        ("unparsed", ["unparsed"]),
        ("refused", ["declined", "filtered", "empty"]),
        ("failed", ["failed"]),
        ("not asked", ["not asked"]),
        ("truncated", ["cut"]),
        ("empty", ["empty"]),
        ("shortened", []),
    ],
)
def test_a_list_holds_the_samples_of_an_outcome(journal: Journal, outcome: str, names: list[str]) -> None:
    filled(journal)
    with looking_at(journal) as looked:
        assert looked.names(model="small", outcome=outcome) == names
        listed = looked.finding.page(Filter(model="small", outcome=outcome), 50)
        assert listed.total == listed.counts[outcome] == len(names)


def test_the_counts_are_of_all_outcomes_whichever_is_chosen(journal: Journal) -> None:
    filled(journal)
    with looking_at(journal) as looked:
        counts = looked.finding.page(Filter(model="small", outcome="wrong"), 50).counts
    assert {name: counts[name] for name in OUTCOMES if counts[name]} == {
        "right": 2, "wrong": 1, "unparsed": 1, "refused": 3, "failed": 1, "not asked": 1,
    }  # fmt: skip
    assert counts["truncated"] == counts["empty"] == 1


def test_a_metric_that_is_no_count_has_a_value_instead_of_right_and_wrong(journal: Journal) -> None:
    small, _ = plan(journal, "meqsum")
    reference = "What are the treatments?"
    sample = next(iter(journal.answers(small.id))).sample
    answer(journal, small, {0: str(sample.reference), 1: "qqq", 2: reference})
    score_run(journal)
    with looking_at(journal) as looked:
        best, worst, some = looked.lines(model="small")[:3]
        assert (best.outcome, best.value) == ("scored", 1.0)
        assert (worst.outcome, worst.value) == ("scored", 0.0)
        assert 0 < (some.value or 0) < 1
        assert looked.lines(least="100") == [best]
        assert looked.lines(most="0") == [worst]
        middle = f"{100 * (some.value or 0):.1f}"
        assert looked.lines(least=middle, most=middle) == [some]
        assert looked.lines(order="lowest score") == [worst, some, best]
        assert looked.lines(order="highest score") == [best, some, worst]


def test_a_sample_without_a_clear_reference_is_undefined(journal: Journal) -> None:
    options = {letter: f"option {letter}" for letter in "ABCDE"}
    sample = Sample("p/0/1", {"question": "?", "options": options}, None, "p")
    row = Row(sample, Prompt((Message("user", "?"),)))
    (cell,) = plan(journal, "longhealth:longhealth_t1", models=["small"], rows=[row])
    answer(journal, cell, {0: "The correct answer is B: option B"})
    score_run(journal)
    with looking_at(journal) as looked:
        assert [line.outcome for line in looked.lines()] == ["undefined"]


def test_a_task_that_is_gone_is_said_and_hides_no_sample(journal: Journal, tmp_path: Path) -> None:
    filled(journal)
    with journal.transaction():
        journal.write("UPDATE cells SET task_file = ?", [(str(tmp_path / "gone.py"),)])
    with looking_at(journal) as looked:
        assert "cannot be loaded" in looked.index.remarks[0]
        outcomes = {line.name: line.outcome for line in looked.lines(model="small")}
    assert outcomes["unparsed"] == "unparsed"
    assert outcomes["right"] == "scored"


@pytest.mark.parametrize("order", ["study", "lowest score", "highest score", "slowest", "longest answer"])
def test_paging_shows_every_sample_once_in_both_directions(journal: Journal, order: str) -> None:
    small, large = plan(journal, "case_challenge", rows=choice_rows([f"case {number}" for number in range(23)]))
    for cell in (small, large):
        # Equal scores and times: only the place tells samples apart.
        said = {
            place: reply(
                f"The correct answer is {'ABC'[place % 3]}: x", done_ns=(3 + place % 2) * 10**9, output_tokens=place % 4
            )
            for place in range(20)
        }
        answer(journal, cell, said)
    score_run(journal)
    with looking_at(journal) as looked:
        wanted = Filter(order=order)
        whole = looked.finding.page(wanted, 1000).lines
        assert len(whole) == (46 if order == "study" else 40)
        forth: list[Line] = []
        listed = looked.finding.page(wanted, 7)
        while listed.lines:
            forth += listed.lines
            listed = looked.finding.page(wanted, 7, after=listed.lines[-1].place)
        assert tuple(forth) == whole
        back: list[Line] = []
        listed = looked.finding.page(wanted, 7, before=whole[-1].place)
        while listed.lines:
            back = [*listed.lines, *back]
            listed = looked.finding.page(wanted, 7, before=listed.lines[0].place)
        assert tuple(back) == whole[:-1]
        for one, before, after in zip(whole[1:-1], whole, whole[2:], strict=False):
            assert looked.finding.neighbours(wanted, one.place) == (before, after)


def test_a_page_knows_whether_there_is_more_on_either_side(journal: Journal) -> None:
    plan(journal, "case_challenge", models=["small"], rows=choice_rows([f"case {number}" for number in range(5)]))
    with looking_at(journal) as looked:
        first = looked.finding.page(Filter(), 2)
        second = looked.finding.page(Filter(), 2, after=first.lines[-1].place)
        last = looked.finding.page(Filter(), 2, after=second.lines[-1].place)
        assert [(one.more_before, one.more_after) for one in (first, second, last)] == [
            (False, True), (True, True), (True, False),
        ]  # fmt: skip
        assert looked.finding.page(Filter(), 2, before=last.lines[0].place) == second
        # A place that the run does not have, as an old address may name, begins at the beginning.
        assert looked.finding.page(Filter(), 2, after=Place(77, 1)) == first


def searched(journal: Journal) -> None:
    documents = "DOCUMENTS:\nDOCUMENT 1:\nNo Metoprolol given.\n\n"
    small, large = plan(journal, "case_challenge", rows=choice_rows(["one", "two"], documents=documents))
    answer(
        journal, small, {0: "The correct answer is B: acute chest pain", 1: reply("B", reasoning="thinking of naïve")}
    )
    answer(journal, large, {0: "pain in the chest"})


@pytest.mark.parametrize(
    ("words", "scope", "found"),
    [
        ("chest pain", "anywhere", [("small", "one"), ("large", "one")]),
        ('"chest pain"', "anywhere", [("small", "one")]),
        ("CHEST", "answer", [("small", "one"), ("large", "one")]),
        ("chest", "prompt", []),
        ("metopr*", "prompt", [("small", "one"), ("small", "two"), ("large", "one"), ("large", "two")]),
        ("naive", "reasoning", [("small", "two")]),
        ("naive", "answer", []),
        ("B", "reference", [("small", "one"), ("small", "two"), ("large", "one"), ("large", "two")]),
        ("patient two", "anywhere", [("small", "two"), ("large", "two")]),
        ("chest thinking", "anywhere", []),
        ("***", "anywhere", []),
    ],
)
def test_all_words_of_a_search_stand_in_one_text(
    journal: Journal, words: str, scope: str, found: list[tuple[str, str]]
) -> None:
    searched(journal)
    with looking_at(journal) as looked:
        models = {number: cell.model for number, cell in looked.index.cells.items()}
        lines = looked.lines(words=words, scope=scope)
    assert [(models[line.cell], line.name) for line in lines] == found


def test_a_sample_is_found_by_its_name(journal: Journal) -> None:
    plan(journal, "case_challenge", models=["small"], rows=choice_rows(["(one/1)", "two"]))
    with looking_at(journal) as looked:
        assert looked.names(words="(one/1)", scope="answer") == ["(one/1)"]


def test_a_search_goes_together_with_the_other_filters(journal: Journal) -> None:
    searched(journal)
    with looking_at(journal) as looked:
        assert looked.names(words="chest", model="large", task="case_challenge", arm="closed-book") == ["one"]
        assert looked.names(words="chest", model="nobody") == []


def test_more_searches_than_are_remembered_find_what_they_should(journal: Journal) -> None:
    searched(journal)
    with looking_at(journal) as looked:
        for _ in range(2):
            for number in range(12):
                assert looked.names(words=f"absent{number}") == []
                assert looked.names(words="chest", model="small") == ["one"]


def test_the_same_sample_is_found_in_all_cells_of_its_task(journal: Journal) -> None:
    rows = choice_rows(["one", "two"])
    plan(journal, "case_challenge", rows=rows)
    # Another arm: another prompt, and so another request.
    other = [Row(row.sample, Prompt((*row.prompt.messages, Message("user", "now")))) for row in rows]
    plan(journal, "case_challenge", arm="again", rows=other)
    plan(journal, "mednli")
    with looking_at(journal) as looked:
        line = looked.lines(model="large", arm="again")[1]
        cells = [looked.index.cells[one.cell] for one in looked.finding.elsewhere(line)]
        assert [(cell.model, cell.arm) for cell in cells] == [
            ("small", "closed-book"), ("large", "closed-book"), ("small", "again"), ("large", "again"),
        ]  # fmt: skip


# While a run is writing, and beside the journal.


def test_what_a_run_writes_meanwhile_is_listed_and_found(journal: Journal) -> None:
    small, _ = plan(journal, "case_challenge", rows=choice_rows(["one", "two"]))
    with looking_at(journal) as looked:
        assert looked.names(model="small", outcome="not asked") == ["one", "two"]
        answer(journal, small, {0: failure()})
        looked.look()
        assert looked.names(outcome="failed") == ["one"]
        answer(journal, small, {0: "The correct answer is B: sepsis", 1: "The correct answer is C: stroke"})
        score_run(journal)
        looked.look()
        assert looked.names(outcome="right") == ["one"]
        assert looked.names(words="stroke", scope="answer") == ["two"]


def test_a_run_that_was_begun_anew_is_read_anew(journal: Journal) -> None:
    small, _ = plan(journal, "case_challenge", rows=choice_rows(["one"]))
    answer(journal, small, {0: "first words"})
    with looking_at(journal) as looked:
        journal.forget()
        (again,) = plan(journal, "case_challenge", models=["other"], rows=choice_rows(["three"]))
        journal.put_manifest({"last_started_at": "2026-01-02T00:00:00Z"})
        answer(journal, again, {0: "other words"})
        looked.look()
        assert looked.names() == ["three"]
        assert looked.names(words="first") == []
        assert looked.names(words="other", scope="answer") == ["three"]


def until(pages: Pages, words: str, query: dict[str, str] | None = None) -> str:
    """The list as soon as it holds `words`; the index is made by another thread."""
    for _ in range(200):
        page = pages.listing(query or {})
        if words in page:
            return page
        time.sleep(0.05)
    raise AssertionError(f"{words!r} did not come")


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Pages]:
    pages = Pages.open(folder, "/key")
    try:
        yield pages
    finally:
        pages.close()


def test_an_answer_without_scores_is_scored_for_show_and_the_journal_left_alone(journal: Journal) -> None:
    small, _ = plan(journal, "case_challenge", rows=choice_rows(["one", "two"]))
    answer(journal, small, {0: "The correct answer is B: sepsis", 1: "The correct answer is A: gout"})
    with opened(journal.folder) as pages:
        assert ">one<" in until(pages, "1 sample", {"outcome": "right"})
        assert ">two<" in until(pages, "1 sample", {"outcome": "wrong"})
        page = pages.sample(Place(small.id, 0), {}) or ""
        assert "Scored just now" in page
        assert "accuracy_lenient" in page
    assert journal.scored_profiles() == []


def test_a_score_that_fails_is_said_where_the_sample_is_shown(journal: Journal, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text(
        "from pathlib import Path\nfrom wardround import Message, Metric, Prompt, Sample, Task\n"
        "task = Task(name='broken', title='', level=None, sensitivity='open', load=lambda path: [],\n"
        "  prompt=lambda sample, shots: Prompt((Message('user', '?'),)), score=lambda answer, sample: 1 / 0,\n"
        "  metrics=(Metric('accuracy', 'proportion'),), shots=0, max_tokens=5, samples=Path('x'))\n"
    )
    row = Row(Sample("one", {}, "x"), Prompt((Message("user", "?"),)))
    (cell,) = plan(journal, str(broken), models=["small"], rows=[row])
    answer(journal, cell, {0: "yes"})
    with opened(journal.folder) as pages:
        until(pages, "1 sample", {"outcome": "unscored"})
        assert "ZeroDivisionError" in (pages.sample(Place(cell.id, 0), {}) or "")


def test_scores_of_every_profile_stand_beside_each_other(journal: Journal) -> None:
    small, _ = plan(journal, "mednli")
    answer(journal, small, {0: "ENTAILMENT"})
    score_run(journal)
    score_run(journal, "clue-tgi-2024")
    found = seen(journal, small, 0)
    assert found is not None
    assert sorted(found.scores) == ["clue-tgi-2024", "strict"]
    assert set(found.scores["clue-tgi-2024"]) == {"accuracy", "parsed"}


def test_the_journal_cannot_be_written_to_through_the_viewer(journal: Journal) -> None:
    filled(journal)
    reading = open_for_reading(journal.folder)
    try:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            list(reading.read("DELETE FROM replies"))
    finally:
        reading.close()
    with (
        looking_at(journal) as looked,
        looked.index.alone() as database,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        database.execute("DELETE FROM run.replies")


def test_looking_leaves_the_journal_as_it_is(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "run") as journal:
        small, _ = filled(journal)
    file = tmp_path / "run" / JOURNAL_FILE
    before = file.read_bytes()
    with opened(tmp_path / "run") as pages:
        until(pages, "18 samples", {})
        pages.sample(Place(small.id, 0), {"words": "sepsis"})
    assert file.read_bytes() == before
    # What SQLite lays beside it for readers is as private as the journal.
    for path in (tmp_path / "run").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files without a name are only seen on Linux")
def test_what_the_index_puts_on_the_disk_has_no_name_and_is_private(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "CACHE_KIB", 1)
    (small,) = plan(journal, "case_challenge", models=["small"], rows=choice_rows(["one"]))
    answer(journal, small, {0: " ".join(f"word{number}" for number in range(20_000))})
    before = set(spilled())
    with looking_at(journal) as looked:
        assert looked.names(words="word19999") == ["one"]
        made = set(spilled()) - before
        assert made
        assert all(name.endswith("(deleted)") for name, _ in made)
        assert {mode for _, mode in made} == {0o600}


def spilled() -> list[tuple[str, int]]:
    """SQLite's temporary files that this process has open: (where it was, mode)."""
    found = []
    for one in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if "etilqs" in str(one.readlink()):
                found.append((str(one.readlink()), stat.S_IMODE(one.stat().st_mode)))
    return found


def test_a_folder_without_a_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="holds no run"):
        open_for_reading(tmp_path)


def test_what_is_no_journal_is_said(tmp_path: Path) -> None:
    (tmp_path / JOURNAL_FILE).write_text("no database, whatever its name says")
    with pytest.raises(JournalError, match="cannot be read as a journal"):
        open_for_reading(tmp_path)


# The pages.


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_from_anywhere_becomes_no_element(journal: Journal, hostile: str) -> None:
    sample = Sample(hostile, {"question": hostile, "options": {"A": hostile, "B": "b"}}, hostile, hostile)
    row = Row(sample, Prompt((Message("user", hostile),), hostile), (hostile,), {"evidence": hostile})
    small, large = plan(journal, "case_challenge", models=[hostile, "large"], rows=[row], arm=hostile)
    answer(journal, small, {0: reply(hostile, reasoning=hostile, finish_reason=hostile, fingerprint=hostile)})
    answer(journal, large, {0: failure("timeout", hostile)})
    with opened(journal.folder) as pages:
        query = {"words": hostile, "model": hostile, "beside": str(large.id)}
        until(pages, ">large<")
        listing, alone = pages.listing(query), pages.sample(Place(small.id, 0), query) or ""
        beside = pages.sample(Place(large.id, 0), {"beside": str(small.id), "words": hostile}) or ""
    for page in (listing, alone, beside):
        parsed = Parsed(page)
        assert "script" not in parsed.elements[parsed.elements.index("body") :]
        assert not {"img", "iframe", "object"} & set(parsed.elements)
        assert parsed.elements.count("h1") == 1
        assert "svg" not in parsed.elements
        assert not set(page) & set("\x00\x1b\r\u202e\u2028\u200b")
    assert shown(hostile) in Parsed(alone).text


@pytest.mark.parametrize(
    ("sensitivity", "invented", "words"),
    [
        ("credentialed", False, "text of credentialed data"),
        ("phi", False, "health information"),
        ("licensed", False, "licensed text"),
        ("credentialed", True, ""),
        ("open", False, ""),
    ],
)
def test_a_line_says_what_text_a_run_holds(journal: Journal, sensitivity: str, invented: bool, words: str) -> None:
    small, _ = filled(journal)
    journal.put_manifest({"tasks": {"case_challenge": {"sensitivity": sensitivity, "invented": invented}}})
    with opened(journal.folder) as pages:
        for page in (until(pages, "18 samples"), pages.sample(Place(small.id, 0), {})):
            assert page is not None
            assert (f"This run holds {'patients' if sensitivity == 'phi' else ''}" in page) == bool(words)
            assert words in page


def test_a_sample_shows_prompt_answer_reference_scores_times_and_failures(journal: Journal) -> None:
    documents = "DOCUMENTS:\nDOCUMENT 1:\nCreatinine 3.1.\n\n"
    _, large = plan(journal, "case_challenge", rows=choice_rows(["one"], documents=documents))
    answer(journal, large, {0: failure("rate_limit", "slow down")})
    answer(journal, large, {0: reply("The correct answer is B: sepsis", reasoning="Fever, so it is sepsis.")})
    score_run(journal)
    with opened(journal.folder) as pages:
        until(pages, "2 samples")
        text = Parsed(pages.sample(Place(large.id, 0), {}) or "").text
    for words in (
        "The correct answer is B: sepsis",
        "Fever, so it is sepsis.",
        "Answer shortly.",
        "Creatinine 3.1.",
        "What has the patient of one?",
        "accuracy_lenient",
        "to the end (s)1.50",
        "tokens of the answer40",
        "http://127.0.0.1:1/v1",
        "rate_limit",
        "slow down",
    ):
        assert words in text, words


def test_steps_and_links_stay_in_the_list_they_came_from(journal: Journal) -> None:
    small, _ = filled(journal)
    with opened(journal.folder) as pages:
        until(pages, "18 samples")
        page = pages.sample(Place(small.id, 4), {"outcome": "refused", "model": "small"}) or ""
    query = "?model=small&amp;outcome=refused"
    assert f'<a rel="prev" href="/key/sample/{small.id}/3{query}"' in page
    assert f'<a rel="next" href="/key/sample/{small.id}/8{query}"' in page
    assert f'href="/key/{query}&amp;after={small.id}.3" data-key="u"' in page


def test_the_sample_beside_keeps_to_its_model_and_arm_in_another_task(journal: Journal) -> None:
    filled(journal)
    plan(journal, "mednli")
    of_mednli = {cell.model: cell for cell in journal.cells() if cell.task == "mednli"}
    large = next(cell for cell in journal.cells() if (cell.task, cell.model) == ("case_challenge", "large"))
    with opened(journal.folder) as pages:
        while not pages.coverage.complete:
            time.sleep(0.05)
        page = pages.sample(Place(of_mednli["small"].id, 0), {"beside": str(large.id)}) or ""
    assert "large · mednli · closed-book" in page
    assert f'<option value="{of_mednli["large"].id}" selected>' in page


# The server.


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    folder = tmp_path_factory.mktemp("viewed") / "run"
    with Journal.create(folder) as journal:
        filled(journal)
    with running_viewer(folder) as running:
        yield running


def asked(
    viewer: Viewer, path: str, *, method: str = "GET", host: str | None = None
) -> tuple[int, str, http.client.HTTPMessage]:
    """Ask with exactly this path and Host header, by default the right one."""
    connection = http.client.HTTPConnection("127.0.0.1", viewer.port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", f"127.0.0.1:{viewer.port}" if host is None else host)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.read().decode(), response.headers
    finally:
        connection.close()


def test_the_address_that_is_printed_works(viewer: Viewer) -> None:
    status, body, _ = asked(viewer, f"/{viewer.token}/")
    assert status == 200
    assert "<h1>" in body
    assert len(viewer.token) >= 32


@pytest.mark.parametrize(
    "path", ["/", "/favicon.ico", "/viewer.js", "/sample/1/0", "/{wrong}/", "//{token}/", "/%00/", "/%C3%A9"]
)
def test_without_the_token_nothing_is_shown(viewer: Viewer, path: str) -> None:
    wrong = viewer.token[:-1] + next(letter for letter in string.ascii_letters if letter != viewer.token[-1])
    path = path.replace("{token}", viewer.token).replace("{wrong}", wrong)
    status, body, _ = asked(viewer, path)
    assert status == 403
    assert viewer.token not in body


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "0.0.0.0:{port}", "127.0.0.1:{port}.evil", ""],
)
def test_a_foreign_name_that_leads_here_is_refused(viewer: Viewer, host: str) -> None:
    status, body, _ = asked(viewer, f"/{viewer.token}/", host=host.replace("{port}", str(viewer.port)))
    assert status == 421
    assert "<h1>" not in body


def test_the_end_of_a_tunnel_may_be_called_localhost(viewer: Viewer) -> None:
    assert asked(viewer, f"/{viewer.token}/", host=f"localhost:{viewer.port}")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_no_address_takes_anything(viewer: Viewer, method: str) -> None:
    for path in ("/", "/sample/1/0", "/viewer.js"):
        assert asked(viewer, f"/{viewer.token}{path}", method=method)[0] == 405
    assert asked(viewer, "/", method=method)[0] == 403


@pytest.mark.parametrize(
    "path", ["/sample/1/999", "/sample/99/0", "/sample/x/0", "/sample/1/-1", "/nothing", "/../../etc/passwd"]
)
def test_what_is_not_there_is_not_there(viewer: Viewer, path: str) -> None:
    assert asked(viewer, f"/{viewer.token}{path}")[0] == 404


@pytest.mark.parametrize(
    "path", ["/{token}/", "/{token}/sample/1/0", "/{token}/viewer.js", "/{token}/viewer.css", "/{token}/none", "/wrong"]
)
def test_every_answer_forbids_what_pages_must_not_do(viewer: Viewer, path: str) -> None:
    _, _, headers = asked(viewer, path.replace("{token}", viewer.token))
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Set-Cookie" not in headers
    assert not [name for name in headers if name.lower().startswith("access-control")]


def test_nothing_but_loopback_is_listened_on(viewer: Viewer) -> None:
    # Another address of the same loopback network: a server on all addresses would answer.
    connection = http.client.HTTPConnection("127.0.0.2", viewer.port, timeout=5)
    with pytest.raises(ConnectionRefusedError):
        connection.connect()


def test_whatever_a_search_says_is_answered(viewer: Viewer) -> None:
    for words in ("%22", "%27%3B--", "%00", "%ED%A0%80", "(((", "*", "%3Cscript%3E", "a" * 2000):
        status, body, _ = asked(viewer, f"/{viewer.token}/?words={words}&least=x&after=1.1&before=y&model=%00")
        assert status == 200, words
        assert "<script>" not in body


def test_ctrl_c_ends_it_and_the_address_is_printed_once(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "run") as journal:
        filled(journal)
    command = [sys.executable, "-m", "wardround", "view", str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, complaints = process.communicate(timeout=20)
    assert first.startswith("http://127.0.0.1:")
    assert (process.returncode, rest, complaints) == (0, "", "")


def test_a_taken_port_is_said_in_one_line(viewer: Viewer, tmp_path: Path) -> None:
    with Journal.create(tmp_path / "run") as journal:
        filled(journal)
    done = wardround("view", tmp_path / "run", "--port", str(viewer.port), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"wardround: cannot listen on 127.0.0.1 port {viewer.port}")
    assert done.stderr.count("\n") == 1


def test_no_run_is_said_in_one_line(tmp_path: Path) -> None:
    done = wardround("view", tmp_path, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"wardround: {tmp_path} holds no run: there is no journal.sqlite in it\n"


def test_the_browser_is_led_by_a_page_that_only_its_user_can_read() -> None:
    with _leading_to("http://127.0.0.1:1/key/?a=1&b=2") as address:
        page = Path(address.removeprefix("file://"))
        assert stat.S_IMODE(page.stat().st_mode) == 0o600
        assert stat.S_IMODE(page.parent.stat().st_mode) == 0o700
        assert 'content="0; url=http://127.0.0.1:1/key/?a=1&amp;b=2"' in page.read_text()
    assert not page.parent.exists()
