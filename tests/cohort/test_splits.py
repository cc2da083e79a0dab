from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.cohorts import cohort_of, day, label_row, scored_people, turn_rows

from leadline.cohort.config import WindowConfig
from leadline.cohort.splits import (
    choose_locked,
    deal_folds,
    falls_in_share,
    person_folds,
    person_severity,
    random_place,
    refuse_locked_people,
)
from leadline.cohort.windows import label_readings
from leadline.errors import LeadlineError

TABLE = pl.DataFrame(
    [(f"p{i:02d}", float(total)) for i in range(40) for total in {i * 27 // 39, (i * 5) % 28}],
    schema={"person_id": pl.String(), "total": pl.Float64()},
    orient="row",
)


def readings_of(totals, days=None):
    """Readings of one PHQ-9 each of so many people, on the days given or all on one."""
    cohort = scored_people(totals)
    if days is not None:
        times = pl.Series("time", [day(at) for at in days], dtype=cohort.phq9["time"].dtype)
        cohort = replace(cohort, phq9=cohort.phq9.with_columns(times))
    return label_readings(cohort, WindowConfig(days=0))


LABELLED = readings_of([float(i % 28) for i in range(50)])


def test_everyone_has_one_fold_and_folds_are_of_one_size():
    folds = person_folds(TABLE, 7, seed=3)
    assert set(folds) == set(TABLE["person_id"])
    sizes = np.bincount(list(folds.values()), minlength=7)
    assert sizes.min() >= 5
    assert sizes.max() <= 6


@given(st.integers(0, 99), st.integers(2, 9), st.randoms(use_true_random=False))
def test_folds_do_not_depend_on_the_order_of_rows(seed, count, random):
    rows = list(range(TABLE.height))
    random.shuffle(rows)
    assert person_folds(TABLE[rows], count, seed) == person_folds(TABLE, count, seed)


def test_folds_are_stratified_and_differ_by_seed():
    severity = dict(person_severity(TABLE).iter_rows())
    drawn = [person_folds(TABLE, 4, seed) for seed in range(20)]
    assert len({tuple(sorted(folds.items())) for folds in drawn}) == 20
    spread = [
        np.std([np.mean([severity[p] for p in folds if folds[p] == f]) for f in range(4)])
        for folds in drawn
    ]
    random = np.random.default_rng(0)
    by_chance = [
        np.std([part.mean() for part in np.split(random.permutation(list(severity.values())), 4)])
        for _ in range(200)
    ]
    assert np.mean(spread) < 0.5 * np.mean(by_chance)


def test_within_a_stratum_the_draw_is_not_in_the_order_of_names():
    same = pl.DataFrame({"person_id": [f"p{i:02d}" for i in range(12)], "total": [9.0] * 12})
    drawn = [person_folds(same, 3, seed) for seed in range(10)]
    assert len({tuple(folds[name] for name in same["person_id"]) for folds in drawn}) > 5


@pytest.mark.parametrize("folds", [0, 1, 21, -2])
def test_too_few_people_for_the_folds(folds):
    with pytest.raises(LeadlineError, match="40 labelled people cannot be split"):
        person_folds(TABLE, folds, 0)


def test_twice_as_many_people_as_folds_suffice():
    assert sorted(np.bincount(list(person_folds(TABLE, 20, 0).values()))) == [2] * 20


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9])
def test_the_locked_share_is_drawn_over_the_whole_range(share):
    chosen = choose_locked(LABELLED, share, 1)
    assert len(chosen) == round(share * 50)
    assert chosen == choose_locked(LABELLED, share, 1)
    assert chosen != choose_locked(LABELLED, share, 2)
    totals = LABELLED.filter(pl.col("person_id").is_in(list(chosen)))["total"]
    if share >= 0.2:
        assert abs(totals.mean() - LABELLED["total"].mean()) < 1.5
        assert totals.min() <= 4
        assert totals.max() >= 22


def test_the_locked_draw_does_not_depend_on_the_order_of_rows():
    assert choose_locked(LABELLED.reverse(), 0.3, 4) == choose_locked(LABELLED, 0.3, 4)


def test_by_time_the_latest_people_are_locked():
    labels = [label_row(f"p{i}", at, 5 + i) for i, at in enumerate([3, 9, 1, 7])]
    labels += [label_row("p2", 100, 4)]  # its first PHQ-9 counts
    cohort = cohort_of([row for i in range(4) for row in turn_rows(f"p{i}", [("user", 0)])], labels)
    readings = label_readings(cohort, WindowConfig(days=0))
    assert choose_locked(readings, 0.5, 0, by="time") == {"p1", "p3"}


@pytest.mark.parametrize(
    ("days", "share", "locked"),
    [
        ([1, 2, 2, 2, 3], 0.4, {4}),  # 1 or 4 people can be locked; 1 is nearer to 2
        ([1, 2, 2, 2, 3], 0.6, {1, 2, 3, 4}),
        ([1, 1, 1, 2, 2], 0.2, {3, 4}),
    ],
)
def test_people_who_begin_at_one_time_are_locked_together_or_not_at_all(days, share, locked):
    readings = readings_of([5.0] * len(days), days)
    chosen = choose_locked(readings, share, 0, by="time")
    assert chosen == {f"n{number:03d}" for number in locked}


def test_without_a_later_period_nothing_is_locked_by_time():
    with pytest.raises(LeadlineError, match="no later period"):
        choose_locked(readings_of([3, 4, 5], [2, 2, 2]), 0.5, 0, by="time")


@pytest.mark.parametrize(
    ("totals", "share", "by", "message"),
    [
        ([3, 4, 5], 0.0, "severity", "locked share is 0"),
        ([3, 4, 5], 1.0, "severity", "locked share is 1"),
        ([3, 4, 5], float("nan"), "severity", "locked share is nan"),
        ([3], 0.5, "severity", "1 people have"),
        ([None, None], 0.5, "severity", "0 people have"),
        ([3, 4, 5], 0.5, "chance", "--by is 'chance'"),
    ],
)
def test_a_lock_that_cannot_be_drawn(totals, share, by, message):
    with pytest.raises(LeadlineError, match=message):
        choose_locked(readings_of(totals), share, 0, by=by)


def test_an_undated_phq9_cannot_be_locked_by_time():
    cohort = cohort_of(
        turn_rows("a", [("user", None)]) + turn_rows("b", [("user", 0)]),
        [label_row("a", None, 3), label_row("b", 4, 3)],
    )
    with pytest.raises(LeadlineError, match="1 labelled people have an undated"):
        choose_locked(label_readings(cohort, WindowConfig()), 0.5, 0, by="time")


@given(st.integers(2, 30), st.floats(0.01, 0.99), st.sampled_from(["severity", "time"]))
def test_someone_is_locked_and_someone_is_left(people, share, by):
    readings = readings_of([float(i % 28) for i in range(people)], range(2, people + 2))
    chosen = choose_locked(readings, share, 0, by=by)
    assert 1 <= len(chosen) <= people - 1


def test_locked_people_are_refused_by_number_not_by_name():
    cohort = cohort_of(turn_rows("a", [("user", 0)]) + turn_rows("b", [("user", 0)]), [], ("b",))
    refuse_locked_people({"a", "unknown"}, cohort, "training")
    with pytest.raises(LeadlineError, match="1 locked test people would be used for training"):
        refuse_locked_people({"a", "b"}, cohort, "training")


def test_the_random_order_is_by_seed_and_id_and_that_of_earlier_versions():
    assert random_place(3, "p01").hex()[:16] == "be28f479a4d66f0f"
    orders = [sorted("abcdef", key=lambda name, s=seed: random_place(s, name)) for seed in (0, 1)]
    assert orders[0] != orders[1]


@pytest.mark.parametrize("count", [2, 9])
def test_too_few_people_to_train_on_are_refused_whatever_the_folds(count):
    few = pl.DataFrame({"person_id": [f"p{n}" for n in range(count)], "total": [9.0] * count})
    with pytest.raises(LeadlineError, match=f"{count} people with a PHQ-9.*at least 10"):
        person_folds(few, 2, 0)


@given(st.integers(0, 20), st.integers(2, 6))
def test_people_who_count_as_one_share_a_fold_and_folds_stay_even(seed, count):
    groups = {f"p{i:02d}": f"p{i % 10:02d}" for i in range(20)}
    folds = person_folds(TABLE, count, seed, groups=groups)
    assert set(folds) == set(TABLE["person_id"])
    assert all(folds[f"p{i:02d}"] == folds[f"p{i + 10:02d}"] for i in range(10))
    as_one = {groups.get(name, name): fold for name, fold in folds.items()}
    sizes = np.bincount(list(as_one.values()), minlength=count)
    assert sizes.max() - sizes.min() <= 1


def test_one_person_under_ten_ids_is_one_person_when_people_are_counted():
    with pytest.raises(LeadlineError, match="1 people"):
        person_folds(TABLE, 2, 0, groups=dict.fromkeys(TABLE["person_id"], "p00"))


@pytest.mark.parametrize("by", ["severity", "time"])
def test_people_who_count_as_one_are_locked_as_one(by):
    readings = readings_of([float(i % 28) for i in range(40)], days=range(2, 42))
    names = sorted(set(readings["person_id"]))
    groups = {name: names[i % 20] for i, name in enumerate(names)} | {"unlabelled": names[0]}
    for seed in range(5):
        chosen = choose_locked(readings, 0.2, seed, by=by, groups=groups)
        assert len(chosen & set(names)) == 8
        assert all((name in chosen) == (group in chosen) for name, group in groups.items())


def test_whoever_has_a_fold_keeps_it_when_people_are_added():
    few = readings_of([float(i * 27 // 29) for i in range(30)])
    more = readings_of([float(i * 27 // 29) if i < 30 else float(i % 28) for i in range(75)])
    for seed in range(5):
        before = person_folds(few, 5, seed)
        after = person_folds(more, 5, seed, before)
        assert {name: after[name] for name in before} == before
        assert set(after) == set(more["person_id"])
        sizes = np.bincount(list(after.values()))
        assert sizes.max() - sizes.min() <= 4
        severity = dict(person_severity(more).iter_rows())
        means = [np.mean([severity[p] for p in after if after[p] == fold]) for fold in range(5)]
        assert np.ptp(means) < 3


def test_without_anybody_known_folds_are_those_of_the_first_draw():
    for known in (None, {}, {"stranger": 1}):
        assert person_folds(TABLE, 4, 3, known) == person_folds(TABLE, 4, 3)


def test_a_kept_fold_that_holds_nobody_is_refused():
    few = readings_of([float(i) for i in range(12)])
    with pytest.raises(LeadlineError, match="holds nobody"):
        person_folds(few, 3, 0, dict.fromkeys(few["person_id"], 1))


def test_newcomers_fill_the_emptiest_fold():
    kept = {"a": 0, "b": 0, "c": 1, "elsewhere": 2}
    deal_folds(["a", "b", "c", "d", "e", "f"], 3, kept)
    assert {name: kept[name] for name in "abcdef"} == {
        "a": 0, "b": 0, "c": 1, "d": 2, "e": 1, "f": 2,
    }  # fmt: skip


def test_the_share_of_newcomers_who_are_locked_follows_the_share_and_their_ids_alone():
    names = [f"new-{i}" for i in range(4000)]
    inside = {name for name in names if falls_in_share(name, 0.2, 7)}
    assert 0.18 < len(inside) / 4000 < 0.22
    assert inside < {name for name in names if falls_in_share(name, 0.3, 7)}
    assert inside != {name for name in names if falls_in_share(name, 0.2, 8)}
