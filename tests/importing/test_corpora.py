"""ConvoKit, DAIC-WOZ, Intercom and chat logs: the odd cases that real exports hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from leadline.cohort.store import Cohort
from leadline.errors import LeadlineError
from leadline.importing.config import ImportConfig
from leadline.importing.importing import import_cohort
from leadline.importing.intercom import html_to_text


def load(source: Path, **settings: Any) -> Cohort:
    return import_cohort(source, ImportConfig(**settings), source.parent / "cohort")


def texts(cohort: Cohort) -> list[tuple[str, str, str]]:
    return list(cohort.turns.select("person_id", "role", "text").iter_rows())


# ConvoKit


def corpus(tmp_path: Path, *utterances: dict[str, Any], speakers: Any = None) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    base = {"conversation_id": "c", "text": "words", "timestamp": None, "meta": {}}
    lines = [{"id": f"u{n}", **base, **u} for n, u in enumerate(utterances)]
    (folder / "utterances.jsonl").write_text("\n".join(map(json.dumps, lines)))
    if speakers is not None:
        (folder / "speakers.json").write_text(json.dumps(speakers))
    return folder


def test_older_corpora_use_user_and_root(tmp_path: Path) -> None:
    folder = corpus(tmp_path)
    line = {"id": "1", "root": "1", "user": "ann", "text": "hi", "timestamp": 1714557600}
    (folder / "utterances.jsonl").write_text(json.dumps(line))
    (folder / "users.json").write_text(json.dumps({"ann": {"role": "client"}}))
    cohort = load(folder)
    assert texts(cohort) == [("ann", "user", "hi")]
    assert set(cohort.manifest["inputs"]) == {"utterances.jsonl", "users.json"}


def test_role_key_reads_metadata_of_the_utterance_first(tmp_path: Path) -> None:
    speakers = {"ann": {"meta": {"side": "bot"}}, "bob": {"meta": {"side": "client"}}}
    folder = corpus(
        tmp_path, {"speaker": "ann"}, {"speaker": "bob"},
        {"speaker": "ann", "meta": {"side": "therapist"}}, speakers=speakers,
    )  # fmt: skip
    cohort = load(folder, role_key="side")
    assert [role for _, role, _ in texts(cohort)] == ["assistant", "user", "clinician"]


@pytest.mark.parametrize(
    ("speakers", "match"), [("ab", "more than one speaker"), ("xy", "no speaker")]
)
def test_a_conversation_has_one_person(tmp_path: Path, speakers: str, match: str) -> None:
    folder = corpus(tmp_path, *({"speaker": name} for name in speakers))
    roles = ("a=user", "b=user", "x=assistant", "y=clinician")
    with pytest.raises(LeadlineError, match=match) as caught:
        load(folder, role=roles)
    assert caught.value.row == "line 1"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"id": None}, "'s id"),
        ({"conversation_id": ""}, "conversation_id"),
        ({"speaker": 1.5}, "speaker"),
        ({"id": "u0"}, "twice"),
        ({"text": 5}, "not text"),
        ({"timestamp": [1]}, "time"),
        ({"timestamp": "soon"}, "ISO 8601"),
    ],
)
def test_bad_utterances(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    good = {"speaker": "ann", "timestamp": 1714557600}
    folder = corpus(tmp_path, good, {**good, **change})
    with pytest.raises(LeadlineError, match=match) as caught:
        load(folder, person_role="ann")
    assert caught.value.row == "line 2"
    cohort = load(folder, person_role="ann", skip_bad=True)
    assert cohort.turns.height == cohort.manifest["import"]["left_out"] == 1


def test_speakers_file_that_is_no_object(tmp_path: Path) -> None:
    with pytest.raises(LeadlineError, match="object") as caught:
        load(corpus(tmp_path, {"speaker": "ann"}, speakers=[1]))
    assert caught.value.file is not None
    assert caught.value.file.name == "speakers.json"


# DAIC-WOZ

HEAD = "start_time\tstop_time\tspeaker\tvalue\n"


def session(folder: Path, number: int, body: str, head: str = HEAD) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{number}_TRANSCRIPT.csv"
    path.write_text(head + body, encoding="utf-8")
    return path


def test_one_transcript_and_quotes_as_characters(tmp_path: Path) -> None:
    path = session(tmp_path, 300, '1\t2\tParticipant\tshe said "no\n3\t4\tEllie\tokay "\n')
    assert texts(load(path)) == [("300", "user", 'she said "no'), ("300", "assistant", 'okay "')]


@pytest.mark.parametrize(
    ("body", "row"), [("1\t2\tParticipant\ta\tb\n", 2), ("\n\n1\t2\tParticipant\ta\tb\tc\n", 4)]
)
def test_a_row_with_more_fields(tmp_path: Path, body: str, row: int) -> None:
    path = session(tmp_path, 300, body + "5\t6\tParticipant\tfine\n")
    with pytest.raises(LeadlineError, match="more fields") as caught:
        load(path)
    assert caught.value.row == row


def test_short_rows_are_rows_without_words(tmp_path: Path) -> None:
    path = session(tmp_path, 300, "1\t2\tParticipant\n5\t6\tParticipant\tfine\n")
    assert texts(load(path)) == [("300", "user", "fine")]


def test_a_participant_twice(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    session(folder, 300, "1\t2\tParticipant\ta\n")
    session(folder / "300_P", 300, "1\t2\tParticipant\ta\n")
    with pytest.raises(LeadlineError, match="two transcripts of participant 300"):
        load(folder)


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
    cohort = load(folder)
    assert cohort.phq9["total"].to_list() == ([] if total is None else [total])


def test_labels_named_with_phq9_go_before_those_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    session(folder, 300, "1\t2\tParticipant\ta\n")
    (folder / "split.csv").write_text("Participant_ID,PHQ8_Score\n300,4\n")
    other = tmp_path / "other.csv"
    other.write_text("Participant_ID,PHQ8_Score\n300,6\n")
    cohort = load(folder, phq9=other)
    assert cohort.phq9.select("total", "instrument").rows() == [(6.0, "phq8")]
    other.write_text("id,PHQ8_Score\n300,6\n")
    with pytest.raises(LeadlineError, match="Participant_ID"):
        import_cohort(folder, ImportConfig(phq9=other), tmp_path / "second")


# Intercom


def exported(tmp_path: Path, **changes: Any) -> Path:
    conversation = {
        "id": "7", "created_at": 1714557600, "contacts": {"contacts": [{"id": "p"}]},
        "source": {"body": "hello", "author": {"type": "user", "id": "p"}},
        "conversation_parts": {"conversation_parts": []}, **changes,
    }  # fmt: skip
    path = tmp_path / "e.jsonl"
    path.write_text(json.dumps(conversation))
    return path


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"id": None}, "id is missing"),
        ({"contacts": {"contacts": [{"id": "p"}, {"id": "q"}]}}, "more than one contact"),
        ({"conversation_parts": {"conversation_parts": 5}}, "no list"),
        ({"conversation_parts": {"conversation_parts": [5]}}, "not a JSON object"),
        ({"source": {"body": "hello", "author": None}}, "role is missing"),
        ({"source": {"body": 5, "author": {"type": "user"}}}, "not text"),
        ({"source": {"body": "hi", "author": {"type": "spirit"}}}, "not clear"),
        ({"created_at": "soon"}, "ISO 8601"),
    ],
)
def test_bad_intercom(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    with pytest.raises(LeadlineError, match=match) as caught:
        load(exported(tmp_path, **changes))
    assert str(caught.value.row).startswith("line 1")


def test_without_contacts_the_author_is_the_person(tmp_path: Path) -> None:
    assert texts(load(exported(tmp_path, contacts=None))) == [("p", "user", "hello")]
    own = exported(tmp_path, account="x9")
    cohort = import_cohort(own, ImportConfig(person_key="account"), tmp_path / "second")
    assert texts(cohort) == [("x9", "user", "hello")]


def test_admins_can_be_assistants(tmp_path: Path) -> None:
    part = {"body": "hi", "author": {"type": "admin"}, "created_at": 1714557700}
    path = exported(tmp_path, conversation_parts=[part])
    assert texts(load(path, role=("admin=assistant",)))[1] == ("p", "assistant", "hi")


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("plain", "plain"),
        ("<p>a</p><p>b</p>", "a\nb"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<ul><li>a</li><li>b</li></ul>", "a\nb"),
        ("a &lt;b&gt; &amp; c&nbsp;d &#8217;", "a <b> & c\u00a0d \u2019"),
        ("<style>x</style><script>y</script>z", "z"),
        ("5 < 6 and 7 > 2", "5 < 6 and 7 > 2"),
        ("<a href='x'>link</a>  and\n  more", "link and more"),
        ("<p>unclosed", "unclosed"),
    ],
)
def test_html(html: str, text: str) -> None:
    assert html_to_text(html) == text


# chat logs


@pytest.mark.parametrize("layout", ["chat", "sharegpt"])
def test_two_lists_of_messages_are_refused(tmp_path: Path, layout: str) -> None:
    message = [{"role": "user", "content": "a"}]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"user_id": "1", "messages": message, "turns": message}))
    with pytest.raises(LeadlineError, match=r"one list of messages\. It has messages, turns"):
        load(path, format=layout)


def test_flat_messages_keep_their_conversations(tmp_path: Path) -> None:
    records = [
        {"user_id": "1", "session_id": "s", "id": 1, "role": "user", "text": "a", "site": "n"},
        {"user_id": "1", "session_id": "t", "id": 2, "role": "user", "text": "b", "site": "n"},
        {"user_id": "1", "session_id": "s", "id": 3, "role": "bot", "text": "c", "site": "n"},
    ]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(records))
    cohort = load(path, people_column=("site",))
    assert cohort.turns.select("conversation_id", "turn", "text").rows() == [
        ("s", 0, "a"), ("s", 1, "c"), ("t", 0, "b")
    ]  # fmt: skip
    assert cohort.people.rows() == [("1", False, "n")]


def test_a_bare_list_of_messages_is_one_person_by_the_files_name(tmp_path: Path) -> None:
    path = tmp_path / "diary.json"
    path.write_text(json.dumps([{"role": "user", "content": "a"}, {"role": "ai", "content": "b"}]))
    cohort = load(path, one_person_per_conversation=True)
    assert texts(cohort) == [("diary", "user", "a"), ("diary", "assistant", "b")]


def test_author_objects_and_parts_of_threads(tmp_path: Path) -> None:
    part = {"type": "text", "text": {"value": "hello", "annotations": []}}
    messages = [{"author": {"role": "user"}, "content": [part]},
                {"author": {"role": "assistant"}, "content": [{"type": "image_file"}]}]  # fmt: skip
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"user_id": 3, "messages": messages}))
    cohort = load(path)
    assert texts(cohort) == [("3", "user", "hello")]
    assert sum(cohort.manifest["import"]["transformations"].values()) == 2
