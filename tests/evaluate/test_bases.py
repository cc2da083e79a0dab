"""What scores rest on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.support.predictions import predictions

from leadline.evaluate.bases import auc_basis, basis_of, bin_basis, group_basis, withheld
from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.sample import Sample, split_samples

CONFIG = EvaluateConfig()


def sample(people: int = 40, labels: int = 1, repeats: int = 1) -> Sample:
    (whole,) = split_samples(predictions(people, labels, {"leadline": 0.5}, repeats=repeats))
    return whole


def test_one_label_a_person_counts_as_it_is() -> None:
    one = sample()
    model = one.models["leadline"]
    above = int((one.gold >= 10).sum())
    assert basis_of(one, model, "off_by_5", CONFIG).labels == (40,)
    assert basis_of(one, model, "by_mean/sensitivity", CONFIG).labels == (above,)
    assert basis_of(one, model, "by_mean/specificity", CONFIG).units == (40 - above,)
    flagged = int((model.mean >= 10).sum())
    assert basis_of(one, model, "by_mean/ppv/sample", CONFIG).labels == (flagged,)
    assert basis_of(one, model, "by_mean/npv/sample", CONFIG).labels == (40 - flagged,)
    assert auc_basis(one, 10).labels == auc_basis(one, 10).units == (above, 40 - above)


def test_labels_that_a_person_repeats_are_units_of_people() -> None:
    three = sample(30, labels=3)
    basis = basis_of(three, three.models["leadline"], "coverage_90", CONFIG)
    assert (basis.people, basis.labels, basis.units) == (30, (90,), (30,))
    uneven = replace(three, person=np.repeat([0, 1], [80, 10]), people=2)
    basis = basis_of(uneven, three.models["leadline"], "coverage_90", CONFIG)
    assert basis.units[0] == pytest.approx(90**2 / (80**2 + 10**2))


def test_what_differs_between_repeats_is_averaged() -> None:
    several = sample(40, repeats=3)
    model = several.models["leadline"]
    flagged = (model.mean >= 10).sum(axis=1).mean()
    assert basis_of(several, model, "by_mean/ppv/sample", CONFIG).labels[0] == pytest.approx(
        flagged
    )


def test_groups_bins_and_halves_rest_on_fewer_people() -> None:
    three = sample(30, labels=3)
    assert group_basis(three, three.person < 7).people == 7
    assert bin_basis(three, 0.5).people == 15
    assert basis_of(three, three.models["leadline"], "mae_certain_half", CONFIG).people == 15
    assert basis_of(three, three.models["leadline"], "mae", CONFIG).people == 30


def test_what_rests_on_too_little_is_withheld() -> None:
    few = sample(14)
    assert withheld("pearson", few, CONFIG) == "Fewer than 15 people."
    assert withheld("mae", few, CONFIG) is None
    assert withheld("pearson", sample(15), CONFIG) is None
    assert withheld("p95_error", few, CONFIG) == "Fewer than 20 labels."
    one_sided = replace(few, gold=np.full(14, 3.0))
    assert withheld("auc_10", one_sided, CONFIG) == "Fewer than 5 people at or above 10."
