"""A run whose reader was trained, as a model that vLLM serves."""

import json
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
import torch
from bench.protocol import run_bench
from tests.support.exported import strangers, trained_on
from tests.support.readers import talk, tiny_reader

from bench import common
from leadline.cohort.timeline import Message
from leadline.errors import LeadlineError
from leadline.export.config import ExportConfig
from leadline.export.export import export_run
from leadline.export.to_vllm import check_expressible, jinja_template, prompt_ids
from leadline.finetune.config import FinetuneConfig
from leadline.finetune.examples import LabelledSpan, TrainPerson
from leadline.finetune.model import FinetunedModel
from leadline.readers.tokens import Tokens, chat_template
from leadline.runs.config import TrainConfig

LAST = TrainConfig(
    adapt="lora", head="scalar", state="last", pool="last", layers=("1.0",), folds=2, epochs=1,
    rank=4, lr=5e-3, baselines=False,
)  # fmt: skip


@pytest.fixture(scope="module", params=["llama", "qwen"])
def merged(request, simulated, home, tmp_path_factory):
    """A LoRA run, its export and the manifest."""
    folder = tmp_path_factory.mktemp(request.param)
    # Rounding is not magnified at a deviation near that of real weights (`tiny_config`).
    reader = tiny_reader(folder, request.param, 0.06 if request.param == "qwen" else 0.2)
    run = trained_on(simulated, replace(LAST, reader=str(reader)), folder, home, people=12)
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
    assert (folder / "model.safetensors").stat().st_mode & 0o777 == 0o600
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


def test_the_parity_bench_asks_a_server_and_finds_no_difference(merged, monkeypatch):
    kind, run, out, manifest = merged
    if kind != "llama":
        pytest.skip("one reader is enough")
    from transformers import AutoTokenizer

    (member,) = manifest["members"]
    Classify.model = transformers_model(kind, out / member["directory"])
    Classify.tokenizer = AutoTokenizer.from_pretrained(out / member["directory"])
    Classify.intercept = member["intercept"]
    monkeypatch.setattr(common, "RESULTS", run.parent / "results")
    with ThreadingHTTPServer(("127.0.0.1", 0), Classify) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        run_bench("parity.vllm", [str(run), str(out), "--url", url])
        server.shutdown()
    # Leadline computes in bfloat16 here, the server in float32.
    own = member["largest_difference_of_leadlines_own_arithmetic"]
    figures = common.read_result("vllm_parity")
    assert figures["largest_difference_token_ids"] <= own + 1e-4
    assert figures["largest_difference_messages"] <= own + 1e-4
    assert figures["readings"] == member["readings"]
