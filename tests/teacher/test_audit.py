"""The audit recovers what was built into a teacher, and stays away from locked people."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from leadline.artefact import sha256
from leadline.cli.app import app
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import Cohort
from leadline.cohort.windows import label_readings
from leadline.errors import LeadlineError
from leadline.phq9.items import ITEM_COLUMNS
from leadline.tables import LABELS, PEOPLE, PHQ9, TURNS
from leadline.teacher.audit import (
    audit,
    audit_labels,
    item_agreement,
    pair_with_gold,
    reliability,
    resampled,
    total_agreement,
)
from leadline.teacher.config import LabelConfig
from leadline.teacher.label import label_cohort

START = datetime(2025, 1, 1, tzinfo=UTC)
PEOPLE_COUNT = 400


@pytest.fixture(scope="module")
def built():
    """A cohort, and a teacher t = 4 + .5 y + shared + draw that is 3 points higher on women."""
    random = np.random.default_rng(3)
    gold = random.integers(0, 4, (PEOPLE_COUNT, 9))
    turns, phq9, people, labels = [], [], [], []
    for number, scores in enumerate(gold):
        person = f"p{number}"
        words = " ".join(["word"] * (number % 40 + 1))
        turns.append((person, "c", 0, "user", words, START))
        total = float(scores.sum())
        when = START + timedelta(hours=1)
        phq9.append((person, when, total, total, *map(int, scores), "phq9", False))
        woman = number % 2 == 0
        people.append((person, number >= PEOPLE_COUNT - 20, "woman" if woman else "man"))
        shared = random.normal(0, 1)
        for draw in range(3):
            level = 4 + 0.5 * total + (3 if woman else 0) + shared + random.normal(0, 1)
            items = [int(score) if k else None for k, score in enumerate(scores)]
            head = (person, when, 0, 0, "teacher", 0, "m", draw)
            labels.append((*head, *items, level, 1.0, [], 0.5, 4, 3, number % 40 + 1))
    schema = {**PEOPLE, "gender": pl.String()}
    cohort = Cohort(
        pl.DataFrame(turns, schema=TURNS, orient="row"),
        pl.DataFrame(phq9, schema=PHQ9, orient="row"),
        pl.DataFrame(people, schema=schema, orient="row"),
        manifest={},
    )
    return cohort, pl.DataFrame(labels, schema=LABELS, orient="row")


def test_finds_bias_slope_reliability_group_gap_and_evidence(built):
    cohort, labels = built
    found = audit(labels, cohort, WindowConfig(), groups=["gender"])["m"]
    assert found["readings"] == found["people"] == PEOPLE_COUNT - 20
    slope = found["total"]["slope"]
    assert slope["value"] == pytest.approx(0.5, abs=0.06)
    assert slope["interval"][0] < 0.5 < slope["interval"][1]
    assert found["total"]["intercept"]["value"] == pytest.approx(5.5, abs=0.8)
    gap = found["groups"]["gender"]["woman"]["bias"] - found["groups"]["gender"]["man"]["bias"]
    assert gap == pytest.approx(3.0, abs=0.7)
    assert found["reliability"]["draw_sd"] == pytest.approx(1.0, abs=0.1)
    icc = found["reliability"]["icc"]
    assert icc < found["reliability"]["icc_mean"]
    assert found["reliability"]["icc_mean"] == pytest.approx(3 * icc / (1 + 2 * icc))
    assert found["items"]["item_1"]["no_evidence"] == 1.0
    assert found["items"]["item_2"] == {
        "n": 3 * 380,
        "no_evidence": 0.0,
        "exact": 1.0,
        "bias": 0.0,
        "kappa": 1.0,
    }
    assert found["evidence"]["found"] == 0.75
    assert len(found["length"]) == 4
    assert sum(part["n"] for part in found["length"].values()) == 380


def test_groups_have_intervals_a_gap_to_the_others_and_small_ones_are_counted(built):
    cohort, labels = built
    people = cohort.people.with_columns(
        gender=pl.when(pl.col("person_id") == "p3").then(pl.lit("else")).otherwise("gender")
    )
    wide = Cohort(cohort.turns, cohort.phq9, people, manifest={})
    groups = audit(labels, wide, WindowConfig(), groups=["gender"])["m"]["groups"]["gender"]
    woman = groups["woman"]
    assert woman["gap"] == pytest.approx(3.0, abs=0.7)
    for name in ("gap", "bias", "r"):
        low, high = woman["intervals"][name]
        assert low < woman[name] < high
    assert woman["intervals"]["gap"][0] > 1.5
    assert groups["else"]["n"] == 1
    assert groups["else"]["bias"] is None


def test_figures_from_sums_are_those_of_the_rows(built):
    """Against the plain formulas, scikit-learn's kappa, and the textbook's draws."""
    cohort, labels = built
    rows = pair_with_gold(labels, cohort, WindowConfig())
    rows = rows.with_columns(item_2=(pl.col("item_2") + (pl.col("draw") == 0).cast(pl.Int8)) % 4)
    figures = {name: draws[0] for name, draws in resampled(rows, 0).items()}
    means = rows.group_by("label").agg(pl.col("total").mean(), pl.col("gold_total").first())
    plain = total_agreement(means["total"].to_numpy(), means["gold_total"].to_numpy())
    for name, value in plain.items():
        assert figures[name] == pytest.approx(value), name
    assert figures["draw_sd"] == pytest.approx(reliability(rows)["draw_sd"])
    kappas = [item_agreement(rows, item)["kappa"] for item in ITEM_COLUMNS]
    assert figures["kappa"] == pytest.approx(np.mean([x for x in kappas if x is not None]))
    assert min(x for x in kappas if x is not None) < 0.9
    assert figures["no_evidence"] == pytest.approx(1 / 9)
    assert np.isnan(figures["usd"]), "tables of before do not say"


def test_resamples_are_of_people_with_all_their_readings(built):
    cohort, labels = built
    rows = pair_with_gold(labels, cohort, WindowConfig()).head(3 * 30)
    copies = [
        rows.with_columns(label=pl.col("label") + 10_000 * copy) for copy in range(4)
    ]  # the same people four times: no more is known of them
    one, four = resampled(rows, 3)["mae"], resampled(pl.concat(copies), 3)["mae"]
    assert four == pytest.approx(one)


def test_only_the_people_asked_for(built):
    cohort, labels = built
    some = [f"p{n}" for n in range(50)]
    assert audit(labels, cohort, WindowConfig(), people=some)["m"]["people"] == 50


def test_locked_people_unknown_groups_and_no_overlap_are_refused(built):
    cohort, labels = built
    with pytest.raises(LeadlineError, match="locked"):
        audit(labels, cohort, WindowConfig(), people=["p399"])
    with pytest.raises(LeadlineError, match="no column 'site'"):
        audit(labels, cohort, WindowConfig(), groups=["site"])
    student = labels.with_columns(source=pl.lit("student"))
    with pytest.raises(LeadlineError, match="compared"):
        audit(student, cohort, WindowConfig())


def test_undated_readings_still_find_their_gold(built):
    cohort, labels = built
    undated = Cohort(
        cohort.turns.with_columns(time=pl.lit(None, dtype=TURNS["time"])),
        cohort.phq9.with_columns(time=pl.lit(None, dtype=TURNS["time"])),
        cohort.people,
        manifest={},
    )
    assert label_readings(undated, WindowConfig()).height == PEOPLE_COUNT
    bare = labels.with_columns(time=pl.lit(None, dtype=TURNS["time"]))
    assert audit(bare, undated, WindowConfig())["m"]["readings"] == 380


def test_reliability_equals_the_textbook_example():
    """Shrout & Fleiss 1979, table 2: six targets, four judges, ICC(1,1) .17, ICC(1,4) .44."""
    judges = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    rows = [(target, float(score)) for target, line in enumerate(judges) for score in line]
    found = reliability(pl.DataFrame(rows, schema=["label", "total"], orient="row"))
    assert found["icc"] == pytest.approx(0.166, abs=5e-4)
    assert found["icc_mean"] == pytest.approx(0.443, abs=5e-4)


def test_figures_that_are_not_defined_are_none():
    single = pl.DataFrame({"label": [1, 2, 3], "total": [1.0, 5.0, 9.0]})
    assert reliability(single)["icc"] is None
    flat = total_agreement(np.full(5, 9.0), np.arange(5.0))
    assert flat["r"] is None
    assert flat["bias"] == 7.0
    silent = {f"gold_{ITEM_COLUMNS[0]}": [1, 2], ITEM_COLUMNS[0]: [None, None]}
    found = item_agreement(
        pl.DataFrame(silent, schema_overrides={ITEM_COLUMNS[0]: pl.Int8}), ITEM_COLUMNS[0]
    )
    assert (found["n"], found["no_evidence"], found["kappa"]) == (0, 1.0, None)


def test_the_verb_shows_what_the_audit_found(simulated_path, tmp_path):
    labels = tmp_path / "labels"
    label_cohort(simulated_path, labels, LabelConfig())
    runner = CliRunner()
    arguments = ["audit", str(simulated_path), "--labels", str(labels)]
    done = runner.invoke(app, [*arguments, "--group", "gender", "--json"], catch_exceptions=False)
    audits = json.loads(done.stdout)
    assert audits["simulated"]["people"] == 44, "the locked people are not looked at"
    assert set(audits["simulated"]["groups"]) == {"gender"}
    page = runner.invoke(app, arguments, catch_exceptions=False).stdout
    assert "simulated against PHQ-9s" in page
    assert "weighted kappa" in page
    assert f"{audits['simulated']['total']['slope']['value']:.2f}" in page


def test_labels_of_another_cohort_are_not_audited(simulated_path, cohort_path, tmp_path):
    label_cohort(simulated_path, tmp_path / "labels", LabelConfig(limit=5))
    rewritten = pl.read_parquet(cohort_path / "turns.parquet").with_columns(text=pl.lit("other"))
    rewritten.write_parquet(cohort_path / "turns.parquet")
    manifest = json.loads((cohort_path / "manifest.json").read_text())
    manifest["files"]["turns.parquet"] = sha256(cohort_path / "turns.parquet")
    (cohort_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(LeadlineError, match="another state of the cohort"):
        audit_labels(cohort_path, tmp_path / "labels")
