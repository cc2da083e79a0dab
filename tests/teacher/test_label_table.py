"""The table of labels as it is read back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.support.teacher_cohort import add_truth
from tests.teacher.test_label import make_cohort, texts

from leadline.errors import LeadlineError
from leadline.teacher.config import LabelConfig
from leadline.teacher.label import label_cohort
from leadline.teacher.label_table import read_labels

START = datetime(2025, 3, 1, tzinfo=UTC)


def test_unfinished_or_malformed_labels_are_refused(tmp_path):
    cohort = make_cohort(tmp_path / "c", texts(3))
    add_truth(cohort, 3)
    label_cohort(cohort, tmp_path / "l", LabelConfig(limit=1))
    table = read_labels(tmp_path / "l")
    assert table["person_id"].n_unique() == 1
    table.drop("weight").write_parquet(tmp_path / "l" / "labels.parquet")
    with pytest.raises(LeadlineError, match="'weight'"):
        read_labels(tmp_path / "l")
    (tmp_path / "l" / "labels.parquet").write_bytes(b"no")
    with pytest.raises(LeadlineError, match="cannot be read"):
        read_labels(tmp_path / "l")
    (tmp_path / "l" / "manifest.json").unlink()
    with pytest.raises(LeadlineError, match="unfinished"):
        read_labels(tmp_path / "l")
