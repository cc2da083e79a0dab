"""Simulated teacher draws: what a model that reads the words would say of each item.

The teacher takes each phrase at the level that it mostly expresses and misreads a modality at
some rate. What it reads is scaled to a chosen slope on the true PHQ-9; over-estimation, a bias
by verbosity and by group, and noise (partly shared by all draws of a person) come on top, so
that a draw has the chosen correlation with the truth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from leadline.arrays import Array, Bools, Ints
from leadline.phq9.items import ITEM_COLUMNS
from leadline.simulate.item_response import ITEM_COUNT
from leadline.simulate.phrase_bank import BARE, FIRST, HYPOTHETICAL, NEGATED, OTHER, PAST, RESOLVED
from leadline.simulate.severity import SLOTS
from leadline.simulate.world import World

if TYPE_CHECKING:
    from leadline.simulate.world import World

# What a reader takes from a form that he reads rightly, and that he misreads; NaN: nothing.
_RIGHT = {NEGATED: 0.1, RESOLVED: 0.4}

_WRONG = {NEGATED: 2.4, RESOLVED: 2.1, PAST: 2.4, OTHER: 2.4, HYPOTHETICAL: 2.4}


def teacher_table(world: World) -> pl.DataFrame:
    """Draws of everyone at every label time: person_id, time, draw, items, total."""
    from leadline.simulate.truth import phq9_truth

    config, rng = world.config, world.rng["teacher"]
    truth = phq9_truth(world).filter(pl.col("repeat") == 0)
    person, slot = np.nonzero(world.schedule.has_label)
    read, words = _read(world, rng)
    levels, length = read[person, slot], words[person, slot]
    total = truth["total"].to_numpy()
    theta = truth["theta"].to_numpy()
    centre, noise_sd, bias = _calibrate(world, levels.sum(axis=1), length, person, total, theta)
    shared_noise = np.sqrt(config.teacher_shared) * rng.standard_normal(world.gold.size)[person]
    frames = []
    for draw in range(config.teacher_draws):
        draw_noise = np.sqrt(1.0 - config.teacher_shared) * rng.standard_normal(person.size)
        score = np.clip(np.round(centre + bias + noise_sd * (shared_noise + draw_noise)), 0, 27)
        items = _allocate(score.astype(np.int64), levels)
        frames.append(
            pl.DataFrame(
                {
                    "person_id": truth["person_id"],
                    "time": truth["time"],
                    "draw": np.full(person.size, draw, dtype=np.int16),
                    **{name: items[:, k].astype(np.int8) for k, name in enumerate(ITEM_COLUMNS)},
                    "total": score,
                }
            )
        )
    return pl.concat(frames)


def _read(world: World, rng: np.random.Generator) -> tuple[Array, Array]:
    """Levels read per item (people, SLOTS, 9) and user turns read (people, SLOTS)."""
    talk, bank = world.talk, world.bank
    wrong = rng.random(talk.form.shape) < world.config.teacher_misread
    level = np.full(talk.form.shape, np.nan)
    plain_form = (talk.form == BARE) | (talk.form == FIRST)
    current = plain_form & ((talk.frame == 0) | wrong)
    level[current] = bank.anchor[talk.template[current]]
    for form in (NEGATED, RESOLVED, PAST, OTHER, HYPOTHETICAL):
        here = talk.form == form
        level[here] = np.where(wrong[here], _WRONG[form], _RIGHT.get(form, np.nan))
    start = np.take_along_axis(world.schedule.start, np.maximum(talk.session, 0), axis=1)
    items = np.zeros((world.gold.size, SLOTS, ITEM_COUNT))
    turns = np.zeros((world.gold.size, SLOTS))
    for slot in range(SLOTS):
        before = (talk.session >= 0) & (start <= world.schedule.label[:, slot, None])
        items[:, slot] = _item_means(np.where(before, level, np.nan), talk.topic)
        turns[:, slot] = before.sum(axis=1)
    return items, turns


def _item_means(level: Array, topic: Ints) -> Array:
    """Mean level per item, drawn towards the person's overall mean, (people, 9)."""
    has_level: Bools = ~np.isnan(level)
    filled = np.where(has_level, level, 0.0)
    overall = (filled.sum(axis=1) + 2.4) / (has_level.sum(axis=1) + 2.0)
    means = np.empty((level.shape[0], ITEM_COUNT))
    for item in range(ITEM_COUNT):
        here = has_level & (topic == item)
        means[:, item] = (np.where(here, filled, 0.0).sum(axis=1) + overall) / (
            here.sum(axis=1) + 1.0
        )
    return means


def _calibrate(
    world: World, read: Array, turns: Array, person: Ints, total: Array, theta: Array
) -> tuple[Array, float, float]:
    """Centre of each draw, SD of its noise, and the shift that gives the chosen bias."""
    config = world.config
    words = np.log(turns)
    gender = np.array([0.5, -0.5, 0.0])[world.people.gender[person]]
    skew = config.teacher_verbosity * _standard(words) + config.teacher_group * gender
    spread = float(total.std())
    for blend in np.linspace(0.0, 1.0, 41):
        signal = _standard((1.0 - blend) * _standard(read) + blend * _standard(theta))
        slope = np.cov(signal, total)[0, 1] / spread**2
        centre = config.teacher_slope / max(slope, 1e-6) * signal + skew
        variance = (config.teacher_slope * spread / config.teacher_r) ** 2 - float(centre.var())
        if variance >= 0.5 or slope * spread > 0.995:
            break
    noise = float(np.sqrt(max(variance, 0.0)))
    return centre + float(total.mean()) - float(centre.mean()), noise, config.teacher_bias


def _standard(values: Array) -> Array:
    return np.asarray((values - values.mean()) / max(float(values.std()), 1e-9))


def _allocate(total: Ints, levels: Array) -> Ints:
    """Items of each row that sum to its total, in proportion to what was read (D'Hondt)."""
    items = np.zeros(levels.shape, dtype=np.int64)
    rows = np.arange(total.size)
    for _ in range(int(total.max(initial=0))):
        claim = np.where(items < 3, (levels + 0.1) / (items + 1.0), -1.0)
        best = claim.argmax(axis=1)
        items[rows, best] += items.sum(axis=1) < total
    return items
