"""How good a teacher is, measured on labelled people of the training folds.

Agreement is reported for totals and items, with the bias and slope that a label model has to
undo, the reliability across draws (intraclass correlation, one-way random effects; Shrout &
Fleiss 1979, "Intraclass correlations", Psychological Bulletin 86), by group and by length of
the text, and whether the quoted evidence was said. A teacher that agrees in general and not
for one group would carry that bias into every model trained on it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table
from sklearn.metrics import cohen_kappa_score

from leadline.arrays import Array
from leadline.artefact import read_manifest
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import Cohort, read_cohort
from leadline.cohort.windows import label_readings
from leadline.errors import LeadlineError
from leadline.phq9.items import ITEM_COLUMNS
from leadline.teacher.label_table import read_labels

AGREEMENT = ("r", "mae", "rmse", "bias", "slope", "intercept")
SMALLEST_GROUP = 10  # readings; below that a figure says more about chance than about a group

RESAMPLES = 1000

LENGTHS = 4  # quantile bins of the words a person wrote

JOIN = ["person_id", "time", "first", "last"]


def audit_labels(
    cohort: Path, labels: Path, *, groups: Sequence[str] = (), seed: int = 0
) -> dict[str, dict[str, Any]]:
    """`audit` of a finished LABELS directory against the cohort that it was made from.

    Raises:
        LeadlineError: LABELS is unfinished or of another cohort, or as `audit` says.
    """
    manifest = read_manifest(labels, "labels")
    people = read_cohort(cohort)
    made_from, here = manifest["inputs"], people.manifest.get("files", {})
    if any(made_from[name] != here.get(name) for name in made_from):
        raise LeadlineError(
            "These labels were made from another state of the cohort.",
            remedy="Give the cohort that was labelled, or run `leadline label` again.",
            file=labels,
        )
    window = WindowConfig(**manifest["settings"]["window"])
    return audit(read_labels(labels), people, window, groups=groups, seed=seed)


def audit(
    labels: pl.DataFrame,
    cohort: Cohort,
    window: WindowConfig,
    *,
    people: Collection[str] | None = None,
    groups: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Compare teacher labels with the gold labels of the same readings.

    Args:
        labels: columns of `labels.LABELS`; only rows with source ``teacher`` count.
        cohort: the cohort that was labelled.
        window: the window that it was labelled with.
        people: training people to audit on; all labelled, unlocked people if None.
        groups: columns of the cohort's people table to compare across.
        seed: of the bootstrap over people.

    Returns:
        For each model: ``readings``, ``people``, ``total`` (with 95% intervals),
        ``reliability``, ``items``, ``groups``, ``length`` and ``evidence``. Figures that are
        not defined (no spread, a single draw) are None.

    Raises:
        LeadlineError: a locked person among `people`, an unknown group, or nobody to compare.
    """
    locked = cohort.locked_ids
    if people is not None and locked & set(people):
        raise LeadlineError(
            "The audit was asked to look at locked test people.",
            remedy="Give people of the training folds only.",
        )
    for group in groups:
        if group not in cohort.people.columns:
            raise LeadlineError(
                f"The people table has no column {group!r}.",
                remedy=f"Use one of: {', '.join(cohort.people.columns)}.",
            )
    paired = _pair(labels, cohort, window, groups)
    keep = pl.col("person_id").is_in(list(people)) if people is not None else pl.lit(True)
    paired = paired.filter(keep & ~pl.col("person_id").is_in(list(locked)))
    if paired.is_empty():
        raise LeadlineError(
            "No teacher label has a PHQ-9 to be compared with.",
            remedy="Label with --who all or labelled, and with the same window.",
        )
    return {
        str(model): _audit_one(rows, groups, seed)
        for (model,), rows in sorted(paired.partition_by("model", as_dict=True).items())
    }


def _pair(
    labels: pl.DataFrame, cohort: Cohort, window: WindowConfig, groups: Sequence[str]
) -> pl.DataFrame:
    """Teacher draws beside the gold label of their reading: gold_total, gold_item_1 and so on."""
    items = cohort.phq9.with_row_index("label").select(
        pl.col("label").cast(pl.Int64),
        *(pl.col(item).alias(f"gold_{item}") for item in ITEM_COLUMNS),
    )
    gold = (
        label_readings(cohort, window)
        .filter(pl.col("instrument") == "phq9")
        .join(items, on="label")
        .rename({"total": "gold_total"})
        .select(*JOIN, "label", "gold_total", *(f"gold_{item}" for item in ITEM_COLUMNS))
    )
    teacher = labels.filter(pl.col("source") == "teacher")
    return teacher.join(gold, on=JOIN, nulls_equal=True).join(
        cohort.people.select("person_id", *groups), on="person_id"
    )


def _audit_one(rows: pl.DataFrame, groups: Sequence[str], seed: int) -> dict[str, Any]:
    readings = rows.group_by("label", maintain_order=True).agg(
        pl.col("person_id", "gold_total", "user_words", *groups).first(), pl.col("total").mean()
    )
    return {
        "readings": readings.height,
        "people": readings["person_id"].n_unique(),
        "total": _with_intervals(readings, seed),
        "reliability": reliability(rows),
        "items": {item: item_agreement(rows, item) for item in ITEM_COLUMNS},
        "groups": {name: _by(readings, name) for name in groups},
        "length": _by_length(readings),
        "evidence": {
            "quotes": int(rows["quotes"].sum()),
            "found": _share(int(rows["quotes_found"].sum()), int(rows["quotes"].sum())),
            "high_confidence": rows["confidence"].mean(),
        },
    }


def total_agreement(rater: Array, gold: Array) -> dict[str, float | None]:
    """Agreement of totals, both of shape (N,).

    ``slope`` and ``intercept`` are those of the rater on gold (1 and 0 for an unbiased
    rater); ``bias`` is the mean of rater minus gold, in points.
    """
    gaps = rater - gold
    spread = gold.std() > 0 and rater.std() > 0
    slope = float(np.polyfit(gold, rater, 1)[0]) if spread else None
    return {
        "r": float(np.corrcoef(rater, gold)[0, 1]) if spread else None,
        "mae": float(np.abs(gaps).mean()),
        "rmse": float(np.sqrt((gaps**2).mean())),
        "bias": float(gaps.mean()),
        "slope": slope,
        "intercept": None if slope is None else float(rater.mean() - slope * gold.mean()),
    }


def _with_intervals(readings: pl.DataFrame, seed: int) -> dict[str, Any]:
    """Agreement of the mean draw, each figure with a 95% bootstrap interval over people."""
    rater, gold = readings["total"].to_numpy(), readings["gold_total"].to_numpy()
    point = total_agreement(rater, gold)
    codes = readings["person_id"].rank("dense").to_numpy().astype(np.int64) - 1
    rows_of = [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]
    random = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {name: [] for name in point}
    for _ in range(RESAMPLES):
        picks = np.concatenate(
            [rows_of[k] for k in random.integers(len(rows_of), size=len(rows_of))]
        )
        for name, value in total_agreement(rater[picks], gold[picks]).items():
            if value is not None:
                drawn[name].append(value)
    return {
        name: {
            "value": value,
            "interval": np.quantile(drawn[name], [0.025, 0.975]).tolist()
            if value is not None and drawn[name]
            else None,
        }
        for name, value in point.items()
    }


def reliability(rows: pl.DataFrame) -> dict[str, float | None]:
    """Intraclass correlation of totals across the draws of a reading.

    ``icc`` is that of one draw, ICC(1,1); ``icc_mean`` that of the mean of all, ICC(1,k);
    ``draw_sd`` the standard deviation of draws about their reading's mean. High reliability
    says that a teacher repeats itself, not that it is right.
    """
    draws = [group["total"].to_numpy() for _, group in rows.group_by("label")]
    sizes = np.array([len(values) for values in draws])
    count, total = len(draws), int(sizes.sum())
    if count < 2 or total == count:
        return {"icc": None, "icc_mean": None, "draw_sd": None}
    means = np.array([values.mean() for values in draws])
    grand = np.concatenate(draws).mean()
    within = sum(((values - values.mean()) ** 2).sum() for values in draws) / (total - count)
    between = (sizes * (means - grand) ** 2).sum() / (count - 1)
    typical = (total - (sizes**2).sum() / total) / (count - 1)  # draws a reading, if uneven
    spread = between + (typical - 1) * within
    return {
        "icc": float((between - within) / spread) if spread > 0 else None,
        "icc_mean": float((between - within) / between) if between > 0 else None,
        "draw_sd": float(np.sqrt(within)),
    }


def item_agreement(rows: pl.DataFrame, item: str) -> dict[str, float | None]:
    """Agreement on one item over all draws, where both gave a score.

    ``no_evidence`` is the share of draws that gave none; ``kappa`` is quadratically weighted
    (Cohen 1968).
    """
    answered = rows.filter(pl.col(f"gold_{item}").is_not_null())
    if answered.is_empty():
        return {"n": 0, "no_evidence": None, "exact": None, "bias": None, "kappa": None}
    both = answered.filter(pl.col(item).is_not_null())
    teacher_scores, gold_scores = both[item].to_numpy(), both[f"gold_{item}"].to_numpy()
    silent = 1 - both.height / answered.height
    if both.is_empty():
        return {"n": 0, "no_evidence": silent, "exact": None, "bias": None, "kappa": None}
    varied = len(np.unique(np.concatenate([teacher_scores, gold_scores]))) > 1
    kappa = cohen_kappa_score(teacher_scores, gold_scores, weights="quadratic") if varied else None
    return {
        "n": both.height,
        "no_evidence": silent,
        "exact": float((teacher_scores == gold_scores).mean()),
        "bias": float((teacher_scores.astype(float) - gold_scores).mean()),
        "kappa": None if kappa is None else float(kappa),
    }


def _by(readings: pl.DataFrame, column: str) -> dict[str, dict[str, Any]]:
    """Agreement within each value of a column that has enough readings."""
    return {
        "unknown" if value is None else str(value): {
            "n": rows.height,
            **total_agreement(rows["total"].to_numpy(), rows["gold_total"].to_numpy()),
        }
        for (value,), rows in readings.sort(column).group_by(column, maintain_order=True)
        if rows.height >= SMALLEST_GROUP
    }


def _by_length(readings: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Agreement within quantile bins of the person's words; keys are ``from-to``."""
    words = readings["user_words"].to_numpy()
    edges = np.unique(np.quantile(words, np.linspace(0, 1, LENGTHS + 1)))
    bins = np.clip(np.searchsorted(edges, words, side="right") - 1, 0, max(len(edges) - 2, 0))
    names = {
        int(code): f"{words[bins == code].min()}-{words[bins == code].max()} words"
        for code in np.unique(bins)
    }
    labelled = readings.with_columns(pl.Series("bin", bins))
    return {names[int(code)]: agreement for code, agreement in _by(labelled, "bin").items()}


def _share(part: int, total: int) -> float | None:
    return part / total if total else None


def render_audit(audits: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    """The result of `audit` as rich tables, one set a model."""
    tables: list[RenderableType] = []
    for model, figures in audits.items():
        tables += [_total_table(model, figures), _item_table(figures["items"])]
        tables += [
            _group_table(name, groups)
            for name, groups in {**figures["groups"], "words": figures["length"]}.items()
            if groups
        ]
    return Group(*tables)


def _total_table(model: str, figures: Mapping[str, Any]) -> Table:
    table = Table("totals", "value", "95% over people", title=f"{model} against PHQ-9s")
    for name in AGREEMENT:
        figure = figures["total"][name]
        bounds = figure["interval"]
        table.add_row(
            name,
            _number(figure["value"]),
            "-" if bounds is None else f"{bounds[0]:.2f} to {bounds[1]:.2f}",
        )
    for name, value in figures["reliability"].items():
        table.add_row(name.replace("_", " "), _number(value), "-")
    evidence = figures["evidence"]
    table.add_row("quotes that were said", _number(evidence["found"]), f"of {evidence['quotes']:,}")
    table.caption = f"{figures['readings']:,} readings of {figures['people']:,} people"
    return table


def _item_table(items: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table("item", "n", "no evidence", "exact", "bias", "weighted kappa")
    for name, figures in items.items():
        values = (figures[key] for key in ("no_evidence", "exact", "bias", "kappa"))
        table.add_row(name.removeprefix("item_"), f"{figures['n']:,}", *map(_number, values))
    return table


def _group_table(name: str, groups: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(name, "n", *AGREEMENT)
    for group, figures in groups.items():
        table.add_row(group, f"{figures['n']:,}", *(_number(figures[key]) for key in AGREEMENT))
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
