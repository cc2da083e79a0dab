import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.support import ROOT
from tests.support.readers import people, talk, tiny_reader

from leadline.errors import LeadlineError
from leadline.finetune.config import FinetuneConfig
from leadline.finetune.examples import LabelledSpan, TrainPerson, collate
from leadline.finetune.model import WEIGHTS, FinetunedModel
from leadline.finetune.module import build
from leadline.readers.config import ReaderConfig
from leadline.readers.language import LMReader

EXACT = FinetuneConfig(dtype="float32", layers=(0.5,))
PEOPLE = people(6)


@pytest.fixture(scope="module", params=["llama", "qwen"])
def path(request, tmp_path_factory):
    return tiny_reader(tmp_path_factory.mktemp("reader"), request.param)


@pytest.fixture(scope="module")
def model(path):
    return FinetunedModel.untrained(str(path), EXACT)


def disturb(model):
    """Stand-in for training: every trained tensor gets other values."""
    generator = torch.Generator().manual_seed(5)
    for parameter in model.regressor.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)


def test_before_training_it_pools_what_the_frozen_reader_gives(path, model):
    reader = LMReader(str(path), ReaderConfig(layers=(0.5,), dtype="float32"))
    states = model.running_states(PEOPLE, batch_tokens=200)
    frozen = reader.states([person.messages for person in PEOPLE])
    for person, ours, turns in zip(PEOPLE, states, frozen, strict=True):
        for row, reading in enumerate(person.readings):
            expected = turns[reading.first : reading.last + 1].mean(0)
            np.testing.assert_allclose(ours[row], expected, atol=2e-5)


def test_the_same_holds_beyond_the_context_budget(path):
    long = [TrainPerson(talk(*["so tired today"] * 21), [LabelledSpan(3, 10)])]
    config = replace(EXACT, max_tokens=64)
    states = FinetunedModel.untrained(str(path), config).running_states(long, 4096)
    reader = LMReader(str(path), ReaderConfig(layers=(0.5,), dtype="float32", max_tokens=64))
    expected = reader.states([long[0].messages])[0][3:11].mean(0)
    np.testing.assert_allclose(states[0][0], expected, atol=2e-5)


def test_only_the_top_layers_are_adapted_and_no_gradient_flows_below(path):
    regressor = build(path, replace(EXACT, layers=(1.0,), top=0.5), torch.device("cpu"))
    names = [name for name, p in regressor.named_parameters() if p.requires_grad]
    depth = len(regressor.backbone.layers)
    adapted = {int(name.split("layers.")[1].split(".")[0]) for name in names if "lora_" in name}
    assert adapted == set(range(depth // 2, depth))
    assert {name for name in names if "lora_" not in name} == {
        "head.linear.weight",
        "head.linear.bias",
    }
    seen = []
    regressor.backbone.layers[0].register_forward_hook(lambda m, i, out: seen.append(out))
    example = FinetunedModel.untrained(str(path), EXACT).encode(PEOPLE[:2])
    regressor(**collate(example, "mean"))["loss"].backward()
    out = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
    assert not out.requires_grad


def test_every_named_module_of_the_architecture_gets_an_adapter(path):
    regressor = build(path, replace(EXACT, layers=(1.0,), top=1.0), torch.device("cpu"))
    adapted = {name.split(".")[-4] for name, _ in regressor.named_parameters() if "lora_A" in name}
    expected = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    if "qwen" in str(path):
        expected |= {"in_proj_qkv", "in_proj_z", "out_proj"}
    assert adapted == expected


@pytest.mark.parametrize(
    "config",
    [
        EXACT,
        FinetuneConfig(adapt="full", head="scalar", layers=(1, 2), pooling="attention"),
        FinetuneConfig(state="last", pooling="last", layers=(1.0,), head="scalar", loss="huber"),
    ],
)
def test_a_checkpoint_gives_identical_estimates(path, tmp_path, config):
    model = FinetunedModel.untrained(str(path), config)
    disturb(model)
    model.save(tmp_path / "model")
    again = FinetunedModel.load(tmp_path / "model")
    ours, theirs = model.predict(PEOPLE), again.predict(PEOPLE)
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert ours[0].shape == ((2,) if config.head == "scalar" else (2, 28))


PREDICT = """
import sys
sys.path.insert(0, sys.argv[2])
import numpy as np
from pathlib import Path
from tests.support.readers import people
from leadline.finetune.model import FinetunedModel
model = FinetunedModel.load(Path(sys.argv[1]))
np.save(sys.argv[3], np.concatenate(model.predict(people(6))))
"""


def test_another_process_gives_identical_estimates(tmp_path):
    model = FinetunedModel.untrained(str(tiny_reader(tmp_path)), EXACT)
    disturb(model)
    model.save(tmp_path / "model")
    out, here = tmp_path / "out.npy", str(ROOT)
    command = [sys.executable, "-c", PREDICT, str(tmp_path / "model"), here, str(out)]
    subprocess.run(command, check=True, timeout=120)
    assert np.array_equal(np.load(out), np.concatenate(model.predict(PEOPLE)))


def test_a_checkpoint_that_does_not_fit_is_refused(path, model, tmp_path):
    saved = tmp_path / "model"
    model.save(saved)
    with pytest.raises(LeadlineError, match="already exists"):
        model.save(saved)
    about = json.loads((saved / "config.json").read_text())

    def write(**changes):
        (saved / "config.json").write_text(json.dumps({**about, **changes}))

    write(format=99)
    with pytest.raises(LeadlineError, match="format 99"):
        FinetunedModel.load(saved)
    write(revision="another")
    with pytest.raises(LeadlineError, match="another revision"):
        FinetunedModel.load(saved)
    write(reader="smollm2")
    with pytest.raises(LeadlineError, match="reader fetch smollm2"):
        FinetunedModel.load(saved, home=tmp_path / "empty")
    write()
    (saved / WEIGHTS).write_bytes((saved / WEIGHTS).read_bytes()[:200])
    with pytest.raises(LeadlineError, match="weights of this checkpoint"):
        FinetunedModel.load(saved)
    (saved / "config.json").write_text("{")
    with pytest.raises(LeadlineError, match="no checkpoint"):
        FinetunedModel.load(saved)


def test_people_without_readings_and_readings_outside(model):
    nobody = TrainPerson(talk("hello"), [])
    assert model.predict([nobody, PEOPLE[0]])[0].shape == (0, 28)
    with pytest.raises(LeadlineError, match="the person has 1"):
        model.predict([TrainPerson(talk("hello"), [LabelledSpan(0, 1)])])


def test_settings_that_cannot_be_meant():
    for wrong, flag in [({"top": 0}, "--top"), ({"rank": 0}, "--rank"), ({"head": "x"}, "--head")]:
        with pytest.raises(LeadlineError, match=flag):
            FinetuneConfig(**wrong)


def gradients(path, **change):
    """Loss and gradients of one batch, with the adapters away from zero."""
    model = FinetunedModel.untrained(
        str(path), replace(EXACT, layers=(1.0,), dropout=0.0, **change)
    )
    disturb(model)
    model.regressor.train()
    loss = model.regressor(**collate(model.encode(PEOPLE), "mean"))["loss"]
    loss.backward()
    named = model.regressor.named_parameters()
    return loss.detach(), {name: p.grad for name, p in named if p.requires_grad}


@pytest.mark.parametrize("adapt", ["lora", "full"])
def test_what_is_kept_for_the_backward_pass_does_not_change_it(path, adapt, monkeypatch):
    moved = []

    class Watched(torch.autograd.graph.save_on_cpu):
        def __init__(self, **given):
            super().__init__(**given)
            pack = self.pack_hook
            self.pack_hook = lambda tensor: moved.append(tuple(tensor.shape)) or pack(tensor)

    monkeypatch.setattr(torch.autograd.graph, "save_on_cpu", Watched)
    want = gradients(path, adapt=adapt, top=1.0)
    assert not moved
    again = gradients(path, adapt=adapt, top=1.0, checkpointing="recompute")
    assert not moved
    away = gradients(path, adapt=adapt, top=1.0, checkpointing="offload")
    depth = len(FinetunedModel.untrained(str(path), EXACT).regressor.backbone.layers) * 2
    inputs = [shape for shape in moved if len(shape) == 3 and shape[-1] == 32]
    assert depth <= len(inputs) <= 2 * depth + 4, (
        "the input of each layer was moved, and little else"
    )
    for loss, found in (again, away):
        assert torch.equal(loss, want[0])
        assert found.keys() == want[1].keys()
        assert all(torch.equal(found[name], want[1][name]) for name in found)


def test_no_row_holds_two_people(model):
    """Packing would leak the state of one person into another: a row is one person's alone."""
    examples = model.encode(PEOPLE)
    batch = collate(examples, "mean")
    rows, length = batch["input_ids"].shape
    assert rows == sum(len(example.rows) for example in examples)
    at = 0
    for example in examples:
        for ids in example.rows:
            assert batch["input_ids"][at].tolist() == ids + [0] * (length - len(ids))
            at += 1
    row_of = (batch["where"] // length).tolist()
    owner = [n for n, example in enumerate(examples) for _ in example.rows]
    turns = [n for n, example in enumerate(examples) for _ in example.spans]
    assert all(owner[row] == turns[turn] for row, turn in zip(row_of, batch["turn"], strict=True))


def test_several_readings_of_a_person_have_the_gradients_of_as_many_examples(path):
    person = TrainPerson(
        talk(*["so tired", "why", "sad all the time", "how are you"] * 4),
        [LabelledSpan(0, last, float(total)) for last, total in ((1, 20), (3, 12), (5, 9), (7, 3))],
    )
    apart = [TrainPerson(person.messages, [reading]) for reading in person.readings]
    model = FinetunedModel.untrained(str(path), replace(EXACT, layers=(1.0,), dropout=0.0))
    disturb(model)
    found = []
    for some in ([person], apart):
        model.regressor.zero_grad()
        model.regressor(**collate(model.encode(some), "mean"))["loss"].backward()
        found.append([p.grad.clone() for p in model.regressor.parameters() if p.requires_grad])
    for one, four in zip(*found, strict=True):
        torch.testing.assert_close(one, four, atol=1e-5, rtol=1e-4)


def test_a_checkpoint_of_the_first_version_loads(path, model, tmp_path):
    model.save(tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    about = json.loads(file.read_text())
    old = {k: v for k, v in about["config"].items() if k not in ("base_weights", "shard")}
    file.write_text(json.dumps({**about, "config": {**old, "checkpointing": True}}))
    assert FinetunedModel.load(tmp_path / "model").config.checkpointing == "recompute"
