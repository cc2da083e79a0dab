"""The recipe that a newcomer would write, against the frozen and the LoRA recipe.

Plain: Trainer, AutoModelForSequenceClassification (last token, MSE), LoRA r16 on every
layer, dynamic padding, bfloat16 autocast, the chat template's text; three epochs. Ours on the
same people: frozen states with ridge, and LoRA on the top third of the layers read. One fold
of five: 160 people train, 40 are estimated. Wall time runs from the loaded data to the
estimates, model loading included. One recipe a call, so that each can be timed alone:

    python -m bench run accuracy.plain_recipe plain|frozen|lora [--epochs E]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from typing import Any

import numpy as np
import torch

from bench.accuracy.lora_vs_frozen import frozen_fold, lora_fold
from bench.common import RESULTS, CheckIn, figures, folds, load_checkins, tell
from bench.protocol import run_module
from leadline.readers.fetch import reader_path

TAKES = "the check-ins, reader smollm2; a minute (frozen) to hours (plain) on two cores"
RESULT = "plain_recipe"


def plain_fold(people: list[CheckIn], held_out: np.ndarray, epochs: float) -> np.ndarray:
    """Fine-tune and estimate with nothing but transformers and peft."""
    from peft import LoraConfig, get_peft_model
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    path = reader_path("smollm2")
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForSequenceClassification.from_pretrained(path, num_labels=1, dtype="float32")
    model.config.problem_type = "regression"
    lora = LoraConfig(task_type="SEQ_CLS", r=16, lora_alpha=32, lora_dropout=0.05,
                      target_modules="all-linear")  # fmt: skip
    model = get_peft_model(model, lora)

    def encode(person: CheckIn) -> dict:
        turns = [{"role": m.role, "content": m.text} for m in person.messages]
        text = tokenizer.apply_chat_template(turns, tokenize=False)
        return {**tokenizer(text, truncation=True, max_length=8192), "labels": person.total}

    train = [encode(p) for p, out in zip(people, held_out, strict=True) if not out]
    test = [encode(p) for p, out in zip(people, held_out, strict=True) if out]
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            output_dir=folder, num_train_epochs=epochs, per_device_train_batch_size=8,
            per_device_eval_batch_size=8, learning_rate=2e-4, lr_scheduler_type="cosine",
            warmup_steps=6, bf16=True, use_cpu=not torch.cuda.is_available(),
            save_strategy="no", report_to="none", disable_tqdm=True, logging_steps=10,
        )  # fmt: skip
        trainer = Trainer(model=model, args=args, train_dataset=train,
                          data_collator=DataCollatorWithPadding(tokenizer))  # fmt: skip
        trainer.train()
        return trainer.predict(test).predictions[:, 0]


def options(parser: argparse.ArgumentParser) -> None:
    """Which recipe, and for how long it trains."""
    parser.add_argument("recipe", choices=("plain", "frozen", "lora"))
    parser.add_argument("--epochs", type=float, default=3.0)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run one recipe and put its row among those of earlier calls."""
    people = load_checkins()
    held_out = folds(people) == 0
    totals = np.array([person.total for person in people])[held_out]
    start = time.perf_counter()
    if args.recipe == "plain":
        estimates = plain_fold(people, held_out, args.epochs)
    elif args.recipe == "frozen":
        estimates = frozen_fold(people, held_out)
    else:
        estimates = lora_fold(people, held_out, 1 / 3, args.epochs)
    seconds = time.perf_counter() - start
    row = {"seconds": round(seconds, 1), **figures(totals, estimates)}
    if args.recipe != "frozen":
        positions = args.epochs * (~held_out).sum()
        row |= {"epochs": args.epochs, "labelled_positions_a_second": round(positions / seconds, 3)}
    tell(args.recipe, row)
    file = RESULTS / "plain_recipe.json"
    recipes = json.loads(file.read_text())["recipes"] if file.exists() else {}
    return {"recipes": compared(recipes | {args.recipe: row})}


def compared(recipes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Every recipe against the plain one, where that was run."""
    reference = recipes.get("plain")
    for name, row in recipes.items() if reference else ():
        row["times_less_wall_time"] = round(reference["seconds"] / row["seconds"], 2)
        if name == "lora":
            row["times_the_positions"] = round(
                row["labelled_positions_a_second"] / reference["labelled_positions_a_second"], 2
            )
    return recipes


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Epochs, seconds, r, MAE and how many times faster than plain, by recipe."""
    return [
        (name, f"{row.get('epochs', '-')} | {row['seconds']} | {row['r']:.3f} | {row['mae']:.2f} | "
               f"{row.get('times_less_wall_time', '')}")
        for name, row in results["recipes"].items()
    ]  # fmt: skip


if __name__ == "__main__":
    run_module()
