"""Running estimates: which readings they rest on, and what leaves and comes at each turn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.cohorts import cohort_of, day, turn_rows

from leadline.cohort.config import WindowConfig
from leadline.cohort.timeline import timelines
from leadline.cohort.windows import Span
from leadline.heads.calibration import Calibrated, Calibration
from leadline.phq9.items import TOTALS
from leadline.runs.ensemble import AdaptedModel, Ensemble, Member
from leadline.runs.estimates import batched, readings_before_turn, running_estimates
from leadline.tables import ESTIMATES

CENTRE = 9.0


class Counting(AdaptedModel):
    """An estimate that is certain: as many points as the reading has user turns."""

    def estimates(self, people, spans):
        turns = [float(min(span.last - span.first + 1, TOTALS - 1)) for span in spans]
        return Calibrated(np.array(turns), np.full(len(turns), 1e-3))


PLAIN = Calibration(centre=CENTRE, stretch=1, half_words=1, widen=1, few_words=1)


def ensemble(left_out=None, members=((0, 0), (0, 1))):
    models = tuple(Member(r, f, Counting(None, PLAIN, True)) for r, f in members)
    return Ensemble(models, left_out or {}, None, "mean")


def people_of(*days):
    """One person for each list of days on which a user turn is said."""
    rows = []
    for number, times in enumerate(days):
        said = [pair for at in times for pair in (("assistant", at), ("user", at))]
        rows += turn_rows(f"p{number}", said)
    return list(timelines(cohort_of(rows, [])))


DAYS = st.lists(st.integers(0, 60), min_size=1, max_size=9).map(sorted)


def in_window(days, turn, length):
    """User turns up to `turn` that are less than `length` days older, counted one by one."""
    if not length:
        return turn + 1
    return sum(days[turn] - day < length for day in days[: turn + 1])


@given(st.lists(DAYS, min_size=1, max_size=4), st.sampled_from([0, 7, 14]))
def test_each_estimate_rests_on_the_window_that_ends_at_its_turn(days, length):
    found = running_estimates(ensemble(), people_of(*days), WindowConfig(days=length), "m")
    expected = [in_window(one, turn, length) for one in days for turn in range(len(one))]
    assert found["mean"].to_list() == pytest.approx(expected)
    assert found.height == sum(map(len, days))
    assert dict(found.schema) == ESTIMATES
    assert set(found["model_id"]) == {"m"}


@given(st.lists(DAYS, min_size=1, max_size=4), st.sampled_from([0, 7, 14]))
def test_what_left_and_what_came_are_told_apart(days, length):
    """An estimate counts turns, so a new turn is one point and each that left takes one."""
    found = running_estimates(ensemble(), people_of(*days), WindowConfig(days=length), "m")
    row = 0
    for one in days:
        before = None
        for turn in range(len(one)):
            now = in_window(one, turn, length)
            departure, increment = found["departure"][row], found["increment"][row]
            if before is None:
                assert (departure, increment) == (0.0, pytest.approx(now - CENTRE))
            else:
                assert increment == pytest.approx(now - before)
                stayed = now - 1
                if stayed == 0 and before > 0:
                    assert departure == pytest.approx(CENTRE - before), "back to no words at all"
                else:
                    assert departure == pytest.approx(stayed - before)
            before, row = now, row + 1


@given(st.lists(DAYS, min_size=1, max_size=4))
def test_readings_before_a_turn_are_those_from_which_something_left(days):
    spans = []
    for person, one in enumerate(days):
        for turn in range(len(one)):
            spans.append(Span(person, turn + 1 - in_window(one, turn, 10), turn))
    rows, readings = readings_before_turn(spans)
    expected = {}
    for row in range(1, len(spans)):
        before, now = spans[row - 1], spans[row]
        old = set(range(before.first, before.last + 1))
        stayed = old & set(range(now.first, now.last + 1))
        if before.person == now.person and stayed and stayed != old:
            expected[row] = Span(now.person, min(stayed), max(stayed))
    assert dict(zip(rows.tolist(), readings, strict=True)) == expected


def test_batches_keep_the_order_and_the_size():
    people = people_of(*[[n] for n in range(7)])
    assert [len(batch) for batch in batched(people, 3)] == [3, 3, 1]
    assert [p.person_id for batch in batched(people, 3) for p in batch] == [
        p.person_id for p in people
    ]
    assert list(batched([], 3)) == []


def test_batches_of_any_size_give_the_same_table():
    people = people_of([0, 1, 20], [3], [4, 5, 6, 40])
    whole = running_estimates(ensemble(), people, WindowConfig(), "m")
    for size in (1, 2):
        parts = [
            running_estimates(ensemble(), b, WindowConfig(), "m") for b in batched(people, size)
        ]
        assert pl.concat(parts).equals(whole)


def test_people_who_say_nothing_have_no_row():
    silent = list(timelines(cohort_of(turn_rows("p", [("assistant", 0)]), [])))
    found = running_estimates(ensemble(), silent, WindowConfig(), "m")
    assert found.height == 0
    assert dict(found.schema) == ESTIMATES


def test_a_training_person_starts_from_the_centre_of_the_models_that_never_saw_them():
    calibrations = [replace(PLAIN, centre=centre) for centre in (2.0, 20.0)]
    models = tuple(Member(0, fold, Counting(None, c, True)) for fold, c in enumerate(calibrations))
    run = Ensemble(models, {"p0": {0: 0}}, None, "mean")
    found = running_estimates(run, people_of([0], [0]), WindowConfig(), "m")
    assert found["increment"].to_list() == pytest.approx([1 - 2.0, 1 - 11.0])


def test_turns_and_times_are_those_of_the_message():
    (person,) = people_of([0, 3])
    found = running_estimates(ensemble(), [person], WindowConfig(), "m")
    assert found["turn"].to_list() == [1, 3], "the assistant's turns have numbers too"
    assert found["conversation_id"].to_list() == ["c", "c"]
    times = found["time"].dt.replace_time_zone(None).to_numpy().astype("datetime64[us]")
    np.testing.assert_array_equal(times, person.times[[1, 3]])


def test_an_estimate_stands_at_the_time_when_all_that_it_read_had_been_said():
    said = [("user", 3), ("assistant", 9), ("user", 2), ("user", None), ("user", 10), ("user", 1)]
    people = list(timelines(cohort_of(turn_rows("p", said), [])))
    found = running_estimates(ensemble(), people, WindowConfig(), "m")
    assert found["time"].to_list() == [day(3), day(9), None, day(10), day(10)]
