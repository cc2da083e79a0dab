"""How far models are from the best possible predictor of simulated people, on the same labels.

A run on a simulated cohort may hold what that predictor says of each label. It is scored by the
same code as every model, median and mean of the distribution and all, and each model is scored
again on exactly the labels that both speak of. Where a run holds no such table there is no gap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from leadline.artefact import TRUTH
from leadline.cohort.store import Cohort, check_truth
from leadline.evaluate.alarm import ALARM_LEVEL, ALARM_PEOPLE, lies_beyond
from leadline.evaluate.bases import withheld
from leadline.evaluate.bootstrap import defined, resampled_scores, sample_scores
from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.intervals import difference_interval
from leadline.evaluate.sample import Estimates, Sample
from leadline.phq9.distribution import Totals

BEST = "the best possible predictor"

LIMIT_LABELS = f"{TRUTH}/limit_labels.parquet"
"""In a simulated cohort: a row per locked person, of their last PHQ-9."""

LIMIT_FILE = "limit.parquet"
"""In a run on such a cohort: the table of `limit_labels`."""


@dataclass(frozen=True)
class Gap:
    """The limit on some labels of a set, and the gaps of the models on the same ones.

    Attributes:
        figures: `labels`, `people`, and the limit's r, mae, rmse, crps and AUC at the cut.
        gaps: model -> score -> model minus limit.
        beaten: model -> scores in which its whole 99.5% interval is better than the limit's.
        explained: model -> share of the variance that the limit explains, None where undefined.
    """

    figures: dict[str, Any]
    gaps: dict[str, dict[str, float]]
    beaten: dict[str, list[str]]
    explained: dict[str, float | None]


def gap_to_limit(sample: Sample, limit: pl.DataFrame | None, config: EvaluateConfig) -> Gap | None:
    """Score the limit and every model on the labels that both speak of; None without any.

    Args:
        sample: the gold labels and the models.
        limit: columns label and distribution (28 probabilities), a row a label.
        config: the cut and the resamples; of these, `curve_resamples` are drawn.
    """
    both = None if limit is None else _with_limit(sample, limit)
    if both is None:
        return None
    scalars, _ = sample_scores(both, config)
    quick = replace(config, resamples=config.curve_resamples)
    drawn, _ = resampled_scores(both, quick)
    cut = f"auc_{config.cut}"
    keys = {"r": "pearson", "mae": "mae", "rmse": "rmse", "crps": "crps", cut: cut}
    keys = {key: name for key, name in keys.items() if not withheld(name, both, config)}
    best = {key: float(scalars[BEST][name][0]) for key, name in keys.items()}
    best = {key: value for key, value in best.items() if np.isfinite(value)}
    gaps: dict[str, dict[str, float]] = {}
    beaten: dict[str, list[str]] = {}
    explained: dict[str, float | None] = {}
    share = float(scalars[BEST]["variance_explained"][0])
    for model in sample.models:
        gaps[model] = {}
        beaten[model] = []
        for key, value in best.items():
            name = keys[key]
            gap = float(scalars[model][name][0]) - value if name in scalars[model] else np.nan
            if not np.isfinite(gap):
                continue
            gaps[model][key] = gap
            if both.people < ALARM_PEOPLE or not drawn:
                continue
            replicates = defined(drawn[model][name] - drawn[BEST][name])
            if replicates is not None:
                ends = difference_interval(name, gap, replicates, both.people, ALARM_LEVEL)
                if lies_beyond(name, list(ends), 0.0):
                    beaten[model].append(key)
        reached = float(scalars[model]["variance_explained"][0])
        is_defined = "r" in best and np.isfinite(reached) and share > 0
        explained[model] = reached / share if is_defined else None
    figures = {"labels": len(both.gold), "people": both.people, **best}
    return Gap(figures, gaps, beaten, explained)


def _with_limit(sample: Sample, limit: pl.DataFrame) -> Sample | None:
    """The labels of `sample` that the limit speaks of, with it as a model; None without any."""
    order = np.argsort(limit["label"].to_numpy())
    labels = limit["label"].to_numpy()[order]
    rows = np.flatnonzero(np.isin(sample.label, labels))
    if not len(rows):
        return None
    places = order[np.searchsorted(labels, sample.label[rows])]
    totals = Totals.of_rows(limit["distribution"].gather(places))
    best = Estimates(totals.mean()[None, :], totals.median()[None, :], (totals,))
    return _restricted(sample, rows, best)


def _restricted(sample: Sample, rows: np.ndarray, best: Estimates) -> Sample:
    names, person = np.unique(sample.person[rows], return_inverse=True)
    models = {name: _rows_of(estimates, rows) for name, estimates in sample.models.items()}
    return replace(
        sample,
        person=person,
        people=len(names),
        label=sample.label[rows],
        gold=sample.gold[rows],
        user_turns=sample.user_turns[rows],
        user_words=sample.user_words[rows],
        models={**models, BEST: best},
    )


def _rows_of(estimates: Estimates, rows: np.ndarray) -> Estimates:
    totals = estimates.totals
    return Estimates(
        estimates.mean[:, rows],
        estimates.median[:, rows],
        None if totals is None else tuple(Totals(repeat.probabilities[rows]) for repeat in totals),
        None if estimates.lower is None else estimates.lower[:, rows],
        None if estimates.upper is None else estimates.upper[:, rows],
    )


def limit_labels(cohort: Cohort) -> pl.DataFrame | None:
    """Columns label (row of the cohort's `phq9`) and distribution (28 probabilities).

    None if the cohort has no such file, as all of real people and those simulated without
    `--limit`.
    """
    if cohort.path is None or not (cohort.path / LIMIT_LABELS).is_file():
        return None
    limit = pl.read_parquet(check_truth(cohort.path, LIMIT_LABELS))
    last = (
        cohort.phq9.with_row_index("label")
        .filter(pl.col("instrument") == "phq9")
        .sort("time", nulls_last=False, maintain_order=True)
        .group_by("person_id", maintain_order=True)
        .last()
        .select("person_id", "total", pl.col("label").cast(pl.Int64))
    )
    labels = limit.join(last, on=["person_id", "total"]).sort("label")
    return labels.select("label", "distribution")
