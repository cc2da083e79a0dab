"""The product's own path on the check-ins: import, train, evaluate by 5 folds, three seeds.

    python bench/checkins_accuracy.py [--repeats 3] [--reader smollm2] [--fit auto]

Everything is chosen inside the training folds. The comparison with TF-IDF + ridge on the same
folds is the paired bootstrap over persons that `leadline evaluate` makes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from checkins import ROOT, data_folder, save
from leadline.cohort.config import WindowConfig
from leadline.evaluate.run_results import evaluate_run
from leadline.importing.config import ImportConfig
from leadline.importing.importing import import_cohort
from leadline.runs.config import TrainConfig
from leadline.runs.train import train_run

SHOWN = ("mae", "rmse", "pearson", "spearman", "ccc", "auc_10", "crps", "coverage_90",
         "calibration_slope", "bias")  # fmt: skip


def main() -> None:
    """Run it once and save the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--reader", default="smollm2")
    parser.add_argument("--fit", default="auto")
    given = parser.parse_args()
    folder = data_folder()
    if folder is None:
        raise SystemExit("The check-in data is not on this machine: set LEADLINE_DATA.")
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        mapping = ROOT / "docs" / "examples" / "checkin.toml"
        cohort = import_cohort(
            folder / "people.csv", ImportConfig(mapping=mapping), here / "cohort"
        )
        start = time.monotonic()
        config = TrainConfig(reader=given.reader, fit=given.fit, repeats=given.repeats)
        manifest = train_run(cohort, here / "run", config, WindowConfig(days=0))
        seconds = time.monotonic() - start
        results = evaluate_run(here / "run", here / "cohort")
    one = results["sets"][0]
    chosen: dict[str, int] = {}
    for row in manifest["selection"]:
        if row["chosen"]:
            chosen[row["candidate"]] = chosen.get(row["candidate"], 0) + 1
    save(
        f"checkins_accuracy_{given.reader}" + (f"_{given.fit}" if given.fit != "auto" else ""),
        {
            "people": one["people"],
            "repeats": given.repeats,
            "train_seconds_all_folds": round(seconds, 1),
            "chosen_in_the_folds": chosen,
            "models": {
                name: {key: entry["scores"][key] for key in SHOWN if key in entry["scores"]}
                for name, entry in one["models"].items()
            },
            "paired_against_leadline": one["comparisons"],
            "ceiling": one["ceiling"]["default"],
        },
    )


if __name__ == "__main__":
    main()
