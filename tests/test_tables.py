"""Tables on disk have the columns that `tables.py` names, and others are refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import polars as pl
import pytest

from leadline import tables
from leadline.artefact import sha256, write_manifest
from leadline.cohort.store import read_cohort
from leadline.errors import LeadlineError
from leadline.phq9.items import CUTS, ITEM_COLUMNS
from leadline.selftrain.ancestry import BATCHES, PSEUDOLABEL_COLUMNS, AncestryLedger, read_ancestry
from leadline.tables import (
    ESTIMATES,
    FOLD_LEDGER,
    LABELS,
    PEOPLE,
    PHQ9,
    PREDICTIONS,
    TURNS,
    UTC_TIME,
    check_columns,
)
from leadline.teacher.label_table import read_labels

SCHEMAS = {
    name: schema
    for name, schema in vars(tables).items()
    if name.isupper() and isinstance(schema, dict)
}


def check(table, schema):
    check_columns(table, schema, "a.parquet", "Write it again.")


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_a_table_passes_with_its_columns_in_any_order_and_with_more(schema):
    table = pl.DataFrame(schema=schema)
    check(table, schema)
    check(table.select(reversed(table.columns)).with_columns(more=pl.lit(1)), schema)


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_a_table_without_one_of_its_columns_or_with_another_type_is_refused(schema):
    table = pl.DataFrame(schema=schema)
    for column, kind in schema.items():
        with pytest.raises(LeadlineError) as caught:
            check(table.drop(column), schema)
        assert caught.value.problem == f"Column {column!r} should be {kind}, found None."
        with pytest.raises(LeadlineError) as caught:
            check(table.with_columns(pl.lit(None, pl.Duration("ms")).alias(column)), schema)
        assert caught.value.problem.endswith("found Duration(time_unit='ms').")
        assert str(caught.value.file) == "a.parquet"
        assert caught.value.remedy == "Write it again."


def test_times_without_a_zone_are_another_type():
    table = pl.DataFrame(schema={"time": pl.Datetime("us")})
    with pytest.raises(LeadlineError, match="UTC"):
        check(table, {"time": tables.UTC_TIME})


def change_column(file, column):
    pl.read_parquet(file).with_columns(pl.lit(True).alias(column)).write_parquet(file)


def test_each_table_of_a_cohort_is_checked_when_it_is_read(tmp_path, cohort_path):
    for name, column in (("turns", "text"), ("phq9", "total"), ("people", "person_id")):
        copied = tmp_path / name
        copied.mkdir()
        for file in cohort_path.glob("*.*"):
            (copied / file.name).write_bytes(file.read_bytes())
        change_column(copied / f"{name}.parquet", column)
        manifest = json.loads((copied / "manifest.json").read_text())
        manifest["files"][f"{name}.parquet"] = sha256(copied / f"{name}.parquet")
        (copied / "manifest.json").write_text(json.dumps(manifest))  # as a forger would
        with pytest.raises(LeadlineError, match=f"Column '{column}' should be") as caught:
            read_cohort(copied)
        assert caught.value.file == copied / f"{name}.parquet"


def test_a_ledger_of_another_schema_is_refused_before_it_is_followed(tmp_path):
    AncestryLedger(frozenset()).write(tmp_path, pl.DataFrame(schema=PSEUDOLABEL_COLUMNS))
    assert read_ancestry(tmp_path, frozenset()).batches == {}
    change_column(tmp_path / BATCHES, "ancestors")
    with pytest.raises(LeadlineError, match="Column 'ancestors' should be") as caught:
        read_ancestry(tmp_path, frozenset())
    assert caught.value.file == tmp_path / BATCHES


def test_labels_of_another_schema_are_refused(tmp_path):
    def bind():
        files = {"labels.parquet": sha256(tmp_path / "labels.parquet")}
        write_manifest(
            tmp_path, kind="labels", command="label", settings={}, inputs={}, files=files
        )

    pl.DataFrame(schema=tables.LABELS).write_parquet(tmp_path / "labels.parquet")
    bind()
    assert read_labels(tmp_path).height == 0
    change_column(tmp_path / "labels.parquet", "draw")
    bind()
    with pytest.raises(LeadlineError, match=r"Column 'draw' should be .*\n.*leadline label"):
        read_labels(tmp_path)


ALL = {
    "turns": TURNS,
    "phq9": PHQ9,
    "people": PEOPLE,
    "predictions": PREDICTIONS,
    "estimates": ESTIMATES,
    "ledger": FOLD_LEDGER,
    "labels": LABELS,
}


@pytest.mark.parametrize("name", ["predictions", "estimates", "ledger"])
def test_a_run_writes_them_so(trained, name):
    assert dict(pl.read_parquet_schema(trained / f"{name}.parquet")) == ALL[name]


@pytest.mark.parametrize("name", ["turns", "phq9", "people"])
def test_a_cohort_writes_them_so(simulated_path, name):
    written = dict(pl.read_parquet_schema(simulated_path / f"{name}.parquet"))
    assert list(written)[: len(ALL[name])] == list(ALL[name])
    assert written | ALL[name] == written


@pytest.mark.parametrize("name", ALL)
def test_a_row_of_nothing_fits_and_comes_back(name, tmp_path):
    """Every kind of column can be written, null where nothing is known, and read again."""
    table = pl.DataFrame([[None] * len(ALL[name])], schema=ALL[name], orient="row")
    table.write_parquet(tmp_path / "table.parquet")
    assert pl.read_parquet(tmp_path / "table.parquet").equals(table)


@pytest.mark.parametrize("name", ALL)
def test_people_are_named_and_times_are_utc_everywhere(name):
    assert ALL[name]["person_id"] == pl.String()
    if "time" in ALL[name]:
        moment = datetime(2025, 3, 1, 23, 59, 59, 999999, tzinfo=UTC)
        assert ALL[name]["time"] == UTC_TIME
        assert pl.Series([moment], dtype=ALL[name]["time"]).to_list() == [moment]


def test_items_and_cuts_have_a_column_each():
    for table in (PHQ9, LABELS):
        assert [column for column in table if column.startswith("item_")] == list(ITEM_COLUMNS)
        assert {table[column] for column in ITEM_COLUMNS} == {pl.Int8()}
    assert [c for c in ESTIMATES if c.startswith("p_ge_")] == [f"p_ge_{cut}" for cut in CUTS]


def test_gold_and_labels_of_models_cannot_be_taken_for_each_other():
    """What tells where a label comes from stands in the one table and not in the other."""
    provenance = {"source", "round", "model", "ancestors", "weight"}
    assert provenance <= set(LABELS)
    assert not provenance & set(PHQ9)
    assert "instrument" in PHQ9
    assert "instrument" not in LABELS


@pytest.mark.parametrize(
    "kind",
    [pl.Struct({"hopeless": pl.String()}), pl.List(pl.Struct({"hopeless": pl.String()})),
     pl.Enum(["hopeless"]), pl.Array(pl.Struct({"hopeless": pl.String()}), 2)],
)  # fmt: skip
def test_a_type_is_told_without_what_a_file_calls_its_parts(kind):
    with pytest.raises(LeadlineError, match=r"found (Struct|List|Enum|Array)") as caught:
        check(pl.DataFrame(schema={**tables.PEOPLE, "person_id": kind}), tables.PEOPLE)
    assert "hopeless" not in str(caught.value)
