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
from leadline.artefact import MANIFEST, read_manifest
from leadline.cohort.config import WindowConfig, window_of
from leadline.cohort.store import Cohort, read_cohort
from leadline.cohort.windows import label_readings
from leadline.errors import LeadlineError
from leadline.phq9.items import ITEM_COLUMNS
from leadline.tables import COSTS
from leadline.teacher.label_table import read_labels, with_origin

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
    people = read_cohort(cohort)
    table, window = open_labels(people, labels)
    return audit(table, people, window, groups=groups, seed=seed)


def open_labels(cohort: Cohort, labels: Path) -> tuple[pl.DataFrame, WindowConfig]:
    """The table of a finished LABELS directory, and the window that it was labelled with.

    Raises:
        LeadlineError: LABELS is unfinished, or was made from another cohort.
    """
    manifest = read_manifest(labels, "labels")
    made_from, here = manifest["inputs"], cohort.manifest.get("files", {})
    if any(made_from[name] != here.get(name) for name in made_from):
        raise LeadlineError(
            "These labels were made from another state of the cohort.",
            remedy="Give the cohort that was labelled, or run `leadline label` again.",
            file=labels,
        )
    return read_labels(labels), window_of(manifest["settings"].get("window"), labels / MANIFEST)


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
        For each model: ``readings``, ``people``, ``setup`` (rubric, reasoning), ``total`` (with
        95% intervals), ``reliability``, ``items``, ``groups`` and ``length`` (with intervals;
        below `SMALLEST_GROUP` readings their number alone), ``evidence``, and ``per_person``
        (tokens and US dollars of these labels). Figures that are not defined (no spread, a single
        draw) are None.

    Raises:
        LeadlineError: a locked person among `people`, an unknown group, or nobody to compare.
    """
    locked = cohort.locked_ids
    if people is not None and locked & set(people):
        raise LeadlineError(
            "The audit was asked to look at locked test people.",
            remedy="Give people of the training folds only.",
        )
    paired = pair_with_gold(labels, cohort, window, groups)
    if people is not None:
        paired = paired.filter(pl.col("person_id").is_in(list(people)))
    if paired.is_empty():
        raise LeadlineError(
            "No teacher label has a PHQ-9 to be compared with.",
            remedy="Label with --who all or labelled, and with the same window.",
        )
    return {
        str(model): _audit_one(rows, groups, seed)
        for (model,), rows in sorted(paired.partition_by("model", as_dict=True).items())
    }


def pair_with_gold(
    labels: pl.DataFrame, cohort: Cohort, window: WindowConfig, groups: Sequence[str] = ()
) -> pl.DataFrame:
    """Teacher draws beside the gold label of their reading, of nobody who is locked.

    Returns:
        The columns of `labels`, ``label`` (row of the gold label), ``gold_total``,
        ``gold_item_1`` and so on, and `groups`.

    Raises:
        LeadlineError: the people table has no such group.
    """
    for group in groups:
        if group not in cohort.people.columns:
            raise LeadlineError(
                f"The people table has no column {group!r}.",
                remedy=f"Use one of: {', '.join(cohort.people.columns)}.",
            )
    items = cohort.phq9.with_row_index("label").select(
        pl.col("label").cast(pl.Int64),
        *(pl.col(item).alias(f"gold_{item}") for item in ITEM_COLUMNS),
    )
    gold = (
        label_readings(cohort, window)
        .filter((pl.col("instrument") == "phq9") & ~pl.col("locked"))
        .join(items, on="label")
        .rename({"total": "gold_total"})
        .select(*JOIN, "label", "gold_total", *(f"gold_{item}" for item in ITEM_COLUMNS))
    )
    teacher = with_origin(labels.filter(pl.col("source") == "teacher"))
    return teacher.join(gold, on=JOIN, nulls_equal=True).join(
        cohort.people.select("person_id", *groups), on="person_id"
    )


def _audit_one(rows: pl.DataFrame, groups: Sequence[str], seed: int) -> dict[str, Any]:
    readings = rows.group_by("label", maintain_order=True).agg(
        pl.col("person_id", "gold_total").first(), pl.col("total").mean()
    )
    costs = resampled(rows, seed)
    return {
        "readings": readings.height,
        "people": readings["person_id"].n_unique(),
        "setup": setup_of(rows),
        "total": _with_intervals(readings, seed),
        "reliability": reliability(rows),
        "items": {item: item_agreement(rows, item) for item in ITEM_COLUMNS},
        "groups": {name: _by(rows, name, seed, gaps=True) for name in groups},
        "length": _by_length(rows, seed),
        "evidence": {
            "quotes": int(rows["quotes"].sum()),
            "found": _share(int(rows["quotes_found"].sum()), int(rows["quotes"].sum())),
            "high_confidence": rows["confidence"].mean(),
        },
        "per_person": {name: figure(costs[name]) for name in COSTS},
    }


def setup_of(rows: pl.DataFrame) -> dict[str, list[str]]:
    """By which rubric and with which reasoning labels were made; ``unknown`` of old tables."""
    return {
        name: rows[name].fill_null("unknown").unique().sort().to_list()
        for name in ("rubric", "reasoning")
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


def _by(
    rows: pl.DataFrame, column: str, seed: int, *, gaps: bool = False
) -> dict[str, dict[str, Any]]:
    """Agreement within each value of a column, with 95% intervals over people.

    With `gaps`, which needs a column that is constant in a person, ``gap`` is the bias minus that
    of all others.
    """
    parts: dict[str, dict[str, Any]] = {}
    for value in rows[column].unique().sort().to_list():
        here = pl.col(column).eq_missing(value)
        group, others = rows.filter(here), rows.filter(~here)
        count = group["label"].n_unique()
        figures: dict[str, Any] = {"n": count, **dict.fromkeys(AGREEMENT), "intervals": {}}
        if count >= SMALLEST_GROUP:
            draws = resampled(group, seed)
            bounded = {name: figure(draws[name]) for name in AGREEMENT}
            if gaps and others["label"].n_unique() >= SMALLEST_GROUP:
                # Other people, so drawn by themselves.
                bounded["gap"] = figure(draws["bias"] - resampled(others, seed + 1)["bias"])
            for name, item in bounded.items():
                figures[name], figures["intervals"][name] = item["value"], item["interval"]
        parts["unknown" if value is None else str(value)] = figures
    return parts


def _by_length(rows: pl.DataFrame, seed: int) -> dict[str, dict[str, Any]]:
    """Agreement within quantile bins of the person's words; keys are ``from-to``."""
    readings = rows.group_by("label", maintain_order=True).agg(pl.col("user_words").first())
    words = readings["user_words"].to_numpy()
    edges = np.unique(np.quantile(words, np.linspace(0, 1, LENGTHS + 1)))
    bins = np.clip(np.searchsorted(edges, words, side="right") - 1, 0, max(len(edges) - 2, 0))
    names = {
        int(code): f"{words[bins == code].min()}-{words[bins == code].max()} words"
        for code in np.unique(bins)
    }
    binned = readings.select("label", pl.Series("bin", bins))
    by_bin = _by(rows.join(binned, on="label"), "bin", seed)
    return {names[int(code)]: agreement for code, agreement in by_bin.items()}


# Figures that are sums over people, so that a thousand resamples are one product of matrices


MOMENTS = ("n", "t", "g", "tt", "gg", "tg", "gap")


def person_sums(rows: pl.DataFrame) -> tuple[dict[str, int], Array]:
    """Sums by person from which every figure of `resampled` follows.

    Args:
        rows: as `pair_with_gold` gives them.

    Returns:
        Names with their columns, and the sums, shape (people, columns); people in order of id.
    """
    readings = rows.group_by("label").agg(
        pl.col("person_id", "gold_total").first(),
        pl.col("total").mean(),
        within=((pl.col("total") - pl.col("total").mean()) ** 2).sum(),
        freedom=pl.len() - 1,
    )
    sums = readings.group_by("person_id").agg(
        *_moments("total", "gold_total"), pl.col("within", "freedom").sum()
    )
    by_item = rows.group_by("person_id").agg(
        *(moment for item in ITEM_COLUMNS for moment in _moments(item, f"gold_{item}", f"{item}_")),
        pl.col(*COSTS).cast(pl.Float64).fill_null(float("nan")).sum(),
        **{f"{item}_answered": pl.col(f"gold_{item}").is_not_null().sum() for item in ITEM_COLUMNS},
    )
    table = sums.join(by_item, on="person_id").sort("person_id").drop("person_id")
    columns = {name: place for place, name in enumerate(table.columns)}
    return columns, table.cast(pl.Float64).to_numpy()


def _moments(rater: str, gold: str, prefix: str = "") -> list[pl.Expr]:
    """Sums of `MOMENTS` over rows where both gave a score."""
    both = pl.col(rater).is_not_null() & pl.col(gold).is_not_null()
    t, g = (pl.col(name).cast(pl.Float64).filter(both) for name in (rater, gold))
    sums = (both, t, g, t * t, g * g, t * g, (t - g).abs())
    return [item.sum().alias(prefix + name) for name, item in zip(MOMENTS, sums, strict=True)]


def resampled(rows: pl.DataFrame, seed: int) -> dict[str, Array]:
    """Every figure on all people and on resamples of people, shape (1 + RESAMPLES,); NaN if none.

    Two calls with the same people and seed draw the same people, so their differences are paired.

    Args:
        rows: as `pair_with_gold` gives them.
        seed: of the resamples.

    Returns:
        `AGREEMENT` of the mean draw, ``draw_sd`` within readings, ``kappa`` (quadratically
        weighted, mean over the items), ``no_evidence`` (share of item scores), `COSTS` a person.
    """
    columns, matrix = person_sums(rows)
    people = len(matrix)
    drawn = np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), RESAMPLES)
    sums = np.vstack([np.ones(people), drawn]) @ matrix

    def total(name: str) -> Array:
        return sums[:, columns[name]]

    with np.errstate(invalid="ignore", divide="ignore"):
        kappas, silent, answered = [], np.zeros(len(sums)), np.zeros(len(sums))
        for item in ITEM_COLUMNS:
            moments = _agreement({name: total(f"{item}_{name}") for name in MOMENTS})
            # Weighted by squared distance, kappa is the concordance of the two columns.
            kappas.append(1 - moments["rmse"] ** 2 / moments["independent"])
            answered += total(f"{item}_answered")
            silent += total(f"{item}_answered") - total(f"{item}_n")
        defined = np.isfinite(kappas)
        kappa = np.where(defined, kappas, 0).sum(axis=0) / defined.sum(axis=0)
        return {
            **_agreement({name: total(name) for name in MOMENTS}),
            "draw_sd": np.sqrt(total("within") / total("freedom")),
            "kappa": kappa,
            "no_evidence": silent / answered,
            **{name: total(name) / people for name in COSTS},
        }


def _agreement(sums: Mapping[str, Array]) -> dict[str, Array]:
    """`AGREEMENT` from `MOMENTS`, and the squared gap that unrelated raters would have."""
    t, g, tt, gg, tg = (sums[name] / sums["n"] for name in ("t", "g", "tt", "gg", "tg"))
    spread_t, spread_g, shared = tt - t**2, gg - g**2, tg - t * g
    spread_t, spread_g = (np.where(x > 1e-9, x, np.nan) for x in (spread_t, spread_g))
    slope = shared / spread_g
    slope = np.where(np.isnan(spread_t), np.nan, slope)
    return {
        "r": shared / np.sqrt(spread_t * spread_g),
        "mae": sums["gap"] / sums["n"],
        "rmse": np.sqrt(np.maximum(tt + gg - 2 * tg, 0)),
        "bias": t - g,
        "slope": slope,
        "intercept": t - slope * g,
        "independent": np.nan_to_num(spread_t) + np.nan_to_num(spread_g) + (t - g) ** 2,
    }


def figure(draws: Array) -> dict[str, Any]:
    """Value and 95% interval of what `resampled` gives; None where it is not defined."""
    resamples = draws[1:][np.isfinite(draws[1:])]
    if not np.isfinite(draws[0]):
        return {"value": None, "interval": None}
    interval = np.quantile(resamples, [0.025, 0.975]).tolist() if len(resamples) else None
    return {"value": float(draws[0]), "interval": interval}


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
    for name, cost in figures["per_person"].items():
        bounds = cost["interval"]
        table.add_row(
            f"{name.replace('_', ' ')} a person",
            cost_words(cost["value"]),
            "-" if bounds is None else " to ".join(map(cost_words, bounds)),
        )
    setup = "; ".join(f"{name} {', '.join(words)}" for name, words in figures["setup"].items())
    table.caption = f"{figures['readings']:,} readings of {figures['people']:,} people; {setup}"
    return table


def _item_table(items: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table("item", "n", "no evidence", "exact", "bias", "weighted kappa")
    for name, figures in items.items():
        values = (figures[key] for key in ("no_evidence", "exact", "bias", "kappa"))
        table.add_row(name.removeprefix("item_"), f"{figures['n']:,}", *map(_number, values))
    return table


def _group_table(name: str, groups: Mapping[str, Mapping[str, Any]]) -> Table:
    columns = ("bias", "gap") if any("gap" in item for item in groups.values()) else ("bias",)
    table = Table(name, "n", *AGREEMENT, *(f"{column}, 95%" for column in columns))
    for group, figures in groups.items():
        bounds = (figures["intervals"].get(column) for column in columns)
        table.add_row(
            group,
            f"{figures['n']:,}",
            *(_number(figures[key]) for key in AGREEMENT),
            *("-" if item is None else f"{item[0]:.2f} to {item[1]:.2f}" for item in bounds),
        )
    return table


def cost_words(value: float | None) -> str:
    """Tokens, or US dollars, which are often less than a cent, for people."""
    return "-" if value is None else f"{value:,.4g}" if value < 1 else f"{value:,.2f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
