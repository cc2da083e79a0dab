"""SmolLM2's states in float32 and in bfloat16: tokens a second, and r of ridge by layer.

All check-ins, five folds by person, three draws of the folds, ridge on the mean of the turn
states with its penalty chosen within the training folds.

    python bench/arithmetic.py
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from checkins import figures, folds, load_checkins, save
from leadline.readers.config import ReaderConfig
from leadline.readers.language import LMReader

LAYERS = (10, 15, 18, 20, 22, 25, 30)


def main() -> None:
    """Read the check-ins in both arithmetics and fit ridge on each layer."""
    people = load_checkins()
    totals = np.array([person.total for person in people])
    talks = [person.messages for person in people]
    rows: dict[str, Any] = {}
    for dtype in ("float32", "bfloat16"):
        reader = LMReader("smollm2", ReaderConfig(layers=LAYERS, dtype=dtype))
        pieces = [reader.tokens.pieces(talk, reader.budget) for talk in talks]
        tokens = sum(len(piece.ids) for some in pieces for piece in some)
        start = time.perf_counter()
        states = reader.states(talks)
        speed = tokens / (time.perf_counter() - start)
        pooled = np.stack([turns.mean(axis=0) for turns in states])
        by_layer = {}
        for number, layer in enumerate(LAYERS):
            part = pooled[:, number * reader.hidden : (number + 1) * reader.hidden]
            by_layer[str(layer)] = [cross_validated(part, totals, seed) for seed in range(3)]
        rows[dtype] = {"tokens_a_second": round(speed), "tokens": tokens, "r_by_layer": by_layer}
        print(dtype, rows[dtype], flush=True)
    save("arithmetic", {"smollm2": rows})


def cross_validated(features: np.ndarray, totals: np.ndarray, seed: int) -> float:
    """Pearson's r of out-of-fold estimates."""
    fold = folds(load_checkins(), seed=seed)
    estimates = np.zeros(len(totals))
    for k in range(5):
        model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(1, 6, 26)))
        model.fit(features[fold != k], totals[fold != k])
        estimates[fold == k] = model.predict(features[fold == k])
    return figures(totals, estimates)["r"]


if __name__ == "__main__":
    main()
