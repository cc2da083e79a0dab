"""Settings of an adapted reader."""

from __future__ import annotations

from dataclasses import dataclass

from leadline.errors import LeadlineError
from leadline.readers.config import ReaderConfig
from leadline.settings import check_choices, same, setting

ADAPTED_POOLS = ("mean", "tokens", "attention", "last")

CHECKPOINTING = ("none", "recompute", "offload")  # what of a layer the backward pass finds

BASES = ("auto", "nf4", "fp8")  # how the weights lie that LoRA leaves alone

ADAPTED_HEADS = ("distribution", "scalar")

SIGMA = 1.5


@dataclass(frozen=True)
class FinetuneConfig:
    """How a causal language model is adapted."""

    adapt: str = setting("lora", "What of the reader is trained.", choices=("lora", "full"))
    layers: tuple[float, ...] = setting(
        (2 / 3,), "Layers to read; several are combined by a learned mix."
    )
    state: str = same(ReaderConfig, "state")
    pooling: str = setting("mean", "How turn states are combined.", choices=ADAPTED_POOLS)
    head: str = setting("distribution", "What the head gives.", choices=ADAPTED_HEADS)
    loss: str = setting("mse", "Loss of an adapted scalar head.", choices=("mse", "huber"))
    sigma: float = setting(SIGMA, "Smoothing of the distribution's targets, in points.")
    top: float = setting(
        1 / 3, "Share of the layers that LoRA adapts, from the top.", above=0, most=1
    )
    rank: int = setting(16, "Rank of LoRA.", least=1)
    alpha: int = setting(32, "Scale of LoRA.")
    dropout: float = setting(0.05, "Dropout of LoRA and of the head's input.")
    epochs: float = setting(4.0, "Times that an adapted reader sees each person.", above=0)
    batch_people: int = setting(
        8, "People in one step of training; divided among the processes.", least=1
    )
    accumulate: int = setting(1, "Batches whose gradients are added before a step.", least=1)
    lr: float = setting(2e-4, "Learning rate of an adapted reader.", above=0)
    head_lr: float = setting(2e-4, "Learning rate of pool and head.")
    weight_decay: float = setting(0.01, "Weight decay.")
    warmup: float = setting(0.1, "Share of the steps in which the learning rate rises.")
    head_start: bool = setting(True, "Fit the head to the unadapted reader before training.")
    head_l2: float = setting(0.03, "Penalty of that first fit.")
    max_tokens: int = same(ReaderConfig, "max_tokens")
    dtype: str = same(ReaderConfig, "dtype")
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
    lower_gb: float = setting(
        2.0,
        "Memory in GB for the outputs of the layers below the adapted ones (0: never kept).",
        least=0,
    )
    save_steps: int = setting(
        50, "Steps between two checkpoints of an unfinished adapted reader.", least=1
    )
    stop_share: float = setting(
        0.0,
        "Share of the people trained on who are set aside to choose the best epoch by; 0: the last "
        "epoch is kept.",
        least=0,
        most=0.5,
    )
    seed: int = setting(0, "Seed of order, dropout and initial weights.")
    report_to: str = setting(
        "none", "Where the course of training is shown.", choices=("none", "tensorboard", "wandb")
    )

    def __post_init__(self) -> None:
        check_choices(self)
        if self.base_weights != "auto" and (self.adapt != "lora" or self.shard):
            raise LeadlineError(
                f"--base-weights {self.base_weights} with --adapt {self.adapt}"
                f"{' --shard' if self.shard else ''}.",
                remedy="Quantise the base under --adapt lora without --shard only.",
            )
