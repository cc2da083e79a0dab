"""The text moves a profile where it earns that, and else it does not."""

from __future__ import annotations

import numpy as np
import pytest

from leadline.arrays import Array, Ints
from leadline.profiles import text_direction
from leadline.profiles.response_model import NOT_ANSWERED, ResponseModel
from leadline.profiles.text_direction import TextDirection, fit_direction, profile_scores
from leadline.simulate.item_response import draw_items

PUBLISHED = ResponseModel.published(9)


def speakers(count: int, effect: float, seed: int = 0) -> tuple[Ints, Array]:
    """Answers, and scores that tell of each item besides the severity."""
    rng = np.random.default_rng(seed)
    theta, own = rng.normal(1.5, 1.05, count), rng.normal(size=(count, 9))
    answers = draw_items(theta[:, None] + effect * own, rng)
    scores = own[..., None] + 0.5 * theta[:, None, None] + rng.normal(0, 0.5, (count, 9, 2))
    return answers, scores


def test_text_that_tells_of_items_has_a_weight() -> None:
    assert fit_direction(PUBLISHED, *speakers(150, 0.5)).weight >= 0.2


def test_with_permuted_items_the_weight_is_nothing() -> None:
    """Profiles are dealt out among the people: of 20 draws two may have a small weight."""
    answers, scores = speakers(100, 0.5)
    rng = np.random.default_rng(1)
    weights = [fit_direction(PUBLISHED, rng.permutation(answers), scores).weight
               for _ in range(20)]  # fmt: skip
    assert sum(weight > 0.0 for weight in weights) <= 2
    assert np.mean(weights) < 0.01


def test_item_9_is_moved_by_no_word_of_its_own() -> None:
    answers, scores = speakers(50, 0.5)
    direction = fit_direction(PUBLISHED, answers, scores)
    louder = scores.copy()
    louder[:, 8] += 100.0
    assert direction.weight > 0.0
    assert direction.shift(louder) == pytest.approx(direction.shift(scores))
    assert (direction.shift(scores)[:, 8] == 0.0).all()


def test_people_who_left_an_item_out_choose_no_weight() -> None:
    answers, scores = speakers(60, 0.5)
    answers[:, 2] = NOT_ANSWERED
    assert fit_direction(PUBLISHED, answers, scores).weight == 0.0


def test_a_symptom_that_nobody_speaks_of_moves_nothing() -> None:
    scores = speakers(60, 0.5)[1]
    scores[:, 3] = 7.0
    scale = TextDirection.of(scores)
    silent = TextDirection.of(np.ones_like(scores))
    for direction in (scale, silent):
        shift = TextDirection(1.0, direction.mean, direction.sd, direction.spread).shift(scores)
        assert np.isfinite(shift).all()
    assert (shift == 0.0).all()


def test_scores_of_profiles_are_chances_given_the_total() -> None:
    every = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    model = ResponseModel.published(3)
    chances = np.exp(profile_scores(model, every))
    totals = every.sum(axis=1)
    assert np.bincount(totals, chances) == pytest.approx(np.ones(10))
    shift = np.tile([[0.5, -0.2, 0.1]], (len(every), 1))
    assert np.bincount(totals, np.exp(profile_scores(model, every, shift))) == pytest.approx(
        np.ones(10)
    )


def test_of_many_people_some_choose_the_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, scores = speakers(90, 0.5)
    monkeypatch.setattr(text_direction, "MOST_PEOPLE", 30)
    third = fit_direction(PUBLISHED, answers, scores).weight
    monkeypatch.undo()
    rows = slice(None, None, 3)
    alone = fit_direction(PUBLISHED, answers[rows], scores[rows]).weight
    assert third > 0.0
    assert third == pytest.approx(alone, abs=0.15)
