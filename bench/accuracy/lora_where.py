"""LoRA on the top third of the layers read against LoRA on all of them: tokens a second, and r.

SmolLM2 to two thirds of its depth (layer 20), the check-ins, one or two of the five folds by
person, few epochs: what it costs and whether it shows in the estimates, not the last word on
accuracy. A trained fold is appended to ``results/top_vs_all_lora.jsonl``, and a training that is
stopped goes on from its last checkpoint, so this can be run in pieces. Speed is timed by itself, on
the same batch of eight people, best of the repeats, by the clock and in processor time (which other
work on the machine changes little): forward and backward, with the layers below the adapted ones
computed once (top third only) and without.

    python -m bench run accuracy.lora_where speed [--repeats 2]
    python -m bench run accuracy.lora_where train [--folds 1 --epochs 1 --people 80]
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from typing import Any

import numpy as np
import torch

from bench.accuracy.lora_vs_frozen import example, frozen_fold
from bench.common import RESULTS, CheckIn, figures, folds, load_checkins, tell
from bench.protocol import run_module
from leadline.finetune.config import FinetuneConfig
from leadline.finetune.examples import TokenisedPerson, collate
from leadline.finetune.lower_layers import lower_outputs
from leadline.finetune.model import FinetunedModel
from leadline.finetune.train import finetune
from leadline.readers.fetch import leadline_home

TAKES = "the check-ins, reader smollm2; minutes (speed) or an hour (train) on two cores"
RESULT = "top_vs_all_lora"
SHARES = {"top third": 1 / 3, "all layers": 1.0}
LOG = RESULTS / "top_vs_all_lora.jsonl"
SPEED = RESULTS / "top_vs_all_lora_speed.jsonl"


def speed_of(model: FinetunedModel, batch: list[TokenisedPerson], repeats: int) -> dict[str, float]:
    """Tokens of the batch a second of forward and backward pass, best of the repeats."""
    model.regressor.train()
    wall, processor = float("inf"), float("inf")
    for _ in range(repeats):
        start, before = time.perf_counter(), time.process_time()
        model.regressor.zero_grad()
        model.regressor(**collate(batch, "mean"))["loss"].backward()
        wall = min(wall, time.perf_counter() - start)
        processor = min(processor, time.process_time() - before)
    tokens = sum(example.tokens for example in batch)
    return {"tokens_a_second": round(tokens / wall, 1),
            "tokens_a_processor_second": round(tokens / processor, 1)}  # fmt: skip


def measure_speed(people: list[CheckIn], repeats: int) -> dict:
    """Tokens a second of both."""
    out: dict[str, dict[str, float]] = {}
    for name, top in SHARES.items():
        model = FinetunedModel.untrained("smollm2", FinetuneConfig(top=top))
        examples = model.encode([example(person) for person in people[:8]])
        tokens = sum(e.tokens for e in examples)
        out[name] = speed_of(model, examples, repeats)
        lower = lower_outputs(model.regressor.backbone, [e.rows[0] for e in examples], limit=1)
        if lower is not None:
            stored = [e._replace(lower=[x]) for e, x in zip(examples, lower, strict=True)]
            out[f"{name}, layers below kept"] = speed_of(model, stored, repeats)
        tell(name, out)
    return {"tokens": tokens, "threads": torch.get_num_threads(), "speed": out}


def train_fold(people: list[CheckIn], held_out: np.ndarray, top: float, args: Any) -> np.ndarray:
    """Train on some of the rest, estimate the held-out people by the mean of the distribution."""
    name = f"top-{top:.2f}-{args.epochs:g}-{args.people}-{np.flatnonzero(held_out)[0]}"
    place = leadline_home() / "bench" / name
    config = FinetuneConfig(top=top, epochs=args.epochs, save_steps=2)
    train = [example(p) for p, out in zip(people, held_out, strict=True) if not out][: args.people]
    test = [example(p) for p, out in zip(people, held_out, strict=True) if out]
    if (place / "model" / "manifest.json").is_file():
        model = FinetunedModel.load(place / "model")
    else:
        model = finetune(train, "smollm2", config, place / "model")
    estimates = np.concatenate([d @ np.arange(28) for d in model.predict(test)])
    shutil.rmtree(place)
    return estimates


def frozen_fewer(people: list[CheckIn], held_out: np.ndarray, count: int) -> np.ndarray:
    """Ridge on frozen states of the same training people."""
    order = np.flatnonzero(held_out).tolist() + np.flatnonzero(~held_out)[:count].tolist()
    selected = [people[row] for row in order]
    return frozen_fold(selected, np.arange(len(selected)) < held_out.sum())


def summary(people: list[CheckIn], fold: np.ndarray, entries: list[dict]) -> dict:
    """Figures by recipe, over the people that it estimated, and the speed."""
    totals = np.array([person.total for person in people])
    out: dict = json.loads(SPEED.read_text()) if SPEED.exists() else {}
    out["accuracy"] = {}
    for name in dict.fromkeys(entry["recipe"] for entry in entries):
        folds_of = [entry for entry in entries if entry["recipe"] == name]
        mask = np.isin(fold, [row["fold"] for row in folds_of])
        values = np.full(len(people), np.nan)
        for row in folds_of:
            values[fold == row["fold"]] = row["estimates"]
        out["accuracy"][name] = {"people": int(mask.sum()), "epochs": folds_of[0]["epochs"],
                                 "trained_on": folds_of[0]["trained_on"],
                                 **figures(totals[mask], values[mask])}  # fmt: skip
    return out


def options(parser: argparse.ArgumentParser) -> None:
    """Speed or training, and how much of it."""
    parser.add_argument("what", choices=("speed", "train"))
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--folds", type=int, default=1)
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--people", type=int, default=80, help="of the 160 that a fold trains on")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Time both, or train what is missing."""
    people = load_checkins()
    fold = folds(people)
    entries = [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []
    if args.what == "speed":
        SPEED.write_text(json.dumps(measure_speed(people, args.repeats)) + "\n")
    finished = {(entry["recipe"], entry["fold"]) for entry in entries}
    jobs = [(name, k) for k in range(args.folds) for name in (*SHARES, "frozen")]
    for name, k in jobs if args.what == "train" else []:
        if (name, k) in finished:
            continue
        held_out = fold == k
        estimates = (
            frozen_fewer(people, held_out, args.people)
            if name == "frozen"
            else train_fold(people, held_out, SHARES[name], args)
        )
        entry = {"recipe": name, "fold": k, "epochs": None if name == "frozen" else args.epochs,
                 "trained_on": args.people,
                 "estimates": [round(float(value), 4) for value in estimates]}  # fmt: skip
        entries.append(entry)
        with LOG.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
        tell(name, k, summary(people, fold, entries)["accuracy"][name])
    return summary(people, fold, entries)


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Where LoRA is put: speed, and r where it was trained."""
    table = []
    for name, row in results.get("speed", {}).items():
        scores = results["accuracy"].get(name)
        r = f"; r {scores['r']:.3f} on {scores['people']} people, one epoch" if scores else ""
        figure = f"{row['tokens_a_processor_second']:.0f} tokens a processor second{r}"
        table.append((f"LoRA, {name}", figure))
    return table


if __name__ == "__main__":
    run_module()
