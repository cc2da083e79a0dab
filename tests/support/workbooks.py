"""Workbooks that are made part by part, so that a test can make what no program would."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
DOCUMENT = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
HEAD = '<?xml version="1.0"?>'

TEXTS = ("person_id", "role", "text", "p", "user", "low")


def row(number: int, texts: Sequence[int]) -> str:
    """A row of shared texts by their numbers."""
    cells = (f'<c r="{"ABCDEFG"[place]}{number}" t="s"><v>{text}</v></c>'
             for place, text in enumerate(texts))  # fmt: skip
    return f'<row r="{number}">{"".join(cells)}</row>'


TABLE = row(1, (0, 1, 2)) + row(2, (3, 4, 5))


def _relations(**targets: str) -> str:
    pairs = ((name, *target.split(">")) for name, target in targets.items())
    entries = (f'<Relationship Id="{name}" Type="{DOCUMENT}/{kind}" Target="{part}"/>'
               for name, kind, part in pairs)  # fmt: skip
    return (
        f'{HEAD}<Relationships xmlns="{PACKAGE}/relationships">{"".join(entries)}</Relationships>'
    )


def write_workbook(
    path: Path, rows: str = TABLE, texts: Sequence[str] = TEXTS, sheets: int = 1, before: str = ""
) -> Path:
    """A workbook of one sheet, named `sheets` times, with shared texts and what stands above."""
    kinds = {"/xl/workbook.xml": "sheet.main", "/xl/worksheets/sheet1.xml": "worksheet",
             "/xl/sharedStrings.xml": "sharedStrings"}  # fmt: skip
    overrides = "".join(f'<Override PartName="{name}" ContentType="{TYPE}.{kind}+xml"/>'
                        for name, kind in kinds.items())  # fmt: skip
    named = "".join(f'<sheet name="S{n}" sheetId="{n + 1}" r:id="a"/>' for n in range(sheets))
    parts = {
        "[Content_Types].xml": f'{HEAD}<Types xmlns="{PACKAGE}/content-types"><Default '
        'Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Default Extension="xml" ContentType="application/xml"/>{overrides}</Types>',
        "_rels/.rels": _relations(a="officeDocument>xl/workbook.xml"),
        "xl/workbook.xml": f'{HEAD}<workbook xmlns="{MAIN}" xmlns:r="{DOCUMENT}"><sheets>{named}'
        "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": _relations(
            a="worksheet>worksheets/sheet1.xml", b="sharedStrings>sharedStrings.xml"
        ),
        "xl/sharedStrings.xml": f'{HEAD}{before}<sst xmlns="{MAIN}">'
        + "".join(f"<si><t>{text}</t></si>" for text in texts) + "</sst>",
        "xl/worksheets/sheet1.xml": f'{HEAD}<worksheet xmlns="{MAIN}"><sheetData>{rows}</sheetData>'
        "</worksheet>",
    }  # fmt: skip
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        for name, content in parts.items():
            book.writestr(name, content)
    return path
