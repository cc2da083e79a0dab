"""A questionnaire in the chat: training stops, and both ways past it are reported."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.support.cohorts import SMALL, scored_people
from tests.support.evaluated import hash_again

from leadline.artefact import read_manifest, write_json
from leadline.cohort.config import WindowConfig
from leadline.errors import LeadlineError
from leadline.evaluate.config import EvaluateConfig
from leadline.evaluate.run_results import evaluate_run, read_results
from leadline.phq9.wordings import wordings
from leadline.report.run_report import report_run
from leadline.runs.checkpoint import load_ensemble
from leadline.runs.train import train_run
from leadline.simulate.cohort import simulate_cohort
from leadline.tables import MASKED_ARM, TURNS


def table(run):
    return pl.read_parquet(run / "predictions.parquet")


@pytest.fixture
def fit(tmp_path, quick, home):
    """Train in a new directory; return it."""
    made = iter(range(100))

    def run(cohort, config=quick, window=None):
        out = tmp_path / f"run-{next(made)}"
        train_run(cohort, out, config, window, home=home)
        return out

    return run


ITEMS = [variants[0] for variants in wordings()["en"].items]
ASK = "Over the last two weeks, how often have you been bothered by: "


def asked_in_chat(people, share=0.3, scale=("not at all", "several days", "nearly every day")):
    """The cohort with a questionnaire at the end of the chat of a share of the people."""
    totals = dict(people.phq9.select("person_id", "total").iter_rows())
    names = list(totals)
    rows = [
        (name, "c", 100 + 2 * item + reply, role, text, None)
        for name in names[: round(share * len(names))]
        for item in range(9)
        for reply, (role, text) in enumerate(
            [("assistant", ASK + ITEMS[item]),
             ("user", scale[min(int(totals[name]) // 9, len(scale) - 1)])]
        )
    ]  # fmt: skip
    time = people.turns.group_by("person_id").agg(pl.col("time").max())
    chat = pl.DataFrame(rows, schema=TURNS, orient="row").drop("time").join(time, on="person_id")
    turns = pl.concat([people.turns, chat.select(people.turns.columns)])
    return replace(people, turns=turns.sort("person_id", "turn", maintain_order=True))


@pytest.mark.parametrize("people", [1, 9])
def test_training_stops_at_a_questionnaire_however_few_were_asked(fit, quick, people, tmp_path):
    cohort = asked_in_chat(scored_people([float(i % 28) for i in range(30)]), people / 30)
    with pytest.raises(LeadlineError) as caught:
        fit(cohort, replace(quick, baselines=False, folds=2))
    share = {1: "3%", 9: "30%"}[people]
    assert f"{people} of 30 people ({share}), {18 * people} of {60 + 18 * people} turns" in str(
        caught.value
    )
    assert "--mask-questionnaire" in caught.value.remedy
    assert "--keep-questionnaire" in caught.value.remedy
    assert not list(tmp_path.glob("run-*/*"))


def test_both_ways_past_a_questionnaire_and_both_arms_in_the_report(fit, quick, home):
    cohort = asked_in_chat(scored_people([float(i % 28) for i in range(40)]), 0.5)
    config = replace(quick, baselines=False, folds=2)
    masked = fit(cohort, config, WindowConfig(mask_questionnaire=True))
    kept = fit(cohort, config, WindowConfig(keep_questionnaire=True))
    records = [read_manifest(run, "run")["questionnaire"] for run in (masked, kept)]
    assert [record["arm"] for record in records] == ["masked", "kept"]
    assert records[0] | {"arm": "kept"} == records[1]
    assert records[1]["asked_labels"] == list(range(20))
    assert set(table(masked)["model"]) == {"leadline"}
    assert set(table(kept)["model"]) == {"leadline", MASKED_ARM}
    quick_settings = EvaluateConfig(resamples=100, curve_resamples=100)
    split = evaluate_run(kept, settings=quick_settings)["sets"][0]["questionnaire"]
    assert (split["asked"]["people"], split["not asked"]["people"]) == (20, 20)
    assert set(split["asked"]["models"]) == {"leadline", MASKED_ARM}
    page = report_run(kept).read_text(encoding="utf-8")
    assert "With a questionnaire in the chat" in page
    results = read_results(kept)
    for part in results["sets"]:
        del part["questionnaire"]  # as results of before have it
    write_json(kept / "results.json", results)
    hash_again(kept, "results.json")
    assert "With a questionnaire in the chat" not in report_run(kept).read_text(encoding="utf-8")
    _, window = load_ensemble(kept, home=home)
    assert (window.keep_questionnaire, window.mask_questionnaire) == (True, False)


def test_the_masked_arm_reads_what_a_masked_run_reads(fit, quick):
    """People who were not asked are estimated the same; blanked answers do not tell totals."""
    cohort = asked_in_chat(scored_people([float(i % 28) for i in range(40)]), 0.5)
    predictions = table(
        fit(cohort, replace(quick, baselines=False, folds=2), WindowConfig(keep_questionnaire=True))
    )
    read, blanked = (
        predictions.filter(pl.col("model") == name).sort("label")["mean"].to_numpy()
        for name in ("leadline", MASKED_ARM)
    )
    np.testing.assert_array_equal(read[20:], blanked[20:])
    assert (read[:20] != blanked[:20]).all()


def test_a_run_without_a_questionnaire_says_that_it_looked(trained):
    manifest = read_manifest(trained, "run")
    assert manifest["questionnaire"]["arm"] == "none found"
    assert "none found" in manifest["training"]["questionnaire in the chat"]


def test_the_leak_arm_of_the_simulator_stops_training_and_passes_with_either_flag(
    tmp_path, quick, home, fit
):
    """With 30% of people asked in the chat a run used to score r .50 without a word."""
    cohort = simulate_cohort(tmp_path / "cohort", replace(SMALL, leak_share=0.3))
    planted = pl.read_parquet(tmp_path / "cohort" / "truth" / "leak.parquet")
    read = set(cohort.phq9["person_id"])
    people = planted.filter(pl.col("person_id").is_in(list(read))).height
    assert people > 5
    config = replace(quick, baselines=False, folds=2)
    with pytest.raises(LeadlineError, match=f"{people} of {len(read)} people"):
        fit(cohort, config)
    for way, arm in (("mask_questionnaire", "masked"), ("keep_questionnaire", "kept")):
        record = read_manifest(fit(cohort, config, WindowConfig(**{way: True})), "run")
        assert record["questionnaire"]["arm"] == arm
        assert record["questionnaire"]["turns"] == 18 * people, "every planted turn is found"
