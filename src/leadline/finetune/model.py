"""The adapted model: a causal reader, a pool and a head as one module, and its checkpoint.

One example is one person: the conversation is read once and every reading of that person is
estimated in the same pass. Layers above the one that is read are cut off. With LoRA on the
top layers no gradient flows below them.

A checkpoint is `model.safetensors` (what was trained: adapters or the whole backbone, pool,
head), `config.json` and `curve.json` (the course of training). The base is named and its
revision recorded, not copied.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from leadline import processes
from leadline.artefact import read_json, write_json, write_manifest
from leadline.errors import LeadlineError
from leadline.finetune.config import FinetuneConfig
from leadline.finetune.curve import CURVE, Curve
from leadline.finetune.examples import TokenisedPerson, TrainPerson, collate, encode, token_groups
from leadline.finetune.module import Regressor, build
from leadline.finetune.shared import SharedReader
from leadline.output import new_directory
from leadline.progress import tokens_read
from leadline.readers.arithmetic import BEFORE_IT_WAS_KEPT, resolve_arithmetic
from leadline.readers.backbone import default_device, load_tokenizer
from leadline.readers.batching import pad_right
from leadline.readers.fetch import reader_path, reader_revision
from leadline.readers.tokens import Tokens, chat_template

MODEL_FORMAT = 1

WEIGHTS, SETTINGS = "model.safetensors", "config.json"

RESTORE = "Restore the file from a copy, or train again."


class FinetunedModel:
    """A trained regressor with what it takes to read messages.

    Args:
        regressor: the trained module.
        tokens: tokenizer and template of its reader.
        reader: name or path of the reader.
        revision: the reader's revision.
        config: how it was trained.
        shared: what it shares with other fits of this process, if it does.
    """

    def __init__(
        self,
        regressor: Regressor,
        tokens: Tokens,
        *,
        reader: str,
        revision: str,
        config: FinetuneConfig,
        shared: SharedReader | None = None,
    ) -> None:
        self.regressor, self.tokens, self.shared = regressor, tokens, shared
        self.reader, self.revision, self.config = reader, revision, config
        self.budget = context_budget(regressor.backbone, config.max_tokens)
        self.curve: Curve | None = None  # of the training that made it

    @classmethod
    def untrained(
        cls,
        reader: str,
        config: FinetuneConfig,
        *,
        home: Path | None = None,
        shared: SharedReader | None = None,
    ) -> FinetunedModel:
        """The base with fresh adapters and head, on the default device.

        The base is that of `shared`, where it serves.
        """
        path = reader_path(reader, home=home)
        tokenizer = load_tokenizer(path)
        # What is trained is bound to its arithmetic, so that is kept and not "auto".
        config = replace(config, dtype=resolve_arithmetic(config.dtype, default_device()))
        if shared is not None and not shared.serves(reader, config):
            shared = None
        return cls(
            build(path, config, default_device()) if shared is None else shared.regressor(config),
            Tokens(tokenizer, chat_template(tokenizer)),
            reader=reader,
            revision=reader_revision(path),
            config=config,
            shared=shared,
        )

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.regressor.head.centre.device

    @property
    def identity(self) -> str:
        """Hex digest of everything that a turn state depends on except the messages."""
        description = {
            "revision": self.revision,
            "template": asdict(self.tokens.template),
            "budget": self.budget,
            "config": asdict(self.config),
        }
        digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
        for name, value in sorted(self.regressor.trained_tensors().items()):
            digest.update(name.encode())
            digest.update(value.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @property
    def width(self) -> int:
        """Numbers in a turn state."""
        return int(self.regressor.head.centre.shape[0])

    @torch.inference_mode()
    def turn_states(
        self,
        ids: Sequence[Sequence[int]],
        spans: Sequence[Sequence[tuple[int, int]]],
        **forward_inputs: Any,
    ) -> list[np.ndarray]:
        """States of the turns at `spans` of each row of tokens, as `LMReader.turn_states`."""
        self.regressor.eval()
        hidden = self.regressor.hidden(pad_right(ids).to(self.device), **forward_inputs)
        last = self.config.state == "last"
        return [
            np.stack(
                [row[(b - 1 if last else a) : b].float().mean(dim=0).cpu() for a, b in row_spans]
            )
            if row_spans
            else np.zeros((0, self.width), np.float32)
            for row, row_spans in zip(hidden, spans, strict=True)
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

    def encode(self, people: Sequence[TrainPerson]) -> list[TokenisedPerson]:
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
        if self.shared is None:
            return self.whole_states(people, batch_tokens)
        examples = self.encode(people)
        out = [torch.zeros(0, self.width, device=self.device) for _ in examples]
        groups = list(token_groups(examples, batch_tokens))
        for chunk in self.shared.groups_in_memory(self.regressor, groups, examples):
            chunk_people = [index for group in chunk for index in group]
            lower = self.shared.with_lower(
                self.regressor, [examples[index] for index in chunk_people]
            )
            complete = dict(zip(chunk_people, lower, strict=True))
            self._fill(out, complete, chunk)
        return out

    @torch.no_grad()
    def whole_states(self, people: Sequence[TrainPerson], batch_tokens: int) -> list[Tensor]:
        """`running_states` by a pass through all layers, whatever is shared."""
        examples = self.encode(people)
        out = [torch.zeros(0, self.width, device=self.device) for _ in examples]
        self._fill(out, examples, list(token_groups(examples, batch_tokens)))
        return out

    @torch.no_grad()
    def start_states(self, examples: Sequence[TokenisedPerson]) -> list[Tensor]:
        """`running_states` of examples from the outputs of their lower layers, one by one."""
        out = [torch.zeros(0, self.width, device=self.device) for _ in examples]
        self._fill(out, examples, [[index] for index in range(len(examples))])
        return out

    def _fill(
        self,
        out: list[Tensor],
        examples: Mapping[int, TokenisedPerson] | Sequence[TokenisedPerson],
        groups: Sequence[list[int]],
    ) -> None:
        """Put the running states of people who are read together, group by group, into `out`."""
        self.regressor.eval()
        states_by_group: dict[int, Tensor] = {}
        for number, counts in processes.assigned_jobs(len(groups)):
            batch = collate([examples[index] for index in groups[number]], self.config.state)
            batch = {name: value.to(self.device) for name, value in batch.items()}
            states = self.regressor.pooled(batch)
            tokens_read(sum(examples[index].tokens for index in groups[number]))
            if counts:
                states_by_group[number] = states.cpu() if processes.world() > 1 else states
        for group, states in zip(
            groups, processes.gather(states_by_group, len(groups)), strict=True
        ):
            sizes = [len(examples[index].readings) for index in group]
            parts = torch.split(states.to(self.device), sizes)
            for index, person_states in zip(group, parts, strict=True):
                out[index] = person_states

    def save(self, path: Path) -> None:
        """Write the checkpoint directory whole or not at all.

        Of several processes every one must call this; the first writes.

        Raises:
            LeadlineError: `path` exists.
        """
        tensors = self.regressor.trained_tensors()
        if processes.rank() > 0:
            return
        with new_directory(path, "checkpoint") as scratch:
            save_file(tensors, scratch / WEIGHTS, metadata={"format": "pt"})
            description = {
                "format": MODEL_FORMAT,
                "reader": self.reader,
                "revision": self.revision,
                "template": asdict(self.tokens.template),
                "config": asdict(self.config),
            }
            write_json(scratch / SETTINGS, description)
            if self.curve is not None:
                write_json(scratch / CURVE, self.curve.description())
            write_manifest(
                scratch,
                kind="checkpoint",
                command="train",
                settings=asdict(self.config),
                inputs={"reader": self.revision},
            )

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        reader: str | None = None,
        home: Path | None = None,
        shared: SharedReader | None = None,
    ) -> FinetunedModel:
        """Read a checkpoint; `reader` says where the base lies if it moved.

        The base is that of `shared`, where it serves.

        Raises:
            LeadlineError: damaged, of another format, or the base is absent or another one.
        """
        description = _read_description(path)
        config, building = _configs(description, path)
        model = cls.untrained(
            reader or str(description.get("reader")), building, home=home, shared=shared
        )
        if model.revision != description.get("revision") or asdict(
            model.tokens.template
        ) != description.get("template"):
            raise LeadlineError(
                "This checkpoint was trained on another revision of its reader.",
                remedy="Fetch the revision that it was trained on, or train again.",
                file=path,
            )
        model.load_weights(path)
        model.config = config
        return model

    def load_weights(self, path: Path) -> None:
        """Put in the weights of another checkpoint of the same reader and settings.

        Raises:
            LeadlineError: the file is damaged, or its arrays do not fit or are not finite.
        """
        with _reading_weights(path):
            tensors = load_file(path / WEIGHTS)
        for tensor in tensors.values():
            _check_finite(tensor, path)
        shapes = {name: x.shape for name, x in self.regressor.trained_parameters().items()}
        if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
            raise LeadlineError(
                "The weights of this checkpoint do not fit its reader and settings.",
                remedy=RESTORE,
                file=path / WEIGHTS,
            )
        self.regressor.restore(tensors)
        self.regressor.eval()


def check_checkpoint(path: Path) -> None:
    """Raise unless settings and weights of a checkpoint can be those of one; no base is opened.

    Raises:
        LeadlineError: a file is damaged, of another format, or holds what training cannot write.
    """
    _configs(_read_description(path), path)
    with _reading_weights(path), safe_open(path / WEIGHTS, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - the file is no mapping
            _check_finite(file.get_tensor(name), path)


def _read_description(path: Path) -> dict[str, Any]:
    return read_json(
        path / SETTINGS,
        format=MODEL_FORMAT,
        remedy="Give the directory that training wrote, or train again with this version.",
        what="checkpoint",
        problem="This is no checkpoint: its config.json is absent or damaged.",
    )


@contextmanager
def _reading_weights(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise LeadlineError(
            "The weights of this checkpoint cannot be read.", remedy=RESTORE, file=path / WEIGHTS
        ) from error


def _check_finite(tensor: Tensor, path: Path) -> None:
    if not bool(torch.isfinite(tensor).all()):
        raise LeadlineError(
            "The weights of this checkpoint are not finite.", remedy=RESTORE, file=path / WEIGHTS
        )


def _configs(description: Mapping[str, Any], path: Path) -> tuple[FinetuneConfig, FinetuneConfig]:
    """The settings of a checkpoint: as it was trained, and as its module is built.

    Raises:
        LeadlineError: they are not those of a checkpoint.
    """
    try:
        fields = {**description["config"], "layers": tuple(description["config"]["layers"])}
        if isinstance(fields.get("checkpointing"), bool):  # what the first version wrote
            fields["checkpointing"] = "recompute" if fields["checkpointing"] else "none"
        # Neither belongs to the model; both are for training.
        building: dict[str, Any] = {"head_start": False, "shard": False}
        if fields["dtype"] == "auto":
            building["dtype"] = BEFORE_IT_WAS_KEPT
        return FinetuneConfig(**fields), FinetuneConfig(**{**fields, **building})
    except (KeyError, TypeError, ValueError) as error:
        raise LeadlineError(
            "The settings of this checkpoint are not as training wrote them.",
            remedy=RESTORE,
            file=path / SETTINGS,
        ) from error


def context_budget(backbone: Any, max_tokens: int) -> int:
    """The context budget in tokens: `max_tokens`, but at most what the model takes."""
    return min(max_tokens, getattr(backbone.config, "max_position_embeddings", None) or max_tokens)
