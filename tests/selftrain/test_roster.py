"""Who takes part, and whose labels are used."""

from __future__ import annotations

import pytest
from tests.support.people import NumberSource, make_cohort, make_labels
from tests.support.rounds import TRAIN, go

from leadline.cohort.config import WindowConfig
from leadline.cohort.store import read_cohort
from leadline.errors import LeadlineError
from leadline.selftrain.roster import open_roster
from leadline.teacher.selection import cohort_readings


def test_labels_of_locked_people_are_refused(data, tmp_path):
    _, _, truth, _ = data
    make_labels(tmp_path / "labels", truth, set())
    with pytest.raises(LeadlineError, match="locked test people"):
        go(data, tmp_path / "run", labels=tmp_path / "labels")


def test_few_shot_examples_blank_the_labels_of_chains_that_must_not_see_them(data, tmp_path):
    """With one example person every fold's chain but that person's keeps its labels."""
    _, _, truth, locked = data
    make_labels(tmp_path / "labels", truth, set(locked), ancestors=("p0000",))
    with pytest.raises(LeadlineError, match="labelled people were rated by: oracle"):
        go(data, tmp_path / "run", labels=tmp_path / "labels", ablation=False, canary=0.0)


def test_a_cohort_without_anyone_to_label_is_refused(tmp_path):
    make_cohort(tmp_path / "cohort", gold=60, unlabelled=0, locked=10)
    cohort = read_cohort(tmp_path / "cohort")
    with pytest.raises(LeadlineError, match="nobody to pseudolabel"):
        go((tmp_path, cohort), tmp_path / "run", labels=None)


def test_a_teacher_rates_the_readings_whose_ratings_a_student_takes(data):
    _, cohort, *_ = data
    window = WindowConfig()
    roster, _ = open_roster(cohort, None, NumberSource(), TRAIN, window)
    taken = [
        (roster.ids[span.person], span.first, span.last)
        for span, open_ in zip(roster.spans, ~roster.locked, strict=True)
        if open_
    ]
    for who, has_gold in (("unlabelled", False), ("labelled", True), ("all", None)):
        rated = {(r.person_id, r.first, r.last) for r in cohort_readings(cohort, window, who)}
        ids = {name for name, gold in zip(roster.ids, roster.has_gold, strict=True)
               if has_gold in (None, gold)}  # fmt: skip
        assert rated == {key for key in taken if key[0] in ids}
        assert rated
