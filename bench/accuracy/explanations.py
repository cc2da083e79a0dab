"""What a turn moved, against the truth of simulated people: increments, occlusion and others.

    python -m bench run accuracy.explanations [--preset easy|paper] [--fit ridge] [--work DIR]

Simulates people, trains a frozen MiniLM run on those with PHQ-9s, and takes locked people whose
turns the simulator knows the contributions of (what the best possible predictor loses without
the turn). Rank correlation within each person over the user turns of the PHQ-9's 14 days,
averaged over people, with 95% bootstrap intervals over people; every method on the same people
and turns in the same run. The preset and the head are in the name of the result
if they are not easy and ridge.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import spearmanr

from bench.protocol import run_module
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import read_cohort
from leadline.cohort.timeline import Timeline, timelines
from leadline.cohort.windows import Span, label_readings, running_starts
from leadline.heads.design import PersonStates
from leadline.runs.checkpoint import load_ensemble
from leadline.runs.config import TrainConfig
from leadline.runs.ensemble import Ensemble
from leadline.runs.estimates import running_estimates
from leadline.runs.locked_test import open_locked_test
from leadline.runs.train import train_run
from leadline.simulate.best_predictor import bayes_limit
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import preset

TAKES = "reader minilm; ten minutes"
WINDOW = WindowConfig()
FEWEST = 5  # user turns in the 14 days, for ranks to mean something
PRESETS = ("easy", "paper")
Person = tuple[Timeline, PersonStates, Span]
Method = Callable[[Ensemble, Person], np.ndarray]


def means(ensemble: Ensemble, person: Person, spans: list[Span]) -> np.ndarray:
    """Mean estimates of readings of one person."""
    timeline, states, _ = person
    at = [replace(span, person=0) for span in spans]
    return ensemble.distributions([timeline], [states], at).mean()


def increments(ensemble: Ensemble, person: Person, column: str) -> np.ndarray:
    """Increments at the turns of the reading, as `leadline score` writes them."""
    timeline, _, span = person
    table = running_estimates(ensemble, [timeline], WINDOW, "bench")
    moves = table["increment"].to_numpy()
    if column == "arrival":
        moves = moves - table["departure"].to_numpy()
    return moves[span.first : span.last + 1]


def undiluted(ensemble: Ensemble, person: Person) -> np.ndarray:
    """What a turn moved, times the turns that it was averaged with."""
    timeline, _, span = person
    turns = np.arange(len(timeline.user)) - running_starts(timeline, WINDOW) + 1
    return increments(ensemble, person, "arrival") * turns[span.first : span.last + 1]


def occlusion(ensemble: Ensemble, person: Person) -> np.ndarray:
    """The estimate minus the estimate without the turn: states of a sentence reader stay."""
    timeline, states, span = person
    turns = range(span.first, span.last + 1)
    people, cut = [], []
    for out in turns:
        rest = [turn for turn in turns if turn != out]
        people.append(timeline)
        cut.append(PersonStates({v: x[rest] for v, x in states.views.items()}, states.words[rest]))
    spans = [Span(row, 0, len(turns) - 2) for row in range(len(turns))]
    without = ensemble.distributions(people, cut, spans).mean()
    return means(ensemble, person, [span])[0] - without


def alone(ensemble: Ensemble, person: Person) -> np.ndarray:
    """The estimate from the turn alone."""
    _, _, span = person
    return means(ensemble, person, [Span(0, t, t) for t in range(span.first, span.last + 1)])


def words(ensemble: Ensemble, person: Person) -> np.ndarray:
    """Words of the turn: knows nothing of what was said."""
    del ensemble
    _, states, span = person
    return states.words[span.first : span.last + 1].astype(float)


def load_people(folder: Path, ensemble: Ensemble, limit: pl.DataFrame) -> list[Person]:
    """Locked people with known contributions and enough turns in their PHQ-9's window."""
    cohort = read_cohort(folder)
    readings = label_readings(cohort, WINDOW).sort("time").group_by("person_id").last()
    spans = {
        person: (first, last)
        for person, first, last in readings.select("person_id", "first", "last").iter_rows()
        if last - first + 1 >= FEWEST
    }
    names = set(limit.filter(pl.col("contribution").is_not_null())["person_id"]) & set(spans)
    people = [person for person in timelines(cohort) if person.person_id in names]
    states = ensemble.source.read(people)
    return [
        (person, turns, Span(0, *spans[person.person_id]))
        for person, turns in zip(people, states, strict=True)
    ]


def truth_of(limit: pl.DataFrame, person: Person, column: str) -> np.ndarray:
    """The simulator's numbers at the turns of the reading."""
    timeline, _, span = person
    turns = limit.filter(pl.col("person_id") == timeline.person_id).sort("user_turn")
    values = turns[column].to_numpy()
    if column == "mean":
        values = np.diff(values, prepend=np.nan)
    return values[span.first : span.last + 1]


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, over the turns where both are known; 0 where one is constant."""
    both = np.isfinite(a) & np.isfinite(b)
    if np.ptp(a[both]) == 0 or np.ptp(b[both]) == 0:
        return 0.0
    return float(spearmanr(a[both], b[both]).statistic)


def summarise(each: np.ndarray, peer: np.ndarray | None, draws: np.ndarray) -> dict[str, Any]:
    """Mean over people with its interval, and the paired difference from the peer."""
    summary: dict[str, Any] = {
        "spearman": round(float(each.mean()), 4),
        "interval": np.quantile(each[draws].mean(1), [0.025, 0.975]).round(4).tolist(),
    }
    if peer is not None:
        off = each - peer
        summary["minus_occlusion"] = round(float(off.mean()), 4)
        summary["minus_occlusion_interval"] = (
            np.quantile(off[draws].mean(1), [0.025, 0.975]).round(4).tolist()
        )
    return summary


def options(parser: argparse.ArgumentParser) -> None:
    """Who is simulated, and the head."""
    parser.add_argument("--preset", default="easy", choices=PRESETS)
    parser.add_argument("--people", type=int, default=100, help="locked people with contributions")
    parser.add_argument("--gold", type=int, default=320, help="people to train on")
    parser.add_argument("--turns", type=float, default=16.0, help="mean user turns of a person")
    parser.add_argument("--fit", default="ridge")
    parser.add_argument("--work", type=Path, help="keep cohort and run here, and go on from there")


def result(args: argparse.Namespace) -> str:
    """The name of its file."""
    marks = [args.preset] * (args.preset != "easy") + [args.fit] * (args.fit != "ridge")
    return "_".join(["explanations", *marks])


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Simulate, train, explain, compare."""
    with tempfile.TemporaryDirectory() as folder:
        work = args.work or Path(folder)
        cohort, run = work / f"{args.preset}-cohort", work / f"{args.preset}-{args.fit}"
        prepare(cohort, args)
        limit = pl.read_parquet(cohort / "truth" / "limit.parquet")
        train = TrainConfig(reader="minilm", fit=args.fit, baselines=False)
        if not (run / "manifest.json").is_file():
            train_run(read_cohort(cohort), run, train, WINDOW)
        ensemble, _ = load_ensemble(run)
        people = load_people(cohort, ensemble, limit)
        open_locked_test(run, cohort)
        table = pl.read_parquet(run / "predictions-locked.parquet")
        accuracy = float(np.corrcoef(table["mean"], table["total"])[0, 1])
        heads = sorted({member.model.candidate.name for member in ensemble.members})
    return {
        **compare(ensemble, people, limit),
        "preset": args.preset,
        "people_trained_on": args.gold,
        "mean_user_turns": args.turns,
        "heads": heads,
        "r_on_locked_people": round(accuracy, 4),
    }


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Increments against occlusion and the best possible."""
    names = ("increment", "occlusion", "increments of the best possible predictor")
    figure = ", ".join(f"{name} {results['methods'][name]['spearman']:.2f}" for name in names)
    what = f"rank correlation with the truth of a turn, {results['people']} simulated people"
    return [(what, figure)]


def prepare(cohort: Path, args: argparse.Namespace) -> None:
    """Simulate the cohort and the truth about its turns, unless they are there."""
    if not (cohort / "manifest.json").is_file():
        locked = args.people + 10
        config = replace(
            preset(args.preset),
            people=args.gold + locked + 20,
            gold=args.gold,
            locked=locked,
            user_turns=args.turns,
        )
        simulate_cohort(cohort, config)
    if not (cohort / "truth" / "limit.parquet").is_file():
        bayes_limit(cohort, contributions=args.people)


def compare(ensemble: Ensemble, people: list[Person], limit: pl.DataFrame) -> dict[str, Any]:
    """Every method on the same people and turns."""
    methods: dict[str, Method] = {
        "occlusion": occlusion,
        "increment": lambda e, p: increments(e, p, "increment"),
        "increment without departures": lambda e, p: increments(e, p, "arrival"),
        "the same times turns in the window": undiluted,
        "the turn alone": alone,
        "words of the turn": words,
    }
    truth = [truth_of(limit, person, "contribution") for person in people]
    each: dict[str, np.ndarray] = {}
    seconds = {}
    for name, method in methods.items():
        begun = time.process_time()  # of all threads: other work on the machine does not count
        measures = [method(ensemble, person) for person in people]
        seconds[name] = (time.process_time() - begun) / len(people)
        each[name] = np.array(
            [rank_correlation(a, b) for a, b in zip(measures, truth, strict=True)]
        )
    ideal = [truth_of(limit, person, "mean") for person in people]
    each["increments of the best possible predictor"] = np.array(
        [rank_correlation(a, b) for a, b in zip(ideal, truth, strict=True)]
    )
    draws = np.random.default_rng(0).integers(len(people), size=(2000, len(people)))
    peer = each["occlusion"]
    return {
        "people": len(people),
        "turns": int(sum(len(turns) for turns in truth)),
        "methods": {
            name: summarise(values, None if name == "occlusion" else peer, draws)
            | ({"cpu_seconds_a_person": round(seconds[name], 5)} if name in seconds else {})
            for name, values in each.items()
        },
    }


if __name__ == "__main__":
    run_module()
