"""Self-training on simulated people: gold only, raw teacher, label model, rounds, fused.

For each seed and teacher a cohort of the preset `paper` is simulated (the same people for
every teacher), its open people are rated by the simulated teacher, and `selftrain_run` makes
the whole ablation. "true labels" trains on the true PHQ-9s of the people without gold, which
no pseudolabel can beat. Figures are those of the locked test, pooled over seeds, each
compared with gold only by a paired bootstrap over people.

With `--reader tfidf` a turn's state is its TF-IDF vector reduced to 128 columns, fitted on
the open people's text; it needs no model and reads a thousand people in seconds.

    python bench/selftrain_ablation.py [--people N] [--seeds S] [--folds K] [--rounds R]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

from leadline.config import WindowConfig
from leadline.dialogue.store import Cohort, read_cohort
from leadline.estimator.design import PersonStates, StateSource
from leadline.estimator.ensemble import Ensemble, Member
from leadline.estimator.run import open_source
from leadline.estimator.settings import TrainConfig
from leadline.estimator.train import candidates_for, ensemble_predictions
from leadline.selftrain.chain import RAW, Chain, Plan
from leadline.selftrain.ledger import AncestryLedger
from leadline.selftrain.nodes import NodeStore
from leadline.selftrain.roster import open_roster
from leadline.selftrain.run import selftrain_run
from leadline.selftrain.settings import SelftrainConfig
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.settings import PRESETS, SimulateConfig, preset
from leadline.teacher.label import LabelConfig, label_cohort
from leadline.teacher.labels import LABELS

RESULTS = Path(__file__).resolve().parent / "results"
TEACHERS = {
    "r .76": {"teacher_r": 0.76},
    "bad: r .3, bias +6": {"teacher_r": 0.3, "teacher_bias": 6.0},
}
WIDTH, RESAMPLES = 128, 2000


class TfidfSource:
    """States of turns from word counts; implements what is used of `StateSource`."""

    names = ("tfidf",)
    views = {"tfidf": (0, slice(None))}  # noqa: RUF012
    identities = {"tfidf": "tfidf-svd"}  # noqa: RUF012

    def __init__(self, cohort: Cohort) -> None:
        locked = cohort.people.filter("locked")["person_id"]
        said = cohort.turns.filter(
            (pl.col("role") == "user") & ~pl.col("person_id").is_in(locked.implode())
        )
        self.model = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=3),
            TruncatedSVD(WIDTH, random_state=0),
        )
        self.model.fit(said["text"].sample(min(said.height, 15_000), seed=0).to_list())
        self.directions = {"tfidf": np.eye(9, WIDTH)}

    def read(self, people: list[Any], _progress: Any = None) -> list[PersonStates]:
        """States of the user turns of each person."""
        texts = [person.messages[i].text for person in people for i in person.user]
        states = self.model.transform(texts).astype(np.float32)
        ends = np.cumsum([len(person.user) for person in people])[:-1]
        return [
            PersonStates({"tfidf": part}, person.user_words())
            for person, part in zip(people, np.split(states, ends), strict=True)
        ]


def settings_for(people: int, seed: int, teacher: dict[str, float]) -> SimulateConfig:
    """The preset `paper` with its proportions kept."""
    whole = preset("paper")
    share = people / whole.people
    counts = {"people": people, "gold": round(share * whole.gold),
              "locked": round(share * whole.locked)}  # fmt: skip
    return SimulateConfig(**{**PRESETS["paper"], **counts, **teacher, "seed": seed})


def true_labels(cohort: Cohort, window: WindowConfig) -> pl.DataFrame:
    """The true PHQ-9 of everyone without gold, as if one perfect rater had given it."""
    assert cohort.path is not None
    truth = pl.read_parquet(cohort.path / "truth" / "phq9_all.parquet")
    last = truth.filter((pl.col("repeat") == 0) & ~pl.col("given")).sort("time")
    last = last.unique("person_id", keep="last")
    from leadline.teacher.selection import cohort_readings

    spans = pl.DataFrame(
        [(r.person_id, r.first, r.last) for r in cohort_readings(cohort, window, "unlabelled")],
        schema={"person_id": pl.String, "first": pl.Int32, "last": pl.Int32}, orient="row",
    )  # fmt: skip
    rows = spans.join(last.select("person_id", "time", "total"), on="person_id")
    fixed = {"source": "teacher", "round": 0, "model": "truth", "draw": 0, "weight": 1.0}
    table = rows.with_columns(*(pl.lit(value).alias(name) for name, value in fixed.items()))
    missing = [pl.lit(None).alias(name) for name in LABELS if name not in table.columns]
    table = table.with_columns(*missing).with_columns(ancestors=pl.lit([], pl.List(pl.String)))
    return table.select(pl.col(name).cast(kind) for name, kind in LABELS.items())


def upper_bound(
    cohort: Cohort, source: StateSource, train: TrainConfig, folder: Path
) -> pl.DataFrame:
    """Locked predictions of an ensemble trained on gold and on true labels of the rest."""
    window = WindowConfig()
    roster, states = open_roster(cohort, true_labels(cohort, window), source, train, window)
    locked = frozenset(cohort.people.filter("locked")["person_id"])
    plan = Plan(train.folds, candidates_for(train, len(roster.people))[0], train.seed, even=False)
    chain = Chain(roster, 0, plan, NodeStore(folder), AncestryLedger(locked))
    members = tuple(Member(0, fold, chain.member(RAW, 1, fold)) for fold in range(train.folds))
    ensemble = Ensemble(members, roster.left_out(), source, train.pool)
    people = states[: len(roster.labelled.people)]
    return ensemble_predictions(ensemble, roster.labelled, people, roster.left_out(), "true labels")


def one_run(
    seed: int, name: str, args: argparse.Namespace, folder: Path
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Simulate, label, self-train; predictions and the course of the rounds."""
    config = settings_for(args.people, seed, TEACHERS[name])
    simulate_cohort(folder / "cohort", config)
    cohort = read_cohort(folder / "cohort")
    label_cohort(folder / "cohort", folder / "labels", LabelConfig(teacher="simulated"))
    train = TrainConfig(
        reader=args.reader if args.reader != "tfidf" else "minilm",
        folds=args.folds, seed=seed, baselines=False,
    )  # fmt: skip
    source: Any = TfidfSource(cohort) if args.reader == "tfidf" else open_source(train)
    with mock.patch("leadline.selftrain.run.open_source", return_value=source):
        manifest = selftrain_run(
            cohort, folder / "labels", folder / "run",
            SelftrainConfig(rounds=args.rounds), train, WindowConfig(),
        )  # fmt: skip
    tables = [pl.read_parquet(folder / "run" / "predictions.parquet")]
    if name == next(iter(TEACHERS)):
        tables.append(upper_bound(cohort, source, train, folder / "bound"))
    table = pl.concat(tables).filter(pl.col("split") == "locked")
    return table.with_columns(pl.lit(seed).alias("seed")), manifest["selftraining"]


def compare(table: pl.DataFrame) -> dict[str, dict[str, float]]:
    """MAE, r, and the paired difference in MAE from gold only with its 95% interval."""
    table = table.with_columns((pl.col("mean") - pl.col("total")).abs().alias("error"))
    key = ["seed", "person_id", "label"]
    base = table.filter(pl.col("model") == "gold only").select(*key, old="error")
    random = np.random.default_rng(0)
    out = {}
    for name in table["model"].unique(maintain_order=True):
        mine = table.filter(pl.col("model") == name)
        both = mine.join(base, on=key)
        people = both.group_by("seed", "person_id").agg(
            (pl.col("error") - pl.col("old")).sum(), pl.len()
        )
        gap, count = people["error"].to_numpy(), people["len"].to_numpy()
        picks = random.integers(0, len(gap), (RESAMPLES, len(gap)))
        drawn = gap[picks].sum(axis=1) / count[picks].sum(axis=1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        out[name] = {
            "labels": mine.height,
            "mae": round(float(mine["error"].mean()), 3),
            "r": round(float(np.corrcoef(mine["mean"], mine["total"])[0, 1]), 3),
            "minus_gold_only": round(float(gap.sum() / count.sum()), 3),
            "low": round(float(low), 3),
            "high": round(float(high), 3),
        }
    return out


def main() -> None:
    """Run all seeds and teachers and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=7125)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reader", default="tfidf")
    parser.add_argument("--out", default="selftrain_ablation")
    args = parser.parse_args()
    start = time.perf_counter()
    tables: dict[str, list[pl.DataFrame]] = {name: [] for name in TEACHERS}
    courses: dict[str, list[Any]] = {name: [] for name in TEACHERS}
    for seed in range(args.seeds):
        for name in TEACHERS:
            with tempfile.TemporaryDirectory() as folder:
                table, course = one_run(seed, name, args, Path(folder))
            tables[name].append(table)
            courses[name].append(course)
            print(name, seed, f"{time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        write(tables, courses, args.out, time.perf_counter() - start)


def write(tables: dict[str, Any], courses: dict[str, Any], out: str, seconds: float) -> None:
    """Write what is there after each seed, so that a stopped bench keeps it."""
    report = {
        name: {
            "seeds": len(parts),
            "locked": compare(pl.concat(parts)),
            "by_seed": [compare(part) for part in parts],
            "courses": courses[name],
        }
        for name, parts in tables.items()
    }
    about = {
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}, "
        f"Python {platform.python_version()}",
        "command": " ".join(["python", "bench/selftrain_ablation.py", *sys.argv[1:]]),
        "seconds": round(seconds),
    }
    text = json.dumps({**about, **report}, indent=2)
    (RESULTS / f"{out}.json").write_text(text + "\n", encoding="utf-8")
    print(json.dumps({name: one["locked"] for name, one in report.items()}, indent=1))


if __name__ == "__main__":
    main()
