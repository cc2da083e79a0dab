"""What the terminal shows of results."""

from __future__ import annotations

import io

from rich.console import Console

from leadline.report.summary import render_summary


def test_the_summary_shows_scores_intervals_ceiling_and_warnings():
    score = {"value": 3.456, "low": 3.0, "high": 4.0}
    results = {
        "sets": [
            {
                "people": 40, "labels": 50, "split": "out-of-fold",
                "verdict": {"sentence": "On these 40 people leadline beats every baseline."},
                "models": {
                    "leadline": {
                        "scores": {
                            "mae": score, "pearson": {"value": None}, "width_90": {"value": 16.25},
                        },
                        "explainable": {
                            "of_ceiling": 0.5, "of_limit": 0.617,
                            "gap_to_limit": {"r": -0.123, "mae": 1.456},
                        },
                    },
                    "constant": {
                        "scores": {
                            "mae": {"value": 5.0, "low": None, "high": None},
                            "width_90": {"value": 20.51},
                        },
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
                 "0.872", "width", "16.2", "20.5",
                 "leadline beats every baseline"):  # fmt: skip
        assert part in text
    results["sets"][0]["limit"] = None
    stream = io.StringIO()
    Console(width=200, file=stream).print(render_summary(results))
    assert "50%" in stream.getvalue()
    assert stream.getvalue().startswith("On these 40 people")
    assert "limit" not in stream.getvalue()
    assert "pseudolabels" not in stream.getvalue()
