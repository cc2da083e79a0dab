"""How often the 95% intervals of `leadline evaluate` hold the truth, by number of people.

Estimates are drawn as numbers; nothing is trained. Three populations: totals and errors about
normal; people whose mean total is 6.6 and many of whom score 0 to 2; and a mixture, where the model
nearly knows the severity of half of the people and little of the others (heavy-tailed errors). The
truth is what the same scores are on 200,000 people. "Percentile" is the interval between the 2.5%
and 97.5% quantiles of the same resamples, which Leadline gave before. With three PHQ-9s a person,
severity and the error of the estimate stay the same from one to the next.

    python -m bench run accuracy.small_samples [--sets 400]
"""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import beta, norm

from bench.common import tell
from bench.protocol import run_module
from leadline.arrays import Array
from leadline.evaluate.bootstrap import person_weights
from leadline.evaluate.comparisons import comparisons
from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.results import single_scores
from leadline.evaluate.sample import Estimates, Sample
from leadline.evaluate.scores import Resamples, scalar_scores
from leadline.phq9.distribution import Totals

TAKES = "six minutes"
RESULT = "small_samples"
RELIABILITY = 0.84
CONFIG = EvaluateConfig(resamples=400, curve_resamples=100)
NAMES = ("model", "baseline")
POPULATIONS = ("normal", "many low", "mixture")
PEOPLE = (15, 25, 50, 100)
MANY = 200_000
NOMINAL = (0.025, 0.975)
SCORES = (
    "mae", "median_error", "p90_error", "p95_error", "off_by_5", "rmse", "bias", "pearson",
    "spearman", "ccc",
    "calibration_slope", "calibration_intercept", "sd_ratio", "variance_explained", "kappa",
    "auc_10", "crps", "brier_10", "coverage_90", "by_mean/sensitivity", "by_mean/specificity",
    "by_mean/ppv/sample", "by_mean/npv/sample", "by_mean/ppv/0.1", "by_mean/npv/0.1",
)  # fmt: skip
DIFFERENCES = ("mae", "rmse", "pearson", "auc_10", "crps")


class Truth(NamedTuple):
    """A population's scores, and the spread of its models' errors, which their widths need."""

    scores: dict[str, float]
    spread: tuple[float, float]


def draw(population: str, people: int, labels: int, rng: np.random.Generator) -> list[Array]:
    """Totals, and the estimates of the model and of the baseline, each (people * labels,)."""
    severity, first, second = rng.normal(size=(3, people))
    doubt = np.full(people, 0.7)
    if population == "mixture":
        doubt = np.where(rng.random(people) < 0.5, 0.15, 1.6)
    seen = (severity + doubt * first) / (1 + doubt**2)
    weaker = (severity + 1.2 * second) / (1 + 1.2**2)
    severity, seen, weaker = (np.repeat(x, labels) for x in (severity, seen, weaker))
    error = rng.normal(size=people * labels)
    standard = np.sqrt(RELIABILITY) * severity + np.sqrt(1 - RELIABILITY) * error
    if population == "many low":
        gold, *means = (27 * beta.ppf(norm.cdf(x), 0.9, 2.8) for x in (standard, seen, weaker))
    else:
        gold, *means = (10 + 6.5 * x for x in (standard, 0.92 * seen, 0.92 * weaker))
    return [np.clip(np.rint(gold), 0, 27), *(np.clip(mean, 0, 27) for mean in means)]


def sample_of(drawn: list[Array], labels: int, spread: tuple[float, float] | None) -> Sample:
    """A sample with both models; without distributions where the spread is not known yet."""
    gold, *means = drawn
    person = np.repeat(np.arange(len(gold) // labels), labels)
    models = {}
    for number, (name, mean) in enumerate(zip(NAMES, means, strict=True)):
        totals = None
        if spread is not None:
            totals = (Totals.normal(mean, np.full(len(mean), spread[number])),)
        models[name] = Estimates(mean[None, :], mean[None, :], totals)
    return Sample(
        split="out-of-fold",
        instrument="phq9",
        person=person,
        people=len(gold) // labels,
        label=np.arange(len(gold)),
        gold=gold,
        user_turns=np.ones(len(gold)),
        user_words=np.ones(len(gold)),
        models=models,
    )


def truth_of(population: str) -> Truth:
    """The scores of both models on very many people, and the differences."""
    drawn = draw(population, MANY, 1, np.random.default_rng(99))
    gold, first, second = drawn
    spread = (float(np.std(gold - first)), float(np.std(gold - second)))
    sample = sample_of(drawn, 1, spread)
    weights = Resamples.of(sample, np.ones((1, MANY)))
    each = [
        {name: float(value[0]) for name, value in scores.items()}
        for scores in (scalar_scores(sample, sample.models[n], weights, CONFIG) for n in NAMES)
    ]
    scores = {name: each[0][name] for name in SCORES}
    scores |= {f"difference in {name}": each[1][name] - each[0][name] for name in DIFFERENCES}
    return Truth(scores, spread)


def hits_of(sample: Sample, truth: Truth, seed: int) -> dict[str, tuple[bool, bool]]:
    """Whether each interval holds the truth: as evaluate gives it, and between percentiles."""
    everybody = Resamples.of(sample, np.ones((1, len(sample.gold))))
    pieces = person_weights(sample.person, sample.people, CONFIG.resamples, seed)
    resamples = Resamples.of(sample, np.concatenate(list(pieces)))
    values, drawn = (
        {name: scalar_scores(sample, sample.models[name], weights, CONFIG) for name in NAMES}
        for weights in (everybody, resamples)
    )
    model, config = NAMES[0], CONFIG
    entries = single_scores(sample, model, config, values[model], drawn[model])
    replicates = {name: drawn[model][name] for name in SCORES}
    for entry in comparisons(sample, (values, drawn), model, config):
        name = f"difference in {entry['metric']}"
        entries[name] = entry
        replicates[name] = drawn[NAMES[1]][entry["metric"]] - drawn[model][entry["metric"]]
    hits = {}
    for name, true in truth.scores.items():
        if entries[name]["low"] is None:
            continue
        low, high = np.nanquantile(replicates[name], NOMINAL)
        holds = entries[name]["low"] - 1e-9 <= true <= entries[name]["high"] + 1e-9
        hits[name] = bool(holds), bool(low - 1e-9 <= true <= high + 1e-9)
    return hits


def coverage(population: str, people: int, labels: int, sets: int) -> dict[str, dict[str, Any]]:
    """Share of sets whose interval holds the truth, by score; how many sets gave one."""
    truth = truth_of(population)
    rng = np.random.default_rng([people, labels, len(population)])
    hits: dict[str, list[tuple[bool, bool]]] = {}
    for seed in range(sets):
        sample = sample_of(draw(population, people, labels, rng), labels, truth.spread)
        for name, pair in hits_of(sample, truth, seed).items():
            hits.setdefault(name, []).append(pair)
    return {
        name: {
            "sets": len(pairs),
            "holds": round(float(np.mean([pair[0] for pair in pairs])), 4),
            "percentile": round(float(np.mean([pair[1] for pair in pairs])), 4),
        }
        for name, pairs in hits.items()
    }


def options(parser: argparse.ArgumentParser) -> None:
    """How many sets stand behind each share."""
    parser.add_argument("--sets", type=int, default=400)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Every population and number of people with one PHQ-9 each; one of them with three."""
    one, three = {}, {}
    for population in POPULATIONS:
        one[population] = {}
        for people in PEOPLE:
            one[population][str(people)] = coverage(population, people, 1, args.sets)
            tell(population, people)
    for people in (15, 50):
        three[str(people)] = coverage("normal", people, 3, args.sets)
    return {"sets": args.sets, "one PHQ-9": one, "three PHQ-9s": three}


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """The lines of the table in docs/evaluation.md: mean and lowest share over the populations."""
    lines = []
    for name in (*SCORES, *(f"difference in {name}" for name in DIFFERENCES)):
        cells = []
        for people in PEOPLE:
            scores = [part[str(people)].get(name) for part in results["one PHQ-9"].values()]
            each = [x for x in scores if x and x["sets"] >= results["sets"] // 4]
            if not each:
                cells.append("-")
                continue
            mean, least = (f([x["holds"] for x in each]) for f in (np.mean, np.min))
            before = np.mean([x["percentile"] for x in each])
            cells.append(f"{mean:.1%} ({least:.1%}); {before:.1%}")
        lines.append((name, " | ".join(cells)))
    return lines


if __name__ == "__main__":
    run_module()
