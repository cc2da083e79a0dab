import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

from leadline.artefact import read_manifest, sha256, write_json
from leadline.cohort.config import WindowConfig
from leadline.errors import LeadlineError
from leadline.runs import checkpoint
from leadline.runs.checkpoint import CHECKPOINT, load_ensemble, run_training, settled
from leadline.runs.config import TrainConfig
from leadline.runs.state_source import WORDS


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


def test_a_masked_run_of_an_earlier_detector_loads_with_a_warning(run, home):
    path = run / CHECKPOINT / "model.json"
    edit(path, lambda about: about["window"].update(mask_questionnaire=True))
    load_ensemble(run, home=home)  # filterwarnings = error
    edit(path, lambda about: about.pop("detector"))
    with pytest.warns(UserWarning, match="blanked fewer spans"):
        load_ensemble(run, home=home)


def test_a_run_from_before_there_was_a_choice_loads_as_it_was(run, home):
    path = run / CHECKPOINT / "model.json"
    edit(path, lambda about: (about.pop("detector"), about["window"].pop("keep_questionnaire")))
    assert load_ensemble(run, home=home)[1] == WindowConfig()


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
    problem = "not as training wrote it|not the one that was written|cannot be read"
    with pytest.raises(LeadlineError, match=problem) as caught:
        load_ensemble(run, home=home)
    assert caught.value.file == run / name
    assert "Restore the run from a copy" in caught.value.remedy


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


def forge_weights(run, change):
    """Change arrays of one model and make both hashes know it."""
    tensors = load_file(run / CHECKPOINT / WEIGHTS)
    change(tensors)
    save_file(tensors, run / CHECKPOINT / WEIGHTS)

    def rehash(about):
        entry = next(e for e in about["members"] if f"{e['file']}.safetensors" == WEIGHTS)
        entry["sha256"] = sha256(run / CHECKPOINT / WEIGHTS)

    edit(run / CHECKPOINT / "model.json", rehash)


def test_forged_weights_are_refused_before_they_estimate_anybody(run, home):
    def spoil(tensors):
        name = next(name for name, array in tensors.items() if array.dtype.kind == "f")
        tensors[name] = np.full_like(tensors[name], np.nan)

    for change in (spoil, lambda tensors: tensors.popitem()):
        forge_weights(run, change)
        with pytest.raises(LeadlineError, match=r"head") as caught:
            load_ensemble(run, home=home)
        assert caught.value.file == run / CHECKPOINT / WEIGHTS


def test_a_member_outside_the_run_is_not_read(run, home):
    edit(
        run / CHECKPOINT / "model.json",
        lambda about: about["members"][0].update(file="../../elsewhere"),
    )
    with pytest.raises(LeadlineError, match="not named after it"):
        load_ensemble(run, home=home)


def test_a_reader_that_changed_or_went_away_is_refused(run, home, sentence_reader, tmp_path):
    moved = shutil.copytree(sentence_reader, tmp_path / "reader")
    edit(run / CHECKPOINT / "model.json", lambda about: about["train"].update(reader=str(moved)))
    path = run / CHECKPOINT / "model.json"
    edit(
        path,
        lambda about: about["readers"].update(
            {str(moved): about["readers"].pop(str(sentence_reader))}
        ),
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


def test_a_run_from_before_words_were_looked_at_loads_and_counts_none(run, home):
    def before(about):
        del about["train"]["lexical"]
        about["readers"].pop(WORDS, None)  # it is off by default
        for member in about["members"]:
            del member["candidate"]["lexical"]
            member["parts"] = [part for part in member["parts"] if part["views"]]

    edit(run / CHECKPOINT / "model.json", before)
    ensemble, _ = load_ensemble(run, home=home)
    assert not ensemble.source.lexical
    assert all(member.model.candidate.lexical == 0 for member in ensemble.members)


@pytest.mark.parametrize(("recorded", "expected"), [("float32", "float32"), (None, "bfloat16")])
def test_a_run_is_read_in_the_arithmetic_that_it_was_trained_in(
    run, monkeypatch, recorded, expected
):
    def record(about):
        about["train"]["dtype"] = recorded
        if recorded is None:  # as runs of before: bfloat16 was what auto meant everywhere
            del about["train"]["dtype"]

    edit(run / CHECKPOINT / "model.json", record)
    for other in ({}, {"avx512_bf16": True}):
        monkeypatch.setattr("torch.cpu.get_capabilities", lambda other=other: other)
        assert run_training(run)[0].dtype == expected


def test_a_slow_arithmetic_is_said(run, home, monkeypatch):
    monkeypatch.setattr("torch.cpu.get_capabilities", dict)
    monkeypatch.setattr("leadline.runs.checkpoint.StateSource.contextual", True)
    edit(run / CHECKPOINT / "model.json", lambda about: about["train"].update(dtype="bfloat16"))
    with pytest.warns(UserWarning, match="--dtype float32"):
        load_ensemble(run, home=home)
    edit(run / CHECKPOINT / "model.json", lambda about: about["train"].update(dtype="float32"))
    load_ensemble(run, home=home)  # filterwarnings = error


def test_a_run_keeps_what_auto_meant_on_the_machine_that_trained_it(monkeypatch):
    monkeypatch.setattr(checkpoint, "default_readers", lambda home: f"smollm2+{home}")
    assert settled(TrainConfig(), home=Path("here")).reader == "smollm2+here"
    assert settled(TrainConfig(adapt="lora")).reader == "smollm2"
    assert settled(TrainConfig(reader="minilm")).reader == "minilm"
    assert settled(TrainConfig()).dtype in ("float32", "bfloat16")


def test_a_run_of_before_reads_sentences_as_it_did(run, home):
    """What a sentence encoder gave then was its own embedding."""
    edit(run / CHECKPOINT / "model.json", lambda about: about["train"].pop("sentence_layers"))
    assert run_training(run)[0].sentence_layers == ("own",)
    assert run_training(run)[0].sentence_layer_numbers() == ()
