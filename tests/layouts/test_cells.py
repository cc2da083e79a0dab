"""Dialogues inside one cell: split by speaker, or asked about."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.imports import import_beside, words_of, write_source

from leadline.errors import LeadlineError
from leadline.layouts.cells import is_dialogue, split_dialogue


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("User: low. Bot: why?", ["low.", "why?"]),
        ("User: low\nBot: why?\nUser: work", ["low", "why?", "work"]),
        ("**Patient:** low\n\n**Therapist:** why?", ["low", "why?"]),
        ("[User]: low\n[Assistant]: why?", ["low", "why?"]),
        ("User: low today Bot: why?", ["low today", "why?"]),
        ("患者\uff1a我起不来。咨询师\uff1a为什么", ["我起不来。", "为什么"]),
        ("<|im_start|>user\nlow<|im_end|>\n<|im_start|>assistant\nwhy?<|im_end|>", ["low", "why?"]),
        ("患者\uff1a最近睡不好\n医生\uff1a怎么了", ["最近睡不好", "怎么了"]),
        ("Therapist: It is 10:30. So: how are you? Client: low", ["It is 10:30. So: how are you?",
                                                                   "low"]),
    ],
)  # fmt: skip
def test_dialogues(text: str, parts: list[str]) -> None:
    assert [words for _, words in split_dialogue(text) or []] == parts
    assert is_dialogue(text, {})


@pytest.mark.parametrize(
    "text",
    ["low", "I told the bot: stop. It said: no.", "User: low", "User: a User: b",
     "well User: low. Bot: why?", "Note: see below. Result: fine.", "10:30 User: x", ""],
)  # fmt: skip
def test_no_dialogues(text: str) -> None:
    assert not is_dialogue(text, {})


@given(st.lists(st.text("abc xyz,.?", min_size=1).filter(lambda text: text.strip()), min_size=2,
                max_size=6))  # fmt: skip
def test_every_word_of_a_split_cell_is_in_one_part(words: list[str]) -> None:
    lines = [f"{'User' if place % 2 == 0 else 'Bot'}: {text}" for place, text in enumerate(words)]
    parts = split_dialogue("\n".join(lines))
    assert parts is not None
    assert [text for _, text in parts] == [text.strip() for text in words]


def test_a_table_of_cells(tmp_path: Path) -> None:
    table = "pid,date,transcript\np1,2024-05-01T10:00:00Z,User: low. Bot: why? User: work.\n"
    cohort = import_beside(write_source(tmp_path, "t.csv", table))
    assert words_of(cohort) == [("p1", "user", "low."), ("p1", "assistant", "why?"),
                                ("p1", "user", "work.")]  # fmt: skip
    assert cohort.manifest["import"]["format"] == "cells"
    assert cohort.manifest["import"]["messages"] == {
        "read": 1, "added": 2, "turns": 3, "left_out_by_rule": {}, "bad": 0
    }  # fmt: skip
    assert cohort.turns["time"].null_count() == 0


def test_the_words_of_a_bot_in_the_persons_turn_are_asked_about(tmp_path: Path) -> None:
    table = "person_id,role,text\np1,user,User: low. Bot: why?\np1,bot,ok\n"
    source = write_source(tmp_path, "t.csv", table)
    with pytest.raises(LeadlineError, match="hold a whole dialogue") as caught:
        import_beside(source)
    assert caught.value.row == 2
    assert "--dialogues split" in caught.value.remedy
    split = import_beside(source, dialogues="split")
    assert words_of(split) == [("p1", "user", "low."), ("p1", "assistant", "why?"),
                               ("p1", "assistant", "ok")]  # fmt: skip
    kept = import_beside(write_source(tmp_path / "b", "t.csv", table), dialogues="keep")
    assert kept.turns.height == 2


def test_one_quoted_chat_among_many_turns_is_kept_and_counted(tmp_path: Path) -> None:
    rows = "".join(f"p1,user,day {n}\n" for n in range(150)) + "p1,user,User: hi. Bot: hello.\n"
    cohort = import_beside(write_source(tmp_path, "t.csv", f"person_id,role,text\n{rows}"))
    assert cohort.turns.height == 151
    assert list(cohort.manifest["import"]["transformations"]) == [
        "turns of the person that look like a whole dialogue, kept"
    ]


def test_a_speaker_that_is_named_is_split_off_too(tmp_path: Path) -> None:
    table = "pid,log\np1,Anna: low.  Wysa: why?\n"
    cohort = import_beside(write_source(tmp_path, "t.csv", table),
                           role=("Anna=user", "Wysa=assistant"))  # fmt: skip
    assert [role for _, role, _ in words_of(cohort)] == ["user", "assistant"]


def test_a_cell_without_speakers_is_a_bad_row(tmp_path: Path) -> None:
    table = "pid,transcript\np1,User: a. Bot: b.\np2,nothing here\n"
    source = write_source(tmp_path, "t.csv", table)
    with pytest.raises(LeadlineError, match="no dialogue") as caught:
        import_beside(source)
    assert caught.value.row == 3
    assert import_beside(source, skip_bad=True).manifest["import"]["messages"]["bad"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nlow [/INST] why? </s><s>[INST] work [/INST]",
        "<s>[INST] low [/INST] why? </s>[INST] work [/INST]",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nlow<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nwhy?<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nwork<|eot_id|>",
        "<bos><start_of_turn>user\nlow<end_of_turn>\n<start_of_turn>model\nwhy?<end_of_turn>\n"
        "<start_of_turn>user\nwork<end_of_turn>\n",
        "<|user|>\nlow<|end|>\n<|assistant|>\nwhy?<|end|>\n<|user|>\nwork<|end|>\n",
        "<|im_start|>user\nlow<|im_end|>\n<|im_start|>assistant\nwhy?<|im_end|>\n"
        "<|im_start|>user\nwork<|im_end|>",
    ],
)
def test_templates_of_models(tmp_path: Path, text: str) -> None:
    source = write_source(tmp_path, "t.jsonl", [{"text": text}])
    cohort = import_beside(source, one_person_per_conversation=True)
    assert [row[1:] for row in words_of(cohort) if row[1] != "system"] == [
        ("user", "low"), ("assistant", "why?"), ("user", "work")
    ]  # fmt: skip
