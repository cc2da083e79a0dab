"""The simulator's teacher, and what the clients share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from tests.teacher.test_label import make_cohort, texts

from leadline.cohort.config import WindowConfig
from leadline.cohort.store import read_cohort
from leadline.cohort.windows import label_readings
from leadline.errors import LeadlineError, missing_package
from leadline.phq9.items import ITEM_COLUMNS
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import preset
from leadline.tables import UTC_TIME
from leadline.teacher.audit import audit
from leadline.teacher.client import resolve_url
from leadline.teacher.config import LabelConfig, is_loopback
from leadline.teacher.label import label_cohort
from leadline.teacher.label_model import fit, posterior
from leadline.teacher.label_table import read_labels
from leadline.teacher.observations import ratings
from leadline.teacher.openai_client import read_completion

START = datetime(2025, 3, 1, tzinfo=UTC)


def add_truth(cohort, people, *, draws=3, total=lambda n, draw: n + draw, **change):
    rows = []
    for number in range(people):
        for later, add in ((timedelta(days=-40), 20), (timedelta(hours=1), 0)):
            for draw in range(draws):
                when = START + timedelta(days=number) + later
                items = [(number + draw) % 4] * 9
                person = f"user-{number:04d}-quokka"
                rows.append((person, when, draw, *items, total(number, draw) + add))
    schema = {
        "person_id": pl.String(),
        "time": UTC_TIME,
        "draw": pl.Int16(),
        **{item: pl.Int8() for item in ITEM_COLUMNS},
        "total": pl.Float64(),
        **change,
    }
    (cohort / "truth").mkdir()
    table = pl.DataFrame(rows, schema=schema, orient="row")
    table.write_parquet(cohort / "truth" / "teacher.parquet")
    return table


def test_labels_are_the_simulated_draws_at_the_nearest_time(tmp_path):
    cohort = make_cohort(tmp_path / "c", ["same words"] * 7, locked=2)
    add_truth(cohort, 7)
    report = label_cohort(cohort, tmp_path / "l", LabelConfig(teacher="simulated", draws=3))
    labels = read_labels(tmp_path / "l").sort("person_id", "draw")
    assert report["states"]["done"] == labels.height == 15
    assert labels["total"].to_list() == [float(n + draw) for n in range(5) for draw in range(3)]
    assert labels["item_9"].to_list() == [(n + draw) % 4 for n in range(5) for draw in range(3)]
    assert labels["model"].unique().to_list() == ["simulated"]
    assert report["usage"]["spent_usd"] == 0


def test_the_whole_course_on_a_simulated_cohort(tmp_path):
    """Label, audit and label model find what the simulator built into its teacher."""
    cohort = simulate_cohort(tmp_path / "c", preset("small", people=700, gold=350, locked=80))
    report = label_cohort(tmp_path / "c", tmp_path / "l", LabelConfig(who="all", draws=3))
    labels = read_labels(tmp_path / "l")
    locked = set(cohort.people.filter(pl.col("locked"))["person_id"])
    assert not locked & set(labels["person_id"])
    assert report["people"] == 700 - 80
    assert report["states"]["failed"] == 0
    found = audit(labels, cohort, WindowConfig(), groups=["gender"])["simulated"]
    low, high = found["total"]["slope"]["interval"]
    assert low < 0.6 < high + 0.1
    assert found["total"]["bias"]["value"] > 1.0
    assert 0.5 < found["reliability"]["icc"] < 1.0
    gold = label_readings(cohort, WindowConfig())
    rows, observed = ratings(labels, gold.filter(~pl.col("locked")))
    assert observed.names == ("simulated",)
    assert observed.draws[0].shape == (620, 3)
    assert np.isfinite(observed.gold).sum() == 350
    believed = posterior(fit(observed), observed).mean
    truth = pl.read_parquet(tmp_path / "c" / "truth" / "phq9_all.parquet")
    hidden = (
        rows.with_columns(believed=believed, raw=observed.means[:, 0])
        .filter(np.isnan(observed.gold))
        .join(truth.filter(pl.col("repeat") == 0).unique("person_id", keep="last"), on="person_id")
    )
    assert hidden.height > 100
    errors = hidden.select(
        (pl.col("believed") - pl.col("total")).abs().mean().alias("believed"),
        (pl.col("raw") - pl.col("total")).abs().mean().alias("raw"),
    ).row(0, named=True)
    assert errors["believed"] < errors["raw"]


def test_ratings_line_up_several_teachers_student_and_gold(tmp_path):
    cohort = make_cohort(tmp_path / "c", texts(5), locked=0)
    add_truth(cohort, 5, draws=2)
    label_cohort(cohort, tmp_path / "l", LabelConfig(draws=2))
    one = read_labels(tmp_path / "l")
    other = one.filter(pl.col("draw") == 0).with_columns(model=pl.lit("a"), total=pl.lit(1.0))
    keys = ["person_id", "time", "first", "last"]
    readings = one.filter(pl.col("draw") == 0).select(keys).reverse()
    student = readings.head(3).with_columns(mean=pl.int_range(3).cast(pl.Float64))
    gold = label_readings(read_cohort(cohort), WindowConfig())
    rows, seen = ratings(pl.concat([one, other]), gold, student)
    assert rows["person_id"].to_list() == [f"user-{n:04d}-quokka" for n in range(5)]
    assert seen.names == ("a", "simulated", "student")
    assert seen.draws[1].tolist() == [[n, n + 1] for n in range(5)]
    assert seen.draws[0].tolist() == [[1.0]] * 5
    assert seen.draws[2][:, 0] == pytest.approx([np.nan, np.nan, 2, 1, 0], nan_ok=True)
    assert seen.gold == pytest.approx([0, np.nan, 2, np.nan, 4], nan_ok=True)
    alone = ratings(one.clear(), gold, student)[1]
    assert alone.names == ("student",)
    with pytest.raises(LeadlineError, match="two ratings"):
        ratings(pl.concat([one, one]), gold)
    with pytest.raises(LeadlineError, match="nothing to learn"):
        ratings(one.clear(), gold)


def test_totals_are_kept_within_the_scale_and_missing_draws_fail(tmp_path):
    cohort = make_cohort(tmp_path / "c", texts(4), locked=0)
    add_truth(cohort, 3, draws=2, total=lambda n, draw: 40 if draw else -5)
    report = label_cohort(cohort, tmp_path / "l", LabelConfig(teacher="simulated", draws=3))
    assert report["states"]["failed"] == 3 * 1 + 3  # third draws, and a person without any
    assert report["errors"] == {"no simulated answer": 3, "no such draw": 3}
    assert set(read_labels(tmp_path / "l")["total"]) == {0.0, 27.0}


def test_a_cohort_without_simulated_teacher_is_refused(tmp_path):
    cohort = make_cohort(tmp_path / "c", texts(3))
    with pytest.raises(LeadlineError, match="no simulated teacher"):
        label_cohort(cohort, tmp_path / "l", LabelConfig())
    table = add_truth(cohort, 3)
    table.drop("draw").write_parquet(cohort / "truth" / "teacher.parquet")
    with pytest.raises(LeadlineError, match="lacks the columns draw"):
        label_cohort(cohort, tmp_path / "l", LabelConfig())


def test_unfinished_or_malformed_labels_are_refused(tmp_path):
    cohort = make_cohort(tmp_path / "c", texts(3))
    add_truth(cohort, 3)
    label_cohort(cohort, tmp_path / "l", LabelConfig(limit=1))
    table = read_labels(tmp_path / "l")
    assert table["person_id"].n_unique() == 1
    table.drop("weight").write_parquet(tmp_path / "l" / "labels.parquet")
    with pytest.raises(LeadlineError, match="'weight'"):
        read_labels(tmp_path / "l")
    (tmp_path / "l" / "labels.parquet").write_bytes(b"no")
    with pytest.raises(LeadlineError, match="cannot be read"):
        read_labels(tmp_path / "l")
    (tmp_path / "l" / "manifest.json").unlink()
    with pytest.raises(LeadlineError, match="unfinished"):
        read_labels(tmp_path / "l")


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"teacher": "anthropic"}, "--model"),
        ({"teacher": "gpt"}, "--teacher"),
        ({"who": "everyone"}, "--who"),
        ({"draws": 0}, "--draws"),
        ({"repeat": "failed,done"}, "--repeat"),
    ],
)
def test_bad_settings_name_their_flag(change, flag):
    with pytest.raises(LeadlineError, match=flag):
        LabelConfig(**change)


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:1/v1", True),
        ("http://LOCALHOST:1/v1", True),
        ("https://api.openai.com/v1", False),
        ("http://10.0.0.1", False),
        ("http://0.0.0.0:1", False),
        ("http://localhost@example.org", False),
        ("http://localhost.", False),
        ("http://127.0.0.1.nip.io", False),
    ],
)
def test_loopback_is_told_from_lookalikes(url, local):
    assert is_loopback(url) == local


def test_urls_are_explicit(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://elsewhere.example.org")
    assert resolve_url("anthropic", None) == "https://api.anthropic.com"
    for bad in ("api.example.org", "ftp://example.org", "http://", "https://me:pw@example.org"):
        with pytest.raises(LeadlineError, match="--base-url"):
            resolve_url("openai", bad)


def test_completions_of_sparse_servers_are_read():
    bare = {"choices": [{"message": {"content": "{}"}}]}
    assert read_completion(bare).state == "done"
    assert read_completion(bare).input_tokens is None
    assert read_completion({"choices": []}).state == "failed"
    blocked = {"choices": [{"message": {}, "finish_reason": "content_filter"}]}
    assert read_completion(blocked).state == "refused"
    assert "teacher" in missing_package("openai", "teacher", "x").remedy
