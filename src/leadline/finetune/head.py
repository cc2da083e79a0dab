"""Heads: from a running state to a distribution over totals 0..27, or to a number.

The distribution is a 28-bin histogram trained against Gaussian-smoothed targets (HL-Gauss,
arXiv 2403.03950). A head computes in float32 whatever the reader computes in: in bfloat16 an
output above 16 moves in steps of .125.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leadline.finetune.config import SIGMA
from leadline.phq9.items import TOTALS


def hl_gauss(totals: Tensor, sigma: float = SIGMA, sds: Tensor | None = None) -> Tensor:
    """Smoothed targets: the mass of a normal in each bin, truncated and normalised.

    Its mean is the total, its deviation ``sqrt(sigma^2 + sd^2)``: the posterior of an uncertain
    label, smoothed as a certain one is.

    Args:
        totals: PHQ-9 totals (n,), fractions allowed.
        sigma: smoothing in points; 0 gives all mass of a certain label to the nearest total.
        sds: standard deviation of each label in points (n,); None where all are certain.

    Returns:
        float32 (n, 28), rows sum to one.
    """
    totals = totals.float()
    if sds is not None and bool((sds > 0).any()):
        deviations = torch.where(sds > 0, (sigma**2 + sds.float() ** 2).sqrt(), sigma)
        # A certain label among uncertain ones may have no deviation to divide by.
        mass = _normal_mass(totals, deviations.clamp_min(1e-6)[:, None])
        return torch.where(deviations[:, None] > 0, mass, _nearest(totals))
    return _nearest(totals) if sigma == 0 else _normal_mass(totals, sigma)


def _nearest(totals: Tensor) -> Tensor:
    return nn.functional.one_hot(totals.round().long().clamp(0, TOTALS - 1), TOTALS).float()


def _normal_mass(totals: Tensor, deviation: float | Tensor) -> Tensor:
    edges = torch.arange(TOTALS + 1, device=totals.device) - 0.5
    below = torch.special.ndtr((edges - totals[:, None]) / deviation)
    mass = below.diff(dim=1)
    share: Tensor = mass / mass.sum(dim=1, keepdim=True)
    return share


class LinearHead(nn.Module):
    """A linear map behind a fixed standardisation of its inputs.

    Args:
        kind: ``distribution`` or ``scalar``.
        width: numbers in a running state.
        loss: of the scalar head, ``mse`` or ``huber`` (knee at 3 points).
        sigma: smoothing of the distribution's targets.
        dropout: share of inputs dropped in training.
    """

    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        kind: str,
        width: int,
        *,
        loss: str = "mse",
        sigma: float = SIGMA,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.kind, self.loss_name, self.sigma = kind, loss, sigma
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, TOTALS if kind == "distribution" else 1)
        nn.init.zeros_(self.linear.bias)

    def forward(self, states: Tensor) -> Tensor:
        """Running states (n, width) -> logits (n, 28), or estimates (n,)."""
        with torch.autocast(states.device.type, enabled=False):
            out: Tensor = self.linear(self.dropout((states.float() - self.centre) / self.scale))
        return out if self.kind == "distribution" else out.squeeze(-1)

    def losses(self, out: Tensor, totals: Tensor, sds: Tensor | None = None) -> Tensor:
        """Loss of each reading (n,) from the output of `forward`.

        `sds` are the deviations of the labels in points; a scalar head looks at totals only.
        """
        if self.kind == "distribution":
            targets = hl_gauss(totals, self.sigma, sds)
            return nn.functional.cross_entropy(out, targets, reduction="none")
        if self.loss_name == "huber":
            return nn.functional.huber_loss(out, totals.float(), reduction="none", delta=3.0)
        return (out - totals.float()) ** 2

    def estimates(self, out: Tensor) -> Tensor:
        """What is handed on: a distribution (n, 28), or the numbers as they are (n,)."""
        return out.softmax(dim=1) if self.kind == "distribution" else out

    @property
    def unit(self) -> str:
        """What the loss is measured in."""
        if self.kind == "distribution":
            return "nats"
        return "points squared" if self.loss_name == "mse" else "huber loss of points"

    def means(self, out: Tensor) -> Tensor:
        """Estimates in points (n,) from the output of `forward`."""
        if self.kind == "scalar":
            return out
        return out.softmax(dim=1) @ torch.arange(TOTALS, device=out.device, dtype=out.dtype)

    @torch.no_grad()
    def standardise(self, states: Tensor) -> None:
        """Set the fixed standardisation to the mean and deviation of `states` (n, width)."""
        self.centre.copy_(states.mean(dim=0))
        self.scale.copy_(states.std(dim=0, correction=0).clamp_min(1e-6))

    def fit(
        self,
        states: Tensor,
        totals: Tensor,
        weights: Tensor,
        *,
        l2: float,
        sds: Tensor | None = None,
    ) -> None:
        """Fit the linear map to fixed states by L-BFGS, from zero: where training starts.

        Args:
            states: running states of the unadapted reader (n, width).
            totals: their labels (n,).
            weights: weight of each (n,).
            l2: penalty on the squared weights per label.
            sds: standard deviation of each label in points (n,); None where all are certain.
        """
        nn.init.zeros_(self.linear.weight)
        with torch.no_grad():
            share = weights / weights.sum()
            if self.kind == "distribution":
                targets = hl_gauss(totals, self.sigma, sds)
                self.linear.bias.copy_((share @ targets).clamp_min(1e-4).log())
            else:
                self.linear.bias.fill_(float(share @ totals.float()))
        training = self.training
        self.eval()
        optimiser = torch.optim.LBFGS(
            self.linear.parameters(), max_iter=200, line_search_fn="strong_wolfe"
        )

        def closure() -> float:
            optimiser.zero_grad()
            loss = share @ self.losses(self(states), totals, sds)
            loss = loss + l2 * self.linear.weight.square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return float(loss.detach())

        optimiser.step(closure)  # type: ignore[no-untyped-call]
        self.train(training)
