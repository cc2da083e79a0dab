"""What people say, as template numbers: topics, frames, disclosure, levels, forms, tone.

The process, per user turn (its probabilities are read by the filter, so they are here once):

1. A frame (a past time, another person, a supposition) may end, said or silently. Without
   one, it may begin, which is said. A new session starts without a frame.
2. The turn is about life, or about an item. Topics do not depend on severity: they follow the
   assistant's question or a fixed taste, so silence about a topic says nothing.
3. In a frame the symptom is told bare (no person, no tense), and by contrast: those who are
   low tell of better days and of people who cope, those who are well of how bad it was or
   could be. So what a bare sentence means was settled turns ago.
4. Otherwise it may be evaded, more often at higher severity and for stigmatised items; be
   marked as past, another's or supposed; or be current: the expressed level is drawn from the
   item's response curve at severity + item deviation + style trait, and low levels are often
   put as a denial or as something resolved, in the words of high ones.
5. A tone before it (minimising, none, amplifying) depends on the style trait alone; turns that open
   or close a frame have none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leadline.arrays import Array, Bools, Ints
from leadline.simulate.config import SimulateConfig
from leadline.simulate.item_response import ITEM_COUNT, draw_level
from leadline.simulate.phrase_bank import (
    BARE,
    CLOSE,
    EVASIVE,
    FIRST,
    FRAMES,
    HYPOTHETICAL,
    LIFE,
    NEGATED,
    OPEN,
    PAST,
    RESOLVED,
    Bank,
)
from leadline.simulate.severity import Schedule, Severity

NODES = 7  # values of an item deviation and of the style trait, in SDs, with probabilities:

NODE_VALUES: Array = np.polynomial.hermite_e.hermegauss(NODES)[0]

NODE_WEIGHTS: Array = np.polynomial.hermite_e.hermegauss(NODES)[1] / np.sqrt(2 * np.pi)

TOPICS: Array = np.array([0.13, 0.17, 0.14, 0.13, 0.11, 0.13, 0.09, 0.06, 0.04])

TOPICS_B: Array = np.array([0.06, 0.12, 0.20, 0.18, 0.14, 0.10, 0.12, 0.05, 0.03])

STIGMA: Array = np.array([0.08, 0.15, 0.08, 0.06, 0.15, 0.30, 0.08, 0.12, 0.45])

# P(form | expressed level) of denials and of things resolved; the rest is plain.
DENIED: Array = np.array([0.22, 0.12, 0.07, 0.04])

SETTLED: Array = np.array([0.10, 0.11, 0.05, 0.02])

NO_FRAME = 0

NO_TONE = 1


@dataclass(frozen=True)
class Talk:
    """User turns as numbers, each of shape (people, most turns), -1 beyond the last turn.

    Attributes:
        session: session of the turn.
        form: index into bank.FORMS.
        topic: item, life topic or frame, by form.
        level: expressed level; -1 where the form has none.
        frame: 0, or 1 + index into bank.FRAMES while a frame holds, after the turn.
        tone: index into bank.TONES.
        template: number of the template.
        asked_item: item that the assistant asked about before, -1 for something else.
    """

    session: Ints
    form: Ints
    topic: Ints
    level: Ints
    frame: Ints
    tone: Ints
    template: Ints
    asked_item: Ints


def evasion(severity: Array, item: Ints | int, config: SimulateConfig) -> Array:
    """P(evaded | severity with item deviation) of a current symptom."""
    rise = 0.5 * (1.0 + np.tanh(0.65 * (severity - 1.2)))
    return np.asarray(np.minimum(config.stigma * STIGMA[item] * rise, 0.9))


def contrasted(severity: Array, config: SimulateConfig) -> Array:
    """Severity of what a person tells in a frame: better days if low now, and the reverse."""
    return np.asarray(
        config.severity_mean + 0.2 - config.contrast * (severity - config.severity_mean)
    )


def tone_probabilities(trait: Array) -> Array:
    """P(tone | style trait in SDs), shape ``trait.shape + (3,)``."""
    minimising = 0.36 / (1.0 + np.exp(1.8 * trait + 0.6))
    amplifying = 0.36 / (1.0 + np.exp(-1.8 * trait + 0.6))
    return np.stack([minimising, 1.0 - minimising - amplifying, amplifying], axis=-1)


def draw_talk(
    schedule: Schedule,
    severity: Severity,
    traits: tuple[Array, Array],
    people: tuple[Bools, Bools],
    bank: Bank,
    config: SimulateConfig,
    rng: np.random.Generator,
) -> Talk:
    """Draw every user turn of everyone.

    Args:
        schedule: when they speak.
        severity: what is true of them.
        traits: item deviations on the severity scale (people, 9); style trait in SDs (people,).
        people: who uses the held-out half of the bank; who comes from the other app.
        bank: the templates.
        config: the knobs.
        rng: source of randomness.
    """
    session = schedule.session_of_turn()
    shape = session.shape
    taste = np.where(people[1][:, None], TOPICS_B, TOPICS).cumsum(axis=1)
    form, topic, level, frame, asked_item = (np.full(shape, -1) for _ in range(5))
    state = np.zeros(shape[0], dtype=np.int64)
    before = np.full(shape[0], -1)
    for turn in range(shape[1]):
        speaks = session[:, turn] >= 0
        state = np.where(session[:, turn] != before, NO_FRAME, state)
        before = session[:, turn]
        here = severity.session[np.arange(shape[0]), np.maximum(before, 0)]
        last_topics = (asked_item[:, turn - 1], topic[:, turn - 1]) if turn else (None, None)
        asked_item[:, turn] = np.where(speaks, _ask(taste, last_topics, rng), -1)
        item = _topic(taste, asked_item[:, turn], config, rng)
        theta = here + traits[0][np.arange(shape[0]), item]
        voice = theta + config.style_sd * traits[1]
        frame_turn, state = _frames(state, config, rng)
        plain_turn = _plain_form(theta, voice, item, config, rng)
        framed_level = draw_level(contrasted(theta, config), item, rng, config.expression_slope)
        forms = np.where(state > 0, BARE, plain_turn[0])
        levels = np.where(state > 0, framed_level, plain_turn[1])
        # a question about an item turns to it
        readiness = np.where(asked_item[:, turn] < 0, 2.2, 0.5)
        life = rng.random(shape[0]) < readiness * config.life_share
        forms, levels = np.where(life, LIFE, forms), np.where(life, -1, levels)
        item = np.where(life, rng.integers(len(bank.life_topics), size=shape[0]), item)
        forms = np.where(frame_turn[0] >= 0, frame_turn[0], forms)
        item = np.where(frame_turn[0] >= 0, frame_turn[1], item)
        levels = np.where(frame_turn[0] >= 0, -1, levels)
        for table, value in ((form, forms), (topic, item), (level, levels), (frame, state)):
            table[:, turn] = np.where(speaks, value, -1)
    chances = tone_probabilities(traits[1])[:, None, :].cumsum(axis=2)
    tone = np.where(session >= 0, (rng.random(shape)[..., None] > chances).sum(axis=2), -1)
    tone = np.where((form == OPEN) | (form == CLOSE), NO_TONE, tone)
    template = _draw_templates(form, topic, level, people[0], bank, rng)
    _vary_life(form, topic, template, people[0], bank, rng)
    return Talk(session, form, topic, level, frame, tone, template, asked_item)


def _pick(cumulative: Array, rng: np.random.Generator) -> Ints:
    """One index per row of cumulative probabilities."""
    uniform = rng.random((cumulative.shape[0], 1)) * cumulative[:, -1:]
    return np.asarray((uniform > cumulative).sum(axis=1), dtype=np.int64)


def _ask(
    taste: Array, last_topics: tuple[Ints | None, Ints | None], rng: np.random.Generator
) -> Ints:
    """What the assistant asks about; it thinks twice before coming back to the same thing."""
    first, second = _pick(taste, rng), _pick(taste, rng)
    for before in last_topics:
        if before is not None:
            first = np.where(first == before, second, first)
    return np.where(rng.random(taste.shape[0]) < 0.3, -1, first)


def _topic(
    taste: Array, asked_item: Ints, config: SimulateConfig, rng: np.random.Generator
) -> Ints:
    taste_item = _pick(taste, rng)
    follows = (rng.random(asked_item.size) < config.follow_share) & (asked_item >= 0)
    return np.where(follows, asked_item, taste_item)


def _frames(
    state: Ints, config: SimulateConfig, rng: np.random.Generator
) -> tuple[tuple[Ints, Ints], Ints]:
    """What is said to open or close a frame (form and frame, -1 for nothing), and the state."""
    chance, close_draw = rng.random(state.size), rng.random(state.size)
    kind = rng.integers(len(FRAMES), size=state.size)
    opens = (state == NO_FRAME) & (chance < config.frame_rate)
    ends = (state > NO_FRAME) & (chance < config.frame_end)
    closes = ends & (close_draw < config.frame_close)
    form = np.where(opens, OPEN, np.where(closes, CLOSE, -1))
    which = np.where(opens, kind, state - 1)
    return (form, which), np.where(opens, kind + 1, np.where(ends, NO_FRAME, state))


def _plain_form(
    theta: Array, voice: Array, item: Ints, config: SimulateConfig, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Form and expressed level of a symptom outside any frame."""
    level = draw_level(voice, item, rng, config.expression_slope)
    chance = rng.random(item.size)
    form = np.where(rng.random(item.size) < config.bare_share, BARE, FIRST)
    form = np.where(chance < DENIED[level] + SETTLED[level], RESOLVED, form)
    form = np.where(chance < DENIED[level], NEGATED, form)
    marked = rng.random(item.size) < config.marked_share
    form = np.where(marked, rng.integers(PAST, HYPOTHETICAL + 1, size=item.size), form)
    evaded = rng.random(item.size) < evasion(theta, item, config)
    return np.where(evaded, EVASIVE, form), np.where(evaded | marked, -1, level)


def _draw_templates(
    form: Ints, topic: Ints, level: Ints, held_half: Bools, bank: Bank, rng: np.random.Generator
) -> Ints:
    uniform = rng.random(form.shape)
    half = np.broadcast_to(held_half[:, None], form.shape).astype(np.int64)
    key = ((half * 16 + form) * 32 + topic) * 8 + np.maximum(level, 0)
    order = np.argsort(np.where(form >= 0, key, -1), axis=None, kind="stable")
    ordered = np.where(form >= 0, key, -1).ravel()[order]
    cells, starts = np.unique(ordered, return_index=True)
    template = np.full(form.size, -1)
    for cell, begin, end in zip(cells, starts, [*starts[1:], ordered.size], strict=True):
        if cell < 0:
            continue
        rest, at_level = divmod(int(cell), 8)
        rest, cell_topic = divmod(rest, 32)
        which, kind = divmod(rest, 16)
        members, cumulative = bank.sampler(which, kind, cell_topic, at_level)
        places = order[begin:end]
        drawn = np.searchsorted(cumulative, uniform.ravel()[places] * cumulative[-1])
        template[places] = members[np.minimum(drawn, members.size - 1)]
    return template.reshape(form.shape)


def _vary_life(
    form: Ints, topic: Ints, template: Ints, held_half: Bools, bank: Bank, rng: np.random.Generator
) -> None:
    """Let nobody tell the same piece of life twice before all are told; in place."""
    for half in range(2):
        members = np.flatnonzero((bank.form == LIFE) & (bank.share[half].sum(axis=1) > 0))
        shuffled = members[np.argsort(rng.random((held_half.size, members.size)), axis=1)]
        life = (form == LIFE) & (held_half == bool(half))[:, None]
        person, turn = np.nonzero(life)
        nth = (life.cumsum(axis=1) - 1)[person, turn] % members.size
        template[person, turn] = shuffled[person, nth]
        topic[person, turn] = bank.topic[template[person, turn]]


def draw_traits(config: SimulateConfig, rng: np.random.Generator) -> tuple[Array, Array]:
    """Item deviations on the severity scale (people, 9) and style traits in SDs (people,)."""
    drawn = rng.choice(NODES, size=(config.people, ITEM_COUNT + 1), p=NODE_WEIGHTS)
    values = NODE_VALUES[drawn]
    return config.item_sd * values[:, :ITEM_COUNT], values[:, ITEM_COUNT]
