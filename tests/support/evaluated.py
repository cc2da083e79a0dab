"""A run as training leaves it, from made-up predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
from tests.support.predictions import running_estimates

from leadline.artefact import write_manifest
from leadline.evaluate.config import EvaluateConfig

QUICK = EvaluateConfig(resamples=200, curve_resamples=100)


def make_run(path: Path, table: pl.DataFrame, **more: Any) -> Path:
    path.mkdir()
    table.write_parquet(path / "predictions.parquet")
    people = table["person_id"].unique().sort().to_list()
    running_estimates(people).write_parquet(path / "estimates.parquet")
    write_manifest(
        path, kind="run", command="leadline train C", settings={"seed": 0}, inputs={}, **more
    )
    return path
