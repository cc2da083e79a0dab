import json
import shutil
import tomllib
from dataclasses import asdict

import numpy as np
import polars as pl
import pytest
from tests.support.cohorts import files_of

from leadline.artefact import read_manifest, sha256, write_json, write_manifest
from leadline.cohort.config import WindowConfig
from leadline.errors import LeadlineError
from leadline.heads.calibration import Calibration, plain_calibration, restore_calibration
from leadline.runs.checkpoint import CHECKPOINT, load_ensemble
from leadline.runs.config import TrainConfig
from leadline.runs.directory import run_directory, to_toml
from leadline.runs.ledger import ledger_table, read_ledger

SETTINGS = {"train": asdict(TrainConfig()), "window": asdict(WindowConfig()),
            "inputs": {"turns.parquet": "ab", 'odd "name" é': "cd"}}  # fmt: skip


def finish(path):
    write_manifest(path, kind="run", command="train", settings={}, inputs={})


def test_settings_are_written_as_toml_that_says_the_same():
    read = tomllib.loads(to_toml(SETTINGS))
    assert read == json.loads(json.dumps(SETTINGS))


def test_an_unfinished_run_goes_on_with_the_same_settings_only(tmp_path):
    out = tmp_path / "run"
    with run_directory(out, SETTINGS, overwrite=False) as run:
        (run / "half").write_text("1")
    with run_directory(out, SETTINGS, overwrite=False) as run:
        assert (run / "half").read_text() == "1"
    other = {**SETTINGS, "inputs": {"turns.parquet": "changed"}}
    for overwrite in (False, True):
        with (
            pytest.raises(LeadlineError, match="other settings or inputs"),
            run_directory(out, other, overwrite=overwrite),
        ):
            pass
    assert (out / "half").exists()


def test_a_finished_run_is_replaced_only_on_request_and_only_by_a_finished_one(tmp_path):
    out = tmp_path / "run"
    with run_directory(out, SETTINGS, overwrite=False) as run:
        (run / "old").touch()
        finish(run)
    with pytest.raises(LeadlineError, match="finished"), run_directory(out, SETTINGS, False):
        pass
    before = files_of(out)
    error = LeadlineError("too little", remedy="more")
    with pytest.raises(LeadlineError, match="too little"), run_directory(out, SETTINGS, True):
        raise error
    assert files_of(tmp_path) == {f"run/{name}": content for name, content in before.items()}
    with pytest.raises(KeyboardInterrupt), run_directory(out, SETTINGS, True):
        raise KeyboardInterrupt
    assert not (out / "old").exists()
    assert (tmp_path / ".run.replaced" / "old").exists(), "not lost before the new one is there"
    with run_directory(out, SETTINGS, True) as run:
        finish(run)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert not (out / "old").exists()


def test_a_mistake_removes_a_new_directory_but_not_what_was_begun(tmp_path):
    out = tmp_path / "deep" / "run"
    error = LeadlineError("too little", remedy="more")
    with pytest.raises(LeadlineError, match="too little"), run_directory(out, SETTINGS, False):
        raise error
    assert not out.exists()
    with run_directory(out, SETTINGS, False) as run:
        (run / "fold").touch()
    with pytest.raises(LeadlineError, match="too little"), run_directory(out, SETTINGS, False):
        raise error
    assert (out / "fold").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_not_a_run_is_left_alone(tmp_path, overwrite):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("mine")
    (tmp_path / "cohort").mkdir()
    write_manifest(tmp_path / "cohort", kind="cohort", command="x", settings={}, inputs={})
    before = files_of(tmp_path)
    for name, message in (
        ("file", "is a file"),
        ("file/below", "cannot be made here"),
        ("folder", "is not a run"),
        ("cohort", "Expected a run, found 'cohort'|finished"),
    ):
        with (
            pytest.raises(LeadlineError, match=message),
            run_directory(tmp_path / name, SETTINGS, overwrite),
        ):
            pass
    assert files_of(tmp_path) == before


def test_the_ledger_is_read_back_without_locked_people():
    left_out = {"a": {0: 1, 1: 0}, "b": {0: 0, 1: 2}}
    table = ledger_table(left_out, {"a": 2, "b": 1, "c": 4})
    assert read_ledger(table) == left_out
    assert table.filter(pl.col("person_id") == "c").rows() == [("c", 0, -1, 4)]


def test_a_calibration_is_read_back():
    calibration = Calibration(12.5, 1.1, 3.0, 0.9, 7.0, widths=tuple(np.linspace(0.1, 1, 19)))
    again = restore_calibration(json.loads(json.dumps(plain_calibration(calibration))))
    assert again == calibration


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def edit(path, change):
    about = json.loads(path.read_text())
    change(about)
    write_json(path, about)
    manifest = read_manifest(path.parents[1], "run")
    manifest["files"]["checkpoint/model.json"] = sha256(path)
    write_json(path.parents[1] / "manifest.json", manifest)


def test_a_checkpoint_gives_back_its_models_and_settings(run, home):
    ensemble, window = load_ensemble(run, home=home)
    assert window == WindowConfig()
    assert [(m.repeat, m.fold) for m in ensemble.members] == [
        (r, f) for r in (0, 1) for f in range(3)
    ]
    assert len(ensemble.left_out) == 44
    assert {path.suffix for path in (run / CHECKPOINT).iterdir()} == {".json", ".safetensors"}


WEIGHTS = "repeat-1-fold-2.safetensors"


def cut(path):
    path.write_bytes(path.read_bytes()[:-10])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (f"{CHECKPOINT}/{WEIGHTS}", cut),
        (f"{CHECKPOINT}/{WEIGHTS}", flip),
        (f"{CHECKPOINT}/{WEIGHTS}", lambda path: path.unlink()),
        (f"{CHECKPOINT}/{WEIGHTS}", lambda path: path.write_bytes(b"")),
        (f"{CHECKPOINT}/model.json", cut),
        (f"{CHECKPOINT}/model.json", lambda path: path.unlink()),
        (f"{CHECKPOINT}/model.json", lambda path: path.write_text("[]")),
        ("ledger.parquet", cut),
        ("ledger.parquet", lambda path: path.unlink()),
        ("ledger.parquet", lambda path: pl.read_parquet(path).head(3).write_parquet(path)),
    ],
)
def test_a_damaged_run_is_refused(run, home, name, damage):
    damage(run / name)
    with pytest.raises(LeadlineError, match="not as training wrote it") as caught:
        load_ensemble(run, home=home)
    assert caught.value.file == run / name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about: about.update(format=99), "has format 99; this version reads 2"),
        (lambda about: about.pop("format"), "not as training wrote it"),
        (lambda about: about.pop("members"), "not as training wrote it"),
        (lambda about: about["train"].update(colour="red"), "not as training wrote it"),
        (lambda about: about["window"].update(days=-1), "--days"),
        (
            lambda about: about["members"][0]["parts"][0]["settings"].update(head="x"),
            "not one that",
        ),
        (
            lambda about: about.update(readers=dict.fromkeys(about["readers"], "other")),
            "not those that the run was trained with",
        ),
    ],
)
def test_a_checkpoint_of_another_version_is_refused(run, home, change, message):
    edit(run / CHECKPOINT / "model.json", change)
    with pytest.raises(LeadlineError, match=message):
        load_ensemble(run, home=home)


def test_a_reader_that_changed_or_went_away_is_refused(run, home, sentence_reader, tmp_path):
    moved = shutil.copytree(sentence_reader, tmp_path / "reader")
    edit(run / CHECKPOINT / "model.json", lambda about: about["train"].update(reader=str(moved)))
    path = run / CHECKPOINT / "model.json"
    edit(
        path,
        lambda about: about.update(readers={str(moved): next(iter(about["readers"].values()))}),
    )
    load_ensemble(run, home=home)
    flip(moved / "model.safetensors")
    with pytest.raises(LeadlineError, match="not those that the run was trained with"):
        load_ensemble(run, home=home)
    shutil.rmtree(moved)
    with pytest.raises(LeadlineError, match="neither a known reader"):
        load_ensemble(run, home=home)


def test_an_unfinished_run_or_a_cohort_is_not_loaded(run, home, simulated_path):
    with pytest.raises(LeadlineError, match="Expected a run, found 'cohort'"):
        load_ensemble(simulated_path, home=home)
    (run / "manifest.json").unlink()
    with pytest.raises(LeadlineError, match="unfinished"):
        load_ensemble(run, home=home)
