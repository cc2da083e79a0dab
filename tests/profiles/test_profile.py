"""What follows from the chances of answers."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from leadline.profiles.profile import LEVEL, Profile, profile_schema

CHANCES = np.array([[[0.97, 0.02, 0.01, 0.0], [0.04, 0.5, 0.42, 0.04], [0.25] * 4]])


def test_expected_answer_median_and_interval() -> None:
    profile = Profile(CHANCES)
    assert profile.expected() == pytest.approx(np.array([[0.04, 1.46, 1.5]]))
    assert profile.answer_at(0.5).tolist() == [[0, 1, 1]]
    lower, upper = profile.interval()
    assert lower.tolist() == [[0, 1, 0]]
    assert upper.tolist() == [[0, 2, 3]]


def test_intervals_hold_what_they_are_called() -> None:
    chances = np.random.default_rng(0).dirichlet(np.full(4, 0.5), size=(200, 9))
    profile = Profile(chances)
    lower, upper = profile.interval()
    answer = np.arange(4)
    inside = (answer >= lower[..., None]) & (answer <= upper[..., None])
    assert (chances * inside).sum(axis=-1).min() >= LEVEL - 1e-9


def test_columns_are_those_of_the_schema() -> None:
    table = pl.DataFrame(Profile(CHANCES).columns(), schema=profile_schema(3))
    assert table["item_2"].to_list() == pytest.approx([1.46])
    assert table["item_2_chances"].to_list()[0] == pytest.approx([0.04, 0.5, 0.42, 0.04])
    assert table.columns[:4] == ["item_1", "item_1_chances", "item_1_lower", "item_1_upper"]
