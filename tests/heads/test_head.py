import numpy as np
import pytest
from safetensors.numpy import load, save
from tests.support.inputs import NEW, X, Y

from leadline.errors import LeadlineError
from leadline.heads.config import FROZEN_HEADS
from leadline.heads.head import ARRAY_SHAPES, fit_head, head_state, restore_head
from leadline.heads.lexical import LexicalRidge
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


def spoiled(name, tensors, change):
    """Arrays of a head with one of them changed: the first that is not one of columns."""
    array = next(key for key in ARRAY_SHAPES[name] if key != "columns")
    return {**tensors, array: change(tensors[array].copy())}


def with_first(value):
    def change(array):
        array.flat[0] = value
        return array

    return change


SPOILT_ARRAYS = {
    "a row less": lambda array: array[:-1],
    "another shape": lambda array: array[None],
    "not a number": with_first(np.nan),
    "text": lambda array: array.astype("S8"),
}


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("damage", SPOILT_ARRAYS)
def test_arrays_that_do_not_fit_are_refused(name, damage):
    plain, tensors = head_state(fit_head(name, X, Y))
    restore_head(plain, tensors)
    with pytest.raises(LeadlineError, match="do not fit"):
        restore_head(plain, spoiled(name, tensors, SPOILT_ARRAYS[damage]))


@pytest.mark.parametrize("name", CLOSED)
def test_a_head_has_all_its_arrays_and_settings_are_finite_numbers(name):
    plain, tensors = head_state(fit_head(name, X, Y))
    assert set(ARRAY_SHAPES[name]) == set(tensors)
    numbers = [key for key, value in plain.items() if isinstance(value, float)]
    for key in numbers:
        for value in (np.nan, np.inf, "3", None, True):
            with pytest.raises(LeadlineError, match="are not those of one"):
                restore_head({**plain, key: value}, tensors)
    with pytest.raises(LeadlineError, match="are not those of one"):
        restore_head({**plain, "views": [1]}, tensors)


def test_a_scale_is_no_zero_a_deviation_positive_and_columns_ascend():
    plain, tensors = head_state(fit_head("ridge", X, Y))
    with pytest.raises(LeadlineError, match="do not fit"):
        restore_head(plain, {**tensors, "scaler.sd": 0 * tensors["scaler.sd"]})
    with pytest.raises(LeadlineError, match="are not those of one"):
        restore_head({**plain, "deviation": 0.0}, tensors)
    head = LexicalRidge(np.array([3, 8]), np.ones(2), np.ones(2), 5.0, 1.0, 0.5)
    plain, tensors = head_state(head)
    assert restore_head(plain, tensors).intercept == 5.0
    for columns in (tensors["columns"][::-1], tensors["columns"] - 10**9):
        with pytest.raises(LeadlineError, match="do not fit"):
            restore_head(plain, {**tensors, "columns": np.ascontiguousarray(columns)})
    plain, tensors = head_state(fit_head("histogram", X, Y))
    with pytest.raises(LeadlineError, match="histogram head do not fit"):
        restore_head(plain, {**tensors, "coefficients": tensors["coefficients"][:-1]})
