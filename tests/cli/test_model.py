"""Verbs about models."""

import json
import os
import shutil

import polars as pl
import pytest
from tests.support.cohorts import files_of
from tests.support.commands import one_message
from tests.support.teacher_cohort import make_cohort, texts
from tests.support.teacher_server import TeacherServer

from leadline.artefact import sha256, write_json


def test_the_whole_course(leadline, tmp_path, sentence_reader):
    """Simulate, inspect, train, evaluate, report, score: each by its verb, JSON where it is."""
    cohort, run, out = tmp_path / "cohort", tmp_path / "run", tmp_path / "out.parquet"
    people = ("--people", "40", "--gold", "30", "--locked", "0", "--user-turns", "8")
    code, text, _ = leadline("simulate", "--out", cohort, "--preset", "easy", *people, "--json")
    assert code == 0
    assert json.loads(text)["people"] == 40
    code, text, _ = leadline("lock", cohort, "--share", "0.2", "--json")
    record = json.loads(text)
    assert record.pop("window")["days"] == 14
    precision = record.pop("precision")
    assert precision["at_cut"] == record.pop("at_cut")
    assert precision["weak"]
    assert record == {
        "share": 0.2, "seed": 0, "by": "severity", "include_phq8": False, "people": 6,
        "eligible": 30, "record": "locked-test.jsonl",
    }  # fmt: skip
    code, text, _ = leadline("inspect", cohort, "--json")
    assert json.loads(text)["locked"] == 6
    code, text, _ = leadline("inspect", cohort)
    assert code == 0
    quick = ("--reader", sentence_reader, "--folds", "2", "--inner-folds", "2", "--fit", "ridge")
    code, text, err = leadline("train", cohort, "--out", run, *quick, "--json")
    assert code == 0, err
    results = json.loads(text)
    assert results["sets"][0]["models"]["leadline"]["scores"]["mae"]["value"] > 0
    assert [part["split"] for part in results["sets"]] == ["out-of-fold"]
    assert "Cross-validation has 24 people" in err
    assert "The locked test, still closed, has 6 people" in err
    assert "that is little" in err
    assert "--open-locked-test" in err
    assert (run / "report.html").is_file()
    for name in ("results.json", "report.html"):  # as a kill after the training leaves it
        (run / name).unlink()
    code, text, err = leadline("train", cohort, "--out", run, *quick, "--json")
    assert code == 0, err
    assert "only its results or its report were missing" in err
    assert json.loads(text)["sets"] == results["sets"]
    assert (run / "report.html").is_file()
    fast = ("--resamples", "100", "--curve-resamples", "100")
    code, text, _ = leadline("evaluate", run, "--cohort", cohort, *fast, "--json")
    assert json.loads(text)["sets"]
    code, _, err = leadline("evaluate", run, "--open-locked-test")
    assert code == 2
    assert "without a cohort" in err
    opened = ("evaluate", run, "--cohort", cohort, "--open-locked-test", *fast)
    for often in ("once", "2 times"):
        code, text, err = leadline(*opened)
        assert code == 0, err
        assert f"has been opened {often}, by run (" in " ".join(text.split())
    page = (run / "report.html").read_text()
    assert page.index("Cross-validation by person") < page.index("Locked test people")
    assert "This locked test has been opened 2 times" in page
    assert json.loads(leadline("inspect", cohort, "--json")[1])["openings"] == 2
    code, text, err = leadline("evaluate", run, *fast)
    assert "MAE" in text
    assert "not a diagnosis" in err
    code, text, _ = leadline("report", run)
    assert text.strip() == str(run / "report.html")
    assert leadline("verify", run)[0] == leadline("verify", cohort)[0] == 0
    forged = (run / "results.json").read_text().replace('"value": ', '"value": 0')
    (run / "results.json").write_text(forged)
    code, text, err = leadline("report", run)
    assert (code, text) == (2, "")
    assert "results.json: This file is not the one that was written" in err
    assert f"Run: leadline evaluate {run}" in err
    code, text, _ = leadline("score", cohort, "--run", run, "--out", out, "--json")
    assert json.loads(text)["estimates"] == pl.read_parquet(out).height
    code, text, err = leadline("score", cohort, "--run", run, "--out", out, "--overwrite")
    assert code == 0
    assert "40 people" in text
    assert "not a diagnosis" in err
    code, text, _ = leadline("reader", "list", "--json")
    assert json.loads(text) == {}


def break_weights(run):
    path = run / "checkpoint" / "repeat-0-fold-0.safetensors"
    path.write_bytes(path.read_bytes()[:50])
    return str(path)


def edit_model(run):
    path = run / "checkpoint" / "model.json"
    write_json(path, {**json.loads(path.read_text()), "format": 99})
    return "not the one that was written"


def break_format(run):
    edit_model(run)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["files"]["checkpoint/model.json"] = sha256(run / "checkpoint" / "model.json")
    write_json(run / "manifest.json", manifest)
    return "has format 99"


def break_manifest(run):
    (run / "manifest.json").write_text("{")
    return "cannot be read as JSON"


@pytest.mark.parametrize("damage", [break_weights, edit_model, break_format, break_manifest])
def test_a_damaged_run_is_one_message(leadline, tmp_path, simulated_path, trained, damage):
    run = shutil.copytree(trained, tmp_path / "run")
    message = damage(run)
    before = files_of(tmp_path)
    result = leadline("score", simulated_path, "--run", run, "--out", tmp_path / "x.parquet")
    one_message(result, message, tmp_path, before)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to(leadline, tmp_path, simulated_path, sentence_reader):
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o500)
    result = leadline("train", simulated_path, "--out", shut / "run", "--reader", sentence_reader)
    one_message(result, "cannot be made here", tmp_path, {})


def test_labelling_says_what_it_costs_before_it_sends(leadline, tmp_path):
    cohort, out = make_cohort(tmp_path / "c", ["PONDER", *texts(5)], locked=0), tmp_path / "l"
    with TeacherServer() as server:
        local = ("--base-url", server.url, "--teacher", "anthropic", "--model", "m")
        prices = ("--price-in", "5", "--price-out", "25", "--draws", "1")
        think = ("--reasoning", "low", "--limit-people", "2")
        verb = ("label", cohort, "--out", out, *local, *prices, *think)
        code, text, err = leadline(*verb, "--dry-run", "--json")
        assert (code, server.bodies) == (0, [])
        plan = json.loads(text)
        assert (plan["requests"], plan["without_gold"]) == (5, 2)
        code, text, err = leadline(*verb)
        assert code == 0, err
    assert f"5 requests for 5 people, about {plan['expected_input_tokens']:,} tokens in" in err
    assert f"{plan['most_usd']:,.2f} at most" in err
    assert "2 of 3 people without a PHQ-9" in err
    assert "--thought-tokens" in err, "the thought of one of them was cut off"
    assert "reasoning_tokens" in text
