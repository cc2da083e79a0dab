"""Settings of `leadline train`, each said once."""

from __future__ import annotations

from dataclasses import dataclass

from leadline.errors import LeadlineError
from leadline.finetune.config import FinetuneConfig
from leadline.heads.config import FROZEN_HEADS, FROZEN_POOLS
from leadline.settings import check_choices, flag, same, setting

BATCH_PEOPLE = 64  # people whose turns are read at a time
INTERVAL = 0.9  # central level of the interval in `estimates`
AUTO = "auto"
OWN = ("own",)  # layers of a sentence encoder that gives its own embedding


@dataclass(frozen=True)
class TrainConfig:
    """What is trained and how it is checked."""

    reader: str = setting(
        AUTO,
        "Reader, or readers joined by +: smollm2, mpnet, minilm, a fetched name, or a path; auto "
        "is smollm2, and mpnet beside it where that was fetched and the reader is not adapted.",
    )
    layers: tuple[str, ...] = setting(
        ("0.53", "0.67", "0.73", "0.8", "0.87"),
        "Layers of a language model to read: whole numbers, or fractions of its depth.",
    )
    sentence_layers: tuple[str, ...] = setting(
        ("0.67", "0.83", "1.0"),
        "Layers of a sentence encoder to read, as --layers; own for its own embedding.",
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
    head: str = same(FinetuneConfig, "head")
    fit: str = setting(
        "auto",
        "Head of a frozen reader; auto chooses among gp, ridge and histogram inside the training "
        "folds, network (attention over turns) is for thousands of labels.",
        choices=("auto", *FROZEN_HEADS),
    )
    lexical: str = setting(
        "auto",
        "Average a frozen reader's head with a ridge on words and characters, with the weight that "
        "the training folds ask for (auto), or leave it out (off).",
        choices=("auto", "off"),
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
        False,
        "Train on PHQ-8 totals (0-24), in a cohort without PHQ-9 totals: the two are not mixed.",
    )
    state: str = same(FinetuneConfig, "state")
    max_tokens: int = same(FinetuneConfig, "max_tokens")
    dtype: str = same(FinetuneConfig, "dtype")
    loss: str = same(FinetuneConfig, "loss")
    top: float = same(FinetuneConfig, "top")
    rank: int = same(FinetuneConfig, "rank")
    epochs: float = same(FinetuneConfig, "epochs")
    lr: float = same(FinetuneConfig, "lr")
    batch_people: int = same(FinetuneConfig, "batch_people")
    accumulate: int = same(FinetuneConfig, "accumulate")
    checkpointing: str = same(FinetuneConfig, "checkpointing")
    base_weights: str = same(FinetuneConfig, "base_weights")
    shard: bool = same(FinetuneConfig, "shard")
    lower_gb: float = same(FinetuneConfig, "lower_gb")
    save_steps: int = same(FinetuneConfig, "save_steps")
    stop_share: float = same(FinetuneConfig, "stop_share")
    report_to: str = same(FinetuneConfig, "report_to")
    prior: str = setting(
        "",
        "A run of leadline prior to start from: for tens of labels. Whether it is better than "
        "starting from nothing is chosen inside the training folds.",
    )

    def __post_init__(self) -> None:
        check_choices(self)
        if not all(part.strip() for part in self.reader.split("+")):
            raise LeadlineError(
                f"--reader {self.reader!r} names no reader.",
                remedy="Name one, such as minilm, or several joined by +: smollm2+minilm.",
            )
        for name in ("layers", "sentence_layers"):
            layers = _numbers(self, name)
            if (not layers and getattr(self, name) != OWN) or any(
                x <= 0 or (x % 1 and x > 1) for x in layers
            ):
                raise LeadlineError(
                    f"{flag(name)} is {', '.join(getattr(self, name)) or 'empty'}.",
                    remedy="Give whole numbers from 1, or fractions of the depth up to 1.",
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
            option = f"--adapt {self.adapt}" if self.adapt != "frozen" else f"--pool {self.pool}"
            raise LeadlineError(
                f"--fit network with {option}.",
                remedy="Leave out --pool and --adapt: the network pools frozen turns itself.",
            )
        if self.prior and (self.adapt != "frozen" or self.fit != "auto" or self.head == "scalar"):
            raise LeadlineError(
                "--prior goes with a frozen reader, --fit auto and --head distribution.",
                remedy="Leave out --prior, or what does not go with it.",
            )
        if self.adapt == "frozen" and self.head == "scalar" and self.fit not in ("auto", "ridge"):
            raise LeadlineError(
                f"--head scalar with --fit {self.fit}.",
                remedy="Use --fit ridge or auto with --head scalar, or --head distribution.",
            )

    def layer_numbers(self) -> tuple[float, ...]:
        """`layers` as numbers: a whole number is a layer, a fraction a share of the depth."""
        return _numbers(self, "layers")

    def sentence_layer_numbers(self) -> tuple[float, ...]:
        """`sentence_layers` as numbers; none for the encoder's own embedding."""
        return _numbers(self, "sentence_layers")


def _numbers(config: TrainConfig, name: str) -> tuple[float, ...]:
    """The layers of a setting as numbers."""
    layers: tuple[str, ...] = getattr(config, name)
    if name == "sentence_layers" and layers == OWN:
        return ()
    try:
        return tuple(int(x) if "." not in x else float(x) for x in layers)
    except ValueError as error:
        raise LeadlineError(
            f"{flag(name)} holds something that is not a number.",
            remedy=f"Give numbers such as 20 or 0.67, with one {flag(name)} for each.",
        ) from error
