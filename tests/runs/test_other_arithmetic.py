"""A run is scored in another arithmetic within a tolerance, and refused beyond it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from leadline.cohort.config import WindowConfig
from leadline.errors import LeadlineError
from leadline.runs import other_arithmetic
from leadline.runs.checkpoint import load_ensemble, run_training
from leadline.runs.other_arithmetic import in_arithmetic, largest_difference
from leadline.runs.train import train_run
from leadline.scoring.config import ScoreConfig
from leadline.scoring.score import score_cohort


@pytest.fixture(scope="module")
def run(simulated, quick, language_paths, home, tmp_path_factory):
    """A run on a tiny language model in bfloat16."""
    out = tmp_path_factory.mktemp("arithmetic") / "run"
    reader = str(language_paths["llama"])
    config = replace(quick, reader=reader, layers=("2",), dtype="bfloat16", baselines=False)
    train_run(simulated, out, config, WindowConfig(), home=home)
    return out


def loaded(run, home):
    return load_ensemble(run, home=home, tell_of_speed=False)[0], run_training(run)[0]


def test_readers_change_and_the_directions_of_the_run_stay(run, home):
    ensemble, train = loaded(run, home)
    moved = in_arithmetic(ensemble, train, "float32")
    assert [reader.dtype for reader in ensemble.source.readers] == [torch.bfloat16]
    assert [reader.dtype for reader in moved.source.readers] == [torch.float32]
    assert moved.source.directions is ensemble.source.directions
    assert 0 < largest_difference(ensemble, moved) <= other_arithmetic.TOLERANCE
    assert in_arithmetic(ensemble, train, "bfloat16") is ensemble


def test_what_moves_estimates_too_far_is_refused(run, home, monkeypatch):
    ensemble, train = loaded(run, home)
    monkeypatch.setattr(other_arithmetic, "TOLERANCE", 1e-9)
    with pytest.raises(LeadlineError, match=r"differ by up to .* points from those in bfloat16"):
        in_arithmetic(ensemble, train, "float32")
    monkeypatch.setattr(other_arithmetic, "largest_difference", lambda *_: float("nan"))
    with pytest.raises(LeadlineError, match="differ by up to"):
        in_arithmetic(ensemble, train, "float32")


def test_an_adapted_reader_computes_as_it_was_trained(run, home):
    ensemble, train = loaded(run, home)
    with pytest.raises(LeadlineError, match="reader was adapted"):
        in_arithmetic(replace(ensemble, source=None), train, "float32")


def test_estimates_say_in_which_arithmetic_they_were_made(
    run, home, simulated_path, simulated, tmp_path
):
    import polars as pl

    from leadline.runs.estimates import run_of_estimates

    tables = {}
    for dtype in ("run", "float32"):
        out = tmp_path / f"{dtype}.parquet"
        score_cohort(simulated_path, run, out, ScoreConfig(dtype=dtype), home=home)
        tables[dtype] = pl.read_parquet(out)["mean"].to_numpy()
        made_by = run_of_estimates(out)
        assert made_by.get("arithmetic") == (None if dtype == "run" else "float32")
    apart = np.abs(tables["run"] - tables["float32"]).max()
    assert 0 < apart <= other_arithmetic.TOLERANCE
