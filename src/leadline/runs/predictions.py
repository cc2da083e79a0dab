"""Predictions for whoever a model never saw, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl

from leadline.arrays import Array, Ints
from leadline.cohort.config import WindowConfig
from leadline.heads.design import PersonStates
from leadline.phq9.distribution import Totals
from leadline.progress import progress_bar
from leadline.readers.fetch import is_fetched
from leadline.runs.baselines import BASELINES, BaselineFeatures, predict_baseline
from leadline.runs.checkpoint import run_identity
from leadline.runs.config import BATCH_PEOPLE, INTERVAL, TrainConfig
from leadline.runs.ensemble import Ensemble
from leadline.runs.estimates import batched, running_estimates
from leadline.runs.labelled import Labelled, people_of_fold
from leadline.runs.state_source import StateSource
from leadline.tables import PREDICTIONS

LOCKED_FOLD = -1


def ensemble_predictions(
    ensemble: Ensemble,
    labelled: Labelled,
    states: list[PersonStates] | None,
    left_out: dict[str, dict[int, int]],
    name: str = "leadline",
) -> pl.DataFrame:
    """Out-of-fold predictions by repeat, and those of the whole ensemble for locked people.

    Args:
        ensemble: models that left people out as `left_out` says.
        labelled: readings with gold labels, locked people included.
        states: turn states of `labelled.people`; None for adapted readers.
        left_out: person -> repeat -> fold that left the person out.
        name: what the table calls this model.
    """
    tables = []
    for repeat in sorted({member.repeat for member in ensemble.members}):
        members = tuple(m for m in ensemble.members if m.repeat == repeat)
        repeat_ensemble = Ensemble(members, left_out, ensemble.source, ensemble.pool)
        rows = labelled.rows(set(left_out))
        folds = [left_out[person][repeat] for person in labelled.readings["person_id"].gather(rows)]
        tables.append(_predicted(repeat_ensemble, labelled, states, rows, (name, repeat, folds)))
    locked = np.flatnonzero(labelled.readings["locked"].to_numpy())
    if len(locked):
        folds = [LOCKED_FOLD] * len(locked)
        tables.append(_predicted(ensemble, labelled, states, locked, (name, 0, folds)))
    return pl.concat(tables)


def _predicted(
    ensemble: Ensemble,
    labelled: Labelled,
    states: list[PersonStates] | None,
    rows: Ints,
    origin: tuple[str, int, list[int]],
) -> pl.DataFrame:
    name, repeat, folds = origin
    spans = [labelled.spans[row] for row in rows]
    totals = ensemble.distributions(labelled.people, states, spans)
    width = ensemble.widths(INTERVAL, [labelled.people[span.person].person_id for span in spans])
    return prediction_table(name, labelled, rows, repeat, folds, totals.mean(), totals, width)


def prediction_table(
    model: str,
    labelled: Labelled,
    rows: Ints,
    repeat: int,
    folds: Sequence[int],
    mean: Array,
    totals: Totals,
    width: float | Array = INTERVAL,
) -> pl.DataFrame:
    """Rows of `PREDICTIONS` for the labels at `rows`.

    `width` is the mass of the central interval that is delivered, of all or of each; what is
    left as it is takes the distribution at its word.
    """
    lower, upper = totals.delivered_interval(width)
    readings = labelled.readings[rows.tolist()]
    table = readings.select(
        pl.lit(model).alias("model"),
        pl.lit(repeat).cast(pl.Int16).alias("repeat"),
        pl.Series("fold", folds, dtype=pl.Int16),
        pl.when("locked").then(pl.lit("locked")).otherwise(pl.lit("out-of-fold")).alias("split"),
        "person_id",
        "label",
        "time",
        "total",
        "instrument",
        pl.Series("mean", mean),
        pl.Series("median", totals.median()),
        pl.Series("distribution", totals.rows(), dtype=pl.List(pl.Float64)),
        pl.Series("lower", lower),
        pl.Series("upper", upper),
        "user_turns",
        "user_words",
    )
    typed: pl.DataFrame = table.select(pl.col(n).cast(kind) for n, kind in PREDICTIONS.items())
    return typed


def baseline_predictions(
    labelled: Labelled,
    config: TrainConfig,
    left_out: dict[str, dict[int, int]],
    states: list[PersonStates] | None,
    home: Path | None,
) -> list[pl.DataFrame]:
    """Predictions of every baseline on the same folds, tables of `PREDICTIONS`."""
    embeddings = _sentence_means(labelled, states, home)
    readings = BaselineFeatures.of(labelled.people, labelled.spans, embeddings)
    gold = labelled.readings["total"].to_numpy().astype(np.float64)
    names = [name for name in BASELINES if name != "minilm" or embeddings is not None]
    jobs = [(r, f) for r in range(config.repeats) for f in range(config.folds)]
    locked = np.flatnonzero(labelled.readings["locked"].to_numpy())
    tables = []
    person = np.array([span.person for span in labelled.spans])
    ids = labelled.readings["person_id"].to_list()
    as_one = np.array([labelled.groups.get(name, name) for name in ids], dtype=np.str_)

    def predicted(
        name: str, train: Ints, test: Ints, origin: tuple[int, list[int]]
    ) -> pl.DataFrame:
        estimates = predict_baseline(
            name,
            readings.take(train),
            gold[train],
            as_one[train],
            readings.take(test),
            inner_folds=config.inner_folds,
            seed=config.seed,
        )
        repeat, folds = origin
        totals, width = estimates.totals, estimates.width
        return prediction_table(name, labelled, test, repeat, folds, estimates.mean, totals, width)

    with progress_bar("Baselines") as advance:
        for step, (repeat, fold) in enumerate(jobs):
            train = np.flatnonzero(
                np.isin(person, people_of_fold(labelled, left_out, repeat, fold, inside=True))
            )
            test = np.flatnonzero(
                np.isin(person, people_of_fold(labelled, left_out, repeat, fold, inside=False))
            )
            tables += [predicted(x, train, test, (repeat, [fold] * len(test))) for x in names]
            advance(step + 1, len(jobs))
        if len(locked):
            train = labelled.rows(set(left_out))
            folds = [LOCKED_FOLD] * len(locked)
            tables += [predicted(name, train, locked, (0, folds)) for name in names]
    return tables


def _sentence_means(
    labelled: Labelled, states: list[PersonStates] | None, home: Path | None
) -> Array | None:
    """Mean MiniLM embedding of each reading; None if MiniLM is not on this machine."""
    from leadline.heads.design import pool_states

    if states and "minilm" in states[0].views:
        return pool_states(states, labelled.spans, "minilm", "mean")
    if not is_fetched("minilm", home=home):
        return None
    with progress_bar("Reading (minilm baseline)") as advance:
        states = StateSource("minilm", home=home).read(labelled.people, advance)
    return pool_states(states, labelled.spans, "minilm", "mean")


def labelled_estimates(
    ensemble: Ensemble, labelled: Labelled, window: WindowConfig, run: Path
) -> pl.DataFrame:
    """Running estimates of the labelled people, each by models that never saw them."""
    # The timelines are masked already.
    window_without_mask = WindowConfig(**{**asdict(window), "mask_questionnaire": False})
    model_id, size = run_identity(run), BATCH_PEOPLE
    with progress_bar("Running estimates") as advance:
        tables = []
        for batch in batched(labelled.people, size):
            tables.append(running_estimates(ensemble, batch, window_without_mask, model_id))
            advance(min(len(tables) * size, len(labelled.people)), len(labelled.people))
    return pl.concat(tables)
