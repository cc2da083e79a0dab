"""The benches of training run: tiny, on the CPU, and they say when there is no GPU."""

import json

import pytest
import torch
from bench.gpu import smollm2_paper
from bench.protocol import run_bench
from tests.support.readers import tiny_reader

from bench import common


@pytest.fixture
def bench(monkeypatch, tmp_path):
    """Run a bench, its results going to a scratch folder."""
    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    return lambda name, *flags: run_bench(name, [str(flag) for flag in flags])


def results(tmp_path, name):
    return json.loads((tmp_path / "results" / f"{name}.json").read_text())


@pytest.mark.parametrize("checkpointing", ["none", "offload"])
def test_the_27b_bench_runs_tiny_and_writes_nothing(bench, tmp_path, capsys, checkpointing):
    bench(
        "gpu.train_27b", "--tiny", "--tokens", 256, "--steps", 2, "--checkpointing", checkpointing
    )
    assert json.loads(capsys.readouterr().out)["tiny"] is True
    assert not (tmp_path / "results").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_they_say_so(bench):
    with pytest.raises(SystemExit, match="No GPU is at hand"):
        bench("gpu.train_27b")
    with pytest.raises(SystemExit, match="No GPU is at hand"):
        bench("gpu.smollm2_paper", "run")


def test_four_phq9s_a_person_are_one_pass(bench, tmp_path):
    reader = tiny_reader(tmp_path)
    bench(
        "speed.readings_in_one_pass",
        "--people",
        2,
        "--tokens",
        1500,
        "--repeats",
        1,
        "--reader",
        reader,
    )
    found = results(tmp_path, "multi_label_epoch")
    tokens = {way: row["tokens"] for way, row in found["epochs"].items()}
    assert tokens["whole"] == 4 * tokens["one pass"]
    assert tokens["cut"] > 2 * tokens["one pass"]
    assert found["largest_relative_difference_of_gradients"] < 1e-4


def test_fits_that_share_end_with_the_weights_of_fits_on_their_own(bench, tmp_path):
    sizes = ("--fits", 2, "--people", 6, "--others", 4, "--turns", 8, "--epochs", 1)
    bench("speed.shared_fits", *sizes, "--reader", tiny_reader(tmp_path))
    found = results(tmp_path, "shared_fits")
    assert found["weights_equal"] is True
    assert found["largest_difference_points"] < 0.2
    assert set(found["processor_seconds"]) == {"as peft computes", "on its own", "shared"}


@pytest.mark.slow
def test_a_reader_in_pieces_trains_on_a_small_cohort(bench, tmp_path, monkeypatch):
    reader, pieces = tiny_reader(tmp_path), tmp_path / "pieces"
    monkeypatch.setattr(smollm2_paper, "PIECE", 20_000)
    bench("gpu.smollm2_paper", "split", pieces, "--reader", reader)
    assert len(list(pieces.glob("model.safetensors.*"))) > 3
    bench("gpu.smollm2_paper", "run", "--weights", pieces, "--people", 40, "--epochs", 1)
    found = results(tmp_path, "gpu_smollm2_paper")
    assert found["full"]["locked_people"] == found["frozen"]["locked_people"] == 8
    assert found["full"]["gap_to_the_limit"] == pytest.approx(
        found["limit_r"] - found["full"]["r"], abs=1e-3
    )
