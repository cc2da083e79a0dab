"""Batches of Anthropic's protocol."""

from __future__ import annotations

from collections import Counter

from tests.support.teacher_cohort import config, make_cohort, texts

from leadline.teacher.label import label_cohort


def test_batch_created_behind_a_broken_connection_is_found_again(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(6), locked=0)
    server.faults = ["create-drop"]
    report = label_cohort(cohort, tmp_path / "l", config(server, "anthropic", batch=True))
    assert report["states"]["done"] == 12
    assert len(server.batches) == 1
    assert max(Counter(server.asked).values()) == 2  # the two draws, once each
