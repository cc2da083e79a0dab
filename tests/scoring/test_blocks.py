"""People by the rows of a cohort on disk."""

import numpy as np
import pytest
from tests.support.cohorts import cohort_of, turn_rows

from leadline.cohort.timeline import timelines
from leadline.errors import LeadlineError
from leadline.scoring import blocks
from leadline.scoring.blocks import index_cohort, read_people


@pytest.mark.parametrize("rows", [1, 7, 10_000])
def test_the_roll_says_where_everyone_is(simulated, simulated_path, monkeypatch, rows):
    monkeypatch.setattr(blocks, "READ_ROWS", rows)
    disk, memory = index_cohort(simulated_path), index_cohort(simulated)
    assert np.array_equal(disk.starts, memory.starts)
    expected = list(timelines(simulated))
    assert len(disk) == len(expected)
    for turns in (simulated_path, simulated.turns):
        found = [p for block in disk.blocks(8) for p in read_people(turns, block)]
        for one, other in zip(found, expected, strict=True):
            assert one.person_id == other.person_id
            assert one.messages == other.messages
            assert np.array_equal(one.times, other.times, equal_nan=True)
    assert {s.rows for s in disk.blocks(1)} == set(np.diff(disk.starts).tolist())


def test_people_whose_turns_lie_apart_are_refused():
    ann, ben = turn_rows("ann", [("user", 0)]), turn_rows("ben", [("user", 1)])
    assert len(index_cohort(cohort_of(ann + ben, []))) == 2
    with pytest.raises(LeadlineError, match="do not lie together"):
        index_cohort(cohort_of(ann + ben + ann, []))
