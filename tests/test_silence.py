"""Dependencies send nothing: what they are told, before they are imported, whoever asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from leadline import silence

ASKED = dict.fromkeys(silence.TELEMETRY, "") | dict.fromkeys(silence.REQUEST_LOGS, "debug")

SAY = (
    "import os, json, sys; import leadline{more}; "
    "print(json.dumps([dict(os.environ), sorted(sys.modules)]))"
)


def environment_after(more: str = "") -> tuple[dict[str, str], list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", SAY.format(more=more)],
        env={**os.environ, **ASKED, "HF_HUB_OFFLINE": "0"}, capture_output=True, check=True,
    )  # fmt: skip
    variables, modules = json.loads(done.stdout)
    return variables, modules


def test_importing_leadline_switches_everything_off_before_anything_else_is_imported():
    variables, modules = environment_after()
    assert silence.TELEMETRY.items() <= variables.items()
    assert not {"ANTHROPIC_LOG", "OPENAI_LOG"} & variables.keys()
    others = {"onnxruntime", "ray", "huggingface_hub", "transformers", "anthropic", "openai"}
    assert not others & set(modules)


def test_who_loads_a_reader_asks_no_hub():
    variables, _ = environment_after(".readers.backbone")
    assert variables["HF_HUB_OFFLINE"] == "1"
    assert environment_after()[0]["HF_HUB_OFFLINE"] == "0", "reader fetch may ask it"


def test_the_hub_client_understands_the_switch():
    code = "import leadline, huggingface_hub.constants as c; print(c.HF_HUB_DISABLE_TELEMETRY)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_onnx_runtime_leaves_no_device_number(tmp_path):
    pytest.importorskip("onnxruntime")
    code = (
        "import leadline, onnx, onnxruntime\n"
        "from onnx import helper, TensorProto as T\n"
        "ends = [[helper.make_tensor_value_info(n, T.FLOAT, [1])] for n in 'xy']\n"
        "graph = helper.make_graph([helper.make_node('Identity', ['x'], ['y'])], 'g', *ends)\n"
        "opsets = [helper.make_opsetid('', 18)]\n"
        "model = helper.make_model(graph, opset_imports=opsets, ir_version=9)\n"
        "onnxruntime.InferenceSession(model.SerializeToString(),"
        " providers=['CPUExecutionProvider'])\n"
    )
    environment = {**os.environ, "HOME": str(tmp_path)}
    environment.pop("XDG_CACHE_HOME", None)
    environment["ORT_DISABLE_TELEMETRY"] = "0"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
