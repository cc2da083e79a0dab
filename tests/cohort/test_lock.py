import fcntl
import json
import os
import shutil
from dataclasses import asdict, replace

import polars as pl
import pytest
from tests.support.cohorts import SMALL, cohort_of, day, label_row, scored_people, turn_rows
from tests.support.copies import with_copies
from tests.support.kills import kill_at, steps_of

from leadline.artefact import sha256
from leadline.cohort.config import WindowConfig
from leadline.cohort.folds import keep_folds, read_folds
from leadline.cohort.lock import carry_lock, drop_lock, known_history, lock_cohort
from leadline.cohort.lock_record import append_event, read_history
from leadline.cohort.relock import relock_cohort
from leadline.cohort.splits import falls_in_share
from leadline.cohort.store import read_cohort, write_cohort
from leadline.cohort.windows import label_readings, timelines_to_read, unlabelled_readings
from leadline.errors import LeadlineError
from leadline.simulate.cohort import simulate_cohort

ARGUMENTS = {"share": 0.25, "seed": 3, "by": "severity"}
RECORD = {
    **ARGUMENTS, "window": asdict(WindowConfig()), "include_phq8": False, "people": 10,
    "eligible": 40, "at_cut": 5, "record": "locked-test.jsonl",
}  # fmt: skip


def written(folder, turns, labels):
    """A cohort on disk of rows of `turns` and `phq9`."""
    cohort = cohort_of(turns, labels)
    return write_cohort(
        folder / "few", cohort.turns, cohort.phq9, cohort.people,
        command="import", settings={}, inputs={},
    ).path  # fmt: skip


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
    assert lock_cohort(path, **ARGUMENTS) == RECORD
    cohort = read_cohort(path)
    assert cohort.people["locked"].sum() == 10
    assert cohort.manifest["locked_test"] == RECORD
    assert cohort.cutoff is None
    assert cohort.manifest["counts"]["locked"] == 10
    assert cohort.manifest["files"]["people.parquet"] == sha256(path / "people.parquet")
    kept = {"locked-test.jsonl", ".locked-test.jsonl.lock"}
    assert {f.name for f in path.iterdir()} == {*before, *kept}, "no scratch file stays"
    for name in ("turns.parquet", "phq9.parquet"):
        assert (path / name).read_bytes() == before[name]


def test_a_second_lock_is_refused_and_changes_nothing(path):
    lock_cohort(path, **ARGUMENTS)
    before = {f.name: f.read_bytes() for f in path.iterdir()}
    with pytest.raises(LeadlineError, match="10 people are locked already"):
        lock_cohort(path, share=0.5, seed=4, by="time")
    assert {f.name: f.read_bytes() for f in path.iterdir()} == before


def state_of(path):
    """Who is locked in a cohort as every verb reads it, and what its manifest counts."""
    cohort = read_cohort(path)
    assert cohort.manifest["counts"]["locked"] == len(cohort.locked_ids)
    assert ("locked_test" in cohort.manifest) == bool(cohort.locked_ids)
    return cohort.locked_ids


def test_a_kill_at_any_step_of_a_lock_leaves_none_or_all_of_it(path, tmp_path):
    """And at any step of dropping it. The same command then does what it would have done."""
    ends = {}
    for name, begun, work in (
        ("lock", lambda _: None, lambda there: lock_cohort(there, **ARGUMENTS)),
        (
            "drop",
            lambda there: lock_cohort(there, **ARGUMENTS),
            lambda there: drop_lock(there, "r"),
        ),
    ):
        shutil.copytree(path, tmp_path / name)
        begun(tmp_path / name)
        old = state_of(tmp_path / name)
        shutil.copytree(tmp_path / name, tmp_path / f"{name} whole")
        count = steps_of(lambda: work(tmp_path / f"{name} whole"))  # noqa: B023
        new, ends[name] = state_of(tmp_path / f"{name} whole"), count
        for step in range(count):
            there = tmp_path / f"{name} {step}"
            shutil.copytree(tmp_path / name, there)
            kill_at(step, lambda: work(there))  # noqa: B023
            found = state_of(there)
            assert found in (old, new), (name, step)
            if found != new:
                work(there)
            assert state_of(there) == new
            assert sum(event["event"] == "dropped" for event in history_of(there)) == (
                name == "drop"
            )
            assert {file.name for file in there.iterdir() if file.suffix == ".pending"} == set()
    assert min(ends.values()) > 10


def history_of(path):
    return read_history(path, read_cohort(path).manifest).events


def test_one_lock_at_a_time(path):
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    handle = os.open(path.with_name(f".{path.name}.lock"), os.O_CREAT | os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    for work in (lambda: lock_cohort(path, **ARGUMENTS), lambda: drop_lock(path, "r")):
        with pytest.raises(LeadlineError, match="Another process is writing here"):
            work()
    os.close(handle)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    lock_cohort(path, **ARGUMENTS)
    assert not path.with_name(f".{path.name}.lock").exists()


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
    relock_cohort(path)
    lock_cohort(path, **ARGUMENTS)
    after = pl.read_parquet(path / "people.parquet")
    assert after.columns == ["person_id", "locked", "site"]
    assert after["person_id"].equals(people["person_id"])


def test_only_people_who_can_be_evaluated_are_drawn_and_counted(tmp_path):
    sound = [f"s{i}" for i in range(10)]
    turns, labels = [], []
    for number, name in enumerate(sound):
        turns += turn_rows(name, [("user", 0)])
        labels += [label_row(name, 1, number), label_row(name, 40, 27)]  # no text near the second
    for name in ("phq2", "phq8", "early", "old", "undated"):
        turns += turn_rows(name, [("user", None if name == "undated" else 30)])
    labels += [
        label_row("phq2", 31, 3, "phq2"), label_row("phq8", 31, 12, "phq8"),
        label_row("early", 2, 12), label_row("old", 90, 12), label_row("undated", 5, 12),
    ]  # fmt: skip
    path = written(tmp_path, turns, labels)
    record = lock_cohort(path, share=0.5, seed=1, by="severity")
    assert (record["people"], record["eligible"]) == (5, 10)
    assert read_cohort(path).locked_ids <= set(sound)
    places = [int(name[1:]) for name in read_cohort(path).locked_ids]
    assert [sum(low <= at < low + 3 for at in places) for low in (0, 3, 6)] in (
        [1, 2, 1],
        [2, 1, 2],
    )


@pytest.mark.parametrize(
    ("window", "include_phq8", "eligible"),
    [
        (WindowConfig(), False, 2), (WindowConfig(), True, 3), (WindowConfig(days=0), False, 3),
        (WindowConfig(undated=True), False, 3),
    ],
)  # fmt: skip
def test_who_can_be_evaluated_depends_on_the_window_of_the_run(
    tmp_path, window, include_phq8, eligible
):
    turns = [row for name in "abcd" for row in turn_rows(name, [("user", 0)])]
    turns += turn_rows("e", [("user", None)])
    labels = [label_row("a", 1, 3), label_row("b", 1, 9), label_row("c", 1, 9, "phq8"),
              label_row("d", 30, 9), label_row("e", 1, 9)]  # fmt: skip
    path = written(tmp_path, turns, labels)
    record = lock_cohort(
        path, share=0.5, seed=0, by="severity", window=window, include_phq8=include_phq8
    )
    assert record["eligible"] == eligible


@pytest.fixture
def in_time(tmp_path):
    """Ten people whose first PHQ-9s come one after the other, each with another 35 days later."""
    turns, labels = [], []
    for number in range(10):
        start = 10 * number
        turns += turn_rows(f"p{number}", [("user", start), ("assistant", start + 30),
                                          ("user", start + 34)])  # fmt: skip
        labels += [label_row(f"p{number}", start + 1, 3), label_row(f"p{number}", start + 36, 9)]
    turns += turn_rows("none", [("user", 0), ("user", 69), ("user", 71)])
    turns += turn_rows("never", [("user", None)])
    turns += turn_rows("mixed", [("system", None), ("user", 2), ("assistant", 72), ("user", 3)])
    path = written(tmp_path, turns, labels)
    lock_cohort(path, share=0.3, seed=0, by="time")
    return read_cohort(path)


def test_by_time_no_label_from_the_cutoff_on_trains(in_time):
    assert in_time.locked_ids == {"p7", "p8", "p9"}
    assert in_time.cutoff == day(71)
    readings = label_readings(in_time, WindowConfig())
    open_readings = readings.filter(~pl.col("locked"))
    assert open_readings["time"].max() < in_time.cutoff <= readings.filter("locked")["time"].min()
    assert open_readings["person_id"].n_unique() == 7
    assert open_readings.height == 7 + 4, "p4, p5 and p6 have their second later"
    assert readings.filter("locked").height == 6


def test_by_time_nothing_that_others_said_from_the_cutoff_on_is_read(in_time):
    window = WindowConfig()
    read = {timeline.person_id: timeline for timeline in timelines_to_read(in_time, window)}
    whole = {"p7", "p8", "p9"}
    for name, timeline in read.items():
        if name not in whole:
            limit = in_time.cutoff.replace(tzinfo=None)
            assert all(at < limit for at in timeline.times.tolist())
    assert all(len(read[name].messages) == 3 for name in whole)
    found = {who.person_id: span for who, span in unlabelled_readings(in_time, window)}
    assert {name: (span.first, span.last) for name, span in found.items()} == {
        "none": (1, 1), "mixed": (0, 0),
    }  # fmt: skip
    asked_for = WindowConfig(undated=True)
    assert "never" in {who.person_id for who, _ in unlabelled_readings(in_time, asked_for)}


def test_by_time_labels_of_locked_people_before_the_cutoff_test_nothing(tmp_path):
    turns = turn_rows("a", [("user", 0)]) + turn_rows("b", [("user", 0), ("user", 50)])
    path = written(
        tmp_path, turns, [label_row("a", 1, 3), label_row("b", 20, 3), label_row("b", 51, 3)]
    )
    assert lock_cohort(path, share=0.5, seed=0, by="time")["cutoff"] == day(51).isoformat()
    wide = label_readings(read_cohort(path), WindowConfig(days=0))
    assert wide.select("person_id", "time").rows() == [("a", day(1)), ("b", day(51))]


def test_one_person_under_two_ids_is_locked_under_both(tmp_path):
    cohort = simulate_cohort(tmp_path / "once", replace(SMALL, locked=0))
    people = cohort.people["person_id"].to_list()
    twice = with_copies(cohort, people)
    path = write_cohort(
        tmp_path / "twice", twice.turns, twice.phq9, twice.people,
        command="import", settings={}, inputs={},
    ).path  # fmt: skip
    lock_cohort(path, **ARGUMENTS)
    found = read_cohort(path)
    groups = found.copy_groups
    assert len(groups) > 1.6 * len(people)
    assert all((name in found.locked_ids) == (g in found.locked_ids) for name, g in groups.items())
    assert found.copies_of_locked == frozenset()


def people_of(count, start=0, site="n"):
    """Turns and labels of people with two turns and a PHQ-9 each, one a day from `start`."""
    turns, labels = [], []
    for number in range(count):
        name, at = f"{site}{number:03d}", start + number
        turns += turn_rows(name, [("user", at), ("user", at + 0.5)])
        labels.append(label_row(name, at + 1, float(number % 28)))
    return turns, labels


def newer_of(path, turns, labels, **entries):
    """The cohort that an import would put in place of the one at `path`, not yet in place."""
    cohort = cohort_of(turns, labels)
    scratch = path.with_name("scratch")
    write_cohort(scratch, cohort.turns, cohort.phq9, cohort.people, command="import",
                 settings={}, inputs={}, **entries)  # fmt: skip
    return scratch


@pytest.mark.parametrize("by", ["severity", "time"])
def test_a_newer_import_takes_the_lock_over_and_deals_out_who_is_new(tmp_path, by):
    turns, labels = people_of(40)
    path = written(tmp_path, turns, labels)
    record = lock_cohort(path, share=0.25, seed=3, by=by)
    before = read_cohort(path)
    keep_folds(path, 5, 0, {"n000": 3})
    append_event(path, "opened", run="run", model="m")
    more, more_labels = people_of(200, start=-100, site="later")
    again = [label_row(name, 60, 20) for name in ("n000", "n039")]  # PHQ-9s of old people
    more += [row for name in ("n000", "n039") for row in turn_rows(name, [("user", 59)], "d")]
    scratch = newer_of(path, turns + more, labels + more_labels + again)
    manifest = carry_lock(path, scratch)
    after = read_cohort(scratch)
    assert manifest == after.manifest
    old = {row[0] for row in turns}
    assert after.locked_ids & old == before.locked_ids
    assert after.cutoff == before.cutoff
    assert (
        manifest["counts"]["locked"] == len(after.locked_ids) == manifest["locked_test"]["people"]
    )
    assert manifest["locked_test"]["share"] == record["share"]
    new = after.locked_ids - old
    if by == "severity":
        assert new == {
            f"later{i:03d}" for i in range(200) if falls_in_share(f"later{i:03d}", 0.25, 3)
        }
        assert 30 < len(new) < 70
    else:
        first = dict(after.phq9.group_by("person_id").agg(pl.col("time").min()).iter_rows())
        assert new == {n for n in first if n.startswith("later") and first[n] >= before.cutoff}
        assert len(new) > 50
    assert read_folds(scratch, 5, 0) == {"n000": 3}
    history = known_history(after)
    assert [one["event"] for one in history.events] == ["locked", "opened", "carried"]
    assert len(history.openings()) == 1
    assert history.sides()[0] == after.locked_ids


def test_whoever_leaves_and_comes_back_keeps_their_side(tmp_path):
    turns, labels = people_of(40)
    path = written(tmp_path, turns, labels)
    lock_cohort(path, **ARGUMENTS)
    locked = read_cohort(path).locked_ids
    fewer = newer_of(path, turns[:40], labels[:20])
    carry_lock(path, fewer)
    assert read_cohort(fewer).locked_ids == {n for n in locked if int(n[1:]) < 20}
    back = newer_of(fewer.rename(tmp_path / "second"), turns, labels)
    carry_lock(tmp_path / "second", back)
    assert read_cohort(back).locked_ids == locked


def test_people_without_a_label_are_dealt_when_they_have_one(tmp_path):
    turns, labels = people_of(60)
    path = written(tmp_path, turns, labels[:30])
    lock_cohort(path, **ARGUMENTS)
    before = read_cohort(path).locked_ids
    newer = newer_of(path, turns, labels)
    carry_lock(path, newer)
    late = {f"n{i:03d}" for i in range(30, 60) if falls_in_share(f"n{i:03d}", 0.25, 3)}
    assert late
    assert read_cohort(newer).locked_ids == before | late


def test_a_lock_of_an_earlier_version_is_taken_over_and_its_record_begun(tmp_path):
    turns, labels = people_of(40)
    path = written(tmp_path, turns, labels)
    lock_cohort(path, **ARGUMENTS)
    (path / "locked-test.jsonl").unlink()
    manifest = json.loads((path / "manifest.json").read_text())
    for new in ("record", "at_cut"):
        del manifest["locked_test"][new]
    del manifest["locked_record"]
    (path / "manifest.json").write_text(json.dumps(manifest))
    locked = read_cohort(path).locked_ids
    newer = newer_of(path, turns, labels)
    carry_lock(path, newer)
    assert read_cohort(newer).locked_ids == locked
    assert known_history(read_cohort(newer)).events[0]["by_an_earlier_version"]


def test_simulated_people_never_take_a_lock_of_others_over(path, tmp_path):
    lock_cohort(path, **ARGUMENTS)
    turns, labels = people_of(40)
    newer = newer_of(path, turns, labels, simulated=True)
    with pytest.raises(LeadlineError, match="of other people than these"):
        carry_lock(path, newer)
    empty = tmp_path / "nothing"
    assert carry_lock(empty, newer)["counts"]["locked"] == 0


def test_dropping_a_lock_is_recorded_and_a_second_one_is_traced(path):
    with pytest.raises(LeadlineError, match="Nobody is locked"):
        drop_lock(path, "why")
    lock_cohort(path, **ARGUMENTS)
    append_event(path, "opened", run="run", model="m")
    with pytest.raises(LeadlineError, match="without a reason"):
        drop_lock(path, " ")
    assert len(read_cohort(path).locked_ids) == 10
    dropped = drop_lock(path, "The window was wrong.")
    assert (dropped["people"], len(dropped["openings"])) == (10, 1)
    cohort = read_cohort(path)
    assert not cohort.locked_ids
    assert "locked_test" not in cohort.manifest
    assert cohort.manifest["counts"]["locked"] == 0
    assert cohort.manifest["files"]["people.parquet"] == sha256(path / "people.parquet")
    lock_cohort(path, share=0.3, seed=4, by="severity")
    history = known_history(read_cohort(path))
    assert history.events[2]["reason"] == "The window was wrong."
    summary = history.summary()
    assert (summary["openings"], summary["dropped_before"], summary["earlier_openings"]) == (
        [], 1, 1,
    )  # fmt: skip


def test_a_dropped_lock_is_known_of_after_a_new_import(tmp_path):
    turns, labels = people_of(40)
    path = written(tmp_path, turns, labels)
    lock_cohort(path, **ARGUMENTS)
    drop_lock(path, "why")
    newer = newer_of(path, turns, labels)
    assert carry_lock(path, newer)["counts"]["locked"] == 0
    lock_cohort(newer, **ARGUMENTS)
    assert known_history(read_cohort(newer)).dropped() == 1


def test_a_preview_writes_nothing(path):
    before = {f.name: f.read_bytes() for f in path.iterdir()}
    assert lock_cohort(path, **ARGUMENTS, preview=True) == RECORD
    assert {f.name: f.read_bytes() for f in path.iterdir()} == before
