"""A real server on loopback: `transformers serve` with SmolLM2, started by the bench."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench.selftraining import local_server
from tests.support import ROOT
from tests.support.teacher_server import TeacherServer

HOME = Path(os.environ.get("LEADLINE_HOME", Path.home() / ".cache" / "leadline"))
OPTIONS = ("--requests", "4", "--max-tokens", "24", "--long-requests", "0", "--decisions", "2")


class Stand:
    """What the bench uses of a server, around the tests' own."""

    def __init__(self, server: TeacherServer) -> None:
        self.server, self.url = server, server.url + "/v1"

    def requests(self, path: str) -> int:
        assert path == "/v1/chat/completions"
        return len(self.server.asked)


def test_the_bench_kills_goes_on_and_asks_nothing_again(tmp_path):
    with TeacherServer() as server:
        server.delay = 0.1
        first = local_server.measure_labelling(Stand(server), 30, 16, tmp_path / "work", kill=True)
        assert first["states"] == {"done": 30}
        assert 15 <= first["answered_before_the_kill"] < 30
        assert first["of_them_lost_or_changed"] == first["asked_again"] == 0
        assert first["labels"] == 30
        assert 30 <= first["requests_that_the_server_answered"] <= 32  # two were under way
        asked = len(server.asked)
        again = local_server.measure_labelling(Stand(server), 30, 16, tmp_path / "work", kill=True)
        assert len(server.asked) == asked
        assert again["answered_in_earlier_runs"] == 30
        assert again["states"] == first["states"]


@pytest.mark.slow
def test_a_real_server_answers_and_nothing_invalid_becomes_a_label():
    if not (HOME / "readers" / "smollm2" / "manifest.json").is_file():
        pytest.skip("the reader smollm2 is not fetched: leadline reader fetch smollm2")
    for package in ("torch", "transformers", "fastapi", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the server needs {package}")
    done = subprocess.run(
        [sys.executable, "-m", "bench", "run", "selftraining.local_server", *OPTIONS],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        timeout=300,
        check=True,
    )
    whole = json.loads(done.stdout)
    assert whole["decisions"]["valid"] == 2
    report = whole["short"]
    assert sum(report["states"].values()) == 4
    assert report["states"].get("failed", 0) == 0
    assert report["labels"] == report["states"].get("done", 0)
    assert report["states"]["truncated"] >= 1  # 24 tokens cannot hold a rating
    assert report["input_tokens"] > 4 * 500
    assert 0 < report["output_tokens"] <= 4 * 24
    assert report["asked_again"] == 0
    assert report["of_them_lost_or_changed"] == 0 < report["answered_before_the_kill"]
