"""Reliable change."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.errors import LeadlineError
from leadline.phq9 import change


def test_reliable_change() -> None:
    config = change.ChangeConfig()
    assert change.smallest_change(config) == pytest.approx(6.93, abs=0.01)
    assert change.change_sign(20, 13, config) == -1
    assert change.change_sign(14, 20, config) == 0
    fixed = change.ChangeConfig(change_points=5)
    assert change.change_sign(10, 15, fixed) == 1
    assert change.change_sign([10, 10, 10], [4, 10, 14], fixed).tolist() == [-1, 0, 0]


@given(st.integers(0, 27), st.integers(0, 27), st.floats(0.1, 0.99), st.floats(1, 12))
def test_change_is_antisymmetric(before: int, after: int, reliability: float, sd: float) -> None:
    config = change.ChangeConfig(reliability=reliability, change_sd=sd)
    forward = change.change_sign(before, after, config)
    assert forward == -change.change_sign(after, before, config)
    index = abs(after - before) / (sd * math.sqrt(2 * (1 - reliability)))
    if abs(index - 1.959964) > 1e-6:
        assert bool(forward) == (index > 1.959964)


@pytest.mark.parametrize(
    "kwargs",
    [{"change_points": -1}, {"change_sd": 0}, {"change_confidence": 1}],
)
def test_bad_change_settings(kwargs: dict[str, float]) -> None:
    with pytest.raises(LeadlineError, match="change"):
        change.ChangeConfig(**kwargs)


def test_a_reliability_of_one_is_refused() -> None:
    with pytest.raises(LeadlineError, match="--reliability"):
        change.ChangeConfig(reliability=1.0)
