"""Two sets of labels against each other and against the PHQ-9s: which teacher is worth its price.

A teacher that thinks, another rubric, another model: each is held against another on the same
readings of the same labelled people, with the same number of draws, so that nothing but the
teacher differs. Differences are paired over people: both are taken from the same resamples.
Locked people are never looked at. What one of the two did not rate is counted and its severity
shown, since a teacher that declines the gravest conversations looks better on what remains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table

from leadline.cohort.config import WindowConfig
from leadline.cohort.store import Cohort, read_cohort
from leadline.errors import LeadlineError
from leadline.tables import COSTS
from leadline.teacher.audit import (
    AGREEMENT,
    SMALLEST_GROUP,
    cost_words,
    figure,
    open_labels,
    pair_with_gold,
    resampled,
    setup_of,
    total_agreement,
)

FIGURES = (*AGREEMENT, "kappa", "no_evidence", "draw_sd", *COSTS)

SIDES = ("labels", "against")


def compare_labels(
    cohort: Path,
    labels: tuple[Path, Path],
    *,
    models: tuple[str | None, str | None] = (None, None),
    groups: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """`compare` of two finished LABELS directories, or of two models of one.

    Args:
        cohort: the cohort that both were made from.
        labels: the directories; they may be the same.
        models: which model of each; None where a directory holds one, or both hold it.
        groups: columns of the cohort's people table to compare within.
        seed: of the bootstrap over people.

    Raises:
        LeadlineError: LABELS of another cohort, or of two windows; a model that is not there or
            must be named; nobody whom both rated.
    """
    people = read_cohort(cohort)
    opened = [open_labels(people, path) for path in labels]
    if opened[0][1] != opened[1][1]:
        raise LeadlineError(
            "The two were made with different windows, so they are of different text.",
            remedy="Label again with one and the same --days, --min-turns, --undated and "
            "--mask-questionnaire.",
            file=labels[1],
        )
    names = _models([table for table, _ in opened], labels, models)
    sides = [
        table.filter(pl.col("model") == name)
        for (table, _), name in zip(opened, names, strict=True)
    ]
    figures = compare((sides[0], sides[1]), people, opened[0][1], groups=groups, seed=seed)
    for side, name in zip(SIDES, names, strict=True):
        figures[side] = {"model": name, **figures[side]}
    return figures


def _models(
    tables: Sequence[pl.DataFrame], paths: Sequence[Path], models: Sequence[str | None]
) -> list[str]:
    """The model of each side."""
    there = [sorted(table["model"].unique().to_list()) for table in tables]
    shared = sorted(set(there[0]) & set(there[1]))
    names = []
    for side, path, flag, model in zip(
        there, paths, ("--model", "--against-model"), models, strict=True
    ):
        choices = [model] if model else side if len(side) == 1 else shared
        if len(choices) != 1 or choices[0] not in side:
            raise LeadlineError(
                f"{flag} {model} is not in these labels." if model else "Which model is meant?",
                remedy=f"Give {flag} with one of: {', '.join(side)}.",
                file=path,
            )
        names.append(choices[0])
    if names[0] == names[1] and paths[0].resolve() == paths[1].resolve():
        raise LeadlineError(
            "These are the same labels twice.",
            remedy="Give another LABELS to --against, or another --against-model.",
            file=paths[1],
        )
    return names


def compare(
    labels: tuple[pl.DataFrame, pl.DataFrame],
    cohort: Cohort,
    window: WindowConfig,
    *,
    groups: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """Two teachers' draws on the readings that both rated, against gold.

    Args:
        labels: columns of `tables.LABELS`, of one model each.
        cohort: with its gold labels; locked people are left out.
        window: that both were labelled with.
        groups: columns of the people table.
        seed: of the bootstrap over people.

    Returns:
        ``readings``, ``people`` and ``draws`` (a reading, mean); of each side its setup and what
        it alone rated; ``figures``: for each of `FIGURES` both values, the difference ``labels``
        minus ``against``, and 95% intervals of all three; ``agreement`` of the two with each other;
        ``groups``.

    Raises:
        LeadlineError: nobody was rated by both and has a PHQ-9.
    """
    first, second = (pair_with_gold(side, cohort, window, groups) for side in labels)
    a, b = _equal_draws(first, second)
    if a.is_empty():
        raise LeadlineError(
            "No reading with a PHQ-9 was rated by both.",
            remedy="Label the same people twice with --who labelled or all.",
        )
    return {
        "readings": a["label"].n_unique(),
        "people": a["person_id"].n_unique(),
        "draws": a.height / a["label"].n_unique(),
        "labels": {**setup_of(a), "alone": _alone(first, second)},
        "against": {**setup_of(b), "alone": _alone(second, first)},
        "figures": _differences(a, b, seed, FIGURES),
        "agreement": _with_each_other(a, b),
        "groups": {name: _by_group(a, b, name, seed) for name in groups},
    }


def _equal_draws(first: pl.DataFrame, second: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The readings of both, each with as many draws as the one that has fewer."""
    counts = [side.group_by("label").agg(pl.len().alias("draws")) for side in (first, second)]
    both = counts[0].join(counts[1], on="label")
    shared = both.select("label", draws=pl.min_horizontal("draws", "draws_right"))
    sides = [
        side.join(shared, on="label")
        .filter(pl.col("draw").rank("ordinal").over("label") <= pl.col("draws"))
        .drop("draws")
        .sort("label", "draw")
        for side in (first, second)
    ]
    return sides[0], sides[1]


def _alone(side: pl.DataFrame, opposite: pl.DataFrame) -> dict[str, Any]:
    """Readings that one side rated and the other did not, and their mean PHQ-9."""
    rows = side.join(opposite, on="label", how="anti").unique("label")
    return {"readings": rows.height, "phq9": rows["gold_total"].mean()}


def _differences(
    a: pl.DataFrame, b: pl.DataFrame, seed: int, names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Figures of both sides and their differences, from the same resamples of people."""
    here, there = resampled(a, seed), resampled(b, seed)
    return {
        name: {
            "labels": figure(here[name]),
            "against": figure(there[name]),
            "difference": figure(here[name] - there[name]),
        }
        for name in names
    }


def _with_each_other(a: pl.DataFrame, b: pl.DataFrame) -> dict[str, float | None]:
    """How the mean draws of the two agree: r, and how far apart they are."""
    means = [side.group_by("label").agg(pl.col("total").mean()).sort("label") for side in (a, b)]
    both = total_agreement(*(np.asarray(item["total"].to_numpy()) for item in means))
    return {name: both[name] for name in ("r", "mae", "bias")}


def _by_group(
    a: pl.DataFrame, b: pl.DataFrame, column: str, seed: int
) -> dict[str, dict[str, Any]]:
    """MAE and bias of both within each group that has enough readings; the number of others."""
    groups: dict[str, dict[str, Any]] = {}
    for value in a[column].unique().sort().to_list():
        here = pl.col(column).eq_missing(value)
        part, other_part = a.filter(here), b.filter(here)
        count = part["label"].n_unique()
        within = count >= SMALLEST_GROUP
        figures = _differences(part, other_part, seed, ("mae", "bias")) if within else {}
        groups["unknown" if value is None else str(value)] = {"n": count, **figures}
    return groups


def render_comparison(figures: Mapping[str, Any]) -> RenderableType:
    """The result of `compare_labels` as rich tables."""
    table = Table("figure", *SIDES, "difference", "95% over people", title="Against PHQ-9s")
    for name, row in figures["figures"].items():
        words = cost_words if name in COSTS else _number
        label = f"{name.replace('_', ' ')} a person" if name in COSTS else name.replace("_", " ")
        bounds = row["difference"]["interval"]
        table.add_row(
            label,
            *(words(row[side]["value"]) for side in (*SIDES, "difference")),
            "-" if bounds is None else " to ".join(map(words, bounds)),
        )
    setups = [
        f"{side}: {row['model']}, rubric {', '.join(row['rubric'])}, "
        f"reasoning {', '.join(row['reasoning'])}; rated alone {row['alone']['readings']:,}"
        + (f" (mean PHQ-9 {row['alone']['phq9']:.1f})" if row["alone"]["readings"] else "")
        for side, row in ((side, figures[side]) for side in SIDES)
    ]
    each_other = figures["agreement"]
    table.caption = "\n".join(
        [
            f"{figures['readings']:,} readings of {figures['people']:,} people, "
            f"{figures['draws']:.1f} draws each; r with each other {_number(each_other['r'])}",
            *setups,
        ]
    )
    return Group(table, *(_groups(*group) for group in figures["groups"].items()))


def _groups(name: str, groups: Mapping[str, Mapping[str, Any]]) -> Table:
    headings = [f"{figure_name} {side}" for figure_name in ("mae", "bias") for side in SIDES]
    table = Table(name, "n", *headings, "mae difference, 95%")
    for value, row in groups.items():
        figures = [row[key][side]["value"] if key in row else None
                   for key in ("mae", "bias") for side in SIDES]  # fmt: skip
        bounds = row["mae"]["difference"]["interval"] if "mae" in row else None
        words = "-" if bounds is None else f"{bounds[0]:.2f} to {bounds[1]:.2f}"
        table.add_row(value, f"{row['n']:,}", *map(_number, figures), words)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
