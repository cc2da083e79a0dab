"""The chain of students of one fold."""

import polars as pl
from tests.support.rounds import go


def test_even_weights_fill_the_thin_bands(data, tmp_path):
    go(data, tmp_path / "run", even=True, ablation=False, canary=0.0)
    labels = pl.read_parquet(tmp_path / "run" / "ledger-pseudolabels.parquet")
    mild = labels.filter(pl.col("total").is_between(10, 14))["weight"].mean()
    severe = labels.filter(pl.col("total") >= 20)["weight"].mean()
    assert severe > 2 * mild
