"""Settings of `leadline train`, each said once."""

from __future__ import annotations

from dataclasses import dataclass

from leadline.errors import LeadlineError
from leadline.finetune.config import BASES, CHECKPOINTING
from leadline.heads.config import FROZEN_HEADS, FROZEN_POOLS
from leadline.settings import check_choices, setting

BATCH_PEOPLE = 64  # people whose turns are read at a time
INTERVAL = 0.9  # central level of the interval in `estimates`


@dataclass(frozen=True)
class TrainConfig:
    """What is trained and how it is checked."""

    reader: str = setting(
        "smollm2", "Reader, or readers joined by +: smollm2, minilm, a fetched name, or a path."
    )
    layers: tuple[str, ...] = setting(
        ("0.53", "0.67", "0.73", "0.8", "0.87"),
        "Layers of a language model to read: whole numbers, or fractions of its depth.",
    )
    pool: str = setting(
        "mean",
        "How turn states are combined: mean over turns, mean over words, learned attention "
        "(adapted readers), or the last turn.",
        choices=("mean", "words", "attention", "last"),
    )
    adapt: str = setting(
        "frozen", "How much of the reader is trained.", choices=("frozen", "lora", "full")
    )
    head: str = setting("distribution", "What the head gives.", choices=("distribution", "scalar"))
    fit: str = setting(
        "auto",
        "Head of a frozen reader; auto chooses among gp, ridge and histogram inside the training "
        "folds, network (attention over turns) is for thousands of labels.",
        choices=("auto", *FROZEN_HEADS),
    )
    folds: int = setting(5, "Folds of people; each gives a model that never saw its fold.", least=2)
    repeats: int = setting(
        1, "Times that the folds are drawn anew; the models are one ensemble.", least=1
    )
    inner_folds: int = setting(
        5, "Folds inside the training people, to choose and to calibrate.", least=2
    )
    seed: int = setting(0, "Seed of folds and of everything that is drawn.", least=0)
    baselines: bool = setting(True, "Train the baselines on the same folds.")
    include_phq8: bool = setting(
        False, "Train on PHQ-8 totals (0-24) as well; they are a different scale."
    )
    state: str = setting("mean", "State of a turn (language models).", choices=("mean", "last"))
    max_tokens: int = setting(
        8192, "Context of a language model; older turns leave first.", least=64
    )
    loss: str = setting("mse", "Loss of an adapted scalar head.", choices=("mse", "huber"))
    top: float = setting(1 / 3, "Share of the layers that LoRA adapts, from the top.")
    rank: int = setting(16, "Rank of LoRA.", least=1)
    epochs: float = setting(4.0, "Times that an adapted reader sees each person.")
    lr: float = setting(2e-4, "Learning rate of an adapted reader.")
    batch_people: int = setting(
        8, "People in one step of training; divided among the processes.", least=1
    )
    accumulate: int = setting(1, "Batches whose gradients are added before a step.", least=1)
    checkpointing: str = setting(
        "none",
        "What of a layer is kept for the backward pass: all, its input (the rest is computed "
        "again), or its input in the machine's memory.",
        choices=CHECKPOINTING,
    )
    base_weights: str = setting(
        "auto",
        "How the weights lie that LoRA leaves alone: as on disk, or quantised.",
        choices=BASES,
    )
    shard: bool = setting(
        False, "With several processes: divide the weights among them, not a copy for each."
    )
    save_steps: int = setting(
        50, "Steps between two checkpoints of an unfinished adapted reader.", least=1
    )
    report_to: str = setting(
        "none", "Where the course of training is shown.", choices=("none", "tensorboard", "wandb")
    )

    def __post_init__(self) -> None:
        check_choices(self)
        if not all(part.strip() for part in self.reader.split("+")):
            raise LeadlineError(
                f"--reader {self.reader!r} names no reader.",
                remedy="Name one, such as minilm, or several joined by +: smollm2+minilm.",
            )
        layers = self.layer_numbers()
        if not layers or any(x <= 0 or (x > 1 and x % 1) for x in layers):
            raise LeadlineError(
                f"--layers is {', '.join(self.layers) or 'empty'}.",
                remedy="Give whole numbers from 1, or fractions of the depth up to 1.",
            )
        if not 0 < self.top <= 1 or self.epochs <= 0 or self.lr <= 0:
            raise LeadlineError(
                f"--top {self.top}, --epochs {self.epochs}, --lr {self.lr}.",
                remedy="Use a --top above 0 and up to 1, and positive --epochs and --lr.",
            )
        if self.adapt == "frozen" and self.pool not in FROZEN_POOLS:
            raise LeadlineError(
                f"--pool {self.pool} with --adapt frozen.",
                remedy=f"Use one of {', '.join(FROZEN_POOLS)}, or adapt the reader.",
            )
        if self.adapt != "frozen" and "+" in self.reader:
            raise LeadlineError(
                f"--adapt {self.adapt} with the readers {self.reader}.",
                remedy="Adapt one language model at a time, such as --reader smollm2.",
            )
        if self.fit == "network" and (self.pool != "mean" or self.adapt != "frozen"):
            given = f"--adapt {self.adapt}" if self.adapt != "frozen" else f"--pool {self.pool}"
            raise LeadlineError(
                f"--fit network with {given}.",
                remedy="Leave out --pool and --adapt: the network pools frozen turns itself.",
            )
        if self.adapt == "frozen" and self.head == "scalar" and self.fit not in ("auto", "ridge"):
            raise LeadlineError(
                f"--head scalar with --fit {self.fit}.",
                remedy="Use --fit ridge or auto with --head scalar, or --head distribution.",
            )

    def layer_numbers(self) -> tuple[float, ...]:
        """`layers` as numbers: a whole number is a layer, a fraction a share of the depth."""
        try:
            return tuple(int(x) if "." not in x else float(x) for x in self.layers)
        except ValueError as error:
            raise LeadlineError(
                "--layers holds something that is not a number.",
                remedy="Give numbers such as 20 or 0.67, with one --layers for each.",
            ) from error
