"""Whose words are shown to a teacher."""

from __future__ import annotations

import polars as pl
import pytest
from tests.support.teacher_cohort import config, make_cohort, texts

from leadline.cohort.config import WindowConfig
from leadline.cohort.store import read_cohort
from leadline.errors import LeadlineError
from leadline.teacher.label import label_cohort
from leadline.teacher.label_table import read_labels, refuse_locked_labels
from leadline.teacher.selection import gold_examples, spread_people


def test_locked_people_are_refused_as_examples(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(5), locked=1)
    with pytest.raises(LeadlineError, match="locked test people"):
        gold_examples(read_cohort(cohort), WindowConfig(), ["user-0004-quokka"])


def test_an_example_is_an_ancestor_and_never_shown_for_its_own_person(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(6), locked=0)
    people = ["user-0000-quokka", "user-0002-quokka"]
    examples = gold_examples(read_cohort(cohort), WindowConfig(), people)
    label_cohort(cohort, tmp_path / "l", config(server, "openai", draws=1), examples=examples)
    labels = read_labels(tmp_path / "l")
    kin = dict(labels.select("person_id", "ancestors").iter_rows())
    assert kin["user-0001-quokka"] == people
    assert kin["user-0000-quokka"] == ["user-0002-quokka"]
    refuse_locked_labels(labels, frozenset())
    with pytest.raises(LeadlineError, match="descend"):
        refuse_locked_labels(labels, frozenset({"user-0002-quokka"}))
    own = labels.with_columns(ancestors=pl.concat_list("person_id"))
    with pytest.raises(LeadlineError, match="their own person"):
        refuse_locked_labels(own, frozenset())


def test_asked_for_by_number_examples_are_spread_over_the_severities(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(11), locked=1)  # totals 0, 2, 4, 6, 8; 10 is locked
    people = spread_people(read_cohort(cohort), WindowConfig(), 3)
    assert people == ["user-0000-quokka", "user-0004-quokka", "user-0008-quokka"]
    label_cohort(cohort, tmp_path / "l", config(server, "openai", draws=1, examples=3))
    ancestors = dict(read_labels(tmp_path / "l").select("person_id", "ancestors").iter_rows())
    assert ancestors["user-0001-quokka"] == people
    assert ancestors["user-0004-quokka"] == ["user-0000-quokka", "user-0008-quokka"]
    with pytest.raises(LeadlineError, match="5 people have a PHQ-9") as error:
        spread_people(read_cohort(cohort), WindowConfig(), 6)
    assert "--examples 5" in error.value.remedy


def test_nobody_is_an_example_who_is_there_under_another_id(tmp_path):
    spoken = [" ".join(f"{text} {i} {n}" for n in range(6)) for i, text in enumerate(texts(10))]
    spoken[5] = spoken[4]  # an unlabelled person has the words of a labelled one
    cohort = read_cohort(make_cohort(tmp_path / "c", spoken, locked=0))
    assert set(cohort.copy_groups) == {"user-0004-quokka", "user-0005-quokka"}
    people = spread_people(cohort, WindowConfig(), 4)
    assert "user-0004-quokka" not in people
    assert len(people) == 4
