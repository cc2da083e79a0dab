"""Self-training end to end on tiny people: what is used, refused, recorded, and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.support import ROOT
from tests.support.people import NumberSource, make_cohort, make_labels

from leadline.cohort.config import WindowConfig
from leadline.cohort.store import read_cohort
from leadline.errors import LeadlineError
from leadline.evaluate.run_results import evaluate_run, report_run
from leadline.runs.checkpoint import load_ensemble
from leadline.runs.config import TrainConfig
from leadline.scoring.score import score_cohort
from leadline.selftrain import selftrain as selftrain_module
from leadline.selftrain.ancestry import TaintedLabel, check_ancestry, member_of, read_ancestry
from leadline.selftrain.config import SelftrainConfig
from leadline.selftrain.fusion import check_fusion, fuse_estimates, fuse_file, load_fusion
from leadline.selftrain.selftrain import possible_rounds, selftrain_run
from leadline.teacher.label_model import fit
from leadline.teacher.label_table import LABELS_FILE, read_labels

SIZES = {"gold": 150, "free": 150, "locked": 120}
TRAIN = TrainConfig(reader="numbers", fit="ridge", folds=4, baselines=False)
LENIENT = {"min_gain": -99.0, "min_variance": 0.1, "min_slope": 0.1, "max_slope": 9.0}


@pytest.fixture(autouse=True)
def numbers(monkeypatch):
    monkeypatch.setattr(selftrain_module, "open_source", lambda *a, **k: NumberSource())
    monkeypatch.setattr("leadline.runs.checkpoint.open_source", lambda *a, **k: NumberSource())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("selftrain")
    truth = make_cohort(folder / "cohort", **SIZES)
    cohort = read_cohort(folder / "cohort")
    locked = set(cohort.people.filter("locked")["person_id"])
    make_labels(folder / "labels", truth, locked)
    return folder, cohort, truth, frozenset(locked)


def go(data, out, labels="labels", train=TRAIN, **change):
    folder, cohort, *_ = data
    config = SelftrainConfig(**{"rounds": 1, "canary": 0.1, **LENIENT, **change})
    where = folder / labels if labels else None
    return selftrain_run(cohort, where, out, config, train, WindowConfig())


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selftrain_module, "open_source", lambda *a, **k: NumberSource())
        return out, go(data, out)


def locked_mae(run: Path) -> dict[str, float]:
    table = pl.read_parquet(run / "predictions.parquet").filter(pl.col("split") == "locked")
    error = (pl.col("mean") - pl.col("total")).abs().mean()
    return dict(table.group_by("model").agg(error).iter_rows())


def test_a_run_is_an_ordinary_run_with_the_ablation_as_models(data, finished):
    _, cohort, *_ = data
    run, manifest = finished
    mae = locked_mae(run)
    expected = {"gold only", "raw teacher", "label model, teacher alone", "round 1", "leadline"}
    assert expected <= set(mae)
    assert mae["leadline"] == mae["round 1"]
    assert manifest["reference_model"] == "gold only"
    assert manifest["selftraining"]["kept"] == 1
    results = evaluate_run(run, cohort.path)
    compared = {c["model"] for s in results["sets"] for c in s["comparisons"]}
    assert {"round 1", "raw teacher", "fused"} <= compared
    assert results["shown_model"] == "leadline"
    rows = {row["model"]: row for row in results["selftraining"]["rows"]}
    assert next(iter(rows)) == "gold only"
    assert list(rows)[-2:] == ["leadline", "fused"]
    assert "the same as round 1" in rows["leadline"]["meaning"]
    page = report_run(run).read_text()
    for name, row in rows.items():
        assert f'<th scope="row">{name}<small' in page
        assert {cell["split"] for cell in row["sets"]} == {"locked", "out-of-fold"}
    ensemble, _ = load_ensemble(run)
    assert len(ensemble.members) == TRAIN.folds
    assert not (run / "nodes").exists()


def test_raw_teacher_labels_harm_and_the_label_model_does_not(finished):
    mae = locked_mae(finished[0])
    assert mae["raw teacher"] > mae["gold only"] + 0.1
    assert mae["round 1"] < mae["gold only"] + 0.03


def test_nobody_descends_from_themselves_or_from_a_locked_person(data, finished):
    run, _ = finished
    *_, locked = data
    ledger = read_ancestry(run, locked)
    left_out = load_ensemble(run)[0].left_out
    assert check_ancestry(run, locked, left_out) == len(ledger.batches) > 0
    finals = [name for name in ledger.fitted if member_of(name)[1] is not None]
    assert len(finals) == 4 * TRAIN.folds  # gold, posterior, raw, teacher
    for name in finals:
        _, fold = member_of(name)
        seen = ledger.seen_by(name)
        assert seen
        assert not any(left_out[person][0] == fold for person in seen)
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
    mae = locked_mae(tmp_path / "run")
    assert set(mae) == {"gold only", "round 1", "leadline"}
    assert manifest["training"]["teachers"] == "none: the student alone"
    assert not (tmp_path / "run" / "fusion.json").exists()


@pytest.mark.parametrize("labels", ["labels", None])
def test_two_rounds_go_one_level_deeper_and_stay_clean(data, tmp_path, monkeypatch, labels):
    *_, locked = data
    once = []

    def fit_once(observed):  # whom it saw is under test here, not what it found
        once.append(observed) if once else once.extend([fit(observed), observed])
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


def test_labels_of_locked_people_are_refused(data, tmp_path):
    _, _, truth, _ = data
    make_labels(tmp_path / "labels", truth, set())
    with pytest.raises(LeadlineError, match="locked test people"):
        go(data, tmp_path / "run", labels=tmp_path / "labels")


def test_few_shot_examples_blank_the_labels_of_chains_that_must_not_see_them(data, tmp_path):
    """With one example person every fold's chain but that person's keeps its labels."""
    _, _, truth, locked = data
    make_labels(tmp_path / "labels", truth, set(locked), ancestors=("p0000",))
    with pytest.raises(LeadlineError, match="labelled people were rated by: oracle"):
        go(data, tmp_path / "run", labels=tmp_path / "labels", ablation=False, canary=0.0)


def test_a_round_that_gains_nothing_is_not_kept(data, tmp_path):
    manifest = go(data, tmp_path / "run", min_gain=50.0, ablation=False)
    course = manifest["selftraining"]
    assert course["kept"] == 0
    assert "standard error" in course["rounds"][1]["reasons"][0]
    mae = locked_mae(tmp_path / "run")
    assert mae["leadline"] == mae["gold only"] != mae["round 1"]


def test_even_weights_fill_the_thin_bands(data, tmp_path):
    go(data, tmp_path / "run", even=True, ablation=False, canary=0.0)
    labels = pl.read_parquet(tmp_path / "run" / "ledger-pseudolabels.parquet")
    mild = labels.filter(pl.col("total").is_between(10, 14))["weight"].mean()
    severe = labels.filter(pl.col("total") >= 20)["weight"].mean()
    assert severe > 2 * mild


def test_scoring_fuses_where_a_teacher_spoke_and_nowhere_else(data, finished, tmp_path):
    _, cohort, truth, locked = data
    run, _ = finished
    score_cohort(cohort, run, tmp_path / "scores.parquet")
    scores = pl.read_parquet(tmp_path / "scores.parquet")
    make_labels(tmp_path / "all", truth, set(), noise=1.0)
    labels = read_labels(tmp_path / "all").filter(pl.col("person_id") != "p0000")
    fused, count = fuse_estimates(run, scores, labels, group="labelled")
    assert count == len(truth) - 1
    assert fused.schema == scores.schema
    for table in (scores, fused):
        added = table.with_columns(pl.col("increment").cum_sum().over("person_id"))
        start = (added["mean"] - added["increment"]).to_numpy()
        centre = (
            table.with_columns(start=start)
            .group_by("person_id")
            .agg(pl.col("start").max() - pl.col("start").min())
        )
        assert centre["start"].max() < 1e-9, "increments add up"
    same = fused["mean"] == scores["mean"]
    untouched = fused.filter(same)
    assert set(untouched.filter(pl.col("turn") == 1)["person_id"]) <= {"p0000"}
    ends = scores.with_columns(fused=fused["mean"]).filter(
        (pl.col("turn") == 1) & pl.col("person_id").is_in(list(locked))
    )
    true = np.array([truth[name] for name in ends["person_id"]])
    assert np.abs(ends["fused"] - true).mean() < np.abs(ends["mean"] - true).mean() - 0.2
    assert (fused["lower"] <= fused["median"]).all()
    assert (fused["median"] <= fused["upper"]).all()
    assert set(load_fusion(run)) == {(0, fold) for fold in range(TRAIN.folds)}


def test_a_file_of_estimates_is_fused_in_place_as_a_table_is(data, finished, tmp_path):
    _, cohort, truth, _ = data
    run, _ = finished
    path = tmp_path / "scores.parquet"
    score_cohort(cohort, run, path)
    scores = pl.read_parquet(path)
    make_labels(tmp_path / "all", truth, set(), noise=1.0)
    check_fusion(run, tmp_path / "all")
    expected, count = fuse_estimates(run, scores, read_labels(tmp_path / "all"))
    assert fuse_file(run, path, tmp_path / "all") == count == len(truth)
    assert pl.read_parquet(path).equals(expected)
    assert not expected["mean"].equals(scores["mean"])
    assert sorted(found.name for found in tmp_path.iterdir()) == ["all", "scores.parquet"]
    with pytest.raises(LeadlineError, match="no label models"):
        check_fusion(tmp_path, tmp_path / "all")


def test_fusing_with_another_teacher_or_run_is_a_users_error(data, finished, tmp_path):
    folder, *_ = data
    scores = pl.read_parquet(finished[0] / "estimates.parquet")
    strange = read_labels(folder / "labels").with_columns(model=pl.lit("someone else"))
    with pytest.raises(LeadlineError, match="None of these labels"):
        fuse_estimates(finished[0], scores, strange)
    with pytest.raises(LeadlineError, match="no label models"):
        fuse_estimates(tmp_path, scores, strange)


def test_settings_that_cannot_work_are_refused(data, tmp_path):
    for change in ({"rounds": 4}, {"canary": 0.6}, {"min_slope": 2.0, "max_slope": 1.0}):
        with pytest.raises(LeadlineError):
            SelftrainConfig(**change)
    with pytest.raises(LeadlineError, match="--adapt lora"):
        go(data, tmp_path / "run", train=TrainConfig(adapt="lora"))
    with pytest.raises(LeadlineError, match="--folds 3"):
        go(data, tmp_path / "run", train=TrainConfig(folds=3))
    assert not (tmp_path / "run").exists()


def test_too_little_gold_for_a_round_leaves_the_gold_only_model(tmp_path):
    truth = make_cohort(tmp_path / "cohort", gold=40, free=30, locked=10)
    cohort = read_cohort(tmp_path / "cohort")
    make_labels(tmp_path / "labels", truth, set(cohort.people.filter("locked")["person_id"]))
    manifest = go((tmp_path, cohort), tmp_path / "run", rounds=3)
    assert manifest["selftraining"]["kept"] == 0
    assert "allow 0 rounds" in manifest["selftraining"]["rounds"][1]["reasons"][0]
    assert set(locked_mae(tmp_path / "run")) == {"gold only", "leadline"}


def test_a_cohort_without_anyone_to_label_is_refused(tmp_path):
    make_cohort(tmp_path / "cohort", gold=60, free=0, locked=10)
    cohort = read_cohort(tmp_path / "cohort")
    with pytest.raises(LeadlineError, match="nobody to pseudolabel"):
        go((tmp_path, cohort), tmp_path / "run", labels=None)


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
import tests.selftrain.test_selftrain as T
from pathlib import Path
from leadline.selftrain import node_store, selftrain
from leadline.cohort.store import read_cohort
from tests.support.people import NumberSource
selftrain.open_source = lambda *a, **k: NumberSource()
write = node_store._write
def slow(path, node):
    write(path, node)
    time.sleep(.02)
node_store._write = slow
folder = Path({folder!r})
T.go((folder, read_cohort(folder / "cohort")), Path({out!r}))
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
