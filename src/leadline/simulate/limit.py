"""The limit of a simulated cohort: what the best possible predictor reaches on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leadline.simulate.bank import BARE, CLOSE, OPEN
from leadline.simulate.cohort import World
from leadline.simulate.grm import TOTALS, Floats, Ints
from leadline.simulate.likelihood import Likelihood, tabulate
from leadline.simulate.particles import Filter, Observed, Particles

_CHUNK = 48  # people filtered at a time; bounds the memory of their particles
VALUES: Floats = np.arange(TOTALS, dtype=np.float64)


@dataclass(frozen=True)
class Limit:
    """What the Bayes predictor says of some people.

    Attributes:
        label: distribution of the total at the last label time, (people, 28).
        turns: distribution at each user turn, had the PHQ-9 been given then,
            (people, turns, 28); zeros beyond the last turn or where not asked for.
        rank: rank of the true 14-day severity among posterior draws, in 0-1, (people,).
    """

    label: Floats
    turns: Floats
    rank: Floats


def observe(world: World, who: Ints) -> Observed:
    """What the filter may see of `who`: templates, tones and times, and the group mean."""
    return Observed(
        world.talk.template,
        world.talk.tone,
        world.talk.session,
        world.schedule.start,
        world.schedule.label[:, -1],
        world.people.mean,
    ).rows(who)


def posterior(
    world: World,
    who: Ints,
    *,
    particles: int = 1000,
    every_turn: bool = True,
    completed: bool = True,
    seed: int = 0,
    seen: Observed | None = None,
    tables: Likelihood | None = None,
) -> Limit:
    """Run the Bayes predictor for `who`.

    Args:
        world: the simulated world.
        who: indices of people.
        particles: particles a person.
        every_turn: also the distribution at each user turn.
        completed: condition the label on having been completed (true of locked people).
        seed: of the filter's own randomness.
        seen: what is seen of `who`, if not everything.
        tables: likelihood tables, to share between calls.
    """
    seen = seen or observe(world, who)
    tables = tables or tabulate(world.bank, world.config)
    turns = seen.template.shape[1]
    label, rank = np.empty((who.size, TOTALS)), np.empty(who.size)
    every = np.zeros((who.size, turns if every_turn else 0, TOTALS))
    order = np.argsort((seen.template >= 0).sum(axis=1), kind="stable")
    for begin in range(0, who.size, _CHUNK):
        part = order[begin : begin + _CHUNK]
        rng = np.random.default_rng([world.config.seed, seed, begin])
        run = Filter(seen.rows(part), world.bank, tables, world.config, rng, particles)

        def watch(
            turn: int, state: Particles, active: np.ndarray, run: Filter = run, part: Ints = part
        ) -> None:
            spoke = np.flatnonzero(active)
            theta = run.window_mean(spoke, run.seen.session[:, turn])
            every[part[spoke], turn] = run.totals(spoke, theta, state.weight[spoke])

        state = run.run(watch if every_turn else None)
        everyone = np.arange(part.size)
        theta = run.window_mean(everyone, None)
        weight = state.weight
        if completed:
            constant, per_theta, per_session = world.completion
            sessions = world.schedule.sessions[who[part], None]
            odds = constant + per_theta * theta + per_session * sessions
            weight = weight / (1.0 + np.exp(-odds))
            weight = weight / weight.sum(axis=1, keepdims=True)
        label[part] = run.totals(everyone, theta, weight)
        truth = world.severity.label[who[part], -1]
        rank[part] = (weight * (theta < truth[:, None])).sum(axis=1)
    return Limit(label, every, rank)


def without_order(world: World, who: Ints) -> Observed:
    """The same turns as an unordered bag: no times, no sessions, no frames that hold.

    How often a bare sentence of a person stands in a frame is predicted from how many turns
    of the bag open or close one, by least squares over everyone.
    """
    talk = world.talk
    counts = [(talk.form == form).sum(axis=1) for form in (OPEN, CLOSE, BARE)]
    framed = ((talk.form == BARE) & (talk.frame > 0)).sum(axis=1)
    features = np.stack([np.ones(framed.size), *counts, counts[0] * counts[2] / 20.0], axis=1)
    fit = np.linalg.lstsq(features, framed, rcond=None)[0]
    share = np.clip(features @ fit / np.maximum(counts[2], 1), 0.01, 0.95)
    seen = observe(world, who)
    session = np.where(seen.template >= 0, 0, -1)
    day = np.zeros((who.size, 1))
    return Observed(
        seen.template, seen.tone, session, day, day[:, 0] + 3.0, seen.mean, blind=share[who]
    )
