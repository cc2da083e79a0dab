"""`leadline score`: the estimate after every user turn, for a cohort of any size.

The cohort is cut into parts of some people each. A part is read from the disk, scored and
written by itself, so memory does not grow with the cohort, a run that was killed goes on from
its finished parts, and parts can be made by several processes (see `ray_engine`). Inside a
part people of like length are read together. What is read together depends on the settings
alone, never on the engine, so both engines give the same numbers.

A person whom the run was trained on is estimated only by the models that never saw them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from leadline.arrays import Array, Ints
from leadline.artefact import check_place, sha256
from leadline.cohort.roll import Stretch, call_roll, read_people
from leadline.cohort.windows import Timeline, running_starts
from leadline.config import WindowConfig
from leadline.dialogue.masking import masked
from leadline.dialogue.store import Cohort
from leadline.errors import LeadlineError
from leadline.estimator.design import Span
from leadline.estimator.ensemble import Ensemble
from leadline.estimator.parts import Parts, open_parts
from leadline.estimator.predictive import at_least, distribution_mean, distribution_quantile
from leadline.estimator.progress import Advance, progress_bar
from leadline.estimator.run import CHECKPOINT, check_run, load_ensemble
from leadline.estimator.settings import INTERVAL, ScoreConfig
from leadline.evaluate.tables import ESTIMATES, THRESHOLDS

Counts = dict[str, int]


def score_cohort(
    cohort: Cohort | Path,
    run: Path,
    out: Path,
    config: ScoreConfig | None = None,
    *,
    overwrite: bool = False,
    home: Path | None = None,
) -> Counts:
    """Write the running estimates of everyone in `cohort` to the Parquet file `out`.

    Args:
        cohort: whose text is read; labels are not looked at. The directory of a cohort is read
            some people at a time.
        run: a finished run.
        out: the file to write; it appears whole or not at all.
        config: batch size, engine.
        overwrite: replace `out` if it exists.
        home: where readers are kept.

    Returns:
        Counts of people, of people with no text of their own, and of estimates.

    Raises:
        LeadlineError: `out` exists, or the cohort or the run cannot be loaded.
    """
    config = config or ScoreConfig()
    if out.is_dir() or (out.exists() and not overwrite):
        raise LeadlineError(
            "The output already exists.",
            remedy="Choose another --out, or add --overwrite to replace the file.",
            file=out,
        )
    check_place(out)
    check_run(run)
    roll = call_roll(cohort)
    stretches = roll.stretches(config.part_people)
    inputs = {
        "turns": roll.digest,
        "model": sha256(run / CHECKPOINT / "model.json"),
        "ledger": sha256(run / "ledger.parquet"),
    }
    settings = {"batch_people": config.batch_people, "part_people": config.part_people}
    with open_parts(out, settings, inputs, len(stretches)) as parts:
        turns = cohort.turns if isinstance(cohort, Cohort) else cohort
        work = Work(turns, run, parts, config.batch_people, config.cache, home)
        total = score_parts(work, stretches, config, len(roll))
        parts.join(out, ESTIMATES)
    return total


@dataclass(frozen=True)
class Work:
    """What a process needs to know to make parts.

    Attributes:
        turns: the table of turns, or the directory of the cohort.
        run: a finished run.
        parts: where parts go.
        batch_people: people read at a time.
        cache: keep turn states on disk.
        home: where readers are kept.
    """

    turns: Path | pl.DataFrame
    run: Path
    parts: Parts
    batch_people: int
    cache: bool
    home: Path | None


class Scorer:
    """Makes parts; the run is loaded once.

    Raises:
        LeadlineError: the run cannot be loaded.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.ensemble, self.window = load_ensemble(work.run, home=work.home, use_cache=work.cache)
        self.model_id = run_identity(work.run)

    def make(self, stretch: Stretch, progress: Advance | None = None) -> Counts:
        """Score the people of a stretch, write their part, and return what was counted."""
        people = read_people(self.work.turns, stretch)
        table = score_people(
            self.ensemble, people, self.window, self.model_id, self.work.batch_people, progress
        )
        silent = sum(not len(person.user) for person in people)
        counts = {"people": len(people), "silent": silent, "estimates": table.height}
        self.work.parts.write(stretch.number, table, counts)
        return counts


def score_parts(
    work: Work, stretches: Sequence[Stretch], config: ScoreConfig, people: int
) -> Counts:
    """Make the parts that are not there yet, and return the counts of all."""
    total = {"people": 0, "silent": 0, "estimates": 0}
    done = work.parts.finished()
    left = [stretch for stretch in stretches if stretch.number not in done]
    for counts in done.values():
        total = {name: total[name] + counts[name] for name in total}
    with progress_bar("Scoring people") as advance:
        advance(total["people"], people)

        def within(more: int, _: int) -> None:
            advance(total["people"] + more, people)

        for counts in _made(work, left, config, within):
            total = {name: total[name] + counts[name] for name in total}
            advance(total["people"], people)
    return total


def _made(
    work: Work, left: Sequence[Stretch], config: ScoreConfig, progress: Advance
) -> Iterator[Counts]:
    """Make the parts of `left`; the counts of each as it is finished."""
    if config.engine == "ray":
        from leadline.estimator.ray_engine import make_parts

        yield from make_parts(work, left, config)
        return
    scorer = Scorer(work)
    for stretch in left:
        yield scorer.make(stretch, progress)


def score_people(
    ensemble: Ensemble,
    people: Sequence[Timeline],
    window: WindowConfig,
    model_id: str,
    batch_people: int,
    progress: Advance | None = None,
) -> pl.DataFrame:
    """The estimate after every user turn of `people` in their order, a table of `ESTIMATES`.

    People of like length are read together, longest first, at most `batch_people` at a time.
    """
    length = [sum(len(message.text) for message in person.messages) for person in people]
    order = sorted(range(len(people)), key=lambda row: -length[row])
    tables, done = [pl.DataFrame(schema=ESTIMATES)], 0
    for batch in batched([people[row] for row in order], batch_people):
        tables.append(running_estimates(ensemble, batch, window, model_id))
        done += len(batch)
        if progress is not None:
            progress(done, len(order))
    whose = np.repeat(order, [len(people[row].user) for row in order])
    return pl.concat(tables)[np.argsort(whose, kind="stable")]


def batched(people: Sequence[Timeline], size: int) -> Iterator[Sequence[Timeline]]:
    """People in order, up to `size` at a time."""
    for at in range(0, len(people), size):
        yield people[at : at + size]


def run_identity(run: Path) -> str:
    """A short name of the run's model: the hash of its checkpoint's description."""
    return sha256(run / CHECKPOINT / "model.json")[:16]


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
) -> pl.DataFrame:
    """Rows of `ESTIMATES` from the distributions at the spans, in order of people and turns."""
    mean = distribution_mean(distribution)
    names = {people[span.person].person_id for span in spans}
    widths = {name: ensemble.width(INTERVAL, name) for name in names}
    centres = {name: ensemble.centre(name) for name in names}
    at = [int(people[span.person].user[span.last]) for span in spans]
    whose = [people[span.person] for span in spans]
    width = np.array([widths[person.person_id] for person in whose])
    owner = np.array([span.person for span in spans])
    first = np.diff(owner, prepend=-1) != 0
    centre = np.array([centres[person.person_id] for person in whose])
    before = np.where(first, centre, np.concatenate([[0.0], mean[:-1]]))
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
