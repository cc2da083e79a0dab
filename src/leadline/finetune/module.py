"""The network that is trained: backbone, adapters, pool and head."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from leadline import processes
from leadline.finetune.config import FinetuneConfig
from leadline.finetune.curve import curve_sums
from leadline.finetune.head import LinearHead
from leadline.finetune.lora import add_lora
from leadline.finetune.lower_layers import first_adapted, only_layers
from leadline.finetune.pool import Pool
from leadline.readers.backbone import cut_above, load_backbone, pick_dtype, resolve_layers


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
        self.head = LinearHead(
            config.head, width, loss=config.loss, sigma=config.sigma, dropout=config.dropout
        )

    def hidden(
        self, input_ids: Tensor, lower: Tensor | None = None, **forward_inputs: Any
    ) -> Tensor:
        """Hidden states (rows, length, width) of the layer read, or of the mix of layers.

        With `lower`, the output of the layers below the adapted ones, only those above run.
        `forward_inputs` go to the forward pass, such as the cache of what was read before.
        """
        with self._kept():
            return self._hidden(input_ids, lower, {"use_cache": False, **forward_inputs})

    def _kept(self) -> AbstractContextManager[Any]:
        """Where the inputs of recomputed layers wait for the backward pass.

        Recomputation keeps nothing else of a layer, so what is saved here is these inputs.
        """
        if not (self.offload and self.training):
            return nullcontext()
        return torch.autograd.graph.save_on_cpu(pin_memory=torch.cuda.is_available())

    def _hidden(
        self, input_ids: Tensor, lower: Tensor | None, forward_inputs: dict[str, Any]
    ) -> Tensor:
        if lower is not None:
            first, depth = first_adapted(self.backbone), len(self.backbone.layers)
            with only_layers(self.backbone, first, depth):
                out = self.backbone(inputs_embeds=lower, use_cache=False)
            return out.last_hidden_state  # type: ignore[no-any-return]
        if self.mix is None:
            out = self.backbone(input_ids=input_ids, **forward_inputs)
            return out.last_hidden_state  # type: ignore[no-any-return]
        out = self.backbone(input_ids=input_ids, output_hidden_states=True, **forward_inputs)
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
        """Weighted mean loss over the batch's readings, the head's output, and `curve_sums`.

        Where the batch is a part of a larger one, ``mass`` is the weight that its sum of losses
        is divided by, so that the mean over the parts is the loss of the whole.
        """
        out = self.head(self.pooled(batch))
        losses = self.head.losses(out, batch["totals"], batch.get("sds"))
        weights = batch["weights"]
        mass = batch.get("mass", weights.sum())
        loss = (losses * weights).sum() / mass
        with torch.no_grad():
            sums = curve_sums(losses, weights, batch["gold"], self.head.means(out))
        return {"loss": loss, "out": out, "sums": sums}

    def trained_parameters(self) -> dict[str, Tensor]:
        """Name -> tensor, where it lies, of everything that a checkpoint holds."""
        trained = {name: p.detach() for name, p in self.named_parameters() if p.requires_grad}
        return trained | {f"head.{name}": b for name, b in self.head.named_buffers()}

    def trained_tensors(self) -> dict[str, Tensor]:
        """Name -> whole tensor on the CPU of everything that a checkpoint holds.

        Every process must ask; those that write nothing get nothing.
        """
        out = {}
        for name, value in self.trained_parameters().items():
            gathered = processes.full_tensor(value)
            if processes.rank() == 0:
                out[name] = gathered.cpu().contiguous()
        return out

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `trained_tensors` gave; every trained tensor must be there and no other."""
        parameters = self.trained_parameters()
        assert set(parameters) == set(tensors), sorted(set(parameters) ^ set(tensors))[:3]
        for name, value in parameters.items():
            assert value.shape == tensors[name].shape, name
            processes.copy_into(value, tensors[name])


def build(path: Path, config: FinetuneConfig, device: torch.device) -> Regressor:
    """A regressor on the reader in `path`, with fresh adapters, pool and head."""
    return build_on(load_base(path, config, device), config, device)


class Base(NamedTuple):
    """A reader without adapters, cut above the highest layer that is read."""

    backbone: Any
    layers: tuple[int, ...]  # those that are read, from 1

    def copy(self) -> Base:
        """Modules of its own on the same weights, so that it can be given its own adapters."""
        tensors = [*self.backbone.parameters(), *self.backbone.buffers()]
        same_weights = {id(tensor): tensor for tensor in tensors}
        return Base(copy.deepcopy(self.backbone, same_weights), self.layers)


def load_base(path: Path, config: FinetuneConfig, device: torch.device) -> Base:
    """The reader in `path` as `config` takes it."""
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
    return Base(backbone, layers)


def build_on(base: Base, config: FinetuneConfig, device: torch.device) -> Regressor:
    """A regressor on a base of `load_base`, whose backbone is changed in place."""
    backbone, layers = base
    torch.manual_seed(config.seed)
    if config.adapt == "lora":
        add_lora(backbone, config)
    if config.checkpointing != "none":
        backbone.activation_checkpointing_enable({"use_reentrant": False})
    regressor = Regressor(backbone, layers, config)
    if config.shard and processes.world() > 1:
        mixed = config.adapt == "full" and pick_dtype(config.dtype) == torch.bfloat16
        processes.shard(backbone, device, mixed=mixed)
    return regressor.to(device)
