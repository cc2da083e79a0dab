import json

import polars as pl
import pytest
from tests.support.cohorts import scored_people

from leadline.artefact import sha256
from leadline.cohort import lock
from leadline.cohort.lock import lock_cohort
from leadline.cohort.store import read_cohort, write_cohort
from leadline.errors import LeadlineError

ARGUMENTS = {"share": 0.25, "seed": 3, "by": "severity"}


@pytest.fixture
def path(tmp_path):
    cohort = scored_people([float(i % 28) for i in range(40)])
    write_cohort(
        tmp_path / "cohort", cohort.turns, cohort.phq9, cohort.people,
        command="import", settings={}, inputs={},
    )  # fmt: skip
    return tmp_path / "cohort"


def test_the_lock_is_recorded_in_the_cohort(path):
    before = {f.name: f.read_bytes() for f in path.iterdir()}
    assert lock_cohort(path, **ARGUMENTS) == {**ARGUMENTS, "people": 10}
    cohort = read_cohort(path)
    assert cohort.people["locked"].sum() == 10
    assert cohort.manifest["locked_test"] == {**ARGUMENTS, "people": 10}
    assert cohort.manifest["counts"]["locked"] == 10
    assert cohort.manifest["files"]["people.parquet"] == sha256(path / "people.parquet")
    assert {f.name for f in path.iterdir()} == set(before), "no scratch file stays"
    for name in ("turns.parquet", "phq9.parquet"):
        assert (path / name).read_bytes() == before[name]


def test_a_second_lock_is_refused_and_changes_nothing(path):
    lock_cohort(path, **ARGUMENTS)
    before = {f.name: f.read_bytes() for f in path.iterdir()}
    with pytest.raises(LeadlineError, match="10 people are locked already"):
        lock_cohort(path, share=0.5, seed=4, by="time")
    assert {f.name: f.read_bytes() for f in path.iterdir()} == before


def test_a_lock_that_was_interrupted_can_be_repeated(path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lock, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            lock_cohort(path, **ARGUMENTS)
    half = set(read_cohort(path).people.filter("locked")["person_id"])
    assert len(half) == 10, "whoever trains now leaves them out"
    lock_cohort(path, **ARGUMENTS)
    assert set(read_cohort(path).people.filter("locked")["person_id"]) == half
    assert json.loads((path / "manifest.json").read_text())["counts"]["locked"] == 10


def test_a_simulated_cohort_comes_with_its_locked_people(cohort_path):
    with pytest.raises(LeadlineError, match="locked already"):
        lock_cohort(cohort_path, **ARGUMENTS)


def test_nothing_is_locked_in_a_cohort_without_labels(path, tmp_path):
    cohort = read_cohort(path)
    bare = tmp_path / "bare"
    write_cohort(
        bare, cohort.turns, cohort.phq9.clear(), cohort.people,
        command="import", settings={}, inputs={},
    )  # fmt: skip
    with pytest.raises(LeadlineError, match="0 people have a PHQ-9 total") as caught:
        lock_cohort(bare, **ARGUMENTS)
    assert caught.value.file == bare
    (path / "manifest.json").unlink()
    with pytest.raises(LeadlineError, match="unfinished"):
        lock_cohort(path, **ARGUMENTS)
    assert not pl.read_parquet(path / "people.parquet")["locked"].any()


def test_further_columns_of_people_are_kept(path):
    people = pl.read_parquet(path / "people.parquet").with_columns(pl.lit("A").alias("site"))
    people.write_parquet(path / "people.parquet")
    lock_cohort(path, **ARGUMENTS)
    after = pl.read_parquet(path / "people.parquet")
    assert after.columns == ["person_id", "locked", "site"]
    assert after["person_id"].equals(people["person_id"])
