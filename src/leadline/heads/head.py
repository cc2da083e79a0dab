"""Heads that are fitted on frozen states at once, without gradient training of a reader.

`gp` is the anchored Gaussian process, `ridge` the linear model that everyone knows, and
`histogram` a softmax over the totals 0..27 with Gaussian-smoothed targets (HL-Gauss, Imani and
White 2018; Farebrother et al. 2024), convex and solved by L-BFGS. All take pooled states and
anchor scores and give a mean and a deviation for each reading. `network` (in its own module) takes
turn states instead, and `lexical` words and characters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Protocol, Self

import numpy as np

from leadline.arrays import Array
from leadline.errors import LeadlineError
from leadline.heads.gaussian_process import GaussianProcess
from leadline.heads.inputs import Inputs, Scaler
from leadline.heads.lexical import LexicalRidge
from leadline.heads.linear import Histogram, Ridge
from leadline.heads.network import Network

Tensors = dict[str, Array]


class Head(Protocol):
    """What the training, scoring and checkpoint code needs of a head: a dataclass that is fitted.

    Its fields are arrays, scalers and plain values, so that `head_state` can write them.
    """

    @classmethod
    def fit(
        cls,
        inputs: Inputs,
        target: Array,
        weight: Array | None = None,
        *,
        seed: int = 0,
        log_scales: Array | None = None,
    ) -> Self:
        """Fit to totals `target` (R,) with relative precisions `weight` (R,).

        `log_scales` are the hyperparameters of an earlier fit, which a head that has such (the
        Gaussian process) keeps; the others choose theirs in any case.
        """

    def predict(self, inputs: Inputs) -> tuple[Array, Array]:
        """Mean and standard deviation of the total of each reading, each (R,)."""


HEAD_CLASSES: dict[str, type[Head]] = {
    "gp": GaussianProcess,
    "ridge": Ridge,
    "histogram": Histogram,
    "network": Network,
    "lexical": LexicalRidge,
}


def fit_head(
    name: str,
    inputs: Inputs,
    target: Array,
    weight: Array | None = None,
    *,
    seed: int = 0,
    log_scales: Array | None = None,
) -> Head:
    """Fit the head called `name`, one of `config.FROZEN_HEADS`; see `Head.fit`."""
    return HEAD_CLASSES[name].fit(inputs, target, weight, seed=seed, log_scales=log_scales)


def head_state(head: Head) -> tuple[dict[str, Any], Tensors]:
    """A fitted head as plain settings and named arrays, for a checkpoint."""
    settings: dict[str, Any] = {
        "head": next(n for n, kind in HEAD_CLASSES.items() if isinstance(head, kind))
    }
    tensors: Tensors = {}
    for field in fields(head):  # type: ignore[arg-type]
        value = getattr(head, field.name)
        if isinstance(value, Scaler):
            tensors[f"{field.name}.mean"], tensors[f"{field.name}.sd"] = value.mean, value.sd
        elif isinstance(value, np.ndarray):
            tensors[field.name] = value
        else:
            settings[field.name] = list(value) if isinstance(value, tuple) else value
    return settings, tensors


def restore_head(settings: Mapping[str, Any], tensors: Mapping[str, Array]) -> Head:
    """The inverse of `head_state`.

    Raises:
        LeadlineError: the settings or arrays are not those of a head of this version.
    """
    kind = HEAD_CLASSES.get(str(settings.get("head")))
    values: dict[str, Any] = {}
    for field in fields(kind) if kind else ():  # type: ignore[arg-type]
        name = field.name
        if f"{name}.mean" in tensors:
            values[name] = Scaler(tensors[f"{name}.mean"], tensors[f"{name}.sd"])
        elif name in tensors:
            values[name] = tensors[name]
        elif name in settings:
            values[name] = tuple(settings[name]) if name == "views" else settings[name]
        else:
            kind = None
            break
    if kind is None:
        raise LeadlineError(
            "The checkpoint's head is not one that this version of Leadline knows.",
            remedy="Train the run again with this version.",
        )
    head: Head = kind(**values)
    return head
