"""Predictions that a run got after training, and what is said of them."""

import json

import pytest
from tests.support.cohorts import files_of as files_in
from tests.support.evaluated import make_run
from tests.support.predictions import predictions

from leadline.artefact import files_of, read_manifest, write_json
from leadline.errors import LeadlineError, LeadlineWarning
from leadline.evaluate.further import (
    FURTHER,
    LOCKED,
    PROSPECTIVE,
    openings_text,
    prospective_text,
    read_further,
    set_title,
    short_title,
    update_facts,
    write_further,
)
from leadline.evaluate.sample import SPLITS, split_samples


def opening(run, model, when="2026-03-01T10:00:00+00:00"):
    return {"when": when, "run": run, "model": model}


def facts(openings, dropped=0, earlier=0):
    return {"openings": openings, "dropped_before": dropped, "earlier_openings": earlier}


def test_one_opening_is_said_plainly():
    text = openings_text(facts([opening("run", "0123456789abcdef")]))
    assert text == ("This locked test has been opened once, by run (01234567), last on 2026-03-01.")


def test_several_openings_name_the_runs_and_what_that_means():
    text = openings_text(
        facts([opening("a", "1" * 16), opening("b", "2" * 16), opening("b", "2" * 16)], 1, 4)
    )
    assert "opened 3 times, by a (11111111), b (22222222, 2 times)" in text
    assert "used it up" in text
    assert "1 locked test of this cohort was dropped before it" in text
    assert "Earlier ones were opened 4 times" in text


def test_two_runs_of_one_name_are_told_apart():
    text = openings_text(facts([opening("run", "1" * 16), opening("run", "2" * 16)]))
    assert "run (11111111), run (22222222)" in text


def test_the_prospective_set_says_whom_it_holds_and_what_it_leaves_out():
    known = {
        "after": "2026-01-01T00:00:00", "until": "2026-02-01T00:00:00", "known_people": 20,
        "new_people": 5, "not_later": 3, "undated": 0, "locked": 2,
    }  # fmt: skip
    text = prospective_text(known)
    assert "after 2026-01-01" in text
    assert "20 people who were trained on" in text
    assert text.endswith("Left out: 3 of new people that are not later, 2 of locked test people.")
    assert "Left out" not in prospective_text(known | {"not_later": 0, "locked": 0})


def test_every_split_has_its_names():
    assert len({set_title(split) for split in SPLITS}) == len(SPLITS)
    assert len({short_title(split) for split in SPLITS}) == len(SPLITS)


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run", predictions(12))


def test_predictions_are_kept_with_their_hash_and_facts(run):
    assert read_further(run) == {}
    for split in (LOCKED, PROSPECTIVE):
        write_further(run, split, predictions(12, split=split), {"split": split})
    write_further(run, LOCKED, predictions(15, split=LOCKED), {"split": LOCKED})
    update_facts(run, PROSPECTIVE, {"more": 1})
    kept = read_further(run)
    assert {split: entry[0]["person_id"].n_unique() for split, entry in kept.items()} == {
        LOCKED: 15, PROSPECTIVE: 12,
    }  # fmt: skip
    assert kept[LOCKED][1] == {"split": LOCKED}
    assert kept[PROSPECTIVE][1] == {"more": 1}
    assert set(files_of(read_manifest(run, "run"))) >= {
        "further.json", "predictions-locked.parquet", "predictions-prospective.parquet"
    }  # fmt: skip
    predictions(12).write_parquet(run / "predictions-locked.parquet")
    with pytest.raises(LeadlineError, match="not those that were written"):
        read_further(run)


def test_what_is_said_of_an_opened_test_is_bound_to_the_run(run):
    write_further(run, LOCKED, predictions(12, split=LOCKED), {"openings": 2})
    content = json.loads((run / FURTHER).read_text())
    content[LOCKED]["facts"] = {"openings": 0}
    write_json(run / FURTHER, content)
    for read in (
        lambda: read_further(run),
        lambda: update_facts(run, LOCKED, {"openings": 1}),
        lambda: write_further(run, PROSPECTIVE, predictions(12, split=PROSPECTIVE), {}),
    ):
        with pytest.raises(LeadlineError, match="not the one that was written") as caught:
            read()
        assert "--open-locked-test" in caught.value.remedy
    (run / FURTHER).unlink()  # as the remedy says
    with pytest.raises(LeadlineError, match="cannot be read"):
        read_further(run)
    write_further(run, LOCKED, predictions(12, split=LOCKED), {"openings": 3})
    assert read_further(run)[LOCKED][1] == {"openings": 3}


def test_further_predictions_of_before_are_read_with_a_warning(run):
    write_further(run, LOCKED, predictions(12, split=LOCKED), {"openings": 2})
    manifest = read_manifest(run, "run")
    del manifest["files"][FURTHER]
    write_json(run / "manifest.json", manifest)
    with pytest.warns(LeadlineWarning, match="has no hash of further.json"):
        assert read_further(run)[LOCKED][1] == {"openings": 2}


def test_facts_of_what_was_never_predicted_are_not_kept(run):
    before = files_in(run)
    update_facts(run, LOCKED, {"a": 1})
    assert files_in(run) == before


def later_labels_of(table):
    """Later labels of the people of `table`, which have the same numbers in their own cohort."""
    later = predictions(40, split=PROSPECTIVE, seed=1)
    return later.with_columns(table["person_id"])


def test_later_labels_of_people_who_were_trained_on_are_a_set_of_their_own():
    table = predictions(40)
    both = table.vstack(later_labels_of(table))
    assert [(s.split, s.people) for s in split_samples(both)] == [
        (PROSPECTIVE, 40), ("out-of-fold", 40),
    ]  # fmt: skip
    with pytest.raises(LeadlineError, match="occurs twice"):
        split_samples(both.vstack(later_labels_of(table)))


def test_a_locked_person_has_no_later_labels():
    table = predictions(40, split=LOCKED)
    with pytest.raises(LeadlineError, match="both in the locked test and in the training"):
        split_samples(table.vstack(later_labels_of(table)))
