"""What the terminal shows of results."""

from __future__ import annotations

import io
from typing import Any

import polars as pl
import pytest
from rich.console import Console
from tests.support.predictions import predictions

from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.results import evaluate_predictions
from leadline.evaluate.summary import render_summary

QUICK = EvaluateConfig(resamples=100, curve_resamples=100)
MODELS = {
    "ridge": 1.2, "fused": 0.3, "leadline": 0.6, "round 1": 0.6, "round 2": 0.9,
    "raw teacher": 1.5, "label model, teacher alone": 0.7, "gold only": 0.8,
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


def test_the_summary_shows_scores_intervals_ceiling_and_warnings():
    score = {"value": 3.456, "low": 3.0, "high": 4.0}
    results = {
        "sets": [
            {
                "people": 40, "labels": 50, "split": "out-of-fold",
                "models": {
                    "leadline": {
                        "scores": {"mae": score, "pearson": {"value": None}},
                        "explainable": {
                            "of_ceiling": 0.5, "of_limit": 0.617,
                            "gap_to_limit": {"r": -0.123, "mae": 1.456},
                        },
                    },
                    "constant": {
                        "scores": {"mae": {"value": 5.0, "low": None, "high": None}},
                        "explainable": {"of_ceiling": None, "of_limit": None, "gap_to_limit": {}},
                    },
                },
                "limit": {"r": 0.872, "mae": 2.64},
                "ceiling": {"default": {"reliability": 0.84, "r": 0.91, "auc_cut": 0.95}},
            }
        ],
        "warnings": [{"text": "few people"}], "simulated": True, "simulated_notice": "made up",
        "selftraining": None,
    }  # fmt: skip
    stream = io.StringIO()
    Console(width=200, file=stream).print(render_summary(results))
    text = stream.getvalue()
    for part in ("40 people, 50 PHQ-9s", "3.46 (3.00, 4.00)", "5.00", "0.910", "0.950",
                 "few people", "made up", "retest 0.84", "62%", "+1.46",
                 "0.872"):  # fmt: skip
        assert part in text
    results["sets"][0]["limit"] = None
    stream = io.StringIO()
    Console(width=200, file=stream).print(render_summary(results))
    assert "50%" in stream.getvalue()
    assert "limit" not in stream.getvalue()
    assert "pseudolabels" not in stream.getvalue()
