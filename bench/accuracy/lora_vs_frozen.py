"""LoRA on SmolLM2 (top third of the layers read, and all of them) against frozen states.

Same check-ins, same five folds by person. Each (recipe, fold) is appended to
``results/lora_vs_frozen.jsonl`` as soon as it is done, so a stopped bench goes on where it
was; the summary is written anew after each. The frozen rows are ridge on the mean of the
turn states of the same layer, its penalty chosen within the training folds.

    python -m bench run accuracy.lora_vs_frozen [--jobs N] [--epochs E]
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from typing import Any

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bench.common import RESULTS, CheckIn, figures, folds, load_checkins, save, tell
from bench.protocol import run_module
from leadline.finetune.config import FinetuneConfig
from leadline.finetune.examples import LabelledSpan, TrainPerson
from leadline.finetune.train import finetune
from leadline.readers.fetch import leadline_home
from leadline.readers.language import LMReader

TAKES = "the check-ins, reader smollm2; hours on two cores, and it goes on where it stopped"
RESULT = "lora_vs_frozen"
TURNS = 6
RECIPES = {"frozen": None, "lora top third": 1 / 3, "lora all layers": 1.0}
LOG = RESULTS / "lora_vs_frozen.jsonl"


def example(person: CheckIn) -> TrainPerson:
    """One reading over all six turns of a person."""
    return TrainPerson(person.messages, [LabelledSpan(0, TURNS - 1, person.total)])


def frozen_fold(people: list[CheckIn], held_out: np.ndarray) -> np.ndarray:
    """Read everyone, fit ridge on the rest, estimate the held-out people."""
    reader = LMReader("smollm2")
    states = reader.states([person.messages for person in people])
    pooled = np.stack([turns.mean(axis=0) for turns in states])
    totals = np.array([person.total for person in people])
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(1, 5, 17)))
    model.fit(pooled[~held_out], totals[~held_out])
    return model.predict(pooled[held_out])


def lora_fold(people: list[CheckIn], held_out: np.ndarray, top: float, epochs: float) -> np.ndarray:
    """Train on the rest, estimate the held-out people by the mean of the distribution."""
    # A stable place, so that a stopped job goes on from its last checkpoint.
    person = int(np.flatnonzero(held_out)[0])
    folder = leadline_home() / "bench" / f"lora-{top:.2f}-{epochs:g}-{person}"
    config = FinetuneConfig(top=top, epochs=epochs, save_steps=10)
    train = [example(p) for p, out in zip(people, held_out, strict=True) if not out]
    test = [example(p) for p, out in zip(people, held_out, strict=True) if out]
    model = finetune(train, "smollm2", config, folder / "model")
    estimates = np.concatenate([d @ np.arange(28) for d in model.predict(test)])
    shutil.rmtree(folder)
    return estimates


def summary(entries: list[dict], people: list[CheckIn], fold: np.ndarray) -> dict:
    """Figures by recipe over the folds that it has, and frozen on the same people."""
    totals = np.array([person.total for person in people])
    estimates = {name: np.full(len(people), np.nan) for name in RECIPES}
    for row in entries:
        estimates[row["recipe"]][fold == row["fold"]] = row["estimates"]
    out = {}
    for name, values in estimates.items():
        have = ~np.isnan(values)
        if not have.any():
            continue
        seconds = [row["seconds"] for row in entries if row["recipe"] == name]
        out[name] = {"people": int(have.sum()), **figures(totals[have], values[have]),
                     "seconds_a_fold": round(float(np.mean(seconds)), 1)}  # fmt: skip
        if name != "frozen":
            positions = [
                row["epochs"] * (fold != row["fold"]).sum() / row["seconds"]
                for row in entries
                if row["recipe"] == name
            ]
            out[name]["labelled_positions_a_second"] = round(float(np.mean(positions)), 3)
        both = have & ~np.isnan(estimates["frozen"])
        if name != "frozen" and both.any():
            out[name]["frozen_on_the_same_people"] = figures(
                totals[both], estimates["frozen"][both]
            )
            average = (values[both] + estimates["frozen"][both]) / 2
            out[name]["averaged_with_frozen"] = figures(totals[both], average)
    return out


def options(parser: argparse.ArgumentParser) -> None:
    """How much is trained in this call."""
    parser.add_argument("--jobs", type=int, default=99)
    parser.add_argument("--epochs", type=float, default=3.0)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Do the jobs that are missing, at most ``--jobs`` of them."""
    people = load_checkins()
    fold = folds(people)
    RESULTS.mkdir(parents=True, exist_ok=True)
    entries = [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []
    finished = {(entry["recipe"], entry["fold"]) for entry in entries}
    jobs = [(name, k) for k in range(5) for name in RECIPES if (name, k) not in finished]
    # All layers cost the most, so they come last.
    todo = sorted(jobs, key=lambda job: job[0] == "lora all layers")
    for name, k in todo[: args.jobs]:
        start = time.perf_counter()
        held_out, top = fold == k, RECIPES[name]
        estimates = (
            frozen_fold(people, held_out)
            if top is None
            else lora_fold(people, held_out, top, args.epochs)
        )
        entry = {"recipe": name, "fold": k, "seconds": round(time.perf_counter() - start, 1),
                 "epochs": None if top is None else args.epochs,
                 "estimates": [round(float(value), 4) for value in estimates]}  # fmt: skip
        entries.append(entry)
        with LOG.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
        recipes = summary(entries, people, fold)
        save(RESULT, {"recipes": recipes}, args.command)
        tell(name, k, entry["seconds"], recipes[name])
    return {"recipes": summary(entries, people, fold)}


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """People, r, MAE; frozen on the same people; averaged with it; seconds; positions a second."""
    return [
        (name, f"{row['people']} | {row['r']:.3f} | {row['mae']:.2f} | "
               f"{_pair(row.get('frozen_on_the_same_people'))} | "
               f"{_pair(row.get('averaged_with_frozen'))} | {row['seconds_a_fold']} | "
               f"{row.get('labelled_positions_a_second', '-')}")
        for name, row in results["recipes"].items()
    ]  # fmt: skip


def _pair(row: dict[str, Any] | None) -> str:
    return "-" if row is None else f"{row['r']:.3f}, {row['mae']:.2f}"


if __name__ == "__main__":
    run_module()
