"""Self-training on simulated people: gold only, raw teacher, label model, rounds, fused.

For each seed and teacher a cohort of the preset `paper` is simulated (the same people and
words for every teacher), its open people are rated by the simulated teacher, and
`selftrain_run` makes the whole ablation. Two rows are added here: "true labels", an ensemble
trained on gold and on the true PHQ-9s of the people without gold, which no pseudolabel can be
expected to beat; and "round 1, bands evened", the paper's use of teacher labels to fill the
severity bands evenly. Rules that would stop the rounds are off with `--force`, so that every
round's own effect is shown; what the rules would have said is in `courses`.

Figures are those of the locked people and, beside them, out of fold; each row is compared with
gold only by a paired bootstrap over people, pooled over seeds. A part (seed and teacher) that
is in `--work` already is not run again.

    python -m bench run selftraining.ablation --work DIR [--people N] [--seeds S] [--rounds R]

With `--equal-steps` another question is put to a finished `--work` of `--fit network`: is a
round's gain that of its pseudolabels, or of longer training? A network takes so many passes over
its people, so a student of twice the people takes twice the steps. There gold alone is trained
for twice the passes, on the same folds and seeds, and compared with the rows of the ablation.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl

from bench.common import save, tell
from bench.protocol import run_module
from leadline.artefact import MANIFEST, write_json
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import Cohort, read_cohort
from leadline.heads import network
from leadline.runs.checkpoint import open_source
from leadline.runs.config import TrainConfig
from leadline.runs.ensemble import Ensemble, Member
from leadline.runs.locked_test import open_locked_test
from leadline.runs.predictions import ensemble_predictions, whole_predictions
from leadline.runs.state_source import StateSource
from leadline.runs.train import candidates_for
from leadline.selftrain.ancestry import AncestryLedger
from leadline.selftrain.chain import GOLD, POSTERIOR, RAW, Chain, Plan
from leadline.selftrain.config import SelftrainConfig
from leadline.selftrain.fused import fused_locked
from leadline.selftrain.node_store import NodeStore
from leadline.selftrain.roster import load_labels, open_roster
from leadline.selftrain.selftrain import selftrain_run
from leadline.simulate.best_predictor import bayes_limit
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import PRESETS, SimulateConfig, preset
from leadline.tables import LABELS
from leadline.teacher.config import LabelConfig
from leadline.teacher.label import label_cohort
from leadline.teacher.selection import cohort_readings

TAKES = "reader minilm; hours, and it goes on where it stopped"
TEACHERS = {
    "r .76": {"teacher_r": 0.76},
    "bad: r .3, bias +6": {"teacher_r": 0.3, "teacher_bias": 6.0},
    "r .60": {"teacher_r": 0.60},
}
FIRST = next(iter(TEACHERS))
RESAMPLES = 4000
COLUMNS = ["model", "split", "person_id", "label", "total", "mean"]
STEPS = "gold only, twice the steps"
ORDER = (
    "gold only",
    "gold only, head of the rounds",
    "raw teacher",
    "label model, teacher alone",
    "round 1",
    "round 1, bands evened",
    "round 2",
    "round 3",
    "leadline",
    "true labels",
    "teacher alone, recalibrated",
    "fused",
)
ALL_KEPT = {"min_gain": -1e9, "min_variance": 0.0, "min_slope": -1e9, "max_slope": 1e9}


def settings_for(people: int, seed: int, teacher: dict[str, float]) -> SimulateConfig:
    """The preset `paper` with its proportions kept."""
    paper = preset("paper")
    share = people / paper.people
    counts = {"people": people, "gold": round(share * paper.gold),
              "locked": round(share * paper.locked)}  # fmt: skip
    return SimulateConfig(**{**PRESETS["paper"], **counts, **teacher, "seed": seed})


def true_labels(cohort: Cohort) -> pl.DataFrame:
    """The true PHQ-9 of everyone without gold, as if one perfect rater had given it."""
    assert cohort.path is not None
    truth = pl.read_parquet(cohort.path / "truth" / "phq9_all.parquet")
    last = truth.filter((pl.col("repeat") == 0) & ~pl.col("given")).sort("time")
    last = last.unique("person_id", keep="last")
    readings = cohort_readings(cohort, WindowConfig(), "unlabelled")
    spans = pl.DataFrame(
        [(r.person_id, r.first, r.last) for r in readings],
        schema={"person_id": pl.String, "first": pl.Int32, "last": pl.Int32}, orient="row",
    )  # fmt: skip
    rows = spans.join(last.select("person_id", "time", "total"), on="person_id")
    fixed = {"source": "teacher", "round": 0, "model": "truth", "draw": 0, "weight": 1.0}
    table = rows.with_columns(*(pl.lit(value).alias(name) for name, value in fixed.items()))
    missing = [pl.lit(None).alias(name) for name in LABELS if name not in table.columns]
    table = table.with_columns(*missing).with_columns(ancestors=pl.lit([], pl.List(pl.String)))
    return table.select(pl.col(name).cast(kind) for name, kind in LABELS.items())


class TrueChain(Chain):
    """A chain whose labels are right, so that only who has them must be allowed for."""

    BELIEVED = ()


def one_ensemble(
    cohort: Cohort,
    believed: tuple[type[Chain], pl.DataFrame | None],
    source: StateSource,
    train: TrainConfig,
    folder: Path,
    row: tuple[str, str, bool],
) -> pl.DataFrame:
    """Predictions of round 1; `believed` is who believes which labels, `row` its name, kind, bands.

    Only raw labels are believed by a plain `Chain` as they are.
    """
    (make, labels), (name, kind, even) = believed, row
    roster, states = open_roster(cohort, labels, source, train, WindowConfig())
    locked = cohort.locked_ids
    plan = Plan(train.folds, candidates_for(train, len(roster.people))[0], train.seed, even)
    chain = make(roster, 0, plan, NodeStore(folder), AncestryLedger(locked))
    round_ = 0 if kind == GOLD else 1
    members = tuple(
        Member(0, fold, chain.member(kind, round_, fold)) for fold in range(train.folds)
    )
    ensemble = Ensemble(members, roster.left_out(), source, train.pool)
    people = states[: len(roster.labelled.people)]
    out = ensemble_predictions(ensemble, roster.labelled, people, roster.left_out(), name)
    shut = np.flatnonzero(roster.labelled.readings["locked"].to_numpy())
    return pl.concat([out, whole_predictions(ensemble, roster.labelled, people, shut, name)])


def one_part(seed: int, name: str, args: argparse.Namespace, folder: Path) -> None:
    """Simulate, label, self-train; write predictions and the course of the rounds."""
    if not (folder / "cohort" / MANIFEST).is_file():
        simulate_cohort(folder / "cohort", settings_for(args.people, seed, TEACHERS[name]))
    limit = bayes_limit(folder / "cohort")
    cohort = read_cohort(folder / "cohort")
    label_cohort(folder / "cohort", folder / "labels", LabelConfig(teacher="simulated"))
    labels = load_labels(folder / "labels", cohort, WindowConfig())
    train = TrainConfig(reader=args.reader, fit=args.fit, folds=args.folds, seed=seed,
                        repeats=args.repeats, baselines=False)  # fmt: skip
    # The canary doubles the time and does not depend on the teacher's quality.
    canary = args.canary if name == FIRST else 0.0
    config = SelftrainConfig(rounds=args.rounds, canary=canary, ablation=not args.short,
                             **(ALL_KEPT if args.force else {}))  # fmt: skip
    manifest = selftrain_run(cohort, folder / "labels", folder / "run", config, train,
                             WindowConfig(), overwrite=True)  # fmt: skip
    open_locked_test(folder / "run", folder / "cohort", fused=fused_locked)
    names = ("predictions", "predictions-locked")
    tables = [pl.read_parquet(folder / "run" / f"{name}.parquet") for name in names]
    source, single = open_source(train), replace(train, repeats=1)
    added: list[tuple[type[Chain], pl.DataFrame | None, tuple[str, str, bool]]] = []
    if name == FIRST and args.short:  # else selftrain_run makes it, with the teacher alone
        added.append((Chain, labels, ("raw teacher", RAW, False)))
    if name == FIRST:
        added.append((TrueChain, true_labels(cohort), ("true labels", RAW, False)))
        if args.even:
            added.append((TrueChain, labels, ("round 1, bands evened", POSTERIOR, True)))
    for kind, believed, row in added:
        rest = folder / f"more-{row[0].replace(' ', '-')}"
        tables.append(one_ensemble(cohort, (kind, believed), source, single, rest, row))
    table = pl.concat([part.select(COLUMNS) for part in tables])
    # Repeats of the folds estimate the same label several times; an ensemble averages them.
    table = table.group_by(COLUMNS[:-1], maintain_order=True).agg(pl.col("mean").mean())
    table.with_columns(pl.lit(seed).alias("seed")).write_parquet(folder / "part.parquet")
    course = {"seed": seed, "limit": limit, **manifest["selftraining"]}
    write_json(folder / "course.json", course)


def compare(table: pl.DataFrame, limits: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Rows of one split: MAE, RMSE, r, the paired difference in MAE from gold only."""
    table = table.with_columns((pl.col("mean") - pl.col("total")).abs().alias("error"))
    key = ["seed", "person_id", "label"]
    base = table.filter(pl.col("model") == "gold only").select(*key, old="error")
    out = {}
    for (name,), model in table.group_by("model", maintain_order=True):
        both = model.join(base, on=key).group_by("seed", "person_id", maintain_order=True).agg(
            (pl.col("error") - pl.col("old")).sum().alias("gap"), pl.len()
        )  # fmt: skip
        drawn, value = resampled(both)
        low, high = np.quantile(drawn, [0.025, 0.975])
        error = (model["mean"] - model["total"]).to_numpy()
        explained = 1 - (error**2).mean() / model["total"].var(ddof=0)
        out[str(name)] = {
            "labels": model.height,
            "mae": float(model["error"].mean()),
            "rmse": float(np.sqrt((error**2).mean())),
            "r": float(np.corrcoef(model["mean"], model["total"])[0, 1]),
            "minus_gold_only": value, "low": float(low), "high": float(high),
            "variance_explained": float(explained),
            "of_limit": float(explained / np.mean([limit["r"] ** 2 for limit in limits.values()])),
        }  # fmt: skip
    return out


def resampled(both: pl.DataFrame) -> tuple[np.ndarray, float]:
    """Mean gap per label in resamples of people, and in the sample. The seed makes rows agree."""
    gap, count = both["gap"].to_numpy(), both["len"].to_numpy()
    picks = np.random.default_rng(0).integers(0, len(gap), (RESAMPLES, len(gap)))
    return gap[picks].sum(axis=1) / count[picks].sum(axis=1), float(gap.sum() / count.sum())


def share_of_true(table: pl.DataFrame, name: str) -> dict[str, float]:
    """Gain of a row over that of true labels, both over gold only, with a paired interval."""
    wide = (
        table.with_columns((pl.col("mean") - pl.col("total")).abs().alias("error"))
        .filter(pl.col("model").is_in(["gold only", "true labels", name]))
        .pivot("model", index=["seed", "person_id", "label"], values="error")
        .sort("seed", "person_id", "label")
    )
    drawn = {}
    for row in (name, "true labels"):
        gaps = wide.select("seed", "person_id", gap=pl.col("gold only") - pl.col(row))
        people = gaps.group_by("seed", "person_id", maintain_order=True).agg(
            pl.col("gap").sum(), pl.len()
        )
        drawn[row] = resampled(people)
    share = drawn[name][0] / drawn["true labels"][0]
    low, high = np.quantile(share, [0.025, 0.975])
    return {"share": drawn[name][1] / drawn["true labels"][1], "low": float(low),
            "high": float(high)}  # fmt: skip


def summarise(work: Path, args: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """Comparisons of what is there so far, teacher by teacher."""
    teachers: dict[str, Any] = {}
    for number, name in enumerate(TEACHERS):
        folders = [f for f in sorted(work.glob(f"s*-t{number}")) if (f / "course.json").is_file()]
        if not folders:
            continue
        courses = [json.loads((f / "course.json").read_text(encoding="utf-8")) for f in folders]
        table = pl.concat([pl.read_parquet(f / "part.parquet") for f in folders])
        limits = {course["seed"]: course.pop("limit") for course in courses}
        entry: dict[str, Any] = {"seeds": sorted(limits), "limit": limits, "courses": courses}
        for split in ("locked", "out-of-fold"):
            part = table.filter(pl.col("split") == split)
            entry[split] = compare(part, limits)
            if "true labels" in entry[split]:
                models = [name for name in entry[split] if name not in ("gold only", "true labels")]
                entry[f"{split}, share of what true labels gain"] = {
                    name: share_of_true(part, name) for name in models
                }
        teachers[name] = entry
    hidden = ("work", "teacher", "seed", "command", "equal_steps")
    settings = {key: value for key, value in vars(args).items() if key not in hidden}
    return {"settings": settings, "seconds_of_this_call": round(seconds), **teachers}


def longer_trained(folder: Path, seed: int, args: argparse.Namespace) -> pl.DataFrame:
    """Predictions of gold alone after twice the passes; made once."""
    file = folder / "steps.parquet"
    if not file.is_file():
        train = TrainConfig(reader=args.reader, fit=args.fit, folds=args.folds, seed=seed,
                            baselines=False)  # fmt: skip
        longer = {"EPOCHS": 2 * network.EPOCHS, "LEAST_STEPS": 2 * network.LEAST_STEPS}
        with patch.multiple(network, **longer):
            table = one_ensemble(
                read_cohort(folder / "cohort"), (Chain, None), open_source(train), train,
                folder / "steps", (STEPS, GOLD, False),
            )  # fmt: skip
        table = table.select(COLUMNS).with_columns(pl.lit(seed).alias("seed"))
        table.write_parquet(file)
    return pl.read_parquet(file)


def equal_steps(args: argparse.Namespace) -> dict[str, Any]:
    """Train the control of each seed in the folder; compare it with gold only and round 1."""
    if args.fit != "network":
        raise SystemExit("--equal-steps asks about the network head: --fit network.")
    tables, limits = [], {}
    for folder in sorted(args.work.glob("s*-t0")):
        course = json.loads((folder / "course.json").read_text(encoding="utf-8"))
        limits[course["seed"]] = course["limit"]
        part = pl.read_parquet(folder / "part.parquet")
        tables += [part, longer_trained(folder, course["seed"], args).select(part.columns)]
        tell(folder.name)
    table = pl.concat(tables, how="vertical_relaxed")
    table = table.filter(pl.col("model").is_in(["gold only", "round 1", "true labels", STEPS]))
    splits = {}
    for split in ("locked", "out-of-fold"):
        part = table.filter(pl.col("split") == split)
        swapped = part.filter(pl.col("model") != "gold only").with_columns(
            pl.col("model").replace({STEPS: "gold only"})
        )
        splits[split] = {
            "against gold only": compare(part, limits),
            "against gold only, twice the steps": compare(swapped, limits),
        }
    return {"seeds": sorted(limits), **splits}


def options(parser: argparse.ArgumentParser) -> None:
    """Who is simulated, what is trained, and which rows are left out."""
    parser.add_argument("--people", type=int, default=7125)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--reader", default="minilm")
    parser.add_argument("--fit", default="ridge")
    parser.add_argument("--teacher", type=int, help="number of one teacher; all by default")
    parser.add_argument("--seed", type=int, help="one seed; the first `--seeds` by default")
    parser.add_argument("--canary", type=float, default=0.05, help="share of permuted labels")
    parser.add_argument("--no-even", dest="even", action="store_false",
                        help="leave out the row with evened bands")  # fmt: skip
    parser.add_argument("--short", action="store_true", help="leave out the teacher alone")
    parser.add_argument("--force", action="store_true", help="keep every round")
    parser.add_argument("--work", type=Path, required=True, help="folder that outlives a kill")
    parser.add_argument("--out", default="selftrain_ablation")
    parser.add_argument("--equal-steps", action="store_true",
                        help="compare with gold alone, trained as long")  # fmt: skip


def result(args: argparse.Namespace) -> str:
    """The name of its file."""
    return "selftrain_steps" if args.equal_steps else str(args.out)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run all seeds and teachers; what is there is saved after each."""
    if args.equal_steps:
        return equal_steps(args)
    start = time.perf_counter()
    for number, name in enumerate(TEACHERS):
        if args.teacher not in (None, number):
            continue
        for seed in range(args.seeds) if args.seed is None else [args.seed]:
            folder = args.work / f"s{seed}-t{number}"
            if not (folder / "course.json").is_file():
                one_part(seed, name, args, folder)
            seconds = time.perf_counter() - start
            tell(name, seed, f"{seconds:.0f} s")
            save(args.out, summarise(args.work, args, seconds), args.command)
    return summarise(args.work, args, time.perf_counter() - start)


def teachers_of(results: dict[str, Any]) -> dict[str, Any]:
    """The parts of the results that are of a teacher."""
    return {
        name: part
        for name, part in results.items()
        if isinstance(part, dict) and "courses" in part
    }  # fmt: skip


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Every model of every teacher; or the comparison with longer training."""
    table = [
        (f"teacher {name} | {what}", figure)
        for name, part in teachers_of(results).items()
        for what, figure in model_rows(part)
    ]
    for split in ("locked", "out-of-fold") if not table else ():
        for against, models in results[split].items():
            table += [(f"{split}, {name}, {against}", f"MAE {gap(name, model)}")
                      for name, model in models.items()]  # fmt: skip
    return table


def model_rows(part: dict[str, Any]) -> list[tuple[str, str]]:
    """The models of one teacher: locked and out of fold, side by side."""
    locked, folds = part["locked"], part["out-of-fold"]
    shares = part.get("out-of-fold, share of what true labels gain", {})
    # A share of no gain means nothing.
    useful = locked.get("true labels", {}).get("high", 0.0) < 0
    locked_shares = part.get("locked, share of what true labels gain", {}) if useful else {}
    table = []
    for name in (name for name in ORDER if name in locked):
        there, out = locked[name], folds[name]
        fewer = there["labels"] < locked["gold only"]["labels"]  # not every seed came so far
        title = f"{name} ({there['labels']:,} locked labels)" if fewer else name
        figure = (
            f"{there['mae']:.3f} | {there['r']:.3f} | {gap(name, there)} | "
            f"{share(name, locked_shares)} | {there['of_limit']:.0%} | "
            f"{out['mae']:.3f} | {out['r']:.3f} | {gap(name, out)} | {share(name, shares)}"
        )
        table.append((title, figure))
    return table


def share(name: str, gains: dict[str, dict[str, float]]) -> str:
    """The share of what true labels gain, with its interval."""
    if name not in gains or name in ORDER[-2:]:
        return ""
    gain = gains[name]
    return f"{gain['share']:.0%} ({gain['low']:.0%} to {gain['high']:.0%})"


def gap(name: str, model: dict[str, float]) -> str:
    """Difference from gold only with its interval."""
    if name == "gold only":
        return ""
    return f"{model['minus_gold_only']:+.3f} ({model['low']:+.3f} to {model['high']:+.3f})"


def round_rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Pseudolabels, weights, spread, slope and canary, by teacher, seed and round."""
    table = []
    for name, part in teachers_of(results).items():
        for course in part["courses"]:
            for entry in (entry for entry in course["rounds"] if "slope" in entry):
                canary = entry["canary"]
                chance = f"{canary['r']:+.2f} ({canary['null_95']:.2f})" if canary else ""
                figure = (
                    f"{entry.get('pseudolabel_share', 0):.2f} | {entry.get('mean_weight', 0):.2f}"
                    f" | {entry['variance_ratio']:.2f} | {entry['slope']:.2f} | {chance}"
                )
                table.append((f"{name} | {course['seed']} | {entry['round']}", figure))
    return table


def limit_mean(results: dict[str, Any], key: str) -> float:
    """Mean over seeds of a figure of the best possible predictor."""
    limits = next(iter(teachers_of(results).values()))["limit"].values()
    return float(np.mean([limit[key] for limit in limits]))


if __name__ == "__main__":
    run_module()
