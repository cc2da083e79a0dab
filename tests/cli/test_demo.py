"""The demo: which people it makes, that a few suffice, and that it can be run again."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.adapted_rounds import stand_in
from tests.support.number_models import NumberTrainer

from leadline.artefact import write_manifest
from leadline.cli import demo
from leadline.cli.demo import FOLDS, ROUNDS, SMALLEST, _drop_labels, demo_settings, run_demo
from leadline.errors import LeadlineError
from leadline.readers.fetch import is_fetched
from leadline.selftrain.selftrain import possible_rounds
from leadline.teacher.label_model import MIN_LABELLED


@pytest.mark.parametrize(("people", "rounds"), [(160, 1), (500, ROUNDS), (2000, ROUNDS)])
def test_the_demo_has_gold_for_its_rounds_and_people_to_label(people, rounds) -> None:
    made = demo_settings(people, 0)
    assert possible_rounds(made.gold, FOLDS, ROUNDS)[0] == rounds
    assert made.people - made.gold - made.locked >= 0.2 * people


def test_the_smallest_demo_leaves_somebody_to_label() -> None:
    made = demo_settings(SMALLEST, 0)
    assert made.people > made.gold + made.locked
    with pytest.raises(LeadlineError, match="--people is 79"):
        demo_settings(SMALLEST - 1, 0)


def test_only_labels_are_removed_before_they_are_made_again(tmp_path) -> None:
    for name, kind in (("labels", "labels"), ("other", "run")):
        (tmp_path / name).mkdir()
        write_manifest(tmp_path / name, kind=kind, command="t", settings={}, inputs={}, files={})
    _drop_labels(tmp_path / "labels")
    assert not (tmp_path / "labels").exists()
    with pytest.raises(LeadlineError):
        _drop_labels(tmp_path / "other")
    assert (tmp_path / "other").is_dir()
    _drop_labels(tmp_path / "absent")


def lengths(messages, readings):
    """What the stand-in knows of a reading: how long its turns are, (readings, 2)."""
    said = [len(message.text) for message in messages if message.role == "user"]
    turns = [said[reading.first : reading.last + 1] for reading in readings]
    return np.array([[np.mean(part) / 100, len(part) / 10] for part in turns])


def test_the_demo_of_an_adapted_reader_goes_through_the_papers_scheme(tmp_path, monkeypatch):
    stand_in(monkeypatch, NumberTrainer())
    monkeypatch.setattr("tests.support.number_models.states_of", lengths)
    fetched: list[str] = []
    monkeypatch.setattr(demo, "fetch_reader", lambda name, **_: fetched.append(name))
    kind = demo.KINDS["lora"]
    quick = replace(kind, train=replace(kind.train, baselines=False))
    monkeypatch.setitem(demo.KINDS, "lora", quick)
    said: list[str] = []
    results = run_demo(tmp_path / "demo", adapt="lora", say=said.append)
    assert fetched == ["smollm2"]
    assert "Scheme paper" in said
    assert results["run"]["training"]["scheme"] == "paper"
    assert [part["split"] for part in results["sets"]] == ["locked", "out-of-fold"]
    assert results["sets"][0]["people"] == 66
    rows = {row["model"] for row in results["selftraining"]["rows"]}
    assert {"gold only", "raw teacher", "round 1", "true labels", "fused"} <= rows


def test_the_development_set_of_that_demo_can_measure_a_label_model():
    kind = demo.KINDS["lora"]
    made = demo_settings(kind.people, 0, "lora")
    assert made.gold / kind.train.folds >= MIN_LABELLED
    assert made.people - made.gold - made.locked >= 100
    with pytest.raises(LeadlineError, match="--people is 200"):
        demo_settings(200, 0, "lora")


@pytest.mark.slow
def test_the_demo_of_an_adapted_reader_takes_minutes(tmp_path) -> None:
    if not is_fetched("smollm2"):
        pytest.skip("the reader smollm2 is not fetched: leadline reader fetch smollm2")
    start = time.process_time()
    results = run_demo(tmp_path / "demo", adapt="lora", say=lambda _: None)
    assert time.process_time() - start < 15 * 60  # of one core, where two are promised
    assert {"gold only", "round 1", "fused"} <= {
        row["model"] for row in results["selftraining"]["rows"]
    }
    assert results["simulated"]


@pytest.mark.slow
def test_the_demo_ends_with_the_report_of_a_selftraining_run(tmp_path) -> None:
    if not is_fetched("minilm"):
        pytest.skip("the reader minilm is not fetched: leadline reader fetch minilm")
    said: list[str] = []
    for _ in range(2):  # the second time over the first
        results = run_demo(tmp_path / "demo", people=160, say=said.append)
    assert sum("Opening the locked test" in line for line in said) == 2
    assert [part["split"] for part in results["sets"]] == ["locked", "out-of-fold"]
    assert "opened 2 times" in results["further"]["locked"]["text"]
    rows = [row["model"] for row in results["selftraining"]["rows"]]
    assert rows[0] == "gold only"
    assert {"raw teacher", "round 1", "leadline", "fused"} <= set(rows)
    page = Path(tmp_path / "demo" / "run" / "report.html").read_text(encoding="utf-8")
    assert "Rounds and pseudolabels" in page
