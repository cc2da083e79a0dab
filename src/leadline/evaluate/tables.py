"""The two tables that an estimator writes and that evaluation reads.

`predictions` has one row per gold label, model and repeat: what a model that never saw the
person said of that label. `estimates` has one row per user turn: the running estimate.
"""

from __future__ import annotations

import polars as pl

from leadline.dialogue.schema import UTC_TIME

TOTALS = 28  # the totals 0..27
THRESHOLDS = (5, 10, 15, 20)  # of the P(>= k) columns of `estimates`
DISTRIBUTION = pl.List(pl.Float64())  # TOTALS probabilities that sum to 1

PREDICTIONS: dict[str, pl.DataType] = {
    "model": pl.String(),  # "leadline" for the run's own model, else a baseline's name
    "repeat": pl.Int16(),  # which seed of the cross-validation, from 0
    "fold": pl.Int16(),  # the fold that was left out; -1 for the locked test
    "split": pl.String(),  # "out-of-fold" or "locked"
    "person_id": pl.String(),
    "label": pl.Int64(),  # row of the label in the cohort's phq9.parquet
    "time": UTC_TIME,  # of the PHQ-9
    "total": pl.Float64(),  # the gold total
    "instrument": pl.String(),
    "mean": pl.Float64(),
    "median": pl.Float64(),
    "distribution": DISTRIBUTION,  # null where the model gives none
    "user_turns": pl.Int32(),  # user turns in the window
    "user_words": pl.Int32(),  # their words
}

ESTIMATES: dict[str, pl.DataType] = {
    "person_id": pl.String(),
    "conversation_id": pl.String(),
    "turn": pl.Int32(),
    "time": UTC_TIME,
    "distribution": DISTRIBUTION,
    "mean": pl.Float64(),
    "median": pl.Float64(),
    "lower": pl.Float64(),  # central interval, bounds on the 0-27 scale
    "upper": pl.Float64(),
    **{f"p_ge_{threshold}": pl.Float64() for threshold in THRESHOLDS},
    "increment": pl.Float64(),  # mean minus the mean after the turn before
    "departure": pl.Float64(),  # part of it because turns grew too old; the rest is this turn's
    "model_id": pl.String(),
}
