"""The people of a simulated cohort and how they answer: what is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leadline.arrays import Array, Bools, Ints
from leadline.simulate.config import SimulateConfig
from leadline.simulate.item_response import draw_items
from leadline.simulate.phrase_bank import Bank, load_bank
from leadline.simulate.severity import SLOTS, Schedule, Severity, draw_schedule, draw_severity
from leadline.simulate.talk import Talk, draw_talk, draw_traits
from leadline.simulate.wording import STYLE_OF_AGE, STYLE_OF_OTHER_APP, STYLES

AGES = ("18-29", "30-44", "45-59", "60+")

AGE_SHARES = (0.34, 0.33, 0.21, 0.12)

AGE_SHIFT = np.array([0.08, 0.02, -0.04, -0.14])

GENDERS = ("woman", "man", "non-binary")

GENDER_SHARES = (0.6, 0.36, 0.04)

GENDER_SHIFT = np.array([0.04, -0.07, 0.12])


@dataclass(frozen=True)
class SimulatedPeople:
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
    people: SimulatedPeople
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


def _draw_people(config: SimulateConfig, rng: np.random.Generator) -> SimulatedPeople:
    count = config.people
    age = rng.choice(len(AGES), size=count, p=AGE_SHARES)
    gender = rng.choice(len(GENDERS), size=count, p=GENDER_SHARES)
    typing = rng.random(count)[:, None]
    other_app = rng.random(count) < config.shift_share
    habits = np.where(other_app[:, None], STYLE_OF_OTHER_APP, STYLE_OF_AGE[age]).cumsum(axis=1)
    style = np.minimum((typing > habits).sum(axis=1), len(STYLES) - 1)
    mean = config.severity_mean + config.group_shift * (AGE_SHIFT[age] + GENDER_SHIFT[gender])
    items, trait = draw_traits(config, rng)
    return SimulatedPeople(age, gender, style, other_app, mean, items, trait)


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


def person_ids(config: SimulateConfig) -> list[str]:
    """Person ids in the order of the arrays."""
    return [f"p{number:05d}" for number in range(config.people)]
