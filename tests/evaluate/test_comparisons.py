"""Differences of two models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.support.predictions import predictions

from leadline.evaluate.bootstrap import resampled_scores, sample_scores
from leadline.evaluate.comparisons import BOTH_PERFECT, comparisons, difference
from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.sample import Sample, split_samples

QUICK = EvaluateConfig(resamples=200, curve_resamples=100)


def scored(sample: Sample) -> tuple:
    return sample_scores(sample, QUICK)[0], resampled_scores(sample, QUICK)[0]


def test_a_difference_is_first_minus_second_with_its_paired_interval() -> None:
    (sample,) = split_samples(predictions(150))
    scores = scored(sample)
    gap = difference(sample, scores, ("ridge", "leadline"), "mae", QUICK)
    back = difference(sample, scores, ("leadline", "ridge"), "mae", QUICK)
    assert gap["low"] < gap["value"] < gap["high"]
    assert (back["low"], back["high"]) == pytest.approx((-gap["high"], -gap["low"]))
    assert back["p"] == gap["p"]
    entries = comparisons(sample, scores, "leadline", QUICK)
    assert entries[0]["value"] == gap["value"]
    assert comparisons(sample, scores, "nobody", QUICK) == []


def test_two_perfect_rankings_are_no_proof_of_no_difference() -> None:
    (sample,) = split_samples(predictions(40))
    models = {
        name: replace(model, mean=sample.gold[None, :] + shift)
        for shift, (name, model) in enumerate(sample.models.items())
    }
    perfect = replace(sample, models=models)
    gap = difference(perfect, scored(perfect), ("ridge", "leadline"), "auc_10", QUICK)
    assert (gap["value"], gap["low"], gap["reason"]) == (0, None, BOTH_PERFECT)


def test_what_cannot_be_compared_has_a_reason() -> None:
    table = predictions(60, models={"leadline": 0.5, "constant": None})
    (sample,) = split_samples(table)
    scores = scored(sample)
    assert (
        "no distribution"
        in difference(sample, scores, ("constant", "leadline"), "crps", QUICK)["reason"]
    )
    gap = difference(sample, scores, ("constant", "leadline"), "pearson", QUICK)
    assert gap["reason"] == "The estimates are constant."
    (few,) = split_samples(predictions(14))
    gap = difference(few, scored(few), ("ridge", "leadline"), "mae", QUICK)
    assert np.isfinite(gap["value"])
    assert (gap["low"], gap["p"]) == (None, None)
