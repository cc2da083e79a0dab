"""Running estimates: the distribution after every user turn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from leadline.arrays import Array, Ints
from leadline.cohort.config import WindowConfig
from leadline.cohort.masking import mask_people
from leadline.cohort.timeline import Timeline
from leadline.cohort.windows import Span, running_starts
from leadline.phq9.distribution import Totals
from leadline.phq9.items import CUTS
from leadline.profiles.profile import Profile, profile_schema
from leadline.progress import Advance
from leadline.runs.config import INTERVAL
from leadline.runs.ensemble import Ensemble
from leadline.runs.profiles import ItemModels
from leadline.tables import ESTIMATES, MADE_BY


def batched(people: Sequence[Timeline], size: int) -> Iterator[Sequence[Timeline]]:
    """People in order, up to `size` at a time."""
    for at in range(0, len(people), size):
        yield people[at : at + size]


def running_estimates(
    ensemble: Ensemble,
    batch: Sequence[Timeline],
    window: WindowConfig,
    model_id: str,
    items: ItemModels | None = None,
    progress: Advance | None = None,
) -> pl.DataFrame:
    """The estimate after every user turn of `batch`, a table of `estimates_schema`.

    `progress` counts the tokens that frozen readers read.
    """
    people = mask_people(batch, window)
    starts = [running_starts(person, window) for person in people]
    spans = [
        Span(row, int(first), last)
        for row, firsts in enumerate(starts)
        for last, first in enumerate(firsts)
    ]
    if not spans:
        return pl.DataFrame(schema=estimates_schema(items))
    states = ensemble.source.read(people, progress) if ensemble.source is not None else None
    moved, remaining = readings_before_turn(spans)
    both = ensemble.distributions(people, states, spans + remaining)
    totals, before_turn = both.take(slice(len(spans))), both.take(slice(len(spans), None))
    departure = aged_out(ensemble, people, spans, totals, (moved, before_turn.mean()))
    table = estimates_table(ensemble, people, spans, totals, departure, model_id)
    if items is None:
        return table
    return with_profiles(table, items.profile(ensemble, people, states, spans, totals))


def estimates_schema(items: ItemModels | None) -> dict[str, pl.DataType]:
    """Columns of `ESTIMATES`, and of the profile where item models are given."""
    return ESTIMATES if items is None else {**ESTIMATES, **profile_schema(items.items)}


def with_profiles(table: pl.DataFrame, profile: Profile) -> pl.DataFrame:
    """A table of `ESTIMATES` with the profile of each row beside it."""
    schema = profile_schema(profile.chances.shape[1])
    return table.hstack(pl.DataFrame(profile.columns(), schema=schema))


def readings_before_turn(spans: Sequence[Span]) -> tuple[Ints, list[Span]]:
    """Where turns grew too old since the user turn before, and what was left of the reading.

    Args:
        spans: the reading that ends at each user turn of each person, in order.

    Returns:
        Rows of `spans` at which something left and something of before is still in the
        reading, and for each the reading without the turn that has just come.
    """
    rows = [
        row
        for row in range(1, len(spans))
        if spans[row - 1].person == spans[row].person
        and spans[row - 1].first < spans[row].first < spans[row].last
    ]
    remaining = [Span(spans[row].person, spans[row].first, spans[row].last - 1) for row in rows]
    return np.array(rows, dtype=np.int64), remaining


def aged_out(
    ensemble: Ensemble,
    people: Sequence[Timeline],
    spans: Sequence[Span],
    totals: Totals,
    remaining: tuple[Ints, Array],
) -> Array:
    """Points by which the estimate moved before each turn because turns left, (len(spans),).

    In the order of time: first old turns leave, then the new one comes. Where all have left,
    the estimate has gone back to the one from no words.

    Args:
        ensemble: the models.
        people: whose turns they are.
        spans: the reading that ends at each user turn of each person, in order.
        totals: at the spans.
        remaining: the rows of `readings_before_turn`, and the mean estimate of each reading.
    """
    mean = totals.mean()
    out = np.zeros(len(spans))
    rows, remaining_mean = remaining
    out[rows] = remaining_mean - mean[rows - 1]
    for row, span in enumerate(spans):
        if span.last > 0 and span.first == span.last > spans[row - 1].first:
            out[row] = ensemble.centre(people[span.person].person_id) - mean[row - 1]
    return out


def estimates_table(
    ensemble: Ensemble,
    people: Sequence[Timeline],
    spans: Sequence[Span],
    totals: Totals,
    departure: Array,
    model_id: str,
) -> pl.DataFrame:
    """Rows of `ESTIMATES` from the distributions at the spans, in order of people and turns."""
    mean = totals.mean()
    names = {people[span.person].person_id for span in spans}
    centres = {name: ensemble.centre(name) for name in names}
    at = [int(people[span.person].user[span.last]) for span in spans]
    whose = [people[span.person] for span in spans]
    width = ensemble.widths(INTERVAL, [person.person_id for person in whose])
    owner = np.array([span.person for span in spans])
    first = np.diff(owner, prepend=-1) != 0
    centre = np.array([centres[person.person_id] for person in whose])
    before = np.where(first, centre, np.concatenate([[0.0], mean[:-1]]))
    as_of = [person.as_of for person in people]
    moments = [as_of[span.person][i] for span, i in zip(spans, at, strict=True)]
    times = np.array(moments, dtype="datetime64[us]")
    columns = {
        "person_id": [person.person_id for person in whose],
        "conversation_id": [p.conversation_ids[i] for p, i in zip(whose, at, strict=True)],
        "turn": np.array([p.turns[i] for p, i in zip(whose, at, strict=True)], dtype=np.int32),
        "time": pl.Series(times).dt.replace_time_zone("UTC"),
        **estimate_columns(totals, width),
        "increment": mean - before,
        "departure": departure,
        "model_id": [model_id] * len(spans),
    }
    return pl.DataFrame(columns, schema=ESTIMATES)


def estimate_columns(totals: Totals, width: float | Array) -> dict[str, Any]:
    """The columns of `ESTIMATES` that say what is estimated.

    Args:
        totals: R distributions.
        width: mass of the central interval, of all or of each.
    """
    lower, upper = totals.delivered_interval(width)
    return {
        "distribution": totals.rows(),
        "mean": totals.mean(),
        "median": totals.median(),
        "lower": lower,
        "upper": upper,
        **{f"p_ge_{k}": totals.at_least(k) for k in CUTS},
    }


def write_estimates(table: pl.DataFrame, file: Path, made_by: Mapping[str, str]) -> None:
    """Write a table of `ESTIMATES`, with checksums of its pages and the run that `made_by` names.

    Args:
        table: the estimates.
        file: where.
        made_by: files of the run and others, SHA-256 by name.
    """
    arrow = table.to_arrow(compat_level=pl.CompatLevel.oldest())
    with pq.ParquetWriter(
        file, arrow.schema, compression="zstd", write_page_checksum=True
    ) as writer:
        writer.add_key_value_metadata({MADE_BY: json.dumps(dict(made_by), sort_keys=True)})
        writer.write_table(arrow)


def run_of_estimates(file: Path) -> dict[str, str]:
    """What a file of estimates names as what made it, SHA-256 by name; empty in files of before."""
    with pq.ParquetFile(file) as parquet:
        entries = parquet.metadata.metadata or {}
    try:
        content = json.loads(entries.get(MADE_BY.encode(), b"{}"))
    except (ValueError, RecursionError):
        return {}
    return {str(k): str(v) for k, v in content.items()} if isinstance(content, dict) else {}
