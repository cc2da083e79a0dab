"""Verbs about data, end to end: what they print, what they write, what they refuse."""

import json
import shutil

import polars as pl
import pytest
from tests.support.cohorts import files_of

from leadline.cohort.store import read_cohort

TURNS = "person_id,conversation_id,role,text,time\n"
SAID = (
    "ann,c1,assistant,How are you?,2024-05-01T10:00:00Z\n"
    "ann,c1,user,low today,2024-05-01T10:01:00Z\n"
    "ben,c2,user,fine thanks,2024-05-02T10:00:00Z\n"
)
LABELS = "person_id,time,total\nann,2024-05-02T00:00:00Z,14\nben,2024-05-03T00:00:00Z,3\n"


@pytest.fixture
def files(tmp_path):
    (tmp_path / "turns.csv").write_text(TURNS + SAID)
    (tmp_path / "labels.csv").write_text(LABELS)
    return tmp_path


def test_import_says_in_one_line_what_came_in(leadline, files):
    code, out, err = leadline(
        "import", files / "turns.csv", "--phq9", files / "labels.csv", "--out", files / "cohort"
    )
    assert code == 0, err
    assert "2 people, 3 turns, 2 PHQ-9s (format" in out
    cohort = read_cohort(files / "cohort")
    assert cohort.phq9["total"].to_list() == [14.0, 3.0]


def test_import_ends_with_every_column_and_what_was_left_aside(leadline, files):
    turns = (TURNS + SAID).replace("time\n", "time,birth_date\n").replace("Z\n", "Z,1980-01-01\n")
    (files / "turns.csv").write_text(turns)
    _, out, _ = leadline("import", files / "turns.csv", "--out", files / "cohort")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "turns.csv text text" in lines
    assert any(line.startswith("turns.csv birth_date left aside looks like") for line in lines)
    assert "3 messages read, 3 turns written" in lines


def test_import_as_json_has_the_counts_and_the_format(leadline, files):
    code, out, _ = leadline("import", files / "turns.csv", "--out", files / "cohort", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["people"], found["turns"], found["phq9"], found["left_out"]) == (2, 3, 0, 0)
    assert found["cohort"] == str(files / "cohort")


def test_bad_rows_are_an_error_or_left_out_and_counted(leadline, files):
    source = files / "turns.csv"
    source.write_text(TURNS + SAID + "cat,c3,user,hello,yesterday\n")
    code, out, err = leadline("import", source, "--out", files / "cohort")
    assert (code, out) == (2, "")
    assert "row 5" in err
    assert "hello" not in err, "what people said is not repeated"
    assert not (files / "cohort").exists()
    code, out, err = leadline("import", source, "--out", files / "cohort", "--skip-bad")
    assert code == 0
    assert "1 rows left out" in err
    assert "2 people, 3 turns" in out


def test_an_import_is_not_written_over_unless_told(leadline, files):
    command = ("import", files / "turns.csv", "--out", files / "cohort")
    assert leadline(*command)[0] == 0
    before = files_of(files)
    code, _, err = leadline(*command)
    assert code == 2
    assert "already exists" in err
    assert files_of(files) == before
    assert leadline(*command, "--phq9", files / "labels.csv", "--overwrite")[0] == 0
    assert read_cohort(files / "cohort").phq9.height == 2


def test_inspect_prints_counts_for_people_and_for_programs_and_no_words(
    leadline, simulated_path, simulated
):
    code, out, _ = leadline("inspect", simulated_path, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["people"] == simulated.people.height
    assert found["locked"] == int(simulated.people["locked"].sum())
    code, text, _ = leadline("inspect", simulated_path)
    assert code == 0
    assert "PHQ-9" in text
    for sentence in simulated.turns["text"].head(40):
        assert len(sentence) < 25 or sentence not in out + text


def test_inspect_counts_the_labels_that_a_window_reaches(leadline, files):
    (files / "labels.csv").write_text("person_id,time,total\nann,2024-05-20T00:00:00Z,14\n")
    leadline("import", files / "turns.csv", "--phq9", files / "labels.csv", "--out", files / "c")
    near, far = (
        json.loads(leadline("inspect", files / "c", "--days", days, "--json")[1])
        for days in ("7", "0")
    )
    assert near != far


def test_simulate_prints_its_counts(leadline, tmp_path):
    code, out, err = leadline(
        "simulate", "--out", tmp_path / "c", "--preset", "easy", "--people", "20", "--gold", "12",
        "--locked", "4", "--user-turns", "8",
    )  # fmt: skip
    assert code == 0, err
    assert "people: 20" in out
    assert str(tmp_path / "c") in out
    cohort = read_cohort(tmp_path / "c")
    assert cohort.simulated
    assert int(cohort.people["locked"].sum()) == 4


def test_simulate_with_its_limit_says_how_good_one_could_be(leadline, tmp_path):
    code, out, err = leadline(
        "simulate", "--out", tmp_path / "c", "--preset", "easy", "--people", "24", "--gold", "12",
        "--locked", "10", "--user-turns", "8", "--jump-rate", "0", "--limit", "--json",
    )  # fmt: skip
    assert code == 0, err
    assert 0 < json.loads(out)["limit"]["mae"] < 10
    assert list((tmp_path / "c" / "truth").glob("*limit*"))


def test_the_same_seed_gives_the_same_cohort_through_the_verb(leadline, tmp_path):
    command = ("simulate", "--preset", "easy", "--people", "16", "--gold", "10", "--locked", "2",
               "--user-turns", "8")  # fmt: skip
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert leadline(*command, "--seed", seed, "--out", tmp_path / name)[0] == 0
    one, same, other = (pl.read_parquet(tmp_path / n / "turns.parquet") for n in "abc")
    assert one.equals(same)
    assert not one.equals(other)


def test_a_flag_of_simulate_wins_over_the_preset(leadline, tmp_path):
    code, text, err = leadline(
        "simulate", "--out", tmp_path / "c", "--preset", "small", "--people", "190", "--json"
    )
    assert code == 0, err
    assert json.loads(text)["people"] == 190
    settings = json.loads((tmp_path / "c" / "manifest.json").read_text())["settings"]
    assert settings["gold"] == 120
    assert settings["people"] == 190


def test_people_are_locked_once(leadline, files):
    rows = "".join(f"p{n},c{n},user,day {n},2024-05-01T10:00:00Z\n" for n in range(20))
    (files / "turns.csv").write_text(TURNS + rows)
    labels = "".join(f"p{n},2024-05-02T00:00:00Z,{n}\n" for n in range(20))
    (files / "labels.csv").write_text("person_id,time,total\n" + labels)
    leadline("import", files / "turns.csv", "--phq9", files / "labels.csv", "--out", files / "c")
    code, out, _ = leadline("lock", files / "c", "--share", "0.25")
    assert code == 0
    assert out == f"5 of 20 people who can be evaluated are locked in {files / 'c'}.\n"
    assert int(read_cohort(files / "c").people["locked"].sum()) == 5
    before = files_of(files)
    code, _, err = leadline("lock", files / "c", "--share", "0.25", "--seed", "7")
    assert code == 2
    assert "locked already" in err
    assert files_of(files) == before
    code, out, _ = leadline("lock", files / "c", "--drop", "The window was wrong.", "--json")
    assert code == 0
    assert json.loads(out)["people"] == 5
    assert "The window was wrong." in (files / "c" / "locked-test.jsonl").read_text()
    assert not read_cohort(files / "c").locked_ids
    leadline("lock", files / "c")
    code, out, _ = leadline("lock", files / "c", "--drop", "Again.")
    assert out.startswith("4 people in ")
    code, out, _ = leadline("inspect", files / "c")
    assert "locks dropped" in out


def test_what_a_test_can_bear_is_said_before_it_is_locked(leadline, files):
    rows = "".join(f"p{n},c{n},user,day {n},2024-05-01T10:00:00Z\n" for n in range(40))
    (files / "turns.csv").write_text(TURNS + rows)
    labels = "".join(f"p{n},2024-05-02T00:00:00Z,{n % 28}\n" for n in range(40))
    (files / "labels.csv").write_text("person_id,time,total\n" + labels)
    leadline("import", files / "turns.csv", "--phq9", files / "labels.csv", "--out", files / "c")
    before = files_of(files)
    code, out, err = leadline("lock", files / "c", "--share", "0.2", "--preview")
    assert code == 0
    assert out.startswith("8 of 40 people who can be evaluated would be locked")
    assert "the MAE to within 2.15 points" in err
    assert "Warning: that is little" in err
    assert files_of(files) == before
    code, out, err = leadline("lock", files / "c", "--share", "0.2")
    assert "8 of 40 people who can be evaluated are locked" in out
    assert "Warning: that is little" in err


def test_a_cohort_that_was_edited_is_refused_until_that_is_said(leadline, tmp_path, simulated_path):
    cohort = shutil.copytree(simulated_path, tmp_path / "cohort")
    code, out, _ = leadline("relock", cohort)
    assert (code, "nothing had changed" in out) == (0, True)
    table = cohort / "phq9.parquet"
    edited = pl.read_parquet(table).with_columns(total=27 - pl.col("total"))
    edited.write_parquet(table)
    code, _, err = leadline("inspect", cohort)
    assert code == 2
    assert "leadline relock" in " ".join(err.split())
    code, out, _ = leadline("relock", cohort, "--json")
    assert (code, json.loads(out)["files"]) == (0, ["phq9.parquet"])
    assert leadline("inspect", cohort)[0] == 0


def test_verify_says_what_does_not_match_a_line_each(leadline, tmp_path, cohort_path):
    code, out, err = leadline("verify", cohort_path)
    assert (code, out) == (0, f"{cohort_path} (cohort): 9 files as they were written, 0 not.\n")
    assert "No hash binds" in err
    people = pl.read_parquet(cohort_path / "people.parquet")
    person = people["person_id"][0]
    people.with_columns(locked=False).write_parquet(cohort_path / "people.parquet")
    (cohort_path / f"about {person}\n.txt").write_text("words")
    code, out, err = leadline("verify", cohort_path)
    assert code == 2
    lines = out.splitlines()
    assert lines[-1].endswith("(cohort): 8 files as they were written, 2 not.")
    assert lines[0].startswith(f"'about {person}\\n.txt': Leadline did not write this.")
    assert lines[1].startswith("people.parquet: This file is not the one that was written")
    assert "leadline relock COHORT" in lines[1]
    assert len(lines) == 3
    code, out, _ = leadline("verify", cohort_path, "--json")
    said = json.loads(out)
    assert (code, said["kind"], said["matches"]) == (2, "cohort", False)
    states = {entry["file"]: entry["state"] for entry in said["files"]}
    assert (states["people.parquet"], states["phq9.parquet"]) == ("wrong", "matches")
    code, out, err = leadline("verify", tmp_path / "none")
    assert (code, out) == (2, "")
    assert "nothing here that can be verified" in err


def test_a_limit_that_a_kill_prevented_is_worked_out_by_the_same_command(leadline, tmp_path):
    words = ("simulate", "--out", tmp_path / "c", "--preset", "easy", "--people", "20", "--gold",
             "12", "--locked", "3", "--user-turns", "8")  # fmt: skip
    assert leadline(*words)[0] == 0
    before = (tmp_path / "c" / "turns.parquet").stat().st_mtime_ns
    code, out, err = leadline(*words, "--limit", "--json")
    assert code == 0, err
    assert json.loads(out)["limit"]["people"] == 3
    assert (tmp_path / "c" / "turns.parquet").stat().st_mtime_ns == before
    for more in ((), ("--limit",), ("--limit", "--seed", "1")):
        code, _, err = leadline(*words, *more)
        assert code == 2
        assert "already exists" in err
