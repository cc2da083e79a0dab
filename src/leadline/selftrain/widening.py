"""Which people without gold enter a round, of those who could be labelled.

The paper widens its training set round by round and uses pseudolabels to even out the labels;
how it chooses is not published. These are the choices here, with chance as the control:

- ``all``: everyone in every round.
- ``bands``: so that gold and pseudolabels together fill the severity bands evenly.
- ``confidence``: whose label is known best.
- ``disagreement``: whose label differs most from what the student says already, weighed by how
  well it is known: those from whom the student has most to learn.
- ``random``: by the seed alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leadline.arrays import Array, Ints
from leadline.phq9.items import BANDS

WIDENINGS = ("all", "bands", "confidence", "disagreement", "random")

EDGES = [low for _, low, _ in BANDS[1:]]
"""Lowest total of each severity band but the first."""


@dataclass(frozen=True)
class Candidates:
    """People without gold who could be labelled, N of them.

    Attributes:
        mean, sd, weight: their labels, points and precision relative to gold, shape (N,).
        student: what the student says of them on the scale of totals, shape (N,), NaN where no
            student was asked.
    """

    mean: Array
    sd: Array
    weight: Array
    student: Array


def share_of_round(round_: int, rounds: int, first_share: float) -> float:
    """Share of the candidates that enter a round: `first_share`, rising evenly to all at the last.

    With one round alone it is `first_share`.
    """
    if rounds == 1:
        return first_share
    return first_share + (1.0 - first_share) * (round_ - 1) / (rounds - 1)


def entering(
    candidates: Candidates, share: float, widen: str, gold: Array, *, groups: int, seed: int
) -> Ints:
    """Rows of the candidates that enter, in order.

    Args:
        candidates: who could.
        share: of them, from 0 to 1.
        widen: one of `WIDENINGS`.
        gold: totals that the student is trained on as well, for ``bands``.
        groups: how many groups of candidates like this one enter the same training.
        seed: of chance.
    """
    count = len(candidates.mean)
    quota = round(share * count)
    if widen == "all" or quota >= count:
        return np.arange(count)
    by_chance = np.random.default_rng(seed).permutation(count)
    if widen == "random":
        return np.sort(by_chance[:quota])
    if widen == "bands":
        return _evening(candidates, quota, gold, groups)
    worth = -candidates.sd
    if widen == "disagreement":
        gap = np.abs(candidates.mean - candidates.student)
        worth = np.nan_to_num(gap) * candidates.weight
    order = by_chance[np.argsort(-worth[by_chance], kind="stable")]
    return np.sort(order[:quota])


def _evening(candidates: Candidates, quota: int, gold: Array, groups: int) -> Ints:
    """The best known of each band, always from the band that is emptiest so far."""
    filled = np.bincount(np.digitize(gold, EDGES), minlength=len(BANDS)) / groups
    band = np.digitize(candidates.mean, EDGES)
    waiting = [list(np.flatnonzero(band == k)) for k in range(len(BANDS))]
    for rows in waiting:
        rows.sort(
            key=lambda row: -candidates.sd[row]
        )  # the best known is taken first, from the end
    chosen: list[int] = []
    while len(chosen) < quota:
        emptiest = min((k for k in range(len(BANDS)) if waiting[k]), key=lambda k: filled[k])
        chosen.append(int(waiting[emptiest].pop()))
        filled[emptiest] += 1
    return np.array(sorted(chosen), dtype=np.int64)
