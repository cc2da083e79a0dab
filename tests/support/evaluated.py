"""A run as training leaves it, from made-up predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
from tests.support.predictions import running_estimates

from leadline.artefact import MANIFEST, sha256, write_json, write_manifest
from leadline.evaluate.config import EvaluateConfig

QUICK = EvaluateConfig(resamples=200, curve_resamples=100)


def hash_again(artefact: Path, *names: str) -> None:
    """Make the manifest of an artefact know files as they are now, as whoever forges both would."""
    manifest = json.loads((artefact / MANIFEST).read_text())
    manifest["files"] |= {name: sha256(artefact / name) for name in names}
    write_json(artefact / MANIFEST, manifest)


def make_run(path: Path, table: pl.DataFrame, **more: Any) -> Path:
    path.mkdir()
    table.write_parquet(path / "predictions.parquet")
    people = table["person_id"].unique().sort().to_list()
    running_estimates(people).write_parquet(path / "estimates.parquet")
    names = ("predictions.parquet", "estimates.parquet")
    more = {"files": {name: sha256(path / name) for name in names}, **more}
    write_manifest(
        path, kind="run", command="leadline train C", settings={"seed": 0}, inputs={}, **more
    )
    return path
