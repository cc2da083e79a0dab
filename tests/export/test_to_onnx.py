"""What is exported gives Leadline's numbers; what cannot be exported says why."""

import json
import shutil
import sys
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tests.support import ROOT
from tests.support.cohorts import some_people
from tests.support.readers import talk, tiny_reader

from leadline.artefact import read_manifest
from leadline.cli.app import app
from leadline.cohort.config import WindowConfig
from leadline.cohort.timeline import Message, timelines
from leadline.cohort.windows import Span
from leadline.errors import LeadlineError
from leadline.export.config import ExportConfig
from leadline.export.export import export_run
from leadline.export.to_vllm import check_expressible, jinja_template, prompt_ids
from leadline.finetune.config import FinetuneConfig
from leadline.finetune.examples import LabelledSpan, TrainPerson
from leadline.finetune.model import FinetunedModel
from leadline.readers.tokens import Tokens, chat_template
from leadline.runs.checkpoint import load_ensemble
from leadline.runs.config import TrainConfig
from leadline.runs.train import train_run

sys.path.insert(0, str(ROOT / "bench"))

LAST = TrainConfig(
    adapt="lora", head="scalar", state="last", pool="last", layers=("1.0",), folds=2, epochs=1,
    rank=4, lr=5e-3, baselines=False,
)  # fmt: skip


def trained_on(simulated, config, folder, home, people=24):
    """A run on some people of the simulated cohort."""
    gold = simulated.phq9["person_id"].unique().sort().to_list()[:people]
    cohort = some_people(simulated, set(gold))
    train_run(cohort, folder / "run", config, WindowConfig(), home=home)
    return folder / "run"


@pytest.fixture(scope="module", params=["gp", "histogram", "network"])
def graph(request, simulated, quick, home, tmp_path_factory):
    """A frozen run, its export and the manifest; two pools and three kinds of heads."""
    folder = tmp_path_factory.mktemp(request.param)
    config = replace(
        quick, fit=request.param, folds=2, pool="words" if request.param == "gp" else "mean",
        baselines=False,
    )  # fmt: skip
    run = trained_on(simulated, config, folder, home)
    manifest = export_run(run, folder / "out", ExportConfig(), home=home)
    return run, folder / "out", manifest


def strangers(simulated, count=5):
    people = list(timelines(simulated))[:count]
    return [replace(person, person_id=f"stranger {n}") for n, person in enumerate(people)]


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
    for span, shape in zip(spans, want, strict=True):
        words = states[span.person].words[span.first :].astype(np.float32)
        view = next(iter(ensemble.source.views))
        given = {"words": words, "states": states[span.person].views[view][span.first :]}
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
    _, distribution = session.run(None, {"words": words, "states": states})
    want = ensemble.distributions(
        person, ensemble.source.read(person), [Span(0, 0, len(texts) - 1)]
    )
    np.testing.assert_allclose(distribution, want[0], atol=1e-4)


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


@pytest.fixture(scope="module", params=["llama", "qwen"])
def merged(request, simulated, home, tmp_path_factory):
    """A LoRA run, its export and the manifest."""
    folder = tmp_path_factory.mktemp(request.param)
    reader = tiny_reader(folder, request.param)
    run = trained_on(simulated, replace(LAST, reader=str(reader)), folder, home, people=8)
    manifest = export_run(run, folder / "out", ExportConfig(to="vllm", members=(1,)), home=home)
    return request.param, run, folder / "out", manifest


def transformers_model(kind, path):
    import transformers

    name = {
        "llama": "LlamaForSequenceClassification",
        "qwen": "Qwen3_5TextForSequenceClassification",
    }[kind]
    return getattr(transformers, name).from_pretrained(path, dtype=torch.float32).eval()


def test_transformers_own_class_gives_leadlines_estimates(merged, simulated, home):
    kind, run, out, manifest = merged
    (member,) = manifest["members"]
    assert member["directory"] == "repeat-0-fold-1"
    own = FinetunedModel.load(run / "checkpoint" / "repeat-0-fold-1", home=home)
    own.regressor.backbone.float()
    other = transformers_model(kind, out / member["directory"])
    moved = []
    for person in strangers(simulated):
        turns = len(person.user)
        readings = [LabelledSpan(turn, turn) for turn in range(turns)]
        want = own.predict([TrainPerson(person.messages, readings)])[0]
        for turn in range(turns):
            said = person.messages[: int(person.user[turn]) + 1]
            ids = torch.tensor([prompt_ids(own.tokens, own.budget, said)])
            with torch.no_grad():
                found = float(other(input_ids=ids).logits) + member["intercept"]
            assert abs(found - want[turn]) < 1e-4
            moved.append(found)
    assert np.std(moved) > 0.01, "the check is of something"


def test_the_config_is_what_vllm_asks_for(merged):
    kind, _, out, manifest = merged
    (member,) = manifest["members"]
    folder = out / member["directory"]
    config = json.loads((folder / "config.json").read_text())
    want = (
        "Qwen3_5ForSequenceClassification" if kind == "qwen" else "LlamaForSequenceClassification"
    )
    assert config["architectures"] == [want]
    assert config["problem_type"] == "regression"
    assert list(config["id2label"]) == ["0"]
    from safetensors.torch import load_file

    tensors = load_file(folder / "model.safetensors")
    assert (folder / "model.safetensors").stat().st_mode & 0o777 == 0o644
    assert tensors["score.weight"].dtype == torch.float32
    assert tensors["score.weight"].shape == (1, 32)
    assert not [name for name in tensors if "lora" in name or "base_layer" in name]
    assert json.loads(member["serve"].split("'")[1])["logit_mean"] == -member["intercept"]
    assert "not run against vLLM" in manifest["untested"]


def test_bfloat16_halves_the_weights_and_says_how_far_off_it_is(merged, tmp_path, home):
    kind, run, out, exact = merged
    if kind != "llama":
        pytest.skip("one reader is enough")
    config = ExportConfig(to="vllm", members=(1,), dtype="bfloat16")
    manifest = export_run(run, tmp_path / "out", config, home=home)
    (member,), (full,) = manifest["members"], exact["members"]
    assert full["largest_difference"] < 1e-4 < member["largest_difference"] < 1
    name = "repeat-0-fold-1/model.safetensors"
    assert (tmp_path / "out" / name).stat().st_size < 0.6 * (out / name).stat().st_size


def test_the_exported_template_renders_what_leadline_reads(merged, home):
    _, run, out, manifest = merged
    from transformers import AutoTokenizer

    (member,) = manifest["members"]
    assert member["chat_template_gives_the_same_tokens"] is True
    tokenizer = AutoTokenizer.from_pretrained(out / member["directory"])
    said = [Message("system", "be kind"), *talk("I am tired", "how are you", "not fine")]
    own = FinetunedModel.load(run / "checkpoint" / "repeat-0-fold-1", home=home)
    rendered = tokenizer.apply_chat_template(
        [{"role": m.role, "content": m.text} for m in said], tokenize=True, return_dict=False
    )
    assert rendered == prompt_ids(own.tokens, own.budget, said)


def test_a_template_with_quotes_and_marks_survives_rendering(merged):
    import jinja2

    _, run, _, _ = merged
    tokens = FinetunedModel.untrained(
        json.loads((run / "checkpoint" / "model.json").read_text())["train"]["reader"],
        FinetuneConfig(layers=(1.0,)),
    ).tokens
    assert isinstance(tokens, Tokens)
    odd = replace(
        chat_template(tokens.tokenizer),
        start="<s>",
        before={role: f'"{role}\'s"\n{{' for role in ("user", "assistant", "system")},
        after=dict.fromkeys(("user", "assistant", "system"), "}\\\u00e9\n"),
    )
    said = [{"role": "user", "content": "a"}, {"role": "clinician", "content": "b"},
            {"role": "user", "content": "c"}]  # fmt: skip
    text = jinja2.Template(jinja_template(odd)).render(messages=said)
    close = "}\\\u00e9\n"
    assert text == (f'<s>"user\'s"\n{{a{close}"assistant\'s"\n{{b{close}"user\'s"\n{{c')


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"adapt": "frozen", "reader": "minilm"}, "Use --to onnx"),
        ({"pool": "mean"}, "cannot average turns"),
        ({"state": "mean"}, "not the mean of a turn"),
        ({"head": "distribution"}, "28 outputs"),
    ],
)
def test_what_vllm_cannot_express_is_refused_with_the_reason(change, said):
    with pytest.raises(LeadlineError) as caught:
        check_expressible(replace(LAST, **change))
    assert said in str(caught.value)
    assert "--state last --pool last --head scalar" in caught.value.remedy


def test_an_inner_layer_an_unknown_member_and_onnx_are_refused(merged, tmp_path, home, simulated):
    kind, run, _, _ = merged
    with pytest.raises(LeadlineError, match="the run has 2 members"):
        export_run(run, tmp_path / "o", ExportConfig(to="vllm", members=(7,)), home=home)
    with pytest.raises(LeadlineError, match="the reader itself would have to be the graph"):
        export_run(run, tmp_path / "o", ExportConfig(to="onnx"), home=home)
    if kind == "llama":
        reader = tiny_reader(tmp_path, kind)
        inner = replace(LAST, reader=str(reader), layers=("2",))
        other = trained_on(simulated, inner, tmp_path, home, people=12)
        with pytest.raises(LeadlineError, match="inner layer"):
            export_run(other, tmp_path / "o", ExportConfig(to="vllm"), home=home)
    assert not (tmp_path / "o").exists()


class Classify(BaseHTTPRequestHandler):
    """Answers /classify as vLLM documents it, with transformers' class behind it."""

    model = tokenizer = None
    intercept = 0.0

    def do_POST(self):
        assert self.path == "/classify"
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        ids = asked.get("input") or self.tokenizer.apply_chat_template(
            asked["messages"], tokenize=True, return_dict=False
        )
        with torch.no_grad():
            raw = float(self.model(input_ids=torch.tensor([ids])).logits)
        body = json.dumps({"data": [{"probs": [raw + self.intercept], "num_classes": 1}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_the_parity_script_asks_a_server_and_finds_no_difference(merged, monkeypatch):
    kind, run, out, manifest = merged
    if kind != "llama":
        pytest.skip("one reader is enough")
    from transformers import AutoTokenizer

    import vllm_parity

    (member,) = manifest["members"]
    Classify.model = transformers_model(kind, out / member["directory"])
    Classify.tokenizer = AutoTokenizer.from_pretrained(out / member["directory"])
    Classify.intercept = member["intercept"]
    kept = {}
    monkeypatch.setattr(vllm_parity, "save", lambda name, results: kept.update(results))
    with ThreadingHTTPServer(("127.0.0.1", 0), Classify) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr("sys.argv", ["vllm_parity.py", str(run), str(out), "--url", url])
        vllm_parity.main()
        server.shutdown()
    # Leadline computes in bfloat16 here, the server in float32.
    own = member["largest_difference_of_leadlines_own_arithmetic"]
    assert kept["largest_difference_token_ids"] <= own + 1e-4
    assert kept["largest_difference_messages"] <= own + 1e-4
    assert kept["readings"] == member["readings"]
