"""An item model: profile and total agree, and nothing is lost on the way to the disk."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from leadline.arrays import Array
from leadline.errors import LeadlineError
from leadline.phq9.distribution import Totals
from leadline.profiles.item_model import ItemModel
from leadline.profiles.response_model import NOT_ANSWERED
from leadline.simulate.item_response import draw_items


@pytest.fixture(scope="module")
def fitted() -> tuple[ItemModel, Array]:
    """A model with a weight of the text, and scores of its people."""
    rng = np.random.default_rng(0)
    theta, own = rng.normal(1.5, 1.05, 80), rng.normal(size=(80, 9))
    answers = draw_items(theta[:, None] + 0.6 * own, rng)
    answers[:5, 6] = NOT_ANSWERED
    scores = own[..., None] + rng.normal(0, 0.3, (80, 9, 2))
    scores[:, 4] = 1.0  # nobody differs in it
    return ItemModel.fit(answers, scores), scores


def totals_of(count: int) -> Totals:
    rng = np.random.default_rng(1)
    return Totals.normal(rng.uniform(-2, 29, count), rng.uniform(0.1, 8, count))


def test_profile_and_total_agree(fitted: tuple[ItemModel, Array]) -> None:
    model, scores = fitted
    assert model.weight > 0.0
    totals = totals_of(80)
    for chances in (model.chances(totals), model.chances(totals, scores)):
        assert np.abs(chances.sum(axis=-1) - 1.0).max() < 1e-9
        expected = (chances @ np.arange(4)).sum(axis=1)
        assert np.abs(expected - totals.mean()).max() < 1e-9
    assert np.abs(model.chances(totals) - model.chances(totals, scores)).max() > 0.05


def test_a_certain_total_has_only_profiles_that_add_up_to_it(
    fitted: tuple[ItemModel, Array],
) -> None:
    certain = Totals(np.eye(28)[[0, 1, 27]])
    chances = fitted[0].chances(certain)
    assert chances[0, :, 0] == pytest.approx(np.ones(9))
    assert chances[1, :, 1].sum() == pytest.approx(1.0)
    assert chances[1, :, 2:] == pytest.approx(np.zeros((9, 2)))
    assert chances[2, :, 3] == pytest.approx(np.ones(9))


def test_a_phq8_has_eight_items_whose_total_ends_at_24() -> None:
    rng = np.random.default_rng(0)
    answers = draw_items(np.repeat(rng.normal(1.5, 1, 60)[:, None], 9, axis=1), rng)[:, :8]
    model = ItemModel.fit(answers)
    totals = totals_of(30)
    expected = (model.chances(totals) @ np.arange(4)).sum(axis=1)
    bounded = totals.probabilities @ np.minimum(np.arange(28), 24)
    assert expected == pytest.approx(bounded, abs=1e-9)


def test_chances_come_true_among_people_it_was_not_fitted_to() -> None:
    """Told the total within some points, as often 1 or more, 2 or more, or 3 as is said."""
    rng = np.random.default_rng(3)
    answers = draw_items(np.repeat(rng.normal(1.2, 1.0, 5000)[:, None], 9, axis=1), rng)
    model = ItemModel.fit(answers[:2000])
    others = answers[2000:]
    told = others.sum(axis=1) + rng.integers(-2, 3, len(others))  # each of five is as likely
    total, prior = np.arange(28), np.bincount(answers.sum(axis=1), minlength=28) + 1.0
    inside = np.abs(total - told[:, None]) <= 2
    probabilities = inside * prior
    totals = Totals(probabilities / probabilities.sum(axis=1, keepdims=True))
    at_least = np.cumsum(model.chances(totals)[..., ::-1], axis=-1)[..., ::-1][..., 1:]
    outcome = others[..., None] >= np.arange(1, 4)
    assert np.abs(at_least.mean(axis=0) - outcome.mean(axis=0)).max() < 0.04
    for low in np.arange(0.0, 1.0, 0.1):
        rows = (at_least >= low) & (at_least < low + 0.1)
        assert abs(at_least[rows].mean() - outcome[rows].mean()) < 0.04


def test_many_people_are_done_in_pieces_that_change_nothing(
    fitted: tuple[ItemModel, Array],
) -> None:
    model, scores = fitted
    many = np.tile(scores, (8, 1, 1))
    totals = totals_of(len(many))
    chances = model.chances(totals, many)
    alone = model.chances(totals.take(slice(600, 601)), many[600:601])
    assert chances[600:601] == pytest.approx(alone, abs=1e-12)


def test_it_comes_back_from_plain_values(fitted: tuple[ItemModel, Array]) -> None:
    model, scores = fitted
    again = ItemModel.from_plain(json.loads(json.dumps(model.to_plain(), allow_nan=False)))
    totals = totals_of(80)
    assert (again.chances(totals, scores) == model.chances(totals, scores)).all()
    assert again.people == 80


def spoilt(plain: dict[str, Any], name: str) -> dict[str, Any]:
    """The values with one thing wrong."""
    out: dict[str, Any] = json.loads(json.dumps(plain))
    changes: dict[str, Any] = {
        "an item too few": lambda: out["discrimination"].pop(),
        "thresholds in no order": lambda: out["thresholds"][2].reverse(),
        "a negative slope": lambda: out["discrimination"].__setitem__(0, -1.0),
        "no number": lambda: out.__setitem__("mean", float("nan")),
        "a word": lambda: out.__setitem__("sd", "wide"),
        "no width": lambda: out.__setitem__("sd", 0.0),
        "chances that sum to more": lambda: out["marginal"][0].__setitem__(0, 0.99),
        "a direction of another size": lambda: out["direction"]["mean"].pop(),
        "a negative scale": lambda: out["direction"]["spread"].__setitem__(0, -1.0),
        "a weight beyond all": lambda: out["direction"].__setitem__("weight", 1e9),
        "nothing of the people": lambda: out.pop("people"),
    }
    changes[name]()
    return out


@pytest.mark.parametrize(
    "name",
    [
        "an item too few", "thresholds in no order", "a negative slope", "no number", "a word",
        "no width", "chances that sum to more", "a direction of another size",
        "a negative scale", "a weight beyond all", "nothing of the people",
    ],
)  # fmt: skip
def test_values_that_training_cannot_have_written_are_refused(
    fitted: tuple[ItemModel, Array], name: str
) -> None:
    with pytest.raises(LeadlineError, match="not as training writes it"):
        ItemModel.from_plain(spoilt(fitted[0].to_plain(), name))
