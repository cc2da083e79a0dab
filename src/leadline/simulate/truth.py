"""The tables that say what is true of a simulated cohort."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl

from leadline.arrays import Array
from leadline.phq9.items import ITEM_COLUMNS
from leadline.simulate.phrase_bank import FORMS, FRAMES, TONES
from leadline.simulate.wording import STYLES
from leadline.simulate.world import World, person_ids
from leadline.tables import UTC_TIME

EPOCH = datetime(2025, 1, 6, 8, 0, tzinfo=UTC)


def _offsets(world: World) -> Array:
    """Day on which each person's first session starts."""
    return np.asarray(np.random.default_rng(world.config.seed + 1).uniform(0, 120, world.gold.size))


def timestamps(days: Array) -> pl.Series:
    """Days from the epoch as UTC times, to the second."""
    micros = np.round(days * 86400.0).astype(np.int64) * 1_000_000
    start = int(EPOCH.timestamp()) * 1_000_000
    return pl.Series("time", micros + start).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def turn_days(world: World) -> Array:
    """Day of every user turn from the epoch, (people, most turns)."""
    session = world.talk.session
    rng = np.random.default_rng(world.config.seed + 2)
    gaps = rng.uniform(35.0, 200.0, session.shape) / 86400.0
    start = np.take_along_axis(world.schedule.start, np.maximum(session, 0), axis=1)
    within = gaps.cumsum(axis=1)
    new = np.diff(session, axis=1, prepend=-1) != 0
    base = np.maximum.accumulate(np.where(new, within - gaps, 0.0), axis=1)
    return np.asarray(start + within - base + _offsets(world)[:, None])


def phq9_truth(world: World) -> pl.DataFrame:
    """The PHQ-9 of everyone at every label time, and what repeating it would have given.

    Columns beyond the cohort's `phq9`: slot (1 is the last), repeat (0 the administration, 1
    another at once), theta (true mean severity of the 14 days before), given (in `phq9`).
    """
    completes = world.gold | world.locked
    person, slot = np.nonzero(world.schedule.has_label)
    days = world.schedule.label[person, slot] + _offsets(world)[person]
    frames = []
    for repeat in range(2):
        answers = world.answers[repeat, person, slot]
        total = answers.sum(axis=1).astype(np.float64)
        frame = pl.DataFrame(
            {
                "person_id": pl.Series(person_ids(world.config)).gather(person),
                "time": timestamps(days),
                "total": total,
                "raw_total": total,
                **{name: answers[:, k].astype(np.int8) for k, name in enumerate(ITEM_COLUMNS)},
                "instrument": pl.Series(["phq9"] * person.size),
                "prorated": np.zeros(person.size, dtype=bool),
                "slot": slot.astype(np.int8),
                "repeat": np.full(person.size, repeat, dtype=np.int8),
                "theta": world.severity.label[person, slot],
                "given": completes[person] & (repeat == 0),
            }
        )
        frames.append(frame.with_columns(pl.col("time").cast(UTC_TIME)))
    return pl.concat(frames)


def latent_table(world: World) -> pl.DataFrame:
    """One row per person and session: the severity that the person has then, and its parts."""
    real = world.schedule.turns > 0
    person, session = np.nonzero(real)
    people = world.people
    return pl.DataFrame(
        {
            "person_id": pl.Series(person_ids(world.config)).gather(person),
            "session": session.astype(np.int16),
            "day": world.schedule.start[real],
            "severity": world.severity.session[real],
            "window_mean": world.severity.window[real],
            "jump_day": world.severity.jump_day[person],
            "jump_size": world.severity.jump_size[person],
            "style_trait": people.trait[person],
            **{f"deviation_{k + 1}": people.items[person, k] for k in range(people.items.shape[1])},
            "style": [STYLES[people.style[index]] for index in person],
        }
    )


def template_table(world: World) -> pl.DataFrame:
    """One row per user turn: which template it came from and what it meant."""
    talk, bank = world.talk, world.bank
    person, turn = np.nonzero(talk.session >= 0)
    at = (person, turn)
    ids = pl.Series(person_ids(world.config)).gather(person)
    session = talk.session[at]
    first = np.r_[True, (np.diff(session) != 0) | (np.diff(person) != 0)]
    place = np.arange(person.size)
    within = place - np.maximum.accumulate(np.where(first, place, 0))
    return pl.DataFrame(
        {
            "person_id": ids,
            "conversation_id": ids + "-s" + pl.Series(session).cast(pl.String),
            "turn": (2 * within + 1).astype(np.int32),
            "user_turn": turn.astype(np.int32),
            "session": session.astype(np.int16),
            "time": timestamps(turn_days(world)[at]).cast(UTC_TIME),
            "template": talk.template[at].astype(np.int32),
            "held_out": bank.is_held_out[talk.template[at]],
            "form": [FORMS[index] for index in talk.form[at]],
            "topic": talk.topic[at].astype(np.int16),
            "level": talk.level[at].astype(np.int8),
            "frame": [("none", *FRAMES)[index] for index in talk.frame[at]],
            "tone": [TONES[index] for index in talk.tone[at]],
        }
    )
