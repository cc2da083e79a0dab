import numpy as np
import pytest
from scipy.stats import norm
from tests.support.inputs import inputs

from leadline.heads.head import head_state, restore_head
from leadline.heads.prior import AnchorPrior, StartedProcess, latent_population, most_informative
from leadline.phq9.distribution import Totals

HELP_SEEKERS, GENERAL = (10.0, 6.6), (3.18, 4.09)


@pytest.mark.parametrize("population", [HELP_SEEKERS, GENERAL, (20.0, 5.0)])
def test_the_latent_normal_rounds_and_cuts_to_the_population(population):
    centre, spread = latent_population(*population)
    totals = Totals.normal(np.array([centre]), np.array([spread]))
    assert totals.mean()[0] == pytest.approx(population[0], abs=1e-4)
    assert np.sqrt(totals.variance()[0]) == pytest.approx(population[1], abs=1e-4)


@pytest.mark.parametrize("agreement", [0.2, 0.8])
def test_estimates_of_the_people_of_the_scale_add_up_to_the_population(agreement):
    x = inputs(400)
    prior = AnchorPrior.of_people(x, GENERAL, agreement)
    mixture = Totals.normal(*prior.predict(x)).probabilities.mean(axis=0)
    totals = np.arange(28)
    mean = mixture @ totals
    assert mean == pytest.approx(GENERAL[0], abs=0.1)
    assert np.sqrt(mixture @ (totals - mean) ** 2) == pytest.approx(GENERAL[1], abs=0.15)


def test_the_ranking_is_standard_normal_and_goes_on_beyond_its_knots():
    x = inputs(400)
    prior = AnchorPrior.of_people(x, HELP_SEEKERS)
    z = np.sort(prior.rank(x))
    assert np.abs(z - norm.ppf((np.arange(400) + 0.5) / 400)).max() < 0.4
    far = inputs(400)
    far = type(far)(far.states, far.anchors + 50 * prior.anchor_scaler.sd)
    assert prior.rank(far).min() > z.max()


@pytest.mark.parametrize("kind", [AnchorPrior, StartedProcess])
def test_a_head_comes_back_from_its_checkpoint(kind):
    x = inputs(40)
    head = kind.fit(x, np.linspace(0, 27, 40))
    settings, arrays = head_state(head)
    again = restore_head(settings, arrays)
    np.testing.assert_array_equal(again.predict(x), head.predict(x))


def test_without_labels_the_process_is_the_prior_and_does_not_know_itself():
    x = inputs(60)
    prior = AnchorPrior.of_people(x, HELP_SEEKERS)
    process = prior.started()
    np.testing.assert_allclose(process.predict(x)[0], prior.predict(x)[0])
    np.testing.assert_allclose(
        process.predict(x)[1] ** 2, np.diag(process.covariance(x)) + process.noise
    )


def test_labels_move_the_process_to_what_the_prior_misses():
    x = inputs(60)
    prior = AnchorPrior.of_people(x, HELP_SEEKERS)
    truth = prior.predict(x)[0] + 6.0
    few = StartedProcess.start(prior, x.take(np.arange(10)), truth[:10])
    many = StartedProcess.start(prior, x, truth)
    missed = [float(np.abs(head.predict(x)[0] - truth).mean()) for head in (few, many)]
    assert missed[1] < missed[0] < 4.0
    assert np.trace(many.covariance(x)) < np.trace(few.covariance(x))


def test_a_label_lowers_the_variance_of_all_as_said():
    x = inputs(30)
    prior = AnchorPrior.of_people(x, HELP_SEEKERS)
    start = prior.started()
    covariance = start.covariance(x)
    first = most_informative(covariance, start.noise, 1)[0]
    left = []
    for row in range(30):
        column = covariance[:, row]
        after = covariance - np.outer(column, column) / (column[row] + start.noise)
        left.append(np.trace(after))
    assert first == int(np.argmin(left))


def test_the_second_ask_is_not_a_copy_of_the_first():
    base = np.diag([4.0, 4.0, 3.0])
    base[0, 1] = base[1, 0] = 3.9
    assert sorted(most_informative(base, 1.0, 2)) in ([0, 2], [1, 2])
    assert sorted(most_informative(base, 1.0, 9)) == [0, 1, 2]
