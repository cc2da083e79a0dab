"""Simulated teacher draws: what a model that reads the words would say of each item.

The teacher sees what was said before the PHQ-9 and nothing else: of a phrase, how likely it is at
each severity (`likelihood`), and whether a frame (a past time, another person, a supposition)
was opened and closed in words. It reads turn by turn as if they told of one severity, takes
what stands in a frame as current at some rate, and gives the expected PHQ-9 total. That is
scaled to a chosen slope on the true PHQ-9; over-estimation, a bias by verbosity and by group,
and noise (partly shared by all draws of a person) come on top, so that a draw has the chosen
correlation with the truth. A correlation that no reader of these words could have is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from leadline.arrays import Array, Bools, Ints
from leadline.errors import LeadlineError
from leadline.phq9.items import ITEM_COLUMNS
from leadline.simulate.config import SimulateConfig
from leadline.simulate.item_response import ANSWER_LEVELS, ITEM_COUNT, level_probabilities
from leadline.simulate.likelihood import framed_likelihood, plain_likelihood
from leadline.simulate.phrase_bank import (
    BARE,
    CLOSE,
    EVASIVE,
    FIRST,
    HYPOTHETICAL,
    NEGATED,
    OPEN,
    OTHER,
    PAST,
    RESOLVED,
    Bank,
)
from leadline.simulate.severity import SLOTS
from leadline.simulate.talk import NODE_VALUES, NODE_WEIGHTS
from leadline.simulate.world import World

# What a reader takes from a form that he reads rightly, and that he misreads; NaN: nothing.
_RIGHT = {NEGATED: 0.1, RESOLVED: 0.4}

_WRONG = {NEGATED: 2.4, RESOLVED: 2.1, PAST: 2.4, OTHER: 2.4, HYPOTHETICAL: 2.4}

_SEVERITIES: Array = np.linspace(-4.0, 7.0, 89)  # of the general factor

_LEAST_NOISE = 0.5  # variance of a draw about what was read, points squared


def teacher_table(world: World) -> pl.DataFrame:
    """Draws of everyone at every label time: person_id, time, draw, items, total."""
    from leadline.simulate.truth import phq9_truth

    config, rng = world.config, world.rng["teacher"]
    truth = phq9_truth(world).filter(pl.col("repeat") == 0)
    person, slot = np.nonzero(world.schedule.has_label)
    read = read_words(world, rng)
    levels = read.levels[person, slot]
    total = truth["total"].to_numpy()
    skew = _skew(world, read.turns[person, slot], person)
    centre, noise_sd = _calibrate(world.config, read.total[person, slot], skew, total)
    bias = world.config.teacher_bias
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


@dataclass(frozen=True)
class WordsRead:
    """What the teacher read before each label slot.

    Attributes:
        total: PHQ-9 total that it expects, (people, SLOTS).
        levels: level of each item, (people, SLOTS, 9).
        turns: user turns read, (people, SLOTS).
    """

    total: Array
    levels: Array
    turns: Array


def read_words(world: World, rng: np.random.Generator) -> WordsRead:
    """Read what everybody said; nothing that is true of them is looked at."""
    talk, bank, config = world.talk, world.bank, world.config
    session, template = talk.session, talk.template
    wrong = rng.random(template.shape) < config.teacher_misread
    framed = heard_frames(bank, template, session, config)
    framed = np.where(wrong, 0.0, framed)
    level, evidence = _levels(bank, template, framed, wrong), _evidence(bank, config)
    start = np.take_along_axis(world.schedule.start, np.maximum(session, 0), axis=1)
    items = np.zeros((len(template), SLOTS, ITEM_COUNT))
    turns, total = np.zeros((len(template), SLOTS)), np.zeros((len(template), SLOTS))
    for slot in range(SLOTS):
        before = (session >= 0) & (start <= world.schedule.label[:, slot, None])
        items[:, slot] = _item_means(np.where(before, level, np.nan), bank.topic[template])
        turns[:, slot] = before.sum(axis=1)
        total[:, slot] = _expected_total(config, evidence, np.where(before, template, -1), framed)
    return WordsRead(total, items, turns)


def heard_frames(bank: Bank, template: Ints, session: Ints, config: SimulateConfig) -> Array:
    """Chance, from the words so far, that a frame holds at each turn, (people, turns)."""
    silent_end = config.frame_end * (1.0 - config.frame_close)
    stays = (1.0 - config.frame_end) / max(1.0 - config.frame_end + silent_end, 1e-9)
    belief, out = np.zeros(len(template)), np.zeros(template.shape)
    for turn in range(template.shape[1]):
        form = np.where(template[:, turn] >= 0, bank.form[template[:, turn]], -1)
        if turn:
            belief = np.where(session[:, turn] == session[:, turn - 1], belief * stays, 0.0)
        belief = np.where(form == OPEN, 1.0, np.where(form == CLOSE, 0.0, belief))
        out[:, turn] = belief
    return out


def _levels(bank: Bank, template: Ints, framed: Array, wrong: Bools) -> Array:
    """Level that each turn is read at, NaN where it says nothing, (people, turns)."""
    form = np.where(template >= 0, bank.form[template], -1)
    share = bank.share.max(axis=0)
    phrase_level = share @ np.arange(ANSWER_LEVELS) / np.maximum(share.sum(axis=1), 1e-300)
    level = np.full(template.shape, np.nan)
    current = ((form == BARE) & (framed < 0.5)) | (form == FIRST)
    level[current] = phrase_level[template[current]]
    for kind in (NEGATED, RESOLVED, PAST, OTHER, HYPOTHETICAL):
        here = form == kind
        level[here] = np.where(wrong[here], _WRONG[kind], _RIGHT.get(kind, np.nan))
    return level


def _evidence(bank: Bank, config: SimulateConfig) -> tuple[Array, Array]:
    """P(template | severity), told of now and told in a frame, each (templates, severities).

    Deviations of the person on the item and the style trait are unknown and averaged over.
    """
    theta = (_SEVERITIES[:, None] + config.item_sd * NODE_VALUES).ravel()
    weight = NODE_WEIGHTS / NODE_WEIGHTS.sum()
    now = np.ones((len(bank.text), _SEVERITIES.size))
    in_frame = np.ones_like(now)
    for template in np.flatnonzero(bank.form <= EVASIVE):
        chance = weight @ plain_likelihood(bank, config, int(template), theta)
        now[template] = chance.reshape(_SEVERITIES.size, -1) @ weight
        if bank.form[template] == BARE:
            chance = framed_likelihood(bank, config, int(template), theta)
            in_frame[template] = chance.reshape(_SEVERITIES.size, -1) @ weight
        else:
            in_frame[template] = now[template]
    return now, in_frame


def _expected_total(
    config: SimulateConfig, evidence: tuple[Array, Array], template: Ints, framed: Array
) -> Array:
    """Mean total given the turns, as if all told of one severity, (people,)."""
    now, in_frame = evidence
    spread = np.hypot(config.level_sd, config.ou_sd) + 1e-9
    score = np.tile(-0.5 * ((_SEVERITIES - config.severity_mean) / spread) ** 2, (len(template), 1))
    for turn in range(template.shape[1]):
        here = np.flatnonzero(template[:, turn] >= 0)
        phrase, belief = template[here, turn], framed[here, turn, None]
        chance = (1.0 - belief) * now[phrase] + belief * in_frame[phrase]
        score[here] += np.log(np.maximum(chance, 1e-12))
    weight = np.exp(score - score.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    answers = [level_probabilities(_SEVERITIES, item) for item in range(ITEM_COUNT)]
    return np.asarray(weight @ (np.sum(answers, axis=0) @ np.arange(ANSWER_LEVELS)))


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


def _skew(world: World, turns: Array, person: Ints) -> Array:
    """Points by which verbosity and group move the ratings, shape of `turns`."""
    gender = np.array([0.5, -0.5, 0.0])[world.people.gender[person]]
    config = world.config
    return config.teacher_verbosity * _standard(np.log(turns)) + config.teacher_group * gender


def _calibrate(
    config: SimulateConfig, read: Array, skew: Array, total: Array
) -> tuple[Array, float]:
    """Centre of each draw, and the SD of its noise.

    Raises:
        LeadlineError: the chosen correlation is beyond what these words allow.
    """
    spread = float(total.std())
    signal = _standard(read)
    slope = max(float(np.cov(signal, total)[0, 1]) / spread**2, 1e-6)
    centre = config.teacher_slope / slope * signal + skew
    variance = (config.teacher_slope * spread / config.teacher_r) ** 2 - float(centre.var())
    if variance < _LEAST_NOISE:
        _refuse_beyond_words(config, spread, float(centre.var()), len(total))
    noise = float(np.sqrt(max(variance, _LEAST_NOISE)))
    return centre + float(total.mean()) - float(centre.mean()), noise


def _refuse_beyond_words(
    config: SimulateConfig, spread: float, variance: float, labels: int
) -> None:
    """Raise where the sample says clearly that no draw can have the chosen correlation."""
    reachable = float(config.teacher_slope * spread / np.sqrt(variance + _LEAST_NOISE))
    error = (1.0 - min(reachable, 1.0) ** 2) / np.sqrt(labels)
    if config.teacher_r > reachable + 3.0 * error:
        raise LeadlineError(
            f"--teacher-r {config.teacher_r:g}: a reader of these people's words reaches "
            f"{reachable:.2f} at most.",
            remedy=f"Use --teacher-r {np.floor(100 * reachable) / 100:g} or less, lower "
            "--teacher-misread, or let people say more (--user-turns).",
        )


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
