"""What is exported gives Leadline's numbers; what cannot be exported says why."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from tests.support.exported import strangers, trained_on

from leadline.artefact import read_manifest
from leadline.cli.app import app
from leadline.cohort.windows import Span
from leadline.errors import LeadlineError
from leadline.export.config import ExportConfig
from leadline.export.export import export_run
from leadline.heads.terms import count_terms
from leadline.runs.checkpoint import load_ensemble


@pytest.fixture(scope="module", params=["gp", "histogram", "network"])
def graph(request, simulated, quick, home, tmp_path_factory):
    """A frozen run, its export and the manifest; two pools and three kinds of heads."""
    folder = tmp_path_factory.mktemp(request.param)
    config = replace(
        quick, fit=request.param, lexical="auto" if request.param == "histogram" else "off",
        sentence_layers=("own",) if request.param == "network" else quick.sentence_layers,
        folds=2, pool="words" if request.param == "gp" else "mean",
        baselines=False,
    )  # fmt: skip
    run = trained_on(simulated, config, folder, home)
    manifest = export_run(run, folder / "out", ExportConfig(), home=home)
    return run, folder / "out", manifest


def counted(out, counts, first=0):
    """What a graph that looks at words takes beside the states."""
    if not (out / "columns.npy").is_file():
        return {}
    columns = np.load(out / "columns.npy", allow_pickle=False)
    return {"terms": np.asarray(counts[first:].sum(axis=0), dtype=np.float32)[0, columns]}


def test_the_graph_gives_the_estimates_of_the_ensemble(graph, simulated, home):
    onnxruntime = pytest.importorskip("onnxruntime")
    run, out, manifest = graph
    ensemble, _ = load_ensemble(run, home=home)
    people = strangers(simulated)
    states = ensemble.source.read(people)
    spans = [Span(row, first, len(one.words) - 1) for row, one in enumerate(states)
             for first in {0, len(one.words) - 1}]  # fmt: skip
    want = ensemble.distributions(people, states, spans)
    session = onnxruntime.InferenceSession(str(out / "model.onnx"))
    for span, shape in zip(spans, want.probabilities, strict=True):
        words = states[span.person].words[span.first :].astype(np.float32)
        view = next(iter(ensemble.source.views))
        given = {"words": words, "states": states[span.person].views[view][span.first :]}
        given |= counted(out, states[span.person].terms, span.first)
        mean, distribution = session.run(None, given)
        np.testing.assert_allclose(distribution, shape, atol=1e-5)
        assert abs(mean - shape @ np.arange(28)) < 1e-4
    assert 0 < manifest["checked"]["largest_difference"] <= 1e-4
    assert manifest["interval"]["central_mass"] == ensemble.width(0.9)


def test_the_encoder_and_the_graph_make_an_estimate_from_text_alone(graph, simulated, home):
    onnxruntime = pytest.importorskip("onnxruntime")
    from transformers import AutoTokenizer

    run, out, manifest = graph
    ensemble, _ = load_ensemble(run, home=home)
    person = strangers(simulated, 1)
    texts = [person[0].messages[at].text for at in person[0].user]
    about = next(iter(manifest["encoders"].values()))
    tokenizer = AutoTokenizer.from_pretrained(out / about["tokenizer"])
    rows = [[tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]
            for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]  # fmt: skip
    encoder = onnxruntime.InferenceSession(str(out / about["file"]))
    states = np.concatenate(
        [
            encoder.run(["states"], {"input_ids": np.array([row]),
                                     "attention_mask": np.ones((1, len(row)), np.int64)})[0]
            for row in rows
        ]
    )  # fmt: skip
    words = np.array([len(text.split()) for text in texts], dtype=np.float32)
    session = onnxruntime.InferenceSession(str(out / "model.onnx"))
    given = {"words": words, "states": states} | counted(out, count_terms(texts))
    _, distribution = session.run(None, given)
    want = ensemble.distributions(
        person, ensemble.source.read(person), [Span(0, 0, len(texts) - 1)]
    )
    np.testing.assert_allclose(distribution, want.probabilities[0], atol=1e-4)


def test_the_manifest_warns_of_states_and_says_what_it_is(graph):
    _, out, manifest = graph
    assert read_manifest(out, "export")["files"] == manifest["files"]
    assert "not a PHQ-9 response" in manifest["notice"]
    gp = manifest["settings"]["to"] == "onnx" and manifest["pool"] == "words"
    assert manifest["holds_training_states"] is gp
    assert ("POOLED TURN STATES OF THE TRAINING PEOPLE" in manifest["privacy"]) is gp
    assert set(manifest["files"]) >= {"model.onnx", "encoder.onnx"}


def test_a_graph_that_differs_is_not_written(graph, tmp_path, home, monkeypatch):
    from leadline.export import to_onnx

    def copied(_module, _example, path, *_):
        shutil.copy(graph[1] / path.name, path)  # exporting takes seconds

    monkeypatch.setattr(to_onnx, "_write", copied)
    monkeypatch.setattr(to_onnx, "TOLERANCE", 1e-12)
    with pytest.raises(LeadlineError, match="does not give Leadline's numbers"):
        export_run(graph[0], tmp_path / "out", ExportConfig(), home=home)
    assert not (tmp_path / "out").exists()


def test_the_verb_prints_the_warnings_and_refuses_what_cannot_be(graph, tmp_path, monkeypatch):
    from leadline.export import export

    run, _, manifest = graph
    monkeypatch.setattr(export, "export_run", lambda *_, **__: manifest)
    shown = CliRunner().invoke(app, ["export", str(run), "--out", str(tmp_path / "o")])
    assert shown.exit_code == 0
    assert manifest["privacy"] in shown.stderr
    assert "not a PHQ-9 response" in shown.stderr
    monkeypatch.undo()
    refused = CliRunner().invoke(
        app, ["export", str(run), "--to", "vllm", "--out", str(tmp_path / "o")]
    )
    assert isinstance(refused.exception, LeadlineError)
    assert "Use --to onnx" in refused.exception.remedy
    assert not (tmp_path / "o").exists()
