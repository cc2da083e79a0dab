"""The instrument: totals, missing items, bands, the algorithm, change."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.errors import LeadlineError
from leadline.phq9 import scoring
from leadline.phq9.items import BANDS, MAX_TOTALS

ANSWERS = st.lists(st.integers(0, 3), min_size=9, max_size=9)


@given(ANSWERS)
def test_complete_answers_sum(items: list[int]) -> None:
    result = scoring.score(items)
    assert result.total == result.raw_total == sum(items)
    assert result.items == tuple(items)
    assert not result.prorated
    assert scoring.score(items, total=sum(items)) == result
    assert scoring.phq8(items).total == sum(items[:8])
    assert scoring.phq8(items).items[8] is None
    assert scoring.phq2(items).total == items[0] + items[1]


@given(ANSWERS, st.sets(st.integers(0, 8), min_size=1, max_size=9))
def test_missing_items(items: list[int], missing: set[int]) -> None:
    answers = [None if place in missing else value for place, value in enumerate(items)]
    result = scoring.score(answers)
    given_items = [value for value in answers if value is not None]
    if len(missing) > 2 or 8 in missing:
        assert result.total is None
        assert result.raw_total is None
        assert not result.prorated
        return
    raw = 9 * sum(given_items) / len(given_items)
    assert result.raw_total == pytest.approx(raw)
    assert result.total == math.floor(raw + 0.5)
    assert result.prorated
    assert sum(given_items) <= result.total <= MAX_TOTALS["phq9"]
    assert scoring.score(answers, total=result.total) == result
    assert scoring.score(answers, total=round(raw, 2)).total == result.total


@given(ANSWERS, st.integers(0, 27))
def test_contradiction_is_an_error(items: list[int], total: int) -> None:
    if total == sum(items):
        assert scoring.score(items, total=total).total == total
    else:
        with pytest.raises(LeadlineError, match="contradict"):
            scoring.score(items, total=total)


def test_reported_total_beside_missing_items() -> None:
    answers = [1, 1, None, None, None, 1, 1, 1, 1]
    assert scoring.score(answers, total=8).total == 8
    assert not scoring.score(answers, total=8).prorated
    for impossible in (5, 16):
        with pytest.raises(LeadlineError, match="contradict"):
            scoring.score(answers, total=impossible)


def test_item_nine_is_never_imputed() -> None:
    answers = [1] * 8 + [None]
    assert scoring.score(answers).total is None
    assert scoring.phq8(answers).total == 8
    assert scoring.score([2] * 7, instrument="phq8").prorated


@pytest.mark.parametrize("bad", [4, -1, 1.5, True, "2", math.inf])
def test_bad_item(bad: object) -> None:
    with pytest.raises(LeadlineError, match="Item 2"):
        scoring.score([0, bad])


@pytest.mark.parametrize(
    ("total", "instrument"),
    [(28, "phq9"), (-1, "phq9"), (25, "phq8"), (7, "phq2"), (math.inf, "phq9"), ("9", "phq9")],
)
def test_total_out_of_range(total: object, instrument: str) -> None:
    with pytest.raises(LeadlineError, match="total"):
        scoring.score(total=total, instrument=instrument)


def test_other_bad_calls() -> None:
    with pytest.raises(LeadlineError, match="whole"):
        scoring.score(total=11.5)
    with pytest.raises(LeadlineError, match="instrument"):
        scoring.score(total=1, instrument="gad7")
    with pytest.raises(LeadlineError, match="10 items"):
        scoring.score([0] * 10)
    with pytest.raises(LeadlineError, match="nine"):
        scoring.algorithm([1, 2])
    with pytest.raises(LeadlineError, match="0-27"):
        scoring.band(28)
    assert scoring.score(items=[math.nan] * 9, total=math.nan).total is None


@given(st.integers(0, 27))
def test_bands_hold_their_totals(total: int) -> None:
    name = scoring.band(total)
    low, high = next((low, high) for band, low, high in BANDS if band == name)
    assert low <= total <= high


def test_band_index_rounds_half_up() -> None:
    assert scoring.band_index(np.array([[4.4, 4.5], [19.5, 27.0]])).tolist() == [[0, 1], [4, 4]]


@given(ANSWERS)
def test_algorithm_against_its_definition(items: list[int]) -> None:
    counted = [items[i] >= 2 for i in range(8)] + [items[8] >= 1]
    core = items[0] >= 2 or items[1] >= 2
    expected = "none"
    if core and sum(counted) >= 2:
        expected = "major" if sum(counted) >= 5 else "other"
    assert scoring.algorithm(items) == expected


@given(ANSWERS, st.integers(0, 8))
def test_algorithm_with_a_missing_item_is_sure_or_silent(items: list[int], place: int) -> None:
    answers: list[int | None] = [*items]
    answers[place] = None
    possible = {scoring.algorithm([*items[:place], k, *items[place + 1 :]]) for k in range(4)}
    result = scoring.algorithm(answers)
    assert result == (possible.pop() if len(possible) == 1 else None)
