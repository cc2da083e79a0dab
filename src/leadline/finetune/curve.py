"""The course of a training: losses of gold and pseudolabels apart, the spread of the estimates.

A model that learns its pseudolabels and forgets gold, or whose estimates draw together, is seen
here before any person is estimated by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import Tensor

CURVE = "curve.json"
CURVE_FORMAT = 1

COLUMNS = {
    "loss": "loss",
    "gold_loss": "gold_loss",
    "pseudolabel_loss": "pseudolabel_loss",
    "held_out_loss": "held_out_loss",
    "spread": "spread",
    "learning_rate": "learning_rate",
    "grad_norm": "gradient_norm",
}
"""From the names of the Trainer's log to those of the curve."""


def curve_sums(losses: Tensor, weights: Tensor, gold: Tensor, means: Tensor) -> Tensor:
    """What `curve_figures` needs of a part of a step, so that parts can be added: (7,).

    Args:
        losses: of each reading (n,).
        weights: of each reading (n,); a reading without weight does not count.
        gold: whether it is what the person answered (n,).
        means: the estimates in points (n,).
    """
    counted = (weights > 0).double()
    of_gold, of_pseudo = weights.double() * gold, weights.double() * ~gold
    estimates = means.double()
    return torch.stack([
        (losses * of_gold).sum(), of_gold.sum(), (losses * of_pseudo).sum(), of_pseudo.sum(),
        (estimates * counted).sum(), (estimates.square() * counted).sum(), counted.sum(),
    ]).float()  # fmt: skip


def curve_figures(sums: Sequence[float]) -> dict[str, float]:
    """Mean losses of the labels there are, and the deviation of the estimates in points."""
    gold, gold_mass, pseudo, pseudo_mass, total, squares, count = sums
    figures = {}
    if gold_mass > 0:
        figures["gold_loss"] = gold / gold_mass
    if pseudo_mass > 0:
        figures["pseudolabel_loss"] = pseudo / pseudo_mass
    if count > 1:
        figures["spread"] = sqrt(max(0.0, squares / count - (total / count) ** 2))
    return figures


@dataclass(frozen=True)
class Curve:
    """The course of one training.

    Attributes:
        log: what the Trainer logged, in order; several entries may be of one step.
        steps_per_epoch: steps in which everybody is seen once.
        unit: of the losses.
        best_step: the step whose weights were kept, if it was chosen on people set aside.
    """

    log: Sequence[Mapping[str, Any]]
    steps_per_epoch: float
    unit: str
    best_step: int | None

    def lines(self) -> list[dict[str, Any]]:
        """One line a step, in order: step, epoch, and those of `COLUMNS` that there are."""
        by_step: dict[int, dict[str, Any]] = {}
        for entry in self.log:
            figures = {COLUMNS[name]: entry[name] for name in COLUMNS if name in entry}
            if figures:
                by_step.setdefault(entry["step"], {}).update(figures)
        return [
            {"step": step, "epoch": round(step / self.steps_per_epoch, 4), **by_step[step]}
            for step in sorted(by_step)
        ]

    def description(self) -> dict[str, Any]:
        """What `curve.json` holds."""
        return {
            "format": CURVE_FORMAT,
            "unit": self.unit,
            "best_step": self.best_step,
            "lines": self.lines(),
        }
