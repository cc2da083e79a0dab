"""Self-training end to end on tiny people: what is used, refused, recorded, and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.support import ROOT
from tests.support.people import NumberSource, make_cohort, make_labels
from tests.support.rounds import TRAIN, go, locked_mae

from leadline.cohort.config import WindowConfig
from leadline.cohort.store import read_cohort
from leadline.errors import LeadlineError
from leadline.evaluate.run_results import evaluate_run
from leadline.report.run_report import report_run
from leadline.runs.checkpoint import load_ensemble
from leadline.runs.config import TrainConfig
from leadline.runs.train import train_run
from leadline.scoring.score import score_cohort
from leadline.selftrain import selftrain as selftrain_module
from leadline.selftrain.ancestry import TaintedLabel, check_ancestry, folds_out, read_ancestry
from leadline.selftrain.selftrain import ROUNDS_HEAD, possible_rounds
from leadline.tables import MASKED_ARM
from leadline.teacher.label_model import fit
from leadline.teacher.label_table import LABELS_FILE


@pytest.fixture(scope="module")
def questioned(data):
    """The cohort with an item asked in the chat of ten people, and its folder."""
    folder, cohort, *_ = data
    text = "In the last two weeks, how often were you tired?"
    rows = [
        (name, "q", 0, "assistant", text, None)
        for name in cohort.people.filter(~pl.col("locked"))["person_id"].tail(10)
    ]
    first = cohort.turns.group_by("person_id").agg(pl.col("time").min())
    asked = pl.DataFrame(rows, schema=cohort.turns.schema, orient="row").drop("time")
    asked = asked.join(first, on="person_id").select(cohort.turns.columns)
    turns = pl.concat([asked, cohort.turns]).sort("person_id", "time", maintain_order=True)
    return folder, replace(cohort, turns=turns)


def test_a_prior_is_not_for_rounds(data, tmp_path):
    train = replace(TRAIN, prior="prior", fit="auto")
    with pytest.raises(LeadlineError, match=r"--prior is for leadline train"):
        go(data, tmp_path / "run", train=train)


def test_self_training_stops_at_a_questionnaire(questioned, tmp_path):
    with pytest.raises(LeadlineError, match=r"10 of 420 people.*10 asked items"):
        go(questioned, tmp_path / "run", labels=None)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("way", "arm"), [("mask", "masked"), ("keep", "kept")])
def test_the_two_ways_past_a_questionnaire(questioned, tmp_path, way, arm):
    window = WindowConfig(**{f"{way}_questionnaire": True})
    manifest = go(
        questioned, tmp_path / "run", labels=None, canary=0.0, ablation=False, window=window
    )
    assert manifest["questionnaire"]["arm"] == arm
    assert manifest["questionnaire"]["people"] == 10
    models = set(pl.read_parquet(tmp_path / "run" / "predictions.parquet")["model"])
    assert (MASKED_ARM in models) == (way == "keep")


def test_a_run_is_an_ordinary_run_with_the_ablation_as_models(data, finished):
    _, cohort, *_ = data
    run, manifest = finished
    table = pl.read_parquet(run / "predictions.parquet")
    assert not set(table["person_id"]) & cohort.locked_ids, "the test is closed"
    mae = locked_mae(run, cohort.path)
    expected = {"gold only", "raw teacher", "label model, teacher alone", "round 1", "leadline"}
    assert expected <= set(mae)
    assert mae["leadline"] == mae["round 1"]
    assert manifest["reference_model"] == "gold only"
    assert manifest["selftraining"]["kept"] == 1
    for entry in manifest["selftraining"]["rounds"]:
        canary = entry["canary"]
        assert canary["can_tell"] == (canary["power"] >= 0.8)
        assert 0 < canary["leak"] < 1
    results = evaluate_run(run, cohort.path)
    compared = {c["model"] for s in results["sets"] for c in s["comparisons"]}
    assert {"round 1", "raw teacher", "fused"} <= compared
    assert [one["run"] for one in results["further"]["locked"]["openings"]][-1] == run.name
    assert results["shown_model"] == "leadline"
    assert results["profile"]["disagreement"] < 1e-9
    assert {entry["split"] for entry in results["profile"]["sets"]} == {"out-of-fold", "locked"}
    rows = {row["model"]: row for row in results["selftraining"]["rows"]}
    assert next(iter(rows)) == "gold only"
    assert list(rows)[-3:] == ["leadline", "teacher alone, recalibrated", "fused"]
    assert "the same as round 1" in rows["leadline"]["meaning"]
    page = report_run(run).read_text()
    for name, row in rows.items():
        assert f'<th scope="row">{name}<small' in page
        assert {cell["split"] for cell in row["sets"]} == {"locked", "out-of-fold"}
    ensemble, _ = load_ensemble(run)
    assert len(ensemble.members) == TRAIN.folds
    assert not (run / "nodes").exists()


@pytest.mark.parametrize(
    ("fit", "head", "repeats"), [("ridge", "distribution", 2), ("auto", "distribution", 1)]
)
def test_gold_only_is_what_train_writes(data, tmp_path, monkeypatch, fit, head, repeats):
    _, cohort, *_ = data
    monkeypatch.setattr("leadline.runs.train.open_source", lambda *a, **k: NumberSource())
    train = replace(TRAIN, fit=fit, head=head, repeats=repeats, seed=3)
    kept = go(data, tmp_path / "self", None, train, rounds=1, min_gain=50.0, canary=0.0)
    train_run(cohort, tmp_path / "plain", train, WindowConfig())
    plain = pl.read_parquet(tmp_path / "plain" / "predictions.parquet")
    table = pl.read_parquet(tmp_path / "self" / "predictions.parquet")
    assert kept["selftraining"]["kept"] == 0
    for name in ("gold only", "leadline"):  # no round is kept, so the run scores with it too
        mine = table.filter(pl.col("model") == name).with_columns(model=pl.lit("leadline"))
        assert_frame_equal(mine, plain, rel_tol=0, abs_tol=1e-9)
    labelled = set(cohort.phq9["person_id"])
    for run in ("plain", "self"):
        score_cohort(cohort, tmp_path / run, tmp_path / f"{run}.parquet")
    plain, mine = (
        pl.read_parquet(tmp_path / f"{run}.parquet")
        .filter(pl.col("person_id").is_in(list(labelled)))
        .drop("model_id")
        for run in ("plain", "self")
    )
    assert_frame_equal(mine, plain, rel_tol=0, abs_tol=1e-9)


def test_a_gold_only_model_that_saw_those_it_left_out_stops_the_run(data, tmp_path, monkeypatch):
    """The injected violation: the code that `train` shares fits everyone, as the ledger sees."""

    def everyone(labelled, left_out, repeat, fold, *, inside):
        return np.array([r for r, p in enumerate(labelled.people) if p.person_id in left_out])

    monkeypatch.setattr("leadline.runs.train.people_of_fold", everyone)
    with pytest.raises(TaintedLabel, match="has seen"):
        go(data, tmp_path / "run", ablation=False, canary=0.0)


def test_raw_teacher_labels_harm_and_the_label_model_does_not(data, finished):
    mae = locked_mae(finished[0], data[1].path)
    assert mae["raw teacher"] > mae["gold only"] + 0.1
    assert mae["round 1"] < mae["gold only"] + 0.03


def test_nobody_descends_from_themselves_or_from_a_locked_person(data, finished):
    run, _ = finished
    *_, locked = data
    ledger = read_ancestry(run, locked)
    left_out = load_ensemble(run)[0].left_out
    assert check_ancestry(run, locked, left_out) == len(ledger.batches) > 0
    out = {name: folds_out(name) for name in ledger.fitted}
    finals = [name for name, (_, gold, free) in out.items() if gold == free and len(gold) == 1]
    assert len(finals) == 5 * TRAIN.folds  # what train writes; gold, posterior, raw, teacher
    for name, (_, gold, _) in out.items():
        seen = ledger.seen_by(name)
        assert seen
        assert not any(left_out[person][0] in gold for person in seen)
        assert not seen & locked
    labels = pl.read_parquet(run / "ledger-pseudolabels.parquet")
    assert labels["weight"].is_between(0, 1).all()
    assert set(labels["source"]) == {"student"}


def test_folds_redrawn_between_rounds_are_caught(data, tmp_path, monkeypatch):
    """The injected violation: round 1 calls people unseen whom round 0 was trained on."""

    def redraw(course, kind, round_):
        for chain in course.chains:
            chain.fold = np.where(chain.fold >= 0, (chain.fold + 1) % TRAIN.folds, -1)

    monkeypatch.setattr(selftrain_module.RoundsInProgress, "canary_figures", redraw)
    with pytest.raises(TaintedLabel, match="has seen"):
        go(data, tmp_path / "run", ablation=False, canary=0.0)
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_student_alone(data, tmp_path):
    manifest = go(data, tmp_path / "run", labels=None, rounds=1)
    mae = locked_mae(tmp_path / "run", data[1].path)
    assert set(mae) == {"gold only", ROUNDS_HEAD, "round 1", "leadline"}
    assert manifest["training"]["teachers"] == "none: the student alone"
    assert not (tmp_path / "run" / "fusion.json").exists()


@pytest.mark.parametrize("labels", ["labels", None])
def test_two_rounds_go_one_level_deeper_and_stay_clean(data, tmp_path, monkeypatch, labels):
    *_, locked = data
    once = []

    def fit_once(observed, **settings):  # whom it saw is under test here, not what it found
        once.append(observed) if once else once.extend([fit(observed, **settings), observed])
        return once[0]

    monkeypatch.setattr("leadline.selftrain.chain.fit", fit_once)
    train = TrainConfig(reader="numbers", fit="ridge", folds=5, baselines=False)
    manifest = go(data, tmp_path / "run", labels, train, rounds=3, ablation=False, canary=0.0)
    rounds = manifest["selftraining"]["rounds"]
    assert [one["round"] for one in rounds] == [0, 1, 2, 3]
    assert "allow 2 rounds" in rounds[3]["reasons"][0]
    ledger = read_ancestry(tmp_path / "run", locked)
    second = [name for name in ledger.batches if name.startswith("main-posterior-2")]
    assert second
    for name in second:  # labels of round 2 descend from labels of round 1, of others
        made = [m for m in ledger.batches[name].models if ledger.fitted[m].batches]
        assert made
        assert any(person in ledger.ancestors(name) for person in _labelled(ledger, made))


def _labelled(ledger, models):
    return {p for m in models for b in ledger.fitted[m].batches for p in ledger.batches[b].labelled}


def test_a_round_that_gains_nothing_is_not_kept(data, tmp_path):
    manifest = go(data, tmp_path / "run", min_gain=50.0, ablation=False)
    course = manifest["selftraining"]
    assert course["kept"] == 0
    assert "standard error" in course["rounds"][1]["reasons"][0]
    mae = locked_mae(tmp_path / "run", data[1].path)
    assert mae["leadline"] == mae["gold only"] != mae["round 1"]


def test_too_little_gold_for_a_round_leaves_the_gold_only_model(tmp_path):
    truth = make_cohort(tmp_path / "cohort", gold=40, unlabelled=30, locked=10)
    cohort = read_cohort(tmp_path / "cohort")
    locked = set(cohort.people.filter("locked")["person_id"])
    make_labels(tmp_path / "labels", truth, locked, cohort=cohort)
    manifest = go((tmp_path, cohort), tmp_path / "run", rounds=3)
    assert manifest["selftraining"]["kept"] == 0
    assert "allow 0 rounds" in manifest["selftraining"]["rounds"][1]["reasons"][0]
    assert set(locked_mae(tmp_path / "run", cohort.path)) == {"gold only", ROUNDS_HEAD, "leadline"}


@pytest.mark.parametrize(
    ("people", "folds", "allowed"), [(3000, 5, 2), (3000, 6, 3), (3000, 3, 0), (50, 6, 0)]
)
def test_rounds_that_folds_and_people_allow(people, folds, allowed):
    rounds, reason = possible_rounds(people, folds, 3)
    assert rounds == allowed
    assert (reason is None) == (allowed == 3)


CHILD = """
import sys; sys.path.insert(0, {tests!r})
import time
from dataclasses import replace
from pathlib import Path
from leadline.selftrain import node_store, selftrain
from leadline.cohort.store import read_cohort
from tests.support.people import NumberSource
from tests.support.rounds import go
selftrain.open_source = lambda *a, **k: NumberSource()
write = node_store._write
def slow(path, node):
    write(path, node)
    time.sleep(.02)
node_store._write = slow
folder = Path({folder!r})
go((folder, read_cohort(folder / "cohort")), Path({out!r}))
"""


ROUND_1 = "main-posterior-1-*.npz"  # students of the round, and their labels


def test_a_run_killed_in_a_round_goes_on_and_ends_as_if_it_had_not_been(data, finished, tmp_path):
    folder, *_ = data
    out = tmp_path / "run"
    code = CHILD.format(tests=str(ROOT), folder=str(folder), out=str(out))
    child = subprocess.Popen([sys.executable, "-c", code], env=dict(os.environ))
    nodes = out / "nodes"
    stop = time.monotonic() + 300
    while time.monotonic() < stop and len(list(nodes.glob(ROUND_1))) < 3:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait(10) == -signal.SIGKILL
    kept = {path.name: path.stat().st_mtime_ns for path in nodes.glob("*.npz")}
    begun = len(list(nodes.glob(ROUND_1)))
    assert begun >= 3
    assert not (out / "manifest.json").exists()
    with pytest.raises(LeadlineError, match="other settings"):
        go(data, out, rounds=2)
    with pytest.MonkeyPatch.context() as patch:
        seen = {}

        def spy(path, **_):
            seen.update({p.name: p.stat().st_mtime_ns for p in Path(path).glob("*.npz")})
            seen["round 1"] = len(list(Path(path).glob(ROUND_1)))

        patch.setattr(selftrain_module.shutil, "rmtree", spy)
        go(data, out)
    assert seen["round 1"] > begun  # it was killed in the middle of the round
    assert kept.items() <= seen.items()  # nothing was made twice
    for name in ("predictions", "estimates", "ledger", "ledger-pseudolabels", "ledger-models",
                 "ledger-batches"):  # fmt: skip
        old, new = (pl.read_parquet(run / f"{name}.parquet") for run in (finished[0], out))
        if name.startswith("ledger-"):  # their rows come in the order in which they were made
            old, new = (table.sort(table.columns[:8]) for table in (old, new))
        assert_frame_equal(new, old, check_exact=True)
    for name in ("selftraining.json", "fusion.json"):
        assert (out / name).read_text() == (finished[0] / name).read_text()
    assert (folder / "labels" / LABELS_FILE).is_file()
