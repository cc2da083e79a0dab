"""ConvoKit: the odd cases that real corpora hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.imports import import_beside, import_cohort, turns_of, words_of, write_source

from leadline.errors import LeadlineError
from leadline.sources.config import ImportConfig


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
    cohort = import_beside(folder)
    assert words_of(cohort) == [("ann", "user", "hi")]
    assert set(cohort.manifest["inputs"]) == {"utterances.jsonl", "users.json"}


def test_role_key_reads_metadata_of_the_utterance_first(tmp_path: Path) -> None:
    speakers = {"ann": {"meta": {"side": "bot"}}, "bob": {"meta": {"side": "client"}}}
    folder = corpus(
        tmp_path, {"speaker": "ann"}, {"speaker": "bob"},
        {"speaker": "ann", "meta": {"side": "therapist"}}, speakers=speakers,
    )  # fmt: skip
    cohort = import_beside(folder, role_key="side")
    assert [role for _, role, _ in words_of(cohort)] == ["assistant", "user", "clinician"]


@pytest.mark.parametrize(
    ("speakers", "match"), [("ab", "more than one speaker"), ("xy", "no speaker")]
)
def test_a_conversation_has_one_person(tmp_path: Path, speakers: str, match: str) -> None:
    folder = corpus(tmp_path, *({"speaker": name} for name in speakers))
    roles = ("a=user", "b=user", "x=assistant", "y=clinician")
    with pytest.raises(LeadlineError, match=match) as caught:
        import_beside(folder, role=roles)
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
        import_beside(folder, person_role="ann")
    assert caught.value.row == "line 2"
    cohort = import_beside(folder, person_role="ann", skip_bad=True)
    assert cohort.turns.height == cohort.manifest["import"]["left_out"] == 1


def test_speakers_file_that_is_no_object(tmp_path: Path) -> None:
    with pytest.raises(LeadlineError, match="object") as caught:
        import_beside(corpus(tmp_path, {"speaker": "ann"}, speakers=[1]))
    assert caught.value.file is not None
    assert caught.value.file.name == "speakers.json"


def convokit(folder: Path, times: tuple[Any, ...] = (1714557600, "1714557660.0")) -> Path:
    corpus = folder / "corpus"
    base = {"conversation_id": "u1", "reply-to": None, "meta": {}, "vectors": []}
    write_source(corpus, "utterances.jsonl", [
        {**base, "id": "u1", "speaker": "ann", "text": "one", "timestamp": times[0]},
        {**base, "id": "u2", "speaker": "bob", "text": "two", "timestamp": times[1]},
    ])  # fmt: skip
    seeker = {"meta": {"role": "seeker", "age": 30}, "vectors": []}
    write_source(corpus, "speakers.json", {"ann": seeker, "bob": {"role": "therapist"}})
    write_source(corpus, "conversations.json", {"u1": {"meta": {}, "vectors": []}})
    write_source(corpus, "index.json", {"version": 1})
    return corpus


def test_convokit_roles_of_metadata(tmp_path: Path) -> None:
    cohort = import_beside(convokit(tmp_path), people_column=("age",))
    assert turns_of(cohort) == [
        ("ann", "u1", 0, "user", "one"),
        ("ann", "u1", 1, "clinician", "two"),
    ]
    assert cohort.turns["time"].null_count() == 0
    assert cohort.people["age"].to_list() == [30.0]


def test_convokit_roles_by_speaker_and_times_that_are_none(tmp_path: Path) -> None:
    corpus = convokit(tmp_path, times=(0, 1))
    cohort = import_beside(corpus, role=("bob=user", "ann=assistant"))
    assert [line[0] for line in turns_of(cohort)] == ["bob", "bob"]
    assert cohort.turns["time"].null_count() == 2
    (corpus / "speakers.json").unlink()
    with pytest.raises(LeadlineError, match="--role SPEAKER=assistant"):
        import_cohort(corpus, ImportConfig(), tmp_path / "other")
