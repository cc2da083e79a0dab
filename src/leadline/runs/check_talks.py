"""Conversations of anchor statements, on which two ways to the same numbers are compared."""

from __future__ import annotations

import numpy as np

from leadline.cohort.timeline import Message, Timeline
from leadline.readers.anchors import anchor_statements

TALKS, TURNS = 12, 4  # conversations, user turns of each


def check_talks() -> list[list[Message]]:
    """Conversations of the anchors' questions and statements, `TURNS` user turns each."""
    _, anchors = anchor_statements()
    step = max(1, len(anchors) // (TALKS * TURNS))
    sample = anchors[::step][: TALKS * TURNS]
    return [
        [
            message
            for anchor in sample[at : at + TURNS]
            for message in (
                Message("assistant", anchor.question),
                Message("user", anchor.statement),
            )
        ]
        for at in range(0, len(sample), TURNS)
    ]


def as_timeline(name: str, talk: list[Message]) -> Timeline:
    """An undated conversation as the timeline of somebody called `name`."""
    return Timeline(
        person_id=name,
        messages=tuple(talk),
        user=np.flatnonzero([message.role == "user" for message in talk]),
        times=np.full(len(talk), np.datetime64("NaT", "us")),
        conversation_ids=tuple("check" for _ in talk),
        turns=np.arange(len(talk), dtype=np.int32),
    )
