"""Standings change after their time, do not flap, and never call the unknown steady."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.errors import LeadlineError
from leadline.monitor.standing import (
    FAILED,
    RELIABLY,
    SETTLING,
    SILENT,
    STANDINGS,
    STEADY,
    TURNING,
    UNKNOWN,
    Facts,
    Standing,
    StandingConfig,
    next_standing,
    standing_words,
)

CONFIG = StandingConfig()
QUIET = Facts(0.05, 0.05, "", 100.0, 200, False)


def worse(day, chance=0.9, reliable="worse"):
    """Someone who says something every day."""
    return Facts(chance, 0.01, reliable, day, 200, False, frozenset(range(90, int(day) + 1)))


def walk(days, before=None):
    """Names of the standings over (day, facts)."""
    names = []
    for day, facts in days:
        before = next_standing(before, facts, day, CONFIG)
        names.append(before.name)
    return names, before


def test_turning_is_said_at_once_and_reliable_after_days_and_conversations():
    names, standing = walk([(100 + d, worse(100 + d)) for d in range(5)])
    assert names == [TURNING["worse"]] * 3 + [RELIABLY["worse"]] * 2
    assert standing.since == 103


def test_one_conversation_is_never_enough():
    once = replace(worse(100.0), conversations=frozenset({100}))
    names, _ = walk([(100 + d, once) for d in range(10)])
    assert set(names) == {TURNING["worse"]}


def test_without_a_change_that_is_sure_it_stays_turning():
    names, _ = walk([(100 + d, worse(100 + d, reliable="")) for d in range(10)])
    assert set(names) == {TURNING["worse"]}


def test_a_chance_between_the_limits_neither_begins_nor_ends_turning():
    between = [(100 + d, worse(100 + d, 0.7)) for d in range(3)]
    assert set(walk(between)[0]) == {STEADY}
    names, _ = walk([(99, worse(99, 0.85)), *between, (104, worse(104, 0.5))])
    assert names[:4] == [TURNING["worse"]] * 3 + [RELIABLY["worse"]]
    assert names[4] == SETTLING


def test_a_change_that_ends_settles_and_then_is_over():
    _, standing = walk([(100 + d, worse(100 + d)) for d in range(5)])
    after = [(105 + d, replace(QUIET, last_message_day=105.0 + d)) for d in range(9)]
    names, _ = walk(after, standing)
    assert names == [SETTLING] * 7 + [STEADY] * 2


def test_a_change_that_returns_while_it_settles_is_reliable_again_at_once():
    _, standing = walk([(100 + d, worse(100 + d)) for d in range(5)])
    names, _ = walk([(105, replace(QUIET, last_message_day=105)), (106, worse(106))], standing)
    assert names == [SETTLING, RELIABLY["worse"]]


def test_the_other_direction_begins_anew():
    _, standing = walk([(100 + d, worse(100 + d)) for d in range(5)])
    better = [(105 + d, replace(worse(105 + d, 0, "better"), p_better=0.95)) for d in range(5)]
    names, _ = walk(better, standing)
    assert names[0] == SETTLING
    assert names[1:3] == [TURNING["better"]] * 2
    assert names[3:] == [RELIABLY["better"]] * 2


def test_silence_waits_a_day_beyond_its_limit():
    names, _ = walk([(day, QUIET) for day in (100, 114, 114.9, 115, 130)])
    assert names == [STEADY] * 3 + [SILENT] * 2


@pytest.mark.parametrize("facts", [replace(QUIET, words=None), replace(QUIET, words=3),
                                   replace(QUIET, last_message_day=None)])  # fmt: skip
def test_too_few_words_are_unknown(facts):
    assert next_standing(None, facts, 100, CONFIG).name == UNKNOWN


@given(
    st.floats(0, 1), st.floats(0, 1), st.sampled_from(["", "worse", "better"]),
    st.none() | st.integers(0, 300), st.sampled_from([None, *STANDINGS]),
)  # fmt: skip
def test_an_error_is_never_shown_as_anything_else(p_worse, p_better, reliable, words, name):
    before = None if name is None else Standing(name, 90.0)
    facts = Facts(p_worse, p_better, reliable, 100.0, words, True)
    assert next_standing(before, facts, 100, CONFIG).name == FAILED
    unread = replace(facts, failed=False, words=None)
    assert next_standing(before, unread, 100, CONFIG).name == UNKNOWN


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30))
def test_the_same_day_twice_changes_nothing_and_json_keeps_it(chances):
    standing = None
    for day, (p_worse, p_better) in enumerate(chances):
        facts = Facts(p_worse, p_better, "worse" if p_worse > 0.9 else "", day, 99, False)
        standing = next_standing(standing, facts, day, CONFIG)
        assert next_standing(standing, facts, day, CONFIG) == standing
        assert Standing.from_json(standing.to_json()) == standing
        assert standing.name in STANDINGS


@given(st.lists(st.floats(0.61, 0.79), min_size=2, max_size=40))
def test_a_chance_that_wavers_between_the_limits_does_not_flap(chances):
    for start in (STEADY, TURNING["worse"]):
        first = Standing(start, 99.0)
        if start != STEADY:
            first = next_standing(None, worse(99.0, 0.9, ""), 99.0, CONFIG)
        names, _ = walk(
            [(100 + d, worse(100 + d, chance, "")) for d, chance in enumerate(chances)], first
        )
        assert set(names) == {start}


def test_days_of_less_chance_do_not_end_turning_before_they_last():
    chances = [0.85, 0.55, 0.85, 0.3, 0.3, 0.85, 0.1, 0.1, 0.1, 0.1]
    names, _ = walk([(100 + d, worse(100 + d, p, "")) for d, p in enumerate(chances)])
    assert names == [TURNING["worse"]] * 9 + [STEADY]


@given(st.lists(st.floats(0, 1), min_size=5, max_size=60))
def test_turning_ends_only_after_the_pending_time_of_less_chance(chances):
    names, _ = walk([(100 + d, worse(100 + d, p, "")) for d, p in enumerate(chances)])
    for day in range(1, len(names)):
        if names[day - 1] == TURNING["worse"] and names[day] == STEADY:
            before = chances[max(day - int(CONFIG.pending_days), 0) : day + 1]
            assert len(before) == CONFIG.pending_days + 1
            assert max(before) < CONFIG.turning_until
    changes = sum(a != b for a, b in pairwise(names))
    assert changes <= 2 * len(names) / CONFIG.pending_days


def test_reliable_never_before_the_pending_time():
    for days in (0.0, 1.0, 2.9):
        first = next_standing(None, worse(100.0), 100.0, CONFIG)
        assert next_standing(first, worse(100 + days), 100 + days, CONFIG).name != RELIABLY["worse"]


def test_limits_out_of_range_are_refused():
    with pytest.raises(LeadlineError, match="turning-at"):
        StandingConfig(turning_at=1.5)


def test_each_standing_has_its_words():
    for name in STANDINGS:
        words = standing_words(Standing(name, 90.0, "worse"), 100.0, 80.0)
        assert words
    assert standing_words(Standing(SILENT, 95.0), 100.0, 80.0) == "No message for 20 days"
    assert standing_words(Standing(STEADY, 100.2), 100.9, 99.0) == "Steady, since today"
    assert standing_words(Standing(STEADY, 99.2), 100.9, 99.0) == "Steady, since yesterday"
    assert standing_words(Standing(STEADY, 97.2), 100.9, 99.0) == "Steady, for 3 days"
