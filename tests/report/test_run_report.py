"""The report of a run on disk, and what is refused."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from tests.support.evaluated import QUICK, hash_again, make_run
from tests.support.predictions import predictions

from leadline import NOTICE, SIMULATED_NOTICE
from leadline.errors import LeadlineError
from leadline.evaluate.limit import LIMIT_FILE
from leadline.evaluate.run_results import evaluate_run
from leadline.report.run_report import report_run

VOID = {"meta", "link", "br", "img", "hr", "use", "path"}


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


def test_how_many_labels_a_limit_speaks_of_is_said(tmp_path) -> None:
    table = predictions(40)
    run = make_run(tmp_path / "run", table)
    rows = table.filter(pl.col("model") == "leadline")
    rows[:30].select("label", "distribution").write_parquet(run / LIMIT_FILE)
    hash_again(run, LIMIT_FILE)
    evaluate_run(run, settings=QUICK)
    assert "on 30 PHQ-9s of 30 people" in report_run(run).read_text()


def test_report_of_other_predictions_or_broken_results_is_refused(tmp_path) -> None:
    run = make_run(tmp_path / "run", predictions(30))
    evaluate_run(run, settings=QUICK)
    predictions(30, seed=5).write_parquet(run / "predictions.parquet")
    with pytest.raises(LeadlineError, match="not the one that was written"):
        report_run(run)
    hash_again(run, "predictions.parquet")
    with pytest.raises(LeadlineError, match="other predictions"):
        report_run(run)
    (run / "results.json").write_text('{"format": 99}')
    with pytest.raises(LeadlineError, match="not the one that was written"):
        report_run(run)
    hash_again(run, "results.json")
    with pytest.raises(LeadlineError, match="format 99; this version reads 4"):
        report_run(run)
    (run / "results.json").write_text("{")
    hash_again(run, "results.json")
    with pytest.raises(LeadlineError, match="not valid JSON"):
        report_run(run)
    assert not (run / "report.html").exists()


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
