"""What the report shows of profiles: scores of each item, calibration, a few people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from markupsafe import Markup

from leadline.evaluate.further import set_title
from leadline.report import plots

EXAMPLE_QUANTILES = (0.15, 0.5, 0.85)  # of the people ordered by their total

AGREES = 1e-6  # points


def profile_view(
    results: Mapping[str, Any], profiles: pl.DataFrame | None
) -> dict[str, Any] | None:
    """What the page shows of the profiles; None of a run without any.

    Args:
        results: content of `results.json`; evaluations of before hold nothing of profiles.
        profiles: the table of `tables.PROFILES` whose people may be shown; None shows nobody.
    """
    scores = results.get("profile")
    if not scores:
        return None
    sets = [_set_view(entry, f"profile-{number}") for number, entry in enumerate(scores["sets"])]
    return {
        "notice": scores["notice"],
        "agrees": scores["disagreement"] < AGREES,
        "disagreement": scores["disagreement"],
        "sets": sets,
        "people": [] if profiles is None else _people(profiles),
    }


def _set_view(entry: Mapping[str, Any], name: str) -> dict[str, Any]:
    of_text, of_total = entry["models"], entry["gains"].get("total only", {})
    return {
        **entry,
        "title": set_title(entry["split"]),
        "delivered": next(iter(of_text.values())),
        "moved_by_text": of_total.get("value", 0.0) != 0.0,
        "figure": Markup(plots.item_means(f"{name}-means", entry["items"])),
        "calibration_figure": Markup(
            plots.reliability(f"{name}-calibration", entry["calibration"], "an answer or more")
        ),
    }


def _people(profiles: pl.DataFrame) -> list[dict[str, Any]]:
    """Profiles of people at fixed places in the order of severity, not chosen by looks."""
    delivered = profiles.filter(pl.col("model") == profiles["model"][0])
    delivered = delivered.filter(pl.col("split") == delivered["split"][0], pl.col("repeat") == 0)
    totals = delivered.group_by("label").agg(
        pl.col("answer").sum(), pl.col("answer").null_count().alias("missing")
    )
    labels = totals.filter(pl.col("missing") == 0).sort("answer", "label")["label"].to_list()
    if not labels:
        return []
    places = sorted({round(quantile * (len(labels) - 1)) for quantile in EXAMPLE_QUANTILES})
    return [
        _person(delivered.filter(pl.col("label") == labels[place]).sort("item"), number)
        for number, place in enumerate(places, start=1)
    ]


def _person(rows: pl.DataFrame, number: int) -> dict[str, Any]:
    chances = np.array(rows["chances"].to_list(), dtype=np.float64)
    label = f"Person {number}"
    figure = plots.profile(f"person-{number}", label, chances, rows["answer"].to_list())
    return {
        "name": label,
        "figure": Markup(figure),
        "expected": float(rows["expected"].sum()),
        "total": int(rows["answer"].sum()),
    }
