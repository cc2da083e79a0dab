"""A real server on loopback: `transformers serve` with SmolLM2, started by the bench script."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(os.environ.get("LEADLINE_HOME", Path.home() / ".cache" / "leadline"))
OPTIONS = ("--requests", "4", "--max-tokens", "24", "--long-requests", "0")
SCRIPT = Path(__file__).parents[1] / "bench" / "local_teacher.py"


@pytest.mark.slow
def test_a_real_server_answers_and_nothing_invalid_becomes_a_label():
    if not (HOME / "readers" / "smollm2" / "manifest.json").is_file():
        pytest.skip("the reader smollm2 is not fetched: leadline reader fetch smollm2")
    for package in ("torch", "transformers", "fastapi", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the server needs {package}")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *OPTIONS],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        timeout=300,
        check=True,
    )
    report = json.loads(done.stdout)["short"]
    assert sum(report["states"].values()) == 4
    assert report["states"].get("failed", 0) == 0
    assert report["labels"] == report["states"].get("done", 0)
    assert report["states"]["truncated"] >= 1  # 24 tokens cannot hold a rating
    assert report["input_tokens"] > 4 * 500
    assert 0 < report["output_tokens"] <= 4 * 24
    assert report["asked_again"] == 0
