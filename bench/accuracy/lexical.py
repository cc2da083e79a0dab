"""Words and characters beside the frozen head, with and without, against every baseline.

    python -m bench run accuracy.lexical [--only checkins] [--reader minilm]

Each set of people is trained twice on the same folds, `--lexical off` and `auto`; baselines are
those of the run. The sets: the check-ins (development data), the people of `leadline demo`,
simulated people of the preset `paper` out of fold (their wordings occur in training) and in a
locked test of unseen wordings, and the demo's people with every letter mapped one-to-one onto a
Chinese character and without spaces.
Standard errors are of the paired difference over people, by 2,000 resamples.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.common import ROOT, data_folder, tell
from bench.protocol import run_module
from leadline.cli.demo import demo_settings
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import Cohort, read_cohort, write_cohort
from leadline.importing.importing import import_files
from leadline.runs.config import TrainConfig
from leadline.runs.locked_test import open_locked_test
from leadline.runs.train import train_run
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import preset
from leadline.sources.config import ImportConfig

TAKES = "the check-ins, reader minilm; five minutes"
FILE = "lexical"
RESAMPLES = 2000
SETS = ("checkins", "demo", "paper", "spaceless")
BASELINES = ("tf-idf", "minilm", "length", "assistant only", "constant")
FIRST_HAN = 0x4E00


def options(parser: argparse.ArgumentParser) -> None:
    """Which people, and who reads them."""
    parser.add_argument("--only", choices=SETS)
    parser.add_argument("--reader", default="minilm")


def result(args: argparse.Namespace) -> str | None:
    """The name of its file."""
    name = FILE if args.reader == "minilm" else f"{FILE}_{args.reader}"
    return None if args.only and args.reader == "minilm" else name


def checkins(folder: Path) -> Cohort:
    """The check-ins as a cohort."""
    source = data_folder()
    if source is None:
        raise SystemExit("The check-in data is not on this machine: set LEADLINE_DATA.")
    mapping = ROOT / "docs" / "examples" / "checkin.toml"
    import_files(source / "people.csv", ImportConfig(mapping=mapping), folder)
    return read_cohort(folder)


def demo(folder: Path) -> Cohort:
    """The people of the demo."""
    return simulate_cohort(folder, demo_settings(500, 0))


def paper(folder: Path) -> Cohort:
    """Simulated people whose words tell less; the locked ones have wordings of their own."""
    sizes = {"people": 600, "gold": 400, "locked": 150, "user_turns": 14.0, "held_out": 0.3}
    return simulate_cohort(folder, preset("paper", **sizes))


def spaceless(folder: Path) -> Cohort:
    """The demo's people in a script without spaces."""
    cohort = demo(folder / "latin")
    text = pl.col("text").map_elements(without_spaces, return_dtype=pl.String)
    return write_cohort(
        folder / "han",
        cohort.turns.with_columns(text),
        cohort.phq9,
        cohort.people,
        command="simulate",
        settings={},
        inputs={},
    )


def without_spaces(text: str) -> str:
    """Each letter as a Chinese character of its own, and no space."""
    letters = {chr(97 + n): chr(FIRST_HAN + 37 * n) for n in range(26)}
    return "".join(letters.get(c, c) for c in text.lower() if not c.isspace())


MAKERS: dict[str, Callable[[Path], Cohort]] = {
    "checkins": checkins, "demo": demo, "paper": paper, "spaceless": spaceless
}  # fmt: skip


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Train each twice and compare."""
    sets: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in SETS if not args.only else (args.only,):
            folder = Path(scratch) / name
            cohort = MAKERS[name](folder / "cohort")
            window = WindowConfig(days=0) if name == "checkins" else WindowConfig()
            tables, facts = {}, {}
            for lexical in ("off", "auto"):
                config = TrainConfig(
                    reader=args.reader, lexical=lexical, baselines=lexical == "auto"
                )
                start = time.process_time()
                run = folder / lexical
                manifest = train_run(cohort, run, config, window)
                facts[lexical] = round(time.process_time() - start, 1)
                weights = [row["lexical"] for row in manifest["selection"] if "lexical" in row]
                tables[lexical] = predictions(run, cohort, locked=name == "paper")
            off = tables["off"].with_columns(pl.lit("off").alias("model"))
            for split, people in pl.concat([off, tables["auto"]]).group_by("split"):
                title = name if split[0] == "out-of-fold" else f"{name}, unseen wordings"
                sets[title] = {
                    **scores(people), "cpu_seconds": facts,
                    "weight": round(float(np.mean(weights)), 3),
                }  # fmt: skip
                tell(f"{title}: {sets[title]}")
            shutil.rmtree(folder)
    return {"reader": args.reader, "sets": dict(sorted(sets.items()))}


def predictions(run: Path, cohort: Cohort, *, locked: bool) -> pl.DataFrame:
    """Of the run; with those of the locked people, if asked."""
    if locked:
        open_locked_test(run, cohort.path)
    files = [run / "predictions.parquet", *run.glob("predictions-locked.parquet")]
    columns = ("model", "split", "person_id", "label", "total", "mean")
    return pl.concat([pl.read_parquet(file).select(columns) for file in files])


def scores(table: pl.DataFrame) -> dict[str, Any]:
    """MAE and r of every model, and its paired difference from the default with standard error."""
    wide = table.sort("person_id", "label").pivot(
        "model", index=["person_id", "label", "total"], values="mean", aggregate_function="mean"
    )
    total = wide["total"].to_numpy().astype(float)
    means = {name: wide[name].to_numpy() for name in wide.columns[3:]}
    people = wide["person_id"].to_numpy()
    rng = np.random.default_rng(0)
    names, position = np.unique(people, return_inverse=True)
    draws = [rng.multinomial(len(names), [1 / len(names)] * len(names)) for _ in range(RESAMPLES)]
    weights = np.array(draws)[:, position]
    figures = {name: figures_of(total, mean, weights) for name, mean in means.items()}
    out: dict[str, Any] = {"people": len(names)}
    for name, both in figures.items():
        entry = {}
        for metric, (figure, drawn) in both.items():
            ours, ours_drawn = figures["leadline"][metric]
            entry[metric] = round(figure, 3)
            entry[f"{metric}_difference"] = round(figure - ours, 3)
            entry[f"{metric}_error"] = round(float((drawn - ours_drawn).std()), 3)
        out[name] = entry
    return out


def figures_of(
    total: np.ndarray, mean: np.ndarray, weights: np.ndarray
) -> dict[str, tuple[float, np.ndarray]]:
    """MAE and r, and in every resample."""
    ones = np.ones((1, len(total)))
    return {
        "mae": (float(mae(total, mean, ones)[0]), mae(total, mean, weights)),
        "r": (float(pearson(total, mean, ones)[0]), pearson(total, mean, weights)),
    }


def mae(total: np.ndarray, mean: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of each row of weights."""
    return np.asarray(weights @ np.abs(np.clip(mean, 0, 27) - total) / weights.sum(1))


def pearson(total: np.ndarray, mean: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of each row of weights."""
    share = weights / weights.sum(1, keepdims=True)
    x, y = total - (share @ total)[:, None], mean - (share @ mean)[:, None]
    moments = [(share * a * b).sum(1) for a, b in ((x, y), (x, x), (y, y))]
    return np.asarray(moments[0] / np.sqrt(np.maximum(moments[1] * moments[2], 1e-12)))


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Each set: without words, the default, and the baselines."""
    return [(title, _cells(entry)) for title, entry in results["sets"].items()]


def _cells(entry: dict[str, Any]) -> str:
    cells = []
    for name in ("off", "leadline", *BASELINES[:2]):
        if name not in entry:
            cells.append("-")
            continue
        figures = entry[name]
        cell = f"{figures['mae']:.2f}, {figures['r']:.3f}"
        if name != "leadline":
            cell += f" ({figures['mae_difference']:+.2f} ± {figures['mae_error']:.2f})"
        cells.append(cell)
    return " | ".join([*cells, f"{entry['weight']:.2f}"])


if __name__ == "__main__":
    run_module()
