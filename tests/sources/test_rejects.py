"""Rows that were left out: all counted, some listed."""

from __future__ import annotations

from pathlib import Path

import pytest

from leadline.errors import LeadlineError
from leadline.sources.rejects import LISTED, RejectedRows

FILE = Path("a.csv")


def test_the_ledger_counts_all_and_lists_some() -> None:
    ledger = RejectedRows(skip_bad=True)
    for row in range(LISTED + 5):
        ledger.reject(FILE, row, "Bad.", "Mend it.")
    ledger.note("odd")
    ledger.note("never", 0)
    summary = ledger.summary()
    assert summary["left_out"] == LISTED + 5
    assert len(summary["left_out_rows"]) == LISTED
    assert summary["left_out_by_reason"] == {"Bad.": LISTED + 5}
    assert summary["transformations"] == {"odd": 1}
    with pytest.raises(LeadlineError, match="--skip-bad"):
        RejectedRows().reject(FILE, 1, "Bad.", "Mend it.")
