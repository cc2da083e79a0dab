"""Fits that share a base, and what it gave of people, are the fits that they were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.support.readers import people

from leadline.finetune import shared as module
from leadline.finetune.config import FinetuneConfig
from leadline.finetune.model import WEIGHTS, FinetunedModel
from leadline.finetune.shared import SharedReader
from leadline.finetune.train import finetune

CONFIG = FinetuneConfig(epochs=1, dtype="float32", top=0.5, batch_people=4, lr=1e-3)
PEOPLE, OTHERS = people(10), people(6, seed=1)
FITS = [
    (PEOPLE[:7], CONFIG),
    (PEOPLE[2:], replace(CONFIG, seed=1, pooling="attention", rank=4)),
    (PEOPLE[:7], replace(CONFIG, seed=2, head="scalar", top=0.25)),
    (PEOPLE[:5], replace(CONFIG, seed=3, state="last", top=1.0)),
]


@pytest.fixture
def counted(monkeypatch):
    """Rows that the lower layers read, and bases that were loaded."""
    counts = {"rows": 0, "bases": 0}
    compute, load = module.compute_outputs, module.load_base

    def counting_rows(backbone, rows):
        counts["rows"] += len(rows)
        return compute(backbone, rows)

    def counting_bases(*args):
        counts["bases"] += 1
        return load(*args)

    monkeypatch.setattr(module, "compute_outputs", counting_rows)
    monkeypatch.setattr(module, "load_base", counting_bases)
    return counts


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("gigabytes", [2.0, 0.0])
def test_weights_are_bit_by_bit_those_of_fits_on_their_own(path, tmp_path, dtype, gigabytes):
    shared = SharedReader(str(path), replace(CONFIG, dtype=dtype, lower_gb=gigabytes))
    for number, (group, config) in enumerate(FITS):
        config = replace(config, dtype=dtype, lower_gb=gigabytes)
        own = finetune(group, str(path), config, tmp_path / f"own-{number}")
        ours = finetune(group, str(path), config, tmp_path / f"shared-{number}", shared=shared)
        one, two = (
            load_file(tmp_path / f"{kind}-{number}" / WEIGHTS) for kind in ("own", "shared")
        )
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)
        close = {"float32": 1e-5, "bfloat16": 0.02}[dtype] * (20 if config.head == "scalar" else 1)
        for want, got in zip(own.predict(OTHERS), ours.predict(OTHERS), strict=True):
            np.testing.assert_allclose(got, want, atol=close)


def test_everyone_is_read_once_and_the_base_loaded_once(path, tmp_path, counted):
    shared = SharedReader(str(path), CONFIG)
    for number, (group, config) in enumerate(FITS[:2]):
        model = finetune(group, str(path), config, tmp_path / f"{number}", shared=shared)
        model.predict(OTHERS)
    again = FinetunedModel.load(tmp_path / "0", shared=shared)
    again.predict(OTHERS + PEOPLE)
    assert counted == {"rows": len(PEOPLE) + len(OTHERS), "bases": 1}


def test_a_model_stays_what_it_is_when_others_are_fitted(path, tmp_path):
    shared = SharedReader(str(path), CONFIG)
    first = finetune(PEOPLE[:7], str(path), CONFIG, tmp_path / "0", shared=shared)
    before = first.predict(OTHERS)
    finetune(PEOPLE[:7], str(path), replace(CONFIG, seed=5), tmp_path / "1", shared=shared)
    loaded = FinetunedModel.load(tmp_path / "0", shared=shared).predict(OTHERS)
    for one, two, three in zip(before, first.predict(OTHERS), loaded, strict=True):
        assert np.array_equal(one, two)
        assert np.array_equal(one, three)
    weights = [dict(m.regressor.backbone.named_parameters()) for m in (first,
               FinetunedModel.load(tmp_path / "1", shared=shared))]  # fmt: skip
    frozen = [name for name in weights[0] if "lora_" not in name]
    assert all(weights[0][name] is weights[1][name] for name in frozen), "one base in memory"


def test_beyond_its_memory_numbers_stay_and_it_says_so(path, tmp_path, counted):
    roomy = SharedReader(str(path), CONFIG)
    model = finetune(PEOPLE[:4], str(path), CONFIG, tmp_path / "model", shared=roomy)
    want, once = model.predict(OTHERS), counted["rows"]
    tight = SharedReader(str(path), replace(CONFIG, lower_gb=1.5e-5))
    loaded = FinetunedModel.load(tmp_path / "model", shared=tight)
    with pytest.warns(UserWarning, match="--lower-gb; further people are read anew"):
        got = loaded.predict(OTHERS)
    assert tight.kept_bytes <= 1.5e4
    for one, two in zip(want, got, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)
    loaded.predict(OTHERS)  # says it once
    assert counted["rows"] > once + len(OTHERS)


@pytest.mark.parametrize(
    "other", [{"adapt": "full"}, {"layers": (0.5,)}, {"dtype": "bfloat16"}, {"reader": "absent"}]
)
def test_fits_on_another_base_load_their_own(path, other):
    config = replace(CONFIG, **{k: v for k, v in other.items() if k != "reader"})
    shared = SharedReader(other.get("reader", str(path)), CONFIG)
    model = FinetunedModel.untrained(str(path), config, shared=shared)
    assert model.shared is None
    model.predict(OTHERS)


def test_divided_weights_are_not_shared(path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    config = replace(CONFIG, shard=True)
    assert not SharedReader(str(path), config).serves(str(path), config)


def test_an_architecture_that_changes_embeddings_is_read_whole(path):
    shared = SharedReader(str(path), CONFIG)
    model = FinetunedModel.untrained(str(path), CONFIG, shared=shared)
    plain = model.regressor.backbone.forward
    model.regressor.backbone.forward = lambda inputs_embeds=None, **rest: plain(
        inputs_embeds=None if inputs_embeds is None else 8 * inputs_embeds, **rest
    )
    examples = model.encode(PEOPLE[:2])
    assert [e.lower for e in shared.with_lower(model.regressor, examples)] == [None, None]
    assert shared.kept_bytes == 0
