"""Ours with ``pooling=last, head=scalar`` against transformers' own sequence classification.

SmolLM2-135M in float32, three made-up conversations, one batch: outputs, loss and the
gradient of every parameter. Also the hybrid architecture of Qwen3.5 at a small size with
random weights (``tests/tiny.py``). The target is agreement to 1e-5.

    python bench/parity_seqcls.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from checkins import ROOT, save
from leadline.finetune.config import FinetuneConfig
from leadline.finetune.examples import LabelledSpan, TrainPerson, collate
from leadline.finetune.model import FinetunedModel
from leadline.readers.fetch import reader_path

sys.path.insert(0, str(ROOT / "tests"))
from tests.support.readers import talk, tiny_reader

CONFIG = FinetuneConfig(
    adapt="full", layers=(1.0,), state="last", pooling="last", head="scalar", dropout=0.0,
    dtype="float32",
)  # fmt: skip
TALKS = [
    talk("I have been tired", "For how long?", "All week, and sleep does not help much"),
    talk("Quite well, thank you"),
    talk("Not great", "What happened?", "Nothing really", "How is your sleep?", "I lie awake"),
]


def compare(path: Path) -> dict[str, Any]:
    """Largest differences between the two implementations on one batch."""
    theirs = AutoModelForSequenceClassification.from_pretrained(
        path, num_labels=1, problem_type="regression", dtype=torch.float32
    )
    ours = FinetunedModel.untrained(str(path), CONFIG)
    head = ours.regressor.head.linear
    head.weight.data.copy_(theirs.score.weight)
    people = [
        TrainPerson(messages, [LabelledSpan(0, len(messages) // 2, float(total))])
        for messages, total in zip(TALKS, (17, 2, 9), strict=True)
    ]
    batch = collate(ours.encode(people), "last")
    ids = batch["input_ids"].clone()
    for row, end in enumerate(batch["where"][batch["readings"][:, 1]].tolist()):
        ids[row, end - row * ids.shape[1] + 1 :] = theirs.config.pad_token_id
    got, want = ours.regressor(**batch), theirs(input_ids=ids, labels=batch["totals"])
    got["loss"].backward()
    want.loss.backward()
    other = dict(theirs.model.named_parameters())
    gradients = [
        (p.grad - other[name].grad).abs().max() / other[name].grad.abs().max().clamp_min(1e-12)
        for name, p in ours.regressor.backbone.named_parameters()
    ]
    return {
        "theirs": type(theirs).__name__,
        "output_difference": float((got["out"] - want.logits[:, 0]).abs().max().detach()),
        "loss_relative_difference": float(((got["loss"] - want.loss) / want.loss).abs().detach()),
        "head_gradient_relative_difference": float(
            (head.weight.grad - theirs.score.weight.grad).abs().max()
            / theirs.score.weight.grad.abs().max()
        ),
        "largest_relative_gradient_difference": float(max(gradients)),
        "parameters_compared": len(gradients),
    }


def main() -> None:
    """Compare both readers and write the result."""
    with tempfile.TemporaryDirectory() as folder:
        rows = {
            "smollm2": compare(reader_path("smollm2")),
            "tiny qwen3.5": compare(tiny_reader(Path(folder), "qwen")),
        }
    save("parity_seqcls", {"readers": rows})
    for name, row in rows.items():
        print(name, row)


if __name__ == "__main__":
    main()
