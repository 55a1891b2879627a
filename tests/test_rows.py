"""Reading the files users have, and saying in one line what is wrong with them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.errors import DataError
from wardround.rows import read_rows, text_of

OFFICE = "http://schemas.openxmlformats.org"
RELATIONS = f'xmlns="{OFFICE}/package/2006/relationships"'
OF_DOCUMENT = f"{OFFICE}/officeDocument/2006/relationships"
MAIN = f"{OFFICE}/spreadsheetml/2006/main"


def write(path: Path, content: str | bytes) -> Path:
    """A file with `content`, in UTF-8 and gzipped if its name says so."""
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def write_xlsx(path: Path, sheets: Mapping[str, Sequence[Sequence[str | float | date]]]) -> Path:
    """The smallest workbook that is one: sheets of text, numbers and dates, text inline."""
    types = "".join(
        f'<Default Extension="{ending}" ContentType="application/{kind}"/>'
        for ending, kind in [("rels", "vnd.openxmlformats-package.relationships+xml"), ("xml", "xml")]
    )
    numbered = list(enumerate(sheets, start=1))
    named = "".join(f'<sheet name={quoteattr(name)} sheetId="{n}" r:id="r{n}"/>' for n, name in numbered)
    related = "".join(
        f'<Relationship Id="r{n}" Type="{OF_DOCUMENT}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n, _ in numbered
    )
    document = f'<Relationship Id="r1" Type="{OF_DOCUMENT}/officeDocument" Target="xl/workbook.xml"/>'
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("[Content_Types].xml", f'<Types xmlns="{OFFICE}/package/2006/content-types">{types}</Types>')
        book.writestr("_rels/.rels", f"<Relationships {RELATIONS}>{document}</Relationships>")
        book.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{MAIN}" xmlns:r="{OF_DOCUMENT}"><sheets>{named}</sheets></workbook>',
        )
        book.writestr("xl/_rels/workbook.xml.rels", f"<Relationships {RELATIONS}>{related}</Relationships>")
        for n, name in numbered:
            rows = "".join(_xlsx_row(number, cells) for number, cells in enumerate(sheets[name], start=1))
            sheet = f'<worksheet xmlns="{MAIN}"><sheetData>{rows}</sheetData></worksheet>'
            book.writestr(f"xl/worksheets/sheet{n}.xml", sheet)
    return path


def _xlsx_row(number: int, cells: Sequence[str | float | date]) -> str:
    written = []
    for place, cell in enumerate(cells):
        at = f'r="{chr(ord("A") + place)}{number}"'
        if isinstance(cell, str):
            text = f'<t xml:space="preserve">{escape(cell)}</t>'
            written.append(f'<c {at} t="inlineStr"><is>{text}</is></c>')
        elif isinstance(cell, date):
            written.append(f'<c {at} t="d"><v>{cell.isoformat()}</v></c>')
        else:
            written.append(f"<c {at}><v>{cell}</v></c>")
    return f'<row r="{number}">{"".join(written)}</row>'


def rows_of(path: Path, required: Sequence[str] = (), sheet: str | None = None) -> list[dict[str, Any]]:
    return [row for _, row in read_rows(path, required, sheet=sheet)]


def fault(path: Path, required: Sequence[str] = (), sheet: str | None = None) -> str:
    """The text of the `DataError` that reading `path` raises: one line that names the file."""
    with pytest.raises(DataError) as raised:
        list(read_rows(path, required, sheet=sheet))
    text = str(raised.value)
    assert "\n" not in text
    assert "\r" not in text
    assert str(path) in text
    return text


TWO = [{"id": "a", "text": "fever, 39.2 °C"}, {"id": "b", "text": "β-blocker"}]
AS_LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in TWO)
AS_CSV = 'id,text\na,"fever, 39.2 °C"\nb,β-blocker\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.jsonl", AS_LINES),
        ("d.jsonl.gz", AS_LINES),
        ("D.JSONL", AS_LINES),
        ("d.jsonl", AS_LINES.replace("\n", "\r\n")),
        ("d.jsonl", AS_LINES.rstrip("\n")),
        ("d.jsonl", "\ufeff" + AS_LINES),
        ("d.jsonl", "\n" + AS_LINES.replace("\n", "\n\n  \n")),
        ("d.json", json.dumps(TWO)),
        ("d.json", "\ufeff" + json.dumps(TWO, indent=2, ensure_ascii=False)),
        ("d.json.gz", json.dumps(TWO)),
        ("d.csv", AS_CSV),
        ("d.csv", "\ufeff" + AS_CSV),
        ("d.csv", AS_CSV.replace("\n", "\r\n")),
        ("d.csv", AS_CSV.replace("\n", "\n\n")),
        ("d.csv.gz", AS_CSV),
        ("d.csv.gz", "\ufeff" + AS_CSV),
        ("d.tsv", "id\ttext\na\tfever, 39.2 °C\nb\tβ-blocker\n"),
        ("d.tsv.gz", "id\ttext\na\tfever, 39.2 °C\nb\tβ-blocker\n"),
    ],
)
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, name: str, content: str) -> None:
    assert rows_of(write(tmp_path / name, content), ("id", "text")) == TWO


def test_xlsx_gives_the_same_rows(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "d.xlsx", {"QS": [["id", "text"], *[[row["id"], row["text"]] for row in TWO]]})
    assert rows_of(path, ("id", "text")) == TWO


def test_jsonl_rows_are_numbered_as_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", '{"a": 1}\n\n{"a": 2}\n')
    assert [number for number, _ in read_rows(path)] == [1, 3]


def test_json_rows_are_numbered_from_1(tmp_path: Path) -> None:
    assert [number for number, _ in read_rows(write(tmp_path / "d.json", '[{"a": 1}, {"a": 2}]'))] == [1, 2]


def test_csv_rows_are_numbered_as_lines_below_the_header(tmp_path: Path) -> None:
    assert [number for number, _ in read_rows(write(tmp_path / "d.csv", "a,b\n1,2\n3,4\n"))] == [2, 3]


def test_xlsx_rows_are_numbered_as_a_spreadsheet_shows_them(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "d.xlsx", {"S": [["a"], ["x"], ["y"]]})
    assert [number for number, _ in read_rows(path)] == [2, 3]


def test_values_of_jsonl_keep_their_kind(tmp_path: Path) -> None:
    row = {"number": 7, "none": None, "list": [1, "a"], "parse": {"tree": "(S)"}, "true": True}
    assert rows_of(write(tmp_path / "d.jsonl", json.dumps(row))) == [row]


def test_unicode_line_separators_do_not_end_a_json_line(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", '{"a": "x\u2028y\u0085z\x0c"}\n'.replace("\x0c", "\\f"))
    assert rows_of(path) == [{"a": "x\u2028y\u0085z\x0c"}]


@pytest.mark.parametrize("name", ["d.csv", "d.tsv", "d.csv.gz"])
def test_a_code_of_a_csv_keeps_its_leading_zero(tmp_path: Path, name: str) -> None:
    delimiter = "\t" if ".tsv" in name else ","
    path = write(tmp_path / name, "\n".join(delimiter.join(row) for row in [("icd", "v"), ("0389", "9"), ("4019", "")]))
    assert rows_of(path) == [{"icd": "0389", "v": "9"}, {"icd": "4019", "v": ""}]


def test_a_text_code_of_an_xlsx_keeps_its_leading_zero(tmp_path: Path) -> None:
    assert rows_of(write_xlsx(tmp_path / "d.xlsx", {"S": [["icd"], ["0389"]]})) == [{"icd": "0389"}]


def test_a_quoted_cell_keeps_its_newlines_commas_and_quotes(tmp_path: Path) -> None:
    text = 'Dear "Dr" Who,\nno pain.\r\n\r\n\rBye'
    path = tmp_path / "d.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "text"], ["a", text], ["b", "x"]])
    assert rows_of(path) == [{"id": "a", "text": text}, {"id": "b", "text": "x"}]


def test_a_bare_quote_inside_a_cell_is_text(tmp_path: Path) -> None:
    assert rows_of(write(tmp_path / "d.csv", 'a,b\n5" tube,6\n')) == [{"a": '5" tube', "b": "6"}]


def test_a_discharge_letter_of_a_megabyte_is_one_cell(tmp_path: Path) -> None:
    letter = "Patient stable.\n" * 70_000
    assert rows_of(write(tmp_path / "d.csv", f'id,text\na,"{letter}"\n')) == [{"id": "a", "text": letter}]


def test_an_xlsx_header_is_stripped_and_cells_are_not(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "d.xlsx", {"S": [[" CHQ ", "Summary"], [" a\nb ", "<x> & {y}\u00a0z"]]})
    assert rows_of(path, ("CHQ",)) == [{"CHQ": " a\nb ", "Summary": "<x> & {y}\u00a0z"}]


def test_the_first_sheet_of_an_xlsx_is_read_unless_one_is_named(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "d.xlsx", {"one": [["a"], ["1st"]], "two": [["a"], ["2nd"]]})
    assert rows_of(path) == [{"a": "1st"}]
    assert rows_of(path, sheet="two") == [{"a": "2nd"}]


def test_an_unknown_sheet_is_said_with_those_there_are(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "d.xlsx", {"one": [["a"], ["x"]], "two": [["a"], ["y"]]})
    assert fault(path, sheet="three").endswith("has no sheet 'three'; it has: one, two")


def test_rows_before_a_broken_one_are_still_given(tmp_path: Path) -> None:
    rows = read_rows(write(tmp_path / "d.jsonl", '{"a": 1}\n{"a"\n'))
    assert next(rows) == (1, {"a": 1})
    with pytest.raises(DataError):
        next(rows)


@pytest.mark.parametrize("name", ["gone.jsonl", "gone.csv.gz", "gone.xlsx", "gone.txt"])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    assert fault(tmp_path / name).startswith("there is no data file")


def test_a_folder_is_no_data_file(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").mkdir()
    assert fault(tmp_path / "d.jsonl").startswith("there is no data file")


@pytest.mark.parametrize("name", ["d.txt", "d.parquet", "d", "d.gz", "d.xls", "csv"])
def test_an_unknown_ending(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, AS_CSV)
    assert fault(path).endswith("unknown kind of file; known are .jsonl, .json, .csv, .tsv (also .gz), .xlsx")


@pytest.mark.parametrize(
    ("name", "content", "end"),
    [
        ("d.jsonl", '{"id": 1, "text": "x"}\n{"id": 2}\n', "row 2 has no column 'text'; it has: id"),
        ("d.jsonl", "{}\n", "row 1 has no column 'id'; it has: none"),
        ("d.json", '[{"text": "x"}]', "row 1 has no column 'id'; it has: text"),
        ("d.csv", "ID,text\n1,x\n", "row 2 has no column 'id'; it has: ID, text"),
        ("d.csv", "id;text\n1;x\n", "row 2 has no column 'id'; it has: id;text"),
        ("d.tsv", "id,text\n1,x\n", "row 2 has no column 'id'; it has: id,text"),
    ],
)
def test_a_missing_column_is_said_with_those_there_are(tmp_path: Path, name: str, content: str, end: str) -> None:
    assert fault(write(tmp_path / name, content), ("id", "text")).endswith(end)


def test_a_missing_column_of_an_xlsx_is_said(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "d.xlsx", {"S": [["id", "n"], ["a", 1]]})
    assert fault(path, ("id", "text")).endswith("row 2 has no column 'text'; it has: id, n")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.jsonl", ""),
        ("d.jsonl", "\n \n"),
        ("d.jsonl.gz", ""),
        ("d.json", "[]"),
        ("d.csv", ""),
        ("d.csv", "\ufeff"),
        ("d.csv", "id,text\n"),
        ("d.csv", "id,text"),
        ("d.csv.gz", "id,text\n\n\n"),
        ("d.tsv", "id\ttext\n"),
    ],
)
def test_a_file_without_rows(tmp_path: Path, name: str, content: str) -> None:
    assert fault(write(tmp_path / name, content), ("id",)).endswith("holds no rows")


@pytest.mark.parametrize("cells", [[], [["id", "text"]]], ids=["empty", "header only"])
def test_an_xlsx_without_rows(tmp_path: Path, cells: list[list[str]]) -> None:
    assert fault(write_xlsx(tmp_path / "d.xlsx", {"S": cells}), ("id",)).endswith("holds no rows")


def test_a_file_of_no_bytes_is_no_json_list(tmp_path: Path) -> None:
    assert "cannot be read as JSON" in fault(write(tmp_path / "d.json", ""))


@pytest.mark.parametrize(
    ("content", "number"),
    [
        ('{"a": 1}\n{"a": 2}\n{"a"\n', 3),
        ('{"a": 1}\n\n{"a": "open\n', 3),
        ("{'a': 1}\n", 1),
        ('{"a": 1} {"a": 2}\n', 1),
        ('[\n{"a": 1}\n]\n', 1),
        ("not json", 1),
    ],
)
def test_a_broken_json_line_is_said_with_its_number(tmp_path: Path, content: str, number: int) -> None:
    assert f": line {number} is not JSON: " in fault(write(tmp_path / "d.jsonl", content))


@pytest.mark.parametrize("line", ["[1, 2]", '"text"', "3", "null", "true"])
def test_a_json_line_that_is_no_object(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "d.jsonl", f'{{"a": 1}}\n{line}\n')
    assert fault(path).endswith(": line 2 is not a JSON object")


@pytest.mark.parametrize("content", ['{"a": 1}', "3", '[{"a": 1}, 2]', "null"])
def test_a_json_file_that_is_no_list_of_objects(tmp_path: Path, content: str) -> None:
    assert fault(write(tmp_path / "d.json", content)).endswith("must hold a list of JSON objects")


def test_a_broken_json_file(tmp_path: Path) -> None:
    assert "cannot be read as JSON" in fault(write(tmp_path / "d.json", '[{"a": 1},'))


@pytest.mark.parametrize("name", ["d.csv", "d.csv.gz"])
def test_a_csv_row_with_too_many_cells_is_said_with_its_line(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, "a,b\n1,2\nfever, chills, 3\n")
    assert fault(path).endswith("line 3 has more cells than the header")


@pytest.mark.parametrize("content", ['a,b\n"x"y,2\n', 'a,b\n"never closed,2\n'])
def test_a_csv_with_broken_quotes(tmp_path: Path, content: str) -> None:
    assert "cannot be read as CSV" in fault(write(tmp_path / "d.csv", content))


def test_a_cell_of_more_than_16_megabytes_is_a_fault(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", "a\n" + "x" * (16 * 1024 * 1024 + 1) + "\n")
    assert "field larger than field limit" in fault(path)


@pytest.mark.parametrize("name", ["d.jsonl.gz", "d.json.gz", "d.csv.gz", "d.tsv.gz"])
def test_a_gzip_ending_on_what_is_no_gzip(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(AS_CSV, encoding="utf-8")
    assert "cannot be read" in fault(tmp_path / name)


@pytest.mark.parametrize("name", ["d.jsonl.gz", "d.json.gz", "d.csv.gz"])
def test_a_gzip_that_was_cut_off(tmp_path: Path, name: str) -> None:
    content = "a,b\n" + "1,2\n" * 1000 if name == "d.csv.gz" else AS_LINES * 100
    (tmp_path / name).write_bytes(gzip.compress(content.encode())[:-9])
    assert "cannot be read" in fault(tmp_path / name)


def test_a_gzip_whose_checksum_is_wrong(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(AS_LINES.encode()))
    whole[-6] ^= 1
    (tmp_path / "d.jsonl.gz").write_bytes(whole)
    assert "cannot be read" in fault(tmp_path / "d.jsonl.gz")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
@pytest.mark.parametrize(
    ("name", "content"), [("d.csv", "a,b\nMénière,2\n"), ("d.jsonl", '{"a": "é"}'), ("d.json", '[{"a": "é"}]')]
)
def test_a_wrong_encoding(tmp_path: Path, encoding: str, name: str, content: str) -> None:
    assert "codec can't decode" in fault(write(tmp_path / name, content.encode(encoding)))


@pytest.mark.parametrize("content", [b"", b"CHQ,Summary\n", b"PK\x03\x04 broken"])
def test_an_xlsx_that_is_none(tmp_path: Path, content: bytes) -> None:
    assert "cannot be read as xlsx" in fault(write(tmp_path / "d.xlsx", content))


def test_a_zip_that_is_no_workbook(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.xlsx", "w") as archive:
        archive.writestr("notes.txt", "not a workbook")
    assert "cannot be read as xlsx" in fault(tmp_path / "d.xlsx")


PATH = Path("data.csv")


@pytest.mark.parametrize(
    ("value", "text"),
    [("fever", "fever"), (" kept \n", " kept \n"), (7, "7"), (7.5, "7.5"), (0, "0"), ("0389", "0389")],
)
def test_text_of_a_cell(value: str | float, text: str) -> None:
    assert text_of(PATH, 2, {"a": value}, "a") == text


@pytest.mark.parametrize("value", ["", " ", "\n\t", "\u00a0"])
def test_an_empty_text_is_a_fault(value: str) -> None:
    with pytest.raises(DataError) as raised:
        text_of(PATH, 2, {"a": value}, "a")
    assert str(raised.value) == "data.csv: row 2: column 'a' is empty; fill it in or take the row out"


@pytest.mark.parametrize(("value", "text"), [("", ""), (" ", " "), (None, ""), ("x", "x")])
def test_an_empty_text_is_fine_where_it_may_be(value: str | None, text: str) -> None:
    assert text_of(PATH, 2, {"a": value}, "a", empty_is_fine=True) == text


def test_an_absent_column_is_empty_where_it_may_be() -> None:
    assert text_of(PATH, 2, {}, "a", empty_is_fine=True) == ""


@pytest.mark.parametrize("value", [None, True, False, [], ["a\nb"], {"a": "b"}])
def test_what_is_no_text_is_a_fault(value: object) -> None:
    with pytest.raises(DataError, match=r"^data\.csv: row 2: column 'a' must be text, not [^\n]+$"):
        text_of(PATH, 2, {"a": value}, "a")


@pytest.mark.parametrize("value", [True, ["a"], {"a": "b"}])
def test_what_is_no_text_is_a_fault_even_where_it_may_be_empty(value: object) -> None:
    with pytest.raises(DataError, match="must be text"):
        text_of(PATH, 2, {"a": value}, "a", empty_is_fine=True)


# A CSV can hold any text but NUL; lone surrogates have no UTF-8.
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
# A row of one empty cell and no other is what csv calls a blank line, so tables have two columns at least.
TABLES = st.lists(CELLS, min_size=2, max_size=4, unique=True).flatmap(
    lambda header: st.tuples(
        st.just(header),
        st.lists(st.lists(CELLS, min_size=len(header), max_size=len(header)), min_size=1, max_size=6),
    )
)


@settings(max_examples=300, deadline=None)
@given(TABLES, st.sampled_from(["csv", "tsv", "csv.gz"]), st.sampled_from(["\n", "\r\n", "\r"]))
def test_what_csv_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, table: tuple[list[str], list[list[str]]], ending: str, newline: str
) -> None:
    header, rows = table
    text = io.StringIO(newline="")
    # All is quoted, since the writer leaves a lone \r or \n bare where it does not end its lines.
    writer = csv.writer(text, delimiter="\t" if ending == "tsv" else ",", lineterminator=newline, quoting=csv.QUOTE_ALL)
    writer.writerows([header, *rows])
    path = write(tmp_path_factory.getbasetemp() / f"any.{ending}", text.getvalue().encode("utf-8-sig"))
    assert rows_of(path) == [dict(zip(header, row, strict=True)) for row in rows]


JSON_ROWS = st.lists(
    st.dictionaries(
        st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()), max_size=4
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(JSON_ROWS, st.booleans(), st.sampled_from(["jsonl", "json", "jsonl.gz"]))
def test_what_json_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], ascii_only: bool, ending: str
) -> None:
    if ending == "json":
        text = json.dumps(rows, ensure_ascii=ascii_only)
    else:
        text = "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
    path = write(tmp_path_factory.getbasetemp() / f"any.{ending}", text)
    assert rows_of(path) == rows


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["jsonl", "json", "csv", "tsv", "xlsx"]))
def test_any_bytes_are_read_or_refused_with_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, ending: str
) -> None:
    path = write(tmp_path_factory.getbasetemp() / f"any.{ending}", content)
    try:
        rows = list(read_rows(path))
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017 - most contents raise, a few are rows
    else:
        assert rows


def test_a_corrupt_gzip_is_one_line(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(b"a,b\n" + bytes(range(1, 255)) * 50))
    whole[20:30] = b"\xff" * 10
    (tmp_path / "d.csv.gz").write_bytes(whole)
    assert "cannot be read" in fault(tmp_path / "d.csv.gz")


def test_json_nested_too_deeply_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text("[" * 100_000)
    assert "cannot be read" in fault(tmp_path / "d.json")


def test_a_short_csv_row_is_named_by_the_line_it_begins_on(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text('a,b\n"two\nlines",2\nalone\n')
    assert "line 4 has fewer cells" in fault(tmp_path / "d.csv")


def test_a_nan_of_pandas_is_an_empty_cell(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"a": NaN}')
    [(number, row)] = list(read_rows(path))
    assert text_of(path, number, row, "a", empty_is_fine=True) == ""
    with pytest.raises(DataError, match="is empty"):
        text_of(path, number, row, "a")
