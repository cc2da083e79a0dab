"""The leak arm: people who were asked the PHQ-9 in their chat, so that its answers are text."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl

from leadline.arrays import Ints
from leadline.simulate.config import SimulateConfig
from leadline.simulate.item_response import ITEM_COUNT
from leadline.simulate.phrase_bank import assistant
from leadline.tables import TURNS


def add_leaks(
    turns: pl.DataFrame, answers: Ints, ids: list[str], config: SimulateConfig
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Put the questionnaire at the end of the last conversation of a share of people.

    Args:
        turns: the cohort's turns, people in the order of `ids`.
        answers: the answers of the last administration, (people, 9).
        ids: person ids.
        config: `leak_share` is the chance of each person.

    Returns:
        The turns, and a table of who was asked (person_id, turns added).
    """
    rng = np.random.default_rng([config.seed, 77])
    asked_people = np.flatnonzero(rng.random(len(ids)) < config.leak_share)
    leaks = pl.DataFrame(
        {
            "person_id": [ids[person] for person in asked_people],
            "turns": [2 * ITEM_COUNT] * asked_people.size,
        },
        schema={"person_id": pl.String(), "turns": pl.Int32()},
    )
    if not asked_people.size:
        return turns, leaks
    last = turns.group_by("person_id", maintain_order=True).last()
    rows = dict(zip(last["person_id"], last.iter_rows(named=True), strict=True))
    lines = assistant()
    leak_rows = []
    for person in asked_people:
        row = rows[ids[person]]
        for item in range(ITEM_COUNT):
            answer = lines["leak_answer"][answers[person, item]]
            for role, text in (("assistant", lines["leak_ask"][item]), ("user", answer)):
                row = {
                    **row,
                    "turn": row["turn"] + 1,
                    "role": role,
                    "text": text,
                    "time": row["time"] + timedelta(seconds=15),
                }
                leak_rows.append(row)
    all_turns = pl.concat([turns, pl.DataFrame(leak_rows, schema=TURNS)])
    return all_turns.sort("person_id", "time", "turn", maintain_order=True), leaks
