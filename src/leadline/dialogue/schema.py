"""The three tables of a cohort and what each column means.

`turns` holds one row a message, `phq9` one row an administration of the questionnaire
(gold labels only), `people` one row a person. Times are UTC; a null time means that the
source did not say, and then the order of rows is the order of speech.
"""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from leadline.dialogue.names import INSTRUMENTS, ITEM_COLUMNS, ROLES

__all__ = ["INSTRUMENTS", "ITEMS", "PEOPLE", "PHQ9", "ROLES", "TURNS", "UTC_TIME", "Message"]

UTC_TIME = pl.Datetime("us", "UTC")

TURNS: dict[str, pl.DataType] = {
    "person_id": pl.String(),
    "conversation_id": pl.String(),
    "turn": pl.Int32(),  # position in the conversation, from 0
    "role": pl.String(),  # one of ROLES; "user" is the person whose severity is estimated
    "text": pl.String(),
    "time": UTC_TIME,
}

PHQ9: dict[str, pl.DataType] = {
    "person_id": pl.String(),
    "time": UTC_TIME,
    "total": pl.Float64(),  # 0-27 (phq9), 0-24 (phq8), 0-6 (phq2); rounded if prorated
    "raw_total": pl.Float64(),  # before rounding; equals total unless prorated
    **{item: pl.Int8() for item in ITEM_COLUMNS},  # 0-3, null where not answered or not given
    "instrument": pl.String(),  # one of INSTRUMENTS
    "prorated": pl.Boolean(),
}

PEOPLE: dict[str, pl.DataType] = {
    "person_id": pl.String(),
    "locked": pl.Boolean(),  # True: a locked test person; no verb trains or selects on them
}  # further columns (age, gender, site ...) are kept as the source gave them


class Message(NamedTuple):
    """One turn as a reader sees it: who spoke and what was said."""

    role: str
    text: str
