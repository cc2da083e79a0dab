"""Conversations of a person, joined in order of time."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.support.cohorts import cohort_of, day, label_row, turn_rows

from leadline.cohort.config import WindowConfig
from leadline.cohort.timeline import timelines
from leadline.cohort.windows import label_readings

TWO_WEEKS = WindowConfig()


def users(*days):
    return [("user", at) for at in days]


def test_locked_people_are_marked_and_people_stay_apart():
    turns = turn_rows("a", users(0)) + turn_rows("b", users(5))
    cohort = cohort_of(turns, [label_row("b", 6, 7), label_row("a", 6, 3)], locked=("b",))
    table = label_readings(cohort, TWO_WEEKS)
    assert table.select("person_id", "label", "total", "locked").rows() == [
        ("a", 1, 3.0, False), ("b", 0, 7.0, True),
    ]  # fmt: skip


def test_a_timeline_joins_conversations_in_order():
    turns = turn_rows("p", users(0, 1), "one") + turn_rows("p", [("assistant", 2)], "two")
    (timeline,) = timelines(cohort_of([*turns, *turn_rows("p", users(3), "two")], []))
    assert timeline.conversation_ids == ("one", "one", "two", "two")
    assert timeline.user.tolist() == [0, 1, 3]
    assert timeline.user_words().tolist() == [4, 4, 4]
    assert timeline.user_times[2] == np.datetime64(day(3).replace(tzinfo=None), "us")


@given(st.lists(st.sampled_from(["user", "assistant", "clinician"]), max_size=12), st.data())
def test_readings_that_follow_each_other_hold_every_message_once(roles, data):
    (timeline,) = timelines(
        cohort_of(turn_rows("p", [("user", 0), *((role, 1) for role in roles)]), [])
    )
    turns = len(timeline.user)
    cuts = sorted(data.draw(st.sets(st.integers(1, turns - 1)))) if turns > 1 else []
    starts, ends = [0, *cuts], [*cuts, turns]
    parts = [timeline.slice(first, end - 1) for first, end in zip(starts, ends, strict=True)]
    upto = int(timeline.user[-1]) + 1
    assert tuple(message for part in parts for message in part) == timeline.messages[:upto]
    for first, end, part in zip(starts, ends, parts, strict=True):
        assert sum(message.role == "user" for message in part) == end - first
        assert part[-1].role == "user"
