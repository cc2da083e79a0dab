"""SmolLM2 fine-tuned whole on the simulated `paper` cohort: r, gap to the limit, wall time.

The cohort is the simulator's preset `paper` (7,125 people, 3,111 with a PHQ-9, 842 locked), so
the best possible r on the locked people is known; it says nothing about patients. Both recipes
are `leadline train` without baselines on the same folds: `full` (all of SmolLM2, two thirds of
its depth, mean of turns, distribution) and `frozen` (the default). Locked people are estimated by
all models of the run; gap = limit - r. Wall time runs from the cohort in memory to the
predictions.

A machine without a network gets the reader in pieces: ``split`` cuts a fetched reader into files
of at most 50 MB in a folder, ``--weights`` joins them again.

Not yet measured on a GPU: none was at hand. ``--people 40`` runs the same code on a CPU.

    python -m bench run gpu.smollm2_paper split FOLDER [--reader smollm2]
    python -m bench run gpu.smollm2_paper run [--weights FOLDER --folds 2 --epochs 3]
    python -m bench run gpu.smollm2_paper run --people 40 --epochs 1 --name gpu_smollm2_paper_tiny
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from bench.common import tell
from bench.protocol import run_module
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import read_cohort
from leadline.readers.fetch import reader_path
from leadline.runs.config import TrainConfig
from leadline.runs.locked_test import open_locked_test
from leadline.runs.train import train_run
from leadline.simulate.best_predictor import bayes_limit
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import preset

TAKES = "a GPU, reader smollm2; not yet run on one"
PIECE = 50_000_000


def split(reader: str, folder: Path) -> None:
    """Copy a reader, its large files cut into pieces ``NAME.000``, ``NAME.001`` and so on."""
    folder.mkdir(parents=True)
    for file in sorted(reader_path(reader).iterdir()):
        if file.stat().st_size <= PIECE:
            shutil.copy(file, folder / file.name)
            continue
        with file.open("rb") as stream:
            for number, piece in enumerate(iter(lambda: stream.read(PIECE), b"")):
                (folder / f"{file.name}.{number:03d}").write_bytes(piece)


def join(folder: Path, out: Path) -> Path:
    """The reader that `split` cut, put together in `out`."""
    out.mkdir(parents=True)
    for file in sorted(folder.iterdir()):
        if file.suffix[1:].isdigit():
            with (out / file.stem).open("ab") as stream:
                stream.write(file.read_bytes())
        else:
            shutil.copy(file, out / file.name)
    return out


def cohort_of(people: int, folder: Path) -> dict[str, Any]:
    """Simulate the preset, smaller if asked, and compute its limit."""
    config = preset("paper")
    if people:
        share = people / config.people
        locked, gold = max(8, round(share * config.locked)), max(24, round(share * config.gold))
        config = preset("paper", people=max(people, gold + locked), gold=gold, locked=locked)
    simulate_cohort(folder, config)
    return bayes_limit(folder)


def train(reader: str, adapt: str, cohort: Path, out: Path, args: argparse.Namespace) -> dict:
    """One recipe: r and MAE on the locked people, seconds."""
    settings: dict[str, Any] = {}
    if adapt == "full":
        settings = {"layers": ("0.67",), "epochs": args.epochs, "lr": args.lr, "save_steps": 200}
    config = TrainConfig(
        reader=reader, adapt=adapt, folds=args.folds, baselines=False, max_tokens=4096, **settings
    )
    people = read_cohort(cohort)
    home = out.with_name(f"{out.name}-home")  # where no states of an earlier run lie
    start = time.perf_counter()
    train_run(people, out, config, WindowConfig(), home=home)
    seconds = time.perf_counter() - start
    open_locked_test(out, cohort, home=home)
    table = pl.read_parquet(out / "predictions-locked.parquet")
    total, mean = table["total"].to_numpy(), table["mean"].to_numpy()
    r = float(np.corrcoef(total, mean)[0, 1])
    return {"locked_people": table["person_id"].n_unique(), "r": round(r, 4),
            "mae": round(float(np.abs(total - mean).mean()), 3),
            "seconds": round(seconds, 1)}  # fmt: skip


def options(parser: argparse.ArgumentParser) -> None:
    """Cut a reader into pieces, or run both recipes."""
    parser.add_argument("what", choices=("split", "run"))
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--reader", default="smollm2")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--people", type=int, default=0, help="0: all of the preset")
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--only", choices=("frozen", "full"), help="one recipe instead of both")
    parser.add_argument("--partial", type=Path, help="a file for what is done so far")
    parser.add_argument("--name", default="gpu_smollm2_paper")


def result(args: argparse.Namespace) -> str | None:
    """The name of its file."""
    return None if args.what == "split" else str(args.name)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Cut a reader into pieces, or run both recipes."""
    if args.what == "split":
        split(args.reader, args.folder)
        return {}
    if not torch.cuda.is_available() and not args.people:
        sys.exit("No GPU is at hand: this is not yet measured. --people 40 tests it on the CPU.")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        path = join(args.weights, work / "reader") if args.weights else reader_path(args.reader)
        reader = str(path)
        limit = cohort_of(args.people, work / "cohort")
        figures: dict[str, Any] = {"people": args.people or preset("paper").people,
                                   "limit_r": round(limit["r"], 4)}  # fmt: skip
        for adapt in (args.only,) if args.only else ("frozen", "full"):
            row = train(reader, adapt, work / "cohort", work / adapt, args)
            figures[adapt] = {**row, "gap_to_the_limit": round(limit["r"] - row["r"], 4)}
            tell(adapt, figures[adapt])
            if args.partial:  # a machine that is lent for minutes may stop before both are done
                args.partial.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    if torch.cuda.is_available():
        figures["device"] = torch.cuda.get_device_name()
        figures["peak_memory_gib"] = round(torch.cuda.max_memory_reserved() / 2**30, 2)
    return figures


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Both recipes: r, distance to the best possible, seconds."""
    return [
        (f"SmolLM2 on {results['people']:,} simulated people, {adapt}",
         f"r {row['r']:.3f}, {row['gap_to_the_limit']:.3f} below the best possible, "
         f"{row['seconds']:.0f} s")
        for adapt in ("frozen", "full")
        if (row := results.get(adapt))
    ]  # fmt: skip


if __name__ == "__main__":
    run_module()
