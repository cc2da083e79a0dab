"""What an import left out or transformed, and the choice between stopping and going on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leadline.errors import LeadlineError

LISTED = 10_000  # bad rows that are listed one by one; all are counted


@dataclass
class RejectedRows:
    """Collects bad rows (or raises on the first) and counts transformations.

    Attributes:
        skip_bad: leave bad rows out instead of raising.
        bad: file, row and reason of each row left out, the first `LISTED` of them.
        reasons: reason -> rows left out for it.
        notes: transformation or omission that belongs to the format -> how often.
    """

    skip_bad: bool = False
    bad: list[dict[str, Any]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def reject(self, file: Path, row: int | str | None, problem: str, remedy: str) -> None:
        """Leave a row out, or raise if bad rows stop the import."""
        if not self.skip_bad:
            again = " Or add --skip-bad to leave such rows out."
            raise LeadlineError(problem, remedy=remedy + again, file=file, row=row)
        self.reasons[problem] += 1
        if len(self.bad) < LISTED:
            self.bad.append({"file": file.name, "row": row, "reason": problem})

    def reject_error(self, file: Path, row: int | str | None, error: LeadlineError) -> None:
        """`reject` with the problem and remedy of an error that knew no file or row."""
        self.reject(file, row, error.problem, error.remedy)

    def note(self, what: str, count: int = 1) -> None:
        """Count a transformation or an omission that is no error."""
        if count:
            self.notes[what] += count

    def summary(self) -> dict[str, Any]:
        """Plain data for the manifest: no text, only files, rows, reasons, counts."""
        return {
            "left_out": sum(self.reasons.values()),
            "left_out_by_reason": dict(self.reasons.most_common()),
            "left_out_rows": list(self.bad),
            "transformations": dict(self.notes.most_common()),
        }
