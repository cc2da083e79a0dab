"""Coverage of delivered 90% intervals, over seeds: of people left out, and of new people.

Simulated people whose turns are numbers (frozen heads, self-training, fusion) or words of a small
vocabulary (a tiny causal reader with random weights, trained until it overfits). Each seed draws
people to train on and as many new people as give a share to 2%; new people go through the
verbs that deliver: `score`, `score --labels`, the running scorer, the exported graph. Shares are
means over seeds with their standard error over seeds. Of one run of n people the share itself
varies by .3 / sqrt(n) (a beta law: Vovk 2012), so single seeds may lie well off 90%.

The interval of the constant model is the central 90% of the totals trained on, of ranks n + 1.

    python -m bench run accuracy.coverage [--seeds 20] [--adapted-seeds 3] [--only NAME]
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl
import torch
from tests.support.cohorts import cohort_of, label_row, turn_rows
from tests.support.people import NumberSource, make_cohort, make_labels
from tests.support.readers import tiny_reader

from bench.common import save, tell
from bench.protocol import run_module
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import Cohort, read_cohort
from leadline.cohort.timeline import timelines
from leadline.export.graph import EnsembleGraph
from leadline.phq9.distribution import Totals
from leadline.running.scorer import RunningScorer, TimedMessage
from leadline.runs.checkpoint import load_ensemble
from leadline.runs.config import INTERVAL, TrainConfig
from leadline.runs.train import train_run
from leadline.scoring.score import score_cohort
from leadline.selftrain.config import SelftrainConfig
from leadline.selftrain.fusion import fuse_estimates
from leadline.selftrain.selftrain import selftrain_run
from leadline.teacher.label_table import read_labels

TAKES = "ten minutes of one core"
RESULT = "coverage"
NEW = 300  # people of each seed
FROZEN = TrainConfig(reader="numbers", folds=5, baselines=False)
ALL_KEPT = {"min_gain": -1e9, "min_variance": 0.0, "min_slope": -1e9, "max_slope": 1e9}
ADAPTED = TrainConfig(adapt="lora", folds=3, epochs=15.0, rank=16, lr=1e-2, baselines=False)

Shares = dict[str, tuple[float, float]]
"""By the name of a row, what a 90% interval held and how wide it was."""

FROZEN_ROWS: dict[str, tuple[TrainConfig, int, float]] = {
    # settings, people trained on, share of the seeds
    "frozen, ridge": (replace(FROZEN, fit="ridge"), 100, 1.0),
    "frozen, ridge, 40 people": (replace(FROZEN, fit="ridge"), 40, 1.0),
    "frozen, gp": (replace(FROZEN, fit="gp"), 100, 1.0),
    "frozen, histogram": (replace(FROZEN, fit="histogram"), 100, 0.5),
    "frozen, scalar": (replace(FROZEN, head="scalar"), 100, 1.0),
    "frozen, network": (replace(FROZEN, fit="network"), 100, 0.1),
}
ADAPTED_ROWS = {
    "LoRA": ADAPTED,
    "LoRA, scalar": replace(ADAPTED, head="scalar"),
    "full": replace(ADAPTED, adapt="full", lr=1e-3),
    "full, scalar": replace(ADAPTED, adapt="full", lr=1e-3, head="scalar"),
}


def number_source(*_: Any, **__: Any) -> NumberSource:
    """Stands in for `open_source`."""
    return NumberSource()


@contextmanager
def numbers() -> Iterator[None]:
    """Within it every verb reads turns as the numbers that they are."""
    with ExitStack() as stack:
        for module in ("runs.checkpoint", "runs.train", "selftrain.selftrain"):
            stack.enter_context(patch(f"leadline.{module}.open_source", number_source))
        yield


def people_in_numbers(folder: Path, seed: int, **counts: int) -> tuple[Cohort, dict[str, float]]:
    """A cohort of these people and their true severities."""
    truth = make_cohort(folder, **{"gold": 0, "unlabelled": 0, "locked": 0, **counts}, seed=seed)
    return read_cohort(folder), truth


def as_strangers(cohort: Cohort) -> Cohort:
    """The same people under names that no run knows."""

    def renamed(table: pl.DataFrame) -> pl.DataFrame:
        return table.with_columns((pl.lit("new ") + pl.col("person_id")).alias("person_id"))

    return replace(cohort, turns=renamed(cohort.turns), phq9=renamed(cohort.phq9),
                   people=renamed(cohort.people))  # fmt: skip


def people_in_words(count: int, seed: int) -> Cohort:
    """People whose words follow their totals so loosely that a reader can only overfit."""
    random = np.random.default_rng(seed)
    banks = [["work", "dog", "rain", "bus", "film", "run"], ["fine", "better", "calm"],
             ["sad", "tired", "alone"]]  # fmt: skip
    turns, labels = [], []
    for number in range(count):
        total = float(np.clip(np.rint(random.normal(11, 6.5)), 0, 27))
        for row in turn_rows(f"w{number:03d}", [("user", 0), ("user", 1), ("user", 2)]):
            sad = float(np.clip(total / 27 + random.normal(0, 0.25), 0, 1))
            chosen = random.choice(3, 6, p=[0.5, 0.5 - sad / 2, sad / 2])
            text = " ".join(str(random.choice(banks[bank])) for bank in chosen)
            turns.append((*row[:4], text, row[5]))
        labels.append(label_row(f"w{number:03d}", 2.5, total))
    return cohort_of(turns, labels)


def held(table: pl.DataFrame) -> tuple[float, float]:
    """Share of the totals inside the interval, and its mean width."""
    inside = pl.col("total").is_between(pl.col("lower") - 1e-9, pl.col("upper") + 1e-9)
    share, width = table.select(inside.mean(), (pl.col("upper") - pl.col("lower")).mean()).row(0)
    return float(share), float(width)


def at_last_turn(estimates: pl.DataFrame, cohort: Cohort) -> pl.DataFrame:
    """The estimate after the last turn of each person, with their total."""
    last = estimates.group_by("person_id", maintain_order=True).last()
    return last.join(cohort.phq9.select("person_id", "total"), on="person_id")


def left_out(run: Path, model: str) -> tuple[float, float]:
    """Of the out-of-fold predictions of a model."""
    table = pl.read_parquet(run / "predictions.parquet")
    return held(table.filter((pl.col("model") == model) & (pl.col("split") == "out-of-fold")))


def scored(cohort: Cohort, run: Path, folder: Path) -> pl.DataFrame:
    """What `leadline score` writes of these people."""
    out = folder / f"{run.name}-scores.parquet"
    score_cohort(cohort, run, out, overwrite=True)
    return pl.read_parquet(out)


def constant(trained: Cohort, new: Cohort) -> tuple[float, float]:
    """Of new people, by the central interval of the totals that were trained on."""
    ordered = np.sort(trained.phq9["total"].to_numpy())
    out = math.floor((len(ordered) + 1) * (1 - INTERVAL) / 2)
    lower, upper = ordered[max(out - 1, 0)], ordered[min(len(ordered) - out, len(ordered) - 1)]
    total = new.phq9["total"].to_numpy()
    return float(((total >= lower) & (total <= upper)).mean()), float(upper - lower)


def exported(run: Path, cohort: Cohort) -> tuple[float, float]:
    """Of new people, by the graph of a frozen ensemble that other programs run."""
    ensemble, _ = load_ensemble(run)
    graph, everyone = EnsembleGraph(ensemble), list(timelines(cohort))
    rows = []
    for states in NumberSource().read(everyone):
        words = torch.from_numpy(np.asarray(states.words, dtype=np.float64))
        rows.append(graph(words, torch.from_numpy(states.views["numbers"]))[1].detach().numpy())
    lower, upper = Totals(np.stack(rows)).delivered_interval(ensemble.width(INTERVAL))
    names = [person.person_id for person in everyone]
    ends = pl.DataFrame({"person_id": names, "lower": lower, "upper": upper})
    return held(ends.join(cohort.phq9.select("person_id", "total"), on="person_id"))


def running(run: Path, cohort: Cohort, home: Path) -> tuple[float, float]:
    """Of new people, by estimates as messages arrive one by one."""
    rows = []
    with RunningScorer(run, home=home) as scorer:
        for row in cohort.turns.iter_rows(named=True):
            message = TimedMessage(
                row["role"], row["text"], row["time"], row["conversation_id"], row["turn"]
            )
            rows.append(scorer.add(row["person_id"], [message]))
    return held(at_last_turn(pl.concat(rows), cohort))


def frozen_seed(name: str, seed: int, folder: Path) -> dict[str, Shares]:
    """One run of a frozen head: its row, that of its export, and the constant model's."""
    config, count, _ = FROZEN_ROWS[name]
    with numbers():
        trained, _ = people_in_numbers(folder / "open", seed, gold=count)
        new = as_strangers(people_in_numbers(folder / "new", 10_000 + seed, gold=NEW)[0])
        train_run(trained, folder / "run", replace(config, seed=seed), WindowConfig())
        scores = at_last_turn(scored(new, folder / "run", folder), new)
        shares = {name: {"left out": left_out(folder / "run", "leadline"), "new": held(scores),
                         "constant": constant(trained, new)}}  # fmt: skip
        if name == "frozen, gp":
            shares["exported, gp"] = {**shares[name], "new": exported(folder / "run", new)}
    return shares


def selftrained_seed(_: str, seed: int, folder: Path) -> dict[str, Shares]:
    """One self-training run whose round is kept, alone and fused with a teacher."""
    with numbers():
        trained, truth = people_in_numbers(folder / "open", seed, gold=150, unlabelled=150)
        labels = make_labels(folder / "labels", truth, set(), cohort=trained, seed=seed)
        cohort, true = people_in_numbers(folder / "new", 10_000 + seed, gold=NEW)
        new = as_strangers(cohort)
        rated = make_labels(
            folder / "rated", {f"new {k}": v for k, v in true.items()}, set(), seed=20_000 + seed
        )
        rules = SelftrainConfig(rounds=1, canary=0.0, ablation=False, **ALL_KEPT)  # type: ignore[arg-type]
        config = replace(FROZEN, fit="ridge", folds=4, seed=seed)
        run = folder / "run"
        selftrain_run(trained, labels, run, rules, config, WindowConfig())
        scores = scored(new, run, folder)
        fused, _count = fuse_estimates(run, scores, read_labels(rated))
        base = constant(trained, new)
        return {
            "self-trained, ridge": {"left out": left_out(run, "leadline"), "constant": base,
                                    "new": held(at_last_turn(scores, new))},
            "fused, ridge": {"left out": left_out(run, "fused"), "constant": base,
                             "new": held(at_last_turn(fused, new))},
        }  # fmt: skip


def adapted_seed(name: str, seed: int, folder: Path) -> dict[str, Shares]:
    """One overfitted adapted reader, scored whole and message by message."""
    config = replace(ADAPTED_ROWS[name], reader=str(tiny_reader(folder)), seed=seed)
    trained, new = people_in_words(80, seed), as_strangers(people_in_words(NEW, 10_000 + seed))
    run = folder / "run"
    train_run(trained, run, config, WindowConfig(days=0), home=folder)
    scores = folder / "scores.parquet"
    score_cohort(new, run, scores, home=folder)
    row = {"left out": left_out(run, "leadline"), "constant": constant(trained, new),
           "new": held(at_last_turn(pl.read_parquet(scores), new))}  # fmt: skip
    shares = {name: row}
    if name == "LoRA":
        shares["running, LoRA"] = {**row, "new": running(run, new, folder)}
    return shares


def options(parser: argparse.ArgumentParser) -> None:
    """How many seeds, and which rows."""
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--adapted-seeds", type=int, default=3)
    parser.add_argument("--only", help="rows whose name begins so; the others stay as they were")


def jobs(args: argparse.Namespace) -> Iterator[tuple[str, Any, int]]:
    """Row, what makes one seed of it, how many seeds."""
    for name, (_, _, share) in FROZEN_ROWS.items():
        yield name, frozen_seed, max(1, round(share * args.seeds))
    yield "self-trained, ridge", selftrained_seed, args.seeds
    for name in ADAPTED_ROWS:
        yield name, adapted_seed, args.adapted_seeds


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Every row; what is there is saved after each."""
    from bench.common import RESULTS, read_result

    table: dict[str, Any] = {}
    if (RESULTS / f"{RESULT}.json").is_file():
        table = read_result(RESULT)["table"]
    for name, one, seeds in jobs(args):
        if args.only and not name.startswith(args.only):
            continue
        begun, found = time.perf_counter(), []
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as folder:
                found.append(one(name, seed, Path(folder)))
        for row in found[0]:
            table[row] = {**summary([shares[row] for shares in found]), "made by": args.command}
        tell(name, f"{time.perf_counter() - begun:.0f} s")
        save(RESULT, {"new people a seed": NEW, "table": table}, args.command)
    return {"new people a seed": NEW, "table": table}


def summary(seeds: list[Shares]) -> dict[str, Any]:
    """Means over seeds, and the standard errors of the shares."""
    out: dict[str, Any] = {"seeds": len(seeds)}
    for people in ("left out", "new", "constant"):
        shares, widths = np.array([one[people] for one in seeds]).T
        out[people] = {"share": round(float(shares.mean()), 4),
                       "width": round(float(widths.mean()), 2)}  # fmt: skip
        if len(seeds) > 1:
            out[people]["se"] = round(float(shares.std(ddof=1) / math.sqrt(len(seeds))), 4)
    return out


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """The table of docs/evaluation.md."""
    return [
        (name, " | ".join([str(row["seeds"]), *cells(row["left out"]), *cells(row["new"]),
                           *cells(row["constant"])]))
        for name, row in results["table"].items()
    ]  # fmt: skip


def cells(figures: dict[str, float]) -> tuple[str, str]:
    """Share with its standard error, and width."""
    error = f" ({100 * figures['se']:.1f})" if "se" in figures else ""
    return f"{100 * figures['share']:.1f}%{error}", f"{figures['width']:.1f}"


if __name__ == "__main__":
    run_module()
