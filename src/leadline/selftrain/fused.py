"""Predictions of teacher and student together, and of the teacher alone, for the ablation.

What a fused estimate adds must be held against what the teacher says by itself: so both are
made by the same label models, with the same prior, and both have conformal intervals of their
own. Where no teacher rated a reading, both rows have the student's estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from leadline.arrays import Array, Bools
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import Cohort
from leadline.heads.calibration import WIDTH_LEVELS, central_ranks
from leadline.phq9.distribution import Totals
from leadline.runs.labelled import Labelled
from leadline.runs.predictions import prediction_table
from leadline.selftrain.fusion import (
    FUSION_FILE,
    Fusion,
    LeftOut,
    Models,
    draws_of,
    fused_widths,
    load_fusion,
)
from leadline.selftrain.roster import Roster
from leadline.tables import DELIVERED
from leadline.teacher.simulated_client import simulated_draws

FUSED, TEACHER_ALONE = "fused", "teacher alone, recalibrated"


@dataclass(frozen=True)
class _Part:
    """Rows of predictions of the student of one repeat, or of locked people, with draws."""

    rows: pl.DataFrame
    left_out: list[LeftOut]
    draws: tuple[Array, ...]

    @property
    def rated(self) -> Bools:
        """Which rows a teacher rated."""
        return np.asarray(np.any([np.isfinite(table).any(axis=1) for table in self.draws], axis=0))

    def totals(self, fusion: Fusion, *, alone: bool) -> Totals:
        """Distributions of the rows: those of the student where no teacher rated."""
        at = np.flatnonzero(self.rated)
        totals = Totals.of_rows(self.rows["distribution"])
        if not len(at):
            return totals
        student = self.rows["mean"].to_numpy()[at]
        if alone:
            student = np.full_like(student, np.nan)
        left_out = [self.left_out[int(row)] for row in at]
        return totals.put(at, fusion.totals(left_out, student, [t[at] for t in self.draws]))


def fused_predictions(
    models: Models, roster: Roster, student: pl.DataFrame
) -> tuple[dict[str, Fusion], pl.DataFrame]:
    """What the run keeps for scoring with a teacher, and the predictions of this and of less.

    Args:
        models: label models of teachers and student by (repeat, fold).
        roster: everyone, with the teachers' draws.
        student: predictions of the run's ensemble for people who train, table of `PREDICTIONS`.

    Returns:
        The fusions by name, and predictions of the models `FUSED` and `TEACHER_ALONE`.
    """
    parts = _open_parts(roster, student)
    tables, fusions = [], {}
    for name in (TEACHER_ALONE, FUSED):
        nominal = Fusion(models, dict.fromkeys(models, WIDTH_LEVELS))
        alone = name == TEACHER_ALONE
        ranks: dict[tuple[int, int], Array] = {}
        for repeat, part in parts.items():
            totals = part.totals(nominal, alone=alone)
            rank = central_ranks(totals, part.rows["total"].to_numpy())
            for fold in {fold for r, fold in models if r == repeat}:
                ranks[repeat, fold] = rank[part.rated & (part.rows["fold"] == fold).to_numpy()]
        fusions[name] = Fusion(models, fused_widths(models, ranks))
        for part in parts.values():
            tables.append(_table(name, roster.labelled, part, fusions[name]))
    return fusions, pl.concat(tables)


def fused_locked(
    run: Path, cohort: Cohort, labelled: Labelled, window: WindowConfig, base: pl.DataFrame
) -> pl.DataFrame | None:
    """Predictions of the locked people with a teacher; None where nobody rated them.

    A locked person has draws only in a simulated cohort, whose teacher answers when it is asked
    here, after all training is over.

    Args:
        run: a finished run of `leadline selftrain`, or another one, which fuses nothing.
        cohort: that it was trained on.
        labelled: its labelled people.
        window: which text counts.
        base: the run's own predictions of the locked people.
    """
    if not ((run / FUSION_FILE).is_file() and cohort.simulated):
        return None
    fusions = {TEACHER_ALONE: load_fusion(run, alone=True), FUSED: load_fusion(run)}
    teachers = fusions[FUSED].teachers
    if len(teachers) != 1:
        return None
    answers = simulated_draws(cohort, window, teachers[0])
    last = dict(labelled.readings.select("label", "last").iter_rows())
    labels = base.select("person_id", "label").iter_rows()
    draws = draws_of(answers, teachers, [(person, last[label]) for person, label in labels])
    part = _Part(base, [None] * base.height, draws)
    return pl.concat([_table(name, labelled, part, fusion) for name, fusion in fusions.items()])


def _open_parts(roster: Roster, student: pl.DataFrame) -> dict[int, _Part]:
    """The out-of-fold rows of each repeat."""
    parts = {}
    for repeat in sorted(set(student["repeat"])):
        rows = student.filter(pl.col("repeat") == repeat)
        left_out: list[LeftOut] = [{repeat: int(fold)} for fold in rows["fold"]]
        parts[repeat] = _Part(rows, left_out, _own_draws(roster, rows))
    return parts


def _own_draws(roster: Roster, rows: pl.DataFrame) -> tuple[Array, ...]:
    """Draws of each row, NaN where another reading of the person was rated."""
    number = {name: row for row, name in enumerate(roster.ids)}
    last = _last_turns(roster)
    people = np.array([number[name] for name in rows["person_id"]])
    same = np.array(
        [
            roster.spans[person].last == last[label]
            for person, label in zip(people, rows["label"], strict=True)
        ]
    )
    return tuple(np.where(same[:, None], table[people], np.nan) for table in roster.raters.draws)


def _last_turns(roster: Roster) -> Mapping[int, int]:
    """Label -> the user turn with which its reading ends."""
    return dict(roster.labelled.readings.select("label", "last").iter_rows())


def _table(name: str, labelled: Labelled, part: _Part, fusion: Fusion) -> pl.DataFrame:
    """The rows of a part as predictions of the model `name`.

    Rows that no teacher rated keep the interval of the student.
    """
    totals = part.totals(fusion, alone=name == TEACHER_ALONE)
    order = {label: row for row, label in enumerate(labelled.readings["label"])}
    at = np.array([order[label] for label in part.rows["label"]])
    repeat, folds = int(part.rows["repeat"][0]), part.rows["fold"].to_list()
    width = fusion.width(part.left_out)
    table = prediction_table(name, labelled, at, repeat, folds, totals.mean(), totals, width)
    rated = pl.Series(part.rated)
    ends = [pl.when(rated).then(pl.col(x)).otherwise(part.rows[x]).alias(x) for x in DELIVERED]
    return table.with_columns(ends)
