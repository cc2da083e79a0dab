"""Which arithmetic `auto` is: by device and by what the processor multiplies."""

import pytest
import torch

from leadline.readers.arithmetic import multiplies_bfloat16, resolve_arithmetic
from leadline.readers.config import ReaderConfig
from leadline.readers.language import LMReader

CPU, GPU = torch.device("cpu"), torch.device("cuda")

AMD_AVX2 = {"avx2": True, "f16c": True, "avx512_bf16": False, "amx_tile": False}


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        (AMD_AVX2, "float32"),
        ({"avx512_f": True, "avx512_bf16": False}, "float32"),
        ({"amx_bf16": True, "amx_tile": False}, "float32"),
        ({}, "float32"),
        ({**AMD_AVX2, "avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True, "amx_tile": True}, "bfloat16"),
        ({"architecture": "aarch64", "bf16": True}, "bfloat16"),
    ],
)
def test_bfloat16_is_for_processors_that_multiply_it(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert multiplies_bfloat16() == (expected == "bfloat16")
    assert resolve_arithmetic("auto", CPU) == expected
    assert resolve_arithmetic("auto", GPU) == "bfloat16"
    assert resolve_arithmetic("float32", GPU) == "float32"
    assert resolve_arithmetic("bfloat16", CPU) == "bfloat16"


def test_a_reader_computes_in_what_the_processor_is_good_at(language_paths, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: AMD_AVX2)
    path = str(language_paths["llama"])
    plain = LMReader(path, ReaderConfig(layers=(2,)))
    assert plain.dtype == torch.float32
    assert plain.identity == LMReader(path, ReaderConfig(layers=(2,), dtype="float32")).identity
    assert plain.identity != LMReader(path, ReaderConfig(layers=(2,), dtype="bfloat16")).identity
