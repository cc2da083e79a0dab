import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.support import ROOT
from tests.support.adapted import EXACT, PEOPLE, disturb
from tests.support.readers import talk, tiny_reader

from leadline.errors import LeadlineError
from leadline.finetune.config import FinetuneConfig
from leadline.finetune.examples import LabelledSpan, TrainPerson
from leadline.finetune.model import WEIGHTS, FinetunedModel, check_checkpoint
from leadline.readers.config import ReaderConfig
from leadline.readers.language import LMReader


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


def test_a_checkpoint_of_the_first_version_loads(path, model, tmp_path):
    model.save(tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    about = json.loads(file.read_text())
    old = {k: v for k, v in about["config"].items() if k not in ("base_weights", "shard")}
    file.write_text(json.dumps({**about, "config": {**old, "checkpointing": True}}))
    assert FinetunedModel.load(tmp_path / "model").config.checkpointing == "recompute"


def nan_in(tensors):
    tensors[min(tensors)].view(-1)[0] = float("nan")


FORGED_WEIGHTS = {
    "not a number": (nan_in, "are not finite"),
    "one less": (lambda tensors: tensors.popitem(), "do not fit"),
    "another shape": (lambda tensors: tensors.update({min(tensors): torch.zeros(3)}), "do not fit"),
}


@pytest.mark.parametrize("name", FORGED_WEIGHTS)
def test_forged_weights_are_refused(path, model, tmp_path, name):
    change, message = FORGED_WEIGHTS[name]
    model.save(tmp_path / "model")
    tensors = load_file(tmp_path / "model" / WEIGHTS)
    change(tensors)
    save_file(tensors, tmp_path / "model" / WEIGHTS)
    with pytest.raises(LeadlineError, match=message) as caught:
        FinetunedModel.load(tmp_path / "model")
    assert caught.value.file == tmp_path / "model" / WEIGHTS
    if message == "are not finite":  # the rest is known with the reader alone
        with pytest.raises(LeadlineError, match=message):
            check_checkpoint(tmp_path / "model")


@pytest.mark.parametrize("config", [None, {}, {"layers": 3}, {"layers": [1.0], "colour": "red"}])
def test_forged_settings_are_refused(path, model, tmp_path, config):
    model.save(tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    about = json.loads(file.read_text())
    check_checkpoint(tmp_path / "model")
    file.write_text(json.dumps({**about, "config": config}))
    for read in (FinetunedModel.load, check_checkpoint):
        with pytest.raises(LeadlineError, match="settings of this checkpoint are not"):
            read(tmp_path / "model")
