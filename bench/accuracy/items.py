"""The response model of the items by itself, and the profiles that a run makes with it.

    python -m bench run accuracy.items [--draws 20]

Four parts. The population: totals and item-total correlations that follow from the published
figures, against those of 8,276 US adults (tables of NHANES 2017 to March 2020, in
`phq9_population` beside the check-ins), and against independent items with the same frequencies.
Few people: simulated people whose items differ from the published ones as far as the prior
expects, and twice as far; the log score of other people's answers given their true totals. The
text: how often it gets a weight where scores of symptoms tell of an item beyond the severity, where
they do not, and where the profiles are dealt out anew. A run: the demo's simulated people, MiniLM,
out of fold.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bench.common import data_folder, tell
from bench.protocol import run_module
from leadline.arrays import Array, Ints
from leadline.cli.demo import demo_settings
from leadline.evaluate.run_results import evaluate_run
from leadline.phq9.distribution import Totals
from leadline.phq9.graded_response import DISCRIMINATION, ITEM_THRESHOLDS
from leadline.profiles.item_model import ItemModel
from leadline.profiles.recursion import joint_chances
from leadline.profiles.response_model import (
    GAP_SPREAD,
    PLACE_SPREAD,
    SLOPE_SPREAD,
    ResponseModel,
    fit_response_model,
)
from leadline.runs.config import TrainConfig
from leadline.runs.train import train_run
from leadline.simulate.cohort import simulate_cohort

TAKES = "the tables of the population, reader minilm; three minutes"
RESULT = "items"
PEOPLE = (30, 100, 300, 1000)
OTHERS = 1000
HELP_SEEKERS = (1.5, 1.05)  # mean and SD of the severity, in SDs of US adults
EFFECTS = (0.0, 0.25, 0.5)
FAR = {"as expected": 1.0, "twice as far": 2.0}  # by how much items differ from the published ones


def options(parser: argparse.ArgumentParser) -> None:
    """How often people are drawn."""
    parser.add_argument("--draws", type=int, default=20)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All four parts."""
    parts = {
        "population": population(),
        "few people": few_people(args.draws),
        "text": text_weights(args.draws),
    }
    tell(parts)
    return {**parts, "draws": args.draws, "run": whole_run()}


def population() -> dict[str, Any]:
    """What follows from the published figures, and from independent items, for US adults."""
    folder = data_folder()
    if folder is None:
        raise SystemExit("The population tables are not on this machine: set LEADLINE_DATA.")
    tables = folder.parent / "phq9_population"
    totals = np.array([int(row["unweighted_n"]) for row in table(tables, "total_distribution")])
    shares = [float(row["proportion"]) for row in table(tables, "item_category_distribution")]
    observed = np.array(shares).reshape(9, 4)
    correlations = np.array(
        [float(row["corrected_item_total_r"])
         for row in table(tables, "corrected_item_total_correlations")]
    )  # fmt: skip
    model = ResponseModel.published(9)
    ways = {
        "response model": joint_chances(model.chances(), model.weights()),
        "independent items": joint_chances(observed[None], np.ones(1)),
    }
    out: dict[str, Any] = {"people": int(totals.sum())}
    for name, joint in ways.items():
        of_total = joint[0].sum(axis=0)
        off = np.abs(of_total - totals / totals.sum())
        errors = item_total_correlations(joint) - correlations
        out[name] = {
            "total variation": round(float(off.sum() / 2), 4),
            "at 10 or more": round(float(of_total[10:].sum()), 4),
            "correlation error": round(float(np.abs(errors).mean()), 3),
        }
    out["at 10 or more"] = round(float(totals[10:].sum() / totals.sum()), 4)
    return out


def table(folder: Path, name: str) -> list[dict[str, str]]:
    """Rows of a table of the population."""
    with (folder / f"phq9_{name}.csv").open(newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream))


def item_total_correlations(joint: Array) -> Array:
    """Correlation of each item with the sum of the others, from P(answer, total) (K, 4, T)."""
    answer, total = np.arange(4)[:, None], np.arange(joint.shape[-1])[None]
    rest = total - answer
    mean_x, mean_y = ((joint * value).sum(axis=(1, 2)) for value in (answer, rest))
    x, y = answer - mean_x[:, None, None], rest - mean_y[:, None, None]
    cross, square_x, square_y = ((joint * value).sum(axis=(1, 2)) for value in (x * y, x**2, y**2))
    return np.asarray(cross / np.sqrt(square_x * square_y))


def few_people(draws: int) -> dict[str, dict[str, float]]:
    """Log score an answer of other people given their true totals, less that of the truth."""
    out: dict[str, dict[str, float]] = {}
    for people, (far, factor) in product(PEOPLE, FAR.items()):
        losses: dict[str, list[float]] = {"fitted": [], "published": [], "frequencies": []}
        for seed in range(draws):
            rng = np.random.default_rng([seed, people])
            truth = population_of_items(rng, factor)
            answers, others = draw_answers(truth, people, rng), draw_answers(truth, OTHERS, rng)
            fitted = fit_response_model(answers)
            alike = ResponseModel(DISCRIMINATION, ITEM_THRESHOLDS, fitted.mean, fitted.sd)
            best = log_score(truth, others)
            losses["fitted"].append(log_score(fitted, others) - best)
            losses["published"].append(log_score(alike, others) - best)
            marginal = ItemModel.fit(answers).marginal
            losses["frequencies"].append(
                float(np.log(marginal[np.arange(9), others]).mean()) - best
            )
        out[f"{people}, {far}"] = {name: round(float(np.mean(x)), 4) for name, x in losses.items()}
    return out


def population_of_items(rng: np.random.Generator, factor: float) -> ResponseModel:
    """People whose items differ from the published ones, `factor` times as the prior expects."""
    slopes = DISCRIMINATION * np.exp(rng.normal(0, factor * SLOPE_SPREAD, 9))
    first = ITEM_THRESHOLDS[:, :1] + rng.normal(0, factor * PLACE_SPREAD, (9, 1))
    gaps = np.diff(ITEM_THRESHOLDS, axis=1) * np.exp(rng.normal(0, factor * GAP_SPREAD, (9, 2)))
    thresholds = np.concatenate([first, gaps], axis=1).cumsum(axis=1)
    return ResponseModel(slopes, thresholds, *HELP_SEEKERS)


def draw_answers(
    model: ResponseModel, people: int, rng: np.random.Generator, shift: Array | None = None
) -> Ints:
    """Answers of people of the model's population, (people, 9)."""
    theta = rng.normal(model.mean, model.sd, (people, 1, 1))
    moved = theta if shift is None else theta + shift[:, :, None]
    above = 1 / (1 + np.exp(-model.discrimination[:, None] * (moved - model.thresholds)))
    return np.asarray((rng.random((people, 9, 1)) < above).sum(axis=2), dtype=np.int64)


def log_score(model: ResponseModel, answers: Ints) -> float:
    """Mean log chance of each answer given the true total."""
    certain = Totals(np.eye(28)[answers.sum(axis=1)])
    chances = ItemModel(model, None, np.full((9, 4), 0.25), 0).chances(certain)
    place = np.take_along_axis(chances, answers[..., None], axis=2)[..., 0]
    return float(np.log(place).mean())


def text_weights(draws: int) -> dict[str, dict[str, float]]:
    """Share of fits of 150 people with a weight, and its mean, by what the scores tell."""
    out: dict[str, dict[str, float]] = {}
    for effect in EFFECTS:
        weights: dict[str, list[float]] = {"as drawn": [], "dealt out anew": []}
        for seed in range(draws):
            rng = np.random.default_rng([seed, 150])
            model, symptom = ResponseModel.published(9), rng.normal(size=(150, 9))
            people = ResponseModel(model.discrimination, model.thresholds, *HELP_SEEKERS)
            answers = draw_answers(people, 150, rng, effect * symptom)
            scores = symptom[..., None] + rng.normal(0, 0.5, (150, 9, 2))
            weights["as drawn"].append(ItemModel.fit(answers, scores).weight)
            anew = rng.permutation(answers)
            weights["dealt out anew"].append(ItemModel.fit(anew, scores).weight)
        for name, values in weights.items():
            out[f"{effect}, {name}"] = {
                "share": round(float(np.mean(np.array(values) > 0)), 3),
                "mean": round(float(np.mean(values)), 3),
            }
    return out


def whole_run() -> dict[str, Any]:
    """The demo's people, trained on MiniLM; what `results.json` says of their profiles."""
    with tempfile.TemporaryDirectory() as scratch:
        cohort = simulate_cohort(Path(scratch) / "cohort", demo_settings(500, 0))
        config = TrainConfig(reader="minilm", baselines=False)
        train_run(cohort, Path(scratch) / "run", config)
        profile = evaluate_run(Path(scratch) / "run")["profile"]
    entry = profile["sets"][0]
    bins = entry["calibration"]
    off = [abs(one["forecast"] - one["outcome"]["value"]) for one in bins]
    return {
        "people": entry["people"],
        "answers": entry["answers"],
        "disagreement": profile["disagreement"],
        "models": entry["models"],
        "gains": entry["gains"],
        "calibration error": round(float(np.mean(off)), 4),
        "worst bin": round(float(np.max(off)), 4),
    }


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Log scores lost against the true model, by number of people."""
    return [
        (people, " | ".join(f"{losses[name]:.3f}" for name in losses))
        for people, losses in results["few people"].items()
    ]


if __name__ == "__main__":
    run_module()
