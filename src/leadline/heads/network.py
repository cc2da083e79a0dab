"""A small network on each turn, learned attention over turns: a head for thousands of labels.

The mean over turns says how often something was said, not which turns count. Here each turn
state goes through two layers of its own, and a reading is the average of what comes out,
weighted by a learned score of each turn (attention-based multiple instance learning, Ilse,
Tomczak and Welling 2018; without the attention it is a deep set, Zaheer et al. 2017). It never
looks beyond the last turn of a reading, and a new turn only adds to two sums.

A label belongs to a whole conversation, so a network that can tell wordings apart learns which
wordings its training people happened to use. Noise as large as the states themselves, added to
every turn, keeps it from that (Bishop 1995: a smoothness penalty); a share of the turns is left
out of every step, which saves time and costs nothing. `bench/accuracy/network_head.py` has what
each is worth.

The network is fitted by torch and kept as arrays; estimating needs numpy alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from scipy.special import erf

from leadline.arrays import Array, Floats, Ints, States
from leadline.heads.inputs import Inputs, Scaler, Turns
from leadline.phq9.distribution import SMALLEST_DEVIATION

if TYPE_CHECKING:
    import torch


WIDTH = 64

NOISE = 1.0  # of the deviation of each column of the turn states

TURNS_LEFT_OUT = 0.3

DROPOUT = 0.1

BATCH = 64  # readings in one step

EPOCHS = 15

LEAST_STEPS = 300  # so that a few hundred readings are fitted as well

RATE = 4e-3

DECAY = 0.01

LOUDEST = 8.0  # bound of a turn's score: no turn weighs more than e^16 times another


@dataclass(frozen=True)
class Network:
    """A fitted network.

    Attributes:
        views: state views, in the order in which they are joined.
        scaler: standardises the columns of turn states.
        first, first_bias, second, second_bias: the layers of a turn, (k, width) and (k, k).
        score: a turn's attention before the exponential, (k,).
        coefficients, intercept: from the attended average to the total.
        deviation: of the training totals, in points, for the calibration to narrow. How well the
            training people are fitted says little of others, and less the longer it trains.
    """

    views: tuple[str, ...]
    scaler: Scaler
    first: Array
    first_bias: Array
    second: Array
    second_bias: Array
    score: Array
    coefficients: Array
    intercept: float
    deviation: float

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
        """As `head.Head.fit`; `seed` starts it, `log_scales` are not used."""
        del log_scales
        views, turns = tuple(inputs.states), _turns(inputs)
        states, starts, lengths = _flat(turns, views)
        scaler = Scaler.fit(states)
        share = np.ones(len(target)) if weight is None else weight / weight.mean()
        centre = float(np.average(target, weights=share))
        spread = max(float(np.sqrt(np.average((target - centre) ** 2, weights=share))), 1e-6)
        arrays = _train(
            _scaled(scaler, states), (starts, lengths), (target - centre) / spread, share, seed
        )
        arrays["coefficients"] = arrays["coefficients"] * spread
        intercept = centre + spread * float(arrays.pop("intercept"))
        deviation = max(spread, SMALLEST_DEVIATION)
        return cls(views, scaler, **arrays, intercept=intercept, deviation=deviation)

    def predict(self, inputs: Inputs) -> tuple[Array, Array]:
        """Mean and standard deviation of the total of each reading, each (R,)."""
        turns = _turns(inputs)
        mean = np.empty(len(turns))
        person, first, last = turns.spans.T
        order = np.argsort(person, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(person[order])) + 1):
            if len(rows):
                values, mass = self._sums(turns.states(int(person[rows[0]]), self.views))
                upto, before = last[rows] + 1, first[rows]
                mean[rows] = (values[upto] - values[before]) / (mass[upto] - mass[before])
        return mean + self.intercept, np.full(len(mean), self.deviation)

    def _sums(self, states: States) -> tuple[Array, Array]:
        """Sums up to each turn, after a leading 0: of attention times estimate, of attention."""
        scaled = _scaled(self.scaler, states.astype(np.float64))
        hidden = _gelu(scaled @ self.first.T + self.first_bias)
        hidden = _gelu(hidden @ self.second.T + self.second_bias)
        attention = np.exp(np.clip(hidden @ self.score, -LOUDEST, LOUDEST))
        value = attention * (hidden @ self.coefficients)
        return np.append(0.0, value.cumsum()), np.append(0.0, attention.cumsum())


def _turns(inputs: Inputs) -> Turns:
    assert inputs.turns is not None, "readings made by `Design.of` come with their turns"
    return inputs.turns


def _gelu(x: Array) -> Array:
    out: Array = 0.5 * x * (1.0 + erf(x / math.sqrt(2.0)))
    return out


def _scaled(scaler: Scaler, states: Floats) -> Floats:
    """Standardised columns, then divided so that a state has a length of about 1.

    In the precision of `states`: those of all training turns stay in single precision.
    """
    scale = scaler.sd * math.sqrt(states.shape[1])
    return (states - scaler.mean.astype(states.dtype)) / scale.astype(states.dtype)


def _flat(turns: Turns, views: tuple[str, ...]) -> tuple[States, Ints, Ints]:
    """Turn states of the readings' people end to end; start and length of each reading.

    Of each person only the turns from the first to the last that is in a reading.
    """
    person, first, last = turns.spans.T
    people, where = np.unique(person, return_inverse=True)
    begin, end = np.full(len(people), np.iinfo(np.int64).max), np.zeros(len(people), np.int64)
    np.minimum.at(begin, where, first)
    np.maximum.at(end, where, last + 1)
    each = [
        turns.states(int(row), views)[a:b] for row, a, b in zip(people, begin, end, strict=True)
    ]
    offset = np.cumsum([0, *(end - begin)])[:-1]
    return np.concatenate(each), (offset - begin)[where] + first, last - first + 1


def _train(
    states: States, readings: tuple[Ints, Ints], target: Array, weight: Array, seed: int
) -> dict[str, Any]:
    """The arrays of a network for standardised targets."""
    import torch
    from torch import nn

    x = torch.from_numpy(states)
    starts, lengths = (torch.from_numpy(part) for part in readings)
    y, w = (torch.from_numpy(part.astype(np.float32)) for part in (target, weight))
    steps = max(EPOCHS * math.ceil(len(y) / BATCH), LEAST_STEPS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first, second = nn.Linear(x.shape[1], WIDTH), nn.Linear(WIDTH, WIDTH)
        score, out = nn.Linear(WIDTH, 1, bias=False), nn.Linear(WIDTH, 1)
        dropout = nn.Dropout(DROPOUT)
        for layer in (score, out):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(out.bias)
        parameters = [p for layer in (first, second, score, out) for p in layer.parameters()]
        optimiser = torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
        for batch in _batches(len(y), steps):
            rows, owner = _some_turns(starts[batch], lengths[batch])
            hidden = dropout(nn.functional.gelu(_noisy(first, x[rows])))
            hidden = dropout(nn.functional.gelu(second(hidden)))
            attention = score(hidden).clamp(-LOUDEST, LOUDEST).exp()
            value = attention * out(hidden)
            sums = torch.zeros(len(batch), 2)
            sums = sums.index_add(0, owner, torch.cat([value, attention], dim=1))
            loss = (w[batch] * (sums[:, 0] / sums[:, 1] - y[batch]).square()).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    tensors = {
        "first": first.weight, "first_bias": first.bias,
        "second": second.weight, "second_bias": second.bias,
        "score": score.weight[0], "coefficients": out.weight[0], "intercept": out.bias[0],
    }  # fmt: skip
    return {name: value.detach().double().numpy() for name, value in tensors.items()}


def _batches(count: int, steps: int) -> list[torch.Tensor]:
    """Rows of each step: everyone once, in random order, then anew."""
    import torch

    out: list[torch.Tensor] = []
    while len(out) < steps:
        out += torch.randperm(count).split(BATCH)  # type: ignore[no-untyped-call]
    return out[:steps]


def _some_turns(starts: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of the turns of some readings, a share of them left out, and each one's reading.

    The last turn of a reading stays, so that none is empty.
    """
    import torch

    owner = torch.repeat_interleave(torch.arange(len(starts)), lengths)
    ends = lengths.cumsum(0)
    place = torch.arange(len(owner)) - (ends - lengths)[owner]
    keep = torch.rand(len(owner)) >= TURNS_LEFT_OUT
    keep[ends - 1] = True
    return (starts[owner] + place)[keep], owner[keep]


def _noisy(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """The layer's output had its input been noisy.

    Noise of covariance c I in the input is noise of covariance c W W' in the output, which is
    drawn there: `WIDTH` random numbers a turn, not one for each column of a state.
    """
    import torch

    weight = layer.weight
    small = 1e-6 * torch.eye(len(weight))
    root = torch.linalg.cholesky(weight @ weight.T + small)
    noise = torch.randn(len(x), len(weight)) @ root.T
    out: torch.Tensor = layer(x) + NOISE / math.sqrt(x.shape[1]) * noise
    return out
