"""Fits of one process that share base and lower layers, against fits on their own.

What self-training does: the same reader is fitted to the same simulated people again and again
(other labels, other seeds), and estimates the same other people after each fit. Three ways, fit
by fit in turn, so that other work on the machine falls on all of them alike:

- as peft computes: on its own, adapters in peft's float32 arithmetic (as this was before);
- on its own: adapters in bfloat16 (`finetune.lora`);
- shared: the same, with one `finetune.shared.SharedReader` for all fits.

Costs are in seconds of processor time, loading included. The weights of the last two are compared
bit by bit, their estimates by the largest difference of means in points.

    OMP_NUM_THREADS=1 python -m bench run speed.shared_fits [--fits 6 --people 60 --others 100]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from safetensors.torch import load_file

from bench.common import tell
from bench.protocol import run_module
from leadline.cohort.timeline import timelines
from leadline.finetune import lora
from leadline.finetune.config import FinetuneConfig
from leadline.finetune.examples import LabelledSpan, TrainPerson
from leadline.finetune.model import WEIGHTS
from leadline.finetune.shared import SharedReader
from leadline.finetune.train import finetune
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import preset

TAKES = "reader smollm2; ten minutes"
RESULT = "shared_fits"
WAYS = ("as peft computes", "on its own", "shared")


def simulated_people(count: int, turns: float) -> list[TrainPerson]:
    """People with one reading each, of all that they said, and some total."""
    with tempfile.TemporaryDirectory() as folder:
        config = preset("small", people=count, gold=count, locked=0, user_turns=turns)
        talks = [
            person.messages for person in timelines(simulate_cohort(Path(folder) / "c", config))
        ]
    out = []
    for number, talk in enumerate(talks):
        turns_of_user = sum(message.role == "user" for message in talk)
        out.append(TrainPerson(talk, [LabelledSpan(0, turns_of_user - 1, 7.0 * number % 28)]))
    return out


@contextmanager
def arithmetic(way: str) -> Iterator[None]:
    """While it runs, adapters compute as `way` says."""
    if way != "as peft computes":
        yield
        return
    with mock.patch.object(lora, "forward", lambda _layer, plain, x: plain(x)):
        yield


def options(parser: argparse.ArgumentParser) -> None:
    """How many fits of how many people."""
    parser.add_argument("--fits", type=int, default=6)
    parser.add_argument("--people", type=int, default=60)
    parser.add_argument("--others", type=int, default=100)
    parser.add_argument("--turns", type=float, default=12.0, help="mean user turns of a person")
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--reader", default="smollm2")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Fit and estimate, each way in turn."""
    everyone = simulated_people(args.people + args.others, args.turns)
    people, others = everyone[: args.people], everyone[args.people :]
    shared = SharedReader(args.reader, FinetuneConfig())
    seconds = dict.fromkeys(WAYS, 0.0)
    apart, equal = 0.0, True
    for number in range(args.fits):
        config = FinetuneConfig(epochs=args.epochs, seed=number)
        means, weights = {}, {}
        for way in WAYS:
            with tempfile.TemporaryDirectory() as folder, arithmetic(way):
                out, start = Path(folder) / "fit", time.process_time()
                reader = shared if way == "shared" else None
                model = finetune(people, args.reader, config, out, shared=reader)
                estimates = np.concatenate(model.predict(others))
                seconds[way] += time.process_time() - start
                means[way], weights[way] = estimates @ np.arange(28), load_file(out / WEIGHTS)
        tell(number, seconds)
        apart = max(apart, float(np.abs(means["shared"] - means["on its own"]).max()))
        own, ours = weights["on its own"], weights["shared"]
        equal = equal and all(torch.equal(own[name], ours[name]) for name in own)
    return {
        "reader": args.reader,
        "fits": args.fits,
        "people": args.people,
        "others": args.others,
        "epochs": args.epochs,
        "processor_seconds": {way: round(total, 1) for way, total in seconds.items()},
        "times_less_than_peft": round(seconds[WAYS[0]] / seconds["shared"], 2),
        "times_less_than_on_its_own": round(seconds[WAYS[1]] / seconds["shared"], 2),
        "weights_equal": equal,
        "largest_difference_points": round(apart, 4),
    }


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """What sharing saves."""
    what = (
        f"{results['fits']} fits of {results['epochs']:g} epochs on {results['people']} people and "
        f"estimates of {results['others']} others after each, base and lower layers shared"
    )
    figure = (
        f"{results['times_less_than_on_its_own']} times less processor time than fits on their "
        f"own, {results['times_less_than_peft']} times less than those with peft's arithmetic; "
        f"weights {'equal bit by bit' if results['weights_equal'] else 'not equal'}, estimates "
        f"within {results['largest_difference_points']:.2f} points"
    )
    return [(what, figure)]


if __name__ == "__main__":
    run_module()
