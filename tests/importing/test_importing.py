"""Each layout, in files as their tools write them, to a cohort."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.cohort.store import Cohort
from leadline.errors import LeadlineError
from leadline.importing import spool
from leadline.importing.config import ImportConfig
from leadline.importing.importing import import_cohort
from leadline.importing.intercom import html_to_text

LINES = list[tuple[str, str, int, str, str]]


def spoken(cohort: Cohort) -> LINES:
    columns = ("person_id", "conversation_id", "turn", "role", "text")
    return list(cohort.turns.select(columns).iter_rows())


def put(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, list) and path.suffix == ".jsonl":
        content = "".join(json.dumps(line) + "\n" for line in content)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def load(source: Path, tmp_path: Path, **kwargs: Any) -> Cohort:
    return import_cohort(source, ImportConfig(**kwargs), tmp_path / "cohort")


def test_long_table_is_ordered_and_numbered(tmp_path: Path) -> None:
    source = put(
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
    cohort = load(source, tmp_path, timezone="Europe/Berlin", people_column=("age",))
    assert spoken(cohort) == [
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
    source = put(
        tmp_path, "a.tsv",
        "person_id\tconversation_id\trole\ttext\ttime\n"
        "a\tu2\tuser\tone\t\na\td\tuser\ttwo\t1714557600\na\tu1\tuser\tthree\t\n"
        "a\tu2\tuser\tfour\t1714557600000\n",
    )  # fmt: skip
    assert [line[1:3] + line[4:] for line in spoken(load(source, tmp_path))] == [
        ("u2", 0, "one"), ("u2", 1, "four"), ("d", 0, "two"), ("u1", 0, "three")
    ]  # fmt: skip


def test_position_column_goes_before_time(tmp_path: Path) -> None:
    source = tmp_path / "a.parquet"
    pl.DataFrame(
        {"who": [7, 7, 7], "n": [30, 10, 20], "role": ["user"] * 3, "text": ["c", "a", "b"],
         "time": [datetime(2024, 1, 1, tzinfo=UTC)] * 3}
    ).write_parquet(source)  # fmt: skip
    cohort = load(source, tmp_path, column=("person=who", "turn=n"), format="table")
    assert [(line[0], line[2], line[4]) for line in spoken(cohort)] == [
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
        patch.setattr("leadline.importing.files.BATCH", 4)
        cohort = load(folder / "a.parquet", folder)
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


def test_openai_messages_with_parts_and_tools(tmp_path: Path) -> None:
    source = put(tmp_path, "chat.jsonl", [
        {"metadata": {"user": "u1"}, "site": "north", "messages": [
            {"role": "developer", "content": "be kind"},
            {"role": "user", "content": [{"type": "text", "text": "hello"},
                                         {"type": "image_url", "image_url": {"url": "x"}},
                                         {"type": "input_text", "text": "again"}]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": 1}]},
            {"role": "assistant", "content": "hi", "created_at": 1714557600},
        ]}
    ])  # fmt: skip
    cohort = load(source, tmp_path, person_key="metadata.user", people_column=("site",))
    assert [line[3:] for line in spoken(cohort)] == [
        ("system", "be kind"), ("user", "hello\nagain"), ("assistant", "hi")
    ]  # fmt: skip
    assert cohort.people.rows() == [("u1", False, "north")]
    assert sum(cohort.manifest["import"]["transformations"].values()) == 3


@pytest.mark.parametrize(
    "content",
    [
        [{"user_id": 5, "dialog": [{"speaker": "user", "text": "a"}]}],
        {"user_id": 5, "turns": [{"role": "user", "content": "a"}]},
        {"conversations": [{"user_id": 5, "conversation": [{"role": "user", "content": "a"}]}]},
        [{"user_id": 5, "role": "user", "content": "a"}],
    ],
)
def test_shapes_of_chat_files(tmp_path: Path, content: Any) -> None:
    cohort = load(put(tmp_path, "chat.json", content), tmp_path)
    assert spoken(cohort) == [("5", "1", 0, "user", "a")]


def test_one_person_per_conversation_and_roles_by_word(tmp_path: Path) -> None:
    dialog = [{"speaker": "sys", "text": "hello"}, {"speaker": "usr", "text": "low"}]
    source = put(tmp_path, "d.jsonl", [{"dialog": dialog}, {"dialog": dialog}])
    with pytest.raises(LeadlineError, match="one-person-per-conversation"):
        load(source, tmp_path)
    with pytest.raises(LeadlineError, match="--role sys=assistant"):
        load(source, tmp_path, one_person_per_conversation=True, person_role="usr")
    cohort = load(source, tmp_path, one_person_per_conversation=True, person_role="usr",
                  role=("sys=clinician",))  # fmt: skip
    assert [line[0] for line in spoken(cohort)] == ["1", "1", "2", "2"]
    assert [line[3] for line in spoken(cohort)] == ["clinician", "user"] * 2


def test_the_user_may_be_the_interviewer(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "how?"}, {"role": "patient", "content": "low"}]
    source = put(tmp_path, "d.json", {"id": "1", "messages": messages})
    cohort = load(source, tmp_path, one_person_per_conversation=True, person_role="patient",
                  role=("user=clinician",))  # fmt: skip
    assert [line[3] for line in spoken(cohort)] == ["clinician", "user"]


def test_sharegpt(tmp_path: Path) -> None:
    turns = [{"from": "system", "value": "s"}, {"from": "human", "value": "h"},
             {"from": "gpt", "value": "g"}]  # fmt: skip
    source = put(tmp_path, "s.json", [{"id": "k1", "conversations": turns}])
    cohort = load(source, tmp_path, one_person_per_conversation=True)
    assert spoken(cohort) == [
        ("k1", "k1", 0, "system", "s"), ("k1", "k1", 1, "user", "h"),
        ("k1", "k1", 2, "assistant", "g"),
    ]  # fmt: skip
    assert cohort.manifest["import"]["format"] == "sharegpt"


def convokit(folder: Path, times: tuple[Any, ...] = (1714557600, "1714557660.0")) -> Path:
    corpus = folder / "corpus"
    base = {"conversation_id": "u1", "reply-to": None, "meta": {}, "vectors": []}
    put(corpus, "utterances.jsonl", [
        {**base, "id": "u1", "speaker": "ann", "text": "one", "timestamp": times[0]},
        {**base, "id": "u2", "speaker": "bob", "text": "two", "timestamp": times[1]},
    ])  # fmt: skip
    put(corpus, "speakers.json", {"ann": {"meta": {"role": "seeker", "age": 30}, "vectors": []},
                                  "bob": {"role": "therapist"}})  # fmt: skip
    put(corpus, "conversations.json", {"u1": {"meta": {}, "vectors": []}})
    put(corpus, "index.json", {"version": 1})
    return corpus


def test_convokit_roles_of_metadata(tmp_path: Path) -> None:
    cohort = load(convokit(tmp_path), tmp_path, people_column=("age",))
    assert spoken(cohort) == [("ann", "u1", 0, "user", "one"), ("ann", "u1", 1, "clinician", "two")]
    assert cohort.turns["time"].null_count() == 0
    assert cohort.people["age"].to_list() == [30.0]


def test_convokit_roles_by_speaker_and_times_that_are_none(tmp_path: Path) -> None:
    corpus = convokit(tmp_path, times=(0, 1))
    cohort = load(corpus, tmp_path, role=("bob=user", "ann=assistant"))
    assert [line[0] for line in spoken(cohort)] == ["bob", "bob"]
    assert cohort.turns["time"].null_count() == 2
    (corpus / "speakers.json").unlink()
    with pytest.raises(LeadlineError, match="--role SPEAKER=assistant"):
        import_cohort(corpus, ImportConfig(), tmp_path / "other")


def daic(folder: Path) -> Path:
    corpus = folder / "daic"
    head = "start_time\tstop_time\tspeaker\tvalue\n"
    put(corpus, "300_P/300_TRANSCRIPT.csv", "\ufeff" + head
        + "36.5\t39.6\tEllie\tintro (hi there)\n\n62.3\t63.1\tParticipant\t<laughter> \"good\n"
        "70\t71\tParticipant\t\n\t\t\t\n71\t72\tParticipant\t<sigh>\n")  # fmt: skip
    put(corpus, "301_TRANSCRIPT.csv", head + "1\t2\tParticipant\tnot so good\n")
    items = "PHQ8_NoInterest,PHQ8_Depressed,PHQ8_Sleep,PHQ8_Tired,PHQ8_Appetite,PHQ8_Failure,"
    items += "PHQ8_Concentrating,PHQ8_Moving"
    put(corpus, "train_split.csv", f"Participant_ID,PHQ8_Binary,PHQ8_Score,Gender,{items}\n"
        "300,0,2,1,0,0,1,1,0,0,0,0\n999,0,2,1,0,0,1,1,0,0,0,0\n")  # fmt: skip
    put(corpus, "dev_split.csv", f"Participant_ID,PHQ8_Score,Gender,{items}\n"
        "301,12,0,2,2,,2,1,1,1,1\n")  # fmt: skip
    put(corpus, "test_split.csv", "participant_ID,Gender\n301,0\n")
    return corpus


def test_daic(tmp_path: Path) -> None:
    cohort = load(daic(tmp_path), tmp_path, people_column=("Gender",))
    assert spoken(cohort) == [
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
    cohort = load(daic(tmp_path), tmp_path, strip_annotations=True)
    assert [line[4] for line in spoken(cohort)] == ["hi there", '"good', "not so good"]
    notes = cohort.manifest["import"]["transformations"]
    assert notes["turns from which annotations were removed"] == 3


def test_intercom(tmp_path: Path) -> None:
    def part(kind: str, body: str | None, **more: Any) -> dict[str, Any]:
        return {"part_type": "comment", "body": body, "created_at": 1714557700,
                "author": {"type": kind, "id": "a9", "name": "N"}, **more}  # fmt: skip

    source = put(tmp_path, "export.json", {"type": "conversation.list", "conversations": [{
        "type": "conversation", "id": "77", "created_at": 1714557600,
        "contacts": {"contacts": [{"id": "x1", "external_id": "p7"}]},
        "source": {"body": "<p>Hi &amp; <b>help</b></p><p>me</p>", "author": {"type": "lead"}},
        "conversation_parts": {"conversation_parts": [
            part("bot", "Welcome"), part("admin", "secret", part_type="note"),
            part("admin", None, part_type="assignment"), part("user", "<img src=x>"),
            part("admin", "I am <i>here</i>"), part("user", "thanks", created_at=1714557800),
        ]},
    }]})  # fmt: skip
    cohort = load(source, tmp_path)
    assert spoken(cohort) == [
        ("p7", "77", 0, "user", "Hi & help\nme"),
        ("p7", "77", 1, "assistant", "Welcome"),
        ("p7", "77", 2, "clinician", "I am here"),
        ("p7", "77", 3, "user", "thanks"),
    ]
    assert "secret" not in json.dumps(cohort.manifest)
    assert cohort.manifest["import"]["transformations"]["internal notes, left out"] == 1


@given(st.text())
def test_html_to_text_never_fails(text: str) -> None:
    html_to_text(text)
    assert "<p>" not in html_to_text(f"<p>{text}</p>")


SURVEY = """
person = "id"
time = "day"
ignore = "gad7"
[[turns]]
ask = "Your mood?"
answer = "mood"
[[turns]]
answer = "worry"
[phq9]
items = ["q1","q2","q3","q4","q5","q6","q7","q8","q9"]
[people]
sex = "gender"
"""


def test_survey(tmp_path: Path) -> None:
    mapping = put(tmp_path, "map.toml", SURVEY)
    header = "id,day,mood,worry,gad7,gender," + ",".join(f"q{n}" for n in range(1, 10))
    source = put(tmp_path, "s.csv", header + "\n"
        "1,2024-05-01,low,much,3,f,1,1,1,1,1,1,1,1,1\n"
        "1,2024-06-01,,some,3,f,3,3,3,NA,3,3,3,3,0\n"
        "2,2024-05-01,fine,,3,m,,,,,,,,,\n")  # fmt: skip
    cohort = load(source, tmp_path, mapping=mapping, timezone="UTC")
    assert spoken(cohort) == [
        ("1", "1", 0, "assistant", "Your mood?"), ("1", "1", 1, "user", "low"),
        ("1", "1", 2, "user", "much"), ("1", "2", 0, "user", "some"),
        ("2", "1", 0, "assistant", "Your mood?"), ("2", "1", 1, "user", "fine"),
    ]  # fmt: skip
    assert cohort.phq9.select("total", "raw_total", "prorated").rows() == [
        (9.0, 9.0, False), (24.0, 23.625, True)
    ]  # fmt: skip
    assert cohort.people.rows() == [("1", False, "f"), ("2", False, "m")]
    assert cohort.manifest["inputs"].keys() == {"s.csv", "map.toml"}


TURNS = "person_id,role,text\np1,user,low\np2,user,fine\n"


def test_label_table_of_items_dates_and_instruments(tmp_path: Path) -> None:
    labels = put(tmp_path, "l.csv", "Participant,Date,PHQ9_total,instrument\n"
        "p2,2024-05-01,4,PHQ-8\np1,2024-05-02,20,\n"
        "p1,2024-05-01T09:00:00+02:00,10,phq9\n")  # fmt: skip
    cohort = load(put(tmp_path, "t.csv", TURNS), tmp_path, phq9=labels, timezone="UTC",
                  label_day="end")  # fmt: skip
    assert cohort.phq9.select("person_id", "total", "instrument").rows() == [
        ("p1", 10.0, "phq9"), ("p1", 20.0, "phq9"), ("p2", 4.0, "phq8")
    ]  # fmt: skip
    assert cohort.phq9["time"].to_list()[:2] == [
        datetime(2024, 5, 1, 7, tzinfo=UTC), datetime(2024, 5, 2, 23, 59, 59, 999999, tzinfo=UTC)
    ]  # fmt: skip


def answer(code: str, value: Any) -> dict[str, Any]:
    return {"linkId": f"/{code}", "answer": [value]}


def test_fhir_bundle(tmp_path: Path) -> None:
    codes = ("44250-9", "44255-8", "44259-0", "44254-1", "44251-7", "44258-2", "44252-5",
             "44253-3", "44260-8")  # fmt: skip
    options = ("LA6568-5", "LA6569-3", "LA6570-1", "LA6571-9")
    items = [
        answer(code, {"valueCoding": {"code": options[n % 4]}}) for n, code in enumerate(codes)
    ]
    response = {
        "resourceType": "QuestionnaireResponse", "status": "completed",
        "subject": {"reference": "https://x/Patient/p1/_history/2"},
        "authored": "2024-05-01T10:00:00Z",
        "item": [{"linkId": "44249-1", "item": items},
                 answer("44261-6", {"valueInteger": 12})],
    }  # fmt: skip
    total = {
        "resourceType": "Observation", "status": "final", "subject": {"reference": "Patient/p2"},
        "effectiveDateTime": "2024-05-01T10:00:00Z", "valueQuantity": {"value": 7},
        "code": {"coding": [{"system": "http://loinc.org", "code": "44261-6"}]},
    }  # fmt: skip
    wrong = {**total, "status": "entered-in-error", "valueQuantity": {"value": 27}}
    patient = {"resourceType": "Patient", "id": "p1"}
    resources = [{"resource": resource} for resource in (patient, response, wrong, total)]
    bundle = put(tmp_path, "b.json", {"resourceType": "Bundle", "entry": resources})
    source = put(tmp_path, "t.csv", TURNS)
    cohort = load(source, tmp_path, phq9=bundle)
    assert cohort.phq9.select("person_id", "total", "item_2", "item_9").rows() == [
        ("p1", 12.0, 1, 0), ("p2", 7.0, None, None)
    ]  # fmt: skip
    lines = put(tmp_path, "b.ndjson", "\n".join(map(json.dumps, (response, total))))
    again = import_cohort(source, ImportConfig(phq9=lines), tmp_path / "second")
    assert again.phq9.equals(cohort.phq9)
    twice = put(tmp_path, "c.json", [total, {**total, "valueQuantity": {"value": 8}}])
    with pytest.raises(LeadlineError, match="contradict"):
        import_cohort(source, ImportConfig(phq9=twice), tmp_path / "third")


def test_fhir_item_observations_are_one_label(tmp_path: Path) -> None:
    codes = ("44250-9", "44255-8")
    observations = [
        {"resourceType": "Observation", "status": "final", "subject": {"reference": "Patient/p1"},
         "effectiveDateTime": "2024-05-01T10:00:00Z", "code": {"coding": [{"code": code}]},
         "valueCodeableConcept": {"coding": [{"code": "LA6571-9"}]}}
        for code in codes
    ]  # fmt: skip
    labels = put(tmp_path, "o.json", observations)
    cohort = load(put(tmp_path, "t.csv", TURNS), tmp_path, phq9=labels)
    assert cohort.phq9.select("total", "instrument").rows() == [(6.0, "phq2")]


def test_progress_and_input_hashes(tmp_path: Path) -> None:
    seen: list[int] = []
    source = put(tmp_path, "t.csv", TURNS)
    cohort = import_cohort(source, ImportConfig(), tmp_path / "c", progress=seen.append)
    assert seen == [2]
    assert len(cohort.manifest["inputs"]["t.csv"]) == 64
    assert cohort.manifest["settings"]["phq9"] is None
