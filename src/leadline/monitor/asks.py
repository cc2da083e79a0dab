"""Whom to ask for a PHQ-9 next: by the expected value of what an answer would decide.

Two actions at a cut, and a loss that grows with the points by which the wrong one was taken. With
severity N(m, P), an answer of variance SEM^2 and s = P / sqrt(P + SEM^2), an answer saves on
average s (phi(u) - u (1 - Phi(u))) points, u = |m - c| / s: the expected value of sample
information (Raiffa and Schlaifer, Applied Statistical Decision Theory, 1961, chapter 5). Wide
intervals far from any cut are worth little. A share of the asks is drawn at random, with its
chance kept, since answers of people who were chosen by their estimates judge the estimates
unfairly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr
from scipy.stats import hypergeom, norm

from leadline.arrays import Array, Bools, Ints
from leadline.errors import LeadlineError
from leadline.phq9.distribution import OWN_ERROR


@dataclass(frozen=True)
class AskRule:
    """How asks are chosen.

    Attributes:
        cuts: of severity at which something is decided, points.
        weights: of the cuts.
        offset_weight: worth of the variance of a person's lasting error that an answer removes.
        cooldown: days after a PHQ-9 or an ask in which nobody is asked: it looks back two weeks.
        floor: days after which somebody is asked whatever it is worth.
        random_share: share of the asks that is drawn at random.
        sem: standard error of measurement of a PHQ-9, points.
    """

    cuts: tuple[float, ...] = (10.0,)
    weights: tuple[float, ...] = (1.0,)
    offset_weight: float = 0.0
    cooldown: float = 14.0
    floor: float = 90.0
    random_share: float = 0.1
    sem: float = OWN_ERROR

    def __post_init__(self) -> None:
        if not self.cuts or len(self.cuts) != len(self.weights):
            raise LeadlineError(
                "The cuts and their weights are not as many.",
                remedy="Give one weight for each cut, and at least one cut.",
            )
        if not 0 <= self.random_share <= 1 or not 0 <= self.cooldown <= self.floor:
            raise LeadlineError(
                "The random share or the days between asks are out of range.",
                remedy="Give a share in [0, 1], and a cooldown of 0 or more, not above the floor.",
            )


@dataclass(frozen=True, eq=False)
class Asks:
    """People to be asked, in order.

    Attributes:
        people: rows, shape (A,).
        at_random: drawn at random, shape (A,).
        propensity: chance of having been asked, from the draw alone, shape (A,).
    """

    people: Ints
    at_random: Bools
    propensity: Array


def answer_value(mean: Array, variance: Array, cut: float, sem: float = OWN_ERROR) -> Array:
    """Points that an answer now saves on average at one cut, shape (P,).

    Args:
        mean: of severity, shape (P,).
        variance: of severity, points squared, shape (P,).
        cut: points.
        sem: standard error of measurement of the answer, points.
    """
    s = variance / np.sqrt(variance + sem**2)
    u = np.abs(mean - cut) / np.maximum(s, 1e-12)
    saved: Array = s * (norm.pdf(u) - u * ndtr(-u))
    return np.maximum(saved, 0.0)


def ask_value(mean: Array, variance: Array, offset_gain: Array, rule: AskRule) -> Array:
    """Worth of asking each person over all cuts, points, shape (P,)."""
    out = rule.offset_weight * offset_gain
    for cut, weight in zip(rule.cuts, rule.weights, strict=True):
        out = out + weight * answer_value(mean, variance, cut, rule.sem)
    return out


def choose_asks(
    value: Array,
    days_since: Array,
    count: int,
    rule: AskRule,
    seed: int,
    answers: Array | None = None,
) -> Asks:
    """Who is asked now: the random draw, then whoever is past the floor, then by value.

    Args:
        value: of asking each person, shape (P,).
        days_since: the last PHQ-9 or ask, infinite where there was none, shape (P,).
        count: how many are asked at most.
        rule: of asking.
        seed: of the random draw.
        answers: probability that each would answer, shape (P,); None: equal.
    """
    eligible = np.flatnonzero(days_since >= rule.cooldown)
    count = min(count, len(eligible))
    expected = value if answers is None else value * answers
    overdue = np.isfinite(days_since) & (days_since > rule.floor)
    ranked = eligible[np.lexsort((eligible, -expected[eligible], ~overdue[eligible]))]
    drawn = min(int(np.ceil(rule.random_share * count)), count)
    rng = np.random.default_rng(seed)
    lot = np.sort(rng.choice(len(ranked), drawn, replace=False))
    rest = np.setdiff1d(np.arange(len(ranked)), lot)[: count - drawn]
    places = np.concatenate([rest, lot])
    return Asks(
        people=ranked[places],
        at_random=np.arange(count) >= count - drawn,
        propensity=ask_chances(places, len(ranked), count, drawn),
    )


def ask_chances(rank: Ints, people: int, count: int, drawn: int) -> Array:
    """Chance that the person of each rank is asked, over the random draw.

    Args:
        rank: by value, from 0.
        people: who could be asked.
        count: who are asked.
        drawn: of them at random.
    """
    if drawn in (0, people):
        return (rank < count).astype(np.float64)
    lot = drawn / people
    # Not drawn, somebody is asked if so many of those ahead were drawn that their turn comes.
    turn = hypergeom.sf(rank - (count - drawn), people - 1, rank, drawn)
    chances: Array = np.asarray(lot + (1 - lot) * turn, dtype=np.float64)
    return chances


def ask_reason(
    mean: float, interval: tuple[float, float], cut: float, *, answered: bool, at_random: bool
) -> str:
    """Why somebody is asked, in words made from what the choice rests on."""
    if at_random:
        return "Drawn at random, so that the estimates can be judged fairly"
    lower, upper = interval
    reason = (
        f"Estimate {mean:.1f}, 90% {lower:.0f} to {upper:.0f}: an answer would most likely decide "
        f"whether {cut:g} is reached"
        if lower < cut < upper
        else f"Estimate {mean:.1f}, 90% {lower:.0f} to {upper:.0f}: the most that an answer "
        f"would now tell about {cut:g}"
    )
    return reason if answered else f"{reason}. No PHQ-9 yet: it would also set this person's offset"
