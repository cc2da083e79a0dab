"""A deliberate change of a cohort: on record, and never of who is locked."""

import json

import polars as pl
import pytest
from tests.support.written import build

from leadline.artefact import sha256
from leadline.cohort.lock import drop_lock
from leadline.cohort.relock import relock_cohort
from leadline.cohort.store import FILES, check_cohort, read_cohort
from leadline.errors import LeadlineError
from leadline.output import check_own


@pytest.fixture
def cohort(tmp_path):
    build(tmp_path / "c")
    return tmp_path / "c"


def edit(path, name, change):
    table = pl.read_parquet(path / name)
    change(table).write_parquet(path / name)


def new_text(table):
    return table.with_columns(pl.lit("mended").alias("text"))


def test_an_edited_table_is_refused_until_the_change_is_said(cohort):
    edit(cohort, "turns.parquet", new_text)
    for read in (read_cohort, check_cohort):
        with pytest.raises(LeadlineError, match="not the one that was written") as caught:
            read(cohort)
        assert "leadline relock" in caught.value.remedy
        assert caught.value.file == cohort / "turns.parquet"
    change = relock_cohort(cohort)
    assert change["files"] == ["turns.parquet"]
    again = read_cohort(cohort)
    assert set(again.turns["text"]) == {"mended"}
    assert again.manifest["files"] == {name: sha256(cohort / name) for name in FILES}
    (recorded,) = again.manifest["changed"]
    assert recorded["files"] == ["turns.parquet"]
    assert recorded["when"].endswith("+00:00")
    check_own(cohort, "cohort")


def test_every_change_is_kept_and_nothing_is_written_without_one(cohort):
    before = (cohort / "manifest.json").read_bytes()
    assert relock_cohort(cohort)["files"] == []
    assert (cohort / "manifest.json").read_bytes() == before
    edit(cohort, "phq9.parquet", lambda table: table[1:])
    relock_cohort(cohort)
    edit(cohort, "turns.parquet", new_text)
    relock_cohort(cohort)
    manifest = read_cohort(cohort).manifest
    assert [change["files"] for change in manifest["changed"]] == [
        ["phq9.parquet"], ["turns.parquet"],
    ]  # fmt: skip
    assert manifest["counts"]["phq9"] == 3


@pytest.mark.parametrize(
    "locked",
    [
        pl.lit(False),
        pl.lit(True),
        pl.col("person_id") == "b",
        ~pl.col("locked"),
    ],
)
def test_who_is_locked_is_no_matter_of_a_text_editor(cohort, locked):
    edit(cohort, "people.parquet", lambda table: table.with_columns(locked.alias("locked")))
    before = (cohort / "manifest.json").read_bytes()
    with pytest.raises(LeadlineError, match="not the one that was written"):
        read_cohort(cohort)
    if (
        cohort_count(cohort) == 1
        and pl.read_parquet(cohort / "people.parquet")["locked"].sum() == 1
    ):
        return  # a lock without a record of names: the count is all that is known
    with pytest.raises(LeadlineError, match="column locked") as caught:
        relock_cohort(cohort)
    assert "lock --drop" in caught.value.remedy.replace("\n", " ")
    assert (cohort / "manifest.json").read_bytes() == before


def cohort_count(cohort):
    return json.loads((cohort / "manifest.json").read_text())["counts"]["locked"]


def test_a_recorded_lock_is_known_by_its_people(simulated):
    before = (simulated / "people.parquet").read_bytes()
    edit(simulated, "people.parquet", swap_two)
    with pytest.raises(LeadlineError, match="column locked"):
        relock_cohort(simulated)
    (simulated / "people.parquet").write_bytes(before)
    relock_cohort(simulated)
    drop_lock(simulated, "no use")
    edit(simulated, "people.parquet", lambda table: table.with_columns(locked=pl.lit(True)))
    with pytest.raises(LeadlineError, match="column locked"):
        relock_cohort(simulated)


@pytest.fixture
def simulated(cohort_path):
    return cohort_path


def swap_two(table):
    """The first locked person changes sides with the first other one."""
    inside, outside = (
        table.filter("locked")["person_id"][0],
        table.filter(~pl.col("locked"))["person_id"][0],
    )
    inside, outside = sorted([inside, outside])
    moved = pl.col("person_id").is_in([inside, outside])
    return table.with_columns(locked=pl.col("locked") ^ moved)


BAD = {
    "twice": ("people.parquet", lambda t: pl.concat([t, t[:1]]), "stands twice"),
    "unsaid": (
        "people.parquet",
        lambda t: t.with_columns(locked=pl.when(pl.col("person_id") != "b").then("locked")),
        "whether they are locked",
    ),
    "stranger": (
        "phq9.parquet",
        lambda t: t.with_columns(person_id=pl.lit("who")),
        "4 rows are of people who are not in",
    ),
    "no column": ("turns.parquet", lambda t: t.drop("text"), "text"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_table_that_makes_no_cohort_is_refused(cohort, name):
    file, change, message = BAD[name]
    edit(cohort, file, change)
    with pytest.raises(LeadlineError, match=message) as caught:
        relock_cohort(cohort)
    assert caught.value.file == cohort / file
