"""Long tables: any order of rows, numbered anew."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.imports import import_beside, turns_of, write_source

from leadline.errors import LeadlineError
from leadline.importing import spool


def test_long_table_is_ordered_and_numbered(tmp_path: Path) -> None:
    source = write_source(
        tmp_path,
        "a.csv",
        "\ufeffuser_id;session_id;role;body;sent_at;age\n"
        "b;late;User;third;2024-05-02 10:00;40\n"
        'a;x;user;"two\nlines; ""quoted""";2024-05-01 11:00;30\n'
        "\n"
        "b;early;therapist;first;2024-05-01 10:00;40\n"
        "b;early;user;second;2024-05-01 10:05;40\n"
        "a;x;bot;earlier;2024-05-01 10:59;\n",
    )
    cohort = import_beside(source, timezone="Europe/Berlin", people_column=("age",))
    assert turns_of(cohort) == [
        ("b", "early", 0, "clinician", "first"),
        ("b", "early", 1, "user", "second"),
        ("b", "late", 0, "user", "third"),
        ("a", "x", 0, "assistant", "earlier"),
        ("a", "x", 1, "user", 'two\nlines; "quoted"'),
    ]
    assert cohort.turns["time"][0] == datetime(2024, 5, 1, 8, tzinfo=UTC)
    assert cohort.people.rows() == [("b", False, 40), ("a", False, 30)]
    assert cohort.manifest["import"]["format"] == "table"
    assert cohort.manifest["roles"] == {"user": 3, "clinician": 1, "assistant": 1}


def test_undated_conversations_follow_dated_ones_in_file_order(tmp_path: Path) -> None:
    source = write_source(
        tmp_path, "a.tsv",
        "person_id\tconversation_id\trole\ttext\ttime\n"
        "a\tu2\tuser\tone\t\na\td\tuser\ttwo\t1714557600\na\tu1\tuser\tthree\t\n"
        "a\tu2\tuser\tfour\t1714557600000\n",
    )  # fmt: skip
    assert [line[1:3] + line[4:] for line in turns_of(import_beside(source))] == [
        ("u2", 0, "one"), ("u2", 1, "four"), ("d", 0, "two"), ("u1", 0, "three")
    ]  # fmt: skip


def test_position_column_goes_before_time(tmp_path: Path) -> None:
    source = tmp_path / "a.parquet"
    pl.DataFrame(
        {"who": [7, 7, 7], "n": [30, 10, 20], "role": ["user"] * 3, "text": ["c", "a", "b"],
         "time": [datetime(2024, 1, 1, tzinfo=UTC)] * 3}
    ).write_parquet(source)  # fmt: skip
    cohort = import_beside(source, column=("person=who", "turn=n"), format="table")
    assert [(line[0], line[2], line[4]) for line in turns_of(cohort)] == [
        ("7", 0, "a"), ("7", 1, "b"), ("7", 2, "c")
    ]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.integers(0, 5)),
                min_size=1, max_size=60), st.integers(1, 7))  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_any_order_and_bucket_size_gives_the_same_cohort(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, int]], bucket: int
) -> None:
    folder = tmp_path_factory.mktemp("order")
    second = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
    frame = pl.DataFrame(
        {"person_id": [p for p, _, _ in rows], "conversation_id": [c for _, c, _ in rows],
         "role": ["user"] * len(rows), "text": [f"t{n}" for n in range(len(rows))],
         "time": [second + t for _, _, t in rows]}
    )  # fmt: skip
    frame.write_parquet(folder / "a.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "BUCKET", bucket)
        patch.setattr("leadline.sources.files.BATCH", 4)
        cohort = import_beside(folder / "a.parquet")
    people = list(dict.fromkeys(p for p, _, _ in rows))
    first = {(p, c): min(t for q, d, t in rows if (q, d) == (p, c)) for p, c, _ in rows}
    appeared = list(dict.fromkeys((p, c) for p, c, _ in rows))
    expected = sorted(
        range(len(rows)),
        key=lambda n: (people.index(rows[n][0]), first[rows[n][:2]],
                       appeared.index(rows[n][:2]), rows[n][2], n),
    )  # fmt: skip
    assert cohort.turns["text"].to_list() == [f"t{n}" for n in expected]
    starts = [n for n, turn in enumerate(cohort.turns["turn"]) if turn == 0]
    assert len(starts) == len(appeared)


def test_a_date_beside_a_clock_is_one_time(tmp_path: Path) -> None:
    source = write_source(
        tmp_path, "t.csv",
        "person_id,role,text,Date,Time\np,user,late,2024-05-02,09:00\np,user,low,2024-05-01,10:00\n",
    )  # fmt: skip
    cohort = import_beside(source, timezone="UTC")
    assert cohort.turns["text"].to_list() == ["low", "late"]
    assert cohort.turns["time"][0] == datetime(2024, 5, 1, 10, tzinfo=UTC)


def test_ties_keep_the_order_of_the_file(tmp_path: Path) -> None:
    rows = "".join(f"p,user,{n},2024-05-01T10:00:00Z\n" for n in range(50))
    source = write_source(tmp_path, "t.csv", f"person_id,role,text,time\n{rows}")
    assert import_beside(source).turns["text"].to_list() == [str(n) for n in range(50)]


def test_offsets_order_and_date_nothing(tmp_path: Path) -> None:
    source = write_source(
        tmp_path, "t.csv",
        "person_id,conversation_id,role,text,start\n"
        "p,a,user,second,00:01:00\np,a,user,first,00:00:13\n",
    )  # fmt: skip
    cohort = import_beside(source, column=("time=start",))
    assert cohort.turns["text"].to_list() == ["first", "second"]
    assert cohort.turns["time"].null_count() == 2


def test_rounded_identifiers_are_refused(tmp_path: Path) -> None:
    source = write_source(tmp_path, "t.csv", "person_id,role,text\n1.23457E+17,user,low\n")
    with pytest.raises(LeadlineError, match="rounded"):
        import_beside(source)
    pl.DataFrame({"person_id": [2.0**53 + 2], "role": ["user"], "text": ["low"]}).write_parquet(
        tmp_path / "t.parquet"
    )
    with pytest.raises(LeadlineError, match="rounded"):
        import_beside(tmp_path / "t.parquet")


def test_excel_writes_the_separator_first(tmp_path: Path) -> None:
    source = write_source(
        tmp_path, "t.csv", "sep=;\nperson_id;role;text\np;user;low, so low\np;user;\n"
    )
    with pytest.raises(LeadlineError, match="empty") as caught:
        import_beside(source)
    assert caught.value.row == 4


@pytest.mark.parametrize(("name", "user", "bot"), [("isBot", "false", "true"), ("is_bot", "0", "1"),
                                                   ("fromUser", "true", "false")])  # fmt: skip
def test_flags_say_who_speaks(tmp_path: Path, name: str, user: str, bot: str) -> None:
    source = write_source(
        tmp_path, "t.csv", f"person_id,{name},text\np,{user},low\np,{bot},why?\n"
    )  # fmt: skip
    settings = {"role": (f"{bot}=assistant",)} if name == "fromUser" else {}
    cohort = import_beside(source, **settings)
    assert cohort.turns["role"].to_list() == ["user", "assistant"]
