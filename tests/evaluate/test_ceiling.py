"""The noise ceiling against theory, against simulation, and against the project's table."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from leadline.evaluate.ceiling import noise_ceiling, sharpness_terms

# r, RMSE, MAE, AUC at 10, second PHQ-9: r, MAE, for help-seekers with mean 10 (simulated
# with a graded response model; the second decimal of that table is itself uncertain)
TABLE = {
    0.84: (0.916, 2.61, 2.05, 0.952, 0.844, 2.77),
    0.88: (0.939, 2.27, 1.77, 0.965, 0.883, 2.44),
    0.92: (0.959, 1.90, 1.46, 0.977, 0.921, 2.04),
}


def help_seekers(mean: float = 10.0, sd: float = 6.55) -> np.ndarray:
    """4,000 totals of a beta-binomial with this mean and SD, in exact proportions."""
    share = mean / 27
    overlap = (sd**2 / (27 * share * (1 - share)) - 1) / 26
    strength = 1 / overlap - 1
    law = stats.betabinom(27, share * strength, (1 - share) * strength)
    return law.ppf((np.arange(4000) + 0.5) / 4000)


@pytest.mark.parametrize("reliability", TABLE)
def test_ceiling_agrees_with_the_published_table(reliability) -> None:
    r, rmse, mae, auc, second_r, second_mae = TABLE[reliability]
    ceiling = noise_ceiling(help_seekers(), reliability, (10,), 10)
    assert ceiling.r == pytest.approx(r, abs=0.002)
    assert ceiling.rmse == pytest.approx(rmse, abs=0.06)
    assert ceiling.mae == pytest.approx(mae, abs=0.07)
    assert ceiling.auc_cut == pytest.approx(auc, abs=0.002)
    assert ceiling.second_r == pytest.approx(second_r, abs=0.006)
    assert ceiling.second_mae == pytest.approx(second_mae, abs=0.08)


def test_ceiling_obeys_classical_test_theory_for_any_shape() -> None:
    rng = np.random.default_rng(1)
    for gold in (rng.integers(0, 28, 200), rng.binomial(27, 0.1, 90), rng.choice([0, 27], 60)):
        ceiling = noise_ceiling(gold.astype(float), 0.8, (5,), 10)
        assert ceiling.rmse == pytest.approx(gold.std() * np.sqrt(0.2), rel=1e-3)
        assert ceiling.second_r == pytest.approx(0.8, abs=1e-3)
        assert ceiling.mae <= ceiling.rmse
        assert ceiling.crps <= ceiling.mae


def test_ceiling_agrees_with_simulated_administrations() -> None:
    gold = help_seekers(11.5, 7.5)
    ceiling = noise_ceiling(gold, 0.84, (10, 20), 10)
    rng = np.random.default_rng(2)
    ordered, z = np.sort(gold), rng.normal(size=400_000)
    # the loading is not exposed: find it again here by simulation
    noise = rng.normal(size=(2, len(z)))

    def twice(loading: float) -> np.ndarray:
        latent = loading * z + np.sqrt(1 - loading**2) * noise
        return ordered[np.minimum((stats.norm.cdf(latent) * 4000).astype(int), 3999)]

    loadings = np.linspace(0.9, 0.97, 15)
    found = [np.corrcoef(twice(one))[0, 1] for one in loadings]
    totals = twice(float(np.interp(0.84, found, loadings)))
    assert np.abs(totals[0] - totals[1]).mean() == pytest.approx(ceiling.second_mae, abs=0.03)
    for threshold in (10, 20):
        area = roc_auc_score(totals[0] >= threshold, z)
        assert area == pytest.approx(ceiling.auc_by_threshold[threshold], abs=0.002)
    bins = np.digitize(z, np.quantile(z, np.linspace(0, 1, 401)[1:-1]))
    best = np.array([np.median(totals[0][bins == one]) for one in range(400)])
    assert np.abs(totals[0] - best[bins]).mean() == pytest.approx(ceiling.mae, abs=0.03)


def test_threshold_that_nobody_reaches_has_no_ceiling() -> None:
    ceiling = noise_ceiling(np.array([0.0, 2, 4, 6, 8, 9]), 0.84, (3, 12), 10)
    assert ceiling.auc_cut is None
    assert ceiling.auc_by_threshold[12] is None
    assert 0.5 < (ceiling.auc_by_threshold[3] or 0) < 1


def test_a_steadier_questionnaire_leaves_a_higher_ceiling() -> None:
    each = [noise_ceiling(help_seekers(), rho, (10,), 10) for rho in (0.7, 0.84, 0.92)]
    assert [one.mae for one in each] == sorted((one.mae for one in each), reverse=True)
    assert [one.auc_cut or 0 for one in each] == sorted(one.auc_cut or 0 for one in each)


def test_totals_that_are_nearly_all_equal_have_no_ceiling_at_a_high_reliability() -> None:
    gold = np.array([1.0] * 498 + [0.0, 2.0])
    assert noise_ceiling(gold, 0.99, (10,), 10) is None
    assert noise_ceiling(gold, 0.5, (10,), 10).r == pytest.approx(np.sqrt(0.5))


def test_no_honest_estimate_is_sharper_than_the_bound() -> None:
    rng = np.random.default_rng(4)
    ordered = np.sort(help_seekers())
    z, noise = rng.normal(size=(2, 200_000))
    latent = np.sqrt(0.85) * z + np.sqrt(0.15) * noise
    totals = ordered[np.minimum((stats.norm.cdf(latent) * 4000).astype(int), 3999)]
    again = np.sqrt(0.85) * z + np.sqrt(0.15) * rng.normal(size=len(z))
    second = ordered[np.minimum((stats.norm.cdf(again) * 4000).astype(int), 3999)]
    bound = noise_ceiling(ordered, float(np.corrcoef(totals, second)[0, 1]), (10,), 10).sharpness
    for weight in (0.8, 1.0):
        estimate = 10 + weight * 6.55 * np.sqrt(0.85) * z
        assert sharpness_terms(totals, estimate).mean() <= bound + 0.005
    known = np.where(rng.random(len(z)) < 1 / 3, totals, estimate)
    assert sharpness_terms(totals, known).mean() > bound + 0.2


def test_sharpness_is_that_of_errors_in_the_middle_of_the_scale() -> None:
    terms = sharpness_terms(np.array([12.0, 12.0, 0.0, 27.0]), np.array([12.0, 14.6, 0.0, 27.0]))
    np.testing.assert_allclose(terms, [1, -1, 0, 0], atol=0.01)
