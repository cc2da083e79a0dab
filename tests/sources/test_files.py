"""Opening files: encodings, separators, physical lines, strict JSON."""

from __future__ import annotations

import csv
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.errors import LeadlineError
from leadline.sources import files
from leadline.sources.rejects import RejectedRows

CELL = st.text(st.characters(blacklist_categories=("Cs", "Cc")) | st.sampled_from('\n",;'))


def rows_of(path: Path) -> list[tuple[int, list[str]]]:
    return list(files.csv_rows(path, RejectedRows())[1])


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=8), st.sampled_from(",;\t"))
def test_what_csv_wrote_is_read_back_with_its_line(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], separator: str
) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=separator, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(("a", "b"))
    starts = []
    for row in rows:
        starts.append(buffer.getvalue().count("\n") + 1)
        writer.writerow(row)
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_text(buffer.getvalue(), encoding="utf-8", newline="")
    assert files.sniff_separator(path) == separator
    read = rows_of(path)
    assert [fields for _, fields in read] == [list(row) for row in rows]
    assert [line for line, _ in read] == starts


def test_blank_lines_are_passed_over_and_lines_still_count(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfa,b\r\n\r\n1,2\r\n\r\n\r\n3,4\r\n")
    header, rows = files.csv_rows(path, RejectedRows())
    assert header == ["a", "b"]
    assert list(rows) == [(3, ["1", "2"]), (6, ["3", "4"])]


def test_empty_fields_of_text_tables_are_null(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('a,b\n,""\nx, \n')
    (frame,) = files.table_batches(path, RejectedRows())
    assert frame.select("a", "b", "__row").rows() == [(None, None, 2), ("x", " ", 3)]


def test_batches_of_parquet_and_text_count_rows_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BATCH", 2)
    table = pl.DataFrame({"a": ["v", "w", "x", "y", "z"]})
    table.write_parquet(tmp_path / "a.parquet")
    table.write_csv(tmp_path / "a.csv")
    for name, first in (("a.parquet", 1), ("a.csv", 2)):
        batches = list(files.table_batches(tmp_path / name, RejectedRows()))
        assert [batch.height for batch in batches] == [2, 2, 1]
        whole = pl.concat(batches)
        assert whole["a"].to_list() == table["a"].to_list()
        assert whole["__row"].to_list() == list(range(first, first + 5))
        assert files.table_header(tmp_path / name, RejectedRows()) == ["a"]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.json", '[{"a": 1}, 2]', [("entry 1", {"a": 1}), ("entry 2", 2)]),
        ("a.json", '{"a": 1}', [("entry 1", {"a": 1})]),
        ("a.json", '{"a": 1}\n{"a": 2}\n', [("line 1", {"a": 1}), ("line 2", {"a": 2})]),
        ("a.jsonl", '\ufeff{"a": 1}\n\n3\n', [("line 1", {"a": 1}), ("line 3", 3)]),
        ("a.json", '{\n"a": 1\n}\n', [("entry 1", {"a": 1})]),
        ("a.jsonl", '{"a": "x\\u2028y"}', [("line 1", {"a": "x\u2028y"})]),
    ],
)
def test_json_values(tmp_path: Path, name: str, text: str, expected: list[Any]) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert list(files.json_values(path, RejectedRows())) == expected


def test_a_line_separator_inside_a_text_does_not_break_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    records = [{"t": "a\u2028b\u0085c\x0bd"}, {"t": "e"}]
    path.write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in records), "utf-8")
    assert [value for _, value in files.json_values(path, RejectedRows())] == records


def test_bad_json_lines_can_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"a": \n{"a": NaN}\n{"a": 4}\n')
    ledger = RejectedRows(skip_bad=True)
    assert [where for where, _ in files.json_values(path, ledger)] == ["line 1", "line 4"]
    assert [bad["row"] for bad in ledger.bad] == ["line 2", "line 3"]


def test_json_errors_name_the_line(tmp_path: Path) -> None:
    with pytest.raises(LeadlineError, match="not valid JSON") as caught:
        files.parse_json('{\n"a": 1,\n"b" 2}', tmp_path)
    assert caught.value.row == "line 3"
    with pytest.raises(LeadlineError, match="too early"):
        files.parse_json('{"a": [1', tmp_path)


def test_the_line_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{\n"a": "x",\n"b": "\xe9"}')
    with pytest.raises(LeadlineError, match="UTF-8") as caught:
        files.read_text(path)
    assert caught.value.row == "line 3"


def test_the_csv_field_limit_is_left_as_it_was(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    path = tmp_path / "a.csv"
    path.write_text("a\n" + "x" * 500_000 + "\n")
    assert len(rows_of(path)[0][1][0]) == 500_000
    assert csv.field_size_limit() == before


def write_xlsx(path: Path, rows: list[list[str | int]]) -> None:
    """The least that is a workbook: one sheet, texts in their cells."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    cells = ""
    for number, row in enumerate(rows, 1):
        cells += f'<row r="{number}">'
        for letter, value in zip("ABC", row, strict=False):
            where = f'r="{letter}{number}"'
            if isinstance(value, int):
                cells += f"<c {where}><v>{value}</v></c>"
            else:
                cells += f'<c {where} t="inlineStr"><is><t>{value}</t></is></c>'
        cells += "</row>"
    sheet_type = "application/vnd.openxmlformats-officedocument.spreadsheetml."
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
        '<Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{sheet_type}sheet.main+xml"/>'
        f'<Override PartName="/xl/s.xml" ContentType="{sheet_type}worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="a" '
        f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
        '<sheet name="s" sheetId="1" r:id="b"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="b" Type="{office}/worksheet" Target="s.xml"/></Relationships>',
        "xl/s.xml": f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData></worksheet>',
    }
    with zipfile.ZipFile(path, "w") as book:
        for name, text in parts.items():
            book.writestr(name, text)


def test_excel_sheets_are_tables(tmp_path: Path) -> None:
    pytest.importorskip("fastexcel")
    path = tmp_path / "l.xlsx"
    write_xlsx(path, [["person_id", "time", "total"], ["p1", "2024-05-03T08:00:00Z", 14]])
    (frame,) = files.table_batches(path, RejectedRows())
    assert frame.select("__row", "person_id", "time", "total").rows() == [
        (2, "p1", "2024-05-03T08:00:00Z", "14")
    ]
    assert files.table_header(path, RejectedRows()) == ["person_id", "time", "total"]


def test_a_broken_workbook_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("fastexcel")
    path = tmp_path / "l.xlsx"
    path.write_bytes(b"PK no workbook")
    with pytest.raises(LeadlineError, match="not a readable Excel file"):
        next(files.table_batches(path, RejectedRows()))


def test_excel_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fastexcel", None)
    path = tmp_path / "l.xlsx"
    path.write_bytes(b"PK")
    with pytest.raises(LeadlineError, match="fastexcel") as caught:
        next(files.table_batches(path, RejectedRows()))
    assert "pip install" in caught.value.remedy
