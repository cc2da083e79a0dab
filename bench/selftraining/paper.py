"""The method of arXiv 2606.17973 on simulated people: rounds of an adapted reader, step by step.

For each seed a cohort of the simulator's preset `paper` is made, its open people are rated by the
simulated teacher (r .76 with the PHQ-9), and `leadline selftrain --adapt lora --scheme paper` and
the same labels with the reader frozen are run. Then the locked test of each is opened. With a GPU
the sizes are the paper's (3,111 with a PHQ-9, 3,172 without, 842 locked), without one a tenth, with
420 locked; flags set others.

Every model is compared with gold only, of the adapted reader, on the same locked people: a paired
bootstrap over people, seeds pooled. `coverage` is how often the 90% interval that is delivered
holds the PHQ-9. With `--force` every round is kept, so that each is measured. A part (a seed and a
reader) that is in `--work` is not run again, and one that was killed goes on inside the fit.

    python -m bench run selftraining.paper --work DIR [--seeds S --rounds R --members M --force]
    python -m bench run selftraining.paper --work DIR --gold 150 --free 150 --locked 150 --seeds 1
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import polars as pl
import torch

from bench.common import save, tell
from bench.protocol import run_module
from bench.selftraining.ablation import ALL_KEPT, COLUMNS, FIRST, TEACHERS, compare, share_of_true
from leadline.artefact import MANIFEST, write_json
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import read_cohort
from leadline.runs.config import TrainConfig
from leadline.runs.locked_test import open_locked_test
from leadline.selftrain.config import SelftrainConfig
from leadline.selftrain.fused import fused_locked
from leadline.selftrain.selftrain import selftrain_run
from leadline.simulate.best_predictor import bayes_limit
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import SimulateConfig, preset
from leadline.teacher.config import LabelConfig
from leadline.teacher.label import label_cohort

TAKES = "reader smollm2; hours, and it goes on where it stopped; a GPU for the paper's sizes"
ADAPTED, FROZEN = "adapted", "frozen"
PAPER_SIZES = {"gold": 3111, "free": 3172, "locked": 842}
TENTH = {"gold": 311, "free": 317, "locked": 420}


def sizes(args: argparse.Namespace) -> dict[str, int]:
    """People with a PHQ-9, without, and locked."""
    usual = PAPER_SIZES if torch.cuda.is_available() else TENTH
    asked = {name: getattr(args, name) for name in usual}
    return {name: usual[name] if count is None else count for name, count in asked.items()}


def people_of(seed: int, args: argparse.Namespace) -> SimulateConfig:
    """The simulated people of a seed."""
    counts = sizes(args)
    return preset("paper", people=sum(counts.values()), gold=counts["gold"],
                  locked=counts["locked"], user_turns=args.user_turns, seed=seed,
                  **TEACHERS[FIRST])  # fmt: skip


def settings(arm: str, seed: int, args: argparse.Namespace) -> tuple[SelftrainConfig, TrainConfig]:
    """How an arm is trained; frozen states are cross-fitted, which costs little."""
    kept: dict[str, Any] = ALL_KEPT if args.force else {}
    if arm == FROZEN:
        train = TrainConfig(reader=args.reader, folds=args.frozen_folds, seed=seed,
                            baselines=False, max_tokens=args.max_tokens)  # fmt: skip
        return SelftrainConfig(rounds=args.frozen_folds - 3, canary=0.0, **kept), train
    train = TrainConfig(reader=args.reader, adapt="lora", layers=(args.layers,), top=args.top,
                        epochs=args.epochs, lr=args.lr, folds=args.folds, seed=seed,
                        baselines=False, max_tokens=args.max_tokens)  # fmt: skip
    return SelftrainConfig(scheme="paper", rounds=args.rounds, members=args.members, **kept), train


def one_part(seed: int, arm: str, args: argparse.Namespace) -> None:
    """Simulate and label, unless it was done; self-train; open the locked test."""
    home, folder = args.work / f"s{seed}", args.work / f"s{seed}-{arm}"
    if not (home / "cohort" / MANIFEST).is_file():
        simulate_cohort(home / "cohort", people_of(seed, args))
    if not (home / "labels" / MANIFEST).is_file():
        label_cohort(home / "cohort", home / "labels", LabelConfig(teacher="simulated"))
    config, train = settings(arm, seed, args)
    begin, processor = time.perf_counter(), time.process_time()
    cohort = read_cohort(home / "cohort")
    if not (folder / "run" / MANIFEST).is_file():
        selftrain_run(cohort, home / "labels", folder / "run", config, train, WindowConfig(),
                      say=tell)  # fmt: skip
    spent = {"hours": (time.perf_counter() - begin) / 3600,
             "processor_hours": (time.process_time() - processor) / 3600}  # fmt: skip
    open_locked_test(folder / "run", home / "cohort", fused=fused_locked)
    manifest = json.loads((folder / "run" / MANIFEST).read_text(encoding="utf-8"))
    table = pl.read_parquet(folder / "run" / "predictions-locked.parquet")
    held = pl.col("total").is_between(pl.col("lower"), pl.col("upper")).alias("held")
    table = table.select(*COLUMNS, held, pl.lit(seed).alias("seed"))
    if arm == FROZEN:
        table = table.with_columns(pl.format("frozen states: {}", "model").alias("model"))
    table.write_parquet(folder / "part.parquet")
    course = {"seed": seed, "arm": arm, **spent, "limit": bayes_limit(home / "cohort"),
              **manifest["selftraining"]}  # fmt: skip
    write_json(folder / "course.json", course)


def summarise(work: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Comparisons of the seeds of which both arms are there."""
    folders = [f for f in sorted(work.glob("s*-*")) if (f / "course.json").is_file()]
    courses = [json.loads((f / "course.json").read_text(encoding="utf-8")) for f in folders]
    seeds = {c["seed"] for c in courses if c["arm"] == ADAPTED}
    seeds &= {c["seed"] for c in courses if c["arm"] == FROZEN}
    courses = [course for course in courses if course["seed"] in seeds]
    if not seeds:
        return {"settings": {**sizes(args)}, "seeds": []}
    table = pl.concat([pl.read_parquet(f / "part.parquet") for f in folders])
    table = table.filter(pl.col("seed").is_in(sorted(seeds)))
    limits = {course["seed"]: course.pop("limit") for course in courses}
    models = compare(table, limits)
    held = dict(table.group_by("model").agg(pl.col("held").mean()).iter_rows())
    for name, figures in models.items():
        figures["coverage"] = held[name]
    gains = [name for name in models if name not in ("gold only", "true labels")]
    shares = {name: share_of_true(table, name) for name in gains} if "true labels" in models else {}
    swapped = table.with_columns(
        pl.col("model").replace({"gold only": "-", "frozen states: leadline": "gold only"})
    ).filter(pl.col("model").is_in(["gold only", "leadline"]))
    hidden = ("work", "command", *PAPER_SIZES)
    return {
        "settings": {**sizes(args), **{k: v for k, v in vars(args).items() if k not in hidden}},
        "seeds": sorted(seeds),
        "limit": limits,
        "models": models,
        "share_of_true": shares,
        "adapted_minus_frozen": compare(swapped, limits)["leadline"],
        "courses": courses,
    }


def options(parser: argparse.ArgumentParser) -> None:
    """Who is simulated, and what is trained."""
    for name in PAPER_SIZES:
        parser.add_argument(f"--{name}", type=int, help="people; by default see above")
    parser.add_argument("--user-turns", type=float, default=33.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--folds", type=int, default=5, help="one is the development set")
    parser.add_argument("--frozen-folds", type=int, default=5)
    parser.add_argument("--reader", default="smollm2")
    parser.add_argument("--layers", default="0.67")
    parser.add_argument("--top", type=float, default=1 / 3)
    parser.add_argument("--epochs", type=float, default=4.0)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--max-tokens", type=int, default=4096)
    parser.add_argument("--force", action="store_true", help="keep every round")
    parser.add_argument("--work", type=Path, required=True, help="folder that outlives a kill")
    parser.add_argument("--out", default="selftrain_paper")


def result(args: argparse.Namespace) -> str:
    """The name of its file."""
    return str(args.out)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run all seeds and arms; what is there is saved after each."""
    for seed in range(args.seeds):
        for arm in (ADAPTED, FROZEN):
            if not (args.work / f"s{seed}-{arm}" / "course.json").is_file():
                one_part(seed, arm, args)
            tell(seed, arm)
        save(args.out, summarise(args.work, args), args.command)
    return summarise(args.work, args)


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Every model on the locked people, the difference of the readers, and what it took."""
    if not results["seeds"]:
        return []
    useful = results["models"].get("true labels", {}).get("high", 0.0) < 0
    table = []
    for name, model in results["models"].items():
        share = results["share_of_true"].get(name) if useful else None
        gap = "" if name == "gold only" else between(model)
        gain = f"{share['share']:.0%} ({share['low']:.0%} to {share['high']:.0%})" if share else ""
        table.append((name, f"{model['mae']:.3f} | {model['r']:.3f} | {gap} | {gain} | "
                            f"{model['coverage']:.0%}"))  # fmt: skip
    return table


def between(model: dict[str, float]) -> str:
    """A paired difference in MAE with its interval."""
    return f"{model['minus_gold_only']:+.3f} ({model['low']:+.3f} to {model['high']:+.3f})"


def hours(results: dict[str, Any], arm: str) -> str:
    """Processor hours of an arm, the mean over seeds."""
    spent = [c["processor_hours"] for c in results["courses"] if c["arm"] == arm]
    return f"{sum(spent) / len(spent):.2f}"


if __name__ == "__main__":
    run_module()
