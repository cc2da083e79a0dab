"""The product's own path on the check-ins: import, train, evaluate by 5 folds, three seeds.

    python -m bench run accuracy.checkins [--repeats 3] [--reader smollm2] [--fit auto]

Everything is chosen inside the training folds. The comparison with TF-IDF + ridge on the same
folds is the paired bootstrap over persons that `leadline evaluate` makes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.common import ROOT, data_folder, interval
from bench.protocol import run_module
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import read_cohort
from leadline.evaluate.run_results import evaluate_run
from leadline.importing.importing import import_files
from leadline.runs.config import TrainConfig
from leadline.runs.train import train_run
from leadline.sources.config import ImportConfig

TAKES = "the check-ins, readers smollm2 and minilm; minutes with the states cached"
MODELS = ("leadline", "minilm", "tf-idf", "constant", "length", "assistant only")
SHOWN = ("mae", "rmse", "pearson", "spearman", "ccc", "auc_10", "crps", "coverage_90",
         "calibration_slope", "bias")  # fmt: skip


def options(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--reader", default="smollm2")
    parser.add_argument("--fit", default="auto")


def result(args: argparse.Namespace) -> str:
    """The name of its file."""
    head = "" if args.fit == "auto" else f"_{args.fit}"
    return f"checkins_accuracy_{args.reader}{head}"


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run it once; the figures of every model."""
    folder = data_folder()
    if folder is None:
        raise SystemExit("The check-in data is not on this machine: set LEADLINE_DATA.")
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        mapping = ROOT / "docs" / "examples" / "checkin.toml"
        import_files(folder / "people.csv", ImportConfig(mapping=mapping), here / "cohort")
        cohort = read_cohort(here / "cohort")
        start = time.monotonic()
        config = TrainConfig(reader=args.reader, fit=args.fit, repeats=args.repeats)
        manifest = train_run(cohort, here / "run", config, WindowConfig(days=0))
        seconds = time.monotonic() - start
        results = evaluate_run(here / "run", here / "cohort")
    people = results["sets"][0]
    chosen: dict[str, int] = {}
    for row in manifest["selection"]:
        if row["chosen"]:
            chosen[row["candidate"]] = chosen.get(row["candidate"], 0) + 1
    return {
        "people": people["people"],
        "repeats": args.repeats,
        "train_seconds_all_folds": round(seconds, 1),
        "chosen_in_the_folds": chosen,
        "models": {
            name: {key: entry["scores"][key] for key in SHOWN if key in entry["scores"]}
            for name, entry in people["models"].items()
        },
        "paired_against_leadline": people["comparisons"],
        "ceiling": people["ceiling"]["default"],
    }


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """MAE, RMSE, r, AUC and coverage of every model, and of the noise ceiling."""
    titles = {"leadline": "**Leadline**, SmolLM2-135M frozen"}
    table = [
        (titles.get(name, name), _scores(results["models"][name]))
        for name in MODELS
        if name in results["models"]
    ]
    best = results["ceiling"]
    ceiling = f"{best['mae']:.2f} | {best['rmse']:.2f} | {best['r']:.3f} | {best['auc_cut']:.3f} |"
    return [*table, (f"noise ceiling, retest reliability {best['reliability']}", ceiling)]


def _scores(scores: dict[str, Any]) -> str:
    return (
        f"{interval(scores['mae'], 2)} | {scores['rmse']['value']:.2f} | "
        f"{interval(scores['pearson'], 3)} | {scores['auc_10']['value']:.3f} | "
        f"{scores['coverage_90']['value']:.0%}"
    )


def paired(results: dict[str, Any], model: str, metric: str) -> str:
    """A paired difference, model minus leadline."""
    row = next(
        row
        for row in results["paired_against_leadline"]
        if row["model"] == model and row["metric"] == metric
    )
    digits = 3 if metric in ("pearson", "auc_10") else 2
    return f"{row['value']:+.{digits}f} ({row['low']:+.{digits}f} to {row['high']:+.{digits}f})"


if __name__ == "__main__":
    run_module()
