"""Corpora read from files and folders, and the search for documents that hold a case."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.test_rows import write_xlsx
from wardround.errors import DataError
from wardround.retrieval.corpora import Corpus, holding, read_corpus
from wardround.sources import CorpusChoice
from wardround.task import Document

INVENTED = Path(__file__).parent / "corpus.jsonl"
CASE = (
    "A 37-year-old carpenter's assistant has had cramping belly pain for seven weeks, with constipation, after he sanded"
    " the doors of an old house. His wrist is weak. Which is the most likely diagnosis?"
)


def choice(path: Path, **fields: Any) -> CorpusChoice:
    return CorpusChoice(**{"path": path, "licence": "CC BY 4.0", "cut_off": date(2024, 12, 31), **fields})


def rows(path: Path, *given: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    return path


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def ids(corpus: Corpus) -> list[str]:
    return [document.id for document in corpus.documents]


def test_rows_are_documents_with_their_titles_as_headings() -> None:
    corpus = read_corpus(choice(INVENTED))
    assert len(corpus.documents) == 7
    assert corpus.documents[0].heading == "Bleeding gums and coiled hairs"
    assert corpus.documents[0].text.startswith("When a diet")


def test_what_appeared_after_the_cut_off_is_left_out() -> None:
    assert read_corpus(choice(INVENTED)).after_cut_off == 1
    assert "late-1" in ids(read_corpus(choice(INVENTED, cut_off=date(2025, 1, 3))))


def test_a_date_without_its_day_or_month_counts_as_the_last_it_can_be() -> None:
    corpus = read_corpus(choice(INVENTED, cut_off=date(2024, 2, 28)))
    assert "metals-1" in ids(corpus)
    assert "muscle-1" not in ids(corpus)
    assert "vitamins-1" in ids(read_corpus(choice(INVENTED, cut_off=date(2023, 5, 31))))
    assert "vitamins-1" not in ids(read_corpus(choice(INVENTED, cut_off=date(2023, 5, 30))))


def test_excluded_documents_are_left_out() -> None:
    corpus = read_corpus(choice(INVENTED, exclude=("metals-2", "late-1")))
    assert "metals-2" not in ids(corpus)
    assert (corpus.excluded, corpus.after_cut_off) == (2, 0)


def test_documents_without_a_word_are_left_out_and_counted(tmp_path: Path) -> None:
    corpus = read_corpus(choice(rows(tmp_path / "c.jsonl", {"id": "1", "text": "lead"}, {"id": "2", "text": " … "})))
    assert (ids(corpus), corpus.empty) == (["1"], 1)


def test_a_folder_is_its_texts_by_path_with_their_names_or_headings_as_titles(tmp_path: Path) -> None:
    (tmp_path / "lung").mkdir()
    (tmp_path / "lung" / "copd_2023.txt").write_text("Inhalers come first.", encoding="utf-8")
    (tmp_path / "asthma.md").write_text("\n# Asthma at work\n\nFlour makes bakers wheeze.", encoding="utf-8")
    (tmp_path / "scan.pdf").write_bytes(b"%PDF-1.7")
    corpus = read_corpus(choice(tmp_path))
    assert [(one.id, one.heading) for one in corpus.documents] == [
        ("asthma.md", "Asthma at work"),
        ("lung/copd_2023.txt", "copd 2023"),
    ]


def test_the_hash_is_of_the_content(tmp_path: Path) -> None:
    first = read_corpus(choice(rows(tmp_path / "a.jsonl", {"id": "1", "text": "lead"})))
    same = read_corpus(choice(rows(tmp_path / "b.jsonl", {"text": "lead", "id": "1", "note": "x"})))
    other = read_corpus(choice(rows(tmp_path / "c.jsonl", {"id": "1", "text": "zinc"})))
    assert first.sha256 == same.sha256 != other.sha256


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([{"id": "1", "text": "a1"}, {"id": "1", "text": "b2"}], "the id '1' stands twice"),
        ([{"text": "lead"}], "row 1 has no column 'id'"),
        ([{"id": "1", "title": "lead"}], "row 1 has no column 'text'"),
        ([{"id": "1", "text": ["lead"]}], "column 'text' must be text"),
        ([{"id": "1", "text": "lead", "date": "June 2024"}], "the date 'June 2024' is none; write 2024"),
        ([{"id": "1", "text": "lead", "date": "2024-13"}], "the date '2024-13' is none"),
        ([{"id": "1", "text": "lead", "date": "2025"}], "no document is left of 1"),
        ([{"id": "1", "text": ""}], "no document is left of 1"),
        ([], "holds no rows"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, content: list[Any], words: str) -> None:
    path = rows(tmp_path / "c.jsonl", *content)
    with pytest.raises(DataError, match=words) as raised:
        read_corpus(choice(path))
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_corpus_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no corpus"):
        read_corpus(choice(tmp_path / "none"))
    with pytest.raises(DataError, match=r"no \.txt and no \.md file; of a PDF give its text"):
        read_corpus(choice(tmp_path))
    with pytest.raises(DataError, match="no document 'x', which the study excludes"):
        read_corpus(choice(INVENTED, exclude=("x",)))


def test_a_text_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"a\.txt cannot be read as UTF-8"):
        read_corpus(choice(tmp_path))


def doc(text: str, name: str = "d") -> list[Document]:
    return [Document(name, text)]


def test_a_document_with_a_case_inside_holds_it() -> None:
    text = f"Case of the week. {CASE} Answer: lead poisoning."
    assert holding(
        doc(text), {"a": CASE, "b": "A baker wheezes at work and is well on his long holidays in July."}
    ) == {"d": ["a"]}


def test_a_case_with_one_word_in_ten_changed_is_still_found() -> None:
    words = CASE.split()
    changed = " ".join("something" if place % 10 == 9 else word for place, word in enumerate(words))
    assert holding(doc(changed), {"a": CASE}) == {"d": ["a"]}


def test_a_text_on_the_same_illness_does_not_hold_the_case() -> None:
    about = "Lead poisoning: cramping belly pain, constipation and a weak wrist after sanding of old paint in a house."
    assert holding(doc(about), {"a": CASE}) == {}


def test_short_questions_are_not_looked_for() -> None:
    assert holding(doc("What is the most likely diagnosis? Lead."), {"a": "What is the most likely diagnosis?"}) == {}
    assert holding(doc("lead"), {"a": ""}) == {}


@given(st.lists(st.text(alphabet="abcde", min_size=2, max_size=6), min_size=5, max_size=40), st.text(max_size=40))
def test_a_case_is_found_wherever_it_stands(words: Sequence[str], around: str) -> None:
    # A word after another could make one with it, and "be" is none that counts.
    case = " ".join(f"x{word}" for word in words)
    assert holding(doc(f"{around} \n {case} \n {around}"), {"a": case}) == {"d": ["a"]}


def test_a_folder_is_not_left_and_hidden_files_are_no_texts(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    (folder / ".git").mkdir(parents=True)
    for path in (folder / "a.md", folder / ".b.md", folder / ".git" / "c.txt", tmp_path / "outside.txt"):
        path.write_text("Flour makes bakers wheeze.", encoding="utf-8")
    (folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    assert ids(read_corpus(choice(folder))) == ["a.md"]


def test_a_case_in_a_heading_is_found() -> None:
    assert holding([Document("1", "Lead.", CASE)], {"case": CASE}) == {"1": ["case"]}


def test_documents_without_a_date_are_counted(tmp_path: Path) -> None:
    given = [{"id": "1", "text": "lead", "date": "2024"}, {"id": "2", "text": "zinc"}, {"id": "3", "text": "tin"}]
    assert read_corpus(choice(rows(tmp_path / "c.jsonl", *given), exclude=("3",))).undated == 1


def test_cells_of_a_spreadsheet_that_are_dates_are_read(tmp_path: Path) -> None:
    cells: list[list[str | float | date]] = [
        ["1", "lead", date(2024, 5, 1)],
        ["2", "zinc", datetime(2025, 5, 1, 12)],
        ["3", "tin", ""],
    ]
    path = write_xlsx(tmp_path / "c.xlsx", {"S": [["id", "text", "date"], *cells]})
    corpus = read_corpus(choice(path))
    assert (ids(corpus), corpus.after_cut_off, corpus.undated) == (["1", "3"], 1, 1)
