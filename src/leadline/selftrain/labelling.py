"""Labels of people without gold from what teachers and students said of them.

What a label rests on is put together in one place, for students on frozen states (`chain`) and
for adapted ones (`adapted`): which ratings may be looked at, what the label model believes, and
how a student that is told nothing but a teacher's word is labelled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leadline.arrays import Array, Bools, Ints
from leadline.phq9.items import BANDS
from leadline.selftrain.plan import POSTERIOR
from leadline.selftrain.roster import Roster
from leadline.selftrain.widening import EDGES
from leadline.teacher.label_model import STUDENT, LabelModel, Observations, posterior

LEAST_WEIGHT = 0.01
"""Pseudolabels that count less are left out."""


@dataclass(frozen=True)
class Labels:
    """Labels of N people.

    Attributes:
        mean, sd: points, shape (N,); NaN where nothing is known.
        weight: precision relative to that of a gold label, at most 1, shape (N,).
    """

    mean: Array
    sd: Array
    weight: Array

    def kept(self) -> Bools:
        """Who has a label that counts, shape (N,)."""
        return np.isfinite(self.mean) & (self.weight >= LEAST_WEIGHT)


def observe(
    roster: Roster, rows: Ints, student: Array, *, gold: Bools, barred: Bools
) -> Observations:
    """What the label model sees of the people at `rows`.

    Args:
        roster: everyone, N people.
        rows: of the people in question.
        student: a student's estimate of everyone, NaN where there is none, shape (N,).
        gold: whose gold may be looked at, shape (N,).
        barred: people of whom nothing may come in, not even as examples that a teacher was
            shown, shape (N,).
    """
    draws = [table[rows] for table in roster.raters.without(frozenset(np.flatnonzero(barred)))]
    totals = np.full(len(roster.ids), np.nan)
    totals[gold] = roster.gold.total[roster.last[gold]]
    names = (*roster.raters.names, STUDENT)
    return Observations(totals[rows], (*draws, student[rows].reshape(-1, 1)), names)


def raw_labels(observed: Observations) -> Labels:
    """The mean of the teachers' totals, taken as if it were gold."""
    totals = np.array(observed.means[:, :-1])
    rated = np.isfinite(totals)
    mean = np.full(len(totals), np.nan)
    has = rated.any(axis=1)
    mean[has] = np.nanmean(totals[has], axis=1)
    return Labels(mean, np.zeros(len(totals)), np.ones(len(totals)))


def believed_labels(kind: str, model: LabelModel, observed: Observations) -> Labels:
    """What a label model believes of people without gold: with the student, or of teachers alone.

    Args:
        kind: ``posterior``, or ``teacher`` for the teachers' totals with bias and slope removed.
        model: fitted on others.
        observed: the people, the student last.
    """
    if kind == POSTERIOR:
        labels = posterior(model, observed, group="unlabelled")
        return Labels(labels.mean, labels.sd, labels.weight)
    *draws, student = observed.draws
    blank = np.full_like(student, np.nan)
    alone = Observations(observed.gold, (*draws, blank), observed.names)
    unrated = tuple(np.full_like(table, np.nan) for table in draws)
    text = Observations(observed.gold, (*unrated, student), observed.names)
    labels = posterior(model, alone, group="unlabelled")
    text_variance = posterior(model, text, group="unlabelled").sd ** 2
    # Noise of a gold total about what the text says, over that of the teacher's total.
    weight = (text_variance + model.gold_sd**2) / (text_variance + labels.unbiased_sd**2)
    return Labels(labels.unbiased, labels.unbiased_sd, np.minimum(1.0, np.nan_to_num(weight)))


def evenness(mean: Array, gold: Array, groups: int) -> Array:
    """Share of each label that its band needs to hold as many as the fullest, shape (N,).

    Args:
        mean: of the labels, shape (N,).
        gold: totals that are trained on as well.
        groups: how many groups of labels like this one enter the same training.
    """
    have = np.bincount(np.digitize(gold, EDGES), minlength=len(BANDS))
    band = np.digitize(mean, EDGES)
    here = np.bincount(band, minlength=len(BANDS)) * groups
    share = np.minimum(1.0, (have.max() - have) / np.maximum(here, 1))
    return np.asarray(np.maximum(share, LEAST_WEIGHT)[band], dtype=np.float64)
