"""The record of a locked test: only ever added to, and read as the story of what was done."""

import json
import multiprocessing

import pytest

from leadline.cohort.lock_record import (
    RECORD,
    LockHistory,
    append_event,
    read_history,
    side_facts,
)
from leadline.errors import LeadlineError

LOCKED = {"locked_test": {"record": RECORD}}


def opened(run, model):
    return {"event": "opened", "when": "2026-01-01T00:00:00+00:00", "run": run, "model": model}


def locked(*names, event="locked"):
    return {"event": event, "when": "2026-01-01T00:00:00+00:00", **side_facts(names, ())}


DROPPED = {"event": "dropped", "when": "2026-01-02T00:00:00+00:00", "reason": "r"}


def test_events_are_added_and_never_changed(tmp_path):
    append_event(tmp_path, "locked", **side_facts({"b", "a"}, {"c"}))
    first = (tmp_path / RECORD).read_bytes()
    append_event(tmp_path, "opened", run="run", model="f" * 16)
    assert (tmp_path / RECORD).read_bytes().startswith(first)
    history = read_history(tmp_path, LOCKED)
    assert [one["event"] for one in history.events] == ["locked", "opened"]
    assert all(one["when"].endswith("+00:00") for one in history.events)
    assert history.sides() == ({"a", "b"}, {"c"})
    (opening,) = history.openings()
    assert (opening["run"], opening["model"]) == ("run", "f" * 16)


def swap(lines):
    return [lines[0], lines[2], lines[1], *lines[3:]]


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:-1],
        lambda lines: lines[:1] + lines[2:],
        swap,
        lambda lines: [lines[0], lines[1].replace(b"run 0", b"run 9"), *lines[2:]],
        lambda lines: [*lines, lines[-1]],
    ],
    ids=["cut off", "taken out", "swapped", "edited", "repeated"],
)
def test_a_record_that_was_changed_is_refused(tmp_path, change):
    (tmp_path / "manifest.json").write_text('{"format": 1}')
    append_event(tmp_path, "locked", **side_facts({"a"}, ()))
    for number in range(3):
        append_event(tmp_path, "opened", run=f"run {number}", model="m")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert len(read_history(tmp_path, manifest).events) == 4
    lines = (tmp_path / RECORD).read_bytes().splitlines(keepends=True)
    (tmp_path / RECORD).write_bytes(b"".join(change(lines)))
    with pytest.raises(LeadlineError, match="not as it was written"):
        read_history(tmp_path, manifest)


def test_one_event_more_than_the_manifest_knows_is_a_kill_and_no_forgery(tmp_path):
    append_event(tmp_path, "locked", **side_facts({"a"}, ()))
    (tmp_path / "manifest.json").write_text('{"format": 1}')
    append_event(tmp_path, "opened", run="run", model="m")
    before = json.loads((tmp_path / "manifest.json").read_text())
    append_event(tmp_path, "opened", run="run", model="m")
    assert len(read_history(tmp_path, before).openings()) == 2


def _open(folder):
    for _ in range(5):
        append_event(folder, "opened", run="run", model="m")


def test_openings_at_the_same_time_are_all_counted(tmp_path):
    append_event(tmp_path, "locked", **side_facts({"a"}, ()))
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_open, args=(tmp_path,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(read_history(tmp_path, LOCKED).openings()) == 10


def test_a_second_test_knows_of_the_first():
    history = LockHistory(
        (locked("a"), opened("one", "1"), opened("two", "2"), DROPPED, locked("b"),
         opened("three", "3"))
    )  # fmt: skip
    assert [one["run"] for one in history.openings()] == ["three"]
    assert history.sides()[0] == {"b"}
    assert history.summary() == {
        "openings": history.openings(), "dropped_before": 1, "earlier_openings": 2,
    }  # fmt: skip
    assert LockHistory(history.events[:4]).current() == ()
    assert LockHistory(history.events[:4]).sides() == (frozenset(), frozenset())


def test_what_was_interrupted_and_repeated_counts_once():
    twice = LockHistory((locked("a"), locked("a"), DROPPED, DROPPED, locked("a")))
    assert twice.dropped() == 1
    assert twice.earlier_openings() == 0


def test_people_who_were_carried_over_belong_to_the_test():
    history = LockHistory((locked("a"), opened("one", "1"), locked("b", event="carried")))
    assert history.sides()[0] == {"a", "b"}
    assert len(history.openings()) == 1, "an import does not close what was opened"


def test_openings_of_people_who_were_simulated_before_are_counted():
    replaced = {"event": "replaced", "when": "2026-01-01T00:00:00+00:00", "openings": 3}
    history = LockHistory((replaced, locked("a"), opened("one", "1")))
    assert history.summary()["earlier_openings"] == 3


def test_a_record_that_is_gone_or_damaged_is_refused_and_one_that_never_was_is_empty(tmp_path):
    assert read_history(tmp_path, {}).events == ()
    assert read_history(tmp_path, {"locked_test": {"share": 0.2}}).events == ()
    with pytest.raises(LeadlineError, match="is gone") as caught:
        read_history(tmp_path, LOCKED)
    assert caught.value.file == tmp_path / RECORD
    for text in ("{", json.dumps({"no": "event"}), "7"):
        (tmp_path / RECORD).write_text(text + "\n")
        with pytest.raises(LeadlineError, match="cannot be read"):
            read_history(tmp_path, LOCKED)


def test_a_record_that_cannot_be_written_stops_the_opening(tmp_path):
    with pytest.raises(LeadlineError, match="cannot be written"):
        append_event(tmp_path / "absent", "opened", run="r", model="m")
