"""The module that is trained: what is adapted, and what its gradients are."""

from dataclasses import replace

import pytest
import torch
from tests.support.adapted import EXACT, PEOPLE, disturb
from tests.support.readers import talk

from leadline.finetune.examples import LabelledSpan, TrainPerson, collate
from leadline.finetune.model import FinetunedModel
from leadline.finetune.module import build


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
