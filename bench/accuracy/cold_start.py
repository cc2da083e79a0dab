"""From no label to some: r, MAE and AUC of a prior run and of trainings that start from it.

The check-ins in several draws: 60 people are the test, of the others so many have a label. Without
labels the scale of the ranking comes from the words of the 140 others and the population is that of
`--population help-seekers`. With labels `default` is what `leadline train` chooses among, and
`from the prior` the same with one more candidate, chosen inside the training people. `asked` are
started processes on people chosen by `leadline ask` without a lot, `drawn` on people chosen by lot.

    python -m bench run accuracy.cold_start [--readers minilm,smollm2] [--draws 6]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.accuracy.reader_layer_head import timeline
from bench.common import load_checkins, tell
from bench.protocol import run_module
from leadline.arrays import Array, Ints
from leadline.cohort.config import WindowConfig
from leadline.cohort.timeline import Timeline
from leadline.cohort.windows import Span, timelines_to_read
from leadline.heads.candidates import (
    CANDIDATES,
    Candidate,
    FrozenModel,
    LabelledReadings,
    fit_frozen,
)
from leadline.heads.design import Design
from leadline.heads.prior import AnchorPrior, StartedProcess, most_informative
from leadline.phq9.distribution import Totals
from leadline.phq9.population import POPULATIONS
from leadline.runs.checkpoint import load_ensemble, open_source, settled
from leadline.runs.config import TrainConfig
from leadline.runs.prior import PriorConfig, load_prior, prior_run
from leadline.runs.state_source import StateSource
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import preset

TAKES = "the check-ins, readers minilm and smollm2; ten minutes"
RESULT = "cold_start"
TEST = 60
LABELS = (10, 20, 50, 100, 140)
ASKED = (10, 20, 50)
SIMULATED = 80
NAMES = ("r", "mae", "auc_10", "within_90")
HELP_SEEKERS = (POPULATIONS["help-seekers"].mean, POPULATIONS["help-seekers"].sd)


def scores(totals: Totals, gold: Array) -> list[float]:
    """R and MAE of the means, AUC at 10, and the share within the central 90%."""
    mean = totals.mean()
    high, low = mean[gold >= 10], mean[gold < 10]
    auc = np.mean(high[:, None] > low[None]) + np.mean(high[:, None] == low[None]) / 2
    lower, upper = totals.delivered_interval(0.9)
    within = np.mean((gold >= lower - 0.5) & (gold <= upper + 0.5))
    return [
        float(np.corrcoef(mean, gold)[0, 1]),
        float(np.abs(mean - gold).mean()),
        float(auc),
        float(within),
    ]


def rows_of(design: Design, total: Array, at: Ints) -> LabelledReadings:
    """Whole readings of people with labels."""
    ones = np.ones(len(at))
    return LabelledReadings(design.take(at), total[at], ones, at, ones > 0, ones)


def simulated_people(folder: Path) -> tuple[list[Timeline], Array]:
    """Simulated people and the last total of each; not those who are the scale."""
    settings = preset("small", people=SIMULATED, gold=SIMULATED, locked=0, seed=1)
    cohort = simulate_cohort(folder / "cohort", settings)
    people = list(timelines_to_read(cohort, WindowConfig()))
    last = cohort.phq9.group_by("person_id", maintain_order=True).agg(pl.col("total").last())
    total = dict(last.iter_rows())
    people = [person for person in people if person.person_id in total]
    return people, np.array([total[person.person_id] for person in people])


def assumptions(source: StateSource, design: Design, total: Array, name: str) -> dict[str, float]:
    """What is assumed, as it is: agreement of ranking and total, and the scale without a cohort."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prior_run(folder / "run", PriorConfig(reader=name))
        guess, _ = load_prior(folder / "run")
        model = load_ensemble(folder / "run")[0].members[0].model
        people, simulated = simulated_people(folder)
    spans = [Span(row, 0, len(talk.user) - 1) for row, talk in enumerate(people)]
    other = Design.of(source.directions, source.read(people), spans, "mean")
    views = tuple(design.states)
    inputs, theirs = (each.inputs(views, views) for each in (design, other))
    ranking = guess.rank(inputs)
    assert isinstance(model, FrozenModel), "its reader is frozen"
    figures = scores(model.distribution(design), total)
    return {
        "agreement, check-ins": float(np.corrcoef(ranking, total)[0, 1]),
        "agreement, simulated": float(np.corrcoef(guess.rank(theirs), simulated)[0, 1]),
        "mean rank without a cohort": float(ranking.mean()),
        "SD of the rank without a cohort": float(ranking.std()),
        "MAE without a cohort": figures[1],
        "within 90% without a cohort": figures[3],
    }


def one_draw(design: Design, total: Array, seed: int) -> dict[str, list[float]]:
    """Scores of each way and number of labels on 60 people apart."""
    order = np.random.default_rng(seed).permutation(len(total))
    test, pool = order[:TEST], order[TEST:]
    views = tuple(design.states)
    inputs, new = (design.take(at).inputs(views, views) for at in (pool, test))
    prior = AnchorPrior.of_people(inputs, HELP_SEEKERS)
    out = {"prior 0": scores(Totals.normal(*prior.predict(new)), total[test])}
    started = Candidate("started", per_view=False, start=prior)
    start = prior.started()
    chosen = np.array(most_informative(start.covariance(inputs), start.noise, max(ASKED)))
    for count in ASKED:
        for name, at in (("asked", chosen[:count]), ("drawn", np.arange(count))):
            process = StartedProcess.start(prior, inputs.take(at), total[pool[at]])
            out[f"{name} {count}"] = scores(Totals.normal(*process.predict(new)), total[test])
    for count in LABELS:
        rows = rows_of(design, total, pool[:count])
        for name, candidates in (
            ("default", CANDIDATES),
            ("from the prior", (started, *CANDIDATES)),
        ):
            model, _ = fit_frozen(rows, candidates, inner_folds=5, seed=seed, lexical=False)
            out[f"{name} {count}"] = scores(model.distribution(design.take(test)), total[test])
    return out


def mean_scores(draws: list[list[float]]) -> dict[str, float]:
    """The mean of `scores` over draws, by name."""
    mean = np.round(np.mean(draws, axis=0), 3)
    return {name: float(mean[at]) for at, name in enumerate(NAMES)}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Scores by reader, way and number of labels, mean over draws; and what is assumed."""
    people = load_checkins()
    total = np.array([person.total for person in people])
    timelines = [timeline(person) for person in people]
    spans = [Span(row, 0, len(talk.user) - 1) for row, talk in enumerate(timelines)]
    table: dict[str, Any] = {}
    assumed: dict[str, Any] = {}
    for name in args.readers.split(","):
        source = open_source(settled(TrainConfig(reader=name, lexical="off")))
        design = Design.of(source.directions, source.read(timelines), spans, "mean")
        found = assumptions(source, design, total, name)
        assumed[name] = {what: round(figure, 3) for what, figure in found.items()}
        draws = []
        for seed in range(args.draws):
            draws.append(one_draw(design, total, seed))
            tell(f"{name}: draw {seed + 1} of {args.draws}")
        table[name] = {way: mean_scores([draw[way] for draw in draws]) for way in draws[0]}
    return {"draws": args.draws, "test_people": TEST, "scores": table, "assumed": assumed}


def options(parser: argparse.ArgumentParser) -> None:
    """Flags of this bench."""
    parser.add_argument("--readers", default="minilm,smollm2")
    parser.add_argument("--draws", type=int, default=6)


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """A row for each reader and number of labels: r, MAE, AUC at 10 and share within 90%."""

    def figure(ways: dict[str, Any], way: str) -> str:
        if way not in ways:
            return "-"
        s = ways[way]
        return f"{s['r']:.3f}, {s['mae']:.2f}, {s['auc_10']:.3f}, {s['within_90']:.0%}"

    out = []
    for reader, ways in results["scores"].items():
        out.append((reader, " | ".join(["0", "-", figure(ways, "prior 0"), "-", "-"])))
        for count in LABELS:
            names = ("default", "from the prior", "drawn", "asked")
            cells = [figure(ways, f"{name} {count}") for name in names]
            out.append((reader, " | ".join([str(count), *cells])))
    return out


def assumed_rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """A row for each assumption: what it is for each reader."""
    readers = list(results["assumed"].values())
    return [(what, " | ".join(f"{each[what]:.2f}" for each in readers)) for what in readers[0]]


if __name__ == "__main__":
    run_module()
