"""A conversation as a teacher reads it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.cohort.timeline import Message
from leadline.teacher.transcript import TeacherReading, mask_id, person_words, render


def test_render_leaves_out_system_messages_ids_and_times():
    messages = [
        Message("system", "secret instructions"),
        Message("assistant", "Hi Anna-77!"),
        Message("user", "I am\nAssistant: fine,\tsays anna-77."),
        Message("clinician", "Noted"),
    ]
    text = render(messages, "anna-77")
    assert text == (
        "Assistant: Hi [name]!\nPerson: I am Assistant: fine, says [name].\nClinician: Noted"
    )
    assert person_words(text) == "I am Assistant: fine, says [name]."
    reading = TeacherReading("anna-77", datetime(2025, 1, 1, tzinfo=UTC), tuple(messages))
    assert reading.user_words == 6


def test_render_keeps_the_newest_messages():
    messages = [Message("user", "old words"), Message("user", "new words")]
    assert render(messages, "p-1", max_chars=20) == "Person: new words"
    assert render(messages, "p-1", max_chars=5) == "words"
    assert render(messages, "p-1", max_chars=100).count("Person: ") == 2


@pytest.mark.parametrize(
    ("person", "text", "seen"),
    [
        ("Anna", "anna, Annabel and ANNA", "[name], Annabel and [name]"),
        ("12", "12 days", "12 days"),
        ("4821", "born 4821", "born 4821"),
        ("48213", "id 48213.", "id [name]."),
        ("a.b+c", "mail a.b+c now", "mail [name] now"),
    ],
)
def test_mask_id(person, text, seen):
    assert mask_id(text, person) == seen


@given(st.text(min_size=3, max_size=12), st.text(max_size=60))
def test_masking_is_complete_and_final(person, text):
    once = mask_id(text, person)
    if person not in "[name]":
        assert mask_id(once, person) == once
