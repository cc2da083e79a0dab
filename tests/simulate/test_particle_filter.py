"""The particle filter against exact enumeration and its own calibration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from leadline.arrays import Array
from leadline.simulate.best_predictor import (
    VALUES,
    Effort,
    posterior,
    summary,
    turn_contributions,
    without_order,
)
from leadline.simulate.config import SimulateConfig, preset
from leadline.simulate.item_response import level_probabilities
from leadline.simulate.likelihood import tabulate
from leadline.simulate.particle_filter import Filter, Observed, systematic
from leadline.simulate.phrase_bank import (
    BARE,
    CLOSE,
    EVASIVE,
    FIRST,
    NEGATED,
    OPEN,
    Bank,
    load_bank,
)
from leadline.simulate.talk import (
    DENIED,
    NODE_VALUES,
    NODE_WEIGHTS,
    SETTLED,
    contrasted,
    evasion,
    tone_probabilities,
)
from leadline.simulate.world import World, draw_world

CONFIG = preset("paper", jump_rate=0.0)
BANK = load_bank(CONFIG.held_out, CONFIG.ambiguity)
DAYS, LABEL = np.array([0.0, 6.0]), 7.0


def pick(form: int, topic: int, anchor: int = -1) -> int:
    """A template of the training half."""
    cell = (BANK.form == form) & (BANK.topic == topic) & (BANK.anchor == anchor) & ~BANK.is_held_out
    return int(np.flatnonzero(cell)[0])


CASES = {
    "one plain sentence": [(pick(FIRST, 1, 3), 1, 0)],
    "a denial and an evasion": [(pick(NEGATED, 2), 0, 0), (pick(EVASIVE, 1), 1, 1)],
    "a frame that may end silently": [
        (pick(OPEN, 0), 1, 0),
        (pick(BARE, 1, 3), 1, 0),
        (pick(BARE, 1, 0), 2, 0),
        (pick(BARE, 3, 2), 1, 1),
    ],
    "a frame that is closed": [
        (pick(OPEN, 1), 0, 0),
        (pick(BARE, 1, 3), 0, 0),
        (pick(CLOSE, 1), 1, 0),
        (pick(BARE, 1, 1), 0, 1),
    ],
}


def said(template: int, theta: Array, trait: float, config: SimulateConfig, bank: Bank) -> Array:
    """P(form, template | item, no frame), straight from the description of the process."""
    form, item = bank.form[template], int(bank.topic[template])
    share = bank.share[0, template]
    hidden = evasion(theta, item, config)
    if form == EVASIVE:
        return hidden * share[0]
    voice = theta + config.style_sd * trait
    levels = level_probabilities(voice, item, config.expression_slope)
    chance = {
        BARE: config.bare_share * (1 - DENIED - SETTLED),
        FIRST: (1 - config.bare_share) * (1 - DENIED - SETTLED),
        NEGATED: DENIED,
    }[int(form)]
    current = (levels * chance * share).sum(axis=-1)
    return (1 - hidden) * (1 - config.marked_share) * current


def exact(turns: list[tuple[int, int, int]]) -> Array:
    """Distribution of the total by summing over everything on a grid of both sessions."""
    config, bank = CONFIG, BANK
    points = LABEL - (np.arange(7) * 2.0 + 1.0)
    last = max(session for _, _, session in turns)
    times = np.concatenate([DAYS[: last + 1], points])
    apart = np.abs(times[:, None] - times[None, :])
    matrix = config.level_sd**2 + config.ou_sd**2 * np.exp(-apart / config.ou_days)
    known = matrix[: last + 1, : last + 1]
    cross = matrix[: last + 1, last + 1 :].mean(axis=1)
    weights = np.linalg.solve(known, cross)
    residual = matrix[last + 1 :, last + 1 :].mean() - weights @ cross + config.occasion_sd**2
    axis = np.linspace(-4.2, 4.2, 141)
    grid = np.stack(np.meshgrid(*[axis] * (last + 1), indexing="ij"), axis=-1)
    prior = stats.multivariate_normal(np.zeros(last + 1), known).pdf(grid)
    items = sorted({int(bank.topic[t]) for t, _, _ in turns if bank.form[t] <= EVASIVE})
    fine = np.linspace(-6, 6, 241)
    spread = np.exp(-0.5 * (fine[:, None] - (grid @ weights).ravel()) ** 2 / residual)
    spread /= spread.sum(axis=0)
    total = np.zeros(28)
    for nodes in itertools.product(range(7), repeat=len(items)):
        deviation = {i: config.item_sd * NODE_VALUES[n] for i, n in zip(items, nodes, strict=True)}
        mass = np.zeros(prior.shape)
        for trait, chance in zip(NODE_VALUES, NODE_WEIGHTS, strict=True):
            mass += chance * prior * forward(turns, grid, deviation, trait)
        mass *= np.prod([NODE_WEIGHTS[n] for n in nodes])
        total += (spread @ mass.ravel()) @ totals(config.severity_mean + fine, deviation)
    return total / total.sum()


def forward(
    turns: list[tuple[int, int, int]], grid: Array, deviation: dict[int, float], trait: float
) -> Array:
    """Likelihood of all turns on the grid, summed over when the frame held."""
    config, bank = CONFIG, BANK
    free, framed = np.ones(grid.shape[:-1]), np.zeros(grid.shape[:-1])
    before = -1
    for template, tone, session in turns:
        if session != before:
            free, framed = free + framed, np.zeros_like(free)
        before = session
        form, item = bank.form[template], int(bank.topic[template])
        if form not in (OPEN, CLOSE):
            free = free * tone_probabilities(np.array(trait))[tone]
            framed = framed * tone_probabilities(np.array(trait))[tone]
        if form == OPEN:
            free, framed = np.zeros_like(free), free * config.frame_rate
            continue
        if form == CLOSE:
            free = framed * config.frame_end * config.frame_close
            framed = np.zeros_like(free)
            continue
        theta = config.severity_mean + grid[..., session] + deviation[item]
        plain = said(template, theta, trait, config, bank)
        told = np.zeros_like(free)
        if form == BARE:
            levels = level_probabilities(contrasted(theta, config), item, config.expression_slope)
            told = levels @ bank.share[0, template]
        left = framed * config.frame_end * (1 - config.frame_close)
        free, framed = (
            (free * (1 - config.frame_rate) + left) * plain,
            framed * (1 - config.frame_end) * told,
        )
    return free + framed


def totals(theta: Array, deviation: dict[int, float]) -> Array:
    """Distribution of the total at each severity, (n, 28)."""
    result = np.zeros((theta.size, 28))
    result[:, 0] = 1.0
    for item in range(9):
        if item in deviation:
            answer = level_probabilities(theta + deviation[item], item)
        else:
            shifted = theta[:, None] + CONFIG.item_sd * NODE_VALUES
            answer = np.einsum("tkc,k->tc", level_probabilities(shifted, item), NODE_WEIGHTS)
        grown = np.zeros_like(result)
        for points in range(4):
            grown[:, points:] += result[:, : 28 - points] * answer[:, points, None]
        result = grown
    return result


@pytest.mark.parametrize("name", CASES)
def test_the_filter_agrees_with_exact_enumeration(name: str) -> None:
    turns = CASES[name]
    template, tone, session = (np.array([[turn[k] for turn in turns]]) for k in range(3))
    start = DAYS[None, : session.max() + 1]
    mean = np.array([CONFIG.severity_mean])
    seen = Observed(template, tone, session, start, np.array([LABEL]), mean)
    rng = np.random.default_rng(5)
    run = Filter(seen, BANK, tabulate(BANK, CONFIG), CONFIG, rng, count=30_000, draws=8_000)
    state = run.run()
    theta = run.window_mean(np.array([0]), None)
    found, truth = run.totals(np.array([0]), theta, state.weight)[0], exact(turns)
    assert found @ VALUES == pytest.approx(truth @ VALUES, abs=0.15)
    assert 0.5 * np.abs(found - truth).sum() < 0.02


@pytest.fixture(scope="module")
def drawn() -> World:
    """People whose posterior can be compared with the truth."""
    return draw_world(preset("paper", people=700, gold=300, locked=150, user_turns=9.0, seed=3))


def test_ranks_of_the_truth_are_uniform(drawn: World) -> None:
    effort = Effort(400, every_turn=False, completed=False)
    limit = posterior(drawn, np.arange(700), effort)
    assert stats.kstest(limit.rank, "uniform").pvalue > 0.003
    counts = np.histogram(limit.rank, 10, (0, 1))[0]
    assert stats.chisquare(counts).pvalue > 0.003
    total = drawn.answers[0, :, -1].sum(axis=1)
    below = limit.label.cumsum(axis=1)
    rows = np.arange(700)
    uniform = below[rows, total] - np.random.default_rng(0).random(700) * limit.label[rows, total]
    assert stats.kstest(uniform, "uniform").pvalue > 0.003


def test_a_frame_whose_opening_was_taken_out_leaves_finite_estimates(drawn: World) -> None:
    closes = (drawn.talk.form == CLOSE).any(axis=1)
    who = np.flatnonzero(closes)[:1]
    moved = turn_contributions(drawn, who, Effort(200, 100, every_turn=False))
    assert np.isfinite(moved[0]).all()


def test_a_filter_that_ignores_the_frames_is_found_out(drawn: World) -> None:
    who = np.arange(300)
    effort = Effort(400, every_turn=False, completed=False)
    right = posterior(drawn, who, effort)
    blind = posterior(drawn, who, effort, observed=without_order(drawn, who))
    total = drawn.answers[0, who, -1].sum(axis=1).astype(float)
    assert summary(blind.label, total)["rmse"] > summary(right.label, total)["rmse"]


def test_taking_turns_out_moves_the_estimate_by_their_contributions(drawn: World) -> None:
    who = np.array([0, 1])
    effort = Effort(1500, 1500, every_turn=False)
    moved = turn_contributions(drawn, who, effort)
    said_turns = (drawn.talk.session[who] >= 0).sum(axis=1)
    assert [len(points) for points in moved] == said_turns.tolist()
    life = drawn.talk.form[who[0], : said_turns[0]] == 8
    tone = drawn.talk.tone[who[0], : said_turns[0]] == 1
    quiet = np.abs(moved[0][life & tone])
    assert np.abs(np.concatenate(moved)).max() > max(0.4, float(quiet.max(initial=0)))


def test_systematic_resampling_keeps_proportions() -> None:
    weight = np.array([[0.5, 0.25, 0.25, 0.0], [0.0, 0.0, 0.0, 1.0]])
    index = systematic(weight, 400, np.random.default_rng(0))
    counts = np.stack([np.bincount(row, minlength=4) for row in index])
    assert counts == pytest.approx(weight * 400, abs=1)
