"""Readers: from the messages of a conversation to one state per user turn.

`LMReader` runs a causal language model over the conversation once, left to right. The state
of a user turn is the mean (or the last) of the hidden states of that turn's own tokens at
chosen layers, in the context of everything said before it. `SentenceReader` embeds each user
turn by itself with a sentence encoder: mean over its tokens, then length one, which is what
the encoder's own configuration prescribes.

Mean over tokens at a middle layer follows what was measured: on short check-ins the last
token of the last layer, the usual choice, loses .17 of Pearson's r against it.

Batches are padded on the right and have no attention mask: behind a causal model nothing
looks at what follows, so the padding changes no state, and the fast attention path stays on.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from leadline.arrays import States
from leadline.config import check_choices, setting
from leadline.dialogue.schema import Message
from leadline.errors import LeadlineError
from leadline.estimator.base import quantization, text_config, warn_of_slow_kernels
from leadline.estimator.distributed import local_rank
from leadline.estimator.fetch import quiet_transformers, reader_path, reader_revision
from leadline.estimator.progress import Advance
from leadline.estimator.transcript import Pass, Tokens, chat_template, plan_passes

# Readers are loaded from disk; nothing here may ask a hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

Conversation = Sequence[Message]
# Raised when the same files and settings would give other states than before.
METHOD = 1
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Reader(Protocol):
    """What the rest of the estimator needs of a reader."""

    contextual: bool
    """True if a state depends on what was said before the turn."""

    @property
    def identity(self) -> str:
        """Hex digest of everything that a state depends on except the messages."""

    @property
    def width(self) -> int:
        """Numbers in a state."""

    def states(
        self, conversations: Sequence[Conversation], progress: Advance | None = None
    ) -> list[States]:
        """One float32 array (user turns, width) a conversation."""


@dataclass(frozen=True)
class ReaderConfig:
    """How a causal language model is read."""

    layers: tuple[float, ...] = setting(
        (2 / 3,), "Layers to read: whole numbers from 1, or fractions of the depth below 1."
    )
    state: str = setting(
        "mean", "State of a turn: over its own tokens, or at the last.", choices=("mean", "last")
    )
    max_tokens: int = setting(8192, "Context budget in tokens; older turns leave first.")
    dtype: str = setting(
        "auto", "Arithmetic of the reader.", choices=("auto", "float32", "bfloat16")
    )
    batch_tokens: int = setting(4096, "Tokens read at once, padding included.")

    def __post_init__(self) -> None:
        check_choices(self)
        bad = [layer for layer in self.layers if layer <= 0 or (layer > 1 and layer % 1)]
        if not self.layers or bad:
            raise LeadlineError(
                f"--layers holds {bad or 'nothing'}.",
                remedy="Give whole numbers from 1, or fractions between 0 and 1.",
            )
        if self.max_tokens < 64 or self.batch_tokens < 1:
            raise LeadlineError(
                f"--max-tokens is {self.max_tokens} and --batch-tokens {self.batch_tokens}.",
                remedy="Use at least 64 tokens of context and at least 1 token a batch.",
            )


def default_device() -> torch.device:
    """The CUDA device of this process if there is one, else the CPU."""
    return torch.device("cuda", local_rank()) if torch.cuda.is_available() else torch.device("cpu")


def resolve_layers(layers: Sequence[float], depth: int) -> tuple[int, ...]:
    """Layer numbers 1..depth for whole numbers and fractions of `depth`.

    The integer 1 is the first layer, the float 1.0 the last.

    Raises:
        LeadlineError: a layer beyond the model's depth.
    """
    numbers = tuple(
        max(1, round(layer * depth)) if layer < 1 or (layer == 1 and isinstance(layer, float))
        else int(layer)
        for layer in layers
    )  # fmt: skip
    if max(numbers) > depth:
        raise LeadlineError(
            f"Layer {max(numbers)} was asked for; the reader has {depth}.",
            remedy=f"Use layers up to {depth}, or fractions such as 0.67.",
        )
    return numbers


def load_backbone(
    path: Path,
    dtype: torch.dtype,
    *,
    base_weights: str = "auto",
    device: torch.device | None = None,
) -> Any:
    """The text part of a causal model without its language-model head, in eval mode.

    Of a multimodal checkpoint only the text part is loaded: no memory is taken for the rest.

    Args:
        path: the reader's directory.
        dtype: of the weights, where they are not quantised.
        base_weights: ``auto`` as they lie on disk, or ``nf4`` or ``fp8``; see `base`.
        device: load straight to it, without a copy in the machine's memory; by default the CPU.

    Raises:
        LeadlineError: weights are missing, the layers are not where most models have them, or
            what `base_weights` takes is missing.
    """
    from transformers import AutoConfig, AutoModel

    quiet_transformers()
    config = text_config(AutoConfig.from_pretrained(path, local_files_only=True))
    warn_of_slow_kernels(config)
    more: dict[str, Any] = {"device_map": {"": device}} if device is not None else {}
    if (wanted := quantization(base_weights)) is not None:
        more["quantization_config"] = wanted
    model, loading = AutoModel.from_pretrained(
        path, config=config, dtype=dtype, local_files_only=True, output_loading_info=True, **more
    )
    if loading["missing_keys"] or loading["mismatched_keys"]:
        raise LeadlineError(
            f"{len(loading['missing_keys']) + len(loading['mismatched_keys'])} weights of this "
            "reader are missing or of another shape; they would be random.",
            remedy="Fetch the reader again, or give a directory that holds the whole model.",
            file=path,
        )
    if not hasattr(model, "layers") or not hasattr(model, "norm"):
        raise LeadlineError(
            f"{type(model).__name__} is not built of layers and a final norm.",
            remedy="Use a reader of the Llama, Qwen, Mistral, SmolLM or a like architecture.",
            file=path,
        )
    return model.eval()


def load_tokenizer(path: Path) -> Any:
    """The tokenizer of a reader directory."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path, local_files_only=True)


def cut_above(model: Any, layer: int) -> None:
    """Remove the layers above `layer` in place, and the final norm if any was removed.

    So the model's output is what transformers calls ``hidden_states[layer]``: the bare
    output of an inner layer, the normed output of the last.
    """
    if layer < len(model.layers):
        model.layers = model.layers[:layer]
        model.config.num_hidden_layers = layer
        model.norm = torch.nn.Identity()


class LMReader:
    """Reads conversations with a causal language model.

    Args:
        name: a fetched reader or a local model directory.
        config: layers, turn state, context budget, arithmetic.
        device: where to run; by default a GPU if there is one.
        home: where fetched readers are kept, see `fetch.leadline_home`.

    Raises:
        LeadlineError: the reader is not on this machine, or a layer is beyond its depth.
    """

    contextual = True

    def __init__(
        self,
        name: str,
        config: ReaderConfig | None = None,
        *,
        device: torch.device | None = None,
        home: Path | None = None,
    ) -> None:
        self.config = config or ReaderConfig()
        self.device = device or default_device()
        path = reader_path(name, home=home)
        self.revision = reader_revision(path)
        self.dtype = pick_dtype(self.config.dtype)
        self.model = load_backbone(path, self.dtype)
        self.depth = len(self.model.layers)
        self.layers = resolve_layers(self.config.layers, self.depth)
        self.hidden = int(self.model.config.hidden_size)
        cut_above(self.model, max(self.layers))
        self.model.to(self.device)
        tokenizer = load_tokenizer(path)
        self.tokens = Tokens(tokenizer, chat_template(tokenizer))
        longest = getattr(self.model.config, "max_position_embeddings", None)
        self.budget = min(self.config.max_tokens, longest or self.config.max_tokens)

    @property
    def identity(self) -> str:
        """Hex digest of revision, layers, turn state, budget, template and arithmetic."""
        return _identity(
            kind="lm",
            revision=self.revision,
            layers=self.layers,
            state=self.config.state,
            budget=self.budget,
            template=asdict(self.tokens.template),
            dtype=str(self.dtype),
        )

    @property
    def width(self) -> int:
        """Hidden size times the number of layers read."""
        return self.hidden * len(self.layers)

    def states(
        self, conversations: Sequence[Conversation], progress: Advance | None = None
    ) -> list[States]:
        """States of the user turns of each conversation, float32 (user turns, width)."""
        out = [
            np.zeros((sum(message.role == "user" for message in talk), self.width), np.float32)
            for talk in conversations
        ]
        jobs = [job for index, talk in enumerate(conversations) for job in self._jobs(index, talk)]
        total, done = sum(len(job.ids) for job in jobs), 0
        for batch in batches(jobs, self.config.batch_tokens):
            for job, states in zip(batch, self._read(batch), strict=True):
                out[job.conversation][job.row : job.row + len(states)] = states
            done += sum(len(job.ids) for job in batch)
            if progress is not None:
                progress(done, total)
        return out

    def _jobs(self, index: int, talk: Conversation) -> Iterator[Job]:
        """The passes of one conversation that hold a user turn to be read."""
        start = self.tokens.start
        pieces = self.tokens.pieces(talk, self.budget)
        row = 0
        for part in plan_passes([len(p.ids) for p in pieces], self.budget - len(start)):
            ids, spans = join_pieces(start, pieces, part)
            if spans:
                yield Job(index, row, ids, spans)
            row += len(spans)

    def _read(self, batch: Sequence[Job]) -> list[States]:
        return self.turn_states([job.ids for job in batch], [job.spans for job in batch])

    @torch.inference_mode()
    def turn_states(
        self, ids: Sequence[Sequence[int]], spans: Sequence[Sequence[tuple[int, int]]], **more: Any
    ) -> list[States]:
        """States of the turns at `spans` of each row of tokens, float32 (turns, width).

        Args:
            ids: tokens; they are padded on the right.
            spans: start and stop of each turn among the row's tokens.
            more: for the forward pass, such as the cache of what was read before.
        """
        found: dict[int, list[torch.Tensor]] = {}

        def take(layer: int, _module: Any, _inputs: Any, output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            found[layer] = [self._pool(hidden[row], some) for row, some in enumerate(spans)]

        hooks = [
            (self.model.norm if layer == len(self.model.layers) else self.model.layers[layer - 1])
            .register_forward_hook(partial(take, layer))
            for layer in set(self.layers)
        ]  # fmt: skip
        try:
            self.model(**{"input_ids": pad_right(ids).to(self.device), "use_cache": False, **more})
        finally:
            for hook in hooks:
                hook.remove()
        return [
            torch.cat([found[layer][row] for layer in self.layers], dim=1).cpu().numpy()
            for row in range(len(ids))
        ]

    def _pool(self, hidden: torch.Tensor, spans: Sequence[tuple[int, int]]) -> torch.Tensor:
        """(tokens, hidden) -> float32 (user turns, hidden)."""
        if not spans:
            return hidden.new_zeros(0, hidden.shape[1], dtype=torch.float32)
        if self.config.state == "last":
            return hidden[[stop - 1 for _, stop in spans]].float()
        return torch.stack([hidden[a:b].float().mean(dim=0) for a, b in spans])


class SentenceReader:
    """Embeds each user turn by itself with a sentence encoder.

    A turn longer than the encoder takes is cut into windows whose embeddings are averaged by
    their tokens; of a turn longer than `max_tokens` the last ones are read. An empty turn has
    the embedding of the encoder's two end marks.

    Raises:
        LeadlineError: the reader is not on this machine, or pools in another way.
    """

    contextual = False

    def __init__(
        self,
        name: str = "minilm",
        *,
        max_tokens: int = 8192,
        batch_tokens: int | None = None,
        device: torch.device | None = None,
        home: Path | None = None,
    ) -> None:
        from transformers import AutoModel

        quiet_transformers()
        path = reader_path(name, home=home)
        self.revision = reader_revision(path)
        self.device = device or default_device()
        on_cpu = self.device.type == "cpu"
        self.max_tokens = max_tokens
        # Small batches stay in a core's cache; a GPU wants large ones.
        self.batch_tokens = batch_tokens or (512 if on_cpu else 4096)
        self.window = _sentence_window(path)
        self.tokenizer = load_tokenizer(path)
        self.model = AutoModel.from_pretrained(path, dtype=torch.float32, local_files_only=True)
        self.model.eval().to(self.device)
        if on_cpu:
            use_onednn(self.model)

    @property
    def identity(self) -> str:
        """Hex digest of revision, window and token limit."""
        return _identity(
            kind="sentence",
            revision=self.revision,
            window=self.window,
            max_tokens=self.max_tokens,
        )

    @property
    def width(self) -> int:
        """The encoder's hidden size."""
        return int(self.model.config.hidden_size)

    def states(
        self, conversations: Sequence[Conversation], progress: Advance | None = None
    ) -> list[States]:
        """States of the user turns of each conversation, float32 (user turns, width)."""
        texts = [m.text for talk in conversations for m in talk if m.role == "user"]
        flat = self.embed(texts, progress)
        counts = [sum(m.role == "user" for m in talk) for talk in conversations]
        return np.split(flat, np.cumsum(counts)[:-1]) if counts else []

    def embed(self, texts: Sequence[str], progress: Advance | None = None) -> States:
        """Unit-length embeddings of texts, float32 (texts, width)."""
        distinct = list(dict.fromkeys(texts))
        jobs = [job for row, text in enumerate(distinct) for job in self._jobs(row, text)]
        sums = np.zeros((len(distinct), self.width), np.float32)
        total, done = sum(len(job.ids) for job in jobs), 0
        for batch in batches(jobs, self.batch_tokens):
            for job, vector in zip(batch, self._read(batch), strict=True):
                sums[job.conversation] += vector * len(job.ids)
            done += sum(len(job.ids) for job in batch)
            if progress is not None:
                progress(done, total)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        position = {text: row for row, text in enumerate(distinct)}
        unit = sums / np.maximum(norms, 1e-12)
        out: States = unit[[position[text] for text in texts]] if texts else unit
        return out

    def _jobs(self, row: int, text: str) -> list[Job]:
        words = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        words = words[-self.max_tokens :]
        room = self.window - 2
        first, last = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        return [
            Job(row, 0, [first, *words[at : at + room], last], [])
            for at in range(0, max(len(words), 1), room)
        ]

    @torch.inference_mode()
    def _read(self, batch: Sequence[Job]) -> States:
        length = max(len(job.ids) for job in batch)
        ids = torch.full((len(batch), length), int(self.tokenizer.pad_token_id))
        mask = torch.zeros(len(batch), length, dtype=torch.long)
        for row, job in enumerate(batch):
            ids[row, : len(job.ids)] = torch.tensor(job.ids)
            mask[row, : len(job.ids)] = 1
        ids, mask = ids.to(self.device), mask.to(self.device)
        hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        weights = mask.unsqueeze(-1).float()
        mean = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
        out: States = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
        return out


class OneDnnLinear(torch.nn.Linear):
    """A float32 linear layer on a CPU, computed by oneDNN.

    torch sends float32 matrix products on x86 to MKL, which does not use the vector units of
    AMD processors fully: with oneDNN the encoder reads 1.7 times as many tokens a second there
    (bench/sentence_speed.py), and gives the same numbers to 3e-7. This is the call that torch's
    own compiler makes.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """``input @ weight.T + bias``, without gradient."""
        if (
            torch.compiler.is_compiling()
        ):  # an exported graph holds the layer, not this machine's way
            return super().forward(input)
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            input, self.weight, self.bias, "none", [], ""
        )
        return out


def use_onednn(model: torch.nn.Module) -> None:
    """Let oneDNN compute the linear layers of a float32 model in place, where torch has it."""
    built = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not built or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return
    for module in model.modules():
        if type(module) is torch.nn.Linear and module.weight.dtype == torch.float32:
            module.__class__ = OneDnnLinear


@dataclass(frozen=True)
class Job:
    """Tokens to be read in one row of a batch and where the states belong."""

    conversation: int
    row: int
    ids: list[int]
    spans: list[tuple[int, int]]


def pad_right(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Rows of token ids as one int64 tensor (rows, longest), zeros behind the shorter ones."""
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
    return ids


def join_pieces(
    start: Sequence[int], pieces: Sequence[Any], part: Pass
) -> tuple[list[int], list[tuple[int, int]]]:
    """Token ids of a pass and the spans of the user turns that it reads anew."""
    ids, spans = list(start), []
    for position in range(part.first, part.end):
        piece = pieces[position]
        if piece.user and position >= part.fresh:
            spans.append((len(ids) + piece.start, len(ids) + piece.stop))
        ids += piece.ids
    return ids, spans


def batches(jobs: Sequence[Job], budget: int) -> Iterator[list[Job]]:
    """Jobs of like length together, longest first, at most `budget` tokens with padding."""
    batch: list[Job] = []
    for job in sorted(jobs, key=lambda job: -len(job.ids)):
        if batch and (len(batch) + 1) * len(batch[0].ids) > budget:
            yield batch
            batch = []
        batch.append(job)
    if batch:
        yield batch


def pick_dtype(name: str) -> torch.dtype:
    """The arithmetic of a causal reader; ``auto`` is bfloat16 on every device.

    Twice as fast as float32 on a CPU, with the same accuracy on the check-ins; and a model
    made on one machine meets the same states on another.
    """
    return DTYPES["bfloat16" if name == "auto" else name]


def open_reader(
    name: str,
    config: ReaderConfig | None = None,
    *,
    device: torch.device | None = None,
    home: Path | None = None,
) -> LMReader | SentenceReader:
    """The reader of a name: a `SentenceReader` for sentence encoders, else an `LMReader`."""
    path = reader_path(name, home=home)
    if (path / "modules.json").is_file():
        limit = (config or ReaderConfig()).max_tokens
        return SentenceReader(name, max_tokens=limit, device=device, home=home)
    return LMReader(name, config, device=device, home=home)


def _sentence_window(path: Path) -> int:
    """Tokens that the encoder takes; its own files must ask for mean pooling and unit length."""
    pooling = next(
        (
            file
            for file in (path / "pooling.json", path / "1_Pooling/config.json")
            if file.is_file()
        ),
        None,
    )
    modules = json.loads((path / "modules.json").read_text(encoding="utf-8"))
    kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in modules]
    mean = pooling is not None and bool(
        json.loads(pooling.read_text(encoding="utf-8")).get("pooling_mode_mean_tokens")
    )
    if kinds != ["Transformer", "Pooling", "Normalize"] or not mean:
        raise LeadlineError(
            "This sentence encoder does not pool by the mean and scale to length one.",
            remedy="Use the reader minilm, or an encoder of that kind.",
            file=path,
        )
    settings = json.loads((path / "sentence_bert_config.json").read_text(encoding="utf-8"))
    return int(settings["max_seq_length"])


def _identity(**parts: Any) -> str:
    text = json.dumps({"method": METHOD, **parts}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


ReaderFactory = Callable[[], Reader]
