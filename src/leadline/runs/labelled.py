"""The labelled people of a cohort, their readings and their folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import polars as pl

from leadline.arrays import Array, Bools, Ints
from leadline.cohort.config import WindowConfig
from leadline.cohort.folds import keep_folds, read_folds
from leadline.cohort.masking import mask_people
from leadline.cohort.near_copies import group_counts
from leadline.cohort.splits import person_folds, refuse_locked_people
from leadline.cohort.store import Cohort, table_hashes
from leadline.cohort.timeline import Timeline
from leadline.cohort.windows import (
    Span,
    label_readings,
    running_starts,
    timelines_to_read,
    undated_counts,
)
from leadline.errors import LeadlineError
from leadline.heads.candidates import LabelledReadings
from leadline.heads.design import Design, PersonStates
from leadline.runs.config import TrainConfig
from leadline.runs.state_source import StateSource

PREFIXES = 8
"""Readings of a label that end earlier, for the calibration of running estimates."""

PREFIX_SHARE = 0.25
"""Their joint weight in it; the whole window counts 1, for that is what is evaluated."""


@dataclass(frozen=True)
class Labelled:
    """The labelled people and their readings, locked people included.

    Attributes:
        people: timelines as they are read, one a person.
        readings: table of `cohort.windows.READINGS` with the column ``row``, the person's row.
        spans: the whole-window reading of each label, in the order of `readings`.
        groups: person -> group, for people who count as one (`Cohort.copy_groups`).
    """

    people: list[Timeline]
    readings: pl.DataFrame
    spans: list[Span]
    groups: Mapping[str, str] = field(default_factory=dict)

    def as_one(self) -> Ints:
        """For each of `people` the first row of those who count as the same person, (people,)."""
        first: dict[str, int] = {}
        names = [self.groups.get(p.person_id, p.person_id) for p in self.people]
        return np.array([first.setdefault(name, row) for row, name in enumerate(names)], dtype=int)

    def copies_in_words(self, left_out: Mapping[str, object]) -> dict[str, str]:
        """What a report says of near-copies among these people; nothing if there are none.

        `left_out`: the people with folds. Who has none and is not locked is a near-copy of a
        locked person.
        """
        groups = {p: group for p, group in self.groups.items() if p in left_out}
        counts = group_counts(groups)
        several = counts["people"] - counts["groups"]
        open_people = set(self.readings.filter(~pl.col("locked"))["person_id"])
        shut = len(open_people - set(left_out))
        words = {}
        if several:
            words["near-copies"] = (
                f"{counts['people']} people are {counts['groups']} under several ids, by their "
                "words; each counts as one person in the folds"
            )
        if shut:
            words["near-copies of locked people"] = f"{shut}, not trained on"
        return words

    def take(self, rows: Ints) -> Labelled:
        """These readings alone, and the people whose they are."""
        readings = self.readings[rows.tolist()]
        persons = sorted(set(readings["row"]))
        place = {row: number for number, row in enumerate(persons)}
        spans = [self.spans[int(row)] for row in rows]
        return Labelled(
            [self.people[row] for row in persons],
            readings.with_columns(pl.col("row").replace_strict(place, return_dtype=pl.Int64)),
            [Span(place[span.person], span.first, span.last) for span in spans],
            self.groups,
        )

    def rows(self, person_ids: set[str]) -> Ints:
        """Rows of `readings` of these people."""
        return np.flatnonzero(self.readings["person_id"].is_in(list(person_ids)).to_numpy())


class TrainingLabel(NamedTuple):
    """A reading and what it is fitted to.

    Attributes:
        span: the reading.
        total: PHQ-9 points, fractions allowed.
        weight: in the loss, that of a gold label being 1.
        sd: standard deviation of the label in points: 0 for gold, which is what was answered.
        gold: whether the person answered it.
    """

    span: Span
    total: float
    weight: float = 1.0
    sd: float = 0.0
    gold: bool = True


def draw_folds(
    cohort: Cohort, labelled: Labelled, config: TrainConfig
) -> dict[str, dict[int, int]]:
    """Person -> repeat -> the fold that leaves the person out, for everyone who is not locked.

    People whose words are near-copies of one another share a fold. Near-copies of locked people
    have none: nothing trains on them.

    Raises:
        LeadlineError: as `splits.person_folds`, or someone is locked by now.
    """
    open_readings = labelled.readings.filter(
        ~pl.col("locked") & ~pl.col("person_id").is_in(list(cohort.copies_of_locked))
    )
    folds = [
        folds_of_draw(cohort, open_readings, config.folds, config.seed + repeat)
        for repeat in range(config.repeats)
    ]
    refuse_locked_people(set(folds[0]), cohort, "training")
    return {person: {r: fold[person] for r, fold in enumerate(folds)} for person in folds[0]}


def folds_of_draw(
    cohort: Cohort, open_readings: pl.DataFrame, folds: int, seed: int
) -> dict[str, int]:
    """One draw of the folds of these people; whoever has a fold in the cohort keeps it."""
    old_folds = read_folds(cohort.path, folds, seed)
    return person_folds(open_readings, folds, seed, old_folds, cohort.copy_groups)


def keep_drawn_folds(
    cohort: Cohort, left_out: Mapping[str, Mapping[int, int]], config: TrainConfig
) -> None:
    """Keep folds in the cohort, once a training with them has begun, for the trainings to come."""
    for repeat in range(config.repeats):
        fold = {person: folds[repeat] for person, folds in left_out.items()}
        keep_folds(cohort.path, config.folds, config.seed + repeat, fold)


def labelled_people(cohort: Cohort, config: TrainConfig, window: WindowConfig) -> Labelled:
    """Everyone with a label and text in its window, as read.

    Raises:
        LeadlineError: no such person, or PHQ-8 totals beside PHQ-9 totals.
    """
    readings = label_readings(cohort, window)
    instruments = ["phq9", "phq8"] if config.include_phq8 else ["phq9"]
    usable_readings = readings.filter(pl.col("instrument").is_in(instruments))
    if not usable_readings.height:
        raise _no_labels(cohort, readings, window)
    _refuse_mixed(cohort, usable_readings)
    names = set(usable_readings["person_id"])
    people = [p for p in timelines_to_read(cohort, window) if p.person_id in names]
    people = mask_people(people, window)
    row = {person.person_id: number for number, person in enumerate(people)}
    usable_readings = usable_readings.with_columns(
        pl.col("person_id").replace_strict(row).cast(pl.Int64).alias("row")
    )
    spans = [Span(*values) for values in usable_readings.select("row", "first", "last").iter_rows()]
    return Labelled(people, usable_readings, spans, cohort.copy_groups)


def _refuse_mixed(cohort: Cohort, readings: pl.DataFrame) -> None:
    """Refuse two scales in one column: the same answers give a PHQ-9 of 0 to 3 points more."""
    counts = dict(readings.group_by("instrument").len().iter_rows())
    if len(counts) > 1:
        raise LeadlineError(
            f"With --include-phq8 {counts['phq8']} PHQ-8 totals (0-24) and {counts['phq9']} PHQ-9 "
            "totals (0-27) would be trained on as if they were one scale.",
            remedy="Leave out --include-phq8 to train on the PHQ-9 totals, or import the people "
            "with a PHQ-8 as a cohort of their own.",
            file=cohort.path,
        )


def _no_labels(cohort: Cohort, readings: pl.DataFrame, window: WindowConfig) -> LeadlineError:
    if not cohort.phq9.height:
        problem, remedy = "This cohort has no PHQ-9.", "Import it with --phq9."
    elif readings.height:
        instruments = ", ".join(sorted(set(readings["instrument"])))
        problem = f"Nobody has a PHQ-9 with text before it; the labels are {instruments}."
        remedy = "Use --include-phq8 to train on PHQ-8 totals."
    else:
        before = f"in the {window.days:g} days before it" if window.days else "before it"
        problem = f"No PHQ-9 has {window.min_turns} or more user turns {before}."
        remedy = "Look at the dates with: leadline inspect; widen --days (0 takes all text)."
        if any(undated_counts(cohort).values()) and not window.undated:
            remedy += " Text or PHQ-9s without a time are left out; --undated takes them."
    return LeadlineError(problem, remedy=remedy, file=cohort.path)


def cohort_hashes(cohort: Cohort) -> dict[str, str]:
    """SHA-256 of the cohort's tables; empty for one that was never written."""
    return table_hashes(cohort.manifest)


@dataclass(frozen=True)
class Readings:
    """Readings of every length that lead to a label, the whole windows among them.

    Attributes:
        spans: R readings.
        label: row of `Labelled.readings` of each, shape (R,).
        final: True where it is the whole window of the label, shape (R,).
        share: weight in the calibration, shape (R,); 1 for a whole window.
    """

    spans: list[Span]
    label: Ints
    final: Bools
    share: Array

    def take(self, rows: Ints) -> Readings:
        """The readings at `rows`."""
        spans = [self.spans[int(row)] for row in rows]
        return Readings(spans, self.label[rows], self.final[rows], self.share[rows])


def readings_of_every_length(labelled: Labelled, window: WindowConfig) -> Readings:
    """Every labelled reading, and before it some of its prefixes.

    A prefix ends at an earlier user turn of the same window and is read as a running estimate
    at that turn would be.
    """
    spans: list[Span] = []
    labels: list[int] = []
    starts = [running_starts(person, window) for person in labelled.people]
    for number, span in enumerate(labelled.spans):
        ends = np.unique(np.geomspace(1, span.last - span.first + 1, PREFIXES).astype(int))
        for length in ends[:-1]:
            end = span.first + int(length) - 1
            spans.append(Span(span.person, int(starts[span.person][end]), end))
        spans.append(span)
        labels += [number] * len(ends)
    owner = np.array(labels, dtype=np.int64)
    final = np.append(owner[1:] != owner[:-1], True)
    prefixes = np.maximum(np.bincount(owner)[owner] - 1, 1)
    return Readings(spans, owner, final, np.where(final, 1.0, PREFIX_SHARE / prefixes))


def training_rows(
    labelled: Labelled,
    states: Sequence[PersonStates],
    source: StateSource,
    window: WindowConfig,
    config: TrainConfig,
) -> tuple[LabelledReadings, Ints]:
    """The readings of every length with their states, and the row of each one's label."""
    readings = readings_of_every_length(labelled, window)
    design = Design.of(source.directions, states, readings.spans, config.pool)
    return labelled_rows(labelled, readings, design), readings.label


def labelled_rows(labelled: Labelled, readings: Readings, design: Design) -> LabelledReadings:
    """Readings that lead to labels, with these labels and what a head sees of each."""
    totals = labelled.readings["total"].to_numpy().astype(np.float64)
    return LabelledReadings(
        design=design,
        total=totals[readings.label],
        weight=np.ones(len(readings.spans)),
        person=np.array([span.person for span in readings.spans]),
        final=readings.final,
        share=readings.share,
    )


def people_of_fold(
    labelled: Labelled, left_out: dict[str, dict[int, int]], repeat: int, fold: int, *, inside: bool
) -> Ints:
    """Rows of the training people of a fold's model (`inside`), or of those it left out."""
    return np.array(
        [
            row
            for row, person in enumerate(labelled.people)
            if person.person_id in left_out
            and (left_out[person.person_id][repeat] == fold) != inside
        ],
        dtype=np.int64,
    )
