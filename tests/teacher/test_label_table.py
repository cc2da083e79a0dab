"""The table of labels as it is read back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.support.teacher_cohort import PRICES, add_truth, config
from tests.teacher.test_label import make_cohort, texts

from leadline.artefact import read_manifest, sha256, write_json
from leadline.errors import LeadlineError
from leadline.tables import LABELS
from leadline.teacher.config import LabelConfig
from leadline.teacher.label import label_cohort
from leadline.teacher.label_table import read_labels
from leadline.teacher.rubric import load_rubric

START = datetime(2025, 3, 1, tzinfo=UTC)


def hash_again(labels):
    """Make the manifest know the table as it is now."""
    manifest = read_manifest(labels, "labels")
    manifest["files"] = {"labels.parquet": sha256(labels / "labels.parquet")}
    write_json(labels / "manifest.json", manifest)


def test_unfinished_or_malformed_labels_are_refused(tmp_path):
    cohort = make_cohort(tmp_path / "c", texts(3))
    add_truth(cohort, 3)
    label_cohort(cohort, tmp_path / "l", LabelConfig(limit=1))
    table = read_labels(tmp_path / "l")
    assert table["person_id"].n_unique() == 1
    table.drop("weight").write_parquet(tmp_path / "l" / "labels.parquet")
    with pytest.raises(LeadlineError, match="not the one that was written"):
        read_labels(tmp_path / "l")
    hash_again(tmp_path / "l")
    with pytest.raises(LeadlineError, match="'weight'"):
        read_labels(tmp_path / "l")
    (tmp_path / "l" / "labels.parquet").write_bytes(b"no")
    hash_again(tmp_path / "l")
    with pytest.raises(LeadlineError, match="cannot be read"):
        read_labels(tmp_path / "l")
    (tmp_path / "l" / "manifest.json").unlink()
    with pytest.raises(LeadlineError, match="unfinished"):
        read_labels(tmp_path / "l")


def test_each_label_names_its_rubric_and_equal_texts_share_their_price(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", ["same words here"] * 2, locked=0)
    report = label_cohort(cohort, tmp_path / "l", config(server, "openai", draws=3, **PRICES))
    labels = read_labels(tmp_path / "l")
    assert labels["rubric"].unique().to_list() == [load_rubric().version]
    assert labels["usd"].sum() == pytest.approx(report["usage"]["spent_usd"])
    assert report["per_person"]["output_tokens"] == {"mean": 75.0, "highest": 75.0}


def test_a_table_of_before_reads_as_labels_without_a_price(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(3), locked=0)
    label_cohort(cohort, tmp_path / "l", config(server, "openai", draws=1))
    labels = read_labels(tmp_path / "l")
    labels.select(*LABELS).write_parquet(tmp_path / "l" / "labels.parquet")
    hash_again(tmp_path / "l")
    before = read_labels(tmp_path / "l")
    assert before.columns == labels.columns
    assert before["usd"].null_count() == before["reasoning"].null_count() == 3
    assert before["rubric"].to_list() == labels["rubric"].to_list()
