"""People with four PHQ-9s: one pass over each person against four separate examples.

Simulated people whose user turns are divided into four stretches, a PHQ-9 at the end of each; the
text is the simulator's, the reader is SmolLM2-135M, LoRA on the top third of the layers read. One
epoch (forward and backward over everyone, without the optimiser) is timed for

- one pass: the person is read once, all four readings are taken from it;
- cut: four examples, each with the messages up to its PHQ-9;
- whole: four examples, each with all messages (what a loader that knows one label a row does).

Costs are compared in seconds of processor time, which other work on the machine changes little.
All three have the same gradient, because nothing looks ahead: the largest difference relative to
each tensor's largest entry is written down, in float32.

    python -m bench run speed.readings_in_one_pass [--people 4 --tokens 1000 --reader smollm2]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bench.common import tell
from bench.protocol import run_module
from leadline.cohort.store import Cohort
from leadline.cohort.timeline import Message, timelines
from leadline.finetune.config import FinetuneConfig
from leadline.finetune.examples import LabelledSpan, TokenisedPerson, TrainPerson, collate
from leadline.finetune.model import FinetunedModel
from leadline.finetune.train import plan_batches
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import preset

TAKES = "reader smollm2; minutes"
LABELS = 4
BATCH_TOKENS = 4096


def simulated_people(count: int) -> list[Sequence[Message]]:
    """Messages of simulated people, the longest conversations first."""
    with tempfile.TemporaryDirectory() as folder:
        config = preset("small", people=30, gold=30, locked=0, user_turns=30.0)
        cohort: Cohort = simulate_cohort(Path(folder) / "cohort", config)
        talks = [timeline.messages for timeline in timelines(cohort)]
    return sorted(talks, key=lambda talk: -sum(len(m.text) for m in talk))[:count]


def shortened(model: FinetunedModel, talk: Sequence[Message], tokens: int) -> list[Message]:
    """The first messages, about this many tokens of them."""
    messages: list[Message] = []
    count = 0
    for message, piece in zip(talk, model.tokens.pieces(talk, 8192), strict=True):
        count += len(piece.ids)
        if count > tokens:
            break
        messages.append(message)
    return messages


def ways(talk: list[Message], number: int) -> dict[str, list[TrainPerson]]:
    """The same four readings of a person as examples of each kind."""
    at = [i for i, message in enumerate(talk) if message.role == "user"]
    ends = [len(at) * (k + 1) // LABELS - 1 for k in range(LABELS)]
    firsts = [0, *(end + 1 for end in ends[:-1])]
    readings = [
        LabelledSpan(first, last, float((7 * number + 5 * k) % 28))
        for k, (first, last) in enumerate(zip(firsts, ends, strict=True))
    ]
    return {
        "one pass": [TrainPerson(talk, readings)],
        "cut": [TrainPerson(talk[: at[r.last] + 1], [r]) for r in readings],
        "whole": [TrainPerson(talk, [r]) for r in readings],
    }


def epoch(model: FinetunedModel, examples: list[TokenisedPerson]) -> tuple[float, float]:
    """Seconds, and seconds of processor time, of one epoch.

    Batches hold people of like length, at most 4,096 tokens.
    """
    people = max(1, BATCH_TOKENS // max(e.tokens for e in examples))
    batches = plan_batches([e.tokens for e in examples], people, 1, seed=0)
    model.regressor.train()
    start, used = time.perf_counter(), time.process_time()
    for batch in batches:
        model.regressor.zero_grad()
        model.regressor(**collate([examples[i] for i in batch], "mean"))["loss"].backward()
    return time.perf_counter() - start, time.process_time() - used


def gradient(model: FinetunedModel, people: list[TrainPerson]) -> dict[str, torch.Tensor]:
    """Gradient of the mean loss over all readings, one example at a time."""
    model.regressor.eval()  # no dropout
    model.regressor.zero_grad()
    for example in model.encode(people):
        loss = model.regressor(**collate([example], "mean"))["loss"]
        (loss * len(example.readings) / LABELS).backward()
    named = model.regressor.named_parameters()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


def difference(reader: str, talk: list[Message]) -> float:
    """Largest relative difference between the gradients of the three ways, float32."""
    model = FinetunedModel.untrained(reader, FinetuneConfig(dtype="float32"))
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.regressor.named_parameters():
        if "lora_B" in name:  # zero at the start, which would hide the rest
            parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    gradients = {way: gradient(model, people) for way, people in ways(talk, 1).items()}
    return max(
        float((gradients[way][name] - value).abs().max() / value.abs().max().clamp(min=1e-12))
        for way in ("cut", "whole")
        for name, value in gradients["one pass"].items()
    )


def options(parser: argparse.ArgumentParser) -> None:
    """How many people, how long, and which reader."""
    parser.add_argument("--people", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--reader", default="smollm2")
    parser.add_argument("--name", default="multi_label_epoch")


def result(args: argparse.Namespace) -> str:
    """The name of its file."""
    return str(args.name)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Time the three, compare their gradients."""
    model = FinetunedModel.untrained(args.reader, FinetuneConfig())
    talks = [shortened(model, talk, args.tokens) for talk in simulated_people(args.people)]
    epochs: dict[str, dict[str, float]] = {}
    for _ in range(args.repeats):
        for way in ("one pass", "cut", "whole"):
            people = [p for n, talk in enumerate(talks) for p in ways(talk, n)[way]]
            examples = model.encode(people)
            seconds, processor = epoch(model, examples)
            best = epochs.get(way, {"seconds": seconds, "processor_seconds": processor})
            epochs[way] = {
                "examples": len(people),
                "tokens": sum(e.tokens for e in examples),
                "seconds": round(min(seconds, best["seconds"]), 2),
                "processor_seconds": round(min(processor, best["processor_seconds"]), 2),
            }
            tell(way, epochs[way])
    cost = {way: row["processor_seconds"] for way, row in epochs.items()}
    return {
        "reader": args.reader,
        "people": args.people,
        "phq9s_a_person": LABELS,
        "epochs": epochs,
        "cost_against_whole": round(cost["one pass"] / cost["whole"], 3),
        "cost_against_cut": round(cost["one pass"] / cost["cut"], 3),
        "largest_relative_difference_of_gradients": difference(args.reader, talks[0]),
    }


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """What one pass costs against as many examples."""
    figure = (
        f"{results['cost_against_whole']:.3f} of four whole examples, "
        f"{results['cost_against_cut']:.3f} of four cut at their PHQ-9 (processor time)"
    )
    return [("four PHQ-9s of a person in one pass of training", figure)]


if __name__ == "__main__":
    run_module()
