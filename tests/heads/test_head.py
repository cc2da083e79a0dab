import numpy as np
import pytest
from safetensors.numpy import load, save
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import Ridge as SklearnRidge

from leadline.errors import LeadlineError
from leadline.heads.config import FROZEN_HEADS
from leadline.heads.head import fit_head, head_state, restore_head
from leadline.heads.inputs import Inputs
from leadline.heads.linear import (
    HISTOGRAM_PENALTY,
    RIDGE_PENALTIES,
    SMOOTHING,
    Histogram,
    Ridge,
    linear_inputs,
)
from leadline.phq9.distribution import totals_distribution

CLOSED = [name for name in FROZEN_HEADS if name != "network"]  # test_network.py has that


def inputs(rows, seed=0, width=12):
    random = np.random.default_rng(seed)
    states = {"a": random.normal(size=(rows, width)), "b": 4 + 2 * random.normal(size=(rows, 3))}
    return Inputs(states, random.normal(size=(rows, 2)))


def target(x, seed=1):
    noise = np.random.default_rng(seed).normal(size=len(x))
    return np.clip(np.rint(13 + 4 * x.anchors[:, 0] - 2 * x.states["a"][:, 0] + noise), 0, 27)


X, NEW = inputs(50), inputs(9, seed=8)
Y = target(X)


def columns(x):
    return np.concatenate([x.states["a"], x.states["b"], x.anchors], axis=1)


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
    soft = totals_distribution(y, np.full(rows, SMOOTHING))
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


@pytest.mark.parametrize("name", CLOSED)
def test_every_head_learns_and_weighs(name):
    mean, sd = fit_head(name, X, Y, np.ones(len(Y))).predict(NEW)
    truth = 13 + 4 * NEW.anchors[:, 0] - 2 * NEW.states["a"][:, 0]
    assert np.corrcoef(mean, np.clip(truth, 0, 27))[0, 1] > 0.8
    assert (sd > 0).all()
    wrong = np.where(np.arange(50) < 15, 27 - Y, Y)
    trusted = np.where(np.arange(50) < 15, 1e-3, 1.0)
    light = fit_head(name, X, wrong, trusted).predict(NEW)[0]
    full = fit_head(name, X, wrong, np.ones(50)).predict(NEW)[0]
    assert np.abs(light - truth).mean() < np.abs(full - truth).mean()


@pytest.mark.parametrize("name", CLOSED)
def test_a_head_is_restored_from_the_bytes_of_a_checkpoint(name):
    head = fit_head(name, X, Y, np.ones(len(Y)))
    plain, tensors = head_state(head)
    again = restore_head(
        plain, load(save({k: np.ascontiguousarray(x) for k, x in tensors.items()}))
    )
    assert type(again) is type(head)
    for one, other in zip(head.predict(NEW), again.predict(NEW), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("damage", ["name", "tensor", "setting"])
def test_a_head_of_another_version_is_refused(name, damage):
    plain, tensors = head_state(fit_head(name, X, Y))
    if damage == "name":
        plain["head"] = "forest"
    elif damage == "tensor":
        tensors.pop(next(iter(tensors)))
    else:
        plain.pop("views")
    with pytest.raises(LeadlineError, match="not one that this version"):
        restore_head(plain, tensors)


def test_inputs_are_taken_in_the_order_of_the_views():
    swapped = Inputs({"b": X.states["b"], "a": X.states["a"]}, X.anchors)
    np.testing.assert_array_equal(linear_inputs(swapped, ("a", "b")), columns(X))
    np.testing.assert_allclose(Ridge.fit(X, Y).predict(swapped)[0], Ridge.fit(X, Y).predict(X)[0])


@pytest.mark.parametrize("name", CLOSED)
def test_one_row_and_equal_totals(name):
    two = X.take(np.array([0, 1]))
    mean, sd = fit_head(name, two, np.array([9.0, 9.0])).predict(NEW)
    np.testing.assert_allclose(mean, 9.0, atol=0.5)
    assert np.isfinite(totals_distribution(mean, sd)).all()
    assert (sd > 0).all()
