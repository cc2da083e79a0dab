"""How fast a machine is, and how much there is to read."""

from __future__ import annotations

import pytest
import torch
from tests.support.readers import people, tiny_reader

from leadline.finetune.config import FinetuneConfig
from leadline.finetune.examples import LabelledSpan, TrainPerson
from leadline.finetune.model import FinetunedModel
from leadline.finetune.resources import PEAK, Shape, step_flops
from leadline.finetune.speed import machine_speed, memory_gib, person_tokens, shape_of, step_of

CONFIG = FinetuneConfig(dtype="float32", layers=(0.5,), batch_people=3)
PEOPLE = [TrainPerson(person.messages, []) for person in people(6)]


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return str(tiny_reader(tmp_path_factory.mktemp("reader")))


def test_tokens_are_those_that_training_reads(reader):
    model = FinetunedModel.untrained(reader, CONFIG)
    trained = [example.tokens for example in model.encode(PEOPLE)]
    assert person_tokens(reader, PEOPLE, CONFIG.max_tokens) == trained
    short = person_tokens(reader, PEOPLE, 32)
    assert short != trained  # what does not fit is read in several passes


def test_a_shape_is_cut_at_the_layer_that_is_read(reader):
    assert shape_of(reader, CONFIG).depth == 2
    assert shape_of(reader, FinetuneConfig(layers=(3,))).depth == 3
    assert isinstance(shape_of(reader, CONFIG), Shape)


def test_a_machine_without_a_known_gpu_is_timed(reader):
    speed = machine_speed(reader, CONFIG, PEOPLE)
    assert "timed here" in speed.basis
    assert speed.operations > 0


def test_a_known_gpu_is_taken_at_its_assumed_share(reader, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100 80GB HBM3")
    speed = machine_speed(reader, CONFIG, PEOPLE)
    assert speed.operations == 0.25 * PEAK["H100"]
    assert "assumed" in speed.basis


def test_steps_and_memory_are_those_of_the_settings(reader):
    step = step_of(CONFIG, 100)
    assert (step.rows, step.tokens, step.adapt) == (3, 100, "lora")
    assert memory_gib(reader, CONFIG, 4000) > memory_gib(reader, CONFIG, 100) > 1.0
    assert step_flops(shape_of(reader, CONFIG), step) > 0


def test_a_step_leaves_no_gradients_behind(reader):
    from leadline.finetune.speed import _timed_step

    model = FinetunedModel.untrained(reader, CONFIG)
    labelled = [TrainPerson(PEOPLE[0].messages, [LabelledSpan(0, 0, 9.0)])]
    assert _timed_step(model, model.encode(labelled)) > 0
    assert all(p.grad is None for p in model.regressor.parameters())
