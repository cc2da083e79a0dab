"""Completions as servers of this protocol send them."""

from __future__ import annotations

import pytest
from tests.support.teacher_cohort import config, make_cohort, texts

from leadline.errors import LeadlineError, missing_package
from leadline.teacher.label import label_cohort
from leadline.teacher.openai_client import read_completion


def test_completions_of_sparse_servers_are_read():
    bare = {"choices": [{"message": {"content": "{}"}}]}
    assert read_completion(bare).state == "done"
    assert read_completion(bare).input_tokens is None
    assert read_completion({"choices": []}).state == "failed"
    blocked = {"choices": [{"message": {}, "finish_reason": "content_filter"}]}
    assert read_completion(blocked).state == "refused"
    assert "teacher" in missing_package("openai", "teacher", "x").remedy


@pytest.mark.parametrize("ending", ["expired", "cancelled"])
def test_openai_batch_that_ended_early_gives_what_it_has(tmp_path, server, ending):
    cohort = make_cohort(tmp_path / "c", ["a EXPIRED", *texts(5)], locked=0)
    server.endings = [ending]
    report = label_cohort(cohort, tmp_path / "l", config(server, "openai", batch=True, draws=1))
    assert report["states"]["done"] == 6
    assert [len(batch["requests"]) for batch in server.batches.values()] == [6, 1]


def test_openai_batch_that_was_refused_whole_says_why_and_makes_no_label(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(4), locked=0)
    server.endings = ["failed"] * 20
    with pytest.raises(LeadlineError, match="invalid_request"):
        label_cohort(cohort, tmp_path / "l", config(server, "openai", batch=True, draws=1))
    assert not (tmp_path / "l" / "manifest.json").exists()
    assert len(server.batches) <= 4  # it does not go on creating batches


def test_openai_batch_created_behind_a_broken_connection_is_found_again(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(6), locked=0)
    server.faults = ["", "create-drop"]  # the first POST is the upload
    report = label_cohort(cohort, tmp_path / "l", config(server, "openai", batch=True))
    assert report["states"]["done"] == 12
    assert len(server.batches) == 1
