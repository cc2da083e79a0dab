"""The text bank (`phrases/`): templates, what each says, and how likely it is at each level.

A template is the observation of the best possible predictor, so its probabilities are
exact: within its cell (topic, form) and half of the bank, a template of anchor level a is
used at expressed level e with weight ``kernel[|e - a|]`` times its own tilt. Half: the part
of the bank that people in training use, or the part held out for locked people.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from leadline.arrays import Array, Bools, Ints
from leadline.simulate.item_response import ANSWER_LEVELS, ITEM_COUNT

# Forms of a user turn. The first eight are about an item, and the first two carry a level.
BARE, FIRST, NEGATED, RESOLVED, PAST, OTHER, HYPOTHETICAL, EVASIVE, LIFE, OPEN, CLOSE = range(11)

FORMS = (
    "bare",
    "first",
    "negated",
    "resolved",
    "past",
    "other",
    "hypothetical",
    "evasive",
    "life",
    "open",
    "close",
)

FRAMES = ("past", "other", "hypothetical")  # frame state 1, 2, 3; 0 is none

TONES = ("minimising", "none", "amplifying")

ANCHORLESS = -1


@dataclass(frozen=True)
class Bank:
    """All templates of user turns in one order, so that a template is a number.

    Attributes:
        text: the words, with slots in braces.
        form: index into FORMS.
        topic: item 0-8, life topic, or frame 0-2, by form.
        anchor: level that a BARE or FIRST template mostly expresses, else -1.
        is_held_out: True in the half that only locked people use.
        share: probability within cell and half at each level, shape (2, templates, 4);
            the first axis is the half, rows of the other half are zero.
        life_topics: names of the life topics.
    """

    text: tuple[str, ...]
    form: Ints
    topic: Ints
    anchor: Ints
    is_held_out: Bools
    share: Array
    life_topics: tuple[str, ...]

    def sampler(self, half: int, form: int, topic: int, level: int) -> tuple[Ints, Array]:
        """Template numbers of a cell and their cumulative probabilities at `level`."""
        cell = (self.form == form) & (self.topic == topic)
        members = np.flatnonzero(cell & (self.share[half].sum(axis=1) > 0))
        return members, self.share[half][members, level].cumsum()


@cache
def _load(name: str) -> dict[str, Any]:
    source = files("leadline.simulate").joinpath("phrases", f"{name}.toml")
    return tomllib.loads(source.read_text(encoding="utf-8"))


def extras() -> dict[str, Any]:
    """Leads, tails and slot values."""
    return _load("extras")


def assistant() -> dict[str, list[str]]:
    """What the assistant may say, by occasion."""
    return {key: list(value["texts"]) for key, value in _load("assistant").items()}


def load_bank(held_out: float, ambiguity: float) -> Bank:
    """Read the bank and fix who uses which template and how often.

    Args:
        held_out: share of each cell's templates that only locked people use; with 0 both
            halves are the whole bank.
        ambiguity: weight of a template one level away from its anchor (its square at two).
    """
    rows = [*_item_rows(), *_frame_rows()]
    life = _load("life")
    for number, name in enumerate(life):
        rows += [(LIFE, number, ANCHORLESS, text) for text in life[name]["texts"]]
    form, topic, anchor = (np.array([row[k] for row in rows]) for k in range(3))
    is_held_out = _hold_out(form, topic, anchor, held_out)
    halves = (
        [~is_held_out, is_held_out]
        if held_out > 0
        else [np.ones_like(is_held_out), np.ones_like(is_held_out)]
    )
    share = np.stack([_shares(form, topic, anchor, half, ambiguity) for half in halves])
    return Bank(
        tuple(str(row[3]) for row in rows), form, topic, anchor, is_held_out, share, tuple(life)
    )


def _item_rows() -> list[tuple[int, int, int, str]]:
    rows = []
    for item in range(ITEM_COUNT):
        tables = _load(f"item_{item + 1}")
        for form in (BARE, FIRST):
            for level in range(ANSWER_LEVELS):
                texts = tables[FORMS[form]][f"level_{level}"]
                rows += [(form, item, level, text) for text in texts]
        for form in range(NEGATED, EVASIVE + 1):
            rows += [(form, item, ANCHORLESS, text) for text in tables[FORMS[form]]["texts"]]
    return rows


def _frame_rows() -> list[tuple[int, int, int, str]]:
    tables = _load("frames")
    rows = []
    for form, key in ((OPEN, "open"), (CLOSE, "close")):
        for number, name in enumerate(FRAMES):
            rows += [(form, number, ANCHORLESS, text) for text in tables[name][key]["texts"]]
    return rows


def _hold_out(form: Ints, topic: Ints, anchor: Ints, held_out: float) -> Bools:
    """Mark a share of every cell, at least one template and never all; the same each time."""
    is_held_out = np.zeros(form.size, dtype=bool)
    rng = np.random.default_rng(20260)
    cells = (form * 100 + topic) * 10 + anchor
    for cell in np.unique(cells):
        members = np.flatnonzero(cells == cell)
        count = int(np.clip(round(held_out * members.size), 1, members.size - 1))
        is_held_out[rng.permutation(members)[:count]] = held_out > 0
    return is_held_out


def _shares(form: Ints, topic: Ints, anchor: Ints, used: Bools, ambiguity: float) -> Array:
    tilt = 0.6 + 0.8 * np.random.default_rng(20261).random(form.size)  # some are said more
    apart = np.abs(np.arange(ANSWER_LEVELS)[None, :] - anchor[:, None])
    kernel = np.where(anchor[:, None] < 0, 1.0, ambiguity**apart * (apart < 3))
    weight = np.where(used[:, None], tilt[:, None] * kernel, 0.0)
    cells = form * 100 + topic
    _, cell = np.unique(cells, return_inverse=True)
    totals = np.zeros((cell.max() + 1, ANSWER_LEVELS))
    np.add.at(totals, cell, weight)
    return np.asarray(weight / np.maximum(totals[cell], 1e-300))
