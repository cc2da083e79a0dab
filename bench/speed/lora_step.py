"""One training step of the plain LoRA recipe and of ours, in turn, on the same four people.

Seconds of forward and backward pass on one thread, best of the repeats (the machine may be
shared): plain is AutoModelForSequenceClassification with LoRA r16 on every layer under
bfloat16 autocast; ours reads two thirds of the layers, adapts the top third of those and
computes the layers below once, which is counted as one share of an epoch (1/epochs a step).

    OMP_NUM_THREADS=1 python -m bench run speed.lora_step [--repeats 2]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch

from bench.common import CheckIn, load_checkins
from bench.protocol import run_module
from leadline.finetune.config import FinetuneConfig
from leadline.finetune.examples import LabelledSpan, TrainPerson, collate
from leadline.finetune.lower_layers import lower_outputs
from leadline.finetune.model import FinetunedModel
from leadline.readers.fetch import reader_path

TAKES = "the check-ins, reader smollm2; minutes"
RESULT = "lora_step"


def plain_step(people: list[CheckIn]) -> Callable[[], None]:
    """Forward and backward of the plain recipe."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    path = reader_path("smollm2")
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForSequenceClassification.from_pretrained(path, num_labels=1, dtype="float32")
    model.config.problem_type = "regression"
    lora = LoraConfig(task_type="SEQ_CLS", r=16, lora_alpha=32, target_modules="all-linear")
    model = get_peft_model(model, lora).train()
    turns = [[{"role": m.role, "content": m.text} for m in p.messages] for p in people]
    texts = [tokenizer.apply_chat_template(t, tokenize=False) for t in turns]
    batch: Any = tokenizer(texts, return_tensors="pt", padding=True)
    batch["labels"] = torch.tensor([p.total for p in people])

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**batch).loss
        loss.backward()

    return step


def our_step(people: list[CheckIn]) -> tuple[Callable[[], None], float]:
    """Forward and backward of ours, and the seconds that the lower layers took once."""
    model = FinetunedModel.untrained("smollm2", FinetuneConfig())
    examples = model.encode(
        [TrainPerson(p.messages, [LabelledSpan(0, 5, p.total)]) for p in people]
    )
    rows = [row for example in examples for row in example.rows]
    start = time.perf_counter()
    outputs = lower_outputs(model.regressor.backbone, rows, limit=1)
    once = time.perf_counter() - start
    assert outputs is not None
    examples = [e._replace(lower=[output]) for e, output in zip(examples, outputs, strict=True)]
    batch = collate(examples, "mean")
    model.regressor.train()
    return lambda: model.regressor(**batch)["loss"].backward(), once


def options(parser: argparse.ArgumentParser) -> None:
    """How often each is timed."""
    parser.add_argument("--repeats", type=int, default=2)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Time both in turn."""
    people = load_checkins()[:4]
    our, once = our_step(people)
    steps = {"plain": plain_step(people), "ours": our}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(args.repeats):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    epochs = FinetuneConfig().epochs
    theirs, ours = min(seconds["plain"]), min(seconds["ours"]) + once / epochs
    return {
        "people_a_step": len(people),
        "plain": {"seconds": round(theirs, 3), "labelled_positions_a_second": round(4 / theirs, 3)},
        "ours": {"seconds": round(ours, 3), "labelled_positions_a_second": round(4 / ours, 3),
                 "of_which_lower_layers": round(once / epochs, 3)},
        "times_the_positions": round(theirs / ours, 2),
    }  # fmt: skip


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Ours against the plain recipe's."""
    people, times = results["people_a_step"], results["times_the_positions"]
    what = f"One training step on {people} people, ours against the plain recipe's"
    return [(what, f"{times} times the labelled positions a second")]


if __name__ == "__main__":
    run_module()
