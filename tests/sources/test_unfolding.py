"""What a file may hold for its size: workbooks and counts."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from tests.support.workbooks import TABLE, TEXTS, row, write_workbook

from leadline.errors import LeadlineError
from leadline.sources.unfolding import (
    LEAST_BYTES,
    LEAST_VALUES,
    TIMES,
    VALUES_A_BYTE,
    check_bytes,
    check_values,
    check_workbook,
)


def test_a_file_may_hold_so_much_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"x" * 1_000)
    check_bytes(path, LEAST_BYTES + TIMES * 1_000)
    check_values(path, LEAST_VALUES + VALUES_A_BYTE * 1_000)
    with pytest.raises(LeadlineError, match="1,000 bytes and unfolds") as caught:
        check_bytes(path, LEAST_BYTES + TIMES * 1_000 + 1)
    assert caught.value.file == path
    with pytest.raises(LeadlineError, match="unfolds"):
        check_values(path, LEAST_VALUES + VALUES_A_BYTE * 1_000 + 1)


def test_a_workbook_of_a_program_passes(tmp_path: Path) -> None:
    many = "".join(row(number, (3, 4, 5)) for number in range(3, 3_000))
    check_workbook(write_workbook(tmp_path / "a.xlsx", TABLE + many))


LONG = (*TEXTS[:5], "x " * 15_000)
MANY = "".join(row(number, (3, 4, 5)) for number in range(3, 4_000))
BOMBS = {
    "a cell far away": {"rows": TABLE + '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'},
    "a row far away and a wide one": {
        "rows": TABLE + '<row r="1048576">' + "<c><v>1</v></c>" * 2_000 + "</row>"
    },
    "a long text in each row": {"rows": TABLE + MANY, "texts": LONG},
    "the same, its numbers written otherwise": {
        "rows": (TABLE + MANY).replace("<v>5</v>", "<v><![CDATA[5]]></v>"), "texts": LONG,
    },
    "the same, behind a long attribute": {
        "rows": (TABLE + MANY).replace('t="s"', f't="s" x="{">" * 400}"'), "texts": LONG,
    },
    "one sheet many times": {"sheets": 1_000},
    "a part of zeros": {"texts": (*TEXTS[:5], "0" * 60_000_000)},
}  # fmt: skip


@pytest.mark.parametrize("case", BOMBS)
def test_a_workbook_that_unfolds_to_too_much_is_refused(case: str, tmp_path: Path) -> None:
    path = write_workbook(tmp_path / "a.xlsx", **BOMBS[case])  # type: ignore[arg-type]
    with pytest.raises(LeadlineError, match="unfolds to many times"):
        check_workbook(path)


def test_a_workbook_that_lies_about_a_part_is_no_workbook(tmp_path: Path) -> None:
    path = write_workbook(tmp_path / "a.xlsx", texts=(*TEXTS[:5], "0" * 60_000_000))
    content = path.read_bytes()
    with zipfile.ZipFile(path) as book:
        size = book.getinfo("xl/sharedStrings.xml").file_size
    assert content.count(size.to_bytes(4, "little")) == 2, "in its own head and in the list"
    path.write_bytes(content.replace(size.to_bytes(4, "little"), (1_000).to_bytes(4, "little")))
    with pytest.raises(LeadlineError, match="not a readable Excel file"):
        check_workbook(path)


def test_what_is_no_archive_is_no_workbook(tmp_path: Path) -> None:
    for content in (b"", b"PK\x03\x04", b"hopeless" * 100):
        (tmp_path / "a.xlsx").write_bytes(content)
        with pytest.raises(LeadlineError, match="not a readable Excel file") as caught:
            check_workbook(tmp_path / "a.xlsx")
        assert "hopeless" not in str(caught.value)
