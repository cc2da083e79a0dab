"""Everyone in a self-training run: who has gold, who has none, their folds and their ratings.

Folds are drawn once, over all open people: those with gold stratified by severity, those
without dealt out at random; near-copies of one another count as one person. The last reading of
each person is what a teacher rated and what a pseudolabel is for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from leadline.arrays import Array, Bools, Ints
from leadline.cohort.config import WindowConfig
from leadline.cohort.folds import read_folds
from leadline.cohort.masking import mask_timeline
from leadline.cohort.splits import deal_folds, random_place
from leadline.cohort.store import Cohort
from leadline.cohort.timeline import Timeline
from leadline.cohort.windows import Span, unlabelled_readings
from leadline.errors import LeadlineError
from leadline.heads.candidates import LabelledReadings
from leadline.heads.design import Design, PersonStates
from leadline.runs.config import TrainConfig
from leadline.runs.forecast import read_people
from leadline.runs.labelled import (
    Labelled,
    folds_of_draw,
    labelled_people,
    labelled_rows,
    readings_of_every_length,
    training_rows,
)
from leadline.runs.state_source import StateSource
from leadline.teacher.label import refuse_other_labels
from leadline.teacher.label_table import read_labels, refuse_locked_labels


@dataclass(frozen=True)
class Raters:
    """Teacher draws of the last reading of each person.

    Attributes:
        names: of the teachers, sorted; empty without labels.
        draws: one array (people, draws) a teacher, NaN where a draw is missing.
        example_people: for each person the rows of those who were shown to a teacher.
    """

    names: tuple[str, ...]
    draws: tuple[Array, ...]
    example_people: tuple[frozenset[int], ...]

    def without(self, people: frozenset[int]) -> tuple[Array, ...]:
        """Draws, blanked where one of `people` was shown to the teacher as an example."""
        if not any(self.example_people):
            return self.draws
        tainted = np.array([bool(kin & people) for kin in self.example_people])
        return tuple(np.where(tainted[:, None], np.nan, draws) for draws in self.draws)


@dataclass(frozen=True)
class Roster:
    """Readings, folds and ratings of N people: those with gold first, in the order read.

    Attributes:
        people: timelines, length N.
        labelled: readings with gold; `labelled.people` are the first rows of `people`.
        gold: those readings and their prefixes, of open and locked people.
        gold_spans: where they lie, in the order of `gold`.
        last: row of `gold` that is the last whole reading of each person, -1 without gold.
        unlabelled: the last reading of each person without gold, as rows without totals.
        spans: the last reading of each person, length N.
        locked: who is in the locked test or a near-copy of somebody in it, shape (N,).
        folds: fold by repeat and person, -1 for locked people, shape (repeats, N).
        raters: teacher draws, none of them of locked people.
    """

    people: list[Timeline]
    labelled: Labelled
    gold: LabelledReadings
    gold_spans: list[Span]
    last: Ints
    unlabelled: LabelledReadings
    spans: list[Span]
    locked: Bools
    folds: Ints
    raters: Raters

    @property
    def ids(self) -> list[str]:
        """Person ids, length N."""
        return [person.person_id for person in self.people]

    @property
    def has_gold(self) -> Bools:
        """Who has a gold label, locked people included, shape (N,)."""
        return self.last >= 0

    def left_out(self) -> dict[str, dict[int, int]]:
        """Open person -> repeat -> fold, as ensembles keep it."""
        return {
            name: {repeat: int(fold) for repeat, fold in enumerate(self.folds[:, row])}
            for row, name in enumerate(self.ids)
            if not self.locked[row]
        }


def open_roster(
    cohort: Cohort,
    labels: pl.DataFrame | None,
    source: StateSource | None,
    config: TrainConfig,
    window: WindowConfig,
) -> tuple[Roster, list[PersonStates]]:
    """Read everyone and draw the folds; also the turn states of all people.

    Without a `source`, for readers that are adapted, there are no states: what is read of a
    reading is its words alone.

    Raises:
        LeadlineError: too few labelled people, or nobody without a label.
    """
    labelled = labelled_people(cohort, config, window)
    unlabelled = list(unlabelled_readings(cohort, window, first_row=len(labelled.people)))
    if not unlabelled:
        raise LeadlineError(
            "Everyone in this cohort has a PHQ-9 or is locked: there is nobody to pseudolabel.",
            remedy="Use leadline train, or import people without a PHQ-9 as well.",
            file=cohort.path,
        )
    people = [*labelled.people, *(mask_timeline(person, window) for person, _ in unlabelled)]
    every = readings_of_every_length(labelled, window)
    if source is None:
        states = []
        gold = labelled_rows(labelled, every, words_alone(people, every.spans))
    else:
        states = read_people(source, people)
        gold_states = states[: len(labelled.people)]
        gold, _ = training_rows(labelled, gold_states, source, window, config)
    last = np.full(len(people), -1)
    final = np.flatnonzero(gold.final)
    last[gold.person[final]] = final  # readings of a person are in the order of time
    spans = [labelled.spans[label] for label in every.label[last[: len(labelled.people)]]]
    spans += [span for _, span in unlabelled]
    shut = cohort.locked_ids | cohort.copies_of_locked
    locked = np.array([person.person_id in shut for person in people])
    free_spans = spans[len(labelled.people) :]
    free_design = (
        words_alone(people, free_spans)
        if source is None
        else Design.of(source.directions, states, free_spans, config.pool)
    )
    roster = Roster(
        people=people,
        labelled=labelled,
        gold=gold,
        gold_spans=every.spans,
        last=last,
        unlabelled=_unlabelled_rows(free_design, free_spans),
        spans=spans,
        locked=locked,
        folds=_draw_folds(cohort, labelled, people, config),
        raters=_raters(labels, people, spans),
    )
    return roster, states


def load_labels(
    labels_dir: Path | None, cohort: Cohort, window: WindowConfig
) -> pl.DataFrame | None:
    """The teacher's labels of this cohort and window; None without any.

    Raises:
        LeadlineError: a label is of or from a locked person, or was made from other tables,
            another window or text that was masked otherwise.
    """
    if labels_dir is None:
        return None
    labels = read_labels(labels_dir)
    refuse_other_labels(labels_dir, cohort.manifest, window)
    refuse_locked_labels(labels, cohort.locked_ids)
    return labels


def permuted_gold(roster: Roster, share: float, seed: int) -> tuple[Roster, Ints, Array]:
    """The roster with the gold of a share of the open people permuted among themselves.

    Returns:
        The changed roster, the rows of these people, and the totals they were given.
    """
    random = np.random.default_rng([seed, 0xCA9A])
    able = np.flatnonzero(roster.has_gold & ~roster.locked)
    count = max(2, round(share * len(able)))
    chosen = np.sort(random.choice(able, size=min(count, len(able)), replace=False))
    permuted_totals = roster.gold.total[roster.last[chosen]][random.permutation(len(chosen))]
    total = roster.gold.total.copy()
    for row, value in zip(chosen, permuted_totals, strict=True):
        total[roster.gold.person == row] = value
    return replace(roster, gold=replace(roster.gold, total=total)), chosen, permuted_totals


def words_alone(people: list[Timeline], spans: list[Span]) -> Design:
    """What is known of readings before a reader is trained: how many words the person said."""
    words = {row: people[row].user_words() for row in {span.person for span in spans}}
    counts = [float(words[span.person][span.turns].sum()) for span in spans]
    return Design({}, {}, np.array(counts, dtype=np.float64))


def _unlabelled_rows(design: Design, spans: list[Span]) -> LabelledReadings:
    count = len(spans)
    return LabelledReadings(
        design=design,
        total=np.zeros(count),
        weight=np.ones(count),
        person=np.array([span.person for span in spans]),
        final=np.ones(count, dtype=bool),
        share=np.ones(count),
    )


def _draw_folds(
    cohort: Cohort, labelled: Labelled, people: list[Timeline], config: TrainConfig
) -> Ints:
    shut = cohort.locked_ids | cohort.copies_of_locked
    names = [p.person_id for p in people if p.person_id not in shut]
    open_readings = labelled.readings.filter(pl.col("person_id").is_in(names))
    groups = labelled.groups
    out = np.full((config.repeats, len(people)), -1)
    for repeat in range(config.repeats):
        seed = config.seed + repeat
        gold = folds_of_draw(cohort, open_readings, config.folds, seed)
        fold = {groups.get(name, name): number for name, number in gold.items()}
        free = sorted({groups.get(name, name) for name in names} - set(fold))
        free.sort(key=partial(random_place, seed))
        old_folds = read_folds(cohort.path, config.folds, seed)
        free_fold = {name: old_folds[name] for name in free if name in old_folds}
        deal_folds(free, config.folds, free_fold)
        fold |= free_fold
        by_name = {name: fold[groups.get(name, name)] for name in names}
        out[repeat] = [by_name.get(person.person_id, -1) for person in people]
    return out


def _raters(labels: pl.DataFrame | None, people: list[Timeline], spans: list[Span]) -> Raters:
    """Draws of each person's last reading; ratings of other readings are not used."""
    nobody: tuple[frozenset[int], ...] = (frozenset(),) * len(people)
    if labels is None or labels.is_empty():
        return Raters((), (), nobody)
    row = {person.person_id: number for number, person in enumerate(people)}
    where = {(people[s.person].person_id, s.first, s.last): s.person for s in spans}
    teacher = labels.filter(pl.col("source") == "teacher")
    example_rows = [set[int]() for _ in people]
    names, draws = [], []
    for (model,), ratings in sorted(teacher.group_by("model")):
        numbers = {draw: column for column, draw in enumerate(sorted(set(ratings["draw"])))}
        table = np.full((len(people), len(numbers)), np.nan)
        columns = ("person_id", "first", "last", "draw", "total", "ancestors")
        for person, first, last, draw, total, example_ids in ratings.select(columns).iter_rows():
            at = where.get((person, first, last))
            if at is not None:
                table[at, numbers[draw]] = total
                example_rows[at] |= {row[name] for name in example_ids if name in row}
        names.append(str(model))
        draws.append(table)
    return Raters(tuple(names), tuple(draws), tuple(map(frozenset, example_rows)))
