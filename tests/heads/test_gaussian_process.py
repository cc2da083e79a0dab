from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import cho_solve
from scipy.optimize import check_grad
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, Kernel

from leadline.heads import gaussian_process
from leadline.heads.gaussian_process import GaussianProcess
from leadline.heads.inputs import Inputs

RANDOM = np.random.default_rng(4)
ROWS, WIDTH, ANCHORS = 60, 7, 3


def inputs(rows=ROWS, seed=0, width=WIDTH, anchors=ANCHORS):
    random = np.random.default_rng(seed)
    return Inputs(
        {"a": random.normal(size=(rows, width)), "b": 5 + 3 * random.normal(size=(rows, 2))},
        random.normal(size=(rows, anchors)),
    )


def target(x):
    noise = np.random.default_rng(1).normal(size=len(x))
    return 12 + 4 * x.anchors[:, 0] + 2 * np.sin(2 * x.states["a"][:, 0]) + noise


X = inputs()
FITTED = GaussianProcess.fit(X, target(X))
NEW = inputs(15, seed=9)


class Columns(Kernel):
    """A scikit-learn kernel on some of the columns."""

    def __init__(self, kernel, columns):
        self.kernel, self.columns = kernel, columns

    def __call__(self, X, Y=None, eval_gradient=False):
        part = X[:, self.columns]
        return self.kernel(part, None if Y is None else Y[:, self.columns])

    def diag(self, X):
        return self.kernel.diag(X[:, self.columns])

    def is_stationary(self):
        return False

    theta = np.zeros(0)  # nothing of it is fitted


def standardised(model, x):
    """Anchors and states of `x` side by side as the kernel is defined on them, by hand."""
    joined = np.concatenate([x.states["a"], x.states["b"]], axis=1)
    train = np.concatenate([X.states["a"], X.states["b"]], axis=1)
    states = (joined - train.mean(0)) / train.std(0) / np.sqrt(joined.shape[1])
    anchors = (x.anchors - X.anchors.mean(0)) / X.anchors.std(0) / np.sqrt(x.anchors.shape[1])
    return np.concatenate([anchors, states], axis=1)


def test_mean_and_variance_are_those_of_scikit_learn():
    own = np.exp(FITTED.log_scales)
    parts = [
        ConstantKernel(own[0]) * DotProduct(sigma_0=0.0),
        ConstantKernel(own[1]) * RBF(own[4] * np.sqrt(FITTED.medians[0])),
        ConstantKernel(own[2]) * DotProduct(sigma_0=0.0),
        ConstantKernel(own[3]) * RBF(own[5] * np.sqrt(FITTED.medians[1])),
    ]
    anchors, states = slice(0, ANCHORS), slice(ANCHORS, None)
    kernel = Columns(parts[0], anchors) + Columns(parts[1], anchors)
    kernel = kernel + Columns(parts[2], states) + Columns(parts[3], states)
    other = GaussianProcessRegressor(kernel, alpha=own[6] + gaussian_process.JITTER, optimizer=None)
    y = target(X)
    other.fit(standardised(FITTED, X), (y - y.mean()) / y.std())
    mean, sd = other.predict(standardised(FITTED, NEW), return_std=True)
    found, deviation = FITTED.predict(NEW)
    np.testing.assert_allclose(found, y.mean() + y.std() * mean, rtol=1e-8)
    np.testing.assert_allclose(deviation, y.std() * np.sqrt(sd**2 + own[6]), rtol=1e-6)


def test_the_gradient_of_the_marginal_likelihood_is_that_of_finite_differences(monkeypatch):
    caught = {}

    def stop(loss, start, **kwargs):
        caught["loss"] = loss
        return type("Result", (), {"x": start})

    monkeypatch.setattr(gaussian_process, "minimize", stop)
    weight = RANDOM.uniform(0.2, 2, ROWS)
    GaussianProcess.fit(X, target(X), weight)
    loss = caught["loss"]
    for _ in range(4):
        at = gaussian_process.PRIOR_MEAN + RANDOM.normal(size=7)
        size = np.linalg.norm(loss(at)[1])
        assert check_grad(lambda t: loss(t)[0], lambda t: loss(t)[1], at) < 1e-5 * size


def test_the_loss_is_the_negative_log_posterior(monkeypatch):
    from scipy.stats import multivariate_normal, norm

    caught = {}

    def stop(loss, start, **kwargs):
        caught["loss"] = loss
        return type("Result", (), {"x": start})

    monkeypatch.setattr(gaussian_process, "minimize", stop)
    fitted = GaussianProcess.fit(X, target(X))
    y = (target(X) - fitted.centre) / fitted.spread
    values = []
    for seed in (0, 1):
        at = gaussian_process.PRIOR_MEAN + np.random.default_rng(seed).normal(size=7)
        grams = gaussian_process.Gram.of(
            fitted.anchors, fitted.anchors, fitted.states, fitted.states, fitted.medians
        )
        covariance = grams.covariance(at) + (np.exp(at[-1]) + gaussian_process.JITTER) * np.eye(
            ROWS
        )
        log = multivariate_normal(np.zeros(ROWS), covariance).logpdf(y)
        log += norm(gaussian_process.PRIOR_MEAN, gaussian_process.PRIOR_SD).logpdf(at).sum()
        values.append((caught["loss"](at)[0], -log))
    (a, b), (c, d) = values
    assert a - c == pytest.approx(b - d, abs=1e-6)


def test_the_chosen_hyperparameters_are_better_than_where_the_search_starts():
    assert not np.allclose(FITTED.log_scales, gaussian_process.PRIOR_MEAN)
    mean, _ = FITTED.predict(NEW)
    truth = 12 + 4 * NEW.anchors[:, 0] + 2 * np.sin(2 * NEW.states["a"][:, 0])
    assert np.mean((mean - truth) ** 2) < 0.5 * np.var(truth)


def rewired(model, keep, precision, y):
    """The fitted process with other rows and precisions, hyperparameters as they are."""
    other = replace(
        model, anchors=model.anchors[keep], states=model.states[keep], noise=1.0 / precision
    )
    scaled = (y[keep] - model.centre) / model.spread
    return replace(other, dual=cho_solve((other.factor, True), scaled))


def test_a_row_of_weight_two_is_two_rows_of_weight_one():
    y = target(X)
    keep = np.arange(20)
    heavy = rewired(FITTED, keep, np.where(keep < 5, 2.0, 1.0), y)
    twice = np.concatenate([keep, keep[:5]])
    double = rewired(FITTED, twice, np.ones(25), y)
    for one, other in zip(heavy.predict(NEW), double.predict(NEW), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    plain = rewired(FITTED, keep, np.ones(20), y)
    assert np.abs(plain.predict(NEW)[0] - heavy.predict(NEW)[0]).max() > 0.01


def test_fit_takes_weights_as_precisions_relative_to_a_phq9():
    weight = np.where(np.arange(ROWS) < 30, 0.25, 0.5)
    fitted = GaussianProcess.fit(X, target(X), weight)
    np.testing.assert_allclose(fitted.noise, 1 / weight)
    assert fitted.centre == pytest.approx(np.average(target(X), weights=weight))
    same = GaussianProcess.fit(X, target(X), np.ones(ROWS))
    np.testing.assert_allclose(same.predict(NEW)[0], FITTED.predict(NEW)[0], rtol=1e-6)


def test_a_row_of_no_precision_says_next_to_nothing():
    y = target(X)
    wrong = np.where(np.arange(ROWS) < 10, 27.0, y)
    weight = np.where(np.arange(ROWS) < 10, 1e-6, 1.0)
    light = GaussianProcess.fit(X, wrong, weight).predict(NEW)[0]
    without = GaussianProcess.fit(X.take(np.arange(10, ROWS)), y[10:]).predict(NEW)[0]
    assert (
        np.abs(light - without).mean()
        < 0.3 * np.abs(GaussianProcess.fit(X, wrong).predict(NEW)[0] - without).mean()
    )


def test_the_deviation_grows_away_from_the_rows_and_holds_the_noise():
    far = Inputs({name: x + 30 for name, x in NEW.states.items()}, NEW.anchors + 30)
    near, away = FITTED.predict(NEW)[1], FITTED.predict(far)[1]
    assert away.min() > near.max()
    assert near.min() >= FITTED.spread * np.exp(0.5 * FITTED.log_scales[-1])


def test_the_covariance_without_noise_has_the_variance_on_its_diagonal_and_is_one():
    x, new = inputs(), inputs(seed=3)
    model = GaussianProcess.fit(x, target(x))
    covariance = model.covariance(new)
    variance = np.diag(covariance) + model.label_noise
    np.testing.assert_allclose(model.predict(new)[1] ** 2, variance, rtol=1e-6)
    assert np.linalg.eigvalsh(covariance).min() > -1e-6


def test_the_seed_draws_the_rows_that_choose_the_scales_and_nothing_else(monkeypatch):
    monkeypatch.setattr(gaussian_process, "ROWS_FOR_SCALES", 20)
    one, same, other = (GaussianProcess.fit(X, target(X), seed=s) for s in (1, 1, 2))
    assert len(one.dual) == ROWS
    np.testing.assert_array_equal(one.dual, same.dual)
    assert not np.array_equal(one.log_scales, other.log_scales)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_very_few_rows_give_finite_estimates(rows):
    x = inputs(rows)
    mean, sd = GaussianProcess.fit(x, np.full(rows, 9.0)).predict(NEW)
    np.testing.assert_allclose(mean, 9.0)
    assert np.isfinite(sd).all()
    assert (sd > 0).all()


def test_constant_columns_and_equal_rows_are_harmless():
    x = inputs()
    x.states["a"][:, 2] = 3.0
    x.anchors[:, 1] = -1.0
    strange = inputs(15, seed=9)
    strange.states["a"][:, 2] = 1e6  # a column that never varied says nothing
    fitted = GaussianProcess.fit(x, target(x))
    tame = inputs(15, seed=9)
    tame.states["a"][:, 2] = 3.0
    np.testing.assert_allclose(fitted.predict(strange)[0], fitted.predict(tame)[0])
    same = x.take(np.zeros(8, dtype=np.int64))
    mean, sd = GaussianProcess.fit(same, np.arange(8.0)).predict(same)
    np.testing.assert_allclose(mean, 3.5, atol=1e-6)
    assert np.isfinite(sd).all()


def test_without_anchors_or_with_no_new_rows():
    x = inputs(anchors=0)
    fitted = GaussianProcess.fit(x, target(X))
    assert np.isfinite(fitted.predict(inputs(4, seed=3, anchors=0))[0]).all()
    assert [len(part) for part in FITTED.predict(NEW.take(np.array([], dtype=np.int64)))] == [0, 0]
