"""Each layout, in files as their tools write them, to a cohort."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from tests.support.imports import TWO_TURNS, import_beside, import_cohort, write_source

from leadline.cohort.config import WindowConfig
from leadline.cohort.lock import known_history, lock_cohort
from leadline.cohort.store import read_cohort
from leadline.cohort.timeline import timelines
from leadline.cohort.windows import label_readings
from leadline.importing.importing import import_files
from leadline.sources.config import ImportConfig


def test_label_table_of_items_dates_and_instruments(tmp_path: Path) -> None:
    labels = write_source(tmp_path, "l.csv", "Participant,Date,PHQ9_total,instrument\n"
        "p2,2024-05-01,4,PHQ-8\np1,2024-05-02,20,\n"
        "p1,2024-05-01T09:00:00+02:00,10,phq9\n")  # fmt: skip
    cohort = import_beside(write_source(tmp_path, "t.csv", TWO_TURNS), phq9=labels, timezone="UTC",
                  label_day="end")  # fmt: skip
    assert cohort.phq9.select("person_id", "total", "instrument").rows() == [
        ("p1", 10.0, "phq9"), ("p1", 20.0, "phq9"), ("p2", 4.0, "phq8")
    ]  # fmt: skip
    assert cohort.phq9["time"].to_list()[:2] == [
        datetime(2024, 5, 1, 7, tzinfo=UTC), datetime(2024, 5, 2, 23, 59, 59, 999999, tzinfo=UTC)
    ]  # fmt: skip


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize(
    ("label", "label_day", "read"),
    [
        ("2024-05-02", "start", ["before"]),
        ("2024-05-02", "end", ["before", "by day", "at ten"]),
        ("2024-05-02T09:00:00", "start", ["before"]),  # the turn dated by day may be later
        ("2024-05-02T11:00:00", "end", ["before"]),  # and it stands before the one at ten
        ("2024-05-03T00:00:00", "start", ["before", "by day", "at ten"]),
    ],
)
def test_text_that_may_be_later_than_a_dated_phq9_is_not_read_for_it(
    tmp_path: Path, zone: str, label: str, label_day: str, read: list[str]
) -> None:
    turns = write_source(tmp_path, "t.csv", "person_id,turn,role,text,time\n"
        "p,0,user,before,2024-05-01\n"
        "p,1,user,by day,2024-05-02\n"
        "p,2,user,at ten,2024-05-02T10:00:00\n")  # fmt: skip
    phq9 = write_source(tmp_path, "l.csv", f"person_id,total,time\np,9,{label}\n")
    cohort = import_beside(turns, phq9=phq9, timezone=zone, label_day=label_day)
    (person,) = timelines(cohort)
    ((first, last),) = label_readings(cohort, WindowConfig()).select("first", "last").rows()
    assert [message.text for message in person.slice(first, last)] == read


def test_a_window_of_days_holds_as_many_days_of_text_dated_by_day(tmp_path: Path) -> None:
    days = "".join(f"p,user,{day},2024-05-{day:02}\n" for day in range(1, 20))
    turns = write_source(tmp_path, "t.csv", f"person_id,role,text,time\n{days}")
    phq9 = write_source(tmp_path, "l.csv", "person_id,total,time\np,9,2024-05-19\n")
    (person,) = timelines(cohort := import_beside(turns, phq9=phq9, timezone="UTC"))
    ((first, last),) = label_readings(cohort, WindowConfig()).select("first", "last").rows()
    assert [m.text for m in person.slice(first, last)] == [str(day) for day in range(5, 19)]


def test_progress_and_input_hashes(tmp_path: Path) -> None:
    seen: list[int] = []
    source = write_source(tmp_path, "t.csv", TWO_TURNS)
    cohort = import_cohort(source, ImportConfig(), tmp_path / "c", progress=seen.append)
    assert seen == [2]
    assert len(cohort.manifest["inputs"]["t.csv"]) == 64
    assert cohort.manifest["settings"]["phq9"] is None


def test_an_import_over_a_locked_cohort_keeps_the_lock(tmp_path: Path) -> None:
    def files(people: int) -> tuple[Path, Path]:
        turns = "".join(f"p{n},c{n},user,day {n},2024-05-01T10:00:00Z\n" for n in range(people))
        labels = "".join(f"p{n},2024-05-02T00:00:00Z,{n % 28}\n" for n in range(people))
        head = "person_id,conversation_id,role,text,time\n"
        return (
            write_source(tmp_path, f"t{people}.csv", head + turns),
            write_source(tmp_path, f"l{people}.csv", "person_id,time,total\n" + labels),
        )

    out = tmp_path / "cohort"
    turns, labels = files(20)
    import_files(turns, ImportConfig(phq9=labels), out)
    lock_cohort(out, share=0.25, seed=0, by="severity")
    before = read_cohort(out)
    more_turns, more_labels = files(60)
    manifest = import_files(more_turns, ImportConfig(phq9=more_labels), out, overwrite=True)
    after = read_cohort(out)
    old = set(before.people["person_id"])
    assert after.locked_ids & old == before.locked_ids
    assert len(after.locked_ids) > len(before.locked_ids)
    assert manifest["counts"]["locked"] == len(after.locked_ids)
    assert after.manifest["import"]["format"] == "table"
    assert [one["event"] for one in known_history(after).events] == ["locked", "carried"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


WRITTEN = (  # marks of direction, combining and full-width letters, joiners
    "\u200f\u0623\u0646\u0627 \u0645\u062a\u0639\u0628\u200e (ok)",
    "\u2067\u05e9\u05dc\u05d5\u05dd\u2069",
    "e\u0301 and \xe9",
    "\uff26\uff35\uff2c\uff2c \uff11",
    "\u0e01\u0e47\u0e44\u0e21\u0e48\u0e44\u0e2b\u0e27",
    "\u0928\u0940\u0902\u0926 \u0928\u0939\u0940\u0902\u200d",
    "\U0001f468\u200d\U0001f469 \u0130\u0131",
)


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet", "t.jsonl"])
def test_every_script_comes_through_letter_by_letter(tmp_path: Path, name: str) -> None:
    people = [f"\u0645{place}e\u0301" for place in range(len(WRITTEN))]
    table = pl.DataFrame({"person_id": people, "role": "user", "text": WRITTEN})
    source = tmp_path / name
    if name.endswith("parquet"):
        table.write_parquet(source)
    elif name.endswith("jsonl"):
        table.write_ndjson(source)
    else:
        table.write_csv(source, separator="\t" if name.endswith("tsv") else ",")
    turns = import_cohort(source, ImportConfig(), tmp_path / "cohort").turns
    assert dict(turns.select("person_id", "text").iter_rows()) == dict(
        zip(people, WRITTEN, strict=True)
    )
