"""The course of a training: what each step's line says."""

from __future__ import annotations

import json

import pytest
import torch
from tests.support.readers import people, tiny_reader

from leadline.finetune.config import FinetuneConfig
from leadline.finetune.curve import CURVE, Curve, curve_figures, curve_sums
from leadline.finetune.examples import TrainPerson
from leadline.finetune.train import finetune


def test_losses_of_gold_and_pseudolabels_are_told_apart():
    losses, weights = torch.tensor([1.0, 2.0, 4.0, 9.0]), torch.tensor([1.0, 3.0, 0.5, 0.0])
    gold, means = torch.tensor([True, True, False, True]), torch.tensor([2.0, 6.0, 10.0, 99.0])
    figures = curve_figures(curve_sums(losses, weights, gold, means).tolist())
    assert figures["gold_loss"] == pytest.approx((1 + 6) / 4)
    assert figures["pseudolabel_loss"] == pytest.approx(4)
    assert figures["spread"] == pytest.approx(float(means[:3].std(correction=0)))


def test_parts_of_a_step_add_up():
    generator = torch.Generator().manual_seed(0)
    losses, weights, means = torch.rand(3, 10, generator=generator)
    gold = torch.rand(10, generator=generator) > 0.4
    whole = curve_sums(losses, weights, gold, means)
    parts = [curve_sums(losses[s], weights[s], gold[s], means[s])
             for s in (slice(0, 4), slice(4, 10))]  # fmt: skip
    torch.testing.assert_close(whole, parts[0] + parts[1])


def test_a_step_without_a_kind_of_label_says_nothing_of_it():
    sums = curve_sums(torch.ones(1), torch.ones(1), torch.ones(1).bool(), torch.ones(1))
    assert set(curve_figures(sums.tolist())) == {"gold_loss"}


def test_entries_of_one_step_are_one_line():
    log = [
        {"held_out_loss": 2.0, "step": 2, "epoch": 0.5},
        {"loss": 1.0, "learning_rate": 0.1, "step": 2, "epoch": 0.5},
        {"loss": 3.0, "step": 1, "epoch": 0.25},
        {"train_runtime": 9.0, "step": 2},
    ]
    assert Curve(log, 4.0, "nats", 2).lines() == [
        {"step": 1, "epoch": 0.25, "loss": 3.0},
        {"step": 2, "epoch": 0.5, "held_out_loss": 2.0, "loss": 1.0, "learning_rate": 0.1},
    ]


def test_a_checkpoint_keeps_the_course_of_its_training(tmp_path):
    path = tiny_reader(tmp_path, "llama")
    everyone = people(8)
    mixed = [
        TrainPerson(p.messages, [r._replace(gold=number < 5) for r in p.readings])
        for number, p in enumerate(everyone)
    ]
    config = FinetuneConfig(epochs=2, dtype="float32", batch_people=4, accumulate=2)
    finetune(mixed, str(path), config, tmp_path / "model")
    curve = json.loads((tmp_path / "model" / CURVE).read_text())
    assert curve["unit"] == "nats"
    assert curve["best_step"] is None
    assert [line["epoch"] for line in curve["lines"]] == [1, 2]
    for line in curve["lines"]:
        # Every label has the same weight, and a batch of four the same number of them.
        assert line["loss"] == pytest.approx(
            (5 * line["gold_loss"] + 3 * line["pseudolabel_loss"]) / 8, rel=0.02
        )
        assert line["spread"] > 0
        assert "held_out_loss" not in line
