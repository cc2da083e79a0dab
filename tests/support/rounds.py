"""Self-training of tiny people."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from leadline.cohort.config import WindowConfig
from leadline.runs.config import TrainConfig
from leadline.runs.locked_test import open_locked_test
from leadline.selftrain.config import SelftrainConfig
from leadline.selftrain.fused import fused_locked
from leadline.selftrain.selftrain import selftrain_run

SIZES = {"gold": 150, "unlabelled": 150, "locked": 120}
WINDOW = WindowConfig()
TRAIN = TrainConfig(reader="numbers", fit="ridge", folds=4, baselines=False)
LENIENT = {"min_gain": -99.0, "min_variance": 0.1, "min_slope": 0.1, "max_slope": 9.0}


def go(data, out, labels="labels", train=TRAIN, window=WINDOW, **change):
    folder, cohort, *_ = data
    config = SelftrainConfig(**{"rounds": 1, "canary": 0.1, **LENIENT, **change})
    where = folder / labels if labels else None
    return selftrain_run(cohort, where, out, config, train, window)


def locked_mae(run: Path, cohort: Path) -> dict[str, float]:
    """Open the locked test of a run; the mean absolute error of each of its models there."""
    open_locked_test(run, cohort, fused=fused_locked)
    table = pl.read_parquet(run / "predictions-locked.parquet")
    error = (pl.col("mean") - pl.col("total")).abs().mean()
    return dict(table.group_by("model").agg(error).iter_rows())
