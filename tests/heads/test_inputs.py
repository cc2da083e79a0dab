"""Columns of heads."""

import numpy as np

from leadline.heads.inputs import Inputs, Scaler, Turns


def test_the_scaler_centres_and_scales():
    x = np.array([[1.0, 5.0], [3.0, 5.0]])
    np.testing.assert_allclose(Scaler.fit(x)(np.array([[4.0, 9.0]])), [[2.0, 0.0]])


WIDTH = 8


def talkers(count, seed):
    """People whose marked turns tell their total; the other turns are noise as strong."""
    random = np.random.default_rng(seed)
    totals = random.integers(0, 28, count).astype(float)
    people = []
    for total in totals:
        turns = random.integers(4, 16)
        x = random.normal(size=(turns, WIDTH))
        marked = random.random(turns) < 0.3
        marked[random.integers(turns)] = True
        x[:, 0] = np.where(marked, 3, -3)
        x[:, 1] = np.where(marked, (total - 13) / 4, 4 * random.normal(size=turns))
        people.append({"a": x[:, :5].astype(np.float32), "b": x[:, 5:].astype(np.float32)})
    spans = np.array([(row, 0, len(one["a"]) - 1) for row, one in enumerate(people)])
    return inputs(Turns(tuple(people), spans)), totals


def inputs(turns):
    """What `Design.inputs` gives of readings."""
    means = {
        view: np.array([turns.people[p][view][a : b + 1].mean(0) for p, a, b in turns.spans])
        for view in ("a", "b")
    }
    return Inputs(means, np.zeros((len(turns), 0)), turns)


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
