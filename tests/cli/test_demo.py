"""The demo: which people it makes, that a few suffice, and that it can be run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from leadline.artefact import write_manifest
from leadline.cli.demo import FOLDS, ROUNDS, SMALLEST, _drop_labels, demo_settings, run_demo
from leadline.errors import LeadlineError
from leadline.readers.fetch import is_fetched
from leadline.selftrain.selftrain import possible_rounds


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
