import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save
from tests.support.inputs import NEW, X, Y

from leadline.errors import LeadlineError
from leadline.heads.config import FROZEN_HEADS
from leadline.heads.head import fit_head, head_state, restore_head
from leadline.heads.inputs import Inputs
from leadline.phq9.distribution import Totals

CLOSED = [name for name in FROZEN_HEADS if name != "network"]  # test_network.py has that


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


@pytest.mark.parametrize("name", CLOSED)
def test_one_row_and_equal_totals(name):
    two = X.take(np.array([0, 1]))
    mean, sd = fit_head(name, two, np.array([9.0, 9.0])).predict(NEW)
    np.testing.assert_allclose(mean, 9.0, atol=0.5)
    assert np.isfinite(Totals.normal(mean, sd).probabilities).all()
    assert (sd > 0).all()


@pytest.fixture(scope="module", params=CLOSED)
def fitted(request):
    return request.param, fit_head(request.param, X, Y)


LOOSE = {"gp": 1e-3, "ridge": 1e-7, "histogram": 5e-3}
"""Points by which two searches for the same optimum may end apart."""


@settings(max_examples=3)
@given(st.permutations(range(len(Y))))
def test_the_order_of_the_rows_does_not_matter(fitted, order):
    name, head = fitted
    rows = np.array(order)
    other = fit_head(name, X.take(rows), Y[rows])
    for one, again in zip(head.predict(NEW), other.predict(NEW), strict=True):
        np.testing.assert_allclose(again, one, atol=LOOSE[name])


@settings(max_examples=3)
@given(st.floats(0.01, 100), st.floats(-50, 50))
def test_units_and_origins_of_the_columns_do_not_matter(fitted, factor, shift):
    """Columns are standardised by the training rows, so a reader's scale says nothing."""
    name, head = fitted

    def moved(inputs):
        states = {view: factor * x + shift for view, x in inputs.states.items()}
        return Inputs(states, inputs.anchors - shift)

    other = fit_head(name, moved(X), Y)
    for one, again in zip(head.predict(NEW), other.predict(moved(NEW)), strict=True):
        np.testing.assert_allclose(again, one, atol=LOOSE[name])


@given(st.lists(st.integers(0, len(NEW) - 1), min_size=1, max_size=6))
def test_an_estimate_does_not_depend_on_what_is_estimated_beside_it(fitted, rows):
    _, head = fitted
    mean, sd = head.predict(NEW)
    some_mean, some_sd = head.predict(NEW.take(np.array(rows)))
    np.testing.assert_allclose(some_mean, mean[rows], atol=1e-9)
    np.testing.assert_allclose(some_sd, sd[rows], atol=1e-9)
