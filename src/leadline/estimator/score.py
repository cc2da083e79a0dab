"""`leadline score`: the estimate after every user turn, for a cohort of any size.

People are read a batch at a time. A person whom the run was trained on is estimated only by
the models that never saw them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from leadline.artefact import check_place, sha256
from leadline.cohort.windows import Timeline, running_starts, timelines
from leadline.config import WindowConfig
from leadline.dialogue.masking import masked
from leadline.dialogue.store import Cohort
from leadline.errors import LeadlineError
from leadline.estimator.design import Span
from leadline.estimator.ensemble import Ensemble
from leadline.estimator.predictive import at_least, distribution_mean, distribution_quantile
from leadline.estimator.progress import progress_bar
from leadline.estimator.run import load_ensemble
from leadline.estimator.settings import INTERVAL, ScoreConfig
from leadline.evaluate.tables import ESTIMATES, THRESHOLDS

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def score_cohort(
    cohort: Cohort,
    run: Path,
    out: Path,
    config: ScoreConfig | None = None,
    *,
    overwrite: bool = False,
    home: Path | None = None,
) -> dict[str, int]:
    """Write the running estimates of everyone in `cohort` to the Parquet file `out`.

    Args:
        cohort: whose text is read; labels are not looked at.
        run: a finished run.
        out: the file to write; it appears whole or not at all.
        config: batch size.
        overwrite: replace `out` if it exists.
        home: where readers are kept.

    Returns:
        Counts of people, of people with no text of their own, and of estimates.

    Raises:
        LeadlineError: `out` exists, or the run cannot be loaded.
    """
    config = config or ScoreConfig()
    if out.is_dir() or (out.exists() and not overwrite):
        raise LeadlineError(
            "The output already exists.",
            remedy="Choose another --out, or add --overwrite to replace the file.",
            file=out,
        )
    check_place(out)
    ensemble, window = load_ensemble(run, home=home)
    model_id = run_identity(run)
    partial = out.with_name(f".{out.name}.partial")
    counts = {"people": 0, "silent": 0, "estimates": 0}
    total = cohort.turns["person_id"].n_unique()
    schema = pl.DataFrame(schema=ESTIMATES).to_arrow().schema
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            progress_bar("Scoring people") as advance,
            pq.ParquetWriter(partial, schema, compression="zstd") as writer,
        ):
            for batch in batched(timelines(cohort), config.batch_people):
                table = running_estimates(ensemble, batch, window, model_id)
                writer.write_table(table.to_arrow().cast(schema))
                counts["people"] += len(batch)
                counts["silent"] += sum(not len(person.user) for person in batch)
                counts["estimates"] += table.height
                advance(counts["people"], total)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return counts


def batched(people: Iterator[Timeline], size: int) -> Iterator[list[Timeline]]:
    """Lists of up to `size` people."""
    while batch := list(islice(people, size)):
        yield batch


def run_identity(run: Path) -> str:
    """A short name of the run's model: the hash of its checkpoint's description."""
    return sha256(run / "checkpoint" / "model.json")[:16]


def mask_people(people: Sequence[Timeline], window: WindowConfig) -> list[Timeline]:
    """The timelines as they are read: with questionnaire spans blanked if the window says so."""
    if not window.mask_questionnaire:
        return list(people)
    return [
        Timeline(
            person.person_id,
            tuple(masked(person.messages)),
            person.user,
            person.times,
            person.conversation_ids,
            person.turns,
        )
        for person in people
    ]


def running_estimates(
    ensemble: Ensemble, batch: Sequence[Timeline], window: WindowConfig, model_id: str
) -> pl.DataFrame:
    """The estimate after every user turn of `batch`, a table of `ESTIMATES`."""
    people = mask_people(batch, window)
    starts = [running_starts(person, window) for person in people]
    spans = [
        Span(row, int(first), last)
        for row, firsts in enumerate(starts)
        for last, first in enumerate(firsts)
    ]
    if not spans:
        return pl.DataFrame(schema=ESTIMATES)
    states = ensemble.source.read(people) if ensemble.source is not None else None
    moved, without = before_arrival(spans)
    distribution = ensemble.distributions(people, states, spans + without)
    kept = distribution_mean(distribution[len(spans) :])
    departure = departures(ensemble, people, spans, distribution[: len(spans)], (moved, kept))
    return estimates_table(ensemble, people, spans, distribution[: len(spans)], departure, model_id)


def before_arrival(spans: Sequence[Span]) -> tuple[Ints, list[Span]]:
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
    left = [Span(spans[row].person, spans[row].first, spans[row].last - 1) for row in rows]
    return np.array(rows, dtype=np.int64), left


def departures(
    ensemble: Ensemble,
    people: Sequence[Timeline],
    spans: Sequence[Span],
    distribution: Array,
    remaining: tuple[Ints, Array],
) -> Array:
    """Points by which the estimate moved before each turn because turns left, (len(spans),).

    In the order of time: first old turns leave, then the new one comes. Where all have left,
    the estimate has gone back to the one from no words.

    Args:
        ensemble: the models.
        people: whose turns they are.
        spans: the reading that ends at each user turn of each person, in order.
        distribution: at the spans, (len(spans), 28).
        remaining: the rows of `before_arrival`, and the mean estimate of each of its readings.
    """
    mean = distribution_mean(distribution)
    out = np.zeros(len(spans))
    rows, kept = remaining
    out[rows] = kept - mean[rows - 1]
    for row, span in enumerate(spans):
        if span.last > 0 and span.first == span.last > spans[row - 1].first:
            out[row] = ensemble.centre(people[span.person].person_id) - mean[row - 1]
    return out


def estimates_table(
    ensemble: Ensemble,
    people: Sequence[Timeline],
    spans: Sequence[Span],
    distribution: Array,
    departure: Array,
    model_id: str,
    earlier: Mapping[int, float] | None = None,
) -> pl.DataFrame:
    """Rows of `ESTIMATES` from the distributions at the spans, in order of people and turns.

    `earlier` gives the mean before the first of a person's spans, by row of `people`; it is the
    centre where nothing was said before.
    """
    mean = distribution_mean(distribution)
    rows = {span.person: people[span.person].person_id for span in spans}
    widths = {name: ensemble.width(INTERVAL, name) for name in rows.values()}
    starts = {row: ensemble.centre(name) for row, name in rows.items()} | dict(earlier or {})
    at = [int(people[span.person].user[span.last]) for span in spans]
    whose = [people[span.person] for span in spans]
    width = np.array([widths[person.person_id] for person in whose])
    owner = np.array([span.person for span in spans])
    first = np.diff(owner, prepend=-1) != 0
    start = np.array([starts[row] for row in owner])
    before = np.where(first, start, np.concatenate([[0.0], mean[:-1]]))
    times = np.array([p.times[i] for p, i in zip(whose, at, strict=True)], dtype="datetime64[us]")
    columns = {
        "person_id": [person.person_id for person in whose],
        "conversation_id": [p.conversation_ids[i] for p, i in zip(whose, at, strict=True)],
        "turn": np.array([p.turns[i] for p, i in zip(whose, at, strict=True)], dtype=np.int32),
        "time": pl.Series(times).dt.replace_time_zone("UTC"),
        "distribution": distribution.tolist(),
        "mean": mean,
        "median": distribution_quantile(distribution, 0.5),
        "lower": distribution_quantile(distribution, (1 - width) / 2),
        "upper": distribution_quantile(distribution, (1 + width) / 2),
        **{f"p_ge_{k}": at_least(distribution, k) for k in THRESHOLDS},
        "increment": mean - before,
        "departure": departure,
        "model_id": [model_id] * len(spans),
    }
    return pl.DataFrame(columns, schema=ESTIMATES)
