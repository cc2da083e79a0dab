"""What the page shows: which sections, which people, and never more than it may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.support.predictions import START, predictions, running_estimates

from leadline.errors import LeadlineError
from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.results import evaluate_predictions
from leadline.report import report

QUICK = EvaluateConfig(resamples=100, curve_resamples=100)


def page(folder: Path, table: pl.DataFrame, manifest: dict[str, Any] | None = None) -> str:
    results = evaluate_predictions(table, QUICK, manifest=manifest)
    return report.render_report(results, table, out=folder / "r.html").read_text()


@pytest.fixture(scope="module")
def single(tmp_path_factory) -> str:
    table = predictions(40, models={"leadline": None})
    return page(tmp_path_factory.mktemp("single"), table)


def test_sections_without_numbers_are_left_out(single) -> None:
    for heading in ("Against other models", "how sure it is", "Courses", "What was trained"):
        assert heading not in single
    assert "What this is not" in single
    assert "Reproduce and cite" in single


def test_reasons_stand_where_numbers_are_withheld(single) -> None:
    assert "The estimates are constant." in single
    assert "The model gives no distribution." in single


def test_training_selection_and_provenance_are_shown(tmp_path) -> None:
    manifest = {
        "training": {"pseudo_labels": "none", "people": 40},
        "selection": [{"layer": 20, "mae": 3.98765, "chosen": True}, {"layer": 30, "mae": 4.2}],
        "command": "leadline train <COHORT>",
        "inputs": {"cohort": "ab12"},
        "notice": "Our own notice.",
    }
    text = page(tmp_path, predictions(40), manifest)
    for said in ("pseudo labels", "3.988", "train &lt;COHORT&gt;", "ab12", "Our own notice."):
        assert said in text
    assert "not a diagnosis" in text


def test_names_from_right_to_left_stand_by_themselves(tmp_path) -> None:
    arabic = "\u0645\u062d\u0627\u062f\u062b\u0627\u062a 2024 (1).parquet"
    manifest = {"training": {"reader": arabic, "people": 40}, "command": f"leadline train {arabic}",
                "inputs": {arabic: "ab12", "\u8bca\u6240\uff08\uff12\uff09": "cd34"}}  # fmt: skip
    text = page(tmp_path, predictions(40), manifest)
    assert f"<dt>Input <bdi>{arabic}</bdi></dt>" in text
    assert f'<dd dir="auto">{arabic}</dd>' in text
    assert "\u8bca\u6240\uff08\uff12\uff09" in text  # full-width forms stay as they are


def test_nothing_is_left_behind_when_rendering_fails(tmp_path) -> None:
    table = predictions(20)
    results = evaluate_predictions(table, QUICK)
    with pytest.raises(LeadlineError):
        report.render_report(results, table[1:], out=tmp_path / "r.html")
    assert list(tmp_path.iterdir()) == []


def test_courses_take_fixed_quantiles_of_severity_among_people_with_enough_turns() -> None:
    table = predictions(41)
    people = table["person_id"].unique().sort().to_list()
    short = running_estimates(people[:10], turns=2)
    courses = report._courses(short.vstack(running_estimates(people[10:])), table)
    assert [one["name"] for one in courses] == [f"Person {n}" for n in (1, 2, 3, 4)]
    assert all(one["turns"] == 10 for one in courses)
    assert courses == report._courses(short.vstack(running_estimates(people[10:])), table)
    assert report._courses(short, table) == []


def test_a_course_says_what_moved_it_and_adds_up(tmp_path) -> None:
    table = predictions(41)
    estimates = running_estimates(table["person_id"].unique().sort().to_list())
    for course in report._courses(estimates, table):
        total = course["sum"]
        assert abs(total["start"] - 10) < 1e-9
        assert abs(total["departed"] + 2) < 1e-9
        assert abs(total["start"] + total["arrived"] + total["departed"] - total["end"]) < 1e-9
        sizes = [abs(turn["points"]) for turn in course["most"]]
        assert sizes == sorted(sizes, reverse=True)
        assert all(turn["day"] == turn["turn"] - 1 for turn in course["most"])
    results = evaluate_predictions(table, QUICK)
    text = report.render_report(
        results, table, estimates=estimates, out=tmp_path / "r.html"
    ).read_text()
    assert "10.0 before a word" in text
    assert "2.0 by turns that left" in text
    undated = estimates.with_columns(pl.lit(None, dtype=estimates["time"].dtype).alias("time"))
    assert {t["day"] for one in report._courses(undated, table) for t in one["most"]} == {None}


def test_courses_show_locked_people_where_there_are_any() -> None:
    locked = predictions(6, split="locked").with_columns(pl.col("label") + 1000)
    table = predictions(30).vstack(locked)
    training = table.filter(split="out-of-fold")["person_id"].unique().to_list()
    gold = [one["labels"] for one in report._courses(running_estimates(training), table)]
    assert gold == [1, 1, 1, 1], "of a closed test nothing is shown: others are"
    both = running_estimates(table["person_id"].unique().sort().to_list())
    shown = report._courses(both, table)
    assert len(shown) == 4
    locked_alone = running_estimates(locked["person_id"].unique().sort().to_list())
    assert [one["sum"] for one in shown] == [
        one["sum"] for one in report._courses(locked_alone, table)
    ]
    assert report._courses(running_estimates(["stranger"]), table) == []


def test_gold_stands_at_the_turn_that_came_before_it() -> None:
    rows = running_estimates(["a"], turns=10)  # one a day from START
    later = START.replace(day=4)
    assert report._turns_by(rows, later) == 4
    assert report._turns_by(rows, START.replace(year=2025)) == 1
    assert report._turns_by(rows, None) == 10
    timeless = rows.with_columns(time=pl.lit(None, dtype=rows.schema["time"]))
    assert report._turns_by(timeless, later) == 10


def test_gauge_places_lie_on_the_track() -> None:
    entry = {"value": 30.0, "low": 1.0, "high": 40.0}
    model = {"scores": {"mae": entry, "pearson": {"value": -0.4, "low": -0.6, "high": 0.1}}}
    mae, r = (row for row in report.score_rows(10) if row.key in model["scores"])
    ceiling = {"mae": 2.0, "r": 0.917}
    wide = report._gauge(mae, model, ceiling, {"mae": 2.4})
    assert 0 < wide["best_at"] < wide["limit_at"] < wide["at"]["value"] < wide["at"]["high"] <= 100
    low = report._gauge(r, model, None, {})
    assert low["at"]["value"] == 0
    assert low["best_at"] is None


def test_models_are_ordered_by_error_with_the_reference_first() -> None:
    models = {n: {"scores": {"mae": {"value": v}}} for n, v in (("a", 3), ("b", 2), ("own", 9))}
    assert [name for name, _ in report._ordered(models, "own")] == ["own", "b", "a"]


def test_numbers_as_text() -> None:
    assert report.number(-0.001) == "0.00"
    assert report.number(-1.5, 1) == "\u22121.5"
    assert report.number(None) == "\u2013"
    assert report.number(0.123, 0, percent=True) == "12%"
    assert report.bracket({"value": 2.0, "low": 1.5, "high": 2.5}, 1) == "(1.5 to 2.5)"
    assert report.bracket({"value": 2.0, "low": None, "high": None}) == ""
    assert report.plain({"a": [1, 0.25], "b": None}) == "a: 1, 0.25; b: \u2013"
