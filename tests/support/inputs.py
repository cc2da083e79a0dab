"""Inputs of heads with two views and anchors, and totals that follow from them."""

import numpy as np

from leadline.heads.inputs import Inputs, Turns

WIDTH = 8
"""Of a turn's state, in both views of `talkers` together."""


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
    return turn_inputs(Turns(tuple(people), spans)), totals


def turn_inputs(turns):
    """What `Design.inputs` gives of readings."""
    means = {
        view: np.array([turns.people[p][view][a : b + 1].mean(0) for p, a, b in turns.spans])
        for view in ("a", "b")
    }
    return Inputs(means, np.zeros((len(turns), 0)), turns)
