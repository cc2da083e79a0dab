"""The best epoch, judged on people who are set aside."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tests.support.readers import people, tiny_reader

from leadline.errors import LeadlineError
from leadline.finetune.config import FinetuneConfig
from leadline.finetune.curve import CURVE
from leadline.finetune.examples import LabelledSpan, TokenisedPerson, TrainPerson
from leadline.finetune.model import WEIGHTS, FinetunedModel
from leadline.finetune.stopping import BEST, set_aside
from leadline.finetune.train import finetune, labelled_only

PEOPLE = people(20)
CONFIG = FinetuneConfig(epochs=4, dtype="float32", batch_people=4, lr=0.03, stop_share=0.3)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return tiny_reader(tmp_path_factory.mktemp("reader"), "llama")


def example(gold):
    return TokenisedPerson([[1]], [(0, 0, 1)], [LabelledSpan(0, 0, 5.0, gold=gold)])


@given(st.lists(st.booleans(), max_size=40), st.sampled_from([0.1, 0.25, 0.5]), st.integers(0, 9))
def test_only_people_with_gold_judge_and_someone_is_left(kinds, share, seed):
    examples = [example(gold) for gold in kinds]
    if sum(kinds) < 2:
        with pytest.raises(LeadlineError, match="--stop-share"):
            set_aside(examples, share, seed)
        return
    rows = set_aside(examples, share, seed)
    assert rows == set_aside(examples, share, seed)
    assert len(set(rows)) == len(rows) == max(1, round(share * sum(kinds)))
    assert all(kinds[row] for row in rows)
    assert len(rows) < sum(kinds)
    assert set_aside(examples, 0, seed) == []


def test_the_best_epoch_is_kept(llama, tmp_path):
    # Far too high a learning rate: a later epoch is worse.
    model = finetune(PEOPLE, str(llama), CONFIG, tmp_path / "model")
    curve = json.loads((tmp_path / "model" / CURVE).read_text())
    judged = {line["step"]: line["held_out_loss"]
              for line in curve["lines"] if "held_out_loss" in line}  # fmt: skip
    assert len(judged) == 4
    assert judged[curve["best_step"]] == min(judged.values())
    assert curve["best_step"] != max(judged), "the test needs an epoch that is not the last"
    rows = set_aside(model.encode(PEOPLE), CONFIG.stop_share, CONFIG.seed)
    losses, again = [], FinetunedModel.load(tmp_path / "model")
    for shape, row in zip(again.predict([PEOPLE[row] for row in rows]), rows, strict=True):
        totals = torch.tensor([r.total for r in PEOPLE[row].readings])
        losses += again.regressor.head.losses(torch.tensor(shape).log(), totals).tolist()
    assert np.mean(losses) == pytest.approx(min(judged.values()), rel=1e-4)
    assert not (tmp_path / "model.training" / BEST).exists()


def test_labels_of_those_set_aside_touch_no_weight_of_an_epoch(llama, tmp_path):
    rows = set_aside([example(True)] * len(PEOPLE), CONFIG.stop_share, CONFIG.seed)
    others = [
        TrainPerson(p.messages, [r._replace(total=27 - r.total) for r in p.readings])
        if row in rows
        else p
        for row, p in enumerate(PEOPLE)
    ]
    config = replace(CONFIG, epochs=1)
    for name, group in (("one", PEOPLE), ("other", others)):
        finetune([labelled_only(p) for p in group], str(llama), config, tmp_path / name)
    one, other = (load_file(tmp_path / name / WEIGHTS) for name in ("one", "other"))
    assert all(torch.equal(one[name], other[name]) for name in one)
