"""People as rows of tokens."""

import math

import torch
from tests.support.adapted import PEOPLE

from leadline.finetune.examples import LabelledSpan, TrainPerson, collate
from leadline.finetune.head import hl_gauss


def test_no_row_holds_two_people(model):
    """Packing would leak the state of one person into another: a row is one person's alone."""
    examples = model.encode(PEOPLE)
    batch = collate(examples, "mean")
    rows, length = batch["input_ids"].shape
    assert rows == sum(len(example.rows) for example in examples)
    at = 0
    for example in examples:
        for ids in example.rows:
            assert batch["input_ids"][at].tolist() == ids + [0] * (length - len(ids))
            at += 1
    row_of = (batch["where"] // length).tolist()
    owner = [n for n, example in enumerate(examples) for _ in example.rows]
    turns = [n for n, example in enumerate(examples) for _ in example.spans]
    assert all(owner[row] == turns[turn] for row, turn in zip(row_of, batch["turn"], strict=True))


def test_what_is_known_of_each_label_goes_along(model):
    pseudo = LabelledSpan(0, 0, 9.5, weight=0.25, sd=3.0, gold=False)
    examples = model.encode([PEOPLE[0], TrainPerson(PEOPLE[1].messages, [pseudo])])
    batch = collate(examples, "mean")
    gold = len(PEOPLE[0].readings)
    assert batch["sds"].tolist() == [0.0] * gold + [3.0]
    assert batch["gold"].tolist() == [True] * gold + [False]
    assert batch["weights"].tolist() == [1.0] * gold + [0.25]


def test_the_loss_of_an_uncertain_label_is_that_of_its_distribution(model):
    sds = (0.0, 2.5)
    losses = []
    for sd in sds:
        person = TrainPerson(PEOPLE[0].messages, [LabelledSpan(0, 0, 20.0, sd=sd)])
        batch = collate(model.encode([person]), "mean")
        model.regressor.eval()
        losses.append(model.regressor(**batch))
    for sd, got in zip(sds, losses, strict=True):
        spread = math.hypot(model.config.sigma, sd)
        target = hl_gauss(torch.tensor([20.0]), spread)
        expected = -(target * got["out"].log_softmax(1)).sum()
        torch.testing.assert_close(got["loss"], expected)
