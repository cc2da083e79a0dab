"""How likely a turn is given severity: tables over a fine grid, one row a template.

Only factors that depend on severity, on the style trait or on whether a frame holds are kept;
the rest is the same for every particle and cancels. `talk` holds the process these follow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leadline.arrays import Array, Ints
from leadline.simulate.config import SimulateConfig
from leadline.simulate.item_response import ITEM_COUNT, level_probabilities
from leadline.simulate.phrase_bank import (
    BARE,
    EVASIVE,
    FIRST,
    HYPOTHETICAL,
    LIFE,
    PAST,
    RESOLVED,
    Bank,
)
from leadline.simulate.talk import DENIED, NODE_VALUES, SETTLED, contrasted, evasion

LOW, HIGH, STEP = -9.0, 12.0, 0.02  # severity with item deviation

GRID: Array = np.arange(LOW, HIGH, STEP)


@dataclass(frozen=True)
class Likelihood:
    """Tables that the filter reads.

    Attributes:
        unframed: P(template | severity + deviation, style trait, no frame), (templates, traits,
            grid); 1 for life.
        framed: P(template | severity + deviation, a frame holds), (templates, grid); 0 where
            none can hold, 1 for life.
        item: index 0-8 of templates about a symptom, -1 otherwise, (templates,).
        offsets: grid steps of each value of an item deviation, (nodes,).
        answers: P(PHQ-9 answer | severity + deviation), (9, grid, 4).
    """

    unframed: Array
    framed: Array
    item: Ints
    offsets: Ints
    answers: Array


def plain_likelihood(bank: Bank, config: SimulateConfig, template: int, theta: Array) -> Array:
    """P(form and template | severity + deviation, trait, no frame, topic), (traits, n).

    Args:
        bank: the templates.
        config: the knobs.
        template: number of a template about an item.
        theta: severity with item deviation, (n,).
    """
    form, item = int(bank.form[template]), int(bank.topic[template])
    share = bank.share[:, template].max(axis=0)
    evaded = evasion(theta, item, config)
    if form == EVASIVE:
        return np.broadcast_to(evaded * share[0], (NODE_VALUES.size, theta.size))
    if PAST <= form <= HYPOTHETICAL:
        chance = (1.0 - evaded) * config.marked_share / 3.0 * share[0]
        return np.broadcast_to(chance, (NODE_VALUES.size, theta.size))
    voice = theta + config.style_sd * NODE_VALUES[:, None]
    levels = level_probabilities(voice, item, config.expression_slope)
    rest = 1.0 - DENIED - SETTLED
    forms = {
        BARE: rest * config.bare_share,
        FIRST: rest * (1.0 - config.bare_share),
        RESOLVED: SETTLED,
    }
    template_chance = levels @ (forms.get(form, DENIED) * share)
    return np.asarray((1.0 - evaded) * (1.0 - config.marked_share) * template_chance)


def framed_likelihood(bank: Bank, config: SimulateConfig, template: int, theta: Array) -> Array:
    """P(bare template | severity + deviation, a frame holds, topic), (n,)."""
    share = bank.share[:, template].max(axis=0)
    frame_theta = contrasted(theta, config)
    item = int(bank.topic[template])
    return np.asarray(level_probabilities(frame_theta, item, config.expression_slope) @ share)


def tabulate(bank: Bank, config: SimulateConfig) -> Likelihood:
    """Tables of every template on the grid."""
    count = len(bank.text)
    unframed = np.ones((count, NODE_VALUES.size, GRID.size))
    symptom = bank.form <= EVASIVE
    for template in np.flatnonzero(symptom):
        unframed[template] = plain_likelihood(bank, config, int(template), GRID)
    framed = np.zeros((count, GRID.size))
    framed[bank.form == LIFE] = 1.0
    for template in np.flatnonzero(bank.form == BARE):
        framed[template] = framed_likelihood(bank, config, int(template), GRID)
    answers = np.stack([level_probabilities(GRID, item) for item in range(ITEM_COUNT)])
    offsets = np.round(config.item_sd * NODE_VALUES / STEP).astype(np.int64)
    item = np.where(symptom, bank.topic, -1)
    return Likelihood(unframed, framed, item, offsets, answers)


def place(theta: Array, margin: int) -> Ints:
    """Nearest grid index of a severity, at least `margin` steps from either end."""
    index = np.rint((theta - LOW) / STEP).astype(np.int64)
    return np.asarray(np.clip(index, margin, GRID.size - 1 - margin))
