from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.cohorts import START, cohort_of, day, label_row, turn_rows

from leadline.cohort.config import WindowConfig
from leadline.cohort.timeline import timelines
from leadline.cohort.windows import (
    Span,
    label_readings,
    running_starts,
    starts_at,
    timelines_to_read,
    undated_counts,
    unlabelled_readings,
    window_starts,
)

ALL = WindowConfig(days=0)
TWO_WEEKS = WindowConfig()


def readings(said, labels, window=TWO_WEEKS, **more):
    """(first, last) of each label that has a reading, by the label's row."""
    cohort = cohort_of(turn_rows("p", said), [label_row("p", *label) for label in labels], **more)
    table = label_readings(cohort, window)
    return {row["label"]: (row["first"], row["last"]) for row in table.iter_rows(named=True)}


def users(*days):
    return [("user", at) for at in days]


def test_a_reading_holds_the_days_before_and_never_a_turn_after():
    said = users(0, 5.99, 6.01, 19, 20, 20.01, 30)
    assert readings(said, [(20, 9)]) == {0: (2, 4)}


def test_the_window_is_open_where_it_starts_and_closed_at_the_phq9():
    microsecond = 1 / 86_400_000_000
    said = users(6, 6 + 2 * microsecond, 20, 20 + 2 * microsecond)
    assert readings(said, [(20, 9)]) == {0: (1, 2)}


def test_only_the_persons_own_turns_count():
    said = [("assistant", 0), ("user", 1), ("assistant", 2), ("clinician", 2), ("user", 3)]
    assert readings(said, [(2.5, 9), (4, 9)]) == {0: (0, 0), 1: (0, 1)}
    table = label_readings(cohort_of(turn_rows("p", said), [label_row("p", 4, 9)]), TWO_WEEKS)
    assert table["user_turns"].to_list() == [2]
    assert table["user_words"].to_list() == [8]


def test_each_of_several_phq9s_has_its_own_window():
    said = users(0, 10, 20, 40)
    assert readings(said, [(1, 3), (15, 4), (21, 5), (41, 6)]) == {
        0: (0, 0), 1: (1, 1), 2: (1, 2), 3: (3, 3),
    }  # fmt: skip
    assert readings(said, [(21, 5)], ALL) == {0: (0, 2)}


def test_a_label_without_enough_text_has_no_row():
    said = users(0, 1)
    assert readings(said, [(-1, 9), (30, 9), (1, None), (1, 9)]) == {3: (0, 1)}
    assert readings(said, [(0.5, 9), (1, 9)], WindowConfig(min_turns=2)) == {1: (0, 1)}
    assert readings([("assistant", 0)], [(1, 9)]) == {}
    only_label = cohort_of(turn_rows("p", users(0)), [label_row("q", 1, 9)])
    assert label_readings(only_label, TWO_WEEKS).height == 0
    assert label_readings(cohort_of(turn_rows("p", users(0)), []), TWO_WEEKS).height == 0


@pytest.mark.parametrize(
    ("said", "label", "expected"),
    [
        (users(None, None, None), 5, (0, 2)),
        (users(0, 50), None, (0, 1)),  # an undated PHQ-9 takes all
        (users(None, 0, 20), 21, (2, 2)),  # what stands before too old a turn is older still
        (users(0, None, 20), 1, (0, 1)),
        (users(0, None, 20, None), 1, (0, 1)),  # what follows a turn after the PHQ-9 is after it
    ],
)
def test_what_has_no_date_is_taken_as_before_on_request(said, label, expected):
    window = WindowConfig(undated=True)
    assert readings(said, [(label, 9)], window) == {0: expected}


@pytest.mark.parametrize(
    ("said", "labels", "expected"),
    [
        (users(None, None), [None], {0: (0, 1)}),  # the transcript that the label belongs to
        (users(None, None), [5], {}),
        (users(None, None), [None, 5], {}),  # which of the two it belongs to is not known
        (users(0, 50), [None], {}),
        (users(0, 50, None), [60, None], {0: (1, 1)}),
        (users(0, None, 1), [5], {0: (0, 0)}),
        ([("system", None), ("user", 0), ("assistant", None), ("user", 1)], [5], {0: (0, 1)}),
        ([("system", None), ("user", 0)], [None], {}),
    ],
)
def test_what_may_have_been_said_after_a_phq9_is_not_read_for_it(said, labels, expected):
    assert readings(said, [(when, 9) for when in labels]) == expected


@pytest.mark.parametrize("role", ["assistant", "clinician", "system"])
def test_a_reading_ends_before_what_anybody_said_after_the_phq9(role):
    said = [("user", 0), (role, 9), ("user", 1), ("user", 2)]
    assert readings(said, [(5, 9), (9, 9)]) == {0: (0, 0), 1: (0, 2)}
    assert readings(said, [(5, 9)], WindowConfig(undated=True)) == {0: (0, 0)}


def test_a_turn_after_the_reading_has_no_say_in_where_it_begins():
    assert readings(users(20, 30, 0), [(25, 9)]) == {0: (0, 0)}


def test_what_others_said_without_a_time_is_not_read_before_a_dated_phq9():
    said = [("system", None), ("user", 0), ("assistant", None), ("assistant", 1), ("user", None)]
    cohort = cohort_of(turn_rows("a", said) + turn_rows("b", said), [label_row("a", 5, 9)])
    dated, free = timelines_to_read(cohort, TWO_WEEKS)
    assert [message.text for message in dated.messages] == [
        "a user number 1", "a assistant number 3", "a user number 4",
    ]  # fmt: skip
    assert dated.user.tolist() == [0, 2]
    assert (dated.turns.tolist(), dated.conversation_ids) == ([1, 3, 4], ("c",) * 3)
    assert len(free.messages) == 5
    for timeline in timelines_to_read(cohort, WindowConfig(undated=True)):
        assert len(timeline.messages) == 5


def test_an_answer_is_masked_though_its_question_is_left_out():
    asked = "How often have you been bothered by feeling tired or having little energy?"
    rows = [("p", "c", 0, "assistant", asked, None), ("p", "c", 1, "user", "2", day(0))]
    cohort = cohort_of(rows, [label_row("p", 5, 9)])
    (timeline,) = timelines_to_read(cohort, WindowConfig(mask_questionnaire=True))
    assert [message.text for message in timeline.messages] == ["[questionnaire]"]


def test_what_cannot_be_placed_in_time_is_counted():
    turns = [
        *turn_rows("mixed", [("user", 0), ("assistant", None), ("user", None)]),
        *turn_rows("free", users(None, None)),
        *turn_rows("late", users(None, 3)),
    ]
    labels = [label_row("mixed", 5, 9), label_row("free", None, 9), label_row("late", None, 9)]
    cohort = cohort_of(turns, labels)
    assert undated_counts(cohort) == {"turns": 2, "labels": 1}
    assert undated_counts(cohort_of(turn_rows("p", users(0)), [])) == {"turns": 0, "labels": 0}


def test_the_time_zone_of_a_source_does_not_move_a_window():
    """Times are stored in UTC; the same moments written in another zone are the same rows."""
    rows = turn_rows("p", users(0, 6.01, 19.99, 20.01))
    labels = [label_row("p", 20, 9)]
    cohort = cohort_of(rows, labels)
    moved = pl.col("time").dt.convert_time_zone("Asia/Tokyo").dt.convert_time_zone("UTC")
    there = cohort_of(rows, labels)
    there = type(there)(
        there.turns.with_columns(moved), there.phq9.with_columns(moved), there.people, {}
    )
    assert label_readings(cohort, TWO_WEEKS).equals(label_readings(there, TWO_WEEKS))
    assert label_readings(cohort, TWO_WEEKS)["time"][0] == START + timedelta(days=20)


times = st.lists(st.one_of(st.none(), st.floats(0, 60).map(lambda x: round(x, 1))), max_size=25)


def ordered(values):
    """Known times in order, the unknown where they stand."""
    known = iter(sorted(v for v in values if v is not None))
    return [None if v is None else next(known) for v in values]


@given(times, st.lists(st.one_of(st.none(), st.floats(0, 60)), max_size=4), st.floats(0, 30))
def test_readings_are_those_of_a_naive_loop(at, labels, days):
    at = ordered(at)
    window = WindowConfig(days=days, undated=True)
    found = readings(users(*at), [(when, 9) for when in labels], window)
    for number, when in enumerate(labels):
        kept = []
        for turn, moment in enumerate(at):
            known = moment is not None and when is not None
            if known and day(moment) > day(when):
                break
            if (
                known
                and days
                and day(moment) <= day(when) - timedelta(microseconds=int(days * 86_400_000_000))
            ):
                kept = []
                continue
            kept.append(turn)
        assert found.get(number) == ((kept[0], kept[-1]) if kept else None)


@given(times.filter(bool), st.floats(0, 30))
def test_running_readings_end_at_their_turn_and_hold_the_days_before_it(at, days):
    at = ordered(at)
    (timeline,) = timelines(cohort_of(turn_rows("p", users(*at)), []))
    starts = running_starts(timeline, WindowConfig(days=days))
    assert len(starts) == len(at)
    for last, first in enumerate(starts):
        assert 0 <= first <= last
        length = timedelta(microseconds=int(days * 86_400_000_000))
        for turn, moment in enumerate(at[: last + 1]):
            if days and length and moment is not None and at[last] is not None:
                inside = day(moment) > day(at[last]) - length
                assert inside or turn < first


@given(times.filter(bool), st.floats(0, 30), st.data())
def test_a_running_reading_does_not_depend_on_later_turns_in_any_order(at, days, data):
    cut = data.draw(st.integers(1, len(at)))
    moments = np.array([day(moment).replace(tzinfo=None) if moment is not None else None
                        for moment in at], dtype="datetime64[us]")  # fmt: skip
    whole = starts_at(moments, 0, days)
    np.testing.assert_array_equal(starts_at(moments[:cut], 0, days), whole[:cut])
    np.testing.assert_array_equal(starts_at(moments, cut, days), whole[cut:])
    for last in range(len(at)):
        alone = window_starts(moments[: last + 1], moments[last : last + 1], days)[0]
        assert whole[last] == min(alone, last)


moments = st.one_of(st.none(), st.sampled_from([0, 1, 1, 2, 5, 20, 21]), st.floats(0, 60))
spoken = st.lists(st.tuples(st.sampled_from(["user", "user", "assistant", "system"]), moments),
                  min_size=1, max_size=15)  # fmt: skip


@given(spoken, st.lists(moments, min_size=1, max_size=4), st.sampled_from([0, 14]), st.booleans())
def test_nothing_that_may_be_later_is_seen_by_a_reading_of_a_phq9(said, labels, days, undated):
    window = WindowConfig(days=days, undated=undated)
    cohort = cohort_of(turn_rows("p", said), [label_row("p", when, 9) for when in labels])
    table = label_readings(cohort, window)
    (timeline,) = timelines_to_read(cohort, window)
    nothing_dated = all(at is None for at in (*labels, *(at for _, at in said)))
    for label, first, last in table.select("label", "first", "last").iter_rows():
        seen = timeline.times[: timeline.user[last] + 1]  # a reader of context reads all of it
        assert timeline.slice(first, last)[-1].role == "user"
        known = None if labels[label] is None else day(labels[label]).replace(tzinfo=None)
        when = np.datetime64(known, "us")
        assert not (seen > when).any()
        if not undated:
            assert nothing_dated or not (np.isnat(seen).any() or np.isnat(when))


@given(spoken)
def test_nothing_later_than_its_time_is_seen_by_a_running_estimate(said):
    (timeline,) = timelines(cohort_of(turn_rows("p", said), []))
    for place, moment in enumerate(timeline.as_of):
        seen = timeline.times[: place + 1]
        assert np.isnat(moment) == np.isnat(seen[-1])
        assert np.isnat(moment) or (moment == seen[~np.isnat(seen)].max())


def test_no_turns_and_no_labels():
    none = np.array([], dtype="datetime64[us]")
    assert window_starts(none, none, 14).shape == (0,)
    assert window_starts(none, np.array(["2025-01-01"], dtype="datetime64[us]"), 14).tolist() == [0]


def test_the_turns_of_a_reading_are_a_slice_with_both_ends():
    assert list(range(9))[Span(4, 2, 5).turns] == [2, 3, 4, 5]


def test_people_without_gold_are_read_up_to_their_last_turn():
    turns = [
        *turn_rows("labelled", users(0, 1)),
        *turn_rows("locked", users(0, 1)),
        *turn_rows("old", [*users(0, 20, 21), ("assistant", 22)]),
        *turn_rows("screened", users(0, 1)),
        *turn_rows("silent", [("assistant", 0)]),
        *turn_rows("late answer", users(50)),
        *turn_rows("undated", users(None, None)),
    ]
    labels = [
        label_row("labelled", 2, 5),
        label_row("locked", 90, 5),
        label_row("screened", 2, 1, "phq2"),
        label_row("late answer", 2, 5),  # nothing was said before it
    ]
    cohort = cohort_of(turns, labels, locked=("locked",))
    found = [(who.person_id, span) for who, span in unlabelled_readings(cohort, TWO_WEEKS)]
    assert found == [
        ("old", Span(0, 1, 2)), ("late answer", Span(1, 0, 0)), ("undated", Span(2, 0, 1)),
    ]  # fmt: skip
    few = WindowConfig(min_turns=2)
    rows = [(who.person_id, span) for who, span in unlabelled_readings(cohort, few, first_row=7)]
    assert rows == [("old", Span(7, 1, 2)), ("undated", Span(8, 0, 1))]
