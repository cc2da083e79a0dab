"""LoRA on the top third of the layers read against LoRA on all of them: tokens a second, and r.

SmolLM2 to two thirds of its depth (layer 20), the check-ins, one or two of the five folds by
person, few epochs: what it costs and whether it shows in the estimates, not the last word on
accuracy. A trained fold is appended to ``results/top_vs_all_lora.jsonl``, and a training that is
stopped goes on from its last checkpoint, so this can be run in pieces. Speed is timed by itself, on
the same batch of eight people, best of the repeats, by the clock and in processor time (which other
work on the machine changes little): forward and backward, with the layers below the adapted ones
computed once (top third only) and without.

    python bench/top_vs_all_lora.py speed [--repeats 2]
    python bench/top_vs_all_lora.py train [--folds 1 --epochs 1 --people 80]
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from typing import Any

import numpy as np
import torch

from checkins import RESULTS, CheckIn, figures, folds, load_checkins, save
from leadline.finetune.config import FinetuneConfig
from leadline.finetune.examples import TokenisedPerson, collate
from leadline.finetune.lower_layers import lower_outputs
from leadline.finetune.model import FinetunedModel
from leadline.finetune.train import finetune
from leadline.readers.fetch import leadline_home
from lora_vs_frozen import example, frozen_fold

SHARES = {"top third": 1 / 3, "all layers": 1.0}
LOG = RESULTS / "top_vs_all_lora.jsonl"
SPEED = RESULTS / "top_vs_all_lora_speed.jsonl"


def speed_of(model: FinetunedModel, batch: list[TokenisedPerson], repeats: int) -> dict[str, float]:
    """Tokens of the batch a second of forward and backward pass, best of the repeats."""
    model.regressor.train()
    wall, used = float("inf"), float("inf")
    for _ in range(repeats):
        start, before = time.perf_counter(), time.process_time()
        model.regressor.zero_grad()
        model.regressor(**collate(batch, "mean"))["loss"].backward()
        wall = min(wall, time.perf_counter() - start)
        used = min(used, time.process_time() - before)
    tokens = sum(example.tokens for example in batch)
    return {"tokens_a_second": round(tokens / wall, 1),
            "tokens_a_processor_second": round(tokens / used, 1)}  # fmt: skip


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
            kept = [e._replace(lower=[x]) for e, x in zip(examples, lower, strict=True)]
            out[f"{name}, layers below kept"] = speed_of(model, kept, repeats)
        print(name, out, flush=True)
    return {"tokens": tokens, "threads": torch.get_num_threads(), "speed": out}


def train_fold(people: list[CheckIn], held: np.ndarray, top: float, args: Any) -> np.ndarray:
    """Train on some of the rest, estimate the held-out people by the mean of the distribution."""
    name = f"top-{top:.2f}-{args.epochs:g}-{args.people}-{np.flatnonzero(held)[0]}"
    place = leadline_home() / "bench" / name
    config = FinetuneConfig(top=top, epochs=args.epochs, save_steps=2)
    train = [example(p) for p, out in zip(people, held, strict=True) if not out][: args.people]
    test = [example(p) for p, out in zip(people, held, strict=True) if out]
    if (place / "model" / "manifest.json").is_file():
        model = FinetunedModel.load(place / "model")
    else:
        model = finetune(train, "smollm2", config, place / "model")
    estimates = np.concatenate([d @ np.arange(28) for d in model.predict(test)])
    shutil.rmtree(place)
    return estimates


def frozen_some(people: list[CheckIn], held: np.ndarray, count: int) -> np.ndarray:
    """Ridge on frozen states of the same training people."""
    some = np.flatnonzero(held).tolist() + np.flatnonzero(~held)[:count].tolist()
    few = [people[row] for row in some]
    return frozen_fold(few, np.arange(len(few)) < held.sum())


def summary(people: list[CheckIn], fold: np.ndarray, rows: list[dict]) -> dict:
    """Figures by recipe, over the people that it estimated, and the speed."""
    totals = np.array([person.total for person in people])
    out: dict = json.loads(SPEED.read_text()) if SPEED.exists() else {}
    out["accuracy"] = {}
    for name in dict.fromkeys(row["recipe"] for row in rows):
        mine = [row for row in rows if row["recipe"] == name]
        mask = np.isin(fold, [row["fold"] for row in mine])
        values = np.full(len(people), np.nan)
        for row in mine:
            values[fold == row["fold"]] = row["estimates"]
        out["accuracy"][name] = {"people": int(mask.sum()), "epochs": mine[0]["epochs"],
                                 "trained_on": mine[0]["trained_on"],
                                 **figures(totals[mask], values[mask])}  # fmt: skip
    return out


def main() -> None:
    """Time both, or train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("speed", "train"))
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--folds", type=int, default=1)
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--people", type=int, default=80, help="of the 160 that a fold trains on")
    args = parser.parse_args()
    people = load_checkins()
    fold = folds(people)
    rows = [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []
    if args.what == "speed":
        SPEED.write_text(json.dumps(measure_speed(people, args.repeats)) + "\n")
    done = {(row["recipe"], row["fold"]) for row in rows}
    jobs = [(name, k) for k in range(args.folds) for name in (*SHARES, "frozen")]
    for name, k in jobs if args.what == "train" else []:
        if (name, k) in done:
            continue
        held = fold == k
        estimates = (
            frozen_some(people, held, args.people)
            if name == "frozen"
            else train_fold(people, held, SHARES[name], args)
        )
        row = {"recipe": name, "fold": k, "epochs": None if name == "frozen" else args.epochs,
               "trained_on": args.people,
               "estimates": [round(float(value), 4) for value in estimates]}  # fmt: skip
        rows.append(row)
        with LOG.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        print(name, k, summary(people, fold, rows)["accuracy"][name], flush=True)
    save("top_vs_all_lora", summary(people, fold, rows))


if __name__ == "__main__":
    main()
