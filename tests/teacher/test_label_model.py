"""The label model on simulated raters whose parameters are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from leadline.errors import LeadlineError
from leadline.teacher.label_model import GOLD_SD, LabelModel, Observations, fit, fuse, posterior

TRUE = LabelModel(
    names=("teacher", "student"),
    intercepts=np.array([6.0, 5.0]),
    slopes=np.array([0.6, 0.5]),
    psi=np.array([[9.0, 3.0], [3.0, 4.0]]),
    draw_sd=np.array([1.5, 0.0]),
    labelled=(11.0, 6.0),
    unlabelled=(8.0, 5.0),
    gold_sd=GOLD_SD,
    labelled_people=0,
    unlabelled_people=0,
    log_likelihood=0.0,
)


def simulate(
    model: LabelModel, labelled: int, unlabelled: int, draws: tuple[int, ...], seed: int = 0
) -> tuple[Observations, np.ndarray]:
    """Readings from the model, and their true severities."""
    random = np.random.default_rng(seed)
    count = labelled + unlabelled
    is_labelled = np.arange(count) < labelled
    mean = np.where(is_labelled, model.labelled[0], model.unlabelled[0])
    sd = np.where(is_labelled, model.labelled[1], model.unlabelled[1])
    truth = random.normal(mean, sd)
    person = random.multivariate_normal(np.zeros(len(model.names)), model.psi, count)
    ratings = []
    for r, number in enumerate(draws):
        noise = random.normal(0, 1, (count, number)) * model.draw_sd[r]
        level = model.intercepts[r] + model.slopes[r] * truth + person[:, r]
        ratings.append(level[:, None] + noise)
    gold = np.where(is_labelled, truth + random.normal(0, model.gold_sd, count), np.nan)
    return Observations(gold, tuple(ratings), model.names), truth


def test_recovers_the_parameters():
    observed, _ = simulate(TRUE, 3000, 3000, (3, 1))
    found = fit(observed)
    assert found.intercepts == pytest.approx(TRUE.intercepts, abs=0.4)
    assert found.slopes == pytest.approx(TRUE.slopes, abs=0.03)
    assert found.psi == pytest.approx(TRUE.psi, abs=0.5)
    assert found.draw_sd == pytest.approx(TRUE.draw_sd, abs=0.05)
    assert found.labelled == pytest.approx(TRUE.labelled, abs=0.4)
    assert found.unlabelled == pytest.approx(TRUE.unlabelled, abs=0.5)
    assert found.correlations[0, 1] == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("seed", range(3))
def test_posterior_intervals_cover_the_truth_of_people_without_gold(seed):
    inside = replace(TRUE, labelled=(14.0, 4.5), unlabelled=(13.0, 4.0))  # far from 0 and 27
    observed, truth = simulate(inside, 1500, 3000, (3, 1), seed=seed)
    found = posterior(fit(observed), observed)
    free = slice(1500, None)
    gaps = np.abs(found.mean - truth)[free]
    for level, wide in ((0.5, 0.674), (0.8, 1.282), (0.95, 1.960)):
        assert (gaps <= wide * found.sd[free]).mean() == pytest.approx(level, abs=0.045)


def test_posterior_of_people_without_gold_is_unbiased_though_labels_miss_not_at_random():
    observed, truth = simulate(TRUE, 2000, 2000, (3, 1), seed=4)
    free = np.arange(4000) >= 2000
    found = posterior(fit(observed), observed)
    assert (found.mean - truth)[free].mean() == pytest.approx(0.0, abs=0.45)
    naive = observed.means[free, 0].mean() - truth[free].mean()
    assert abs(naive) > 2.0


def test_bartlett_score_is_unbiased_at_every_severity_and_the_mean_is_shrunken():
    observed, truth = simulate(TRUE, 4000, 4000, (3, 1), seed=5)
    found = posterior(fit(observed), observed, use_gold=False)
    severe = truth > 18
    assert (found.unbiased - truth)[severe].mean() == pytest.approx(0.0, abs=0.5)
    assert (found.mean - truth)[severe].mean() < -1.0
    assert (found.unbiased_sd > found.sd).all()


def test_a_bad_teacher_gets_little_weight():
    bad = LabelModel(
        **{
            **TRUE.__dict__,
            "intercepts": np.array([14.0, 5.0]),
            "slopes": np.array([0.3, 0.6]),
            "psi": np.array([[30.0, 1.0], [1.0, 4.0]]),
        }
    )
    observed, truth = simulate(bad, 1500, 1500, (3, 1), seed=6)
    both = posterior(fit(observed), observed)
    alone = Observations(observed.gold, observed.draws[1:], ("student",))
    student = posterior(fit(alone), alone)
    free = slice(1500, None)

    def error(found):
        return np.abs(found.mean - truth)[free].mean()

    assert error(both) <= error(student) + 0.02
    swing = np.abs(both.mean - student.mean)[free].mean()
    assert swing < 0.25 * student.sd[free].mean() * 2
    assert (both.weight <= 1).all()


def test_a_good_teacher_helps_and_more_draws_help_only_down_to_the_shared_error():
    observed, truth = simulate(TRUE, 2000, 2000, (3, 1), seed=7)
    model = fit(observed)
    student = Observations(observed.gold, observed.draws[1:], ("student",))
    free = slice(2000, None)
    fused = posterior(model, observed)
    lone = posterior(fit(student), student)
    assert np.abs(fused.mean - truth)[free].mean() < np.abs(lone.mean - truth)[free].mean() - 0.04
    sds = [posterior(model, simulate(model, 0, 1, (draws, 1))[0]).sd[0] for draws in (1, 3, 1000)]
    assert sds[0] > sds[1] > sds[2]
    assert sds[2] > 0.8 * sds[1]


@pytest.mark.parametrize("names", [("teacher",), ("student",), ("t1", "t2", "student")])
def test_one_rater_or_several(names):
    count = len(names)
    model = LabelModel(
        **{
            **TRUE.__dict__,
            "names": names,
            "intercepts": np.arange(count) + 1.0,
            "slopes": np.full(count, 0.7),
            "psi": 2.0 * np.eye(count) + 1.5,
            "draw_sd": np.zeros(count),
        }
    )
    observed, _ = simulate(model, 3000, 1000, (1,) * count, seed=8)
    found = fit(observed)
    assert found.slopes == pytest.approx(model.slopes, abs=0.06)
    assert found.psi == pytest.approx(model.psi, abs=0.6)


def test_missing_raters_and_uneven_draws_are_used_as_far_as_they_go():
    observed, _ = simulate(TRUE, 2000, 2000, (3, 1), seed=9)
    teacher, student = (values.copy() for values in observed.draws)
    teacher[::3, 1:] = np.nan
    teacher[::5] = np.nan
    student[1::7] = np.nan
    teacher[35], student[35] = np.nan, np.nan
    patchy = Observations(observed.gold, (teacher, student), TRUE.names)
    model = fit(patchy)
    assert model.slopes == pytest.approx(TRUE.slopes, abs=0.05)
    found = posterior(model, patchy, group="unlabelled")
    assert found.mean[35] == pytest.approx(model.unlabelled[0])
    assert found.sd[35] == pytest.approx(model.unlabelled[1])
    assert np.isnan(found.unbiased[35])
    assert np.isfinite(found.mean).all()


def test_gold_counts_as_a_low_noise_observation():
    observed, truth = simulate(TRUE, 2000, 10, (3, 1), seed=10)
    model = fit(observed)
    without, with_gold = posterior(model, observed), posterior(model, observed, use_gold=True)
    rows = slice(0, 2000)
    assert (with_gold.sd[rows] < without.sd[rows]).all()
    assert (with_gold.sd[rows] < GOLD_SD).all()
    assert (with_gold.weight[rows] == 1.0).all()
    assert np.abs(with_gold.mean - truth)[rows].mean() < np.abs(observed.gold - truth)[rows].mean()


def test_posterior_equals_conditioning_the_joint_normal():
    """Against a second derivation: condition the joint distribution of (T, ratings)."""
    observed, _ = simulate(TRUE, 0, 5, (3, 1), seed=11)
    mu, tau2 = TRUE.unlabelled[0], TRUE.unlabelled[1] ** 2
    cov = tau2 * np.outer(TRUE.slopes, TRUE.slopes) + TRUE.psi
    cov[0, 0] += TRUE.draw_sd[0] ** 2 / 3
    gain = np.linalg.solve(cov, tau2 * TRUE.slopes)
    gaps = observed.means - TRUE.intercepts - TRUE.slopes * mu
    found = posterior(TRUE, observed)
    assert found.mean == pytest.approx(np.clip(mu + gaps @ gain, 0, 27))
    assert found.sd == pytest.approx(np.sqrt(tau2 - tau2 * TRUE.slopes @ gain))


def test_likelihood_equals_a_direct_evaluation():
    observed, _ = simulate(TRUE, 400, 0, (1, 1), seed=12)
    found = fit(observed)
    loads = np.r_[1.0, found.slopes]
    cov = found.labelled[1] ** 2 * np.outer(loads, loads)
    cov[0, 0] += GOLD_SD**2
    cov[1:, 1:] += found.psi
    mean = np.r_[0.0, found.intercepts] + loads * found.labelled[0]
    values = np.column_stack([observed.gold, observed.means])
    direct = multivariate_normal(mean, cov).logpdf(values).sum()
    assert found.log_likelihood == pytest.approx(direct, rel=1e-6)


def test_fuse_gives_an_interval_for_a_gold_total():
    observed, truth = simulate(TRUE, 1500, 3000, (3, 1), seed=13)
    model = fit(observed)
    free = slice(1500, None)
    mean, sd = fuse(model, observed.draws[1][free, 0], [observed.draws[0][free]])
    gold = truth[free] + np.random.default_rng(1).normal(0, GOLD_SD, 3000)
    assert (np.abs(gold - mean) <= 1.645 * sd).mean() == pytest.approx(0.90, abs=0.03)
    higher, _ = fuse(model, observed.draws[1][free, 0], [observed.draws[0][free]], group="labelled")
    assert higher.mean() > mean.mean()


def test_too_few_labelled_people_and_constant_raters_are_refused():
    few, _ = simulate(TRUE, 20, 100, (3, 1))
    with pytest.raises(LeadlineError, match=r"Fewer than 30.*teacher, student"):
        fit(few)
    some, _ = simulate(TRUE, 100, 0, (3, 1))
    flat = Observations(some.gold, (np.full((100, 3), 9.0), some.draws[1]), some.names)
    with pytest.raises(LeadlineError, match="hardly vary"):
        fit(flat)


@settings(max_examples=4, deadline=None)
@given(shift=st.floats(-5, 5), scale=st.floats(0.3, 3), seed=st.integers(0, 5))
def test_posterior_does_not_change_when_a_rater_is_rescaled(shift, scale, seed):
    """T is identified by gold alone: units of a rater do not matter."""
    observed, _ = simulate(TRUE, 300, 200, (2, 1), seed=seed)
    moved = Observations(
        observed.gold, (shift + scale * observed.draws[0], observed.draws[1]), observed.names
    )
    one, two = posterior(fit(observed), observed), posterior(fit(moved), moved)
    assert two.mean == pytest.approx(one.mean, abs=0.08)
    assert two.sd == pytest.approx(one.sd, rel=0.03)
