"""Ridge and histogram against scikit-learn, scipy and plain loops."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import Ridge as SklearnRidge
from tests.support.inputs import NEW, X, Y, columns, inputs

from leadline.heads.inputs import Inputs
from leadline.heads.linear import (
    HISTOGRAM_PENALTY,
    RIDGE_PENALTIES,
    SMOOTHING,
    Histogram,
    Ridge,
    linear_inputs,
)
from leadline.phq9.distribution import Totals


def scaled(x):
    return (columns(x) - columns(X).mean(0)) / columns(X).std(0)


def leave_one_out(weight):
    """Weighted mean squared error of predicting each row without it, by penalty."""
    z, errors = scaled(X), []
    for penalty in RIDGE_PENALTIES:
        squares = []
        for row in range(len(Y)):
            rest = np.arange(len(Y)) != row
            model = SklearnRidge(penalty).fit(z[rest], Y[rest], sample_weight=weight[rest])
            squares.append((model.predict(z[row : row + 1])[0] - Y[row]) ** 2)
        errors.append(np.array(squares))
    return errors


def test_ridge_is_the_ridge_of_the_penalty_that_leave_one_out_chooses():
    errors = [squares.mean() for squares in leave_one_out(np.ones(len(Y)))]
    best = int(np.argmin(errors))
    expected = SklearnRidge(RIDGE_PENALTIES[best]).fit(scaled(X), Y)
    fitted = Ridge.fit(X, Y)
    mean, sd = fitted.predict(NEW)
    np.testing.assert_allclose(mean, expected.predict(scaled(NEW)), rtol=1e-7)
    np.testing.assert_allclose(sd, np.sqrt(errors[best]), rtol=1e-6)


def test_weights_of_ridge_are_those_of_scikit_learn_and_one_is_none():
    weight = np.random.default_rng(3).uniform(0.2, 1, len(Y))
    fitted = Ridge.fit(X, Y, weight)
    candidates = [SklearnRidge(p).fit(scaled(X), Y, sample_weight=weight) for p in RIDGE_PENALTIES]
    gaps = [np.abs(c.predict(scaled(NEW)) - fitted.predict(NEW)[0]).max() for c in candidates]
    assert min(gaps) < 1e-6
    none, one = Ridge.fit(X, Y), Ridge.fit(X, Y, np.ones(len(Y)))
    np.testing.assert_allclose(one.predict(NEW)[0], none.predict(NEW)[0])
    np.testing.assert_allclose(one.deviation, none.deviation)


def test_the_deviation_of_weighted_ridge_is_that_of_a_phq9_of_weight_one():
    """Half of the rows are noisier, and their weights say so."""
    x = inputs(400, seed=5)
    random = np.random.default_rng(6)
    weight = np.where(np.arange(400) < 200, 1.0, 0.1)
    y = 13 + 4 * x.anchors[:, 0] + random.normal(size=400) * 2 / np.sqrt(weight)
    assert Ridge.fit(x, y, weight).deviation == pytest.approx(2.0, rel=0.25)
    assert Ridge.fit(x, y, 0.1 * weight).deviation == pytest.approx(0.2**0.5 * 2**0.5, rel=0.25)


@pytest.mark.parametrize("rows", [8, 50])
def test_the_histogram_in_the_row_space_is_the_optimum_of_the_whole_space(rows):
    """Fewer rows than columns, and more."""
    x = X.take(np.arange(rows))
    y, weight = Y[:rows], np.linspace(0.5, 1.5, rows)
    fitted = Histogram.fit(x, y, weight)
    z = np.concatenate([fitted.scaler(columns(x)), np.ones((rows, 1))], axis=1)
    soft = Totals.normal(y, np.full(rows, SMOOTHING)).probabilities
    penalty = HISTOGRAM_PENALTY * columns(x).shape[1] / rows
    share = weight / weight.mean()

    def loss(flat):
        w = flat.reshape(z.shape[1], 28)
        log = log_softmax(z @ w, axis=1)
        gap = np.exp(log) - soft
        slope = z.T @ (share[:, None] * gap) / rows
        slope[:-1] += penalty * w[:-1]
        value = -(share[:, None] * soft * log).sum() / rows + 0.5 * penalty * (w[:-1] ** 2).sum()
        return value, slope.ravel()

    best = minimize(
        loss, np.zeros(z.shape[1] * 28), jac=True, method="L-BFGS-B",
        options={"maxiter": 20_000, "maxfun": 40_000, "gtol": 1e-8, "ftol": 1e-14},
    )  # fmt: skip
    assert loss(fitted.coefficients.ravel())[0] - best.fun < 1e-4
    other = Histogram(fitted.views, fitted.scaler, best.x.reshape(-1, 28))
    np.testing.assert_allclose(fitted.predict(NEW)[0], other.predict(NEW)[0], atol=0.15)


def test_the_histogram_says_mean_and_deviation_of_its_softmax():
    fitted = Histogram.fit(X, Y)
    z = np.concatenate([fitted.scaler(columns(NEW)), np.ones((9, 1))], axis=1)
    p = np.exp(log_softmax(z @ fitted.coefficients, axis=1))
    mean, sd = fitted.predict(NEW)
    np.testing.assert_allclose(mean, p @ np.arange(28))
    second = p @ np.arange(28) ** 2
    np.testing.assert_allclose(sd, np.sqrt(np.maximum(second - mean**2, 0.25)))


def test_inputs_are_taken_in_the_order_of_the_views():
    swapped = Inputs({"b": X.states["b"], "a": X.states["a"]}, X.anchors)
    np.testing.assert_array_equal(linear_inputs(swapped, ("a", "b")), columns(X))
    np.testing.assert_allclose(Ridge.fit(X, Y).predict(swapped)[0], Ridge.fit(X, Y).predict(X)[0])
