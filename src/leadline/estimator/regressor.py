"""The adapted model: a causal reader, a pool and a head as one module, and its checkpoint.

One example is one person: the conversation is read once and every reading of that person is
estimated in the same pass. Layers above the one that is read are cut off. With LoRA on the
top layers no gradient flows below them.

A checkpoint is `model.safetensors` (what was trained: adapters or the whole backbone, pool,
head) and `config.json`. The base is named and its revision recorded, not copied.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from leadline.artefact import new_directory, write_json, write_manifest
from leadline.config import check_choices, setting
from leadline.errors import LeadlineError, missing_package
from leadline.estimator import distributed
from leadline.estimator.examples import (
    Example,
    TrainPerson,
    collate,
    encode,
    token_groups,
)
from leadline.estimator.fetch import reader_path, reader_revision
from leadline.estimator.head import HEADS, SIGMA, Head
from leadline.estimator.lower import first_adapted, only_layers
from leadline.estimator.pool import POOLS, Pool
from leadline.estimator.reader import (
    cut_above,
    default_device,
    load_backbone,
    load_tokenizer,
    pad_right,
    pick_dtype,
    resolve_layers,
)
from leadline.estimator.settings import BASES, CHECKPOINTING
from leadline.estimator.transcript import Tokens, chat_template

FORMAT = 1
WEIGHTS = "model.safetensors"
TARGETS = (
    "q_proj", "k_proj", "v_proj", "o_proj",
    "in_proj_qkv", "in_proj_z", "out_proj",
    "gate_proj", "up_proj", "down_proj",
)  # fmt: skip


@dataclass(frozen=True)
class FinetuneConfig:
    """How a causal language model is adapted."""

    adapt: str = setting("lora", "What of the reader is trained.", choices=("lora", "full"))
    layers: tuple[float, ...] = setting(
        (2 / 3,), "Layers to read; several are combined by a learned mix."
    )
    state: str = setting("mean", "State of a turn.", choices=("mean", "last"))
    pooling: str = setting("mean", "How turn states are combined.", choices=POOLS)
    head: str = setting("distribution", "What is estimated.", choices=HEADS)
    loss: str = setting("mse", "Loss of the scalar head.", choices=("mse", "huber"))
    sigma: float = setting(SIGMA, "Smoothing of the distribution's targets, in points.")
    top: float = setting(1 / 3, "Share of the layers read that LoRA adapts, from the top.")
    rank: int = setting(16, "Rank of LoRA.")
    alpha: int = setting(32, "Scale of LoRA.")
    dropout: float = setting(0.05, "Dropout of LoRA and of the head's input.")
    epochs: float = setting(4.0, "Times that each person is seen.")
    batch_people: int = setting(8, "People in one step of training; divided among the processes.")
    accumulate: int = setting(1, "Batches whose gradients are added before a step.")
    lr: float = setting(2e-4, "Learning rate of the reader.")
    head_lr: float = setting(2e-4, "Learning rate of pool and head.")
    weight_decay: float = setting(0.01, "Weight decay.")
    warmup: float = setting(0.1, "Share of the steps in which the learning rate rises.")
    head_start: bool = setting(True, "Fit the head to the unadapted reader before training.")
    head_l2: float = setting(0.03, "Penalty of that first fit.")
    max_tokens: int = setting(8192, "Context budget in tokens; older turns leave first.")
    dtype: str = setting("auto", "Arithmetic.", choices=("auto", "float32", "bfloat16"))
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
        2.0, "Memory in GB for the outputs of the layers below the adapted ones (0: never kept)."
    )
    save_steps: int = setting(50, "Steps between two checkpoints of an unfinished training.")
    seed: int = setting(0, "Seed of order, dropout and initial weights.")
    report_to: str = setting(
        "none", "Where the course of training is shown.", choices=("none", "tensorboard", "wandb")
    )

    def __post_init__(self) -> None:
        check_choices(self)
        if not 0 < self.top <= 1:
            raise LeadlineError(
                f"--top is {self.top}.", remedy="Use a share of the layers above 0 and up to 1."
            )
        if min(self.rank, self.batch_people, self.accumulate, self.save_steps) < 1:
            raise LeadlineError(
                "--rank, --batch-people, --accumulate and --save-steps count things.",
                remedy="Use whole numbers of 1 or more.",
            )
        if self.base_weights != "auto" and (self.adapt != "lora" or self.shard):
            raise LeadlineError(
                f"--base-weights {self.base_weights} with --adapt {self.adapt}"
                f"{' --shard' if self.shard else ''}.",
                remedy="Quantise the base under --adapt lora without --shard only.",
            )


class Regressor(nn.Module):
    """Reader, pool and head; see the module's description.

    Args:
        backbone: a causal model without language-model head, cut above the highest layer.
        layers: the layers to read, 1-based; several are combined by softmax weights.
        config: pool, head and loss.
    """

    def __init__(self, backbone: Any, layers: Sequence[int], config: FinetuneConfig) -> None:
        super().__init__()
        self.backbone = backbone
        self.layers = tuple(layers)
        self.offload = config.checkpointing == "offload"
        width = int(backbone.config.hidden_size)
        self.mix = nn.Parameter(torch.zeros(len(layers))) if len(layers) > 1 else None
        self.pool = Pool(config.pooling, width)
        self.head = Head(
            config.head, width, loss=config.loss, sigma=config.sigma, dropout=config.dropout
        )

    def hidden(self, input_ids: Tensor, lower: Tensor | None = None, **more: Any) -> Tensor:
        """Hidden states (rows, length, width) of the layer read, or of the mix of layers.

        With `lower`, the output of the layers below the adapted ones, only those above run.
        `more` goes to the forward pass, such as the cache of what was read before.
        """
        with self._kept():
            return self._hidden(input_ids, lower, {"use_cache": False, **more})

    def _kept(self) -> AbstractContextManager[Any]:
        """Where the inputs of recomputed layers wait for the backward pass.

        Recomputation keeps nothing else of a layer, so what is saved here is these inputs.
        """
        if not (self.offload and self.training):
            return nullcontext()
        return torch.autograd.graph.save_on_cpu(pin_memory=torch.cuda.is_available())

    def _hidden(self, input_ids: Tensor, lower: Tensor | None, more: dict[str, Any]) -> Tensor:
        if lower is not None:
            first, depth = first_adapted(self.backbone), len(self.backbone.layers)
            with only_layers(self.backbone, first, depth):
                out = self.backbone(inputs_embeds=lower, use_cache=False)
            return out.last_hidden_state  # type: ignore[no-any-return]
        if self.mix is None:
            out = self.backbone(input_ids=input_ids, **more)
            return out.last_hidden_state  # type: ignore[no-any-return]
        out = self.backbone(input_ids=input_ids, output_hidden_states=True, **more)
        shares = self.mix.softmax(dim=0)
        picked = [out.hidden_states[layer].float() for layer in self.layers]
        return torch.stack([s * h for s, h in zip(shares, picked, strict=True)]).sum(dim=0)

    def pooled(self, batch: dict[str, Tensor]) -> Tensor:
        """Running states of the batch's readings, float32 (readings, width)."""
        hidden = self.hidden(batch["input_ids"], batch.get("lower")).flatten(0, 1)
        hidden = hidden[batch["where"]].float()
        turns = len(batch["sizes"])
        sums = hidden.new_zeros(turns, hidden.shape[1]).index_add(0, batch["turn"], hidden)
        counts = torch.bincount(batch["turn"], minlength=turns)
        states = sums / counts[:, None]
        return self.pool(states, batch["sizes"], batch["readings"])  # type: ignore[no-any-return]

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        """Weighted mean loss over the batch's readings, and the head's output.

        Where the batch is a part of a larger one, ``mass`` is the weight that its sum of losses
        is divided by, so that the mean over the parts is the loss of the whole.
        """
        out = self.head(self.pooled(batch))
        losses = self.head.losses(out, batch["totals"])
        weights = batch["weights"]
        mass = batch.get("mass", weights.sum())
        return {"loss": (losses * weights).sum() / mass, "out": out}

    def kept(self) -> dict[str, Tensor]:
        """Name -> tensor, where it lies, of everything that a checkpoint holds."""
        trained = {name: p.detach() for name, p in self.named_parameters() if p.requires_grad}
        return trained | {f"head.{name}": b for name, b in self.head.named_buffers()}

    def trained(self) -> dict[str, Tensor]:
        """Name -> whole tensor on the CPU of everything that a checkpoint holds.

        Every process must ask; those that write nothing get nothing.
        """
        out = {}
        for name, value in self.kept().items():
            gathered = distributed.whole(value)
            if distributed.rank() == 0:
                out[name] = gathered.cpu().contiguous()
        return out

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `trained` gave; every trained tensor must be there and no other."""
        mine = self.kept()
        assert set(mine) == set(tensors), sorted(set(mine) ^ set(tensors))[:3]
        for name, value in mine.items():
            assert value.shape == tensors[name].shape, name
            distributed.put(value, tensors[name])


def build(path: Path, config: FinetuneConfig, device: torch.device) -> Regressor:
    """A regressor on the reader in `path`, with fresh adapters, pool and head."""
    compute = pick_dtype(config.dtype)
    # Weights that are trained stay float32 (bfloat16 steps would be lost in rounding); a
    # frozen base under LoRA may lie in bfloat16.
    backbone = load_backbone(
        path,
        torch.float32 if config.adapt == "full" else compute,
        base_weights=config.base_weights,
        # A model that is going to be divided may be larger than one device.
        device=device if device.type == "cuda" and not config.shard else None,
    )
    layers = resolve_layers(config.layers, len(backbone.layers))
    cut_above(backbone, max(layers))
    torch.manual_seed(config.seed)
    if config.adapt == "lora":
        _add_lora(backbone, config)
    if config.checkpointing != "none":
        backbone.activation_checkpointing_enable({"use_reentrant": False})
    regressor = Regressor(backbone, layers, config)
    if config.shard and distributed.world() > 1:
        mixed = config.adapt == "full" and compute == torch.bfloat16
        distributed.shard(backbone, device, mixed=mixed)
    return regressor.to(device)


def _add_lora(backbone: Any, config: FinetuneConfig) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise missing_package("peft", "models", "LoRA") from error
    present = {name.rsplit(".", 1)[-1] for name, _ in backbone.layers.named_modules()}
    targets = [name for name in TARGETS if name in present]
    if not targets:
        raise LeadlineError(
            "This reader has none of the layers that LoRA knows by name.",
            remedy="Use --adapt full, or frozen.",
        )
    depth = len(backbone.layers)
    adapted = max(1, round(depth * config.top))
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=targets,
        layers_to_transform=list(range(depth - adapted, depth)),
        layers_pattern="layers",
    )
    inject_adapter_in_model(lora, backbone)
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_("lora_" in name)
        if "lora_" in name:
            parameter.data = parameter.data.float()


class FinetunedModel:
    """A trained regressor with what it takes to read messages.

    Args:
        regressor: the trained module.
        tokens: tokenizer and template of its reader.
        reader: name or path of the reader.
        revision: the reader's revision.
        config: how it was trained.
    """

    def __init__(
        self,
        regressor: Regressor,
        tokens: Tokens,
        *,
        reader: str,
        revision: str,
        config: FinetuneConfig,
    ) -> None:
        self.regressor, self.tokens = regressor, tokens
        self.reader, self.revision, self.config = reader, revision, config
        self.budget = context_budget(regressor.backbone, config.max_tokens)

    @classmethod
    def untrained(
        cls, reader: str, config: FinetuneConfig, *, home: Path | None = None
    ) -> FinetunedModel:
        """The base with fresh adapters and head, on the default device."""
        path = reader_path(reader, home=home)
        tokenizer = load_tokenizer(path)
        return cls(
            build(path, config, default_device()),
            Tokens(tokenizer, chat_template(tokenizer)),
            reader=reader,
            revision=reader_revision(path),
            config=config,
        )

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.regressor.head.centre.device

    @property
    def identity(self) -> str:
        """Hex digest of everything that a turn state depends on except the messages."""
        about = {
            "revision": self.revision,
            "template": asdict(self.tokens.template),
            "budget": self.budget,
            "config": asdict(self.config),
        }
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        for name, value in sorted(self.regressor.trained().items()):
            digest.update(name.encode())
            digest.update(value.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @property
    def width(self) -> int:
        """Numbers in a turn state."""
        return int(self.regressor.head.centre.shape[0])

    @torch.inference_mode()
    def turn_states(
        self, ids: Sequence[Sequence[int]], spans: Sequence[Sequence[tuple[int, int]]], **more: Any
    ) -> list[np.ndarray]:
        """States of the turns at `spans` of each row of tokens, as `LMReader.turn_states`."""
        self.regressor.eval()
        hidden = self.regressor.hidden(pad_right(ids).to(self.device), **more)
        last = self.config.state == "last"
        return [
            np.stack([row[(b - 1 if last else a) : b].float().mean(dim=0).cpu() for a, b in some])
            if some
            else np.zeros((0, self.width), np.float32)
            for row, some in zip(hidden, spans, strict=True)
        ]

    @torch.inference_mode()
    def estimates(self, states: np.ndarray, sizes: np.ndarray, readings: np.ndarray) -> np.ndarray:
        """As `predict`, from the turn states of one person.

        Args:
            states: float32 (turns, width).
            sizes: tokens of each turn (turns,).
            readings: first and last turn of each reading, both included (readings, 2).
        """
        self.regressor.eval()
        head = self.regressor.head
        arrays = (torch.from_numpy(np.ascontiguousarray(x)) for x in (states, sizes, readings))
        pooled = self.regressor.pool(*(x.to(self.device) for x in arrays))
        out: np.ndarray = head.estimates(head(pooled)).cpu().numpy()
        return out

    def encode(self, people: Sequence[TrainPerson]) -> list[Example]:
        """People as tokens."""
        return [encode(person, self.tokens, self.budget) for person in people]

    @torch.no_grad()
    def predict(self, people: Sequence[TrainPerson], batch_tokens: int = 4096) -> list[np.ndarray]:
        """Estimates at every reading of each person; labels are not looked at.

        Returns:
            For each person float32 (readings, 28), the distribution over 0..27, or
            (readings,) from a scalar head.
        """
        head = self.regressor.head
        return [
            head.estimates(head(states)).cpu().numpy()
            for states in self.running_states(people, batch_tokens)
        ]

    @torch.no_grad()
    def running_states(self, people: Sequence[TrainPerson], batch_tokens: int) -> list[Tensor]:
        """Pooled states of each person's readings, float32 (readings, width)."""
        examples = self.encode(people)
        self.regressor.eval()
        width = self.regressor.head.centre.shape[0]
        out = [torch.zeros(0, width, device=self.device) for _ in examples]
        groups = list(token_groups(examples, batch_tokens))
        found: dict[int, Tensor] = {}
        for number, counts in distributed.dealt(len(groups)):
            batch = collate([examples[index] for index in groups[number]], self.config.state)
            batch = {name: value.to(self.device) for name, value in batch.items()}
            states = self.regressor.pooled(batch)
            if counts:
                found[number] = states.cpu() if distributed.world() > 1 else states
        for group, states in zip(groups, distributed.gather(found, len(groups)), strict=True):
            sizes = [len(examples[index].readings) for index in group]
            parts = torch.split(states.to(self.device), sizes)
            for index, some in zip(group, parts, strict=True):
                out[index] = some
        return out

    def save(self, path: Path) -> None:
        """Write the checkpoint directory whole or not at all.

        Of several processes every one must call this; the first writes.

        Raises:
            LeadlineError: `path` exists.
        """
        tensors = self.regressor.trained()
        if distributed.rank() > 0:
            return
        with new_directory(path) as scratch:
            save_file(tensors, scratch / WEIGHTS, metadata={"format": "pt"})
            about = {
                "format": FORMAT,
                "reader": self.reader,
                "revision": self.revision,
                "template": asdict(self.tokens.template),
                "config": asdict(self.config),
            }
            write_json(scratch / "config.json", about)
            write_manifest(
                scratch,
                kind="checkpoint",
                command="train",
                settings=asdict(self.config),
                inputs={"reader": self.revision},
            )

    @classmethod
    def load(
        cls, path: Path, *, reader: str | None = None, home: Path | None = None
    ) -> FinetunedModel:
        """Read a checkpoint; `reader` says where the base lies if it moved.

        Raises:
            LeadlineError: damaged, of another format, or the base is absent or another one.
        """
        about = _read_config(path)
        fields = {**about["config"], "layers": tuple(about["config"]["layers"])}
        if isinstance(fields.get("checkpointing"), bool):  # what the first version wrote
            fields["checkpointing"] = "recompute" if fields["checkpointing"] else "none"
        # Neither belongs to the model; both are for training.
        plain = {"head_start": False, "shard": False}
        model = cls.untrained(
            reader or about["reader"], FinetuneConfig(**{**fields, **plain}), home=home
        )
        if (
            model.revision != about["revision"]
            or asdict(model.tokens.template) != about["template"]
        ):
            raise LeadlineError(
                f"This checkpoint was trained on another revision of the reader "
                f"{about['reader']!r}.",
                remedy="Fetch the revision that it was trained on, or train again.",
                file=path,
            )
        model.take(path)
        model.config = FinetuneConfig(**fields)
        return model

    def take(self, path: Path) -> None:
        """Put in the weights of another checkpoint of the same reader and settings.

        Raises:
            LeadlineError: the file is damaged.
        """
        try:
            tensors = load_file(path / WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise LeadlineError(
                "The weights of this checkpoint cannot be read.",
                remedy="Restore the file from a copy, or train again.",
                file=path / WEIGHTS,
            ) from error
        self.regressor.restore(tensors)
        self.regressor.eval()


def context_budget(backbone: Any, wanted: int) -> int:
    """The context budget in tokens: as wanted, at most what the model takes."""
    return min(wanted, getattr(backbone.config, "max_position_embeddings", None) or wanted)


def _read_config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LeadlineError(
            "This is no checkpoint: its config.json is absent or damaged.",
            remedy="Give the directory that training wrote.",
            file=file,
        ) from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        found = about.get("format") if isinstance(about, dict) else None
        raise LeadlineError(
            f"This checkpoint has format {found!r}; this version reads format {FORMAT}.",
            remedy="Train again with this version of Leadline.",
            file=file,
        )
    return about
