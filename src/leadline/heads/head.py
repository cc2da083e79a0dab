"""Heads that are fitted on frozen states at once, without gradient training of a reader.

`gp` is the anchored Gaussian process, `ridge` the linear model that everyone knows, and
`histogram` a softmax over the totals 0..27 with Gaussian-smoothed targets (HL-Gauss, Imani and
White 2018; Farebrother et al. 2024), convex and solved by L-BFGS. All take pooled states and
anchor scores and give a mean and a deviation for each reading. `network` (in its own module) takes
turn states instead, and `lexical` words and characters. `prior` is what is assumed without labels,
and `started` learns from there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Protocol, Self

import numpy as np

from leadline.arrays import Array
from leadline.errors import LeadlineError
from leadline.heads.gaussian_process import HYPERPARAMETERS, GaussianProcess
from leadline.heads.inputs import Inputs, Scaler
from leadline.heads.lexical import LexicalRidge
from leadline.heads.linear import Histogram, Ridge
from leadline.heads.network import Network
from leadline.heads.prior import AnchorPrior, StartedProcess
from leadline.phq9.items import TOTALS

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
    "prior": AnchorPrior,
    "started": StartedProcess,
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
    check_arrays(str(settings["head"]), tensors)
    check_numbers(str(settings["head"]), values)
    head: Head = kind(**values)
    return head


PRIOR_SHAPES: dict[str, tuple[str | int, ...]] = {
    "anchor_scaler.mean": ("scores",), "anchor_scaler.sd": ("scores",),
    "state_scaler.mean": ("width",), "state_scaler.sd": ("width",),
    "knots": ("knots",), "normal_scores": ("knots",),
}  # fmt: skip

ARRAY_SHAPES: dict[str, dict[str, tuple[str | int, ...]]] = {
    "gp": {
        "states": ("rows", "width"), "anchors": ("rows", "scores"), "dual": ("rows",),
        "noise": ("rows",), "state_scaler.mean": ("width",), "state_scaler.sd": ("width",),
        "anchor_scaler.mean": ("scores",), "anchor_scaler.sd": ("scores",),
        "log_scales": (len(HYPERPARAMETERS),), "medians": (2,),
    },
    "ridge": {"scaler.mean": ("width",), "scaler.sd": ("width",), "coefficients": ("width",)},
    "histogram": {
        "scaler.mean": ("width",), "scaler.sd": ("width",), "coefficients": ("and one", TOTALS),
    },
    "network": {
        "scaler.mean": ("width",), "scaler.sd": ("width",), "first": ("units", "width"),
        "first_bias": ("units",), "second": ("units", "units"), "second_bias": ("units",),
        "score": ("units",), "coefficients": ("units",),
    },
    "lexical": {"columns": ("terms",), "rarity": ("terms",), "coefficients": ("terms",)},
    "prior": PRIOR_SHAPES,
    "started": {
        **PRIOR_SHAPES, "rank_rows": ("rows",), "anchor_rows": ("rows", "scores"),
        "state_rows": ("rows", "width"), "dual": ("rows",), "row_noise": ("rows",),
    },
}  # fmt: skip
"""Lengths of the arrays of each head; equal names are equal lengths, a number is itself."""


DAMAGED_HEAD = "Restore the run from a copy, or train it again."


def check_arrays(head: str, tensors: Mapping[str, Array]) -> None:
    """Raise unless the arrays of a head fit together and every number in them is one.

    A deviation by which a column is scaled may be infinite: a constant column becomes 0.

    Raises:
        LeadlineError: they do not.
    """
    lengths: dict[str, int] = {}
    for name, shape in ARRAY_SHAPES[head].items():
        array = tensors.get(name)
        if array is None or not _fits(array, shape, lengths) or not _are_numbers(name, array):
            raise LeadlineError(
                f"The arrays of the checkpoint's {head} head do not fit, or are not finite.",
                remedy=DAMAGED_HEAD,
            )
    if head == "histogram" and lengths["and one"] != lengths["width"] + 1:
        raise LeadlineError(
            "The arrays of the checkpoint's histogram head do not fit.", remedy=DAMAGED_HEAD
        )


def _fits(array: Array, shape: tuple[str | int, ...], lengths: dict[str, int]) -> bool:
    """Whether an array has a shape; `lengths` holds those of names that were met before."""
    return array.ndim == len(shape) and all(
        size == (length if isinstance(length, int) else lengths.setdefault(length, size))
        for length, size in zip(shape, array.shape, strict=True)
    )


def _are_numbers(name: str, array: Array) -> bool:
    """Whether an array of a head holds what one of its name can hold."""
    if name == "columns":  # of a table of counts: ascending, as they are looked up
        steps = np.diff(array, prepend=-1) if array.dtype.kind in "iu" else np.zeros(1)
        return bool((steps > 0).all())
    if array.dtype.kind != "f" or np.isnan(array).any():
        return False
    if name.endswith(".sd"):
        return bool((array > 0).all())
    return bool(np.isfinite(array).all())


def check_numbers(head: str, values: Mapping[str, Any]) -> None:
    """Raise unless the settings of a head are names of views and finite numbers.

    Raises:
        LeadlineError: they are not.
    """
    for name, value in values.items():
        if isinstance(value, (Scaler, np.ndarray)):
            continue
        if name == "views":
            fits = isinstance(value, tuple) and all(isinstance(view, str) for view in value)
        else:
            is_real = isinstance(value, (int, float)) and not isinstance(value, bool)
            fits = is_real and math.isfinite(value) and (value > 0 or name not in POSITIVE)
        if not fits:
            raise LeadlineError(
                f"The settings of the checkpoint's {head} head are not those of one.",
                remedy=DAMAGED_HEAD,
            )


POSITIVE = ("deviation", "spread", "factor", "noise")
