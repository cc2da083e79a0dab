"""The bench of the paper's protocol, on few people and a tiny reader."""

from __future__ import annotations

import argparse

import pytest
from bench.protocol import run_bench
from bench.selftraining import paper
from tests.support.readers import tiny_reader

from bench import common

FEW = ["--gold", "96", "--free", "20", "--locked", "24", "--user-turns", "8", "--seeds", "1",
       "--rounds", "1", "--members", "1", "--folds", "3", "--frozen-folds", "4", "--layers", "1.0",
       "--epochs", "1", "--max-tokens", "64", "--force"]  # fmt: skip


def parsed(*words):
    parser = argparse.ArgumentParser()
    paper.options(parser)
    return parser.parse_args(["--work", "w", *words])


@pytest.mark.parametrize(("gpu", "gold"), [(True, 3111), (False, 311)])
def test_sizes_are_the_papers_or_a_tenth(monkeypatch, gpu, gold):
    monkeypatch.setattr(paper.torch.cuda, "is_available", lambda: gpu)
    assert paper.sizes(parsed())["gold"] == gold
    assert paper.sizes(parsed("--locked", "7"))["locked"] == 7
    made = paper.people_of(1, parsed())
    assert (made.gold, made.teacher_r) == (gold, 0.76)
    assert made.people == sum(paper.sizes(parsed()).values())


@pytest.mark.slow
def test_it_runs_once_and_then_only_reads(monkeypatch, tmp_path):
    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    reader = str(tiny_reader(tmp_path))
    words = [*FEW, "--reader", reader, "--work", str(tmp_path / "work")]
    first = run_bench("selftraining.paper", words)
    rows = dict(paper.rows(first))
    wanted = {"gold only", "raw teacher", "round 1", "true labels", "fused"}
    assert wanted | {"frozen states: gold only", "frozen states: leadline"} <= set(rows)
    assert first["models"]["gold only"]["minus_gold_only"] == 0.0
    assert all(0 <= model["coverage"] <= 1 for model in first["models"].values())
    assert first["models"]["gold only"]["labels"] == 24
    monkeypatch.setattr(paper, "one_part", lambda *_: pytest.fail("made again"))
    again = run_bench("selftraining.paper", words)
    assert again["models"] == first["models"]
