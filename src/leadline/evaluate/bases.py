"""What each score rests on, and which scores rest on too little to be printed.

Labels of one person are not independent. A share of m labels of each person is worth between
sum(m) labels, if they have nothing to do with each other, and sum(m)^2 / sum(m^2), if a person's
labels all say the same (Kish, Survey Sampling, 1965, section 8.2).
"""

from __future__ import annotations

import numpy as np

from leadline.arrays import Bools
from leadline.evaluate.config import MIN_CLASS, MIN_PEOPLE, EvaluateConfig
from leadline.evaluate.intervals import QUANTILES, Basis, is_share
from leadline.evaluate.sample import Estimates, Sample

CORRELATIONS = ("pearson", "spearman", "calibration_slope", "calibration_intercept")

SPREADS = ("ccc", "sd_ratio", "variance_explained", "kappa")


def basis_of(sample: Sample, estimates: Estimates, name: str, config: EvaluateConfig) -> Basis:
    """What a score of `scores.scalar_scores` rests on.

    Args:
        sample: gold labels and their people.
        estimates: of the model whose score it is.
        name: of the score.
        config: the cut.
    """
    if name == "mae_certain_half":
        return Basis((sample.people + 1) // 2)
    if name.startswith("auc_"):
        return auc_basis(sample, config.cut)
    if name not in QUANTILES and not is_share(name):
        return Basis(sample.people)
    rule, _, what = name.partition("/")
    above = sample.gold >= config.cut
    members = {"sensitivity": above, "specificity": ~above}.get(what, np.ones_like(above))
    if what.startswith(("ppv", "npv")):
        return _basis(sample, _flagged(estimates, rule, config.cut) == what.startswith("ppv"))
    return _basis(sample, members[None, :])


def group_basis(sample: Sample, members: Bools) -> Basis:
    """Of a mean over the labels in `members`, (labels,)."""
    return Basis(len(np.unique(sample.person[members])))


def bin_basis(sample: Sample, share: float) -> Basis:
    """Of a bin of estimates that holds this share of the labels."""
    labels, units = (share * number for number in (len(sample.gold), sample.people))
    return Basis(round(units), (labels,), (units,))


def auc_basis(sample: Sample, threshold: int) -> Basis:
    """Of the AUC at a threshold: labels and people on either side of it."""
    above = sample.gold >= threshold
    sides = [_basis(sample, side[None, :]) for side in (above, ~above)]
    return Basis(
        sample.people,
        tuple(side.labels[0] for side in sides),
        tuple(side.units[0] for side in sides),
    )


def _flagged(estimates: Estimates, rule: str, cut: int) -> Bools:
    """Who is flagged, (repeats, labels)."""
    if rule == "by_mean":
        return estimates.mean >= cut
    assert estimates.totals is not None, "asked for of models with distributions"
    return np.stack([totals.at_least(cut) >= 0.5 for totals in estimates.totals])


def _basis(sample: Sample, members: Bools) -> Basis:
    """Of a share of the labels in `members`, (repeats, labels); means over the repeats."""
    counts = np.stack([np.bincount(sample.person, weights=row) for row in members.astype(float)])
    labels = counts.sum(axis=1)
    units = labels**2 / np.maximum((counts**2).sum(axis=1), 1)
    people = (counts > 0).sum(axis=1)
    return Basis(round(float(people.mean())), (float(labels.mean()),), (float(units.mean()),))


def withheld(name: str, sample: Sample, config: EvaluateConfig) -> str | None:
    """Why a score is not printed for this sample, or None."""
    too_few = f"Fewer than {MIN_PEOPLE} people."
    if name in CORRELATIONS + SPREADS:
        if sample.people < MIN_PEOPLE:
            return too_few
        if np.ptp(sample.gold) == 0:
            return "All gold totals are equal."
    if name in ("p90_error", "p95_error") and len(sample.gold) < 20:
        return "Fewer than 20 labels."
    if name.startswith(("auc_", "by_mean/", "by_probability/", "brier_")):
        return few_in_class(sample, config.cut)
    if name.startswith(("coverage_", "mae_certain")) and sample.people < MIN_PEOPLE:
        return too_few
    return None


def few_in_class(sample: Sample, threshold: int) -> str | None:
    """Why an AUC at this threshold is not printed, or None."""
    above, below = sample.people_at_or_above(threshold)
    if min(above, below) >= MIN_CLASS:
        return None
    side = f"at or above {threshold}" if above < below else f"below {threshold}"
    return f"Fewer than {MIN_CLASS} people {side}."


def undefined(name: str) -> str:
    """What a NaN of the sample itself means."""
    if name in CORRELATIONS:
        return "The estimates are constant."
    if "/ppv/" in name:
        return "Nobody is flagged."
    if "/npv/" in name:
        return "Everybody is flagged."
    return "It is undefined for this sample."
