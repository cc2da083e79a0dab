"""The ensemble of a frozen run as one torch module, in double precision.

It takes the turn states of one reading and gives the mean and the distribution that
`Ensemble.distributions` gives for somebody new. Being torch, it can be exported (see
`export_onnx`) and differentiated. The Gaussian process multiplies by the
inverse of its Cholesky factor instead of solving with it, because graph formats have no
triangular solver; in double precision the difference is below what is written anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.linalg import solve_triangular
from torch import Tensor, nn

from leadline.arrays import Ints
from leadline.errors import LeadlineError
from leadline.heads.calibration import Calibration
from leadline.heads.candidates import FrozenModel
from leadline.heads.gaussian_process import GaussianProcess
from leadline.heads.head import Head
from leadline.heads.inputs import Scaler
from leadline.heads.lexical import LexicalRidge
from leadline.heads.linear import Histogram, Ridge
from leadline.heads.network import LOUDEST, Network
from leadline.heads.terms import COLUMNS
from leadline.phq9.distribution import EDGES, SMALLEST_DEVIATION
from leadline.phq9.items import TOTALS
from leadline.runs.ensemble import AdaptedModel, Ensemble


class Standardise(nn.Module):
    """`Scaler`: centre and scale columns."""

    mean: Tensor
    inverse: Tensor

    def __init__(self, scaler: Scaler) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(scaler.mean))
        self.register_buffer("inverse", torch.from_numpy(1.0 / scaler.sd))  # 1 / inf is 0

    def forward(self, x: Tensor) -> Tensor:
        """(width,) -> (width,)."""
        return (x - self.mean) * self.inverse


class RidgeGraph(nn.Module):
    """`Ridge`."""

    coefficients: Tensor

    def __init__(self, head: Ridge) -> None:
        super().__init__()
        self.scale = Standardise(head.scaler)
        self.register_buffer("coefficients", torch.from_numpy(head.coefficients))
        self.intercept, self.variance = head.intercept, head.deviation**2

    def forward(self, states: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled states (width,) and anchor scores (A,) -> mean and variance, each ()."""
        x = self.scale(torch.cat([states, anchors]))
        mean = x @ self.coefficients + self.intercept
        return mean, torch.full_like(mean, self.variance)


class HistogramGraph(nn.Module):
    """`Histogram`."""

    coefficients: Tensor
    totals: Tensor

    def __init__(self, head: Histogram) -> None:
        super().__init__()
        self.scale = Standardise(head.scaler)
        self.register_buffer("coefficients", torch.from_numpy(head.coefficients))
        self.register_buffer("totals", torch.arange(TOTALS, dtype=torch.float64))

    def forward(self, states: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled states (width,) and anchor scores (A,) -> mean and variance, each ()."""
        x = self.scale(torch.cat([states, anchors]))
        share = (x @ self.coefficients[:-1] + self.coefficients[-1]).softmax(dim=0)
        mean = share @ self.totals
        variance = share @ self.totals.square() - mean.square()
        return mean, variance.clamp_min(SMALLEST_DEVIATION**2)


class GaussianProcessGraph(nn.Module):
    """`GaussianProcess`; the pooled states of the training people are its buffers."""

    states: Tensor
    anchors: Tensor
    dual: Tensor
    inverse: Tensor

    def __init__(self, head: GaussianProcess) -> None:
        super().__init__()
        self.scale_states = Standardise(head.state_scaler)
        self.scale_anchors = Standardise(head.anchor_scaler)
        inverse = solve_triangular(head.factor, np.eye(len(head.dual)), lower=True)
        for name, value in (
            ("states", head.states),
            ("anchors", head.anchors),
            ("dual", head.dual),
            ("inverse", inverse),
        ):
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(value)))
        self.scales = [float(value) for value in np.exp(head.log_scales)]
        self.medians = [float(value) for value in head.medians]
        self.centre, self.spread = head.centre, head.spread

    def forward(self, states: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled states (width,) and anchor scores (A,) -> mean and variance, each ()."""
        scales = self.scales
        s = self.scale_states(states) / math.sqrt(max(states.shape[0], 1))
        a = self.scale_anchors(anchors) / math.sqrt(max(anchors.shape[0], 1))
        cross = (
            scales[0] * (self.anchors @ a)
            + scales[1] * _radial(self.anchors, a, self.medians[0] * scales[4] ** 2)
            + scales[2] * (self.states @ s)
            + scales[3] * _radial(self.states, s, self.medians[1] * scales[5] ** 2)
        )
        prior = scales[0] * a.square().sum() + scales[1] + scales[2] * s.square().sum() + scales[3]
        half = self.inverse @ cross
        variance = (prior - half.square().sum()).clamp_min(0.0) + scales[-1]
        return self.centre + self.spread * (cross @ self.dual), self.spread**2 * variance


def _radial(rows: Tensor, x: Tensor, scale: float) -> Tensor:
    squares = (rows - x).square().sum(dim=1)
    return torch.exp(-0.5 * squares / scale)


class NetworkGraph(nn.Module):
    """`Network`; it takes turn states where the other heads take pooled ones."""

    first: Tensor
    first_bias: Tensor
    second: Tensor
    second_bias: Tensor
    score: Tensor
    coefficients: Tensor

    def __init__(self, head: Network, erf: torch.dtype) -> None:
        super().__init__()
        self.scale = Standardise(head.scaler)
        for name in ("first", "first_bias", "second", "second_bias", "score", "coefficients"):
            self.register_buffer(name, torch.from_numpy(getattr(head, name)))
        self.intercept, self.variance, self.erf = head.intercept, head.deviation**2, erf

    def forward(self, states: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """Turn states (U, width), anchor scores unused -> mean and variance, each ()."""
        del anchors
        hidden = self.scale(states) / math.sqrt(states.shape[1])
        hidden = self.gelu(hidden @ self.first.T + self.first_bias)
        hidden = self.gelu(hidden @ self.second.T + self.second_bias)
        attention = (hidden @ self.score).clamp(-LOUDEST, LOUDEST).softmax(dim=0)
        mean = attention @ (hidden @ self.coefficients) + self.intercept
        return mean, torch.full_like(mean, self.variance)

    def gelu(self, x: Tensor) -> Tensor:
        """The error-function form, with the function in the arithmetic that a runtime has."""
        return 0.5 * x * (1.0 + torch.erf((x / math.sqrt(2.0)).to(self.erf)).to(x.dtype))


class LexicalGraph(nn.Module):
    """`LexicalRidge`, on the columns of counts that any member of the ensemble looks at.

    Args:
        head: the fitted ridge.
        columns: what is counted, ascending, (V,); those of the head are among them.
    """

    rarity: Tensor
    coefficients: Tensor

    def __init__(self, head: LexicalRidge, columns: Ints) -> None:
        super().__init__()
        at = np.searchsorted(columns, head.columns)
        for name in ("rarity", "coefficients"):
            values = np.zeros(len(columns))
            values[at] = getattr(head, name)
            self.register_buffer(name, torch.from_numpy(values))
        self.words = int(np.searchsorted(columns, COLUMNS))  # characters come after them
        self.intercept, self.variance = head.intercept, head.deviation**2

    def forward(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Counts of the columns (V,) -> mean and variance, each ()."""
        size = torch.where(counts > 0, 1.0 + counts.clamp_min(1.0).log(), 0.0) * self.rarity
        mean = torch.full_like(counts.sum(), self.intercept)
        for block in (slice(None, self.words), slice(self.words, None)):
            length = size[block].square().sum().sqrt()
            # Without a known term the product is zero, and so is the length.
            mean = mean + size[block] @ self.coefficients[block] / torch.where(
                length > 0, length, torch.ones_like(length)
            )
        return mean, torch.full_like(mean, self.variance)


GRAPHS: dict[type, Any] = {
    Ridge: RidgeGraph,
    Histogram: HistogramGraph,
    GaussianProcess: GaussianProcessGraph,
}


NO_COLUMNS: Ints = np.zeros(0, dtype=np.int64)


class MemberGraph(nn.Module):
    """One `FrozenModel`: its heads averaged over views, words beside them, then calibrated.

    Args:
        model: what is expressed.
        erf: as of `EnsembleGraph`.
        columns: as of `LexicalGraph`.
    """

    edges: Tensor

    def __init__(self, model: FrozenModel, erf: torch.dtype, columns: Ints = NO_COLUMNS) -> None:
        super().__init__()
        heads = [part for part in model.parts if not isinstance(part[1], LexicalRidge)]
        words = [head for _, head in model.parts if isinstance(head, LexicalRidge)]
        self.views = [tuple(views) for views, _ in heads]
        self.with_anchors, self.erf = model.candidate.with_anchors, erf
        self.heads = nn.ModuleList(graph_of(head, erf) for _, head in heads)
        self.lexical = nn.ModuleList(LexicalGraph(head, columns) for head in words)
        self.share = model.candidate.lexical
        self.calibration: Calibration = model.calibration
        self.register_buffer("edges", torch.from_numpy(EDGES[1:-1].copy()))

    def forward(
        self,
        states: Mapping[str, Tensor],
        anchors: Mapping[str, Tensor],
        words: Tensor,
        turns: Mapping[str, Tensor],
        terms: Tensor | None = None,
    ) -> Tensor:
        """Pooled states, anchor scores and turn states by view, words (), counts (V,) -> (28,)."""
        means, variances = [], []
        for views, head in zip(self.views, self.heads, strict=True):
            head_states = turns if isinstance(head, NetworkGraph) else states
            joined = torch.cat([head_states[view] for view in views], dim=-1)
            anchor_scores = [anchors[view] for view in views] if self.with_anchors else [joined[:0]]
            mean, variance = head(joined, torch.cat(anchor_scores))
            means.append(mean)
            variances.append(variance)
        mean, variance = torch.stack(means).mean(), torch.stack(variances).mean()
        for head in self.lexical:  # one, or none
            mean_of_words, variance_of_words = head(terms)
            mean = (1.0 - self.share) * mean + self.share * mean_of_words
            variance = (1.0 - self.share) * variance + self.share * variance_of_words
        return self.distribution(mean, variance.sqrt(), words)

    def distribution(self, mean: Tensor, sd: Tensor, words: Tensor) -> Tensor:
        """`Calibration.distribution` of one reading: (), (), () -> (28,)."""
        calibration = self.calibration
        words = words.clamp_min(1.0)
        keep = calibration.stretch * words / (words + calibration.half_words)
        spread = sd * calibration.widen * torch.sqrt(1.0 + calibration.few_words / words)
        z = (
            self.edges
            - (calibration.centre + keep * (mean - calibration.shift - calibration.centre))
        ) / spread
        cdf = 0.5 + 0.5 * torch.erf((z / math.sqrt(2.0)).to(self.erf)).to(z.dtype)
        ones = torch.ones_like(cdf[:1])
        return torch.cat([cdf, ones]) - torch.cat([torch.zeros_like(ones), cdf])


class EnsembleGraph(nn.Module):
    """A frozen ensemble for somebody new: every member, averaged.

    Args:
        ensemble: of a run on frozen states.
        erf: arithmetic of the normal distribution function alone; float32 where a runtime has
            no other, which costs about 1e-7 in a probability.

    Raises:
        LeadlineError: the run's reader is fine-tuned.

    Attributes:
        columns: columns of the counts of words and characters (`heads.terms`) that any member
            looks at, ascending, (V,); empty where none does.
    """

    totals: Tensor

    def __init__(self, ensemble: Ensemble, erf: torch.dtype = torch.float64) -> None:
        super().__init__()
        models = [member.model for member in ensemble.members]
        if ensemble.source is None or any(isinstance(model, AdaptedModel) for model in models):
            raise LeadlineError(
                "This run's reader is fine-tuned; only pool and heads of frozen readers are "
                "a graph of their own.",
                remedy="Train with --adapt frozen, or export with --to vllm.",
            )
        frozen = [model for model in models if isinstance(model, FrozenModel)]
        self.columns = columns_of(frozen)
        self.pool = ensemble.pool
        self.views = tuple(ensemble.source.views)
        for number, view in enumerate(self.views):
            direction = torch.from_numpy(np.ascontiguousarray(ensemble.source.directions[view]))
            self.register_buffer(f"directions{number}", direction)
        self.members = nn.ModuleList(MemberGraph(model, erf, self.columns) for model in frozen)
        self.register_buffer("totals", torch.arange(TOTALS, dtype=torch.float64))

    def forward(self, words: Tensor, *states: Tensor) -> tuple[Tensor, Tensor]:
        """The estimate of one reading.

        Args:
            words: of each of its user turns, float (U,).
            states: turn states, a tensor (U, width) for each of `views`, and then, where there
                are `columns`, the reading's counts of them, float (V,).

        Returns:
            Mean total () and probabilities of the totals 0 to 27 (28,), float64.
        """
        words = words.double()
        turns = [x.double() for x in states[: len(self.views)]]
        terms = states[-1].double() if len(self.columns) else None
        return self.estimate([self.pooled(words, x) for x in turns], words.sum(), turns, terms)

    def pooled(self, words: Tensor, states: Tensor) -> Tensor:
        """Turn states (U, width) -> the pooled state (width,)."""
        if self.pool == "last":
            return states[-1]
        weight = self.weights(words)
        return (weight[:, None] * states).sum(dim=0)

    def weights(self, words: Tensor) -> Tensor:
        """Share of each turn in a mean pool, (U,); they sum to one."""
        weight = words.clamp_min(1.0) if self.pool == "words" else torch.ones_like(words)
        return weight / weight.sum()

    def estimate(
        self,
        pooled: Sequence[Tensor],
        words: Tensor,
        turns: Sequence[Tensor] = (),
        terms: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Pooled states by view, each (width,), and the reading's words () -> as `forward`.

        `turns`: the turn states by view, each (U, width), for networks. `terms`: the counts of
        `columns`, (V,), for ridges on words and characters.
        """
        states = dict(zip(self.views, pooled, strict=True))
        each = dict(zip(self.views, turns, strict=bool(turns)))
        anchors = {
            view: self.get_buffer(f"directions{number}") @ states[view]
            for number, view in enumerate(self.views)
        }
        shapes = [member(states, anchors, words, each, terms) for member in self.members]
        distribution = torch.stack(shapes).mean(dim=0)
        return distribution @ self.totals, distribution


def columns_of(models: Sequence[FrozenModel]) -> Ints:
    """Columns of the counts that any of `models` looks at, ascending, (V,)."""
    heads = [head for model in models for _, head in model.parts]
    columns = [head.columns for head in heads if isinstance(head, LexicalRidge)]
    return np.unique(np.concatenate([NO_COLUMNS, *columns]))


def graph_of(head: Head, erf: torch.dtype) -> nn.Module:
    """The torch form of a fitted head; `erf` as in `EnsembleGraph`."""
    if isinstance(head, Network):
        return NetworkGraph(head, erf)
    graph: nn.Module = GRAPHS[type(head)](head)
    return graph
