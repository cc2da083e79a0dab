"""The ablation of a self-training run: rows in order, words, differences, decisions."""

from __future__ import annotations

import io
from typing import Any

import polars as pl
import pytest
from rich.console import Console
from tests.support.predictions import predictions

from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.results import evaluate_predictions
from leadline.evaluate.rounds import canary_words, steps, verdict
from leadline.report.report import render_report
from leadline.report.summary import render_summary

QUICK = EvaluateConfig(resamples=100, curve_resamples=100)
MODELS = {
    "ridge": 1.2, "fused": 0.3, "leadline": 0.6, "round 1": 0.6, "round 2": 0.9,
    "raw teacher": 1.5, "label model, teacher alone": 0.7, "gold only": 0.8,
    "teacher alone, recalibrated": 0.5, "gold only, head of the rounds": 0.9,
}  # fmt: skip


SHAPE = {"mae": 3.2, "slope": 1.01, "slope_se": 0.04, "variance_ratio": 0.97,
         "variance_ratio_se": 0.05, "canary": {"r": 0.1, "null_95": 0.4, "p": 0.37}}  # fmt: skip


ROUNDS: list[dict[str, Any]] = [
    {"round": 0, **SHAPE, "kept": True, "reasons": []},
    {"round": 1, **SHAPE, "gain": 0.312, "gain_se": 0.051, "kept": True, "reasons": [],
     "pseudolabels": 1234.0, "pseudolabel_share": 0.61, "mean_weight": 0.45},
    {"round": 2, **SHAPE, "canary": None, "gain": -0.1, "gain_se": 0.05, "kept": False,
     "reasons": ["the slope lies outside 0.95 to 1.05"], "pseudolabels": 1200.0,
     "pseudolabel_share": 0.6, "mean_weight": 0.5},
]  # fmt: skip


def manifest(rounds: list[dict[str, Any]] = ROUNDS, kept: int = 1, teachers=("t",)) -> dict:
    return {
        "reference_model": "gold only",
        "shown_model": "leadline",
        "selftraining": {"rounds": rounds, "kept": kept, "teachers": list(teachers)},
        "settings": {"selftrain": {"min_gain": 1.0, "min_variance": 0.9, "min_slope": 0.95,
                                   "max_slope": 1.05, "canary": 0.05,
                                   "canary_level": 0.01}},
    }  # fmt: skip


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    locked = predictions(60, models=MODELS, split="locked", seed=3)
    return predictions(90, models=MODELS).vstack(locked.with_columns(pl.col("label") + 1000))


@pytest.fixture(scope="module")
def results(table) -> dict[str, Any]:
    return evaluate_predictions(table, QUICK, manifest=manifest())


def test_rows_stand_in_the_order_of_the_course_without_baselines(results) -> None:
    rows = results["selftraining"]["rows"]
    assert [row["model"] for row in rows] == [
        *("gold only", "gold only, head of the rounds"),
        *("raw teacher", "label model, teacher alone", "round 1", "round 2", "leadline"),
        *("teacher alone, recalibrated", "fused"),
    ]
    meaning = {row["model"]: row["meaning"] for row in rows}
    assert "the same as round 1" in meaning["leadline"]
    assert "model is that of round 1" in meaning["round 2"]
    assert "teacher and model together" in meaning["round 1"]
    assert "without the model" in meaning["teacher alone, recalibrated"]


def test_differences_are_those_of_the_paired_comparisons(results) -> None:
    for number, one in enumerate(results["sets"]):
        gaps = {c["model"]: c for c in one["comparisons"] if c["metric"] == "mae"}
        for row in results["selftraining"]["rows"]:
            cell = row["sets"][number]
            assert cell["split"] == one["split"]
            assert cell["difference"] == gaps.get(row["model"])
            assert cell["mae"] == one["models"][row["model"]]["scores"]["mae"]


def test_the_model_that_is_shown_is_the_one_that_the_run_uses(results, table, tmp_path) -> None:
    page = render_report(results, table, out=tmp_path / "r.html").read_text()
    assert "<title>Leadline evaluation: leadline</title>" in page
    assert "the model <b>leadline</b>" in page
    assert "(after 1 round of pseudolabels)" in page
    assert {w["model"] for w in results["warnings"] if w["kind"] == "compression"} <= {"leadline"}


def test_the_page_says_what_was_decided_and_why(results, table, tmp_path) -> None:
    page = render_report(results, table, out=tmp_path / "r.html").read_text()
    assert page.count('id="rounds"') == 1
    for said in ("One round of pseudolabels was kept", "1234", "61%", "+0.312 (0.051)", "0.370",
                 "not kept: the slope lies outside 0.95 to 1.05", "0.95 to 1.05 points",
                 "wrong PHQ-9s for 5% of the people"):  # fmt: skip
        assert said in page
    compared = page.split("Against other models")[1].split("</section>")[0]
    assert "ridge" in compared
    assert "gold only" in compared
    assert "raw teacher" not in compared


def test_without_a_teacher_the_words_do_not_speak_of_one(table) -> None:
    alone = table.filter(pl.col("model").is_in(["gold only", "round 1", "leadline"]))
    found = evaluate_predictions(alone, QUICK, manifest=manifest(ROUNDS[:2], 0, ()))
    rows = found["selftraining"]["rows"]
    assert [row["model"] for row in rows] == ["gold only", "round 1", "leadline"]
    assert all("teacher" not in row["meaning"] for row in rows)
    assert "the same as gold only" in rows[-1]["meaning"]


def test_a_round_that_could_not_be_tried_says_so(table, tmp_path) -> None:
    never = {"round": 1, "kept": False, "reasons": ["40 people allow 0 rounds"]}
    two = table.filter(pl.col("model").is_in(["gold only", "leadline"]))
    found = evaluate_predictions(two, QUICK, manifest=manifest([ROUNDS[0], never], 0))
    page = render_report(found, two, out=tmp_path / "r.html").read_text()
    assert "not tried: 40 people allow 0 rounds" in page
    assert "No round of pseudolabels was kept" in page


def test_an_ordinary_run_has_no_such_section(table, tmp_path) -> None:
    found = evaluate_predictions(table, QUICK)
    assert found["selftraining"] is None
    assert found["shown_model"] == found["reference_model"] == "leadline"
    assert steps(found) == set()
    page = render_report(found, table, out=tmp_path / "r.html").read_text()
    assert 'id="rounds"' not in page
    assert "Leadline evaluation: leadline" in page


@pytest.mark.parametrize(
    ("entry", "said"), [(ROUNDS[0], "the start"), (ROUNDS[1], "kept"),
                        (ROUNDS[2], "not kept: the slope lies outside 0.95 to 1.05")]
)  # fmt: skip
def test_verdicts(entry, said) -> None:
    assert verdict(entry) == said


def test_the_terminal_shows_the_ablation_within_80_columns(results) -> None:
    stream = io.StringIO()
    Console(width=80, file=stream).print(render_summary(results))
    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    gap = next(r for r in results["selftraining"]["rows"] if r["model"] == "raw teacher")
    value = gap["sets"][0]["difference"]["value"]
    assert f"{value:+.2f} (" in text
    assert "Round 2: not kept: the slope lies outside" in " ".join(text.split())
    assert text.count("raw teacher") == 2  # once a split, and not among the other models


def with_power(**power: Any) -> list[dict[str, Any]]:
    rounds = [dict(entry) for entry in ROUNDS]
    for entry in rounds[:2]:
        entry["canary"] = {"r": 0.1, "null_95": 0.4, "p": 0.37, "people": 8.0, **power}
    return rounds


@pytest.mark.parametrize(
    ("power", "words", "cell"),
    [
        ({"power": 0.93, "can_tell": True}, "93% of full leaks would be noticed so.", "0.370"),
        ({"power": 0.13, "can_tell": False, "enough_share": 0.2},
         "The canary can say nothing here: 8 people were told wrong PHQ-9s, and 13% of full leaks "
         "would be noticed so, where 80% is the least that means anything; --canary 0.2 would",
         "says nothing"),
        ({"power": 0.0, "can_tell": False}, "no share of these people is enough", "says nothing"),
    ],
)  # fmt: skip
def test_the_power_of_the_canary_is_said_or_that_it_can_say_nothing(
    table, tmp_path, power, words, cell
):
    results = evaluate_predictions(table, QUICK, manifest=manifest(with_power(**power)))
    page = render_report(results, table, out=tmp_path / "r.html").read_text()
    assert words in page
    assert f'<td class="n">{cell}</td></tr>' in page.replace("\n", "")
    console = Console(file=io.StringIO(), width=600)
    console.print(render_summary(results))
    assert words in console.file.getvalue()


def test_a_run_without_a_canary_or_of_an_earlier_version_says_nothing_of_power():
    assert canary_words(ROUNDS) == ""
    assert canary_words([{"round": 0, "canary": None}, {"round": 1}]) == ""
