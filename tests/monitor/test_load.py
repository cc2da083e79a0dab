"""A cohort goes into a store whole, and twice is once."""

from dataclasses import replace

import pytest
from sqlalchemy import func, select
from tests.support.cohorts import undated
from tests.support.monitored import EVIDENCE, load

from leadline.cohort.store import read_cohort, write_cohort
from leadline.errors import LeadlineError
from leadline.monitor.load import LoadConfig, load_cohort
from leadline.store.schema import hook_call, message, person_now, phq9


def count(store, table):
    return store.database.read(
        lambda c: c.execute(select(func.count()).select_from(table)).scalar()
    )


def test_all_of_a_cohort_is_stored_once(live, spread_cohort):
    cohort = read_cohort(spread_cohort)
    first = load(live, spread_cohort)
    assert first == {
        "people stored": cohort.people.height,
        "messages stored": cohort.turns.height,
        "PHQ-9s stored": cohort.phq9.height,
    }
    again = load(live, spread_cohort)
    assert again["messages known"] == cohort.turns.height
    assert again["PHQ-9s known"] == cohort.phq9.height
    assert count(live, message) == cohort.turns.height
    assert count(live, phq9) == cohort.phq9.height


def test_old_answers_call_nobody_and_everyone_is_in_the_list(sqlite_live, spread_cohort):
    load(sqlite_live, spread_cohort)
    assert count(sqlite_live, hook_call) == 0
    assert count(sqlite_live, person_now) == read_cohort(spread_cohort).people.height


def test_a_cohort_without_times_is_refused_before_anything_is_stored(
    sqlite_live, spread_cohort, tmp_path
):
    cohort = undated(read_cohort(spread_cohort))
    path = tmp_path / "undated"
    write_cohort(path, cohort.turns, cohort.phq9, cohort.people,
                 command="test", settings={}, inputs={})  # fmt: skip
    with pytest.raises(LeadlineError, match=r"no time") as refused:
        load(sqlite_live, path)
    assert "turns.parquet" in str(refused.value)
    assert count(sqlite_live, message) == 0


def test_the_agreement_has_to_be_said(sqlite_live, spread_cohort):
    with pytest.raises(LeadlineError, match="agreement"):
        load_cohort(spread_cohort, sqlite_live, replace(LoadConfig(EVIDENCE), evidence=" "))
    said = []
    load_cohort(spread_cohort, sqlite_live, LoadConfig(EVIDENCE, "north"), said.append)
    assert said[-1].split(" of ")[0] in said[-1].split(" of ")[1]
