"""Scores of profiles against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from leadline.errors import LeadlineError
from leadline.profiles.scores import check_profiles, score_profiles
from leadline.tables import PROFILES


def table(model: str, chances: list[list[float]], answers: list[int | None]) -> pl.DataFrame:
    """One answer each to item 2 by as many people."""
    count = len(answers)
    columns = {
        "model": [model] * count,
        "repeat": [0] * count,
        "fold": [0] * count,
        "split": ["out-of-fold"] * count,
        "person_id": [f"p{number}" for number in range(count)],
        "label": list(range(count)),
        "instrument": ["phq9"] * count,
        "item": [2] * count,
        "answer": answers,
        "expected": [float(np.dot(row, range(4))) for row in chances],
        "chances": chances,
        "lower": [0] * count,
        "upper": [2] * count,
    }
    return pl.DataFrame(columns, schema=PROFILES)


def predictions(means: list[float]) -> pl.DataFrame:
    count = len(means)
    return pl.DataFrame(
        {
            "model": ["leadline"] * count, "split": ["out-of-fold"] * count,
            "repeat": [0] * count, "label": list(range(count)), "mean": means,
        },
        schema_overrides={"repeat": pl.Int16()},
    )  # fmt: skip


SURE = [[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.1, 0.1, 0.1, 0.7]]
EVEN = [[0.25] * 4] * 3


def test_errors_log_scores_and_gains_by_hand() -> None:
    tables = [table("leadline", SURE, [0, 1, 3]), table("marginal", EVEN, [0, 1, 3])]
    scores = score_profiles(tables, predictions([0.6, 1.2, 2.4]), 2, "leadline")
    assert scores is not None
    entry = scores["sets"][0]
    assert (entry["people"], entry["labels"], entry["answers"]) == (3, 3, 3)
    assert entry["models"]["leadline"]["log_score"]["value"] == pytest.approx(np.log(0.7))
    assert entry["models"]["leadline"]["mae"]["value"] == 0.0
    assert entry["models"]["marginal"]["mae"]["value"] == pytest.approx((1 + 0 + 2) / 3)
    assert entry["gains"]["marginal"]["value"] == pytest.approx(np.log(0.7 / 0.25))
    assert entry["models"]["leadline"]["within"]["value"] == pytest.approx(2 / 3)
    item = entry["items"][0]
    assert (item["item"], item["name"]) == (2, "low mood")
    assert item["answer"]["value"] == pytest.approx(4 / 3)
    assert item["expected"] == pytest.approx((0.6 + 1.2 + 2.4) / 3)
    assert scores["disagreement"] == pytest.approx(0.0, abs=1e-12)


def test_a_profile_that_does_not_sum_to_the_total_is_seen() -> None:
    scores = score_profiles(
        [table("leadline", SURE, [0, 1, 3])], predictions([0.6, 1.2, 2.9]), 2, "leadline"
    )
    assert scores is not None
    assert scores["disagreement"] == pytest.approx(0.5)


def test_intervals_are_those_of_independent_people_and_few_have_none() -> None:
    rng = np.random.default_rng(0)
    answers = rng.integers(0, 4, 400).tolist()
    tables = [table("leadline", [[0.25] * 4] * 400, answers)]
    scores = score_profiles(tables, predictions([1.5] * 400), 20, "leadline")
    assert scores is not None
    answer = scores["sets"][0]["items"][0]["answer"]
    error = np.std(answers, ddof=1) / np.sqrt(400)
    assert (answer["high"] - answer["low"]) / 2 == pytest.approx(1.96 * error, rel=0.01)
    scores = score_profiles(tables, predictions([1.5] * 400), 401, "leadline")
    assert scores is not None
    assert scores["sets"][0]["items"][0]["answer"]["low"] is None


def test_calibrated_chances_come_true_and_others_do_not() -> None:
    rng = np.random.default_rng(0)
    chances = rng.dirichlet(np.ones(4), size=3000)
    answers = (rng.random(3000)[:, None] > np.cumsum(chances, axis=1)).sum(axis=1)
    honest = table("leadline", chances.tolist(), answers.tolist())
    scores = score_profiles([honest], predictions([1.5] * 3000), 20, "leadline")
    assert scores is not None
    bins = scores["sets"][0]["calibration"]
    off = [abs(entry["forecast"] - entry["outcome"]["value"]) for entry in bins]
    assert len(bins) == 10
    assert max(off) < 0.03
    wrong = table("leadline", chances[:, ::-1].tolist(), answers.tolist())
    scores = score_profiles([wrong], predictions([1.5] * 3000), 20, "leadline")
    assert scores is not None
    bins = scores["sets"][0]["calibration"]
    assert max(abs(entry["forecast"] - entry["outcome"]["value"]) for entry in bins) > 0.2


def test_answers_that_were_not_given_do_not_count() -> None:
    tables = [table("leadline", SURE, [0, None, 3])]
    scores = score_profiles(tables, predictions([0.6, 1.2, 2.4]), 2, "leadline")
    assert scores is not None
    assert scores["sets"][0]["answers"] == 2
    nothing = [table("leadline", SURE, [None, None, None])]
    assert score_profiles(nothing, predictions([0.6, 1.2, 2.4]), 2, "leadline") is None


@pytest.mark.parametrize(
    "change",
    [
        pl.lit([0.5, 0.5, 0.5, 0.5]).alias("chances"),
        pl.lit([0.5, 0.5]).alias("chances"),
        pl.lit(float("nan")).alias("expected"),
        pl.lit(4).cast(pl.Int8).alias("answer"),
        pl.lit(0).cast(pl.Int8).alias("item"),
        pl.lit(-1).cast(pl.Int8).alias("upper"),
    ],
)
def test_a_row_that_is_no_profile_is_named(change: pl.Expr) -> None:
    sound = table("leadline", SURE, [0, 1, None])
    check_profiles(sound, None)
    with pytest.raises(LeadlineError, match="not finite or out of range") as caught:
        check_profiles(sound.with_columns(change), None)
    assert caught.value.row == 1
