"""Columns of heads."""

import numpy as np
from tests.support.inputs import talkers

from leadline.heads.inputs import Scaler


def test_the_scaler_centres_and_scales():
    x = np.array([[1.0, 5.0], [3.0, 5.0]])
    np.testing.assert_allclose(Scaler.fit(x)(np.array([[4.0, 9.0]])), [[2.0, 0.0]])


X, Y = talkers(250, 0)
NEW, TRUTH = talkers(150, 1)


def test_turns_are_taken_and_joined_with_their_people():
    both = X.turns.take(np.array([5, 2])).join(NEW.turns.take(np.array([1])))
    assert len(both) == 3
    for (person, first, last), (of, row) in zip(
        both.spans, ((X, 5), (X, 2), (NEW, 1)), strict=True
    ):
        expected = of.turns.people[row]
        assert (first, last) == (0, len(expected["a"]) - 1)
        np.testing.assert_array_equal(both.states(person, ("b",)), expected["b"])
        np.testing.assert_array_equal(
            both.states(person, ("b", "a")), np.hstack([expected["b"], expected["a"]])
        )
