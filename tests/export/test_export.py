"""An export directory: whole or not there, and a manifest that says what it is of."""

from __future__ import annotations

import json

import pytest
from tests.support.cohorts import files_of

from leadline import NOTICE
from leadline.artefact import read_manifest, sha256
from leadline.errors import LeadlineError
from leadline.export import to_onnx
from leadline.export.config import ExportConfig
from leadline.export.export import MODEL_JSON, export_run, interval
from leadline.runs.checkpoint import load_ensemble, run_identity

ABOUT = {"target": "onnx", "exported": "a stand-in", "privacy": "None."}


@pytest.fixture
def quick_target(monkeypatch):
    """A target that writes two small files, one of them in a folder."""

    def write(_run, folder, *_args, **_more):
        (folder / "model.onnx").write_bytes(b"graph")
        (folder / "tokenizer").mkdir()
        (folder / "tokenizer" / "vocab.txt").write_text("a b")
        return dict(ABOUT)

    monkeypatch.setattr(to_onnx, "export_onnx", write)


def test_the_manifest_names_the_run_the_files_and_for_whom_it_is(
    quick_target, trained, tmp_path, home
):
    out = tmp_path / "export"
    manifest = export_run(trained, out, ExportConfig(), home=home)
    assert read_manifest(out, "export") == json.loads(json.dumps(manifest))
    assert set(manifest["files"]) == {"model.onnx", "tokenizer/vocab.txt"}
    assert all(sha256(out / name) == digest for name, digest in manifest["files"].items())
    assert manifest["model_id"] == run_identity(trained)
    assert manifest["inputs"][MODEL_JSON] == sha256(trained / MODEL_JSON)
    assert manifest["settings"]["to"] == "onnx"
    assert manifest["notice"] == NOTICE
    assert "leadline score" in manifest["for_whom"], "people of the training cohort go there"
    assert ABOUT.items() <= manifest.items()


def test_an_export_that_fails_leaves_nothing(monkeypatch, trained, tmp_path, home):
    def fails(_run, folder, *_args, **_more):
        (folder / "half").touch()
        raise LeadlineError("It differs.", remedy="Report it.")

    monkeypatch.setattr(to_onnx, "export_onnx", fails)
    with pytest.raises(LeadlineError, match="It differs"):
        export_run(trained, tmp_path / "export", ExportConfig(), home=home)
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_export_is_replaced_on_request_and_only_by_a_whole_one(
    quick_target, monkeypatch, trained, tmp_path, home
):
    out = tmp_path / "export"
    export_run(trained, out, ExportConfig(), home=home)
    before = files_of(tmp_path)
    with pytest.raises(LeadlineError, match="already exists"):
        export_run(trained, out, ExportConfig(), home=home)
    assert files_of(tmp_path) == before
    monkeypatch.setattr(to_onnx, "export_onnx", lambda *_a, **_k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_run(trained, out, ExportConfig(), home=home, overwrite=True)
    assert files_of(tmp_path) == before
    monkeypatch.setattr(to_onnx, "export_onnx", lambda *_a, **_k: dict(ABOUT))
    assert export_run(trained, out, ExportConfig(), home=home, overwrite=True)["files"] == {}
    assert not (out / "model.onnx").exists()


def test_only_a_finished_run_is_exported(tmp_path, simulated_path):
    (tmp_path / "empty").mkdir()
    for place, message in ((tmp_path / "empty", "unfinished"), (simulated_path, "Expected a run")):
        with pytest.raises(LeadlineError, match=message):
            export_run(place, tmp_path / "out", ExportConfig())
    assert not (tmp_path / "out").exists()


def test_a_frozen_run_is_no_model_for_vllm(trained, tmp_path):
    with pytest.raises(LeadlineError, match="with a frozen run") as caught:
        export_run(trained, tmp_path / "out", ExportConfig(to="vllm"))
    assert "--to onnx" in caught.value.remedy
    assert not (tmp_path / "out").exists()


def test_the_interval_is_that_of_the_ensemble_for_somebody_new(trained, home):
    ensemble, _ = load_ensemble(trained, home=home)
    assert interval(ensemble) == {
        "covers": 0.9,
        "central_mass": ensemble.width(0.9),
        "least_half_width": 2.5,
    }
