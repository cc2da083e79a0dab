"""Reader x layer x pool x head on the check-ins: the table from which the defaults follow.

    python -m bench run accuracy.reader_layer_head

Five folds by person, three draws of folds, every cell on the same folds; each cell is fitted
on the training folds alone, with its hyperparameters chosen inside them. The cells themselves
are compared on all people, so the best of many is a little flattered; the figures that are
claimed come from `accuracy.checkins`, where the choice is made inside the folds.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from bench.common import CheckIn, folds, load_checkins
from bench.protocol import run_module
from leadline.cohort.timeline import Timeline
from leadline.cohort.windows import Span
from leadline.heads.candidates import Candidate, LabelledReadings, average_over_views, fit_heads
from leadline.heads.design import Design
from leadline.readers.config import ReaderConfig
from leadline.runs.state_source import StateSource

TAKES = "the check-ins, readers smollm2 and minilm; an hour"
RESULT = "checkins_table"
DRAWS = 3
LM_LAYERS = (8, 12, 16, 20, 22, 24, 26, 28, 30)
HEADS = {
    "ridge": Candidate("ridge", per_view=False, with_anchors=False),
    "ridge + anchors": Candidate("ridge", per_view=False),
    "histogram (HL-Gauss)": Candidate("histogram", per_view=False, with_anchors=False),
    "Gaussian process": Candidate("gp", per_view=False, with_anchors=False),
    "Gaussian process + anchors": Candidate("gp", per_view=False),
}
JOBS: list[tuple[str, str, tuple[int, ...], tuple[str, ...]]] = [
    ("smollm2", "mean", LM_LAYERS, ("mean", "words", "last")),
    ("smollm2", "last", LM_LAYERS, ("mean", "last")),
    ("minilm", "mean", (), ("mean", "words", "last")),
]


def timeline(person: CheckIn) -> Timeline:
    """A check-in as an undated timeline."""
    messages = tuple(person.messages)
    count = len(messages)
    return Timeline(
        person_id=person.person,
        messages=messages,
        user=np.arange(1, count, 2),
        times=np.full(count, np.datetime64("NaT"), dtype="datetime64[us]"),
        conversation_ids=("check-in",) * count,
        turns=np.arange(count, dtype=np.int32),
    )


def only(design: Design, views: tuple[str, ...]) -> Design:
    """The design with some of its views."""
    return Design(
        {view: design.states[view] for view in views},
        {view: design.anchors[view] for view in views},
        design.words,
    )


def cross_validated(
    design: Design, candidate: Candidate, total: np.ndarray, fold: np.ndarray
) -> np.ndarray:
    """Out-of-fold means, shape (people,)."""
    mean = np.zeros(len(total))
    everyone = LabelledReadings(
        design=design,
        total=total,
        weight=np.ones(len(total)),
        person=np.arange(len(total)),
        final=np.ones(len(total), dtype=bool),
        share=np.ones(len(total)),
    )
    for number in range(5):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        parts = fit_heads(candidate, everyone.take(train), seed=0)
        mean[test], _ = average_over_views(parts, candidate, design.take(test))
    return np.clip(mean, 0, 27)


def view_sets(views: list[str], reader: str, *, everything: bool) -> list[tuple[str, ...]]:
    """Each layer alone, and five together where everything is tried."""
    sets: list[tuple[str, ...]] = [(view,) for view in views]
    if everything and len(sets) > 1:
        sets.append(tuple(f"{reader}:{layer}" for layer in (16, 20, 22, 24, 26)))
    return sets


def cell(estimates: list[np.ndarray], total: np.ndarray) -> dict[str, float]:
    """Mean r and MAE over the draws of folds."""
    return {
        "r": round(float(np.mean([np.corrcoef(mean, total)[0, 1] for mean in estimates])), 3),
        "mae": round(float(np.mean([np.abs(mean - total).mean() for mean in estimates])), 2),
    }


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Fill the table."""
    del args
    people = load_checkins()
    total = np.array([person.total for person in people])
    timelines = [timeline(person) for person in people]
    spans = [Span(row, 0, len(talk.user) - 1) for row, talk in enumerate(timelines)]
    draws = [folds(people, seed=seed) for seed in range(DRAWS)]
    table = []
    with threadpool_limits(1, user_api="blas"):
        for reader, state, layers, pools in JOBS:
            config = ReaderConfig(layers=layers or (1,), state=state)
            source = StateSource(reader, config)
            states = source.read(timelines)
            for pool in pools:
                pooled = Design.of(source.directions, states, spans, pool)
                full = state == "mean" and pool == "mean"
                sets = view_sets(list(source.views), reader, everything=full)
                for views, (head, candidate) in itertools.product(sets, HEADS.items()):
                    if not full and head not in ("ridge", "Gaussian process + anchors"):
                        continue
                    if len(views) > 1:
                        candidate = replace(candidate, per_view=True)
                    design = only(pooled, views)
                    means = [cross_validated(design, candidate, total, fold) for fold in draws]
                    table.append(
                        {
                            "reader": reader,
                            "turn state": state,
                            "layer": "+".join(view.partition(":")[2] for view in views) or "-",
                            "pool": pool,
                            "head": head,
                            **cell(means, total),
                        }
                    )
    table.sort(key=lambda row: -row["r"])
    return {"draws": DRAWS, "table": table}


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """The best layer of each combination: reader, turn state, pool, head, layer; r, MAE."""
    best: dict[tuple[str, ...], tuple[str, str]] = {}
    for row in results["table"]:  # the best first
        kind = (row["reader"], row["turn state"], row["pool"], row["head"])
        what = " | ".join([*kind, row["layer"]])
        best.setdefault(kind, (what, f"{row['r']:.3f} | {row['mae']:.2f}"))
    return list(best.values())


if __name__ == "__main__":
    run_module()
