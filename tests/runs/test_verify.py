"""What `leadline verify` says of each kind of artefact, whole and changed in every way."""

import json
import shutil

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file
from tests.support.cohorts import some_people
from tests.support.monitored import labelled
from tests.support.teacher_cohort import add_truth, make_cohort, texts

from leadline.artefact import sha256, write_json, write_manifest
from leadline.cohort.config import WindowConfig
from leadline.cohort.relock import relock_cohort
from leadline.cohort.store import read_cohort
from leadline.errors import LeadlineError
from leadline.evaluate.limit import limit_labels
from leadline.evaluate.run_results import evaluate_run
from leadline.report.run_report import report_run
from leadline.runs.config import TrainConfig
from leadline.runs.train import train_run
from leadline.runs.verify import MATCHES, UNBOUND, WRONG, verify
from leadline.scoring.score import score_cohort
from leadline.simulate.best_predictor import Effort, bayes_limit, world_of
from leadline.tables import MADE_BY
from leadline.teacher.config import LabelConfig
from leadline.teacher.label import label_cohort
from leadline.teacher.simulated_client import SimulatedClient


@pytest.fixture
def cohort(cohort_path):
    return cohort_path


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def labels(tmp_path):
    cohort = make_cohort(tmp_path / "c", texts(3))
    add_truth(cohort, 3)
    label_cohort(cohort, tmp_path / "labels", LabelConfig(limit=1))
    return tmp_path / "labels"


@pytest.fixture
def export(tmp_path):
    out = tmp_path / "export"
    (out / "deep").mkdir(parents=True)
    (out / "deep" / "model.onnx").write_bytes(b"graph")
    files = {"deep/model.onnx": sha256(out / "deep" / "model.onnx")}
    write_manifest(out, kind="export", command="x", settings={}, inputs={}, files=files)
    return out


BOUND = {
    "cohort": "turns.parquet",
    "run": "predictions.parquet",
    "labels": "labels.parquet",
    "export": "deep/model.onnx",
}


@pytest.fixture(params=BOUND)
def kind(request):
    return request.param


FREE = {"folds.parquet", "near_copies.parquet", "requests.sqlite", "thoughts.sqlite"}
"""Files that change after the manifest: folds of those who come, what can be made again, answers
of a teacher, of which the table of labels is made. docs/security.md says why."""


def unbound(path):
    """Files without a hash, locks and those that may be so left out."""
    free = {file for file, state in states(verify(path)).items() if state == UNBOUND}
    return {file for file in free if not file.endswith(".lock")} - FREE


def states(found):
    return {finding.file: finding.state for finding in found.findings}


def wrong(path):
    return {(finding.file, finding.problem) for finding in verify(path).wrong}


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_what_is_as_it_was_written_matches(kind, request):
    path = request.getfixturevalue(kind)
    found = verify(path)
    assert (found.kind, found.wrong) == (kind, ())
    assert states(found)[BOUND[kind]] == MATCHES
    assert found.as_dict()["matches"] is True


def test_a_changed_an_absent_and_a_foreign_file_are_named_with_what_to_do(kind, request):
    path = request.getfixturevalue(kind)
    name = BOUND[kind]
    (path / "thesis.txt").write_text("mine")
    flip(path / name)
    found = {finding.file: finding for finding in verify(path).wrong}
    assert found["thesis.txt"].problem == "Leadline did not write this."
    assert "not the one that was written" in found[name].problem
    (path / name).unlink()
    found = {finding.file: finding for finding in verify(path).wrong}
    assert "cannot be read" in found[name].problem
    assert all(finding.remedy for finding in found.values())
    assert set(found) == {name, "thesis.txt"}


def test_a_manifest_without_a_hash_or_that_names_what_lies_outside_does_not_match(run, tmp_path):
    manifest = json.loads((run / "manifest.json").read_text())
    files = manifest["files"]
    del files["ledger.parquet"]
    (tmp_path / "outside").write_text("x")
    files["../outside"] = sha256(tmp_path / "outside")
    write_json(run / "manifest.json", manifest)
    found = dict(wrong(run))
    assert "has no hash of ledger.parquet" in found["ledger.parquet"]
    assert "outside its directory" in found["../outside"]
    write_json(run / "manifest.json", {**manifest, "files": []})
    assert "checkpoint/model.json" in dict(wrong(run))


def rehash(run, *, member=None):
    path = run / "checkpoint" / "model.json"
    if member is not None:
        about = json.loads(path.read_text())
        entry = about["members"][member]
        entry["sha256"] = sha256(run / "checkpoint" / f"{entry['file']}.safetensors")
        write_json(path, about)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["files"] = {name: sha256(run / name) for name in manifest["files"]}
    write_json(run / "manifest.json", manifest)


def test_a_checkpoint_that_training_cannot_have_written_does_not_match(run):
    name = "checkpoint/repeat-0-fold-0.safetensors"
    tensors = load_file(run / name)
    first = min(tensors)
    save_file({**tensors, first: np.full_like(tensors[first], np.nan)}, run / name)
    assert dict(wrong(run))[name].endswith("not as training wrote it.")
    rehash(run, member=0)
    assert "not finite" in dict(wrong(run))[name]
    assert states(verify(run))["checkpoint/repeat-0-fold-1.safetensors"] == MATCHES


def test_a_member_outside_the_run_and_a_file_that_no_member_names_do_not_match(run):
    shutil.copy(run / "ledger.parquet", run / "checkpoint" / "repeat-7-fold-0.safetensors")
    assert dict(wrong(run)) == {
        "checkpoint/repeat-7-fold-0.safetensors": "Leadline did not write this."
    }
    path = run / "checkpoint" / "model.json"
    about = json.loads(path.read_text())
    about["members"][0]["file"] = "../../x"
    write_json(path, about)
    rehash(run)
    assert "not named after it" in dict(wrong(run))["checkpoint/model.json"]


def test_files_that_no_hash_binds_are_said(run, cohort):
    for name in ("config.toml", "ledger.parquet"):
        assert states(verify(run))[name] == MATCHES
    assert states(verify(cohort))["folds.parquet"] == UNBOUND
    assert states(verify(cohort))["locked-test.jsonl"] == MATCHES


def test_a_broken_record_of_the_locked_test_does_not_match(cohort):
    record = cohort / "locked-test.jsonl"
    record.write_text(record.read_text().replace("p0", "q0"))
    assert "locked-test.jsonl" in dict(wrong(cohort))


def test_one_file_of_an_artefact_is_held_against_its_manifest(run):
    file = run / "estimates.parquet"
    assert states(verify(file)) == {"estimates.parquet": MATCHES}
    flip(run / "ledger.parquet")
    assert states(verify(file)) == {"estimates.parquet": MATCHES}
    flip(file)
    assert states(verify(file)) == {"estimates.parquet": WRONG}


@pytest.fixture(scope="module")
def estimates(trained, simulated, home, tmp_path_factory):
    out = tmp_path_factory.mktemp("scored") / "out.parquet"
    score_cohort(simulated, trained, out, home=home)
    return out


def spoil(table, column, value):
    at = pl.int_range(pl.len()) == 6
    return table.with_columns(pl.when(at).then(value).otherwise(column).alias(column))


SPOILT = {
    "nan": ("mean", pl.lit(np.nan)),
    "absent": ("mean", pl.lit(None, pl.Float64)),
    "infinite": ("upper", pl.lit(np.inf)),
    "off the scale": ("median", pl.lit(28.0)),
    "crossed": ("lower", pl.col("upper") + 0.5),
    "no probability": ("p_ge_10", pl.lit(1.5)),
    "no change": ("increment", pl.lit(np.nan)),
    "a mass of 2": ("distribution", pl.lit([2.0] + [0.0] * 27)),
    "a nan inside": ("distribution", pl.lit([np.nan] + [0.0] * 27)),
    "too short": ("distribution", pl.lit([1.0])),
}


@pytest.mark.parametrize("name", SPOILT)
def test_estimates_that_are_none_do_not_match_and_the_row_is_named(estimates, tmp_path, name):
    assert states(verify(estimates)) == {"out.parquet": MATCHES}
    table = pl.read_parquet(estimates)
    spoil(table, *SPOILT[name]).write_parquet(tmp_path / "spoilt.parquet")
    (finding,) = verify(tmp_path / "spoilt.parquet").wrong
    assert finding.problem == "An estimate is absent, not finite or off the scale. (row 7)"


def test_estimates_of_before_are_read_by_the_columns_that_they_have(estimates, tmp_path):
    table = pl.read_parquet(estimates).drop("departure", "p_ge_5")
    table.write_parquet(tmp_path / "old.parquet")
    assert states(verify(tmp_path / "old.parquet")) == {"old.parquet": UNBOUND}


def test_estimates_name_the_model_that_made_them(estimates, tmp_path, trained):
    table, out = pq.read_table(estimates), tmp_path / "out.parquet"
    made_by = json.loads(pq.ParquetFile(estimates).metadata.metadata[MADE_BY.encode()])
    assert made_by["model"] == sha256(trained / "checkpoint" / "model.json")
    other = table.set_column(
        table.schema.get_field_index("model_id"), "model_id", pa.array(["0" * 16] * len(table))
    )
    with pq.ParquetWriter(out, other.schema) as writer:
        writer.add_key_value_metadata({MADE_BY: json.dumps(made_by)})
        writer.write_table(other)
    (finding,) = verify(out).wrong
    assert "of another model" in finding.problem


def test_a_bit_that_changed_in_estimates_is_seen(estimates, tmp_path):
    whole = estimates.read_bytes()
    pages = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")  # the rest is the footer
    for place in np.linspace(4, pages - 1, 40).astype(int):
        out = tmp_path / f"{place}.parquet"
        damaged = bytearray(whole)
        damaged[place] ^= 1
        out.write_bytes(damaged)
        assert states(verify(out)) == {out.name: WRONG}, place


def test_what_is_no_artefact_is_one_error(tmp_path, run):
    (tmp_path / "thesis.txt").write_text("mine")
    (tmp_path / "folder").mkdir()
    for name, message in (("none", "nothing here"), ("folder", "unfinished")):
        with pytest.raises(LeadlineError, match=message):
            verify(tmp_path / name)
    (finding,) = verify(tmp_path / "thesis.txt").wrong
    assert "cannot be read" in finding.problem
    (run / "manifest.json").write_text("{")
    with pytest.raises(LeadlineError, match="cannot be read as JSON"):
        verify(run)
    write_manifest(tmp_path / "folder", kind="parts", command="x", settings={}, inputs={})
    with pytest.raises(LeadlineError, match="of no kind that can be verified"):
        verify(tmp_path / "folder")


def test_every_file_of_every_artefact_is_bound_but_those_that_change_on_their_own(
    cohort, run, labels, simulated
):
    bayes_limit(cohort, effort=Effort(particles=50, draws=20))
    evaluate_run(run)
    report_run(run)
    for path in (cohort, run, labels):
        assert unbound(path) == set(), path


def test_a_fine_tuned_model_is_bound_with_its_course(simulated, language_paths, home, tmp_path):
    cohort = some_people(simulated, set(labelled(simulated)[:12]))
    config = TrainConfig(
        reader=str(language_paths["llama"]), adapt="lora", folds=2, epochs=1.0, baselines=False,
        rank=2, fit="ridge",
    )  # fmt: skip
    train_run(cohort, tmp_path / "run", config, WindowConfig(), home=home)
    found = states(verify(tmp_path / "run"))
    assert found["checkpoint/repeat-0-fold-0/curve.json"] == MATCHES
    assert unbound(tmp_path / "run") == set()
    flip(tmp_path / "run" / "checkpoint" / "repeat-0-fold-0" / "curve.json")
    evaluate_run(tmp_path / "run")
    with pytest.raises(LeadlineError, match=r"not the one that was written"):
        report_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("teacher", lambda cohort: SimulatedClient(cohort.path)),
        ("limit_labels", limit_labels),
        ("templates", lambda cohort: world_of(cohort.path)),
    ],
)
def test_a_truth_that_was_changed_is_refused_until_it_is_said(cohort, name, read):
    bayes_limit(cohort, effort=Effort(particles=50, draws=20))
    file = cohort / "truth" / f"{name}.parquet"
    read(read_cohort(cohort))
    table = pl.read_parquet(file)
    table.write_parquet(file, compression="lz4")
    with pytest.raises(LeadlineError, match="not the one that was written"):
        read(read_cohort(cohort))
    assert relock_cohort(cohort)["files"] == [f"truth/{name}.parquet"]
    read(read_cohort(cohort))
    file.unlink()
    assert relock_cohort(cohort)["files"] == [f"truth/{name}.parquet"]
    assert not verify(cohort).wrong
