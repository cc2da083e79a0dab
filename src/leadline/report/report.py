"""One self-contained HTML page from results, predictions and running estimates.

Nothing is computed here that `results.json` does not hold, except where points are drawn. The
page has no scripts and no outside references, and never shows transcript text or identifiers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
from markupsafe import Markup

from leadline.about import NOTICE
from leadline.artefact import replacing
from leadline.evaluate.cautions import label
from leadline.evaluate.further import set_title, short_title
from leadline.evaluate.lead import can_lead
from leadline.evaluate.rounds import ablation_sets, canary_words, steps, verdict
from leadline.evaluate.sample import SPLITS, Sample, split_samples
from leadline.report import plots
from leadline.report.profiles import profile_view

COURSES = 4

MOST_MOVING = 3  # turns named under a course

DASH, MINUS = "\u2013", "\u2212"

SHORTEST_COURSE = 4  # user turns

COURSE_QUANTILES = (0.1, 0.4, 0.7, 0.95)  # of the people ordered by mean gold total


@dataclass(frozen=True)
class ScoreRow:
    """One line of the table of scores: its key, name, decimals, meaning, ceiling key."""

    key: str
    name: str
    digits: int
    meaning: str
    ceiling: str | None = None
    percent: bool = False


def score_rows(cut: int) -> list[ScoreRow]:
    """Lines of the table of scores, in the order of the page."""
    return [
        ScoreRow("mae", "MAE", 2, "Mean absolute error of the median estimate, points", "mae"),
        ScoreRow("rmse", "RMSE", 2, "Root mean squared error of the mean estimate", "rmse"),
        ScoreRow("bias", "Bias", 2, "Mean of estimate minus PHQ-9; above 0 is too high"),
        ScoreRow("median_error", "Median error", 1, "Half of the errors are at most this"),
        ScoreRow("p90_error", "90th percentile", 1, "Nine in ten errors are at most this"),
        ScoreRow("p95_error", "95th percentile", 1, "Nineteen in twenty are at most this"),
        ScoreRow("within_5", "Within 5 points", 1, "Of the rounded estimate", percent=True),
        ScoreRow("off_by_5", "Off by 5 or more", 1, "Of the rounded estimate", percent=True),
        ScoreRow("off_by_10", "Off by 10 or more", 1, "Of the rounded estimate", percent=True),
        ScoreRow("pearson", "Pearson r", 3, "Linear correlation", "r"),
        ScoreRow("spearman", "Spearman", 3, "Correlation of ranks"),
        ScoreRow("ccc", "CCC", 3, "Lin's concordance: correlation, scale and offset together"),
        ScoreRow("calibration_slope", "Calibration slope", 2, "PHQ-9 on estimate; 1 is ideal"),
        ScoreRow("calibration_intercept", "Calibration intercept", 2, "0 is ideal"),
        ScoreRow("sd_ratio", "Spread", 2, "SD of estimates over SD of PHQ-9 totals"),
        ScoreRow(
            f"auc_{cut}", f"AUC at {cut} or more", 3, "Ranking of people about the cut", "auc_cut"
        ),
        ScoreRow("kappa", "Kappa of bands", 3, "Agreement of severity bands, quadratic weights"),
        ScoreRow("crps", "CRPS", 2, "Error of the whole distribution, points", "crps"),
        ScoreRow(
            f"brier_{cut}", "Brier score", 3, f"Squared error of the probability of {cut} or more"
        ),
        ScoreRow(
            "mae_certain_half", "MAE, most certain half", 2, "Narrowest half of distributions"
        ),
    ]


def render_report(
    results: Mapping[str, Any],
    predictions: pl.DataFrame,
    *,
    estimates: pl.DataFrame | None = None,
    profiles: pl.DataFrame | None = None,
    curves: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    out: Path,
) -> Path:
    """Write the report and return its path.

    Args:
        results: content of `results.json`.
        predictions: the table that the results were made from, for the scatter.
        estimates: running estimates for example courses; None shows none. Whoever passes
            those of real people has been asked for it.
        profiles: profiles of people, for examples, under the same rule.
        curves: courses of trainings (`curve.json`) by the step of self-training, if a reader was
            adapted; without steps their name is empty.
        out: the HTML file.

    Raises:
        LeadlineError: `predictions` cannot be evaluated.
    """
    samples = {(sample.split, sample.instrument): sample for sample in split_samples(predictions)}
    sets = [
        _set_view(
            set_results,
            samples[set_results["split"], set_results["instrument"]],
            results,
            f"s{index}",
        )
        for index, set_results in enumerate(results["sets"])
    ]
    page = _environment().from_string(_package_text("report.html.j2"))
    text = page.render(
        results=results,
        sets=sets,
        primary=sets[0],
        rounds=_rounds_view(results),
        profile=profile_view(results, profiles),
        courses=[] if estimates is None else _courses(estimates, predictions),
        learning={
            step: plots.learning_curves(f"learning-{number}", courses)
            for number, (step, courses) in enumerate((curves or {}).items())
        },
        css=Markup(_package_text("report.css")),
        disclaimer=NOTICE,
        level=results["evaluation"]["cut"],
    )
    with replacing(out) as scratch:
        scratch.write_text(text, encoding="utf-8")
    return out


def _package_text(name: str) -> str:
    return resources.files("leadline.report").joinpath(name).read_text(encoding="utf-8")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "number": number,
        "signed": signed,
        "interval": interval,
        "bracket": bracket,
        "label": label,
        "plain": plain,
        "verdict": verdict,
        "short_title": short_title,
        "words": lambda name: str(name).replace("_", " "),
    }
    return environment


def number(value: float | None, digits: int = 2, percent: bool = False) -> str:
    """A value as text; a dash where there is none."""
    if value is None:
        return DASH
    text = f"{value:.{digits}%}" if percent else f"{value:.{digits}f}"
    zero = text.strip("-0.%") == ""
    return text.lstrip("-") if zero else text.replace("-", MINUS)


def interval(entry: Mapping[str, Any], digits: int = 2, percent: bool = False) -> str:
    """The 95% interval of a score as text; empty where there is none."""
    if entry.get("low") is None:
        return ""
    ends = (number(entry[key], digits, percent) for key in ("low", "high"))
    return " to ".join(ends)


def bracket(entry: Mapping[str, Any], digits: int = 2) -> str:
    """The 95% interval in brackets; empty where there is none."""
    within = interval(entry, digits)
    return f"({within})" if within else ""


def plain(value: Any) -> str:
    """A fact of a manifest as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {plain(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(plain(item) for item in value)
    return DASH if value is None else str(value)


def _set_view(
    set_results: Mapping[str, Any], sample: Sample, results: Mapping[str, Any], name: str
) -> dict[str, Any]:
    """What the page shows of one set: its results, its lines, its figures."""
    shown_model = results["shown_model"]
    if shown_model not in set_results["models"]:
        shown_model = next(iter(set_results["models"]))
    model, cut = set_results["models"][shown_model], results["evaluation"]["cut"]
    others = _others(set_results, results, shown_model)
    rows = score_rows(cut)
    headline = [row for row in rows if row.ceiling]
    ceiling = set_results["ceiling"]["default"]
    return {
        **set_results,
        "name": name,
        "reference": results["reference_model"],
        "shown": shown_model,
        "model": model,
        "rows": [(row, model["scores"][row.key]) for row in rows if row.key in model["scores"]],
        "headline": [
            _gauge(row, model, ceiling, set_results["limit"] or {})
            for row in headline
            if model["scores"][row.key]["value"] is not None
        ],
        "missing": [
            (row.name, model["scores"][row.key]["reason"].rstrip("."))
            for row in headline
            if model["scores"][row.key]["value"] is None
        ],
        "can_lead": can_lead(set_results),
        "best": ceiling,
        "screening": _screening(model, cut),
        "figures": {
            key: Markup(svg)
            for key, svg in (
                _figures(set_results, sample, shown_model, cut, name)
                | _forests(set_results["comparisons"], others, results["reference_model"], name)
            ).items()
        },
        "orders": _ordered(others, shown_model),
        "paired": _paired(set_results["comparisons"]),
        "metrics": ["mae", "rmse", "pearson", f"auc_{cut}", "crps"],
        "title": set_title(set_results["split"]),
        "origin": (results.get("further") or {}).get(set_results["split"], {}).get("text"),
        "instrument_name": {"phq9": "PHQ-9", "phq8": "PHQ-8"}[set_results["instrument"]],
    }


def _others(
    set_results: Mapping[str, Any], results: Mapping[str, Any], shown_model: str
) -> dict[str, Mapping[str, Any]]:
    """Models of the comparison; the steps of self-training have a section of their own."""
    hidden = steps(results) - {shown_model}
    return {name: model for name, model in set_results["models"].items() if name not in hidden}


def _rounds_view(results: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the page shows of self-training: its rows, its rounds, its bounds, its figure."""
    selftraining = results["selftraining"]
    if not selftraining:
        return None
    splits = [(entry["split"], entry["instrument"]) for entry in ablation_sets(results["sets"])]
    rows = [row for row in selftraining["rows"] if row["model"] != selftraining["reference"]]
    figure = plots.differences("rounds-forest", rows, splits, selftraining["reference"])
    bounds = (results["run"].get("settings") or {}).get("selftrain") or {}
    return {
        **selftraining,
        "splits": splits,
        "figure": Markup(figure),
        "bounds": bounds,
        "canary_words": canary_words(selftraining["rounds"]),
    }


def _ordered(models: Mapping[str, Any], shown_model: str) -> list[tuple[str, Any]]:
    """Models by MAE, the one that is shown first."""
    return sorted(
        models.items(), key=lambda pair: (pair[0] != shown_model, pair[1]["scores"]["mae"]["value"])
    )


def _paired(comparisons: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    for entry in comparisons:
        out.setdefault(entry["model"], {})[entry["metric"]] = entry
    return out


def _screening(model: Mapping[str, Any], cut: int) -> list[dict[str, Any]]:
    """The rules of flagging that the model has, with their words."""
    titles = (
        ("by_mean", f"if the mean estimate is {cut} or more", "By mean"),
        ("by_probability", f"if P({cut} or more) is at least one half", "By probability"),
    )
    rules = model["screening"]
    return [
        {"it": rules[rule], "title": title, "head": head}
        for rule, title, head in titles
        if rule in rules
    ]


def _gauge(
    row: ScoreRow,
    model: Mapping[str, Any],
    ceiling: Mapping[str, Any] | None,
    limit: Mapping[str, float],
) -> dict[str, Any]:
    """A headline score on a track: places of value, interval, ceiling and limit in per cent."""
    entry = model["scores"][row.key]
    best = None if ceiling is None or row.ceiling is None else ceiling[row.ceiling]
    limit_value = limit.get("r" if row.key == "pearson" else row.key)
    upward = row.key == "pearson" or row.key.startswith("auc")
    start, end = (0.5, 1.0) if row.key.startswith("auc") else (0.0, 1.0)
    if not upward:
        ends = [entry[key] for key in ("value", "high") if entry[key] is not None]
        start, end = 0.0, max([*ends, 4.0, best or 0.0]) * 1.15

    def place(value: float | None) -> float | None:
        return None if value is None else 100 * min(max((value - start) / (end - start), 0), 1)

    return {
        "row": row,
        "score": entry,
        "best": best,
        "at": {key: place(entry[key]) for key in ("value", "low", "high")},
        "best_at": place(best),
        "limit": limit_value,
        "limit_at": place(limit_value),
    }


def _figures(
    set_results: Mapping[str, Any], sample: Sample, shown_model: str, cut: int, name: str
) -> dict[str, str]:
    model = set_results["models"][shown_model]
    figures = {
        "scatter": plots.scatter(
            f"{name}-scatter", sample.gold, sample.models[shown_model].mean[0], sample.maximum
        ),
    }
    if model["calibration"]:
        figures["calibration"] = plots.calibration(
            f"{name}-calibration", model["calibration"], sample.maximum
        )
    if any(point["value"] is not None for point in model["auc_by_threshold"]):
        best = set_results["ceiling"]["default"]
        curve = best["auc_by_threshold"] if best else []
        figures["auc"] = plots.auc_curve(f"{name}-auc", model["auc_by_threshold"], curve, cut)
    if any(band["mae"]["value"] is not None for band in model["bands"]):
        figures["bands"] = plots.band_errors(f"{name}-bands", model["bands"])
    if model["dialogue"]:
        figures["dialogue"] = plots.dialogue_errors(f"{name}-dialogue", model["dialogue"])
    return figures | _uncertainty(model, cut, name)


def _uncertainty(model: Mapping[str, Any], cut: int, name: str) -> dict[str, str]:
    uncertainty = model["uncertainty"]
    if uncertainty is None or not uncertainty["pit"]:
        return {}
    figures = {
        "coverage": plots.coverage(f"{name}-coverage", uncertainty["intervals"]),
        "pit": plots.pit(f"{name}-pit", uncertainty["pit"]),
    }
    if uncertainty["reliability"]:
        figures["reliability"] = plots.reliability(
            f"{name}-reliability", uncertainty["reliability"], f"a total of {cut} or more"
        )
    return figures


def _forests(
    comparisons: Sequence[Mapping[str, Any]], models: Mapping[str, Any], reference: str, name: str
) -> dict[str, str]:
    figures = {}
    for metric in ("mae", "pearson"):
        rows = [
            entry
            for entry in comparisons
            if entry["metric"] == metric and entry["value"] is not None
            if entry["model"] in models
        ]
        rows.sort(key=lambda entry: entry["value"], reverse=metric == "pearson")
        if rows:
            figures[f"forest_{metric}"] = plots.forest(
                f"{name}-forest-{metric}", rows, reference, label(metric)
            )
    return figures


def _courses(estimates: pl.DataFrame, predictions: pl.DataFrame) -> list[dict[str, Any]]:
    """Example courses of people at fixed quantiles of severity, not chosen by looks."""
    has_course = pl.col("person_id").is_in(estimates["person_id"].unique().implode())
    followed = predictions.filter(has_course)
    split = next((name for name in SPLITS if (followed["split"] == name).any()), "")
    gold = followed.filter(pl.col("split") == split).unique("label").sort("label")
    turns = estimates.group_by("person_id").len().filter(pl.col("len") >= SHORTEST_COURSE)
    mean = gold.group_by("person_id").agg(pl.col("total").mean()).join(turns, on="person_id")
    people = mean.sort("total", "person_id")["person_id"].to_list()
    places = sorted({round(q * (len(people) - 1)) for q in COURSE_QUANTILES}) if people else []
    return [
        _course(estimates, gold, people[place], f"Person {number}")
        for number, place in enumerate(places[:COURSES], start=1)
    ]


def _course(estimates: pl.DataFrame, gold: pl.DataFrame, person: str, label: str) -> dict[str, Any]:
    rows = estimates.filter(pl.col("person_id") == person)
    labels = gold.filter(pl.col("person_id") == person)
    if rows["time"].null_count() == 0:
        rows = rows.sort("time", maintain_order=True)
    steps = {
        column: rows[column].to_numpy().astype(float)
        for column in ("mean", "lower", "upper", "increment", "departure")
    }
    points = [
        (_turns_by(rows, time), float(total))
        for time, total in zip(labels["time"], labels["total"], strict=True)
    ]
    figure = plots.course(f"course-{label[7:]}", label, steps, points)
    arrival = steps["increment"] - steps["departure"]
    return {
        "name": label,
        "figure": Markup(figure),
        "labels": len(points),
        "turns": rows.height,
        "sum": {
            "start": float(steps["mean"][0] - steps["increment"][0]),
            "arrived": float(arrival.sum()),
            "departed": float(steps["departure"].sum()),
            "end": float(steps["mean"][-1]),
        },
        "most": [
            {"turn": at + 1, "day": _day(rows["time"], at), "points": float(arrival[at])}
            for at in sorted(range(len(arrival)), key=lambda at: -abs(arrival[at]))[:MOST_MOVING]
        ],
    }


def _day(times: pl.Series, at: int) -> float | None:
    """Days from the first turn to the one at `at`; None where times are unknown."""
    if times.null_count():
        return None
    return float((times[at] - times[0]).total_seconds() / 86_400)


def signed(value: float, digits: int = 1) -> str:
    """A change as text, with its sign."""
    text = number(value, digits)
    return text if text.startswith(MINUS) or not text.strip("0.") else f"+{text}"


def _turns_by(rows: pl.DataFrame, time: Any) -> int:
    """User turns said up to `time`; all of them where times are unknown."""
    if time is None or rows["time"].null_count():
        return rows.height
    return max(1, int((rows["time"] <= time).sum()))
