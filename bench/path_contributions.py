"""Exactly additive contributions of single turns to one estimate: path-integrated gradients.

Integrated gradients (Sundararajan, Taly and Yan 2017) along the straight line from the mean
pooled state of the training people to the pooled state of the reading. The pool is a weighted
mean, so the pooled state is a sum over turns and so is the integral: each turn gets the part
of the way that its own state is responsible for, whatever the order of the turns. For a linear
head it is the coefficients times the turn's weight times its distance from the mean. An
increment (see `score`) answers another question: what the estimate did as the turn came in.
Measured in explanations.py, where it is no better than increments, so it stays out of the
package.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from leadline.cohort.windows import Span
from leadline.export.graph import EnsembleGraph
from leadline.heads.candidates import FrozenModel
from leadline.heads.design import PersonStates
from leadline.heads.gaussian_process import GaussianProcess
from leadline.heads.linear import Histogram, Ridge
from leadline.runs.ensemble import Ensemble

Array = npt.NDArray[np.float64]

STEPS = 16  # midpoints of the path


@dataclass(frozen=True)
class Contributions:
    """What each turn of a reading contributes to its estimate.

    Attributes:
        start: the estimate at the mean pooled state of the training people, in points.
        points: contribution of each user turn of the reading, (turns,). They and `start` add
            up to the estimate.
    """

    start: float
    points: Array


class Explainer:
    """Contributions under the whole ensemble of a frozen run, as for somebody new.

    Args:
        ensemble: of a run on frozen states.
        steps: points of the path at which gradients are taken.

    Raises:
        LeadlineError: the run's reader is fine-tuned.
    """

    def __init__(self, ensemble: Ensemble, steps: int = STEPS) -> None:
        self.graph = EnsembleGraph(ensemble)
        self.steps = steps
        self.base = [torch.from_numpy(x) for x in training_means(ensemble, self.graph.views)]

    def __call__(self, person: PersonStates, span: Span) -> Contributions:
        """Contributions of the user turns ``span.first..span.last`` of `person`."""
        mine = slice(span.first, span.last + 1)
        words = torch.from_numpy(person.words[mine].astype(np.float64))
        states = [torch.from_numpy(person.views[view][mine]).double() for view in self.graph.views]
        pooled = [self.graph.pooled(words, x) for x in states]
        gradients = self._gradients(pooled, words.sum())
        if self.graph.pool == "last":
            share = torch.zeros_like(words)
            share[-1] = 1.0
        else:
            share = self.graph.weights(words)
        points = sum(
            share * ((x - base) @ gradient)
            for x, base, gradient in zip(states, self.base, gradients, strict=True)
        )
        assert isinstance(points, Tensor), "there is at least one view"
        with torch.no_grad():
            start = float(self.graph.estimate(self.base, words.sum())[0])
            end = float(self.graph.estimate(pooled, words.sum())[0])
        out = points.numpy()
        # The sum over the path is exact up to its steps; the rest is dealt out by share.
        out = out + share.numpy() * (end - start - out.sum())
        return Contributions(start, out)

    def _gradients(self, pooled: list[Tensor], words: Tensor) -> list[Tensor]:
        """Mean gradient of the estimate along the path, one (width,) a view."""
        total = [torch.zeros_like(x) for x in pooled]
        for step in range(self.steps):
            way = (step + 0.5) / self.steps
            at = [
                (base + way * (x - base)).requires_grad_()
                for base, x in zip(self.base, pooled, strict=True)
            ]
            found = torch.autograd.grad(self.graph.estimate(at, words)[0], at)
            total = [
                one + gradient / self.steps for one, gradient in zip(total, found, strict=True)
            ]
        return total


def training_means(ensemble: Ensemble, views: tuple[str, ...]) -> list[Array]:
    """Mean pooled state of the training people in each view, averaged over the members."""
    found: dict[str, list[Array]] = {view: [] for view in views}
    assert ensemble.source is not None, "frozen runs have their readers"
    widths = {view: ensemble.source.directions[view].shape[1] for view in views}
    for member in ensemble.members:
        assert isinstance(member.model, FrozenModel), "EnsembleGraph checked it"
        for mine, head in member.model.parts:
            if isinstance(head, GaussianProcess):
                mean = head.state_scaler.mean
            else:
                assert isinstance(head, (Ridge, Histogram)), "these are all heads"
                mean = head.scaler.mean
            at = 0
            for view in mine:  # states stand before anchor scores, view by view
                found[view].append(mean[at : at + widths[view]])
                at += widths[view]
    return [np.mean(found[view], axis=0) for view in views]
