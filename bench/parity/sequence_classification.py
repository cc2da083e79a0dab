"""Ours with ``pooling=last, head=scalar`` against transformers' own sequence classification.

SmolLM2-135M in float32, three made-up conversations, one batch: outputs, loss and the
gradient of every parameter. Also the hybrid architecture of Qwen3.5 at a small size with
random weights (``tests/support/readers.py``). The target is agreement to 1e-5.

    python -m bench run parity.sequence_classification
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from tests.support.readers import talk, tiny_reader

from bench.protocol import run_module
from leadline.finetune.config import FinetuneConfig
from leadline.finetune.examples import LabelledSpan, TrainPerson, collate
from leadline.finetune.model import FinetunedModel
from leadline.readers.fetch import reader_path

TAKES = "reader smollm2; a minute"
RESULT = "parity_seqcls"
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
    from transformers import AutoModelForSequenceClassification

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
    their_parameters = dict(theirs.model.named_parameters())
    gradients = [
        (p.grad - their_parameters[name].grad).abs().max()
        / their_parameters[name].grad.abs().max().clamp_min(1e-12)
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


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Compare both readers."""
    del args
    with tempfile.TemporaryDirectory() as folder:
        readers = {
            "smollm2": compare(reader_path("smollm2")),
            "tiny qwen3.5": compare(tiny_reader(Path(folder), "qwen")),
        }
    return {"readers": readers}


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """By how much outputs and gradients differ."""
    return [
        (f"`pool last, head scalar` against transformers' {row['theirs']} ({name}, fp32)",
         f"outputs differ by {row['output_difference']:.1e}, gradients by at most "
         f"{row['largest_relative_gradient_difference']:.1e} (relative)")
        for name, row in results["readers"].items()
    ]  # fmt: skip


if __name__ == "__main__":
    run_module()
