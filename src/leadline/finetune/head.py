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


def hl_gauss(totals: Tensor, sigma: float = SIGMA) -> Tensor:
    """Smoothed targets: the mass of N(total, sigma) in each bin, truncated and normalised.

    Args:
        totals: PHQ-9 totals (n,), fractions allowed.
        sigma: standard deviation in points; 0 gives all mass to the nearest total.

    Returns:
        float32 (n, 28), rows sum to one.
    """
    totals = totals.float()
    if sigma == 0:
        return nn.functional.one_hot(totals.round().long().clamp(0, TOTALS - 1), TOTALS).float()
    edges = torch.arange(TOTALS + 1, device=totals.device) - 0.5
    below = torch.special.ndtr((edges - totals[:, None]) / sigma)
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

    def losses(self, out: Tensor, totals: Tensor) -> Tensor:
        """Loss of each reading (n,) from the output of `forward`."""
        if self.kind == "distribution":
            return nn.functional.cross_entropy(out, hl_gauss(totals, self.sigma), reduction="none")
        if self.loss_name == "huber":
            return nn.functional.huber_loss(out, totals.float(), reduction="none", delta=3.0)
        return (out - totals.float()) ** 2

    def estimates(self, out: Tensor) -> Tensor:
        """What is handed on: a distribution (n, 28), or the numbers as they are (n,)."""
        return out.softmax(dim=1) if self.kind == "distribution" else out

    @torch.no_grad()
    def standardise(self, states: Tensor) -> None:
        """Set the fixed standardisation to the mean and deviation of `states` (n, width)."""
        self.centre.copy_(states.mean(dim=0))
        self.scale.copy_(states.std(dim=0, correction=0).clamp_min(1e-6))

    def fit(self, states: Tensor, totals: Tensor, weights: Tensor, *, l2: float) -> None:
        """Fit the linear map to fixed states by L-BFGS, from zero: where training starts.

        Args:
            states: running states of the unadapted reader (n, width).
            totals: their labels (n,).
            weights: weight of each (n,).
            l2: penalty on the squared weights per label.
        """
        nn.init.zeros_(self.linear.weight)
        with torch.no_grad():
            share = weights / weights.sum()
            if self.kind == "distribution":
                self.linear.bias.copy_((share @ hl_gauss(totals, self.sigma)).clamp_min(1e-4).log())
            else:
                self.linear.bias.fill_(float(share @ totals.float()))
        training = self.training
        self.eval()
        optimiser = torch.optim.LBFGS(
            self.linear.parameters(), max_iter=200, line_search_fn="strong_wolfe"
        )

        def closure() -> float:
            optimiser.zero_grad()
            loss = share @ self.losses(self(states), totals)
            loss = loss + l2 * self.linear.weight.square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return float(loss.detach())

        optimiser.step(closure)  # type: ignore[no-untyped-call]
        self.train(training)
