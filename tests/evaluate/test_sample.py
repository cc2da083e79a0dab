"""Tables that would give wrong numbers are refused, each with file, row and remedy."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from tests.support.predictions import predictions

from leadline.errors import LeadlineError
from leadline.evaluate.sample import band_of, split_samples


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return predictions(20, labels=2, repeats=2)


def put(table: pl.DataFrame, column: str, row: int, value: object) -> pl.DataFrame:
    values = table[column].to_list()
    values[row] = value
    return table.with_columns(pl.Series(column, values, dtype=table.schema[column]))


BROKEN = {
    "total 31": (lambda t: put(t, "total", 4, 31.0), "not a whole number", 5),
    "total 10.5": (lambda t: put(t, "total", 4, 10.5), "not a whole number", 5),
    "negative total": (lambda t: put(t, "total", 0, -1.0), "not a whole number", 1),
    "total NaN": (lambda t: put(t, "total", 2, float("nan")), "not a whole number", 3),
    "no total": (lambda t: put(t, "total", 7, None), "'total' is empty", 8),
    "no mean": (lambda t: put(t, "mean", 7, None), "'mean' is empty", 8),
    "mean NaN": (lambda t: put(t, "mean", 7, float("nan")), "not a finite number", 8),
    "median infinite": (lambda t: put(t, "median", 3, float("inf")), "not a finite number", 4),
    "mean 400": (lambda t: put(t, "mean", 3, 400.0), "not a finite number", 4),
    "unknown split": (lambda t: put(t, "split", 1, "test"), "split is unknown", 2),
    "PHQ-2": (lambda t: put(t, "instrument", 1, "phq2"), "of another instrument", 2),
    "PHQ-8 of 26": (
        lambda t: put(put(t, "instrument", 1, "phq8"), "total", 1, 26.0),
        "range of phq8",
        2,
    ),
    "short distribution": (lambda t: put(t, "distribution", 9, [0.5, 0.5]), "28 probabil", 10),
    "negative mass": (
        lambda t: put(t, "distribution", 9, [-0.5, 1.5] + [0.0] * 26),
        "28 probabil",
        10,
    ),
    "sum of 2": (lambda t: put(t, "distribution", 9, [1.0, 1.0] + [0.0] * 26), "28 probabil", 10),
    "mass NaN": (
        lambda t: put(t, "distribution", 9, [float("nan"), 1.0] + [0.0] * 26),
        "28 probabil",
        10,
    ),
    "some distributions": (lambda t: put(t, "distribution", 9, None), "some rows only", None),
    "duplicate": (lambda t: t.vstack(t[:1]), "occurs twice", 1),
    "missing row": (lambda t: t[1:], "one prediction for every label", None),
    "missing repeat rows": (lambda t: t[:-40], None, None),
    "empty": (lambda t: t[:0], "no predictions", None),
    "missing column": (lambda t: t.drop("median"), "'median'", None),
    "wrong type": (lambda t: t.with_columns(pl.col("label").cast(pl.String)), "'label'", None),
    "label model": (lambda t: t.with_columns(source=pl.lit("teacher")), "made by a model", None),
    "weights": (lambda t: t.with_columns(weight=pl.lit(0.5)), "made by a model", None),
    "two persons": (lambda t: put(t, "person_id", 3, "other"), "disagree", None),
    "two totals": (lambda t: put(t, "total", 3, (t["total"][3] + 1) % 28), "disagree", None),
    "two folds": (lambda t: put(t, "fold", 1, 4), "several folds", None),
}


@pytest.mark.parametrize("name", [name for name in BROKEN if name != "missing repeat rows"])
def test_broken_table_is_refused(table, name) -> None:
    breaks, message, row = BROKEN[name]
    with pytest.raises(LeadlineError, match=message) as caught:
        split_samples(breaks(table))
    assert caught.value.file is not None
    assert caught.value.remedy
    if row is not None:
        assert caught.value.row == row


def test_fewer_repeats_of_one_model_are_fine(table) -> None:
    (sample,) = split_samples(BROKEN["missing repeat rows"][0](table))
    assert (sample.models["leadline"].repeats, sample.models["ridge"].repeats) == (2, 1)


def test_locked_person_in_training_folds_is_refused(table) -> None:
    locked = predictions(5, split="locked").with_columns(pl.col("label") + 1000)
    split_samples(table.vstack(locked))
    stranger = locked.with_columns(person_id=pl.lit(table["person_id"][0]))
    with pytest.raises(LeadlineError, match="both in the locked test and in the training"):
        split_samples(table.vstack(stranger))


def test_splits_and_instruments_are_kept_apart_and_in_order(table) -> None:
    locked = predictions(12, split="locked").with_columns(pl.col("label") + 1000)
    eight = locked.with_columns(
        pl.col("label") + 1000,
        pl.col("total").clip(0, 24),
        pl.col("person_id") + "-b",
        instrument=pl.lit("phq8"),
    )
    samples = split_samples(pl.concat([table, eight, locked]))
    assert [(s.split, s.instrument, len(s.gold)) for s in samples] == [
        ("locked", "phq9", 12),
        ("locked", "phq8", 12),
        ("out-of-fold", "phq9", 40),
    ]
    assert samples[1].maximum == 24


def test_arrays_keep_labels_persons_and_repeats_together(table) -> None:
    (sample,) = split_samples(table.sample(fraction=1, shuffle=True, seed=1))
    assert sample.people == 20
    assert len(sample.gold) == 40
    for repeat in range(2):
        rows = table.filter((pl.col("model") == "ridge") & (pl.col("repeat") == repeat))
        np.testing.assert_allclose(sample.models["ridge"].mean[repeat], rows["mean"])
        np.testing.assert_array_equal(sample.gold, rows["total"])
    first, second = sample.models["leadline"].totals
    assert len(first) == len(second) == 40


def test_bands_of_totals_and_of_estimates() -> None:
    edges = np.array([0, 4, 4.49, 4.5, 5, 9, 10, 14, 15, 19, 20, 27, -3, 31])
    expected = [0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4, 0, 4]
    np.testing.assert_array_equal(band_of(edges), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lower": pl.lit(9.0), "upper": pl.lit(8.0)}, "An interval is not a lower and an upper"),
        ({"lower": pl.lit(-1.0)}, "An interval is not a lower and an upper"),
        ({"upper": pl.lit(None, dtype=pl.Float64)}, "An interval is not a lower and an upper"),
        ({"upper": pl.lit(float("nan"))}, "An interval is not a lower and an upper"),
        (
            {
                end: pl.when(pl.col("label") > 3).then(pl.col(end)) for end in ("lower", "upper")
            },
            "gives an interval in some rows only",
        ),
        ({"upper": pl.lit("9")}, "Column 'upper' should be Float64"),
    ],
)  # fmt: skip
def test_intervals_that_are_none_are_refused(change, message) -> None:
    with pytest.raises(LeadlineError, match=message):
        split_samples(predictions(20).with_columns(**change))


def test_a_table_of_before_has_no_intervals() -> None:
    (now,), (before,) = (
        split_samples(table) for table in (predictions(20), predictions(20).drop("lower", "upper"))
    )
    assert now.models["leadline"].lower.shape == (1, 20)
    assert before.models["leadline"].lower is None
    with pytest.raises(LeadlineError, match="Column 'upper'"):
        split_samples(predictions(20).drop("upper"))
