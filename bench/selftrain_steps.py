"""Is a round's gain that of its pseudolabels, or of longer training? Gold alone, as many steps.

A network takes so many passes over its people, so a student of twice the people takes twice the
steps. Here gold alone is trained for twice the passes, on the folds and seeds of the ablation, and
compared by the same paired bootstrap with its rows. Needs the folder of a finished
`selftrain_ablation.py --fit network`.

    python bench/selftrain_steps.py --work DIR

Writes bench/results/selftrain_steps.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from unittest.mock import patch

import polars as pl

from checkins import save
from leadline.cohort.store import read_cohort
from leadline.heads import network
from leadline.runs.checkpoint import open_source
from leadline.runs.config import TrainConfig
from leadline.selftrain.chain import GOLD, Chain
from selftrain_ablation import compare, one_ensemble

ROW = "gold only, twice the steps"
COLUMNS = ["model", "split", "person_id", "label", "total", "mean"]


def control(folder: Path, seed: int, folds: int) -> pl.DataFrame:
    """Predictions of gold alone after twice the passes; made once."""
    file = folder / "steps.parquet"
    if not file.is_file():
        train = TrainConfig(reader="minilm", fit="network", folds=folds, seed=seed, baselines=False)
        longer = {"EPOCHS": 2 * network.EPOCHS, "LEAST_STEPS": 2 * network.LEAST_STEPS}
        with patch.multiple(network, **longer):  # type: ignore[arg-type]
            table = one_ensemble(
                read_cohort(folder / "cohort"), (Chain, None), open_source(train), train,
                folder / "steps", (ROW, GOLD, False),
            )  # fmt: skip
        table = table.select(COLUMNS).with_columns(pl.lit(seed).alias("seed"))
        table.write_parquet(file)
    return pl.read_parquet(file)


def main() -> None:
    """Train the control of each seed and write the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    sys.argv[sys.argv.index("--work") + 1] = "DIR"  # results name no folder of the machine
    tables, limits = [], {}
    for folder in sorted(args.work.glob("s*-t0")):
        course = json.loads((folder / "course.json").read_text(encoding="utf-8"))
        limits[course["seed"]] = course["limit"]
        part = pl.read_parquet(folder / "part.parquet")
        tables += [part, control(folder, course["seed"], args.folds).select(part.columns)]
        print(folder.name, file=sys.stderr, flush=True)
    table = pl.concat(tables, how="vertical_relaxed")
    kept = table.filter(pl.col("model").is_in(["gold only", "round 1", "true labels", ROW]))
    found = {}
    for split in ("locked", "out-of-fold"):
        mine = kept.filter(pl.col("split") == split)
        swapped = mine.filter(pl.col("model") != "gold only").with_columns(
            pl.col("model").replace({ROW: "gold only"})
        )
        found[split] = {
            "against gold only": compare(mine, limits),
            "against gold only, twice the steps": compare(swapped, limits),
        }
    save("selftrain_steps", {"seeds": sorted(limits), **found})
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
