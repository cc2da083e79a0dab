"""What ends an import in the terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from tests.support.imports import import_beside, write_source

from leadline.errors import LeadlineError
from leadline.importing.summary import render_import
from leadline.sources.rejects import RejectedRows

TABLE = (
    "user_id,role,text,createdAt,birth_date,phq9_total,site,is_deleted\n"
    "p,user,SECRETWORDS,2024-05-01T10:00:00Z,1980-01-01,14,north,\n"
    "p,bot,gone,2024-05-01T10:01:00Z,1980-01-01,14,north,1\n"
)


def printed(folder: Path) -> str:
    cohort = import_beside(write_source(folder, "t.csv", TABLE))
    out = io.StringIO()
    console = Console(file=out, width=120)
    for part in render_import(cohort.manifest):
        console.print(part)
    return out.getvalue()


def test_every_column_and_what_it_was_taken_for(tmp_path: Path) -> None:
    lines = {" ".join(line.split()) for line in printed(tmp_path).splitlines()}
    assert {
        "t.csv createdAt time", "t.csv user_id person", "t.csv is_deleted whether it was said",
        "t.csv birth_date left aside looks like a date of something else",
        "t.csv phq9_total left aside looks like a score", "t.csv site left aside",
        "2 messages read, 1 turns written", "1 deleted or redacted messages, left out",
    } <= lines  # fmt: skip
    assert "SECRETWORDS" not in printed(tmp_path / "b")


def test_a_lost_message_is_never_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forget(self: RejectedRows, why: str, messages: int = 1) -> None:
        pass

    monkeypatch.setattr(RejectedRows, "omit", forget)
    with pytest.raises(LeadlineError, match="should have become turns"):
        import_beside(write_source(tmp_path, "t.csv", TABLE))
    assert not (tmp_path / "cohort").exists()


def test_what_has_no_date_is_said(tmp_path: Path) -> None:
    labels = write_source(tmp_path, "l.csv", "person_id,total\np,14\n")
    source = write_source(tmp_path, "t.csv", "person_id,role,text\np,user,low\np,bot,why?\n")
    cohort = import_beside(source, phq9=labels)
    assert cohort.manifest["import"]["undated"] == {"turns": 2, "phq9": 1}
    text = str(render_import(cohort.manifest)[1])
    assert "2 turns have no date" in text
    assert "1 PHQ-9s have no date" in text
