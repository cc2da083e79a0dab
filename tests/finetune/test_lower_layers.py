import torch
from tests.support.readers import people

from leadline.finetune.config import FinetuneConfig
from leadline.finetune.examples import collate
from leadline.finetune.lower_layers import first_adapted, lower_outputs, only_layers
from leadline.finetune.model import FinetunedModel
from leadline.finetune.module import build
from leadline.finetune.train import finetune

CONFIG = FinetuneConfig(dtype="float32", layers=(0.75,), top=0.5, dropout=0.0)
PEOPLE = people(6)


def test_loss_and_gradients_are_those_of_the_whole_reader(path):
    model = FinetunedModel.untrained(str(path), CONFIG)
    for name, parameter in model.regressor.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1)
    examples = model.encode(PEOPLE)
    rows = [row for example in examples for row in example.rows]
    outputs = lower_outputs(model.regressor.backbone, rows, limit=1)
    assert outputs is not None
    short = [e._replace(lower=[some]) for e, some in zip(examples, outputs, strict=True)]
    found = []
    for some in (examples, short):
        model.regressor.zero_grad()
        loss = model.regressor(**collate(some, "mean"))["loss"]
        loss.backward()
        trained = [p.grad.clone() for p in model.regressor.parameters() if p.requires_grad]
        found.append((loss.detach(), trained))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=1e-5)
    for one, two in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


def test_training_with_and_without_it_ends_alike(path, tmp_path):
    trained = {}
    for gigabytes in (0.0, 1.0):
        config = FinetuneConfig(dtype="float32", top=0.5, dropout=0.0, epochs=2, lower_gb=gigabytes)
        model = finetune(PEOPLE, str(path), config, tmp_path / f"{gigabytes}")
        trained[gigabytes] = model.predict(PEOPLE)
    for one, two in zip(trained[0.0], trained[1.0], strict=True):
        torch.testing.assert_close(torch.tensor(one), torch.tensor(two), atol=1e-3, rtol=1e-2)


def test_the_backbone_is_as_it_was_afterwards(path):
    backbone = build(path, CONFIG, torch.device("cpu")).backbone
    before = (len(backbone.layers), type(backbone.norm), backbone.config.num_hidden_layers)
    with only_layers(backbone, 1, 2):
        assert len(backbone.layers) == 1
        assert isinstance(backbone.norm, torch.nn.Identity)
    after = (len(backbone.layers), type(backbone.norm), backbone.config.num_hidden_layers)
    assert before == after


def test_nothing_is_kept_where_it_cannot_be(path):
    backbone = build(path, CONFIG, torch.device("cpu")).backbone
    assert first_adapted(backbone) > 0
    assert lower_outputs(backbone, [[1, 2, 3]], limit=1e-9) is None
    whole = build(path, FinetuneConfig(dtype="float32", top=1.0), torch.device("cpu")).backbone
    assert lower_outputs(whole, [[1, 2, 3]], limit=1) is None


def test_an_architecture_that_changes_embeddings_is_left_alone(path):
    backbone = build(path, CONFIG, torch.device("cpu")).backbone
    plain = backbone.forward
    backbone.forward = lambda inputs_embeds=None, **rest: plain(
        inputs_embeds=None if inputs_embeds is None else 8 * inputs_embeds, **rest
    )
    assert lower_outputs(backbone, [[5, 6, 7]], limit=1) is None
