"""DAIC-WOZ: the odd cases that its releases hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.imports import import_beside, import_cohort, turns_of, words_of, write_source

from leadline.errors import LeadlineError
from leadline.sources.config import ImportConfig

HEAD = "start_time\tstop_time\tspeaker\tvalue\n"


def session(folder: Path, number: int, body: str, head: str = HEAD) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{number}_TRANSCRIPT.csv"
    path.write_text(head + body, encoding="utf-8")
    return path


def test_one_transcript_and_quotes_as_characters(tmp_path: Path) -> None:
    path = session(tmp_path, 300, '1\t2\tParticipant\tshe said "no\n3\t4\tEllie\tokay "\n')
    assert words_of(import_beside(path)) == [
        ("300", "user", 'she said "no'),
        ("300", "assistant", 'okay "'),
    ]


@pytest.mark.parametrize(
    ("body", "row"), [("1\t2\tParticipant\ta\tb\n", 2), ("\n\n1\t2\tParticipant\ta\tb\tc\n", 4)]
)
def test_a_row_with_more_fields(tmp_path: Path, body: str, row: int) -> None:
    path = session(tmp_path, 300, body + "5\t6\tParticipant\tfine\n")
    with pytest.raises(LeadlineError, match="more fields") as caught:
        import_beside(path)
    assert caught.value.row == row


def test_short_rows_are_rows_without_words(tmp_path: Path) -> None:
    path = session(tmp_path, 300, "1\t2\tParticipant\n5\t6\tParticipant\tfine\n")
    assert words_of(import_beside(path)) == [("300", "user", "fine")]


def test_a_participant_twice(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    session(folder, 300, "1\t2\tParticipant\ta\n")
    session(folder / "300_P", 300, "1\t2\tParticipant\ta\n")
    with pytest.raises(LeadlineError, match="two transcripts of 1 of the participants"):
        import_beside(folder)


@pytest.mark.parametrize(
    ("header", "row", "total"),
    [
        ("Participant_ID,PHQ_Binary,PHQ_Score,PCL-C (PTSD)", "300,1,11,0", 11),
        ("Participant_ID,PHQ_8NoInterest,PHQ_8Total", "300,2,9", 9),
        ("participant_ID,PHQ8_Score", "300,-1", None),
        ("Participant_ID,Gender", "300,1", None),
    ],
)
def test_label_tables_of_all_releases(
    tmp_path: Path, header: str, row: str, total: int | None
) -> None:
    folder = tmp_path / "d"
    session(folder, 300, "1\t2\tParticipant\ta\n")
    (folder / "split.csv").write_text(f"{header}\n{row}\n")
    cohort = import_beside(folder)
    assert cohort.phq9["total"].to_list() == ([] if total is None else [total])


def test_labels_named_with_phq9_go_before_those_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    session(folder, 300, "1\t2\tParticipant\ta\n")
    (folder / "split.csv").write_text("Participant_ID,PHQ8_Score\n300,4\n")
    other = tmp_path / "other.csv"
    other.write_text("Participant_ID,PHQ8_Score\n300,6\n")
    cohort = import_beside(folder, phq9=other)
    assert cohort.phq9.select("total", "instrument").rows() == [(6.0, "phq8")]
    other.write_text("id,PHQ8_Score\n300,6\n")
    with pytest.raises(LeadlineError, match="Participant_ID"):
        import_cohort(folder, ImportConfig(phq9=other), tmp_path / "second")


def daic(folder: Path) -> Path:
    corpus = folder / "daic"
    head = "start_time\tstop_time\tspeaker\tvalue\n"
    write_source(corpus, "300_P/300_TRANSCRIPT.csv", "\ufeff" + head
        + "36.5\t39.6\tEllie\tintro (hi there)\n\n62.3\t63.1\tParticipant\t<laughter> \"good\n"
        "70\t71\tParticipant\t\n\t\t\t\n71\t72\tParticipant\t<sigh>\n")  # fmt: skip
    write_source(corpus, "301_TRANSCRIPT.csv", head + "1\t2\tParticipant\tnot so good\n")
    items = "PHQ8_NoInterest,PHQ8_Depressed,PHQ8_Sleep,PHQ8_Tired,PHQ8_Appetite,PHQ8_Failure,"
    items += "PHQ8_Concentrating,PHQ8_Moving"
    write_source(corpus, "train_split.csv",
        f"Participant_ID,PHQ8_Binary,PHQ8_Score,Gender,{items}\n"
        "300,0,2,1,0,0,1,1,0,0,0,0\n999,0,2,1,0,0,1,1,0,0,0,0\n")  # fmt: skip
    write_source(corpus, "dev_split.csv", f"Participant_ID,PHQ8_Score,Gender,{items}\n"
        "301,12,0,2,2,,2,1,1,1,1\n")  # fmt: skip
    write_source(corpus, "test_split.csv", "participant_ID,Gender\n301,0\n")
    return corpus


def test_daic(tmp_path: Path) -> None:
    cohort = import_beside(daic(tmp_path), people_column=("Gender",))
    assert turns_of(cohort) == [
        ("300", "1", 0, "assistant", "intro (hi there)"),
        ("300", "1", 1, "user", '<laughter> "good'),
        ("300", "1", 2, "user", "<sigh>"),
        ("301", "1", 0, "user", "not so good"),
    ]
    assert cohort.phq9.select("person_id", "total", "instrument", "item_3").rows() == [
        ("300", 2.0, "phq8", 1), ("301", 12.0, "phq8", None)
    ]  # fmt: skip
    assert cohort.people.rows() == [("300", False, 1), ("301", False, 0)]


def test_daic_without_annotations(tmp_path: Path) -> None:
    cohort = import_beside(daic(tmp_path), strip_annotations=True)
    assert [line[4] for line in turns_of(cohort)] == ["hi there", '"good', "not so good"]
    notes = cohort.manifest["import"]["transformations"]
    assert notes["turns from which annotations were removed"] == 3
