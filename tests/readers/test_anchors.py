"""Statements of each symptom, and the directions that they give."""

import numpy as np

from leadline.readers.anchors import anchor_names, anchor_statements


def test_each_direction_has_statements_of_both_kinds_for_each_item():
    _, anchors = anchor_statements()
    for name in anchor_names():
        kinds = {anchor.present for anchor in anchors if anchor.direction == name}
        assert kinds == {True, False}, name
    assert len(anchor_names()) == len(set(anchor_names()))
    assert all(anchor.statement.strip() and anchor.question.strip() for anchor in anchors)


def test_a_direction_points_from_absence_to_presence():
    """On a reader whose states are told apart by the statements themselves."""
    from leadline.readers import anchors

    class Told:
        contextual, width, identity = False, 1, "x"

        def states(self, talks, progress=None):
            present = {a.statement for a in anchor_statements()[1] if a.present}
            return [np.array([[float(t[-1].text in present)]], np.float32) for t in talks]

    np.testing.assert_array_equal(
        anchors.anchor_directions(Told()), np.ones((len(anchor_names()), 1))
    )
