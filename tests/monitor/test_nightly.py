"""The night: once a date, whole or to be gone on with, and nobody is asked twice."""

import threading
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from sqlalchemy import func, select, update
from tests.support.monitored import load
from tests.support.stores import put_estimates

from leadline.monitor import nightly
from leadline.monitor.config import MonitorConfig, read_config, write_config
from leadline.monitor.course import smoothed_course
from leadline.monitor.nightly import everybody, night_of, run_night
from leadline.monitor.now import read_ground, refresh_people
from leadline.monitor.records import read_records
from leadline.runs.checkpoint import run_identity
from leadline.store import times
from leadline.store.asks import change_ask
from leadline.store.people import external_id, people_by_id
from leadline.store.schema import (
    ask,
    course_day,
    drift_window,
    estimate,
    lane_entry,
    message,
    person,
    person_now,
)
from leadline.store.times import DAY


def rows(store, table):
    return store.database.read(lambda c: list(c.execute(select(table)).mappings()))


def filled(store, cohort, run):
    """Six people with PHQ-9s, three of whom also have estimates; the moment after all of it."""
    load(store, cohort)
    ids = everybody(store)
    last = max(row["time"] for row in rows(store, message))
    for at, person_id in enumerate(ids[:3]):
        own = [row for row in rows(store, message)
               if row["person_id"] == person_id and row["role"] == "user"]  # fmt: skip
        made = [(row["seq"], 6.0 + 4 * at, 60) for row in own]
        put_estimates(store, person_id, made, model=run_identity(run))
        for row in own:
            moved = update(estimate).where(
                estimate.c.person_id == person_id, estimate.c.seq == row["seq"]
            )
            store.database.write(
                lambda c, moved=moved, row=row: c.execute(moved.values(time=row["time"])).rowcount
            )
    config = MonitorConfig(ask_share=0.5)
    store.database.write(lambda c: write_config(c, config))
    now = last + DAY
    refresh_people(store, ids, now)
    return now


@pytest.fixture
def night_store(live, spread_cohort, monitor_run):
    return live, filled(live, spread_cohort, monitor_run)


@pytest.fixture
def sqlite_night(sqlite_live, spread_cohort, monitor_run):
    return sqlite_live, filled(sqlite_live, spread_cohort, monitor_run)


def open_asks(store):
    return [row for row in rows(store, ask) if row["ended_at"] is None]


def test_a_date_that_is_run_twice_does_nothing_twice(night_store):
    store, now = night_store
    said = []
    first = run_night(store, night_of(now), now, progress=said.append)
    assert said == list(first) == list(nightly.STEPS)
    assert first["move on"]["people"] == 6
    asks, days = open_asks(store), rows(store, course_day)
    assert len(asks) == first["asks"]["suggested"] > 0
    assert run_night(store, night_of(now), now + DAY // 2, progress=said.append) == first
    assert said == list(first)  # no step again
    assert open_asks(store) == asks
    assert rows(store, course_day) == days
    assert {row["figure"] for row in rows(store, drift_window)} == set(first["drift"])


@pytest.mark.parametrize("step", list(nightly.STEPS))
def test_a_night_that_is_killed_at_any_step_goes_on(sqlite_night, monkeypatch, step):
    store, now = sqlite_night
    real = nightly.STEPS[step]

    def dies(this):
        real(this)  # all of it was written, but not that it ended
        raise KeyboardInterrupt

    monkeypatch.setitem(nightly.STEPS, step, dies)
    with pytest.raises(KeyboardInterrupt):
        run_night(store, night_of(now), now)
    lot = open_asks(store)
    monkeypatch.setitem(nightly.STEPS, step, real)
    said = []
    steps = run_night(store, night_of(now), now, progress=said.append)
    assert set(steps) == set(nightly.STEPS)
    later = list(nightly.STEPS)[list(nightly.STEPS).index(step) :]
    # The asks say that they ended together with the lot: they are not drawn again.
    assert said == [name for name in later if name != "asks" or step != "asks"]
    if lot:
        assert open_asks(store) == lot
    assert len(open_asks(store)) == steps["asks"]["suggested"]


def test_two_nights_at_once_draw_one_lot(night_store):
    store, now = night_store
    barrier, found = threading.Barrier(2), []

    def work():
        barrier.wait()
        found.append(run_night(store, night_of(now), now))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0]["asks"] == found[1]["asks"]
    assert len(open_asks(store)) == found[0]["asks"]["suggested"]


def test_silence_widens_and_the_silent_are_not_asked(sqlite_night):
    store, now = sqlite_night
    before = {row["person_id"]: row for row in rows(store, person_now)}
    for days in (45, 47):
        run_night(store, night_of(now) + timedelta(days), now + days * DAY)
    after = {row["person_id"]: row for row in rows(store, person_now)}
    known = [name for name, row in before.items() if row["mean"] is not None]
    assert len(known) >= 3
    assert all(after[name]["sd"] > before[name]["sd"] for name in known)
    heard = [name for name in known if after[name]["words"]]
    assert len(heard) == 3
    assert {after[name]["standing"] for name in heard} == {"silent"}
    late = [row["person_id"] for row in rows(store, ask) if row["suggested_at"] > now + 46 * DAY]
    assert not set(late) & set(heard)
    listed = {row["person_id"] for row in rows(store, lane_entry) if row["lane"] == "silent"}
    assert listed == set(heard)


def test_days_of_a_course_are_those_of_the_smoother(sqlite_night):
    store, now = sqlite_night
    run_night(store, night_of(now), now)
    ground = store.database.read(read_ground)
    ids = everybody(store)
    records = store.database.read(lambda c: read_records(c, ids, ground.model_id))
    days = rows(store, course_day)
    assert {row["person_id"] for row in days} == set(ids)
    for person_id in ids:
        own = sorted((row["day"], row["mean"], row["lower"], row["upper"])
                     for row in days if row["person_id"] == person_id)  # fmt: skip
        numbers = np.array([day for day, *_ in own], dtype=float)
        assert (np.diff(numbers) == 1).all()
        course = smoothed_course(records[person_id].history, numbers + 1, ground.parameters)
        lower, upper = course.interval()
        np.testing.assert_allclose(
            np.array(own)[:, 1:],
            np.column_stack([np.clip(course.mean, 0, 27), lower, upper]), atol=1e-9,
        )  # fmt: skip


def test_what_was_put_off_comes_back_when_its_time_is_over(sqlite_night):
    store, now = sqlite_night
    run_night(store, night_of(now), now)
    first = open_asks(store)[0]
    until = now + 3 * DAY
    assert store.database.write(lambda c: change_ask(c, first["id"], "snoozed", (None, now), until))

    def listed():
        return {row["person_id"] for row in rows(store, lane_entry) if row["lane"] == "ask"}

    run_night(store, night_of(now) + timedelta(1), now + DAY)
    assert first["person_id"] not in listed()
    run_night(store, night_of(now) + timedelta(4), now + 4 * DAY)
    assert first["person_id"] in listed()


def test_what_was_superseded_long_ago_goes_only_if_the_team_says_so(sqlite_night):
    store, now = sqlite_night
    ended = update(estimate).where(estimate.c.seq < 3).values(superseded_at=now - 40 * DAY)
    some = select(message.c.person_id, message.c.seq).limit(1)
    key = store.database.read(lambda c: c.execute(some).first())
    corrected = update(message).where(message.c.person_id == key[0], message.c.seq == key[1])
    count = store.database.write(lambda c: c.execute(ended).rowcount)
    assert count > 0
    store.database.write(
        lambda c: c.execute(corrected.values(superseded_at=now - 40 * DAY)).rowcount
    )
    assert run_night(store, night_of(now), now)["retention"] == {"kept": "for good"}
    config = replace(store.database.read(read_config), keep_days=30.0)
    store.database.write(lambda c: write_config(c, config))
    steps = run_night(store, night_of(now) + timedelta(1), now + DAY)
    assert steps["retention"] == {"estimates deleted": count, "texts deleted": 1}
    left = select(func.count()).select_from(message).where(message.c.sealed_text.is_(None))
    assert store.database.read(lambda c: c.execute(left).scalar()) == 1


def test_who_could_not_be_read_is_read_again_the_next_night(sqlite_night):
    store, now = sqlite_night
    name = everybody(store)[0]
    failed = update(person).where(person.c.id == name).values(failed="no text", refresh_due=now)
    store.database.write(lambda c: c.execute(failed).rowcount)
    steps = run_night(store, night_of(now), now + DAY)
    assert steps["tidy"]["people to be read again"] == 1
    row = store.database.read(lambda c: people_by_id(c, store.vault, [name]))[name]
    assert row.row["failed"] is None
    assert external_id(row)


def test_the_night_of_a_moment_is_its_date_in_utc():
    moment = times.microseconds(times.moment(0) + timedelta(days=20_000, hours=23))
    assert night_of(moment).isoformat() == "2024-10-04"
