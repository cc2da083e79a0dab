"""A simulated cohort from settings to disk, with its truth beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from leadline.arrays import Array, Bools, Ints
from leadline.dialogue.schema import ITEM_COLUMNS, UTC_TIME
from leadline.dialogue.store import Cohort, write_cohort
from leadline.simulate.bank import FORMS, FRAMES, TONES, Bank, load_bank
from leadline.simulate.grm import draw_items
from leadline.simulate.leak import add_leaks
from leadline.simulate.path import (
    SLOTS,
    Schedule,
    Severity,
    draw_schedule,
    draw_severity,
)
from leadline.simulate.settings import SimulateConfig
from leadline.simulate.talk import Talk, draw_talk, draw_traits
from leadline.simulate.teacher import teacher_table
from leadline.simulate.wording import (
    DRAWS,
    STYLE_OF_AGE,
    STYLE_OF_OTHER_APP,
    STYLES,
    assistant_texts,
    user_texts,
)

Progress = Callable[[str], None]

EPOCH = datetime(2025, 1, 6, 8, 0, tzinfo=UTC)
AGES = ("18-29", "30-44", "45-59", "60+")
AGE_SHARES = (0.34, 0.33, 0.21, 0.12)
AGE_SHIFT = np.array([0.08, 0.02, -0.04, -0.14])
GENDERS = ("woman", "man", "non-binary")
GENDER_SHARES = (0.6, 0.36, 0.04)
GENDER_SHIFT = np.array([0.04, -0.07, 0.12])


@dataclass(frozen=True)
class People:
    """Who the simulated people are; arrays of shape (people,) unless said otherwise.

    Attributes:
        age: index into AGES.
        gender: index into GENDERS.
        style: index into wording.STYLES.
        other_app: comes from the other app.
        mean: prior mean of severity.
        items: stable item deviations on the severity scale, (people, 9).
        trait: from minimising to amplifying, in SDs.
    """

    age: Ints
    gender: Ints
    style: Ints
    other_app: Bools
    mean: Array
    items: Array
    trait: Array


@dataclass(frozen=True)
class World:
    """Everything that was drawn, before it is written down as tables.

    Attributes:
        config: the settings.
        people: who they are.
        schedule: when they speak and are asked.
        severity: how they are.
        answers: true PHQ-9 items at each label slot, and of a repeat of each administration,
            (2, people, SLOTS, 9).
        gold: whose PHQ-9s are given for training, (people,).
        locked: who is in the locked test, (people,).
        completion: intercept, log odds per unit of severity, per session, of completing.
        bank: the templates.
        talk: the user turns.
        rng: streams for what is drawn later, by name.
    """

    config: SimulateConfig
    people: People
    schedule: Schedule
    severity: Severity
    answers: Ints
    gold: Bools
    locked: Bools
    completion: tuple[float, float, float]
    bank: Bank
    talk: Talk
    rng: dict[str, np.random.Generator]


def draw_world(config: SimulateConfig) -> World:
    """Draw everything that is true of a cohort, without text."""
    names = ("people", "schedule", "severity", "phq9", "completion", "talk", "text", "teacher")
    seeds = np.random.SeedSequence(config.seed).spawn(len(names))
    rng = {name: np.random.default_rng(seed) for name, seed in zip(names, seeds, strict=True)}
    people = _draw_people(config, rng["people"])
    schedule = draw_schedule(config, rng["schedule"])
    severity = draw_severity(people.mean, schedule, config, rng["severity"])
    shape = (2, config.people, SLOTS)
    noise = config.occasion_sd * rng["phq9"].standard_normal(shape)
    theta = (severity.label + noise)[..., None] + people.items[None, :, None, :]
    answers = draw_items(theta, rng["phq9"])
    gold, locked, completion = _draw_completion(config, schedule, severity, rng["completion"])
    bank = load_bank(config.held_out, config.ambiguity)
    traits = (people.items, people.trait)
    groups = (locked, people.other_app)
    talk = draw_talk(schedule, severity, traits, groups, bank, config, rng["talk"])
    return World(
        config, people, schedule, severity, answers, gold, locked, completion, bank, talk, rng
    )


def _draw_people(config: SimulateConfig, rng: np.random.Generator) -> People:
    count = config.people
    age = rng.choice(len(AGES), size=count, p=AGE_SHARES)
    gender = rng.choice(len(GENDERS), size=count, p=GENDER_SHARES)
    typing = rng.random(count)[:, None]
    other = rng.random(count) < config.shift_share
    habits = np.where(other[:, None], STYLE_OF_OTHER_APP, STYLE_OF_AGE[age]).cumsum(axis=1)
    style = np.minimum((typing > habits).sum(axis=1), len(STYLES) - 1)
    mean = config.severity_mean + config.group_shift * (AGE_SHIFT[age] + GENDER_SHIFT[gender])
    items, trait = draw_traits(config, rng)
    return People(age, gender, style, other, mean, items, trait)


def _draw_completion(
    config: SimulateConfig, schedule: Schedule, severity: Severity, rng: np.random.Generator
) -> tuple[Bools, Bools, tuple[float, float, float]]:
    """Who completes: the exact number with the highest log odds plus logistic noise."""
    theta, sessions = severity.label[:, -1], schedule.sessions
    per_theta = config.complete_severity / float(theta.std())
    per_session = config.complete_adherence / max(float(sessions.std()), 1e-9)
    odds = per_theta * theta + per_session * sessions + rng.logistic(size=theta.size)
    count = config.gold + config.locked
    order = np.argsort(-odds, kind="stable")
    cut = float(odds[order[count - 1]]) if count else float(odds.max()) + 1.0
    completers = rng.permutation(order[:count])
    locked, gold = np.zeros((2, theta.size), dtype=bool)
    locked[completers[: config.locked]] = True
    gold[completers[config.locked :]] = True
    return gold, locked, (-cut, per_theta, per_session)


def simulate_cohort(
    out: Path,
    config: SimulateConfig,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Cohort:
    """Simulate a cohort and write it, whole or not at all.

    Args:
        out: the new cohort directory; `truth/` in it holds what no estimator may read.
        config: the settings.
        overwrite: replace a cohort that is there.
        progress: called with a short name of each stage as it starts.

    Returns:
        The cohort as read back; its manifest says ``simulated: true``.
    """
    tell = progress or (lambda _stage: None)
    tell("severity and turns")
    world = draw_world(config)
    tell("words")
    turns = turn_table(world)
    turns, leaks = add_leaks(turns, world.answers[0, :, -1], person_ids(config), config)
    phq9_all = phq9_truth(world)
    tell("teacher")
    teacher = teacher_table(world)
    given = phq9_all.filter(pl.col("given")).drop("given", "repeat", "slot", "theta")

    def write_truth(scratch: Path) -> None:
        folder = scratch / "truth"
        folder.mkdir()
        tables = {
            "phq9_all": phq9_all,
            "latent": latent_table(world),
            "templates": template_table(world),
            "teacher": teacher,
            "leak": leaks,
        }
        for name, table in tables.items():
            table.write_parquet(folder / f"{name}.parquet", compression="zstd")

    tell("writing")
    return write_cohort(
        out,
        turns,
        given,
        people_table(world),
        command="simulate",
        settings=dataclasses.asdict(config),
        inputs={},
        overwrite=overwrite,
        extra=write_truth,
        simulated=True,
        note="Simulated people. Nothing measured on them is a claim about patients.",
        completion=dict(
            zip(("intercept", "per_severity", "per_session"), world.completion, strict=True)
        ),
    )


def person_ids(config: SimulateConfig) -> list[str]:
    """Person ids in the order of the arrays."""
    return [f"p{number:05d}" for number in range(config.people)]


def _offsets(world: World) -> Array:
    """Day on which each person's first session starts."""
    return np.asarray(np.random.default_rng(world.config.seed + 1).uniform(0, 120, world.gold.size))


def _when(days: Array) -> pl.Series:
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


def turn_table(world: World) -> pl.DataFrame:
    """`turns` of the cohort: an assistant message before every user turn."""
    talk, people = world.talk, world.people
    shape = (*talk.form.shape, DRAWS)
    draws = world.rng["text"].integers(0, 2**31, size=(shape[0], shape[1] + 1, DRAWS))
    user = user_texts(world.bank, talk, world.locked, people.style, draws)
    reply_draws = world.rng["text"].integers(0, 2**31, size=shape)
    replies = assistant_texts(talk, people.other_app, reply_draws)
    said = talk.session >= 0
    person = np.nonzero(said)[0]
    session = talk.session[said]
    days = turn_days(world)[said]
    starts = np.r_[True, (np.diff(session) != 0) | (np.diff(person) != 0)]
    within = np.arange(person.size) - np.maximum.accumulate(
        np.where(starts, np.arange(person.size), 0)
    )
    count = 2 * person.size
    texts = [""] * count
    texts[0::2], texts[1::2] = replies, user
    ids = pl.Series(person_ids(world.config)).gather(person.repeat(2))
    both = np.stack([within * 2, within * 2 + 1], axis=1).ravel()
    times = np.stack([days - 20.0 / 86400.0, days], axis=1).ravel()
    return pl.DataFrame(
        {
            "person_id": ids,
            "conversation_id": ids + "-s" + pl.Series(session.repeat(2)).cast(pl.String),
            "turn": pl.Series(both).cast(pl.Int32),
            "role": pl.Series(["assistant", "user"] * person.size),
            "text": pl.Series(texts),
            "time": _when(times),
        }
    )


def people_table(world: World) -> pl.DataFrame:
    """`people` of the cohort: ids, who is locked, and the groups that a source would know."""
    people = world.people
    return pl.DataFrame(
        {
            "person_id": person_ids(world.config),
            "locked": world.locked,
            "age_band": [AGES[index] for index in people.age],
            "gender": [GENDERS[index] for index in people.gender],
            "app": ["B" if other else "A" for other in people.other_app],
        }
    )


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
                "time": _when(days),
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
            "time": _when(turn_days(world)[at]).cast(UTC_TIME),
            "template": talk.template[at].astype(np.int32),
            "held_out": bank.held[talk.template[at]],
            "form": [FORMS[index] for index in talk.form[at]],
            "topic": talk.topic[at].astype(np.int16),
            "level": talk.level[at].astype(np.int8),
            "frame": [("none", *FRAMES)[index] for index in talk.frame[at]],
            "tone": [TONES[index] for index in talk.tone[at]],
        }
    )
