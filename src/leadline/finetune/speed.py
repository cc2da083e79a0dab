"""How fast this machine trains an adapted reader: asked of the machine, or computed.

A GPU whose peak is known is taken at an assumed share of it, since a large reader takes minutes to
load; anything else is timed on one training step of the people at hand.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from leadline.finetune.config import FinetuneConfig
from leadline.finetune.examples import LabelledSpan, TokenisedPerson, TrainPerson, collate, encode
from leadline.finetune.model import FinetunedModel
from leadline.finetune.resources import PEAK, Shape, Step, memory, step_flops
from leadline.readers.backbone import load_tokenizer
from leadline.readers.fetch import reader_path
from leadline.readers.tokens import Tokens, chat_template

ASSUMED_UTILISATION = 0.25
"""Share of a GPU's peak that is assumed; measured shares are in docs/training.md."""


@dataclass(frozen=True)
class Speed:
    """What a machine does.

    Attributes:
        operations: floating-point operations a second, as `resources` counts them.
        basis: how that is known, in words.
    """

    operations: float
    basis: str


def person_tokens(
    reader: str, people: Sequence[TrainPerson], max_tokens: int, *, home: Path | None = None
) -> list[int]:
    """Tokens that are read of each person, without loading the weights.

    Raises:
        LeadlineError: the reader is absent.
    """
    path = reader_path(reader, home=home)
    tokenizer = load_tokenizer(path)
    tokens = Tokens(tokenizer, chat_template(tokenizer))
    budget = min(
        max_tokens, getattr(text_configuration(path), "max_position_embeddings", max_tokens)
    )
    return [encode(person, tokens, budget).tokens for person in people]


def text_configuration(path: Path) -> Any:
    """The text part of a reader's configuration."""
    from transformers import AutoConfig

    from leadline.readers.loading import NO_CODE, loading
    from leadline.readers.weights import text_config

    with loading(path):
        return text_config(AutoConfig.from_pretrained(path, **NO_CODE))


def shape_of(reader: str, config: FinetuneConfig, *, home: Path | None = None) -> Shape:
    """The shape of a reader, cut above the highest layer that is read."""
    shape = Shape.of(text_configuration(reader_path(reader, home=home)))
    highest = max(config.layers)
    return shape.cut(highest / shape.depth if isinstance(highest, int) else highest)


def step_of(config: FinetuneConfig, tokens: int) -> Step:
    """One training step of a batch of people of so many tokens, on one device."""
    return Step(
        tokens=tokens,
        rows=config.batch_people,
        top=config.top,
        adapt=config.adapt,
        rank=config.rank,
        checkpointing=config.checkpointing,
        base_weights=config.base_weights,
    )


def memory_gib(
    reader: str, config: FinetuneConfig, tokens: int, *, home: Path | None = None
) -> float:
    """Peak memory of a training step at `tokens` a person, by `resources.memory`."""
    return memory(shape_of(reader, config, home=home), step_of(config, tokens))


def machine_speed(
    reader: str, config: FinetuneConfig, people: Sequence[TrainPerson], *, home: Path | None = None
) -> Speed:
    """What this machine does with a reader: `PEAK` of a known GPU, else one step, timed.

    Args:
        reader: a fetched reader or a local model directory.
        config: how it is adapted.
        people: of whom those of middling length are read.
        home: where fetched readers are kept.
    """
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        for gpu, peak in PEAK.items():
            if gpu in name:
                words = f"{ASSUMED_UTILISATION:.0%} of the peak of one {gpu}, assumed"
                return Speed(peak * ASSUMED_UTILISATION, words)
    model = FinetunedModel.untrained(reader, config, home=home)
    examples = _middling(model, people, config.batch_people)
    tokens = sum(example.tokens for example in examples)
    seconds = min(_timed_step(model, examples) for _ in range(2))  # the first warms up
    operations = tokens * step_flops(
        shape_of(reader, config, home=home), step_of(config, tokens // len(examples))
    )
    return Speed(
        operations / seconds, f"one training step timed here, {tokens / seconds:,.0f} tokens/s"
    )


def _middling(
    model: FinetunedModel, people: Sequence[TrainPerson], count: int
) -> list[TokenisedPerson]:
    """Up to `count` people of middling length with one label each."""
    sample = sorted(people[: 8 * count], key=lambda person: sum(map(_letters, person.messages)))
    start = max(0, (len(sample) - count) // 2)
    chosen = []
    for person in sample[start : start + count]:
        turns = sum(message.role == "user" for message in person.messages)
        chosen.append(TrainPerson(person.messages, [LabelledSpan(0, turns - 1, 10.0)]))
    return model.encode(chosen)


def _letters(message) -> int:  # type: ignore[no-untyped-def]
    return len(message.text)


def _timed_step(model: FinetunedModel, examples: Sequence[TokenisedPerson]) -> float:
    """Seconds of one forward and backward pass."""
    batch = collate(examples, model.config.state)
    batch = {name: value.to(model.device) for name, value in batch.items()}
    model.regressor.train()
    start = time.perf_counter()
    model.regressor(**batch)["loss"].backward()
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    model.regressor.zero_grad(set_to_none=True)
    return seconds
