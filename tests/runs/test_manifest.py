import json
from dataclasses import replace

import polars as pl
import pytest
from tests.support.cohorts import cohort_of, day, label_row, scored_people, turn_rows

from leadline.artefact import read_manifest, sha256
from leadline.runs.config import TrainConfig
from leadline.runs.description import RUN_FILES
from leadline.runs.manifest import model_facts, write_run_manifest

SETTINGS = {"train": {"seed": 3}, "window": {"days": 14.0}, "inputs": {"turns.parquet": "ab"}}


@pytest.fixture
def run(tmp_path):
    for name in (*RUN_FILES, "more.parquet"):
        file = tmp_path / "run" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    return tmp_path / "run"


def write(run, *files, **more):
    cohort = scored_people([1.0, 2.0])
    training = {"people trained on": "2"}
    return write_run_manifest(run, cohort, SETTINGS, training, files, command="train", **more)


def test_a_manifest_of_a_run_names_what_it_was_made_of_and_every_file(run):
    written = write(run, "more.parquet", reference_model="leadline")
    assert read_manifest(run, "run") == written == json.loads((run / "manifest.json").read_text())
    assert written["files"] == {name: sha256(run / name) for name in (*RUN_FILES, "more.parquet")}
    assert (written["settings"], written["inputs"]) == (SETTINGS, SETTINGS["inputs"])
    assert written["training"] == {"people trained on": "2"}
    assert (written["command"], written["reference_model"]) == ("train", "leadline")
    assert written["limit"] is None


@pytest.mark.parametrize(("undated", "fate"), [(False, "left out"), (True, "taken as said before")])
def test_the_report_counts_what_cannot_be_placed_in_time(run, undated, fate):
    said = [("user", 0), ("user", None), ("assistant", None)]
    cohort = cohort_of(turn_rows("p", said), [label_row("p", 2, 9), label_row("p", None, 9)])
    settings = {**SETTINGS, "window": {"days": 14.0, "undated": undated}}
    written = write_run_manifest(run, cohort, settings, {"reader": "minilm"}, command="train")
    facts = written["training"]
    assert facts["reader"] == "minilm"
    assert facts["without a time beside dated ones"].startswith(f"2 turns and 1 PHQ-9s, {fate}")


def test_the_report_says_when_a_test_locked_by_time_begins(run):
    cohort = cohort_of(
        turn_rows("a", [("user", 0)]) + turn_rows("b", [("user", 9)]),
        [label_row("a", 1, 9), label_row("a", 30, 9), label_row("b", 10, 9)], locked=("b",),
    )  # fmt: skip
    cohort = replace(cohort, manifest={"locked_test": {"cutoff": day(10).isoformat()}})
    facts = write_run_manifest(run, cohort, SETTINGS, {}, command="train")["training"]
    assert facts == {
        "locked test begins":
        "2025-03-11 12:00 UTC; 1 PHQ-9s of other people from then on are not used"
    }  # fmt: skip


def test_the_report_says_that_a_reader_was_not_made_for_the_language(run):
    cohort = cohort_of(turn_rows("p", [("user", 0), ("user", 1)]), [label_row("p", 2, 9)])
    german = pl.lit("Ich konnte wieder nicht schlafen und mir war das alles zu viel.")
    cohort = replace(cohort, turns=cohort.turns.with_columns(text=german))
    training = {"reader": "minilm"}
    facts = write_run_manifest(run, cohort, SETTINGS, training, command="train")["training"]
    assert facts["languages"] == "German (1 people)"
    assert facts["to know of them"].startswith("minilm was made for English; here is German")
    other = write_run_manifest(run, cohort, SETTINGS, {"reader": "x"}, command="train")["training"]
    assert "to know of them" not in other


def test_the_manifest_says_whether_people_are_simulated_and_their_limit(run):
    cohort = scored_people([1.0, 2.0])
    for manifest in ({"simulated": True, "limit": {"r": 0.9}}, {}):
        cohort.manifest.clear()
        cohort.manifest.update(manifest)
        written = write_run_manifest(run, cohort, SETTINGS, {}, command="selftrain")
        assert written["simulated"] is bool(manifest)
        assert written["limit"] == manifest.get("limit")


@pytest.mark.parametrize("name", [*RUN_FILES, "more.parquet"])
def test_a_run_that_lacks_a_file_is_not_completed(run, name):
    (run / name).unlink()
    with pytest.raises(FileNotFoundError):
        write(run, "more.parquet")
    assert not (run / "manifest.json").exists()


def test_the_facts_count_one_model_for_each_fold_and_repeat():
    facts = model_facts(TrainConfig(reader="minilm", folds=4, repeats=3, seed=7))
    assert facts == {
        "reader": "minilm",
        "adaptation": "frozen",
        "models in the ensemble": "12",
        "folds": "4 by person, 3 draw(s), seed 7",
    }
