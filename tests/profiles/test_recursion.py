"""The recursion against the enumeration of every pattern of answers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.phq9.graded_response import DISCRIMINATION, ITEM_THRESHOLDS
from leadline.profiles.recursion import answers_given_total, joint_chances, total_chances
from leadline.profiles.response_model import ResponseModel


def test_joint_chances_are_those_of_all_patterns_counted_one_by_one() -> None:
    rng = np.random.default_rng(0)
    chances = rng.dirichlet(np.ones(4), size=(3, 4))  # 3 severities, 4 items
    weights = rng.dirichlet(np.ones(3))
    expected = np.zeros((4, 4, 13))
    for pattern in itertools.product(range(4), repeat=4):
        each = chances[:, np.arange(4), list(pattern)].prod(axis=1)
        for item, answer in enumerate(pattern):
            expected[item, answer, sum(pattern)] += weights @ each
    assert joint_chances(chances, weights) == pytest.approx(expected)
    sums = weights @ total_chances(chances)
    assert sums == pytest.approx(expected[0].sum(axis=0))


@settings(max_examples=25)
@given(
    mean=st.floats(-1.5, 3.5),
    sd=st.floats(0.1, 2.5),
    shift=st.lists(st.floats(-2.0, 2.0), min_size=9, max_size=9),
    items=st.sampled_from((8, 9)),
)
def test_expected_answers_sum_to_each_total(
    mean: float, sd: float, shift: list[float], items: int
) -> None:
    model = ResponseModel(DISCRIMINATION[:items], ITEM_THRESHOLDS[:items], mean, sd)
    moved = np.array([shift[:items]])
    for table in (answers_given_total(model), answers_given_total(model, moved)[0]):
        assert table.shape == (items, 4, 28)
        assert table.sum(axis=1) == pytest.approx(np.ones((items, 28)), abs=1e-12)
        sums = np.einsum("kat,a->t", table, np.arange(4))
        assert np.abs(sums - np.minimum(np.arange(28), 3 * items)).max() < 1e-9


def test_rarer_items_come_later() -> None:
    """At a total of 5 fatigue is likelier than self-harm."""
    table = answers_given_total(ResponseModel.published(9))
    expected = np.einsum("kat,a->kt", table, np.arange(4))
    assert expected[3, 5] > 3 * expected[8, 5]
    assert expected[:, 27] == pytest.approx(np.full(9, 3.0))
