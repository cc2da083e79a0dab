"""Who enters a round."""

from __future__ import annotations

import numpy as np
import pytest

from leadline.selftrain.widening import WIDENINGS, Candidates, entering, share_of_round

MEAN = np.array([2.0, 3.0, 7.0, 12.0, 13.0, 17.0, 22.0, 4.0])
SD = np.array([1.0, 2.0, 1.5, 3.0, 1.2, 2.5, 2.2, 0.5])
STUDENT = np.array([2.0, 9.0, 7.0, 12.0, 13.5, 17.0, 15.0, np.nan])
ONES = np.ones(8)
CANDIDATES = Candidates(MEAN, SD, ONES, STUDENT)
NO_GOLD = np.array([])


def chosen(widen, share=0.5, gold=NO_GOLD, candidates=CANDIDATES, groups=1, seed=0):
    return entering(candidates, share, widen, gold, groups=groups, seed=seed).tolist()


@pytest.mark.parametrize("widen", WIDENINGS)
def test_a_share_of_the_candidates_enters_in_order(widen):
    rows = chosen(widen)
    assert rows == sorted(set(rows))
    assert len(rows) == (8 if widen == "all" else 4)
    assert chosen(widen, share=1.0) == list(range(8))


def test_confidence_takes_the_best_known():
    assert chosen("confidence") == [0, 2, 4, 7]


def test_disagreement_takes_those_who_teach_and_weighs_how_well_they_are_known():
    assert chosen("disagreement", share=0.25) == [1, 6]
    doubtful = Candidates(MEAN, SD, np.array([1, 1, 1, 1, 1, 1, 0.01, 1]), STUDENT)
    assert chosen("disagreement", share=0.25, candidates=doubtful) == [1, 4]


def test_bands_fill_what_gold_has_left_empty():
    plenty = np.repeat([2.0, 7.0], 50)  # minimal and mild
    assert chosen("bands", gold=plenty) == [3, 4, 5, 6]
    even = chosen("bands", share=5 / 8)
    assert even == [2, 4, 5, 6, 7]  # one of each band, the best known


def test_chance_is_the_seeds():
    assert chosen("random") == chosen("random")
    assert chosen("random", seed=1) != chosen("random", seed=2)


@pytest.mark.parametrize(
    ("round_", "rounds", "share"), [(1, 1, 0.4), (1, 3, 0.4), (2, 3, 0.7), (3, 3, 1.0)]
)
def test_the_share_rises_to_all(round_, rounds, share):
    assert share_of_round(round_, rounds, 0.4) == pytest.approx(share)
