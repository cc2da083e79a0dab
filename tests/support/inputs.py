"""Inputs of heads with two views and anchors, and totals that follow from them."""

import numpy as np

from leadline.heads.inputs import Inputs


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
