"""Conversations on which an export is compared with Leadline's own numbers."""

import numpy as np

from leadline.readers.anchors import anchor_statements
from leadline.runs.check_talks import TALKS, TURNS, as_timeline, check_talks


def test_talks_are_questions_and_statements_of_the_anchors_in_turn():
    talks = check_talks()
    assert len(talks) == TALKS
    pairs = {(a.question, a.statement) for a in anchor_statements()[1]}
    for talk in talks:
        assert [message.role for message in talk] == ["assistant", "user"] * TURNS
        texts = [message.text for message in talk]
        assert set(zip(texts[::2], texts[1::2], strict=True)) <= pairs


def test_talks_are_spread_over_symptoms_and_hold_both_kinds():
    said = {message.text for talk in check_talks() for message in talk if message.role == "user"}
    chosen = [anchor for anchor in anchor_statements()[1] if anchor.statement in said]
    assert {anchor.present for anchor in chosen} == {True, False}
    assert len({anchor.direction for anchor in chosen}) > 8


def test_the_same_talks_every_time():
    assert check_talks() == check_talks()


def test_a_talk_as_a_timeline_is_undated_and_in_order():
    talk = check_talks()[0]
    person = as_timeline("somebody", talk)
    assert list(person.messages) == talk
    assert person.user.tolist() == [row for row, m in enumerate(talk) if m.role == "user"]
    assert np.isnat(person.times).all()
    assert person.turns.tolist() == list(range(len(talk)))
    assert set(person.conversation_ids) == {"check"}
    assert len(person.conversation_ids) == len(talk)
    assert person.user_words().tolist() == [len(m.text.split()) for m in talk if m.role == "user"]
