"""Self-training on real check-ins: the labels of half the people hidden.

200 people wrote about two weeks and answered a PHQ-9. Half keep their labels; the others are
people without a PHQ-9 whom the student pseudolabels, alone or together with a local teacher
(`selftraining.local_teachers`). Their hidden labels are the test: nobody of them was ever trained
on with their own label, and a final model that was fitted on someone's pseudolabel does not
estimate that person.

    python -m bench run selftraining.checkins [--reader minilm] [--draws 4] [--chat 20]

Needs the readers minilm and smollm2 and, but with --no-server, fastapi and uvicorn. With
--keep FOLDER the ratings of the server are kept there and not asked for again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.common import CheckIn, load_checkins
from bench.protocol import run_module
from bench.selftraining import local_teachers
from bench.selftraining.local_teachers import (
    ANCHORS,
    DECISIONS,
    WINDOW,
    rate_checkins,
    write_checkins,
)
from leadline.cohort.store import read_cohort
from leadline.runs.config import TrainConfig
from leadline.scoring.score import score_cohort
from leadline.selftrain.config import SelftrainConfig
from leadline.selftrain.fusion import fuse_estimates
from leadline.selftrain.selftrain import selftrain_run
from leadline.teacher.label_table import read_labels

TAKES = "the check-ins, readers minilm and smollm2, and what selftraining.local_teachers takes"
RESULT = "selftrain_checkins"
RESAMPLES = 4000
GOLD_ONLY, STUDENT = "gold only", "round 1, student alone"
ARMS = {
    "gold only": "gold only",
    "round 1, student alone": "round 1, labels by the student alone",
    "round 1, student and anchors": "round 1, student and anchors",
    "round 1, student and decisions": "round 1, student and SmolLM2 by decisions",
    "fused with anchors": "that of the anchors, fused with their rating at scoring time",
    "fused with decisions": "that of SmolLM2, fused with its rating at scoring time",
}
TEACHERS = {ANCHORS: "anchors", DECISIONS: "decisions"}


def last_estimates(scores: pl.DataFrame, hidden: list[str]) -> np.ndarray:
    """The final estimate of each hidden person."""
    last = scores.group_by("person_id", maintain_order=True).last()
    mean = dict(last.select("person_id", "mean").iter_rows())
    return np.array([mean[name] for name in hidden])


def one_draw(
    people: list[CheckIn], seed: int, reader: str, labels: dict[str, Path]
) -> dict[str, Any]:
    """Errors for the hidden half of one draw, by arm; and what the rules would have kept."""
    random = np.random.default_rng(seed)
    labelled = np.zeros(len(people), dtype=bool)
    labelled[random.permutation(len(people))[: len(people) // 2]] = True
    without = [person for person, gold in zip(people, labelled, strict=True) if not gold]
    hidden = [person.person for person in without]
    total = np.array([person.total for person in without])
    train = TrainConfig(reader=reader, seed=seed, baselines=False)
    # Without rules that would stop it, so that the round's own effect is measured.
    forced = SelftrainConfig(rounds=1, canary=0, min_gain=-1e9, min_variance=0.0,
                             min_slope=-1e9, max_slope=1e9, ablation=False)  # fmt: skip
    ruled = SelftrainConfig(rounds=1, canary=0, ablation=False)
    arms: dict[str, tuple[Path | None, SelftrainConfig]] = {
        GOLD_ONLY: (None, SelftrainConfig(rounds=0, canary=0)),
        STUDENT: (None, forced),
        **{f"round 1, student and {TEACHERS[name]}": (path, forced)
           for name, path in labels.items()},
    }  # fmt: skip
    errors: dict[str, np.ndarray] = {}
    accepted = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cohort = read_cohort(write_checkins(people, labelled, folder / "cohort"))
        for number, (arm, (teacher, config)) in enumerate(arms.items()):
            run, file = folder / f"run-{number}", folder / f"scores-{number}.parquet"
            selftrain_run(cohort, teacher, run, config, train, WINDOW)
            score_cohort(cohort, run, file)
            scores = pl.read_parquet(file)
            errors[arm] = np.abs(last_estimates(scores, hidden) - total)
            if teacher is not None:
                fused, _ = fuse_estimates(run, scores, read_labels(teacher))
                errors[arm.replace("round 1, student and", "fused with")] = np.abs(
                    last_estimates(fused, hidden) - total
                )
            if config is forced:
                manifest = selftrain_run(
                    cohort, teacher, folder / f"ruled-{number}", ruled, train, WINDOW
                )
                accepted[arm] = manifest["selftraining"]["kept"]
    return {"row": np.flatnonzero(~labelled), "errors": errors, "kept": accepted}


def compared(draws: list[dict[str, Any]], people: int) -> dict[str, dict[str, Any]]:
    """MAE of each arm and its paired difference from gold only, bootstrap over people."""
    picks = np.random.default_rng(0).integers(0, people, (RESAMPLES, people))
    out = {}
    for arm in draws[0]["errors"]:
        gap, count = np.zeros(people), np.zeros(people)
        for draw in draws:
            gap[draw["row"]] += draw["errors"][arm] - draw["errors"][GOLD_ONLY]
            count[draw["row"]] += 1
        drawn = gap[picks].sum(axis=1) / count[picks].sum(axis=1)
        mean = float(np.mean([draw["errors"][arm].mean() for draw in draws]))
        out[arm] = {"mae": round(mean, 3)}
        if arm != GOLD_ONLY:
            ends = np.quantile(drawn, [0.025, 0.975])
            out[arm] |= {
                "minus_gold_only": round(float(gap.sum() / count.sum()), 3),
                "interval_95": [round(float(x), 3) for x in ends],
            }
        if arm in draws[0]["kept"]:
            out[arm]["kept_by_the_rules"] = int(sum(draw["kept"][arm] for draw in draws))
    return out


def options(parser: argparse.ArgumentParser) -> None:
    """Its own flags and those of the teachers."""
    parser.add_argument("--reader", default="minilm")
    parser.add_argument("--draws", type=int, default=4)
    local_teachers.options(parser)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Rate, train on halves, compare."""
    people = load_checkins()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        labels, teachers = rate_checkins(people, args, Path(folder))
        draws = [one_draw(people, seed, args.reader, labels) for seed in range(args.draws)]
    return {
        "seconds": round(time.perf_counter() - start),
        "reader": args.reader,
        "draws": len(draws),
        "teachers": teachers,
        "arms": compared(draws, len(people)),
    }


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """MAE, the paired difference from gold only, and in how many draws the rules keep it."""
    table = []
    for name, title in ARMS.items():
        if name not in results["arms"]:
            continue
        row = results["arms"][name]
        gap = ""
        if "minus_gold_only" in row:
            low, high = row["interval_95"]
            gap = f"{row['minus_gold_only']:+.2f} ({low:+.2f} to {high:+.2f})"
        draws = row.get("kept_by_the_rules")
        rules = "" if draws is None else f"{draws} of {results['draws']}"
        table.append((title, f"{row['mae']:.2f} | {gap} | {rules}"))
    return table


if __name__ == "__main__":
    run_module()
