"""Packed linear layers: the same numbers, where they are faster."""

import numpy as np
import pytest
import torch
from tests.support.readers import talk

from leadline.readers.config import ReaderConfig
from leadline.readers.language import LMReader
from leadline.readers.packed import PackedLinear, pack_linear_layers, packing_pays

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 24), (2, 600, 24), (0, 24)])
def test_a_packed_layer_gives_what_the_layer_gave(bias, shape):
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(24, 10, bias=bias), torch.randn(shape)
    with torch.inference_mode():
        torch.testing.assert_close(PackedLinear(layer)(x), layer(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "machine", "pays"),
    [
        ("AMD EPYC", "x86_64", True),
        ("Intel Xeon", "x86_64", False),
        ("Neoverse-N1", "aarch64", False),
    ],
)
def test_only_x86_processors_that_mkl_does_not_serve_well_get_them(
    monkeypatch, name, machine, pays
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": name})
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert packing_pays(CPU) == pays
    assert not packing_pays(GPU)


def test_a_reader_of_an_amd_processor_gives_the_same_states(path, monkeypatch):
    config, talks = (
        ReaderConfig(layers=(0.5, 1.0), dtype="float32"),
        [talk("so tired", "why", "ok")],
    )
    plain = LMReader(str(path), config, device=CPU)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": "AMD EPYC"})
    packed = LMReader(str(path), config, device=CPU)
    kinds = {type(module) for module in packed.model.modules()}
    assert PackedLinear in kinds
    assert torch.nn.Linear not in kinds
    assert packed.identity == plain.identity
    np.testing.assert_allclose(packed.states(talks)[0], plain.states(talks)[0], atol=2e-5)


def test_layers_of_other_arithmetic_stay(path):
    reader = LMReader(str(path), ReaderConfig(layers=(1,), dtype="bfloat16"), device=CPU)
    pack_linear_layers(reader.model)
    assert not any(isinstance(module, PackedLinear) for module in reader.model.modules())
