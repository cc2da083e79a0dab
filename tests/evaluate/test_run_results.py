"""A run on disk: results.json and report.html from its artefacts, and what is refused."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.support.predictions import predictions, running_estimates

from leadline import NOTICE, SIMULATED_NOTICE
from leadline.artefact import write_manifest
from leadline.cohort.limit import LIMIT_FILE, LIMIT_LABELS
from leadline.cohort.store import write_cohort
from leadline.errors import LeadlineError
from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.report import bracket, number, plain
from leadline.evaluate.run_results import evaluate_run, report_run
from leadline.tables import PEOPLE, PHQ9, TURNS

QUICK = EvaluateConfig(resamples=200, curve_resamples=100)
VOID = {"meta", "link", "br", "img", "hr", "use", "path"}


def make_run(path: Path, table: pl.DataFrame, **more: Any) -> Path:
    path.mkdir()
    table.write_parquet(path / "predictions.parquet")
    people = table["person_id"].unique().sort().to_list()
    running_estimates(people).write_parquet(path / "estimates.parquet")
    write_manifest(
        path, kind="run", command="leadline train C", settings={"seed": 0}, inputs={}, **more
    )
    return path


def make_cohort(path: Path, table: pl.DataFrame, **more: Any) -> Path:
    labels = table.unique("label").sort("label")
    phq9 = labels.select(
        "person_id",
        "time",
        "total",
        pl.col("total").alias("raw_total"),
        *(pl.lit(None, dtype=pl.Int8).alias(f"item_{n}") for n in range(1, 10)),
        "instrument",
        pl.lit(False).alias("prorated"),
    )
    people = labels.select("person_id", (pl.col("split") == "locked").alias("locked")).unique()
    write_cohort(
        path,
        pl.DataFrame(schema=TURNS),
        phq9.select(*PHQ9),
        people.select(*PEOPLE),
        command="import",
        settings={},
        inputs={},
        **more,
    )
    return path


class Balance(HTMLParser):
    """Collects tags that are opened and not closed, and every reference to elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []
        self.images = 0
        self.named = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        for name in ("src", "href", "xlink:href"):
            value = given.get(name) or ""
            if value and not value.startswith(("#", "data:")):
                self.outside.append(value)
        if tag == "svg":
            self.images += 1
            self.named += given.get("role") == "img" and bool(given.get("aria-label"))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    models = {"leadline": 0.5, "tf-idf <b>": 1.0, "constant": None}
    table = predictions(80, labels=2, models=models, repeats=2)
    facts = {
        "simulated": True,
        "training": {"pseudolabels": "none", "folds": 5},
        "limit": {"r": 0.9, "mae": 2.4},
        "selection": [{"reader": "a & b", "mae": 3.9, "chosen": True}],
    }
    run = make_run(tmp_path_factory.mktemp("runs") / "run", table, **facts)
    evaluate_run(run, settings=QUICK)
    report_run(run)
    return run


def test_results_on_disk_are_strict_json_with_the_hash_of_what_they_rest_on(finished) -> None:
    text = (finished / "results.json").read_text()
    assert "NaN" not in text
    results = json.loads(text)
    assert len(results["files"]["predictions.parquet"]) == 64
    assert results["run"]["training"]["pseudolabels"] == "none"


def test_report_is_one_sound_file_without_outside_references(finished) -> None:
    page = (finished / "report.html").read_text()
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert parser.outside == []
    assert parser.images == parser.named >= 14
    assert "<script" not in page
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    identifiers = re.findall(r'\bid="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))


def test_report_says_what_it_must(finished) -> None:
    page = (finished / "report.html").read_text()
    results = json.loads((finished / "results.json").read_text())
    for said in (NOTICE, SIMULATED_NOTICE, "80 simulated people", "a &amp; b", "Person 1"):
        assert said in page
    assert results["files"]["predictions.parquet"] in page
    mae = results["sets"][0]["models"]["leadline"]["scores"]["mae"]
    assert f'<div class="value">{mae["value"]:.2f}</div>' in page
    for warning in results["warnings"]:
        assert warning["text"].split(";")[0][:40] in page
    assert "tf-idf &lt;b&gt;" in page
    assert "tf-idf <b>" not in page


def test_report_names_no_person_and_is_the_same_twice(finished) -> None:
    before = (finished / "report.html").read_text()
    assert "out-of-fold-" not in before
    assert report_run(finished).read_text() == before


def test_courses_of_real_people_are_shown_only_when_asked(tmp_path) -> None:
    run = make_run(tmp_path / "run", predictions(40))
    evaluate_run(run, settings=QUICK)
    assert "Person 1" not in report_run(run).read_text()
    assert "Simulated." not in report_run(run).read_text()
    assert "Person 1" in report_run(run, examples=True).read_text()


@pytest.mark.parametrize("people", [1, 9])
def test_tiny_runs_have_a_report_that_says_so(tmp_path, people) -> None:
    run = make_run(tmp_path / "run", predictions(people), simulated=True)
    evaluate_run(run, settings=QUICK)
    page = report_run(run).read_text()
    assert f"Only {people} people" in page
    assert ">nan<" not in page


def test_locked_and_phq8_sets_each_have_their_section(tmp_path) -> None:
    locked = predictions(30, split="locked").with_columns(pl.col("label") + 1000)
    eight = predictions(30, seed=3).with_columns(
        pl.col("label") + 5000,
        pl.col("total").clip(0, 24),
        pl.col("person_id") + "-e",
        instrument=pl.lit("phq8"),
    )
    run = make_run(tmp_path / "run", pl.concat([predictions(60), locked, eight]))
    evaluate_run(run, settings=QUICK)
    page = report_run(run).read_text()
    assert page.index("by person, PHQ-9") < page.index("Locked test people, PHQ-9")
    assert "This locked test does not lead the report" in page
    assert "Cross-validation by person, PHQ-8" in page
    identifiers = re.findall(r'\bid="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))


def test_cohort_confirms_the_labels_and_lends_its_limit(tmp_path) -> None:
    table = predictions(40)
    run = make_run(tmp_path / "run", table)
    cohort = make_cohort(tmp_path / "cohort", table, limit={"r": 0.87}, simulated=True)
    results = evaluate_run(run, cohort, QUICK)
    assert results["sets"][0]["limit"] is None
    assert results["simulated"] is True
    rows = table.filter(pl.col("model") == "leadline")
    (cohort / "truth").mkdir()
    rows.select("person_id", "total", "distribution").write_parquet(cohort / LIMIT_LABELS)
    (one,) = evaluate_run(run, cohort, QUICK)["sets"]
    assert one["limit"]["labels"] == 40
    leadline = one["models"]["leadline"]
    gap = leadline["scores"]["mae"]["value"] - one["limit"]["mae"]
    assert leadline["explainable"]["gap_to_limit"]["mae"] == pytest.approx(gap)
    rows[:30].select("label", "distribution").write_parquet(run / LIMIT_FILE)
    assert evaluate_run(run, settings=QUICK)["sets"][0]["limit"]["labels"] == 30
    assert "on 30 PHQ-9s of 30 people" in report_run(run).read_text()


def test_labels_that_the_cohort_does_not_hold_are_refused(tmp_path) -> None:
    table = predictions(40)
    cohort = make_cohort(tmp_path / "cohort", table)
    moved = table.with_columns((pl.col("total") + 1).clip(0, 27))
    run = make_run(tmp_path / "run", moved)
    with pytest.raises(LeadlineError, match="not gold labels of this cohort"):
        evaluate_run(run, cohort, QUICK)
    assert not (run / "results.json").exists()


def test_person_locked_in_the_cohort_only_is_refused(tmp_path) -> None:
    table = predictions(40)
    cohort = make_cohort(tmp_path / "cohort", table.with_columns(split=pl.lit("locked")))
    run = make_run(tmp_path / "run", table)
    with pytest.raises(LeadlineError, match="40 people are locked in the cohort"):
        evaluate_run(run, cohort, QUICK)


def test_unfinished_changed_or_missing_artefacts_are_refused(tmp_path) -> None:
    with pytest.raises(LeadlineError, match="no run directory"):
        evaluate_run(tmp_path / "nowhere")
    run = make_run(tmp_path / "run", predictions(30), files={"predictions.parquet": "0" * 64})
    with pytest.raises(LeadlineError, match="SHA-256 differs"):
        evaluate_run(run, settings=QUICK)
    with pytest.raises(LeadlineError, match="not evaluated yet"):
        report_run(run)
    (run / "predictions.parquet").write_bytes(b"not parquet")
    with pytest.raises(LeadlineError, match="cannot be read"):
        evaluate_run(run, settings=QUICK)
    (run / "predictions.parquet").unlink()
    with pytest.raises(LeadlineError, match="no such table"):
        evaluate_run(run, settings=QUICK)
    (run / "manifest.json").unlink()
    with pytest.raises(LeadlineError, match="unfinished"):
        evaluate_run(run, settings=QUICK)


def test_report_of_other_predictions_or_broken_results_is_refused(tmp_path) -> None:
    run = make_run(tmp_path / "run", predictions(30))
    evaluate_run(run, settings=QUICK)
    predictions(30, seed=5).write_parquet(run / "predictions.parquet")
    with pytest.raises(LeadlineError, match="other predictions"):
        report_run(run)
    (run / "results.json").write_text('{"format": 99}')
    with pytest.raises(LeadlineError, match="format 99; this version reads 4"):
        report_run(run)
    (run / "results.json").write_text("{")
    with pytest.raises(LeadlineError, match="not valid JSON"):
        report_run(run)
    assert not (run / "report.html").exists()


def test_numbers_as_text() -> None:
    assert number(-0.001) == "0.00"
    assert number(-1.5, 1) == "\u22121.5"
    assert number(None) == "\u2013"
    assert number(0.123, 0, percent=True) == "12%"
    assert bracket({"value": 2.0, "low": 1.5, "high": 2.5}, 1) == "(1.5 to 2.5)"
    assert bracket({"value": 2.0, "low": None, "high": None}) == ""
    assert plain({"a": [1, 0.25], "b": None}) == "a: 1, 0.25; b: \u2013"


def test_the_course_of_an_adapted_training_is_shown(tmp_path) -> None:
    run = make_run(tmp_path / "run", predictions(40, models={"leadline": 0.5}))
    evaluate_run(run, settings=QUICK)
    assert "How the training went" not in report_run(run).read_text()
    folder = run / "checkpoint" / "repeat-0-fold-0"
    folder.mkdir(parents=True)
    lines = [{"step": 1, "epoch": 0.5, "loss": 2.0, "gold_loss": 2.0, "held_out_loss": 2.5}]
    course = {"format": 1, "unit": "nats", "best_step": 1, "lines": lines}
    (folder / "curve.json").write_text(json.dumps(course))
    page = report_run(run).read_text()
    assert "How the training went" in page
    assert "people set aside: 2.50" in page
    (folder / "curve.json").write_text("{")
    with pytest.raises(LeadlineError, match=r"curve\.json"):
        report_run(run)
