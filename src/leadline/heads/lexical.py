"""A ridge on words and characters: what a simple baseline sees, as a member of the model.

Counts of a reading (`terms`) become TF-IDF with logarithmic counts, words and characters each of
length one (Salton and Buckley 1988), and a ridge regression estimates the total. How much words and
how much characters count, and the penalty, are those of the smallest leave-one-out error, which has
a closed form (Hastie, Tibshirani and Friedman 2009, eq. 7.52): the kernel of each is centred and
decomposed once for all penalties.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.linalg import eigh
from scipy.sparse import csr_matrix
from sklearn.linear_model import Ridge as SparseRidge

from leadline.arrays import Array, Ints
from leadline.heads.inputs import Inputs
from leadline.heads.terms import COLUMNS
from leadline.phq9.distribution import SMALLEST_DEVIATION

ROWS_FOR_PENALTY = 700  # a cubic cost, and more adds little; as for the Gaussian process

PENALTIES = np.logspace(-1.5, 1.5, 13)  # relative to texts of length one

SHARES_OF_CHARACTERS = (0.0, 0.5, 1.0)

FEWEST_READINGS = 2  # that a term is in

ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class LexicalRidge:
    """A fitted ridge on TF-IDF of words and characters.

    Attributes:
        columns: which columns of the counts it looks at, ascending, (V,).
        rarity: inverse document frequency of each among the training readings, (V,).
        coefficients: of each column after scaling, (V,).
        intercept: estimate of a reading without any known term.
        deviation: leave-one-out error.
        characters: share of the characters in the squared length of a reading.
    """

    columns: Ints
    rarity: Array
    coefficients: Array
    intercept: float
    deviation: float
    characters: float

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
        """As `head.Head.fit`; `log_scales` is not used."""
        del log_scales
        assert inputs.terms is not None, "fitted only where turns were counted"
        return cls.fit_counts(inputs.terms.counts(), target, weight, seed=seed)

    @classmethod
    def fit_counts(
        cls, counts: csr_matrix, target: Array, weight: Array | None = None, *, seed: int = 0
    ) -> Self:
        """Fit to totals `target` (R,) of readings with `counts` (R, 2 * COLUMNS).

        Args:
            counts: as `terms.count_terms` gives them.
            target: totals.
            weight: relative precision of each, shape (R,).
            seed: of the rows on which the penalty is chosen.
        """
        columns, frequency = common_terms(counts)
        rarity = np.log((1 + len(target)) / (1 + frequency)) + 1.0
        precision = np.ones(len(target)) if weight is None else np.asarray(weight, np.float64)
        centre = float(np.average(target, weights=precision))
        spread = max(float(target.std()), SMALLEST_DEVIATION)
        constant = cls(columns, rarity, np.zeros(len(columns)), centre, spread, 0.5)
        if not len(columns) or np.ptp(target) == 0:
            return constant
        x = constant._scaled(counts)
        sample = np.sort(np.random.default_rng(seed).permutation(len(target))[:ROWS_FOR_PENALTY])
        characters, penalty, error = _choose(x[sample], columns, target[sample])
        weights = _block_weights(columns, characters)
        model = SparseRidge(penalty, solver="sparse_cg", tol=1e-9)
        model.fit(x.multiply(weights).tocsr(), target, sample_weight=precision)
        return cls(
            columns,
            rarity,
            np.asarray(model.coef_, dtype=np.float64) * weights,
            float(model.intercept_),
            max(float(np.sqrt(error)), SMALLEST_DEVIATION),
            characters,
        )

    def predict(self, inputs: Inputs) -> tuple[Array, Array]:
        """Mean and standard deviation of the total of each reading, each (R,)."""
        assert inputs.terms is not None, "fitted only where turns were counted"
        rows = np.arange(len(inputs.terms))
        parts = [
            self.predict_counts(inputs.terms.take(rows[at : at + ROWS_AT_ONCE]).counts())[0]
            for at in range(0, len(rows), ROWS_AT_ONCE)
        ]
        return np.concatenate([np.zeros(0), *parts]), np.full(len(rows), self.deviation)

    def predict_counts(self, counts: csr_matrix) -> tuple[Array, Array]:
        """As `predict`, from the counts of readings, (R, 2 * COLUMNS)."""
        mean = self._scaled(counts) @ self.coefficients + self.intercept
        return np.asarray(mean, dtype=np.float64), np.full(len(mean), self.deviation)

    def _scaled(self, counts: csr_matrix) -> csr_matrix:
        """TF-IDF of the known columns, words and characters each of length one, (R, V)."""
        at = np.searchsorted(self.columns, counts.indices)
        at[at == len(self.columns)] = 0
        is_known = (
            self.columns[at] == counts.indices
            if len(self.columns)
            else np.zeros(len(at), dtype=bool)
        )
        row = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))[is_known]
        at = at[is_known]
        size = (1.0 + np.log(counts.data[is_known].astype(np.float64))) * self.rarity[at]
        block = 2 * row + (self.columns[at] >= COLUMNS)
        length = np.sqrt(np.bincount(block, size**2, minlength=2 * counts.shape[0]))
        shape = (counts.shape[0], len(self.columns))
        return csr_matrix((size / length[block], (row, at)), shape=shape)


def common_terms(counts: csr_matrix) -> tuple[Ints, Ints]:
    """Columns that tell readings apart, ascending, and in how many readings each is, (V,)."""
    frequency = np.bincount(counts.indices, minlength=counts.shape[1])
    columns = np.flatnonzero((frequency >= FEWEST_READINGS) & (frequency < counts.shape[0]))
    return columns, frequency[columns]


def _block_weights(columns: Ints, characters: float) -> Array:
    """What words and what characters are multiplied by, so that a reading has length one."""
    return np.sqrt(np.where(columns >= COLUMNS, characters, 1.0 - characters))


def _choose(x: csr_matrix, columns: Ints, target: Array) -> tuple[float, float, float]:
    """Share of characters and penalty of the least leave-one-out squared error, and that error."""
    is_character = columns >= COLUMNS
    kernels = [(part @ part.T).toarray() for part in (x[:, ~is_character], x[:, is_character])]
    best = (0.5, 1.0, np.inf)
    for share in SHARES_OF_CHARACTERS:
        kernel = (1.0 - share) * kernels[0] + share * kernels[1]
        centred = kernel - kernel.mean(0) - kernel.mean(1)[:, None] + kernel.mean()
        values, vectors = eigh(centred)
        values = np.maximum(values, 0.0)
        turned = vectors.T @ (target - target.mean())
        for penalty in PENALTIES:
            # The residual is sum_k v_k a/(s_k + a) v_k'y; the mean takes 1/n of the leverage.
            remainder = penalty / (values + penalty)
            residual = vectors @ (remainder * turned)
            leverage = (vectors**2) @ (1.0 - remainder) + 1.0 / len(target)
            error = float(np.mean((residual / np.maximum(1.0 - leverage, 1e-3)) ** 2))
            if error < best[2]:
                best = (share, float(penalty), error)
    return best
